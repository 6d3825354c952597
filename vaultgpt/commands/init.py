"""`vaultgpt init VAULT`: state folder, first scan, what was found and what will happen, plugin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vaultgpt.bases import resolve
from vaultgpt.commands.common import JsonOption, command, err, out, print_json, progress
from vaultgpt.commands.fetch import fetch_base
from vaultgpt.config import load_settings, save_option
from vaultgpt.errors import VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.plugin import bundled, install_plugin
from vaultgpt.state import VaultState, create_state, known_vaults, real_vault
from vaultgpt.vault.census import census
from vaultgpt.vault.scan import read_vault
from vaultgpt.vault.walk import walk
from vaultgpt.welcome import findings


@command
def init(
    vault: Annotated[
        Path,
        typer.Argument(
            metavar="VAULT", show_default=False, help="The folder that holds your notes."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", help="pebble (embedded), a Hugging Face id, or a folder."),
    ] = None,
    no_plugin: Annotated[bool, typer.Option("--no-plugin", help="Leave Obsidian alone.")] = False,
    adopt: Annotated[
        Path | None,
        typer.Option(
            "--adopt", metavar="OLD", help="The vault was at OLD before: take over its state."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Set a vault up. Nothing is trained yet and no note is touched."""
    real = real_vault(vault)
    state = create_state(real, adopt=_adopted(real, adopt, as_json))
    with progress(as_json) as bar:
        if base:
            fetched = fetch_base(base, state, bar)
            save_option(state.config, "base", fetched.name)
        settings = load_settings(state.config)
        found = resolve(settings.base, state)
        read = read_vault(state.vault, settings.rules, {}).read
        counts = census(read)
    sentences = findings(counts, state.vault, found, settings)
    plugin = "left out" if no_plugin else _plugin(state)
    if as_json:
        print_json(
            {
                "vault": str(state.vault),
                "state": str(state.folder),
                "base": found.name,
                "advice": sentences,
                "plugin": plugin,
                **counts,
            }
        )
        return
    for sentence in sentences:
        out.print(sentence, markup=False)
    if plugin and not no_plugin:
        out.print(plugin, markup=False)
    out.print(f"Its state is in {state.folder}", style="dim", markup=False)


def _plugin(state: VaultState) -> str:
    """Install the plugin where Obsidian is used; one sentence, "" when there is nothing to say."""
    if not bundled() or not (state.vault / ".obsidian").is_dir():
        return ""
    try:
        return str(install_plugin(state.vault)["sentence"])
    except (VaultGPTError, OSError) as error:
        return f"The plugin was not installed ({error})."


def _adopted(real: Path, adopt: Path | None, quiet: bool) -> Path | None:
    """The old state folder to take over: named by --adopt, or found and agreed to."""
    vaults = known_vaults()
    if adopt is not None:
        old = Path(os.path.realpath(adopt.expanduser()))
        if old not in vaults:
            raise VaultGPTError(f"No vault was set up at {adopt}.", "Leave --adopt out.")
        return vaults[old]
    if real in vaults:
        return None
    for old, folder in vaults.items():
        if old.exists() or not folder.is_dir() or _shared(VaultState(old, folder), real) < 0.5:
            continue
        question = f"This looks like the vault that was at {old}. Take over what it learned?"
        if not quiet and err.is_terminal and typer.confirm(question, default=True, err=True):
            return folder
        if quiet or not err.is_terminal:
            err.print(
                f"This looks like the vault that was at {old}: `vaultgpt init {real} --adopt "
                f"{old}` would take over what it learned.",
                markup=False,
            )
    return None


def _shared(state: VaultState, real: Path) -> float:
    """The share of the old vault's recorded paths that stand in the folder `real`."""
    if not state.ledger.exists():
        return 0.0
    with Ledger.open(state) as ledger:
        before = set(ledger.stamps())
    here = set(walk(real).files)
    return len(before & here) / len(before) if before else 0.0
