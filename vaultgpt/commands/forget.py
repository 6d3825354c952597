"""`vaultgpt forget NOTE`: unlearn one note."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    confirm,
    locate_note,
    out,
    print_json,
)
from vaultgpt.tasks.forget import FORGET, ForgetRequest
from vaultgpt.tasks.vault_service import vault_service


@command("Learn")
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
    """Bar a note's words at once, and train anew without it. The note stays as it is, and a hotkey
    in it still writes on."""
    state, path = locate_note(note, vault)
    confirm("Forget this note? It can't be learned again.", yes)
    answer = vault_service(state).ask(FORGET, ForgetRequest(path=path))
    if as_json:
        print_json(answer)
        return
    out.print("Forgotten: its phrases are barred from now on.", markup=False)
    if answer["generations"]:
        out.print(
            f"{', '.join(answer['generations'])} learned it and can't write again: until "
            f"`vaultgpt train` has made a voice without it, {answer['writes'] or 'the base alone'} "
            "writes.",
            markup=False,
        )
