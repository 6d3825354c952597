"""`vaultgpt remove`: erase every trace of a vault's state."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    confirm,
    out,
    print_json,
)
from vaultgpt.tasks.plugin import installed
from vaultgpt.tasks.vaults import erasable, erase


@command("Upkeep")
def remove(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase all that vaultgpt keeps about a vault: what it learned, voices, logs. Notes stay."""
    state = erasable(vault or vault_argument)
    confirm(f"Erase all state of {state.vault}? Its notes stay as they are.", yes)
    erase(state)
    if as_json:
        print_json({"removed": str(state.folder)})
    else:
        out.print("Erased. The notes are as they were.", markup=False)
        if (plugin := installed(state.vault)) is not None:
            said = f"The plugin stays in {plugin}: uninstall it in Obsidian, or delete that folder."
            out.print(said, markup=False)
