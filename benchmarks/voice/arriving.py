"""A journal's notes in the order of their dates: what is there first, what comes on which day.

A note with several dated sections grows by them. A date without a day counts as its last day, and
undated notes were there from the beginning. Knows nothing about models or rounds.
"""

from __future__ import annotations

import calendar as months
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from benchmarks.voice.journals import Journal, items
from benchmarks.voice.stage import DAY_S, HOUR_S, START_S, written_at
from vaultgpt.corpus.words import split_words
from vaultgpt.training.round import Item
from vaultgpt.vault.reconcile import ScannedNote

FIRST_SHARE = 0.80  # of the dated words are the first training
HELD_SHARE = 0.10  # of the words from before the nights, and of those that come in them
HELD_MOST = 1.2  # of what is wanted: a longer note is passed over
EPOCH = date(1800, 1, 1)  # falls on START_S: old diaries are moved to where clocks are positive


@dataclass(frozen=True)
class Stage:
    """A note as it stood at the end of `day`."""

    day: date
    note: ScannedNote
    length: int | None  # characters of the file; None is all of it
    words: int  # that this stage adds
    only: bool  # the note has no other stage


@dataclass(frozen=True)
class Calendar:
    """What is in the vault before the nights, what arrives in them, and what is never in it."""

    first: tuple[Stage, ...]  # by day; undated notes stand on date.min
    later: tuple[Stage, ...]  # by day
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

    @property
    def first_words(self) -> int:
        return sum(s.words for s in self.first)

    @property
    def later_words(self) -> int:
        return sum(s.words for s in self.later)

    def between(self, after: date, upto: date) -> list[Stage]:
        """What arrives after one day, up to and on another."""
        return [s for s in self.later if after < s.day <= upto]


def day_of(written: str) -> date:
    """The last day that "1851", "1851-07" or "1851-07-21" can mean: it was not there before."""
    parts = [int(part) for part in written.split("-")]
    year, month = parts[0], parts[1] if len(parts) > 1 else 12
    return date(year, month, parts[2] if len(parts) > 2 else months.monthrange(year, month)[1])


def stages(note: ScannedNote) -> list[Stage]:
    """How a note grew: one stage a dated section where they stand in order, else one in all.

    An undated note has none; an undated section belongs to the one before it.
    """
    entries = note.note.entries
    days = [day_of(e.date) for e in entries if e.date]
    if not days:
        return []
    if len(set(days)) == 1 or days != sorted(days):
        return [Stage(max(days), note, None, note.note.words, True)]
    groups: list[tuple[date, int, int]] = []  # day, start of the text after it, words
    for at, entry in enumerate(entries):
        end = entries[at + 1].start if at + 1 < len(entries) else -1
        words = len(split_words(entry.prose))
        day = day_of(entry.date) if entry.date else (groups[-1][0] if groups else days[0])
        if groups and groups[-1][0] == day:
            words += groups.pop()[2]
        groups.append((day, end, words))
    return [Stage(day, note, None if end < 0 else end, words, False) for day, end, words in groups]


def plan_calendar(notes: Sequence[ScannedNote], seed: int) -> Calendar:
    """Split a journal at the day by which 80 % of its dated words were written."""
    every = sorted((s for n in notes for s in stages(n)), key=lambda s: (s.day, s.note.note.path))
    border = _border(every)
    days: dict[str, list[date]] = {}
    for stage in every:
        days.setdefault(stage.note.note.path, []).append(stage.day)
    undated = [n for n in notes if n.note.path not in days]
    before = undated + [n for n in notes if max(days.get(n.note.path, [border])) < border]
    after = [n for n in notes if min(days.get(n.note.path, [date.min])) >= border]
    old, late = _hold_out(before, seed), _hold_out(after, seed)
    held = {n.note.path for n in (*old, *late)}
    kept = [s for s in every if s.note.note.path not in held]
    there = [
        Stage(date.min, n, None, n.note.words, True) for n in undated if n.note.path not in held
    ]
    return Calendar(
        (*there, *(s for s in kept if s.day < border)),
        tuple(s for s in kept if s.day >= border),
        tuple(old),
        tuple(late),
    )


def _border(every: Sequence[Stage]) -> date:
    total, got = sum(s.words for s in every), 0
    for day in sorted({s.day for s in every}):
        if got >= FIRST_SHARE * total:
            return day
        got += sum(s.words for s in every if s.day == day)
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


def put(journal: Journal, stage: Stage, vault: Path, day: date) -> None:
    """Write the note as it stood at this stage into the vault, saved at eight that evening."""
    place = vault / stage.note.note.path
    if stage.length is None:
        journal.add(stage.note, vault)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(stage.note.note.text[: stage.length], encoding="utf-8", newline="")
    written_at(place, night(day) - 7 * HOUR_S)


def fill_first(journal: Journal, found: Calendar, vault: Path) -> None:
    """Everything that was there before the nights."""
    for stage in found.first:
        put(journal, stage, vault, found.border - timedelta(7))


def stage_items(found: Sequence[Stage]) -> list[Item]:
    """What these stages brought, as the trainer scores it."""
    out: list[Item] = []
    for stage in found:
        of_note = items([stage.note])
        out += (
            of_note
            if stage.only
            else [i for i in of_note if i.date and day_of(i.date) == stage.day]
        )
    return out
