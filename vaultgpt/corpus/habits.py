"""What a writer does seldom and a small model often: figures, stray quotes, bare marks, circles.

Finds them in a text, the author's or the mirror's, and says how many are like the author. Counts
only, never a word of text. Knows nothing about models.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Any

from vaultgpt.corpus.words import is_alone, split_words
from vaultgpt.files import Json

# Words that were said so often before within NEAR words are a circle. In seven journals and the
# example vault that is 10 to 38 words of 10,000; 204 in the one (Mary MacLane) that chants.
_TIMES = {3: 2, 4: 1}
_NEAR = 200
_CHARS = 3  # of a script without spaces, that say as much as a word
_CREDIT = 30  # words that any text is thought to have had before
_IN_WORD = re.compile(r"(?:([^\W\d_]{2,12}?)\1{2,}|([^\W\d_])\2{7,})\Z")
_LEAST_IN_WORD = 9  # letters: "hahaha" and "lalalala" are words
_QUOTE = re.compile(r'["“”„«»]')
_OPENS = re.compile(r"(?:^|[\s(\[{<>*_~/‘'\-–—])\Z")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_FIGURE = re.compile(r"\d[\d.,:/\-]*")
_SCRIPTS = "scripts"
_IN_ANY_SCRIPT = ("COMBINING", "VARIATION")
MARKUP = "*_~=#+|>·•-"
# A rule, or a row of three such marks or more, counted anew every 40; and fewer at a line's end, as
# in a list item without a word.
_ONE = rf"[{MARKUP}][ \t]*"
_FREE = rf"(?<![^\s{MARKUP}])"  # after white space or another mark
_MARKS = re.compile(
    rf"{_FREE}(?:{_ONE}){{2}}[{MARKUP}]()(?:[ \t]*[{MARKUP}]){{0,37}}"
    rf"|(?<!\S)(?:{_ONE}){{1,2}}(?:\[[ xX]?\][ \t]*)?\n()"
)
_MARKS_BEGUN = re.compile(rf"{_FREE}(?:{_ONE}){{1,2}}(?:\[[ xX]?(?:\][ \t]*)?)?\Z")
_ASKS = re.compile("[?？؟]+")


@dataclass(frozen=True)
class Habits:
    """Words of some text, and how many times it did each."""

    words: int = 0
    figures: int = 0
    strays: int = 0  # quotes that close nothing
    circles: int = 0
    marks: int | None = 0  # rules and empty items; None where an older version did not count them
    questions: int | None = 0
    scripts: tuple[str, ...] | None = ()  # of its letters

    def __add__(self, other: Habits) -> Habits:
        return Habits(
            words=self.words + other.words,
            figures=self.figures + other.figures,
            strays=self.strays + other.strays,
            circles=self.circles + other.circles,
            marks=_both(self.marks, other.marks),
            questions=_both(self.questions, other.questions),
            scripts=_united(self.scripts, other.scripts),
        )

    @staticmethod
    def kept(value: Json) -> Habits:
        """The inverse of asdict, of what this or an older version kept."""
        if not value:
            return Habits()
        old: Json = {"marks": None, "questions": None, _SCRIPTS: None}
        return Habits(**{key: _read(key, found) for key, found in {**old, **value}.items()})

    def foreign(self, text: str) -> bool:
        """Whether it has a letter of a script that they do not write in; False where unknown."""
        return self.scripts is not None and not _scripts_of(text) <= {*self.scripts}

    def beside(self, text: str) -> Habits:
        """Theirs, in the scripts of `text` as well."""
        return replace(self, scripts=_united(self.scripts, tuple(_scripts_of(text))))

    def allows(self, kind: str, done: int, words: int) -> bool:
        """Whether a text of `words` words that did it `done` times may do it again.

        So many as 98 of 100 pages have of one who does it at this rate."""
        if (known := getattr(self, kind)) is None:
            return True
        expected = float(known) / max(1, self.words) * (words + _CREDIT)
        return done + 1 <= expected + 2.0 * math.sqrt(expected)


def _scripts_of(text: str) -> frozenset[str]:
    """The scripts of a text's letters and their marks: "LATIN", "CYRILLIC", "CJK" ..."""
    return frozenset(map(_script, set(text))) - {""}


