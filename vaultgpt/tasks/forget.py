"""Unlearn one note: its words are barred at once, and so is every generation that learned it.

Knows nothing about terminals or HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from typing_extensions import TypedDict

from vaultgpt.ledger import Ledger
from vaultgpt.ledger.forgotten import SHORTEST
from vaultgpt.ledger.paragraphs import entry_places, split_paragraphs
from vaultgpt.rounds.ending import end_paused
from vaultgpt.tasks.request import Question
from vaultgpt.tasks.schemas import NotePath
from vaultgpt.tasks.vault_service import Desk, Task
from vaultgpt.vault.entry import Entry, Judgement
from vaultgpt.vault.reconcile import ScannedNote, read_vault

_GONE = Judgement(False, "forgotten", "You had it forgotten: it is never learned again.")


class ForgetRequest(Question):
    """A note to unlearn."""

    path: NotePath


class _ForgetAnswer(TypedDict):
    """How many entries were forgotten, the generations now barred for it, and what writes."""

    path: str
    entries: int
    generations: list[str]
    writes: str | None


def less_forgotten(ledger: Ledger) -> Callable[[ScannedNote], ScannedNote]:
    """Gives a note without its forgotten entries; one of which none is left is not used.

    What was forgotten is read from the ledger once, for all notes."""
    rows = [row for row in ledger.entries.all() if row.forgotten]
    if not rows:
        return lambda scanned: scanned
    places, digests = {row.place for row in rows}, ledger.forgotten.digests()
    key = ledger.key

    def gone(entry: Entry, place: str) -> bool:
        """By its place, or by its words where it was moved since the last scan."""
        if place in places:
            return True
        pieces = split_paragraphs(*entry.document(), key)
        parts = {p.digest for p in pieces if p.words >= SHORTEST}
        return bool(parts) and parts <= digests

    def less(scanned: ScannedNote) -> ScannedNote:
        if not scanned.judgement.used:
            return scanned
        note = scanned.note
        placed = zip(note.entries, entry_places(note.entries, key), strict=True)
        left = tuple(entry for entry, place in placed if not gone(entry, place))
        if len(left) == len(note.entries):
            return scanned
        kept = replace(scanned, note=replace(note, entries=left))
        return kept if kept.note.words else replace(kept, judgement=_GONE)

    return less


def _forget(desk: Desk, asked: ForgetRequest) -> _ForgetAnswer:
    ledger = desk.ledger
    before = ledger.generations.barred()
    if not any(row.path == asked.path for row in ledger.entries.all()):
        scan = read_vault(desk.state.vault, desk.settings.rules, ledger.notes.stamps())
        ledger.record(scan, desk.now)
    ids = ledger.forgotten.add(asked.path, desk.now)
    barred = sorted(ledger.generations.barred() - before)
    end_paused(desk.state, ledger, desk.now)
    writes = ledger.generations.writing()
    return _ForgetAnswer(path=asked.path, entries=len(ids), generations=barred, writes=writes)


FORGET = Task(
    "POST", "/v1/forget", "Unlearn one note", ForgetRequest, _ForgetAnswer, _forget, writes="voice"
)
