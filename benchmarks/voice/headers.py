"""Bits per byte of the same entries under one header and another, with intervals by entry.

Knows nothing about what the headers mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.voice.mirrors import base_model, cut
from vaultgpt.training.evaluate import LN2, by_entry, score
from vaultgpt.training.lora import Adapter, merged
from vaultgpt.training.round import Item

DRAWS = 2000
Scored = dict[str, tuple[float, int]]  # entry -> (nats, bytes)


def scored(found: Sequence[Item], adapter: Adapter | None) -> Scored:
    """Each entry's nats and bytes under the headers that these items bear."""
    parts = cut(found)
    with merged(base_model(), adapter):
        nats = score(base_model(), parts)
    return {entry: (value, size) for entry, value, size in by_entry(parts, nats)}


def bits_of(one: Scored) -> float:
    """Bits per byte of all entries together."""
    return sum(n for n, _ in one.values()) / LN2 / max(1, sum(b for _, b in one.values()))


def apart(
    nats: Sequence[float], other: Sequence[float], size: Sequence[int], seed: int = 1
) -> dict[str, float]:
    """{"gain", "low", "high"}: bits per byte by which `nats` lies below `other`.

    The interval of 95 % is a bootstrap over entries, each weighing its bytes.
    """
    a, b, n = (np.array(x, np.float64) for x in (nats, other, size))
    if not len(n):
        return {"gain": float("nan"), "low": float("nan"), "high": float("nan")}
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(n), (DRAWS, len(n)))
    draws = (b - a)[picks].sum(1) / n[picks].sum(1) / LN2
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"gain": float((b - a).sum() / n.sum() / LN2), "low": float(low), "high": float(high)}


def lower(own: Scored, other: Scored, seed: int = 1) -> dict[str, float]:
    """`apart` of two scorings of the same entries. ValueError when their bytes differ."""
    if {k: v[1] for k, v in own.items()} != {k: v[1] for k, v in other.items()}:
        raise ValueError("not the same text")
    return apart(
        [own[k][0] for k in own], [other[k][0] for k in own], [own[k][1] for k in own], seed
    )
