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


def lower(own: Scored, other: Scored, seed: int = 1) -> dict[str, float]:
    """{"gain", "low", "high"}: bits per byte by which `own` lies below `other`.

    The interval of 95 % is a bootstrap over entries, each weighing its bytes. ValueError when the
    two are not of the same text.
    """
    if {k: v[1] for k, v in own.items()} != {k: v[1] for k, v in other.items()}:
        raise ValueError("not the same text")
    nats, others, size = (
        np.array(x, np.float64)
        for x in zip(*((own[k][0], other[k][0], own[k][1]) for k in own), strict=True)
    )
    picks = np.random.default_rng(seed).integers(0, len(size), (DRAWS, len(size)))
    draws = (others - nats)[picks].sum(1) / size[picks].sum(1) / LN2
    low, high = np.percentile(draws, [2.5, 97.5])
    gain = float((others - nats).sum() / size.sum() / LN2)
    return {"gain": gain, "low": float(low), "high": float(high)}
