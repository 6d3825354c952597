"""Defaults of a round by the size of the base and of the vault. Knows nothing about torch.

Every figure's ground is in docs/method.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vaultgpt.bases.estimate import FRESH_PASSES
from vaultgpt.settings import Training
from vaultgpt.wire import SMALL_BASE

# Steps of a round, at least. 25,000 words of Thoreau on pebble, 3 passes: held-out 1.722 with 100
# steps of 1,094 tokens and 1.712 with 54 of 2,048.
_FRESH_STEPS, _LARGE_FRESH_STEPS, _INCREMENTAL_STEPS = 40, 60, 2
# A round whose batches are smaller takes a rate smaller by this power of their share of 3,500
# tokens. Thoreau, held-out: 50,000 words in batches of 3,500, 2e-3 1.4692, 2.8e-3 1.4703; 10,000
# words in batches of 681, 8.8e-4 1.4903, 1.2e-3 1.4921, 1.8e-3 1.4959.
# Larger bases were measured in batches of 1,950.
_RATE_TOKENS, _LARGE_RATE_TOKENS, _SMALL_BATCH = 3_500, 1_950, 0.75
# Bases under SMALL_BASE parameters take batches of at most _RATE_TOKENS and short blocks. Mary
# MacLane's 97,000 words at rank 16, held-out in segments of 256 and of 960 tokens: batches of 7,000
# 1.580 and 1.573; of 3,500 with blocks of 1,024 1.577 and 1.571, of 512 1.576 and 1.570, of 256
# 1.572 and 1.567. 368,000 words of three authors, blocks of 512 and 256: 1.549 and 1.549, 1.543 and
# 1.545; parts of 48 tokens 1.635 and 1.633; texts under a tag reach 0.86 and 0.92 of real pages'
# accuracy, for a header is read oftener.
_SMALL_BLOCK, _BLOCK = 256, 1024
_LARGE_BATCH = 16_384
# A first voice on a larger base reads few tokens, in batches of these. SmolLM2-135M, the example
# vault, 5,300 tokens: 7.5 % less surprised than the base after ten steps of 512, plain English
# 1.0 % better; after five of 1,072 7.0 and 0.4 %. Twice the rate: 9.0 and 8.4 %, English 1.7 and
# 2.0 % worse.
_LEAST_BATCH = 512
# Larger bases are adapted by LoRA alone: SmolLM2-135M's embedding is 28 million of its parameters,
# 57 MB of every kept voice, Gemma 3 270M's 168 million.
_EMBEDDING_PARAMS = 60_000_000


@dataclass(frozen=True)
class Recipe:
    """What one round does; see settings.Training for the settings behind it."""

    rank: int
    rate: float  # peak learning rate of LoRA
    embedding_rate: float  # peak learning rate of the embedding; 0 leaves it alone
    batch_tokens: int  # most tokens of one optimiser step
    block_tokens: int
    weight_decay: float = 0.01
    clip: float = 1.0
    warmup: float = 0.05  # of the steps, 3 at least; 0 is none
    passes: float = 0.0  # over the text to learn


def choose_recipe(
    settings: Training,
    *,
    words: int,
    params: int,
    context: int,
    tied: bool,
    round_tokens: float,
    fresh: bool,
    parent_rank: int | None,
    read_tokens: float = 0.0,
    gentle: int = 0,
    hurried: bool = False,
) -> Recipe:
    """`round_tokens` is what all passes hold; `parent_rank` is kept when continuing.

    `read_tokens` were read before it: a round that goes on takes no larger batches, nor a higher
    rate, than a fresh one over all of them would. On 5,000 words plain English became 9 % worse.
    A rate that nobody set is halved `gentle` times. A `hurried` round on a larger base takes
    the smallest batches."""
    rank = parent_rank or settings.rank or _choose_rank(words)
    train_embedding = settings.embedding and tied and params < _EMBEDDING_PARAMS
    small = params < SMALL_BASE
    block = choose_block(settings, params=params, context=context)
    full = _FRESH_STEPS if small else _LARGE_FRESH_STEPS
    steps = full if fresh else _INCREMENTAL_STEPS
    most = settings.batch_tokens or (_RATE_TOKENS if small else _LARGE_BATCH)
    held = round_tokens / steps if fresh else min(round_tokens / steps, read_tokens / full)
    batch = max(0 if hurried and not small else min(most, int(held)), min(_LEAST_BATCH, most))
    peak = _choose_rate(params)
    if not small and (hurried or not fresh):
        peak = min(peak, _FEW_STEPS_RATE)
    rate = settings.learning_rate or peak * _share_of_rate(params, batch) / 2**gentle
    return Recipe(
        rank,
        rate,
        _embedding_rate(rate) if train_embedding else 0.0,
        batch,
        min(block, max(batch, 256)),
        warmup=0.05 if fresh else 0.0,
    )


def passes(settings: Training, *, fresh: bool) -> float:
    """Passes over the text to learn."""
    if not fresh:
        return settings.new_passes
    return settings.epochs or FRESH_PASSES


def choose_block(settings: Training, *, params: int, context: int) -> int:
    """Tokens of the longest block: the setting (64 at least), or by the base's size."""
    own = settings.block_tokens
    wanted = max(own, 64) if own else _SMALL_BLOCK if params < SMALL_BASE else _BLOCK
    return min(wanted, context)


