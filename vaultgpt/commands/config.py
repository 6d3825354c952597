"""`vaultgpt config [VAULT] [KEY [VALUE]]`: show every option, or set one."""

from __future__ import annotations

from contextlib import suppress
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
from vaultgpt.errors import BaseModelError, UsageError
from vaultgpt.options import Option, describe, show, with_option
from vaultgpt.settings import Settings, load_settings, save_option
from vaultgpt.state import VaultState
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
    if unknown := next((part for part in rest if part.startswith("--")), None):
        raise UsageError(f"No such option: {unknown}.", "`vaultgpt config --help` lists them.")
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
        out.print(f"{rest[0]} = {_value(options[0], settings, state)}", markup=False)
    else:
        show_rows(
            ("option", "value", "default", "meaning"),
            [_cells(o, _value(o, settings, state)) for o in options],
            [o.value != o.default for o in options],
        )
        stored = (
            "Stored in" if state.config.exists() else "Nothing is set yet; it will be stored in"
        )
        out.print(f"{stored} {state.config}", style="dim", markup=False)


def _value(o: Option, settings: Settings, state: VaultState) -> str:
    """As it is typed; and which top-p the base chooses, where it lies here."""
    if o.key == "mirror.top_p" and not o.value:
        with suppress(BaseModelError):
            drawn = settings.mirror.sampling().on(resolve(settings.base, state).parameters)
            return f"{show(o.value)} (chosen by the base: {drawn.top_p})"
    return show(o.value)


def _cells(o: Option, value: str) -> tuple[str, str, str, str]:
    unit = f" [{o.unit}]" if o.unit else ""
    default = "" if o.value == o.default else f"(default {show(o.default)})"
    return o.key, value, default, o.doc + unit
