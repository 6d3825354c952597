"""How long training will take, from words, the base's size and the cores: a guess, said as one.

Knows nothing about what a round does beyond its count of tokens.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass

import psutil

from vaultgpt.config import Training

# Parameters times trained tokens a second and core. Measured on 2 cores (AVX512-bf16): a model
# of 6.9 M 3,500 tokens/s, GPT-2 (124 M) 150 in fp32 and 259 in bf16: 1.2e10, and 0.9e10 to 1.6e10.
PARAMETER_TOKENS_PER_S = 1.2e10
CORE_EXPONENT = 0.8  # speed grows with cores to this power; a guess beyond the 2 measured
FORWARD_SPEEDUP = 3.0  # a scored token costs a third of a trained one
START_S = 10.0  # starting the worker and loading the base
# Tokens a word, measured on journals: vocabularies of 8,192 and of 50,257; German on either takes
# 1.6 times as many.
TOKENS_PER_WORD_SMALL, TOKENS_PER_WORD = 1.6, 1.45
SMALL_VOCAB = 20_000
FOREIGN = 1.6
HELD_OUT_SHARE, HELD_OUT_MOST_WORDS, HELD_OUT_LEAST_TOKENS = 0.05, 50_000, 24 * 256
LOOKS_PER_EPOCH, OTHER_LOOKS = 4, 3  # evaluations; the others score base, before and after


@dataclass(frozen=True)
class Estimate:
    """Seconds of the first, budgeted round and of one over the whole vault."""

    first_s: float
    full_s: float
    tokens_per_s: float
    device: str  # "cpu", "cuda" or "mps"

    @property
    def measured(self) -> bool:
        """Whether the figures rest on measurements of this kind of device."""
        return self.device == "cpu"

    @property
    def in_one(self) -> bool:
        """Whether the first round already learns the whole vault."""
        return self.full_s <= self.first_s


def estimate(
    words: int,
    parameters: int,
    *,
    vocab: int = SMALL_VOCAB,
    foreign: bool = False,
    training: Training | None = None,
    cores: int | None = None,
    device: str | None = None,
) -> Estimate:
    """The time that rounds over `words` words of prose take with a base of `parameters`.

    `foreign`: the base's tokenizer was made for another language. A GPU is taken to be as fast as
    this machine's cores, which it exceeds by far; `Estimate.measured` is then False.
    """
    training = training or Training()
    device = device or guess_device(training.device)
    count = cores or usable_cores(training.threads)
    effective = 2 * (count / 2) ** CORE_EXPONENT
    rate = PARAMETER_TOKENS_PER_S * effective / max(parameters, 1)
    per_word = TOKENS_PER_WORD_SMALL if vocab < SMALL_VOCAB else TOKENS_PER_WORD
    per_word *= FOREIGN if foreign else 1.0
    scored = max(min(HELD_OUT_SHARE * words, HELD_OUT_MOST_WORDS) * per_word,
                 HELD_OUT_LEAST_TOKENS)
    learned = max(words * per_word - scored, 0.0) * training.epochs
    looks = LOOKS_PER_EPOCH * training.epochs + OTHER_LOOKS
    full_s = START_S + (learned + looks * scored / FORWARD_SPEEDUP) / rate
    return Estimate(min(full_s, training.first_round_s), full_s, rate, device)


def guess_device(setting: str = "auto") -> str:
    """The kind of device a round will run on, without importing torch."""
    if setting != "auto":
        return setting.split(":")[0]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    return "cuda" if shutil.which("nvidia-smi") else "cpu"


def usable_cores(threads: int = 0) -> int:
    """Physical cores that this process may use; `threads` where the settings name a number."""
    if threads:
        return threads
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed))


def human(seconds: float) -> str:
    """ "under a minute", "about 3 minutes", "about 2 hours", "about 4 days"."""
    if seconds < 50:
        return "under a minute"
    for size, word, until in ((60, "minute", 50), (3600, "hour", 36), (86400, "day", 1e9)):
        count = round(seconds / size)
        if count <= until:
            count = max(count, 1)
            return f"about {count} {word}s" if count > 1 else f"about {_one(word)}"
    return "a very long time"


def _one(word: str) -> str:
    return f"an {word}" if word.startswith("hour") else f"a {word}"
