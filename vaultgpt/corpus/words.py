"""What a word is: for counts, for runs that are hashed, for titles and figures alike.

Letters and digits with the marks that Unicode gives them. Knows nothing about notes.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import NamedTuple

LEAST_WORDS = 2_000  # of usable prose, under which nothing is trained or held out

# Scripts written without spaces, where each character with its marks counts as a word: Chinese,
# Japanese; Thai, Lao, Burmese and Khmer. Korean parts its words.
_ALONE = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_JOINERS = "\u200c\u200d"  # stand inside words of Persian and of India's scripts
_MARKED_PLANES = 0x1F000  # marks lie below it, but for tags and variants of emoji
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")


class Word(NamedTuple):
    """Characters [start, end) of a text and the word's normal form (NFKC, casefold)."""

    start: int
    end: int
    norm: str


@functools.cache
def _word() -> re.Pattern[str]:
    """A character of _ALONE, or letters and digits, each with its marks. Made in 30 ms, if ever."""
    marks, last = [], 0
    for point in range(0x300, _MARKED_PLANES):
        if unicodedata.category(chr(point))[0] == "M":
            if point != last + 1:
                marks.append(chr(point) * 2)
            marks[-1], last = marks[-1][0] + chr(point), point
    mark = f"[{''.join(f'{pair[0]}-{pair[1]}' for pair in marks)}{_JOINERS}]"
    letter = rf"[^\W_{_ALONE}]"
    return re.compile(rf"[{_ALONE}]{mark}*|{letter}+(?:{mark}+{letter}*)*")


def _norm(word: str) -> str:
    if word.isascii():
        return word.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())


def split_words(text: str) -> list[Word]:
    """Words of `text` in order; apostrophes, hyphens and underscores part them."""
    pattern = _ASCII_WORD if text.isascii() else _word()
    return [Word(m.start(), m.end(), _norm(m.group())) for m in pattern.finditer(text)]


@functools.cache
def is_alone(char: str) -> bool:
    """Whether the script of `char` has no spaces, so that it is a word of its own."""
    return bool(char) and not char.isascii() and re.fullmatch(f"[{_ALONE}]", char) is not None


def norms(text: str) -> list[str]:
    """Only the normal forms, faster than split_words."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return [_norm(word) for word in _word().findall(text)]


def count_words(text: str) -> int:
    """How many words `text` has."""
    pattern = _ASCII_WORD if text.isascii() else _word()
    return sum(1 for _ in pattern.finditer(text))
