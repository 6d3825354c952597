"""`vaultgpt export DIR [--merged]`: the active generation for other programs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from vaultgpt.bases import base_of_generation
from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    err,
    locate,
    out,
    print_json,
    split_arguments,
)
from vaultgpt.errors import Conflict, NotFound, UsageError
from vaultgpt.files import make_private_dir, write_json
from vaultgpt.generations import EMBEDDING, LAST_WEIGHTS, MANIFEST, verify
from vaultgpt.ledger import Ledger

WARNING = (
    "This is your diary in another form: whoever holds it can draw your words out of it. "
    "Keep it private and out of synced folders."
)


@command
def export(
    args: Annotated[
        list[str],
        typer.Argument(metavar="[VAULT] DIR", show_default=False, help="A new or empty folder."),
    ],
    vault: VaultOption = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="A whole model rather than an adapter.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the active generation as a PEFT adapter, or merged into a whole model."""
    vault, rest = split_arguments(args, vault, 1, "DIR")
    if not rest:
        raise UsageError("Say where to.", "Give a new or empty folder.")
    state, target = locate(vault), Path(rest[0]).expanduser()
    with Ledger.open(state) as ledger:
        active = ledger.active()
    if active is None:
        raise NotFound("There is no generation to export yet.", "Run `vaultgpt train` first.")
    source = state.generations / active
    manifest = verify(source)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is not an empty folder.", "Give a new one; nothing was written.")
    make_private_dir(target)
    if merged:
        from vaultgpt.training.merge import write_merged

        write_merged(base_of_generation(state, manifest).folder, source, target)
    else:
        for file in sorted(source.iterdir()):
            if file.name != LAST_WEIGHTS:
                shutil.copy2(file, target / file.name)
        manifest["files"].pop(LAST_WEIGHTS, None)
        write_json(target / MANIFEST, manifest)
    files = sorted(file.name for file in target.iterdir())
    if as_json:
        print_json(
            {
                "generation": active,
                "folder": str(target),
                "merged": merged,
                "files": files,
                "warning": WARNING,
            }
        )
        return
    out.print(f"{active} is in {target}.", markup=False)
    if EMBEDDING in files:
        out.print(
            f"Other programs read the adapter but not {EMBEDDING}: they write "
            "a little less in your voice. --merged carries both.",
            markup=False,
        )
    err.print(WARNING, style="yellow", markup=False)
