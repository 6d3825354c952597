"""Holds a growing text to the author's measure: no circles; figures, quotes, rules as theirs.

Without chance a small model says the same again and again, and with it a page may end in figures.
Works on text alone. Knows nothing about tokens or models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vaultgpt.corpus.habits import (
    MARKUP,
    Circles,
    Habits,
    figures,
    looped,
    marks,
    marks_begun,
    strays,
)
from vaultgpt.corpus.words import split_words

_Kind = Literal["copied", "circles", "figures", "strays", "marks", "short"]
_LOOKED_BACK = 4000  # characters before the cursor; about 700 words
_TOLD = frozenset('"“”„«»' + MARKUP + "\n")  # what figures, quotes and rules are told by
_USUAL = Habits(10_000, circles=20, marks=None)  # of an author who is not known


@dataclass(frozen=True)
class Fault:
    """What may not stand: from character `at` of the answer on it is written anew."""

    at: int
    kind: _Kind


class Manner:
    """One answer's habits so far, beside the author's; None where they are not known."""

    def __init__(self, habits: Habits | None, before: str, on: bool) -> None:
        self.on, self._known, self._habits = on, habits is not None, habits or _USUAL
        before = before[-_LOOKED_BACK:]
        words = split_words(before)
        open_at = words[-1].start if words and words[-1].end == len(before) else len(before)
        self._open = before[open_at:]  # a word that the answer may write on
        self._paragraph = before[before.rfind("\n\n") + 1 :]
        self._circles = Circles()
        for word in words:
            if word.start < open_at:
                self._circles.add(word.norm)
        self._before = len(self._circles)
        self._ends: list[tuple[int, bool]] = []  # of each word taken, and whether it made a circle
        self._looked = 0  # characters in which figures and quotes were looked for
        self._pardoned = 0  # characters up to which nothing is a fault

    def fault(self, text: str, upto: int) -> Fault | None:
        """The first in `text`, whose words have ended before `upto`."""
        if not self.on:
            return None
        start = looped(self._open + text)
        if start is not None and self._bad("circles", start - len(self._open), self._went()):
            return Fault(max(0, start - len(self._open)), "circles")
        fresh = text[self._looked :]
        if self._known and (any(c.isdigit() or c in _TOLD for c in fresh)):
            for kind, found in self._found(self._paragraph + text):
                late = [at for at, known in found if known > self._looked]
                if late and self._bad(kind, late[0], len(found) - len(late)):
                    return Fault(max(0, late[0]), kind)
        self._looked = len(text)
        return self._circle(text, upto)

    def settled(self, text: str) -> int:
        """Characters that no mark to come makes a fault of."""
        return marks_begun(text) if self.on and self._known else len(text)

    def pardon(self, length: int) -> None:
        """Nothing in the first `length` characters is a fault any more."""
        self._pardoned = max(self._pardoned, length)

    def cut(self, length: int) -> None:
        """The answer was cut back to `length` characters."""
        while self._ends and self._ends[-1][0] > length:
            self._ends.pop()
        self._circles.cut(self._before + len(self._ends))
        self._looked = min(self._looked, length)

    def _found(self, text: str) -> list[tuple[_Kind, list[tuple[int, int]]]]:
        """By kind, those of the answer: where each begins in it, and where that is known."""
        lead = len(self._paragraph)
        kinds: list[tuple[_Kind, list[tuple[int, int]]]] = [
            ("figures", [(at, at + 1) for at in figures(text)]),
            ("strays", [(at, at + 1) for at in strays(text)]),
            ("marks", marks(text)),
        ]
        return [
            (kind, [(at - lead, known - lead) for at, known in found if known > lead])
            for kind, found in kinds
        ]

    def _went(self) -> int:
        return sum(circle for _, circle in self._ends)

    def _bad(self, kind: str, at: int, done: int) -> bool:
        return max(0, at) >= self._pardoned and not self._habits.allows(kind, done, len(self._ends))

    def _circle(self, text: str, upto: int) -> Fault | None:
        begin = self._ends[-1][0] if self._ends else -len(self._open)
        whole = self._open + text
        for word in split_words(whole[begin + len(self._open) : upto + len(self._open)]):
            circle = self._circles.add(word.norm)
            at = begin + word.start
            if circle and self._bad("circles", at, self._went()):
                self._circles.cut(self._before + len(self._ends))
                return Fault(max(0, at), "circles")
            self._ends.append((begin + word.end, circle))
        return None
