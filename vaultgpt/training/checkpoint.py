"""From where training goes on: a killed round in its middle, a small one where the last one stood.

A checkpoint is one atomic file: weights, optimiser, RNG, position, losses; safetensors with JSON in
its header and a checksum of both. A foreign file counts as none, as does a damaged one, which is
set aside. The last weights lie beside an adapter, which is their mean along the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vaultgpt.files import Json, write_atomic
from vaultgpt.generation_folders import LAST_WEIGHTS
from vaultgpt.training.lora import Adapter
from vaultgpt.training.round import CHECKPOINT

DAMAGED = "checkpoint.damaged"
MEASURED = "measured.json"
_DELTA = "embedding_delta"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """Where a training run stands; everything but the tensors."""

    step: int = 0
    steps: int = 0  # planned; a budget may lower it
    position: int = 0  # blocks taken from the mixture
    tokens: int = 0  # trained on so far
    weight: float = 0.0  # of all steps in the mean of their weights
    seconds: float = 0.0  # spent in optimiser steps, earlier runs included
    earlier_s: float = 0.0  # of those the ones of earlier runs
    micro_tokens: int = 0
    losses: list[float] = field(default_factory=list)  # nats a token, by step
    checks: list[tuple[int, float]] = field(default_factory=list)  # (step, bits per byte)
    best_step: int = 0
    stale: int = 0  # validations since the best
    notes: list[str] = field(default_factory=list)
    recipe: dict[str, float] = field(default_factory=dict)  # by which it was begun; {} of old

    @staticmethod
    def from_json(value: Json) -> Progress:
        """The inverse of asdict. KeyError, TypeError, ValueError."""
        checks = [(int(step), float(bits)) for step, bits in value["checks"]]
        return Progress(**{**value, "checks": checks})


def write_checkpoint(
    folder: Path, job: str, progress: Progress, tensors: dict[str, Tensor]
) -> None:
    """Replace the checkpoint; `job` is the digest of the job that it belongs to."""
    body = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    body["rng"] = torch.get_rng_state()
    header = {"job": job, "progress": json.dumps(asdict(progress))}
    header["sum"] = _sum(header, body)
    write_atomic(folder / CHECKPOINT, save(body, header))


def read_checkpoint(folder: Path, job: str) -> tuple[Progress, dict[str, Tensor]] | None:
    """The checkpoint of this very job, or None. Restores torch's RNG.

    What a kill left half written beside it is removed: a round of many nights would fill the disk.
    """
    path = folder / CHECKPOINT
    for part in folder.glob(f".{CHECKPOINT}.*"):
        part.unlink(missing_ok=True)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header.pop("sum", "") != _sum(header, tensors):
            raise ValueError("damaged")
        if header["job"] != job:
            return None
        read = Progress.from_json(json.loads(header["progress"]))
        progress = replace(read, earlier_s=read.seconds)
        torch.set_rng_state(tensors.pop("rng"))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        with contextlib.suppress(OSError):
            path.replace(path.with_name(DAMAGED))
        return None
    return progress, tensors


def _sum(header: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """Of what was trained with, all of it; an optimiser's state of 60 MB takes 0.1 s."""
    found = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def clear(folder: Path) -> None:
    """Remove what only a resumed run needs, once the round's result is written."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
    (folder / DAMAGED).unlink(missing_ok=True)
    (folder / MEASURED).unlink(missing_ok=True)


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
