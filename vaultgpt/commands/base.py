"""`vaultgpt base [NAME]`: what fits this machine and what is in use, or another base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from vaultgpt.bases.catalogue import Known
from vaultgpt.bases.estimate import fitting
from vaultgpt.bases.fetch import download
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import remarks, resolve
from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    err,
    locate,
    out,
    print_json,
    progress,
    split_arguments,
)
from vaultgpt.errors import BaseModelError, NotFound
from vaultgpt.ledger import Ledger
from vaultgpt.settings import load_settings, save_option
from vaultgpt.state import VaultState
from vaultgpt.tasks.config import RELOAD
from vaultgpt.tasks.vault_service import ByDaemon, vault_service


@command("Begin")
def base(
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VAULT] [NAME]",
            show_default=False,
            help="pebble, a short name such as smollm2, a Hugging Face id (org/name[@revision]), "
            "a folder, a GGUF file, or ollama:NAME. Nothing: what fits this machine.",
        ),
    ] = None,
    vault: VaultOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the base models that fit, or take another; the old voice writes until it has learned."""
    vault, rest = split_arguments(args or [], vault, 1, "[NAME]")
    if rest:
        _take(locate(vault), rest[0], as_json)
    else:
        _list(_meant(vault), as_json)


def _meant(vault: Path | None) -> VaultState | None:
    """The vault whose base is marked in the list; None where none is said, or several could be."""
    try:
        return locate(vault)
    except NotFound:
        if vault is not None:
            raise
        return None


def fetch_base(name: str, state: VaultState | None, bar: Progress) -> Base:
    """The base called `name`, brought first if it is not here; remarks go to standard error."""
    task = bar.add_task(f"Fetching {name}", total=None)

    def on_progress(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total or None)

    found = download(name, state, on_progress, lambda said: err.print(said, markup=False))
    bar.update(task, total=1, completed=1)
    return found


def _take(state: VaultState, name: str, as_json: bool) -> None:
    before = load_settings(state.config).base
    with progress(as_json) as bar:
        found = fetch_base(name, state, bar)
    save_option(state.config, "base", found.name)
    service = vault_service(state)
    service.ask(RELOAD, None)
    active, writes, _ = _serving(state)
    said, changed = remarks(found), found.name != before
    if as_json:
        print_json(_facts(found) | {"changed": changed, "active": active, "remarks": said})
        return
    for sentence in (_sentence(found), *said):
        out.print(sentence, markup=False)
    learn = "learn on it with `vaultgpt train`"
    if isinstance(service, ByDaemon):
        learn = "the daemon learns on it next"
    if changed and writes:
        out.print(
            f"{writes} writes on until a voice on the new base is shown to be good: {learn}.",
            markup=False,
        )
    elif changed:
        out.print(f"{learn[0].upper()}{learn[1:]}.", markup=False)


def _list(state: VaultState | None, as_json: bool) -> None:
    """The catalogue beside this machine; what writes and what learns next are marked."""
    found, problem = _in_use(state)
    active, writes, writes_on = _serving(state) if state else (None, None, None)
    said = remarks(found) if found else []
    rows = fitting()
    if as_json:
        facts = _facts(found) if found else {"base": None}
        more = {"changed": False, "active": active, "remarks": said, "problem": problem}
        print_json(facts | more | {"bases": [_row(*row) for row in rows]})
        return
    if problem:
        err.print(problem, style="red", markup=False)
    if found:
        for sentence in (_sentence(found), *said):
            out.print(sentence, markup=False)
    if found and writes and writes_on != found.name:
        out.print(
            f"{writes} writes on {writes_on} until a voice on {found.name} is shown to be good.",
            markup=False,
        )
    _print_rows(rows, found.name if found else None)


def _in_use(state: VaultState | None) -> tuple[Base | None, str | None]:
    """The base of the settings, or why it can't be used; neither without a vault."""
    if state is None:
        return None, None
    try:
        return resolve(load_settings(state.config).base, state), None
    except BaseModelError as error:
        return None, str(error)


def _serving(state: VaultState) -> tuple[str | None, str | None, str | None]:
    """The active generation, the one that writes and its base's name; None where none does."""
    with Ledger.open(state) as ledger:
        active, writes = ledger.generations.active(), ledger.generations.writing()
        return active, writes, ledger.generations.get(writes).base if writes else None


def _row(known: Known, memory_gb: float, why: str) -> dict[str, object]:
    """A base of the catalogue beside this machine."""
    return {
        "name": known.short,
        "id": known.name,
        "parameters": known.parameters,
        "gigabytes": known.gigabytes,
        "licence": known.licence,
        "languages": known.reads,
        "memory_gb": round(memory_gb, 2),
        "fits": not why,
        "why": why or None,
        "package": known.packed,
        "tried": known.tried,
        "note": known.note or None,
    }


def _print_rows(rows: list[tuple[Known, float, str]], used: str | None) -> None:
    """One line a base, within 80 columns."""
    out.print()
    mark = "*" if used == "pebble" else " "
    out.print(f"{mark} {'pebble':<13}   12 M    none English comes along   the demonstration")
    for known, memory_gb, why in rows:
        mark = "*" if used and used.split("@")[0] in (known.name, known.packed) else " "
        fits = why or f"learns in {memory_gb:.1f} GB of memory"
        size = f"{known.parameters / 1e6:,.0f} M"
        out.print(
            f"{mark} {known.short:<13} {size:>6} {known.gigabytes:>4} GB "
            f"{known.reads[:7]:<7} {known.licence:<12} {fits}",
            markup=False,
            style="dim" if why else None,
        )
    untried = ", ".join(known.short for known, _, _ in rows if not known.tried)
    out.print(
        f"\nTake one with `vaultgpt base NAME`; docs/bases.md says more. Not run by us yet: "
        f"{untried}.",
        markup=False,
    )


def _facts(found: Base) -> dict[str, object]:
    return {
        "base": found.name,
        "revision": found.revision,
        "folder": str(found.folder),
        "parameters": found.parameters,
        "model_type": found.model_type,
        "context": found.context,
    }


def _sentence(found: Base) -> str:
    size = f"{found.parameters / 1e6:,.0f} million parameters"
    pinned = f", revision {found.revision[:12]}" if found.revision else ""
    return f"{found.name}: {found.model_type}, {size}, context {found.context} tokens{pinned}."