@functools.cache
def _script(char: str) -> str:
    """The first word of a letter's name, as NFKC has it; "" for what stands in any script."""
    if unicodedata.category(char)[0] not in "LM" or unicodedata.category(char) == "Lm":
        return ""
    name = unicodedata.name(unicodedata.normalize("NFKC", char)[0], "")
    first = name.partition(" ")[0].partition("-")[0]
    return "" if first in _IN_ANY_SCRIPT else first


def _read(key: str, value: Any) -> Any:
    if value is None:
        return None
    return tuple(map(str, value)) if key == _SCRIPTS else int(value)


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _united(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if one is None or other is None else tuple(sorted({*one, *other}))


def figures(text: str, start: int = 0) -> list[int]:
    """Where each figure from `start` on begins; one that goes on from before it is none."""
    return [m.start() for m in _FIGURE.finditer(text) if m.start() >= start and m.group()]


def marks(text: str) -> list[tuple[int, int]]:
    """Each run of markup without a word in it: where it begins, and where that is known."""
    return [(m.start(), max(m.end(1), m.end(2))) for m in _MARKS.finditer(text)]


def marks_begun(text: str) -> int:
    """Where marks at the end of a text begin that may yet be such a run; else its length."""
    found = _MARKS_BEGUN.search(text, max(0, len(text) - 80))
    return found.start() if found else len(text)


def strays(text: str) -> list[int]:
    """Where quotes stand that close nothing in their paragraph."""
    found: list[int] = []
    at = 0
    for paragraph in _PARAGRAPH.split(text):
        at = text.index(paragraph, at)
        found += [at + i for i in _strays(paragraph)]
        at += len(paragraph)
    return found


def _strays(paragraph: str) -> list[int]:
    depth, low, found = 0, False, []
    for match in _QUOTE.finditer(paragraph):
        mark, i = match.group(), match.start()
        opens = mark != "”" and bool(_OPENS.search(paragraph[max(0, i - 1) : i]))
        if mark == "„" or (mark == "“" and not low) or (mark not in "“”" and opens):
            depth, low = depth + 1, low or mark == "„"
        elif depth:
            depth, low = depth - 1, False  # German closes with what opens in English
        else:
            found.append(i)
    return found


def looped(text: str) -> int | None:
    """Where the last word begins if it goes in a loop ("practractractract"), else None."""
    match = _IN_WORD.search(text, max(0, len(text) - 64))
    if match is None or len(match.group()) < _LEAST_IN_WORD:
        return None
    start = match.start()
    while start and text[start - 1].isalpha() and not is_alone(text[start - 1]):
        start -= 1
    return start


class Circles:
    """Follows a text word by word."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._places: dict[tuple[str, ...], list[int]] = {}

    def __len__(self) -> int:
        return len(self._words)

    def add(self, word: str) -> bool:
        """Take the next word; whether it completes words said too often nearby."""
        self._words.append(word)
        here = len(self._words)
        circle = False
        for size, places in self._ending():
            near = [p for p in places if here - p <= self._scale() * _NEAR]
            circle |= len(near) >= _TIMES[size]
            places.append(here)
        return circle

    def cut(self, words: int) -> None:
        """Back to so many words."""
        while len(self._words) > words:
            for _, places in self._ending():
                places.pop()
            self._words.pop()

    def _scale(self) -> int:
        return _CHARS if is_alone(self._words[-1][:1]) else 1

    def _ending(self) -> list[tuple[int, list[int]]]:
        """The size of each run that ends with the last word, and where it ended before."""
        scale = self._scale()
        return [
            (size, self._places.setdefault(tuple(self._words[-size * scale :]), []))
            for size in _TIMES
            if len(self._words) >= size * scale
        ]


def measure(text: str) -> Habits:
    """One entry's text."""
    circles = Circles()
    words = split_words(text)
    went = sum(circles.add(w.norm) for w in words)
    went += sum(looped(text[w.start : w.end]) is not None for w in words)
    asked = len(_ASKS.findall(text))
    counts = (len(words), len(figures(text)), len(strays(text)), went, len(marks(text)), asked)
    return Habits(*counts, tuple(sorted(_scripts_of(text))))
