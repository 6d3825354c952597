"""The next token from logits: temperature, min-p, top-p, DRY, a seed for each alternative.

numpy on one row, since at this size a torch call costs more than its work. Knows nothing about
text or models.
"""

from __future__ import annotations

import math
import secrets

import numpy as np
import numpy.typing as npt
import torch

from vaultgpt.wire import Sampling

Logits = npt.NDArray[np.float32]  # [vocab]
LONGEST = 50  # tokens of a repeated run that count
POINTS = 64  # of one call: 64 take 7.6 us, one 7.3
LOWEST = float(np.finfo(np.float32).min)  # what is barred is below it
RARE = 1e-3  # of the likeliest one's chance; below, a token is sorted only where top-p wants it


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
        self._runs = {p: min(LONGEST, before.get(p - 1, 0) + 1) for p in places}
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


class Chooser:
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
            kept, chances = over(max(LOWEST, top + self.temperature * least))
            return kept, chances, float(chances.sum())
        every = np.exp((logits - np.float32(top)) / np.float32(self.temperature))
        whole = float(every.sum(dtype=np.float64))
        kept, chances = over(top + self.temperature * math.log(RARE))
        if chances.sum() < self.top_p * whole:
            kept, chances = over(LOWEST)
        return kept, chances, whole

    def _point(self) -> float:
        """The next of [0, 1): what single calls would give, in their order."""
        if not self._points:
            drawn = torch.rand(POINTS, generator=self.generator, dtype=torch.float64)
            self._points = drawn.tolist()[::-1]
        return self._points.pop()
