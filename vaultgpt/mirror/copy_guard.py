"""The copy guard: a run of 10 words that stands in the index is never completed.

Follows one alternative's text word by word. Knows nothing about tokens or models; the index is
corpus.runs.RunIndex or anything with its `has`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from vaultgpt.corpus.runs import GUARD_WORDS
from vaultgpt.corpus.words import split_words

_TAIL = 32  # characters that nearly every word fits into
_ASCII_OPEN = re.compile(r"[A-Za-z0-9]+\Z")


class Runs(Protocol):
    """What the guard needs of an index."""

    n: int

    def has(self, words: Sequence[str]) -> bool:
        """Whether any run of `n` of these normalised words is in the index."""


class NoRuns:
    """An index of nothing."""

    n = GUARD_WORDS

    def has(self, words: Sequence[str]) -> bool:
        """False."""
        return False


class CopyGuard:
    """Words of prompt and answer so far. Offsets are characters of the answer; the prompt's end
    is 0 and a word that began in the prompt starts below it."""

    def __init__(self, runs: Runs, before: str, on: bool) -> None:
        self.runs, self.on = runs, on
        words = split_words(before[-4000:])[-runs.n :]
        self._context = before[-4000:][words[0].start :] if words else ""
        self._checked: list[tuple[int, str]] = []  # (end, norm) of checked words in the answer

    def ended(self, text: str) -> int:
        """Where the text ends whose words have ended: the start of an open last word, or all."""
        if not text:
            return 0
        tail = text[-_TAIL:]
        if tail.isascii() and len(text) > _TAIL:
            match = _ASCII_OPEN.search(tail)
            if match is None or match.start() > 0:
                return len(text) - (len(match.group()) if match else 0)
        start = len(text)
        joined = self._context[-64:] + text[-64:]
        words = split_words(joined)
        if words and words[-1].end == len(joined):
            start = len(text) - (len(joined) - words[-1].start)
        return max(0, start)

    def copied(self, text: str, upto: int) -> int | None:
        """The start of the first word of text[:upto] that completes a known run; None for none.

        Words that were checked before are not checked again; the words before it stay checked."""
        if not self.on:
            return None
        while self._checked and self._checked[-1][0] > upto:
            self._checked.pop()
        begin = self._checked[-1][0] if self._checked else 0
        if upto <= begin:
            return None
        # A word that began in the prompt is completed here, and so read from its start.
        lead = self._context if not self._checked else ""
        piece = lead + text[begin:upto]
        norms = [norm for _, norm in self._checked[-(self.runs.n - 1) :]]
        if self._checked and len(norms) < self.runs.n - 1:
            norms = self._before(text) + norms
        for word in split_words(piece):
            end = begin + word.end - len(lead)
            norms = [*norms[-(self.runs.n - 1) :], word.norm]
            if end <= 0:
                continue
            if len(norms) == self.runs.n and self.runs.has(norms):
                return begin + word.start - len(lead)
            self._checked.append((end, word.norm))
        return None

    def _before(self, text: str) -> list[str]:
        """Words of the prompt, without one that the answer completed."""
        first_end = self._checked[0][0]
        words = split_words(self._context + text[:first_end])
        return [w.norm for w in words[:-1]]

    def rewind(self, length: int) -> None:
        """The answer was cut back to `length` characters."""
        while self._checked and self._checked[-1][0] > length:
            self._checked.pop()
