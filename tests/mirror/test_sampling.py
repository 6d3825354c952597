"""Temperature, min-p, top-p, DRY and seeds."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultgpt.mirror.sampling import Dry, Sampler
from vaultgpt.wire import Sampling


def sampler(seed: int = 1, alternative: int = 0, **fields: Any) -> Sampler:
    return Sampler(Sampling(**{"top_p": 1.0, "min_p": 0.0, **fields}), seed, alternative)


def frequencies(logits: np.ndarray, draws: int = 20_000, **fields: Any) -> np.ndarray:
    one = sampler(**fields)
    return (
        np.bincount([one.draw(logits.copy()) for _ in range(draws)], minlength=len(logits)) / draws
    )


LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.08, 0.02], dtype=np.float32))


def test_zero_temperature_takes_the_likeliest() -> None:
    assert sampler(temperature=0.0).draw(LOGITS.copy()) == 0


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"temperature": 1.0}, [0.5, 0.25, 0.15, 0.08, 0.02]),
        ({"temperature": 0.5}, [0.733, 0.183, 0.066, 0.019, 0.001]),
        ({"temperature": 1.0, "min_p": 0.2}, [0.556, 0.278, 0.167, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.7}, [0.667, 0.333, 0, 0, 0]),
        ({"temperature": 1.0, "min_p": 0.2, "top_p": 0.8}, [0.667, 0.333, 0, 0, 0]),
    ],
)
def test_draws_follow_the_cut_distribution(fields: dict[str, Any], wanted: list[float]) -> None:
    assert np.abs(frequencies(LOGITS, **fields) - wanted).max() < 0.012


@pytest.mark.parametrize("steepness", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("share", [0.05, 0.9, 0.9999])
def test_the_nucleus_is_the_smallest_however_many_tokens_it_needs(
    steepness: float, share: float
) -> None:
    logits = (steepness * np.random.default_rng(3).standard_normal(5000)).astype(np.float32)
    logits[:9] = -np.inf
    kept, _ = sampler(temperature=1.0, top_p=share).cut(logits)
    chances = np.exp(logits.astype(np.float64) - logits.max())
    by_size = np.argsort(-chances, kind="stable")
    count = int((np.cumsum(chances[by_size]) < share * chances.sum()).sum()) + 1
    assert abs(len(kept) - count) <= (0 if steepness else 1) and (np.diff(kept) > 0).all()
    assert set(kept) >= set(by_size[: count - 1])


def test_who_chooses_no_nucleus_gets_that_of_the_base_s_size() -> None:
    small, large = 12_000_000, 135_000_000
    assert (Sampling().on(small).top_p, Sampling().on(large).top_p) == (0.9, 0.95)
    chosen = Sampling(top_p=0.5)
    assert chosen.on(small) == chosen.on(large) == chosen


def test_what_is_barred_is_never_drawn() -> None:
    logits = LOGITS.copy()
    logits[:3] = -np.inf
    assert set(np.flatnonzero(frequencies(logits, 500, temperature=2.0))) <= {3, 4}


def test_a_seed_gives_the_same_draws_and_alternatives_differ() -> None:
    logits = np.zeros(1000, dtype=np.float32)
    draws = {
        (seed, i): sampler(seed, i, temperature=1.0).draw(logits) for seed in (1, 2) for i in (0, 1)
    }
    assert len(set(draws.values())) == 4
    assert draws[1, 1] == sampler(1, 1, temperature=1.0).draw(logits)


def brute_dry(ids: list[int], size: int, dry: Dry) -> dict[int, float]:
    """For each token, the longest run before an earlier occurrence that equals the text's end."""
    out: dict[int, float] = {}
    for place in range(1, len(ids)):
        run = 0
        while run < place and ids[place - 1 - run] == ids[len(ids) - 1 - run]:
            run += 1
        if run >= dry.allowed and ids[place] not in dry.spared:
            penalty = dry.multiplier * dry.base ** (min(run, 50) - dry.allowed)
            out[ids[place]] = max(out.get(ids[place], 0.0), penalty)
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_dry_equals_a_search_of_the_whole_text(seed: int, poetry: bool) -> None:
    rng = random.Random(seed)
    ids = [rng.randrange(4) for _ in range(rng.randrange(1, 60))]
    dry = Dry(Sampling(dry_allowed=2), frozenset({3}) if poetry else frozenset(), False)
    dry.reset(ids)
    logits = np.zeros(4, dtype=np.float32)
    dry.penalise(logits)
    wanted = np.zeros(4, dtype=np.float64)
    for token, penalty in brute_dry(ids, 4, dry).items():
        wanted[token] = -penalty
    assert np.allclose(logits, wanted, rtol=1e-5)


def test_poetry_may_repeat_six_tokens() -> None:
    """A line may come back as a refrain; said three times in 16 of 990 lines, it now is in 5."""
    assert Dry(Sampling(), frozenset(), True).allowed == 6
    assert Dry(Sampling(), frozenset(), False).allowed == 3
