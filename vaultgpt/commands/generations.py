"""`vaultgpt generations`, `activate GEN`, `rollback`: the history and the way back."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from vaultgpt.client import find_daemon
from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    locate,
    out,
    print_json,
    split_arguments,
)
from vaultgpt.errors import NotFound, UsageError
from vaultgpt.history import activate_generation, history, previous_generation
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState


@command
def generations(
    vault_argument: VaultArgument = None, vault: VaultOption = None, as_json: JsonOption = False
) -> None:
    """List the generations, newest first, with what the gate said of each."""
    state = locate(vault or vault_argument)
    with Ledger.open(state) as ledger:
        rows = history(ledger)
    if as_json:
        print_json({"generations": rows})
    elif not rows:
        out.print("There is no generation yet: `vaultgpt train` makes the first.", markup=False)
    else:
        out.print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", "generation", "made", "kind", "base", "bits per byte", "verdict"):
        table.add_column(name, overflow="fold")
    for row in rows:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"]))
        figure = f"{row['held_out']:.3f}" if row["held_out"] is not None else ""
        table.add_row(
            "*" if row["active"] else "",
            row["id"],
            made,
            row["kind"],
            row["base"],
            figure,
            row["why"] + (" (barred)" if row["barred"] else ""),
        )
    return table


@command
def activate(
    args: Annotated[
        list[str],
        typer.Argument(
            metavar="[VAULT] GEN", show_default=False, help="A generation, such as g000003."
        ),
    ],
    vault: VaultOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write with another generation from now on."""
    vault, rest = split_arguments(args, vault, 1, "GEN")
    if not rest:
        raise UsageError("Say which generation.", "`vaultgpt generations` lists them.")
    _activate(locate(vault), rest[0], as_json)


@command
def rollback(
    vault_argument: VaultArgument = None, vault: VaultOption = None, as_json: JsonOption = False
) -> None:
    """Go back to the generation before the active one."""
    state = locate(vault or vault_argument)
    with Ledger.open(state) as ledger:
        before = previous_generation(ledger)
    if before is None:
        raise NotFound(
            "There is no earlier generation to go back to.",
            "`vaultgpt generations` lists what is kept.",
        )
    _activate(state, before, as_json)


def _activate(state: VaultState, generation: str, as_json: bool) -> None:
    if daemon := find_daemon(state):
        daemon.post(f"/v1/generations/{generation}/activate", {})
    else:
        with Ledger.open(state) as ledger:
            activate_generation(state, ledger, generation)
    if as_json:
        print_json({"active": generation})
    else:
        out.print(f"{generation} is active.", markup=False)
