"""What is learned from a vault and what is not, counted from the ledger once it is in step.

Opens the notes that are new or changed, and now and then some more to tell the language. Knows
nothing about terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vaultgpt.ledger import Ledger
from vaultgpt.tasks.vault_service import Desk
from vaultgpt.vault.census import Census, census, counted, facts_of
from vaultgpt.vault.entry import NoteFacts
from vaultgpt.vault.reconcile import ScannedNote, read_some, read_vault
from vaultgpt.wire import Hear

_CENSUS = "census"


@dataclass(frozen=True)
class Scanned:
    """What was found. `some` reads the notes whose short form a test holds for."""

    census: Census
    said: list[str]  # what the author should know of the vault as a whole
    closed: tuple[str, ...]  # folders that can't be listed
    some: Callable[[Callable[[NoteFacts], bool]], Iterable[ScannedNote]]


def scanned(desk: Desk, hear: Hear) -> Scanned:
    """Bring the ledger in step with the folder, and count; `hear` is told how far that is.

    VaultError when the vault is not there, or holds nothing any more."""
    ledger, settings = desk.ledger, desk.settings

    def heard(read: int, of: int) -> None:
        hear({"event": "progress", "phase": "read", "fraction": read / max(1, of)})

    done = ledger.follow(settings.rules, desk.now, settings.schedule.vanished_percent, heard)
    if not done.recorded:  # without its secret the ledger can't say what changed since
        return tried(desk)
    _end_paused(desk)
    ledger.pending(desk.now, settings.schedule.quiet_s, listed=False)  # `status` finds it counted
    ledger.notes.totals(), ledger.notes.quarantined(), ledger.entries.usable_words(copies=False)
    found = _counted(ledger)
    found["language"] = ledger.notes.language(desk.state.vault, settings.rules, found["words"])

    def some(wanted: Callable[[NoteFacts], bool]) -> Iterable[ScannedNote]:
        paths = [note.path for note in ledger.notes.facts() if wanted(note)]
        notes = read_some(desk.state.vault, settings.rules, sorted(paths))
        return map(_less_forgotten(ledger), notes)

    return Scanned(found, done.said, done.closed, some)


def _counted(ledger: Ledger) -> Census:
    """What the ledger has, without the language."""
    return ledger.kept(
        _CENSUS, lambda: counted(ledger.notes.facts_alike(), *ledger.entries.census())
    )


def _end_paused(desk: Desk) -> None:
    """What must not be learned any more leaves the disk now, and not with the next round."""
    if not any(desk.state.staging.glob("*")):
        return  # no round and no measurement left any text
    from vaultgpt.rounds.ending import end_paused  # 0.1 s that hardly a command needs

    end_paused(desk.state, desk.ledger, desk.now)


def tried(desk: Desk) -> Scanned:
    """The same by settings that are not the vault's own: all is read and nothing recorded."""
    scan = read_vault(desk.state.vault, desk.settings.rules)
    notes = [*map(_less_forgotten(desk.ledger), scan.read)]
    return Scanned(
        census(notes),
        scan.said(),
        scan.closed,
        lambda wanted: [note for note in notes if wanted(facts_of(note))],
    )


def _less_forgotten(ledger: Ledger) -> Callable[[ScannedNote], ScannedNote]:
    from vaultgpt.tasks.forget import less_forgotten  # what it takes over HTTP costs 0.1 s

    return less_forgotten(ledger)
