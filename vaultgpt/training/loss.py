"""Cross entropy without whole logits: rows in chunks, each with its gradients at once.

Knows nothing about adapters, data or schedules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vaultgpt.corpus.documents import Block, join
from vaultgpt.training.base_model import BaseModel

_CHUNK_LOGITS = 1 << 25  # logits held at once: 128 MB in float32
_FUSED_LOGITS = 1 << 22  # of a chunk in training on the CPU: 16 MB, near what caches hold
# In float32 so many times more: a chunk reads the head twice, 113 MB of SmolLM2's. With AVX2 that
# takes 154 ms for 64 rows and 401 for 256.
_EXACT = 4
_FEWEST = 64  # rows of a chunk that is only scored: fewer make slow products of a large vocabulary
_STEP = 16  # chunks have a multiple of so many rows, for oneDNN: see training/written.py
_IGNORE = -100
_SIDES, _EVEN = 2, 0.8  # passes at a time on a CPU; the most of a step's tokens that one has
_LEAST_SHARE = 1e-38  # of a target: its nats are counted up to 87


@dataclass(frozen=True)
class Batch:
    """Rows of token ids, right-padded; all tensors are [B, L]."""

    ids: Tensor
    positions: Tensor | None  # None for a family that is not packed
    targets: Tensor  # the next token where it carries loss, else _IGNORE


def make_batch(base: BaseModel, rows: Sequence[Block]) -> Batch:
    """A row each; padding is a document of its own."""
    length = max(map(len, rows))
    ids = np.full((len(rows), length), base.encoder.end, np.int64)
    positions = np.zeros((len(rows), length), np.int64)
    targets = np.full((len(rows), length), _IGNORE, np.int64)
    for at, row in enumerate(rows):
        n = len(row)
        ids[at, :n] = row.token_ids
        positions[at, :n] = row.position_ids
        positions[at, n:] = np.arange(length - n)
        targets[at, : n - 1] = np.where(row.loss_mask[1:], row.token_ids[1:], _IGNORE)
    where = base.device.where
    return Batch(
        torch.from_numpy(ids).to(where),
        torch.from_numpy(positions).to(where) if base.packs else None,
        torch.from_numpy(targets).to(where),
    )


def plan_passes(base: BaseModel, blocks: Sequence[Block], most: int) -> list[list[Batch]]:
    """The passes of a step: those of each list one after the other, the lists at a time.

    Whole documents, as evenly as they come, at most `most` tokens of both lists at a time. One list
    where one would have nearly all, or where that can't be: `most` tokens or one document a pass.
    Without blocks of our own: `blocks`, long ones first, with padding.
    """
    if base.written is None:
        return [[make_batch(base, part) for part in _parts(blocks, most)]]
    documents = sorted((d for b in blocks for d in _documents(b)), key=len, reverse=True)
    if not documents:
        return []
    whole = _tokens(documents)
    sides: list[list[Block]] = [[] for _ in range(min(_SIDES, base.device.threads))]
    for document in documents:
        min(sides, key=_tokens).append(document)
    passes = max(1, -(-whole // most))  # of each list
    packed = [_packed(side, -(-_tokens(side) // passes)) for side in sides if side]
    widest = sum(max(map(len, rows)) for rows in packed)
    if max(map(_tokens, sides)) > _EVEN * whole or widest > most:
        packed = [_packed(documents, most)]
    return [[make_batch(base, [row]) for row in rows] for rows in packed]


def _documents(block: Block) -> list[Block]:
    """Each begins at position 0."""
    ids, positions, mask = block.token_ids, block.position_ids, block.loss_mask
    starts = [*np.flatnonzero(positions == 0).tolist(), len(block)]
    return [Block(ids[a:b], positions[a:b], mask[a:b]) for a, b in pairwise(starts)]


def _tokens(documents: Sequence[Block]) -> int:
    return sum(map(len, documents))


def _packed(documents: Sequence[Block], most: int) -> list[Block]:
    """Rows of whole documents with at most so many tokens (or of one), in their order."""
    rows: list[list[Block]] = []
    size = most
    for document in documents:
        size += len(document)
        if size > most:
            rows.append([])
            size = len(document)
        rows[-1].append(document)
    return list(map(join, rows))


def _parts(rows: Sequence[Block], most: int) -> list[list[Block]]:
    """Rows, long ones first, put together, at most so many tokens with padding (or one)."""
    parts: list[list[Block]] = []
    for row in rows:
        if parts and (len(parts[-1]) + 1) * len(parts[-1][0]) <= most:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def total_nats(base: BaseModel, batch: Batch) -> Tensor:
    """Sum of nats over all targets, float32, with a graph; the caller sets autocast."""
    wanted = batch.targets != _IGNORE  # [B, L]
    targets = batch.targets[wanted]  # [N]
    if not base.plain_head:
        return F.cross_entropy(
            base.logits(batch.ids, batch.positions)[wanted].float(), targets, reduction="sum"
        )
    hidden = base.hidden(batch.ids, batch.positions)[wanted]  # [N, hidden]
    head = base.model.get_output_embeddings()
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    with torch.autocast(kind, enabled=False):
        total: Tensor = _HeadNats.apply(hidden, head.weight, head.bias, targets, dtype)  # type: ignore[no-untyped-call]
    return total


class _HeadNats(torch.autograd.Function):
    """Sum of nats of head(hidden), its gradients made in the same pass over each chunk of logits.

    Autograd would hold float32 logits three times and read them from memory ten times; a chunk here
    stays in the cache, and nothing is computed twice."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        count, more = len(hidden), -len(hidden) % _STEP
        rows, head = hidden.to(dtype), weight.to(dtype)  # [N, hidden], [vocabulary, hidden]
        rows, targets = F.pad(rows, (0, 0, 0, more)), F.pad(targets, (0, more))
        total = hidden.new_zeros((), dtype=torch.float32)
        to_hidden = torch.empty_like(rows)
        to_weight = product = exact = None
        if weight.requires_grad:
            to_weight = torch.zeros_like(head, dtype=torch.float32)
            product, exact = torch.empty_like(head), torch.empty_like(to_weight)
        most = _FUSED_LOGITS if hidden.device.type == "cpu" else _CHUNK_LOGITS
        if dtype == torch.float32:
            most = min(_CHUNK_LOGITS, most * _EXACT)
        size = _rows(most, len(weight))
        # Allocated once: fresh memory for every chunk is slow to come by.
        slopes = rows.new_empty(size, len(head))
        shares = slopes if dtype == torch.float32 else slopes.float()
        for at in range(0, len(rows), size):
            part, wanted = rows[at : at + size], targets[at : at + size, None]
            slope, share = slopes[: len(part)], shares[: len(part)]  # [n, vocabulary]
            torch.mm(part, head.T, out=slope)
            share.copy_(slope)
            if bias is not None:
                share += bias
            torch.softmax(share, 1, out=share)
            own = share.gather(1, wanted).clamp_min_(_LEAST_SHARE).log_()
            total -= own[: max(0, count - at)].sum()
            share.scatter_add_(1, wanted, share.new_full((1, 1), -1.0).expand_as(wanted))
            share[max(0, count - at) :] = 0.0
            slope.copy_(share)
            torch.mm(slope, head, out=to_hidden[at : at + size])
            if to_weight is not None and exact is not None:
                to_weight += exact.copy_(torch.mm(slope.T, part, out=product))
        ctx.save_for_backward(to_hidden[:count], to_weight)
        ctx.kind = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        to_hidden, to_weight = ctx.saved_tensors
        return (
            (to_hidden * scale).to(ctx.kind),
            None if to_weight is None else to_weight * scale,
            None,
            None,
            None,
        )


