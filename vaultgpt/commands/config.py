"""`vaultgpt config [VAULT] [KEY [VALUE]]`: show every option, or set one."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultgpt.bases.names import remarks, resolve
from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    err,
    locate,
    out,
    print_json,
    show_rows,
    split_arguments,
)
from vaultgpt.options import Option, describe, show, with_option
from vaultgpt.settings import load_settings, save_option
from vaultgpt.tasks.config import RELOAD, rows
from vaultgpt.tasks.vault_service import vault_service


@command("Upkeep")
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
        if rest[0] == "base":
            found = resolve(rest[1], state)  # nothing that could not be learned on is stored
            rest[1] = found.name
            for sentence in remarks(found):
                err.print(sentence, markup=False)
        settings = save_option(state.config, rest[0], rest[1])
        vault_service(state).ask(RELOAD, None)
    if rest:
        with_option(
            settings, rest[0], next((o.value for o in describe(settings) if o.key == rest[0]), None)
        )
    options = [o for o in describe(settings) if not rest or o.key == rest[0]]
    if as_json:
        print_json(
            {
                row["key"]: {
                    **{"value": row["value"], "default": row["default"], "unit": row["unit"]},
                    **{"doc": row["sentence"], "bounds": row["bounds"]},
                }
                for row in rows(settings)
                if not rest or row["key"] == rest[0]
            }
        )
    elif len(rest) == 2:
        out.print(f"{rest[0]} = {show(options[0].value)}", markup=False)
    else:
        show_rows(
            ("option", "value", "default", "meaning"),
            [_cells(o) for o in options],
            [o.value != o.default for o in options],
        )
        stored = (
            "Stored in" if state.config.exists() else "Nothing is set yet; it will be stored in"
        )
        out.print(f"{stored} {state.config}", style="dim", markup=False)


def _cells(o: Option) -> tuple[str, str, str, str]:
    value, default = show(o.value), show(o.default)
    unit = f" [{o.unit}]" if o.unit else ""
    return o.key, value, "" if value == default else f"(default {default})", o.doc + unit
