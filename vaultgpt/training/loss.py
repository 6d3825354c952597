"""Cross entropy without whole logits: chunks of rows, recomputed in the backward pass.

Knows nothing about adapters, data or schedules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vaultgpt.training.base import BaseModel

CHUNK_LOGITS = 1 << 25  # logits held at once: 128 MB in float32
IGNORE = -100


@dataclass(frozen=True)
class Batch:
    """Rows of token ids, right-padded; all tensors are [B, L]."""

    ids: Tensor
    positions: Tensor | None  # None for a family that is not packed
    targets: Tensor  # the next token where it carries loss, else IGNORE


def make_batch(base: BaseModel, rows: Sequence[tuple[NDArray[np.int32], NDArray[np.int32],
                                                     NDArray[np.bool_]]]) -> Batch:
    """From (token ids, position ids, loss mask), each [T]; padding is a document of its own."""
    length = max(len(ids) for ids, _, _ in rows)
    ids = np.full((len(rows), length), base.encoder.end, np.int64)
    positions = np.zeros((len(rows), length), np.int64)
    targets = np.full((len(rows), length), IGNORE, np.int64)
    for row, (tokens, places, mask) in enumerate(rows):
        n = len(tokens)
        ids[row, :n] = tokens
        positions[row, :n] = places
        positions[row, n:] = np.arange(length - n)
        targets[row, : n - 1] = np.where(mask[1:], tokens[1:], IGNORE)
    where = base.device.where
    return Batch(torch.from_numpy(ids).to(where),
                 torch.from_numpy(positions).to(where) if base.packs else None,
                 torch.from_numpy(targets).to(where))


def total_nats(base: BaseModel, batch: Batch) -> Tensor:
    """Sum of nats over all targets, float32, with a graph; the caller sets autocast."""
    wanted = batch.targets != IGNORE  # [B, L]
    targets = batch.targets[wanted]  # [N]
    if not base.plain_head:
        return F.cross_entropy(base.logits(batch.ids, batch.positions)[wanted].float(), targets,
                               reduction="sum")
    hidden = base.hidden(batch.ids, batch.positions)[wanted]  # [N, hidden]
    head = base.model.get_output_embeddings()

    def nats(rows: Tensor, wanted_ids: Tensor) -> Tensor:
        return F.cross_entropy(head(rows).float(), wanted_ids, reduction="sum")

    size = max(1, CHUNK_LOGITS // head.weight.shape[0])
    if len(hidden) <= size:
        return nats(hidden, targets)
    # linear_cross_entropy is slower under autocast: it would have to run in float32.
    parts = [checkpoint(nats, hidden[i : i + size], targets[i : i + size], use_reentrant=False)
             for i in range(0, len(hidden), size)]
    return torch.stack(parts).sum()


@torch.no_grad()
def each_nats(base: BaseModel, batch: Batch) -> Tensor:
    """Nats of every target [B, L], float32; 0 where there is none."""
    wanted = batch.targets != IGNORE
    targets = batch.targets[wanted]
    out = torch.zeros(batch.ids.shape, dtype=torch.float32, device=batch.ids.device)
    if base.plain_head:
        rows = base.hidden(batch.ids, batch.positions)[wanted]  # [N, hidden]
        head = base.model.get_output_embeddings()
    else:
        rows = base.logits(batch.ids, batch.positions)[wanted]  # [N, vocabulary]
        head = torch.nn.Identity()
    size = max(1, CHUNK_LOGITS // base.embedding.shape[0])
    parts = [F.cross_entropy(head(rows[i : i + size]).float(), targets[i : i + size],
                             reduction="none") for i in range(0, len(rows), size)]
    if parts:
        out[wanted] = torch.cat(parts).to(out.dtype)
    return out
