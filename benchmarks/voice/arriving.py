"""A journal's notes in the order of their dates: what is there first, what comes on which day.

A note arrives on the last day that it bears (of the journals that are asked none is dated twice). A
date without a day counts as its last day, and undated notes were there from the beginning. Knows
nothing about models or rounds.
"""

from __future__ import annotations

import calendar as months
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from benchmarks.voice.journals import Journal
from benchmarks.voice.mirrors import DAY_S, HOUR_S, START_S, written_at
from vaultgpt.vault.reconcile import ScannedNote

FIRST_SHARE = 0.80  # of the dated words are the first training, where no other is asked
HELD_SHARE = 0.10  # of the words from before the nights, and of those that come in them
HELD_MOST = 1.2  # of what is wanted: a longer note is passed over
EPOCH = date(1800, 1, 1)  # falls on START_S: old diaries are moved to where clocks are positive


@dataclass(frozen=True)
class Arrival:
    """A note and the day on which it comes; undated ones stand on date.min."""

    day: date
    note: ScannedNote


@dataclass(frozen=True)
class Calendar:
    """What is in the vault before the nights, what arrives in them, and what is never in it."""

    first: tuple[Arrival, ...]  # by day
    later: tuple[Arrival, ...]  # by day
    old: tuple[ScannedNote, ...]  # held out, from before the nights
    late: tuple[ScannedNote, ...]  # held out, from their time

    @property
    def border(self) -> date:
        """The first day of the nights."""
        return self.later[0].day

    @property
    def last(self) -> date:
        """The last day on which something arrives."""
        return self.later[-1].day

    def between(self, after: date, upto: date) -> list[Arrival]:
        """What arrives after one day, up to and on another."""
        return [a for a in self.later if after < a.day <= upto]


def words_of(found: Sequence[Arrival]) -> int:
    return sum(a.note.note.words for a in found)


def day_of(written: str) -> date:
    """The last day that "1851", "1851-07" or "1851-07-21" can mean: it was not there before."""
    parts = [int(part) for part in written.split("-")]
    year, month = parts[0], parts[1] if len(parts) > 1 else 12
    return date(year, month, parts[2] if len(parts) > 2 else months.monthrange(year, month)[1])


def by_day(notes: Sequence[ScannedNote]) -> list[Arrival]:
    """All notes, by day and path."""
    days = [[day_of(e.date) for e in n.note.entries if e.date] for n in notes]
    found = [Arrival(max(d, default=date.min), n) for d, n in zip(days, notes, strict=True)]
    return sorted(found, key=lambda a: (a.day, a.note.note.path))


def last_words(notes: Sequence[ScannedNote], words: int) -> list[ScannedNote]:
    """The last notes by their days, with about so many words."""
    kept: list[ScannedNote] = []
    for arrival in reversed(by_day(notes)):
        if sum(n.note.words for n in kept) < words:
            kept.append(arrival.note)
    return kept


def plan_calendar(notes: Sequence[ScannedNote], seed: int, first: float = FIRST_SHARE) -> Calendar:
    """Split a journal at the day by which the `first` share of its dated words was written."""
    every = by_day(notes)
    border = _border([a for a in every if a.day > date.min], first)
    old = _hold_out([a.note for a in every if a.day < border], seed)
    late = _hold_out([a.note for a in every if a.day >= border], seed)
    held = {n.note.path for n in (*old, *late)}
    kept = [a for a in every if a.note.note.path not in held]
    before, later = ([a for a in kept if (a.day >= border) == part] for part in (False, True))
    return Calendar(tuple(before), tuple(later), tuple(old), tuple(late))


def _border(dated: Sequence[Arrival], first: float) -> date:
    got, total = 0, words_of(dated)
    for day in sorted({a.day for a in dated}):
        if got >= first * total:
            return day
        got += words_of([a for a in dated if a.day == day])
    raise SystemExit("This journal's dates leave nothing to arrive.")


def _hold_out(notes: Sequence[ScannedNote], seed: int) -> list[ScannedNote]:
    want, got = HELD_SHARE * sum(n.note.words for n in notes), 0
    held = []
    for one in sorted(notes, key=lambda n: random.Random(f"{seed}/{n.note.path}").random()):
        if got < want and got + one.note.words <= HELD_MOST * want:
            held.append(one)
            got += one.note.words
    return sorted(held, key=lambda n: n.note.path)


def night(day: date) -> float:
    """Simulated seconds at three in the morning after this day."""
    return START_S + ((day - EPOCH).days + 1) * DAY_S + 3 * HOUR_S


def put(journal: Journal, note: ScannedNote, vault: Path, day: date) -> None:
    """Write the note into the vault, saved at eight that evening."""
    journal.add(note, vault)
    written_at(vault / note.note.path, night(day) - 7 * HOUR_S)


def fill_first(journal: Journal, found: Calendar, vault: Path) -> None:
    """Everything that was there before the nights."""
    for arrival in found.first:
        put(journal, arrival.note, vault, found.border - timedelta(7))
