"""`vaultgpt init VAULT`: state folder, first scan, what was found and what will happen, plugin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vaultgpt.bases.catalogue import PEBBLE, Known, reads_only_english
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import remarks, resolve
from vaultgpt.commands.base import fetch_base
from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    err,
    out,
    print_json,
    progress,
    say_error,
    show_on,
)
from vaultgpt.commands.train import round_sentences
from vaultgpt.errors import Conflict, UsageError, VaultGPTError
from vaultgpt.settings import load_settings, save_option
from vaultgpt.state import VaultState, create_state, known_vaults, real_vault
from vaultgpt.tasks.init import findings, offered
from vaultgpt.tasks.plugin import bundled, install_plugin
from vaultgpt.tasks.scan import scanned
from vaultgpt.tasks.service import available, install, status
from vaultgpt.tasks.train import train
from vaultgpt.tasks.vault_service import Here, vault_service
from vaultgpt.tasks.vaults import moved_from, nested, to_take_over


@command("Begin")
def init(
    vault_argument: Annotated[
        Path | None,
        typer.Argument(
            metavar="VAULT", show_default=False, help="The folder that holds your notes."
        ),
    ] = None,
    vault: VaultOption = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="As for `vaultgpt base`: pebble, smollm2, a folder ..."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Fetch the base that is advised.")] = False,
    no_base: Annotated[
        bool, typer.Option("--no-base", help="Do not offer a better base than the embedded one.")
    ] = False,
    no_plugin: Annotated[bool, typer.Option("--no-plugin", help="Leave Obsidian alone.")] = False,
    adopt: Annotated[
        Path | None,
        typer.Option(
            "--adopt", metavar="OLD", help="The vault was at OLD before: take over its state."
        ),
    ] = None,
    anew: Annotated[
        bool,
        typer.Option(
            "--new", help="Begin anew: the vault was elsewhere before, or its state is gone."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Set a vault up. Nothing is trained yet and no note is touched."""
    if (given := vault or vault_argument) is None:
        raise UsageError("Say which folder holds your notes.", "`vaultgpt init VAULT`.")
    real = real_vault(given)
    state = create_state(real, adopt=_adopted(real, adopt, anew, as_json))
    if said := nested(real):
        err.print(said, style="yellow", markup=False)
    with progress(as_json) as bar:
        if base:
            fetched = fetch_base(base, state, bar)
            save_option(state.config, "base", fetched.name)
        settings = load_settings(state.config)
        found = resolve(settings.base, state)
        hear = show_on(bar)
        seen = Here(state).with_desk(lambda desk: scanned(desk, hear))
        counts = seen.census
    sentences = [*seen.said, *findings(counts, state.vault, found, settings)]
    sentences += [said for said in remarks(found) if said not in sentences]
    better = None if base or no_base else offered(counts, found)
    if better and as_json:
        found = _take(state, better, as_json) or found if yes else found
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
    if better:
        _offer(state, better, yes)
    if plugin and not no_plugin:
        out.print(plugin, markup=False)
    out.print(f"Its state is in {state.folder}", style="dim", markup=False)
    if not yes:  # who answers beforehand wants no more questions
        _offer_service()


def _offer_service() -> None:
    """The last question: whether all vaults are to be served from login on; on a terminal only."""
    if not (sys.stdin.isatty() and err.is_terminal and available()) or status()["installed"]:
        return
    if typer.confirm("Serve your vaults at every login (a service)?", default=False, err=True):
        try:
            out.print(install()["sentence"], markup=False)
        except VaultGPTError as error:
            say_error(error)


def _offer(state: VaultState, better: Known, yes: bool) -> None:
    """Ask whether to fetch the advised base, and whether to learn at once; only on a terminal."""
    asking = sys.stdin.isatty() and err.is_terminal
    question = f"Fetch {better.short} now ({better.gigabytes} GB)?"
    if not yes and not (asking and typer.confirm(question, default=True, err=True)):
        return
    found = _take(state, better)
    if found is None:
        return
    ready = f"{found.name} is here and learns next: now with `vaultgpt train`, or under `serve`."
    question = (
        "Learn now? The embedded base gives a first voice within minutes, the new one follows"
    )
    if yes or not typer.confirm(f"{question}.", default=False, err=True):
        out.print(ready, markup=False)
        return
    _learn(state, found)


def _take(state: VaultState, better: Known, quiet: bool = False) -> Base | None:
    """Bring the base and let the next round learn on it; None, and why, when it can't be had."""
    try:
        with progress(quiet) as bar:
            found = fetch_base(better.short, state, bar)
    except VaultGPTError as error:
        say_error(error)
        err.print("The embedded base stays, and `vaultgpt base` tries again.", markup=False)
        return None
    save_option(state.config, "base", found.name)
    for sentence in remarks(found):
        err.print(sentence, markup=False)
    return found


def _learn(state: VaultState, better: Base) -> None:
    """A first voice on the embedded base, then one on the better, which takes over by the gate."""
    try:
        if reads_only_english(better.name):
            save_option(state.config, "base", PEBBLE)
            _round(state)
    finally:
        save_option(state.config, "base", better.name)
    _round(state)


def _round(state: VaultState) -> None:
    with progress() as bar:
        answer = train(vault_service(state), False, show_on(bar))
    for sentence in round_sentences(answer):
        out.print(sentence, markup=False)


def _plugin(state: VaultState) -> str:
    """Install the plugin where Obsidian is used; one sentence, "" when there is nothing to say."""
    if not bundled() or not (state.vault / ".obsidian").is_dir():
        return ""
    try:
        return str(install_plugin(state.vault)["sentence"])
    except VaultGPTError as error:
        return f"The plugin was not installed: {error}"
    except OSError as error:
        said = (error.strerror or type(error).__name__).lower()
        return (
            f"The plugin was not installed: nothing can be written in {state.vault / '.obsidian'} "
            f"({said}). `vaultgpt plugin install` tries again."
        )


def _adopted(real: Path, adopt: Path | None, anew: bool, quiet: bool) -> Path | None:
    """The old state folder to take over: named by --adopt, or found and agreed to.

    Conflict where the vault was moved and nobody can be asked, Unavailable where its state is gone:
    what it learned is not left behind in silence."""
    if adopt is not None:
        return to_take_over(real, adopt)
    folder = known_vaults().get(real)
    if not anew and folder and (gone := VaultState(real, folder).gone()):
        raise gone
    if anew or (old := moved_from(real)) is None:
        return None
    found = f"This looks like the vault that was at {old}"
    if quiet or not (err.is_terminal and sys.stdin.isatty()):
        raise Conflict(
            f"{found}.",
            f"Add `--adopt {old}` to take over what it learned, or --new to begin anew.",
        )
    if typer.confirm(f"{found}. Take over what it learned?", default=True, err=True):
        return to_take_over(real, old)
    return None
