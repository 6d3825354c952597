"""`vaultgpt generations`, `activate GEN`, `rollback`: the history and the way back."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from vaultgpt.bases.catalogue import called
from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    locate,
    out,
    print_json,
    show_rows,
    split_arguments,
)
from vaultgpt.errors import NotFound, UsageError
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState
from vaultgpt.tasks.generations import ACTIVATE, GENERATIONS, ActivateRequest, Generation
from vaultgpt.tasks.status import way_back
from vaultgpt.tasks.vault_service import vault_service


@command("Voices")
def generations(
    vault_argument: VaultArgument = None, vault: VaultOption = None, as_json: JsonOption = False
) -> None:
    """List the voices that are kept, newest first, with what the test said of each."""
    answer = vault_service(locate(vault or vault_argument)).ask(GENERATIONS, None)
    rows = answer["generations"]
    if as_json:
        print_json(answer)
    elif not rows:
        out.print("There is no voice yet: `vaultgpt train` makes the first.", markup=False)
    else:
        header = ("", "generation", "made", "kind", "base", "bits per byte", "verdict")
        show_rows(header, [_cells(row) for row in rows], [row["active"] for row in rows])


def _cells(row: Generation) -> tuple[str, ...]:
    return (
        "*" if row["active"] else " ",
        row["id"],
        time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"])),
        row["kind"] + (f", on {row['machine']}" if row.get("machine") else ""),
        called(row["base"]),
        f"{row['held_out']:.3f}" if row["held_out"] is not None else "-",
        row["why"] + (" (barred: it learned what was forgotten)" if row["barred"] else ""),
    )


@command("Voices")
def activate(
    args: Annotated[
        list[str],
        typer.Argument(
            metavar="[VAULT] GEN", show_default=False, help="A voice, such as g000003, or base."
        ),
    ],
    vault: VaultOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write with another voice from now on."""
    vault, rest = split_arguments(args, vault, 1, "GEN")
    if not rest:
        raise UsageError("Say which voice.", "`vaultgpt generations` lists them.")
    _activate(locate(vault), rest[0], as_json)


@command("Voices")
def rollback(
    vault_argument: VaultArgument = None, vault: VaultOption = None, as_json: JsonOption = False
) -> None:
    """Go back to the voice before the one that writes."""
    state = locate(vault or vault_argument)
    with Ledger.open(state) as ledger:
        before = ledger.generations.earlier()
    if before is None:
        raise NotFound(
            "There is no earlier voice to go back to.", "`vaultgpt generations` lists what is kept."
        )
    _activate(state, before, as_json)


def _activate(state: VaultState, generation: str, as_json: bool) -> None:
    vault_service(state).ask(ACTIVATE, ActivateRequest(id=generation))
    if as_json:
        print_json({"active": generation})
        return
    said = f"{generation} writes from now on."
    if generation == "base":
        with Ledger.open(state) as ledger:
            said = f"The base writes from now on. {way_back(ledger)}"
    out.print(said, markup=False)
