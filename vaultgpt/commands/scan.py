"""`vaultgpt scan`: what is learned from the vault and what is not, and why."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    locate,
    out,
    print_json,
)
from vaultgpt.config import load_settings
from vaultgpt.vault.census import census, sentence
from vaultgpt.vault.scan import read_vault


@command
def scan(
    vault_argument: VaultArgument = None, vault: VaultOption = None, as_json: JsonOption = False
) -> None:
    """Count what is learned, what is left out and why, by tag and by year."""
    state = locate(vault or vault_argument)
    settings = load_settings(state.config)
    found = census(read_vault(state.vault, settings.rules, {}).read)
    if as_json:
        print_json(found)
        return
    out.print(sentence(found), markup=False)
    for title, key in (("Left out", "left_out"), ("Tags", "tags"), ("Years", "years")):
        if found[key]:
            out.print(_counts(title, found[key]))
    out.print("`vaultgpt why NOTE` tells about one note.", style="dim", markup=False)


def _counts(title: str, counts: dict[str, Any], most: int = 25) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("", overflow="fold")
    table.add_column("notes", justify="right")
    for name, count in list(counts.items())[:most]:
        table.add_row(name.replace("[", r"\["), str(count))
    if len(counts) > most:
        table.add_row(f"and {len(counts) - most} more", "")
    return table
