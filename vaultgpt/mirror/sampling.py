"""The next token from logits: temperature, min-p, top-p, DRY, a seed, and where lines of verse end.

numpy on one row, since at this size a torch call costs more than its work. Knows nothing about
models, and of the text only how long its last line is and how often it was said.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from vaultgpt.corpus.lines import Lines
from vaultgpt.corpus.words import norms
from vaultgpt.wire import Sampling

Logits = npt.NDArray[np.float32]  # [vocab]
_LONGEST = 50  # tokens of a repeated run that count
_POINTS = 64  # of one call: 64 take 7.6 us, one 7.3
_LOWEST = float(np.finfo(np.float32).min)  # what is barred is below it
_RARE = (1e-3, 1e-4, 1e-5)  # of the likeliest one's chance; below, top-p sorts only where it must
# Verse
_PROSE = (0.003, 0.01)  # a token's chance of a break and of a blank line, of a model in prose
_PRIOR, _MEMORY = 10.0, 40.0  # tokens that this is worth, and that the running mean looks back
_MOST = 8.0  # nats by which a break is raised or lowered
_REFRAIN = 2  # times that an answer may say a line


def log_softmax(row: Logits) -> Logits:
    """[vocab] nats of each token."""
    top = row.max()
    out: Logits = row - top - np.log(np.exp(row - top).sum())
    return out


class Dry:
    """DRY: the longer the run that a token would repeat, the less likely it becomes.

    `run[i]` is how many tokens before position i equal the tokens before the next one; kept up to
    date token by token, so a step costs the occurrences of the last token only. `spared` tokens are
    never lowered: in verse the ends of lines.
    """

    def __init__(self, settings: Sampling, spared: frozenset[int], poetry: bool) -> None:
        self.multiplier, self.base = settings.dry_multiplier, settings.dry_base
        self.allowed = max(settings.dry_allowed, 6) if poetry else settings.dry_allowed
        self.spared = spared
        self.ids: list[int] = []
        self._places: dict[int, list[int]] = {}  # token -> positions after it
        self._runs: dict[int, int] = {}  # position after a repeat -> its length

    def reset(self, ids: list[int]) -> None:
        """Start anew from these tokens."""
        self.ids, self._places, self._runs = [], {}, {}
        for i in ids:
            self.add(i)

    def add(self, token: int) -> None:
        """Take the next token into account."""
        places = self._places.setdefault(token, [])
        before = self._runs
        self._runs = {p: min(_LONGEST, before.get(p - 1, 0) + 1) for p in places}
        self.ids.append(token)
        places.append(len(self.ids))

    def penalise(self, logits: Logits) -> None:
        """Lower the tokens that would carry a repeated run on."""
        worst: dict[int, int] = {}
        for place, run in self._runs.items():
            if run >= self.allowed:
                token = self.ids[place]
                worst[token] = max(worst.get(token, 0), run)
        for token, run in worst.items():
            if token not in self.spared:
                logits[token] -= self.multiplier * self.base ** (run - self.allowed)


class Sampler:
    """Draws from logits for one alternative; its own generator makes it independent of the rest."""

    def __init__(self, settings: Sampling, seed: int | None, alternative: int) -> None:
        self.temperature, self.top_p = settings.temperature, settings.top_p
        self.min_p = settings.min_p
        self.log_chance = 0.0  # of all that was drawn, nats
        seed = secrets.randbits(62) if seed is None else seed
        self.generator = torch.Generator()
        self.generator.manual_seed((seed + alternative * 0x9E3779B97F4A7C15) % (1 << 63))
        self._points: list[float] = []

    def draw(self, logits: Logits) -> int:
        """An index of `logits`; -inf is never drawn. Order: temperature, min-p, top-p.

        Cumulated in the order of ids, not of likelihood: equal-looking logits that differ in the
        last bit (a cold and a warm cache) then draw the same token.
        """
        if self.temperature <= 0:
            return int(logits.argmax())
        kept, chances = self.cut(logits)
        sums = np.cumsum(chances)
        point = self._point() * sums[-1]
        i = min(int(np.searchsorted(sums, point, side="right")), len(kept) - 1)
        self.log_chance += math.log(chances[i] / sums[-1])
        return int(kept[i])

    def cut(self, logits: Logits) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """The ids that may be drawn, rising, and their chances beside the likeliest one's."""
        kept, chances, whole = self._likely(logits)
        if self.top_p < 1 and len(kept) > 1:
            order = np.argsort(-chances, kind="stable")
            count = int(np.searchsorted(np.cumsum(chances[order]), self.top_p * whole)) + 1
            nucleus = np.sort(order[:count])
            kept, chances = kept[nucleus], chances[nucleus]
        return kept, chances

    def _likely(
        self, logits: Logits
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], float]:
        """`cut` before top-p, and the sum of which top-p is a share.

        Without min-p all tokens are in it, but seldom ones are sorted only where it wants them.
        """
        top = float(logits.max())

        def over(floor: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
            kept = np.flatnonzero(logits >= floor)
            return kept, np.exp((logits[kept].astype(np.float64) - top) / self.temperature)

        if self.min_p > 0 or self.top_p >= 1:
            least = math.log(min(self.min_p, 1.0)) if self.min_p > 0 else -math.inf
            kept, chances = over(max(_LOWEST, top + self.temperature * least))
            return kept, chances, float(chances.sum())
        every = np.exp((logits - np.float32(top)) / np.float32(self.temperature))
        whole = float(every.sum(dtype=np.float64))
        for rare in _RARE:
            kept, chances = over(top + self.temperature * math.log(rare))
            if chances.sum() >= self.top_p * whole:
                return kept, chances, whole
        return *over(_LOWEST), whole

    def _point(self) -> float:
        """The next of [0, 1): what single calls would give, in their order."""
        if not self._points:
            drawn = torch.rand(_POINTS, generator=self.generator, dtype=torch.float64)
            self._points = drawn.tolist()[::-1]
        return self._points.pop()


class Breaks:
    """The tokens of a vocabulary that end a line: with a blank line after it, or without."""

    def __init__(self, written: Sequence[bytes], barred: Sequence[int] = ()) -> None:
        never = set(barred)
        ending = [i for i, w in enumerate(written) if b"\n" in w and i not in never]
        self.blank = np.array([i for i in ending if written[i].count(b"\n") > 1], np.int64)
        self.single = np.array([i for i in ending if written[i].count(b"\n") == 1], np.int64)


class Verse:
    """Ends lines where the author's lines end, under tags that they write in lines.

    A small model that has read 1,500 words of poems among 30,000 of prose hardly breaks a line by
    itself; once it has, it goes on so. The model's chance of a break and the author's, by the
    length of the line so far, are multiplied as odds, and the model's own mean is taken out.
    """

    def __init__(self, lines: Lines, breaks: Breaks) -> None:
        self.lines, self.breaks = lines, breaks
        self._mean = list(_PROSE)
        self._seen = _PRIOR

    def bend(self, logits: Logits, before: str, text: str) -> None:
        """Change [vocab] logits in place, for the line that `text` after `before` ends with.

        One that was said as often as a refrain may be goes on and becomes another.
        """
        column = len(text) - text.rfind("\n") - 1
        if column == len(text):
            column += len(before) - before.rfind("\n") - 1
        if self._spaced(text, 1) and not self._spaced(before):
            logits[self.breaks.blank if column else self.breaks.single] = -np.inf
        if not column:
            return
        if _said(text) >= _REFRAIN:
            logits[self.breaks.single] = logits[self.breaks.blank] = -np.inf
            return
        chances = np.exp(logits - logits.max())
        total = float(chances.sum())
        ends = self.lines.ends(column)
        blank = self.lines.blank_share if len(self.breaks.blank) else 0.0
        self._seen = min(_MEMORY, self._seen + 1.0)
        for kind, (ids, share) in enumerate(
            ((self.breaks.single, 1.0 - blank), (self.breaks.blank, blank))
        ):
            own = float(chances[ids].sum()) / total
            bias = _odds(ends * share) - _odds(self._mean[kind])
            logits[ids] += np.float32(min(_MOST, max(-_MOST, bias)))
            self._mean[kind] += (own - self._mean[kind]) / self._seen

    def _spaced(self, text: str, more: int = 0) -> bool:
        """Whether its blank lines, and so many more, are more than 98 of the author's 100 pages of
        its length have."""
        blanks = text.count("\n\n")
        expected = self.lines.blank_share * (text.count("\n") - blanks + more)
        return blanks + more > expected + 2.0 * math.sqrt(expected)


def _said(text: str) -> int:
    """How many lines before its last one say the same words."""
    before, _, line = text.rpartition("\n")
    words = norms(line)
    if not words or before.casefold().count(words[0]) < _REFRAIN:
        return 0  # mostly, and quick
    return sum(norms(other) == words for other in before.split("\n"))


def _odds(chance: float) -> float:
    kept = min(1.0 - 1e-6, max(1e-6, chance))
    return math.log(kept / (1.0 - kept))
