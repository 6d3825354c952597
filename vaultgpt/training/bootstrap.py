"""How surely one model foretells text better than another: a bootstrap over entries.

Figures in, a Change out. Knows nothing about torch, files or verdicts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from vaultgpt.corpus import np
from vaultgpt.training.round import SegmentScores

if TYPE_CHECKING:
    import numpy.typing as npt

_Floats: TypeAlias = "npt.NDArray[np.float64]"
_RESAMPLES = 10_000
_SEED = 20_200_101  # the same evidence always gives the same verdict
_CACHED_ENTRIES = 64
_Z95 = 1.6448536269514722


FEW_ENTRIES = 6


@dataclass(frozen=True)
class Change:
    """Relative change of summed bits: -0.02 is 2 % better. `upper` is the one-sided 95 % bound,
    `error` the standard error."""

    point: float
    upper: float
    better_share: float  # of resamples in which it improved
    entries: int
    every_better: bool  # each segment or entry by itself improved
    error: float = math.inf


def _clusters(scores: SegmentScores, model: str) -> dict[str, tuple[float, int]]:
    """Entry -> (nats, bytes) under one model."""
    sums: dict[str, tuple[float, int]] = {}
    for entry, nats, size in zip(scores.entry, scores.nats[model], scores.bytes, strict=True):
        had = sums.get(entry, (0.0, 0))
        sums[entry] = (had[0] + nats, had[1] + size)
    return sums


def _student95(freedom: int) -> float:
    """The 95 % quantile of Student's t (Cornish-Fisher; within 1 % from 3 degrees on)."""
    n, z = max(1, freedom), _Z95
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def _change(
    after: Sequence[tuple[float, int]], before: Sequence[tuple[float, int]]
) -> Change | None:
    """Bootstrap of (sum after / its bytes) / (sum before / its bytes) - 1, entry by entry.

    Percentile bounds of few clusters are too narrow, so the distance from the point to the bound is
    widened by sqrt(n / (n - 1)) t / z. None for figures that are not finite or positive."""
    a, b = np.array(after, dtype=np.float64), np.array(before, dtype=np.float64)  # [entries, 2]
    if not len(a) or a.shape != b.shape or not np.isfinite([a, b]).all() or (b <= 0).any():
        return None
    if (a[:, 0] < 0).any() or (a[:, 1] <= 0).any():
        return None
    n = len(a)
    point = float(_ratio(a.sum(0)[None], b.sum(0)[None])[0]) - 1
    draws = _resample(a, b) - 1  # [RESAMPLES]
    edge = float(np.quantile(draws, 0.95))
    widen = math.sqrt(n / (n - 1)) * _student95(n - 1) / _Z95 if n > 1 else math.inf
    gap = max(0.0, edge - point)
    upper = point + gap * widen if n > 1 else math.inf
    every = bool((a[:, 0] / a[:, 1] < b[:, 0] / b[:, 1]).all())
    error = float(draws.std()) * math.sqrt(n / (n - 1)) if n > 1 else math.inf
    return Change(point, upper, float((draws < 0).mean()), n, every, error)


def _ratio(a: _Floats, b: _Floats) -> _Floats:
    """[rows, 2] sums of (nats, bytes) -> [rows] ratio of nats per byte."""
    ratio: _Floats = (a[:, 0] / a[:, 1]) / (b[:, 0] / b[:, 1])
    return ratio


def _resample(a: _Floats, b: _Floats) -> _Floats:
    """[RESAMPLES] ratios, each of as many entries drawn with replacement as there are."""
    both = np.hstack([a, b])  # [entries, 4]
    parts = _draws(len(a)) if len(a) <= _CACHED_ENTRIES else _draw(len(a))
    sums = np.concatenate([counts @ both for counts in parts])  # [RESAMPLES, 4]
    return _ratio(sums[:, :2], sums[:, 2:])


def _draw(n: int) -> Iterator[_Floats]:
    """How often each of `n` entries is drawn, [some resamples, n] at a time."""
    rng = np.random.default_rng(_SEED)
    step = max(1, min(_RESAMPLES, 4_000_000 // n))
    for start in range(0, _RESAMPLES, step):
        size = min(step, _RESAMPLES - start)
        yield rng.multinomial(n, np.full(n, 1.0 / n), size=size).astype(np.float64)


@functools.lru_cache(maxsize=4)
def _draws(n: int) -> tuple[_Floats, ...]:
    return tuple(_draw(n))


def paired(
    scores: SegmentScores, model: str, other: SegmentScores, other_model: str
) -> Change | None:
    if model not in scores.nats or other_model not in other.nats:
        return None
    a, b = _clusters(scores, model), _clusters(other, other_model)
    names = sorted(set(a) & set(b))
    if len(names) < max(1, min(len(a), len(b)) // 2):  # a first voice was scored on a sample
        return None
    found = _change([a[n] for n in names], [b[n] for n in names])
    if found is not None and other is scores and found.entries < FEW_ENTRIES:
        by_segment = all(
            x < y for x, y in zip(scores.nats[model], scores.nats[other_model], strict=True)
        )
        found = replace(found, every_better=by_segment)
    return found


def percent(value: float, bound: float | None = None) -> str:
    """ "1.2 %", the sign left to the sentence; in as many digits as tell it from `bound`."""
    digits = 1 if abs(value) >= 0.001 else 2
    while (
        bound is not None
        and digits < 4
        and value != bound
        and (f"{abs(value):.{digits + 2}f}" == f"{abs(bound):.{digits + 2}f}")
    ):
        digits += 1
    return f"{abs(100 * value):.{digits}f} %"
