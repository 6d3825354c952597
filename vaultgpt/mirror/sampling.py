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
MOST = 256  # likeliest tokens that are sorted, and four times as many while top-p wants more


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
        top = float(logits.max())
        if self.min_p > 0:
            kept = np.flatnonzero(logits >= top + self.temperature * math.log(min(self.min_p, 1.0)))
        else:
            kept = np.flatnonzero(logits > -np.inf)
        scaled = (logits[kept].astype(np.float64) - top) / self.temperature
        chances = np.exp(scaled)
        if self.top_p < 1 and len(kept) > 1:
            nucleus = _nucleus(chances, self.top_p)
            kept, chances = kept[nucleus], chances[nucleus]
        sums = np.cumsum(chances)
        point = self._point() * sums[-1]
        i = min(int(np.searchsorted(sums, point, side="right")), len(kept) - 1)
        self.log_chance += math.log(chances[i] / sums[-1])
        return int(kept[i])

    def _point(self) -> float:
        """The next of [0, 1): what single calls would give, in their order."""
        if not self._points:
            drawn = torch.rand(POINTS, generator=self.generator, dtype=torch.float64)
            self._points = drawn.tolist()[::-1]
        return self._points.pop()


def _nucleus(chances: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.intp]:
    """Places, rising, of the fewest chances that together have this share of their sum."""
    wanted, most = share * chances.sum(), MOST
    while True:
        top = np.argpartition(-chances, most)[:most] if most < len(chances) else None
        places = np.arange(len(chances)) if top is None else np.sort(top)
        order = places[np.argsort(-chances[places], kind="stable")]
        sums = np.cumsum(chances[order])
        if top is None or sums[-1] >= wanted:
            return np.sort(order[: int(np.searchsorted(sums, wanted)) + 1])
        most *= 4
