"""Where a round's training stood at its end: the next small round goes on from there.

An adapter is the mean of the weights along the way; what wanders on is the weights themselves. They
lie in a file beside the adapter, with the optimiser's moments. Knows nothing about data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vaultgpt.files import write_atomic
from vaultgpt.generation_folders import LAST_WEIGHTS
from vaultgpt.training.lora import Adapter

_DELTA = "embedding_delta"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class LastWeights:
    """The weights, the tokens read by then since the fresh round began, and the mean's weight."""

    weights: Adapter
    tokens: int
    weight: float  # of all steps so far in their mean
    moments: dict[str, Tensor] = field(default_factory=dict)  # "exp_avg/NAME", "exp_avg_sq/NAME"
    steps: int = 0  # that those were taken over
    batch_tokens: int = 1  # of these steps

    @staticmethod
    def guess(mean: Adapter, tokens: float) -> LastWeights:
        """For a generation without such a file: its mean, after so many tokens in even steps."""
        return LastWeights(mean, int(tokens), tokens * tokens / 2)


def save_last(folder: Path, last: LastWeights) -> None:
    """Write the file, whole or not at all, in bfloat16, half as large."""
    tensors = last.weights.tensors | last.moments
    if last.weights.embedding is not None:
        tensors[_DELTA] = last.weights.embedding
    tensors = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    course = {
        "tokens": last.tokens,
        "weight": last.weight,
        "steps": last.steps,
        "batch_tokens": last.batch_tokens,
    }
    header = {"format": "pt", "course": json.dumps(course)}
    write_atomic(folder / LAST_WEIGHTS, save(tensors, header))


def load_last(folder: Path, mean: Adapter) -> LastWeights | None:
    """The file beside the adapter `mean`; None where there is none that fits it."""
    try:
        with safe_open(folder / LAST_WEIGHTS, framework="pt") as file:
            course = json.loads((file.metadata() or {})["course"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        moments = {
            name: tensors.pop(name) for name in list(tensors) if name.split("/")[0] in MOMENTS
        }
        delta = tensors.pop(_DELTA, None)
        fits = {n: t.shape for n, t in tensors.items()} == {
            n: t.shape for n, t in mean.tensors.items()
        }
        if not fits or (delta is None) != (mean.embedding is None):
            return None
        weights = Adapter(mean.rank, mean.alpha, tensors, delta)
        return LastWeights(
            weights,
            int(course["tokens"]),
            float(course["weight"]),
            moments,
            int(course["steps"]),
            int(course["batch_tokens"]),
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
