"""Ends lines where the author's lines end, under tags that they write in lines.

A small model that has read 1,500 words of poems among 30,000 of prose hardly breaks a line by
itself; once it has, it goes on so. The model's chance of a break and the author's, by the length of
the line so far, are multiplied as odds, and the model's own mean is taken out. Knows nothing about
the author's text but where a line began.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vaultgpt.corpus.lines import Lines
from vaultgpt.corpus.runs import norms

Logits = npt.NDArray[np.float32]  # [vocab]
PROSE = (0.003, 0.01)  # a token's chance of a break and of a blank line, of a model in prose
PRIOR, MEMORY = 10.0, 40.0  # tokens that this is worth, and that the running mean looks back
MOST = 8.0  # nats by which a break is raised or lowered
REFRAIN = 2  # times that an answer may say a line


class Breaks:
    """The tokens of a vocabulary that end a line: with a blank line after it, or without."""

    def __init__(self, written: Sequence[bytes]) -> None:
        ending = [i for i, w in enumerate(written) if b"\n" in w]
        self.blank = np.array([i for i in ending if written[i].count(b"\n") > 1], np.int64)
        self.single = np.array([i for i in ending if written[i].count(b"\n") == 1], np.int64)


class Verse:
    """The state of one answer: how often the model has wanted to break so far."""

    def __init__(self, lines: Lines, breaks: Breaks) -> None:
        self.lines, self.breaks = lines, breaks
        self._mean = list(PROSE)
        self._seen = PRIOR

    def bend(self, logits: Logits, column: int, said: int = 0) -> None:
        """Change [vocab] logits in place for a line of `column` characters so far.

        One that was `said` as often as a refrain may be goes on and becomes another.
        """
        if not column:
            return
        if said >= REFRAIN:
            logits[self.breaks.single] = logits[self.breaks.blank] = -np.inf
            return
        chances = np.exp(logits - logits.max())
        total = float(chances.sum())
        ends, blank = self.lines.ends(column), self.lines.blank_share
        self._seen = min(MEMORY, self._seen + 1.0)
        for kind, (ids, share) in enumerate(((self.breaks.single, 1.0 - blank),
                                             (self.breaks.blank, blank))):
            own = float(chances[ids].sum()) / total
            bias = _odds(ends * share) - _odds(self._mean[kind])
            logits[ids] += np.float32(min(MOST, max(-MOST, bias)))
            self._mean[kind] += (own - self._mean[kind]) / self._seen


def said(text: str) -> int:
    """How many lines before its last one say the same words."""
    before, _, line = text.rpartition("\n")
    words = norms(line)
    if not words or before.casefold().count(words[0]) < REFRAIN:
        return 0  # mostly, and quick
    return sum(norms(other) == words for other in before.split("\n"))


def _odds(chance: float) -> float:
    kept = min(1.0 - 1e-6, max(1e-6, chance))
    return math.log(kept / (1.0 - kept))
