"""`vaultgpt forget NOTE`: unlearn one note."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultgpt.client import find_daemon
from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    confirm,
    locate_note,
    out,
    print_json,
)
from vaultgpt.history import forget_note


@command
def forget(
    note: Annotated[
        Path,
        typer.Argument(
            metavar="NOTE", show_default=False, help="The note's path, from here or from the vault."
        ),
    ],
    vault: VaultOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bar a note's words at once, and train anew without it. The note itself is not touched."""
    state, path = locate_note(note, vault)
    confirm("Forget this note? It can't be learned again.", yes or as_json)
    if daemon := find_daemon(state):
        answer = daemon.post("/v1/forget", {"path": path})
    else:
        answer = forget_note(state, path)
    if as_json:
        print_json(answer)
        return
    out.print("Forgotten: its phrases are barred from now on.", markup=False)
    if answer["generations"]:
        out.print(
            f"{', '.join(answer['generations'])} learned it and can't be activated again; "
            "a fresh round without it is due: `vaultgpt train`.",
            markup=False,
        )
