"""A journal's notes in the order of their dates: what is there first, what comes on which day.

A note arrives on the last day that it bears (of the journals that are asked none is dated twice). A
date without a day counts as its last day, and undated notes were there from the beginning. Knows
nothing about models or rounds.
"""

from __future__ import annotations

import itertools
import random
from calendar import monthrange
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from benchmarks.voice.mirrors import DAY_S, HOUR_S, START_S
from vaultgpt.vault.reconcile import ScannedNote

FIRST_SHARE = 0.80  # of the dated words are the first training, where no other is asked
HELD_SHARE = 0.10  # of the words from before the nights, and of those that come in them
HELD_MOST = 1.2  # of what is wanted: a longer note is passed over
TAIL_DAYS = 7  # looks after the last arrival, for text that was held out of the round before
EPOCH = date(1800, 1, 1)  # falls on START_S: old diaries are moved to where clocks are positive


@dataclass(frozen=True)
class Calendar:
    """What is in the vault before the nights, what arrives in them, and what is never in it."""

    first: list[ScannedNote]  # by day
    later: list[ScannedNote]  # by day
    old: list[ScannedNote]  # held out, from before the nights
    late: list[ScannedNote]  # held out, from their time

    @property
    def border(self) -> date:
        """The first day of the nights."""
        return day_of(self.later[0])

    @property
    def last(self) -> date:
        """The last day on which something arrives."""
        return day_of(self.later[-1])

    def between(self, after: date, upto: date) -> list[ScannedNote]:
        """What arrives after one day, up to and on another."""
        return [n for n in self.later if after < day_of(n) <= upto]

    def looks(self, step_days: int) -> Iterator[date]:
        """The days after which the vault is looked at: every night, or the last of every week.

        Looks that come over a week after all arrivals are left out: what a refused round left is
        tried again after seven days, and after that time alone makes nothing due.
        """
        day = self.border + timedelta(step_days - 1)
        while day < self.last + timedelta(TAIL_DAYS + step_days):
            if self.between(day - timedelta(step_days + TAIL_DAYS + 1), day):
                yield day
            day += timedelta(step_days)

    def month_ends(self, tokens: int, foretold_tokens: int) -> int:
        """Tokens of a fresh training at the end of each month in which something arrived.

        Each costs the measured training's tokens, evaluation included, times the share of the words
        that were there by then: passes are the same and held-out text is a share of the words. What
        was read to foretell new pages is counted once for each page, not every month.
        `foretold_tokens` is that part of `tokens`.
        """
        months: Counter[str] = Counter()
        for one in self.later:
            months[f"{day_of(one):%Y-%m}"] += one.note.words
        there = itertools.accumulate(months.values(), initial=words_of(self.first))
        every = words_of(self.first) + words_of(self.later)
        shares = sum(words / every for words in list(there)[1:])
        return round((tokens - foretold_tokens) * shares + foretold_tokens)


def words_of(notes: Sequence[ScannedNote]) -> int:
    return sum(n.note.words for n in notes)


def day_of(one: ScannedNote) -> date:
    """The last day that its dates can mean, for it was not there before; date.min without any."""
    return max((_last_day(e.date) for e in one.note.entries if e.date), default=date.min)


def _last_day(written: str) -> date:
    """Of "1851", "1851-07" or "1851-07-21"."""
    year, month, day = (*map(int, written.split("-")), 0, 0)[:3]
    return date(year, month or 12, day or monthrange(year, month or 12)[1])


def by_day(notes: Sequence[ScannedNote]) -> list[ScannedNote]:
    """All notes, by day and path."""
    return sorted(notes, key=lambda n: (day_of(n), n.note.path))


def last_words(notes: Sequence[ScannedNote], words: int) -> list[ScannedNote]:
    """The last notes by their days, with about so many words."""
    kept: list[ScannedNote] = []
    for one in reversed(by_day(notes)):
        if words_of(kept) < words:
            kept.append(one)
    return kept


def plan_calendar(notes: Sequence[ScannedNote], seed: int, first: float = FIRST_SHARE) -> Calendar:
    """Split a journal at the day by which the `first` share of its dated words was written."""
    every = by_day(notes)
    dated = [n for n in every if day_of(n) > date.min]
    written = itertools.accumulate(n.note.words for n in dated)
    most = first * words_of(dated)
    enough = next(day_of(n) for n, words in zip(dated, written, strict=True) if words >= most)
    before = [n for n in every if day_of(n) <= enough]
    later = [n for n in every if day_of(n) > enough]
    if not later:
        raise SystemExit("This journal's dates leave nothing to arrive.")
    old, late = _hold_out(before, seed), _hold_out(later, seed)
    held = {n.note.path for n in (*old, *late)}
    there, arriving = ([n for n in part if n.note.path not in held] for part in (before, later))
    return Calendar(there, arriving, old, late)


def _hold_out(notes: Sequence[ScannedNote], seed: int) -> list[ScannedNote]:
    want, got = HELD_SHARE * words_of(notes), 0
    held = []
    for one in sorted(notes, key=lambda n: random.Random(f"{seed}/{n.note.path}").random()):
        if got < want and got + one.note.words <= HELD_MOST * want:
            held.append(one)
            got += one.note.words
    return sorted(held, key=lambda n: n.note.path)


def evening(day: date) -> float:
    """Simulated seconds at eight in the evening of this day, when its notes are saved."""
    return night(day) - 7 * HOUR_S


def night(day: date) -> float:
    """Simulated seconds at three in the morning after this day."""
    return START_S + ((day - EPOCH).days + 1) * DAY_S + 3 * HOUR_S
