"""`vaultgpt plugin install`: put the Obsidian plugin into the vault."""

from __future__ import annotations

import typer

from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    guarded,
    locate,
    out,
    print_json,
)
from vaultgpt.tasks.plugin import install_plugin

app = typer.Typer(help="The Obsidian plugin.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The Obsidian plugin."""


@app.command("install")
@guarded
def install(
    vault_argument: VaultArgument = None, vault: VaultOption = None, as_json: JsonOption = False
) -> None:
    """Put the plugin into the vault's .obsidian folder."""
    answer = install_plugin(locate(vault or vault_argument).vault)
    if as_json:
        print_json(answer)
    else:
        out.print(str(answer["sentence"]), markup=False)