def _choose_rank(words: int) -> int:
    """16 up to 3 million words, 32 above: 8 is 0.000 to 0.001 worse at 10,000 and 50,000 words."""
    return 16 if words <= 3_000_000 else 32


# Peak rates by parameters, log-log between them. 4e-3 and 2.8e-3: LoRA and the embedding of bases
# up to pebble 0.3.0, which 2.8e-3 fits as well as 4e-3 and better than 2e-3 on 190,000 words of
# Thoreau. 6e-3: LoRA alone on SmolLM2-135M, the example vault, bits per byte less than the base's
# after one and two passes: 17.4 and 19.3 %, with 3e-3 16.0 and 18.3 % (at best 18.6), plain English
# 1.3 and 0.6 % better than the base's, 1.7 and 1.6 % with 3e-3 (in batches of 512, whose rates are
# smaller). With 5e-4, as was advised for this size, two passes gave 12.6 %.
# 1.5e-3: Gemma 3 270M, the example vault, after one, two and three passes: 13.7, 15.2 and 13.2 %
# fewer bits than its base, plain English 2.6, 2.6 and 3.4 % worse (the validation part takes the
# second); with 2.3e-3 the best was 14.8 % less and 6.2 % worse at English, which is refused.
_RATES = ((7e6, 4e-3), (11.6e6, 2.8e-3), (135e6, 6e-3), (268e6, 1.5e-3))
# Most of a round that may have few steps, a first voice or a night's: ten of them at twice 3e-3
# made plain English 1.7 % worse.
_FEW_STEPS_RATE = 3e-3
_FALL = 0.35  # of larger bases with this power of their size; from the literature, not measured


def _choose_rate(params: int) -> float:
    """Peak rate of a round in full batches, by the base's size."""
    sizes, rates = zip(*_RATES, strict=True)
    within = np.exp(np.interp(math.log(params), np.log(sizes), np.log(rates)))
    return float(within) * min(1.0, float((sizes[-1] / params) ** _FALL))


def _share_of_rate(params: int, batch_tokens: int) -> float:
    """The share of its rate that a round takes whose batches have so many tokens."""
    full = _RATE_TOKENS if params < SMALL_BASE else _LARGE_RATE_TOKENS
    return min(1.0, float((batch_tokens / full) ** _SMALL_BATCH))


def _embedding_rate(rate: float) -> float:
    """0.19 of LoRA's: held-out 1.711; with 0.05 of it 1.715, without the embedding 1.721."""
    return rate * 1.5 / 8.0


def rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """Share of the peak rate at `step` (from 0): warm-up, then steady, as the mean is taken."""
    if not recipe.warmup:
        return 1.0
    warm = min(max(3, math.ceil(recipe.warmup * steps)), max(1, steps - 1))
    return min(1.0, (step + 1) / (warm + 1))
