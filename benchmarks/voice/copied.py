"""What stands in a vault word for word: an exact index of plain word tuples.

Shares no code with the copy guard that it checks, neither its way to words nor its hashes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+")
ANCHOR = 4  # words; a shorter copied run counts as none
Run = tuple[str, ...]


def words_of(text: str) -> list[tuple[int, str]]:
    """(end in characters, normalised word) of each word: letters and digits, NFKC, casefold."""
    return [
        (
            m.end(),
            unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", m.group()).casefold()),
        )
        for m in _WORD.finditer(text)
    ]


def runs(words: Sequence[str], n: int) -> list[Run]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


class Standing:
    """The runs of some texts; none crosses from one text into the next."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [[w for _, w in words_of(t)] for t in texts]
        self._sets: dict[int, set[Run]] = {}
        self._places: dict[Run, list[tuple[int, int]]] = {}
        for number, words in enumerate(self._texts):
            for at, run in enumerate(runs(words, ANCHOR)):
                self._places.setdefault(run, []).append((number, at))

    def of(self, n: int) -> set[Run]:
        """All runs of n words."""
        if n not in self._sets:
            self._sets[n] = {run for words in self._texts for run in runs(words, n)}
        return self._sets[n]

    def shared(self, text: str, n: int) -> tuple[int, int]:
        """(runs of n words in `text`, how many of them stand here)."""
        found = runs([w for _, w in words_of(text)], n)
        known = self.of(n)
        return len(found), sum(run in known for run in found)

    def completed(self, before: str, text: str, n: int) -> int:
        """Runs of n words that stand here and whose last word ends in `text`, after `before`."""
        words = words_of(before + text)
        known, plain = self.of(n), [w for _, w in words]
        return sum(
            words[i + n - 1][0] > len(before) and tuple(plain[i : i + n]) in known
            for i in range(len(words) - n + 1)
        )

    def longest(self, before: str, text: str) -> int:
        """Words of the longest run that stands here and ends in `text`; it may begin before."""
        words = words_of(before + text)
        first = next((i for i, (end, _) in enumerate(words) if end > len(before)), len(words))
        plain = [w for _, w in words]
        best = 0
        for at in range(len(plain) - ANCHOR + 1):
            for number, place in self._places.get(tuple(plain[at : at + ANCHOR]), ()):
                own, size = self._texts[number], ANCHOR
                while (
                    at + size < len(plain)
                    and place + size < len(own)
                    and plain[at + size] == own[place + size]
                ):
                    size += 1
                if at + size > first:
                    best = max(best, size)
        return best