def _rows(logits: int, vocabulary: int) -> int:
    """Of a chunk that holds so many logits."""
    return max(_STEP, logits // vocabulary // _STEP * _STEP)


@torch.no_grad()
def each_nats(base: BaseModel, batch: Batch) -> Tensor:
    """Nats of every target [B, L], float32; 0 where there is none.

    On a CPU in chunks that caches hold: 1,024 rows of SmolLM2's 49,152 logits took 441 ms at 128 MB
    a chunk, 214 at 16."""
    wanted = batch.targets != _IGNORE
    targets = batch.targets[wanted]
    out = torch.zeros(batch.ids.shape, dtype=torch.float32, device=batch.ids.device)
    if base.plain_head:
        rows = base.hidden(batch.ids, batch.positions)[wanted]  # [N, hidden]
        head = base.model.get_output_embeddings()
    else:
        rows = base.logits(batch.ids, batch.positions)[wanted]  # [N, vocabulary]
        head = torch.nn.Identity()
    vocabulary = base.embedding.shape[0]
    size = _rows(_CHUNK_LOGITS, vocabulary)
    if batch.ids.device.type == "cpu":
        size = min(size, max(_FEWEST, _rows(_FUSED_LOGITS, vocabulary)))
    count, more = len(rows), -len(rows) % _STEP
    rows, targets = F.pad(rows, (0, 0, 0, more)), F.pad(targets, (0, more))
    nats = out.new_empty(len(rows))
    for i in range(0, len(rows), size):
        # Its own result is not kept, which would hold its logits' place on glibc's heap (0.4 GB).
        part = head(rows[i : i + size]).float()
        nats[i : i + size] = F.cross_entropy(part, targets[i : i + size], reduction="none")
    out[wanted] = nats[:count]
    return out
