"""`vaultgpt base [NAME]`: show or change the base model."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultgpt.bases import Base, resolve
from vaultgpt.client import find_daemon
from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    locate,
    out,
    print_json,
    progress,
    split_arguments,
)
from vaultgpt.commands.fetch import fetch_base
from vaultgpt.config import load_settings, save_option
from vaultgpt.ledger import Ledger


@command
def base(
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VAULT] [NAME]",
            show_default=False,
            help="pebble, a Hugging Face id (org/name or org/name@revision), or a folder.",
        ),
    ] = None,
    vault: VaultOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the base, or take another: the old pair serves until a new round passes the gate."""
    vault, rest = split_arguments(args or [], vault, 1, "[NAME]")
    state = locate(vault)
    name = load_settings(state.config).base
    if rest:
        with progress(as_json) as bar:
            found = fetch_base(rest[0], state, bar)
        save_option(state.config, "base", found.name)
        if daemon := find_daemon(state):
            daemon.post("/v1/reload", {})
    else:
        found = resolve(name, state)
    with Ledger.open(state) as ledger:
        active = ledger.active()
    changed = bool(rest) and found.name != name
    if as_json:
        print_json(_facts(found) | {"changed": changed, "active": active})
        return
    out.print(_sentence(found), markup=False)
    if changed and active:
        out.print(
            f"{active} goes on serving with its own base until a fresh round on the new one "
            "passes the gate: `vaultgpt train --fresh`, or leave it to tonight.",
            markup=False,
        )
    elif changed:
        out.print("Train on it with `vaultgpt train`.", markup=False)


def _facts(found: Base) -> dict[str, object]:
    return {
        "base": found.name,
        "revision": found.revision,
        "folder": str(found.folder),
        "parameters": found.parameters,
        "model_type": found.model_type,
        "context": found.context,
    }


def _sentence(found: Base) -> str:
    size = f"{found.parameters / 1e6:,.0f} million parameters"
    pinned = f", revision {found.revision[:12]}" if found.revision else ""
    return f"{found.name}: {found.model_type}, {size}, context {found.context} tokens{pinned}."
