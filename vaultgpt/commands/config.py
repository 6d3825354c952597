"""`vaultgpt config [VAULT] [KEY [VALUE]]`: show every option, or set one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from vaultgpt.client import find_daemon
from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    locate,
    out,
    print_json,
    split_arguments,
)
from vaultgpt.config import OptionInfo, describe, load_settings, save_option, show, with_option


@command
def config(
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VAULT] [KEY [VALUE]]",
            show_default=False,
            help="Nothing shows all; a key shows one; a key and a value set it.",
        ),
    ] = None,
    vault: VaultOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show or set this vault's options."""
    vault, rest = split_arguments(args or [], vault, 2, "[KEY [VALUE]]")
    state = locate(vault)
    settings = load_settings(state.config)
    if len(rest) == 2:
        settings = save_option(state.config, rest[0], rest[1])
        if daemon := find_daemon(state):
            daemon.post("/v1/reload", {})
    if rest:
        with_option(
            settings, rest[0], next((o.value for o in describe(settings) if o.key == rest[0]), None)
        )
    options = [o for o in describe(settings) if not rest or o.key == rest[0]]
    if as_json:
        print_json(
            {
                o.key: {"value": o.value, "default": o.default, "unit": o.unit, "doc": o.doc}
                for o in options
            }
        )
    elif len(rest) == 2:
        out.print(f"{rest[0]} = {show(options[0].value)}", markup=False)
    else:
        out.print(_table(options))
        out.print(f"Stored in {state.config}", style="dim", markup=False)


def _table(options: list[OptionInfo]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("option", "value", "default", "meaning"):
        table.add_column(name, overflow="fold")
    for o in options:
        value, default = show(o.value), show(o.default)
        meaning = o.doc + (f" [{o.unit}]" if o.unit else "")
        table.add_row(
            o.key,
            value,
            "" if value == default else default,
            meaning.replace("[", r"\["),
            style=None if value == default else "bold",
        )
    return table
