"""The fast decoder's common part: an in-place KV cache, and attention over it.

A family (llama.py, gpt2.py) supplies embedding, blocks and head. Knows nothing about tokenizers,
sampling or requests. Sequences of one batch may differ in length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vaultgpt.mirror.linear import Dtype

ROUND = 128  # positions; caches grow in steps of this


class Cache(Protocol):
    """Keys and values of some rows; whoever holds it knows which positions are valid."""

    @property
    def rows(self) -> int:
        """Sequences side by side."""

    def nbytes(self) -> int:
        """Bytes held."""


class Model(Protocol):
    """A causal model for the engine, whatever computes it."""

    vocab: int  # rows of the head
    context: int  # tokens

    @property
    def chunk(self) -> int:
        """Tokens that one prefill call should take at most (about 50 ms)."""

    def empty(self) -> Cache:
        """A cache of one row."""

    def prefill(self, cache: Cache, ids: list[int], start: int) -> None:
        """Compute positions start.. of a one-row cache; earlier ones are valid."""

    def peek(self, cache: Cache, ids: list[int], start: int) -> Tensor:
        """As prefill, and the logits after each of `ids`: fp32 [len(ids), vocab], on the CPU."""

    def step(self, cache: Cache, ids: list[int], positions: list[int]) -> Tensor:
        """One token a row at its own position: logits fp32 [rows, vocab], on the CPU."""

    def stack(self, caches: list[tuple[Cache, int]], rows: int) -> Cache:
        """`rows` copies of each one-row cache's first positions, so many as stand beside it."""

    def keep(self, cache: Cache, rows: list[int]) -> Cache:
        """Only these rows, in this order."""

    def nbytes(self) -> int:
        """Bytes of weights, roughly."""


class KV:
    """One tensor a layer: [rows, 2 * kv_heads, capacity, head_dim], keys before values."""

    def __init__(self, layers: list[Tensor]) -> None:
        self.layers = layers

    @property
    def rows(self) -> int:
        """Sequences side by side."""
        return self.layers[0].shape[0]

    @property
    def capacity(self) -> int:
        """Positions that fit without growing."""
        return self.layers[0].shape[2]

    def grow(self, positions: int) -> None:
        """Make room for `positions` positions, keeping what is there."""
        if positions > self.capacity:
            wanted = _rounded(max(positions, self.capacity * 5 // 4))
            self.layers = [_resized(layer, layer.shape[0], wanted) for layer in self.layers]

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(layer.numel() * layer.element_size() for layer in self.layers)


def _rounded(positions: int) -> int:
    """Positions up to the next whole step of a cache."""
    return -(-positions // ROUND) * ROUND


def _resized(layer: Tensor, rows: int, capacity: int, length: int | None = None) -> Tensor:
    out = layer.new_zeros(rows, layer.shape[1], capacity, layer.shape[3])
    length = min(layer.shape[2], capacity) if length is None else length
    out[:, :, :length] = layer[:, :, :length]
    return out


@dataclass
class Step:
    """Where this forward pass writes and what it sees; one for all layers."""

    rows: int
    tokens: int  # T, a row
    start: int  # first position, when all rows share it
    index: Tensor | None  # [rows] positions, when they differ (T is 1 then)
    every: Tensor | None  # [rows] 0.., beside `index`
    seen: int  # keys to look at
    mask: Tensor | None  # [groups * T, seen] or [rows, 1, 1, seen], additive


class LeanModel(ABC):
    """Prefill, step and cache for families that supply `embed`, `blocks` and `head`."""

    layers_count: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    parameters: int
    dtype: Dtype
    device: torch.device
    stored: torch.dtype

    @abstractmethod
    def _hidden(self, ids: Tensor, step: Step, kv: KV) -> Tensor:
        """[rows, T] ids -> [rows, T, hidden], before the last norm."""

    @abstractmethod
    def _head(self, hidden: Tensor) -> Tensor:
        """[rows, T, hidden] -> [rows, T, vocab], the last norm included."""

    @property
    def chunk(self) -> int:
        """Tokens of about 50 ms on one thread; a GPU takes whole prompts nearly.

        GPT-2 124M in int8, 256 tokens: 266 ms in chunks of 16, 123 in 64, 113 in 128.
        """
        return chunk_tokens(self.parameters, self.dtype, self.device)

    def nbytes(self) -> int:
        """Bytes of weights, roughly."""
        return self.parameters * (torch.finfo(self.stored).bits // 8)

    def empty(self) -> KV:
        """A cache of one row."""
        with torch.inference_mode():
            shape = (1, 2 * self.kv_heads, min(512, self._room(ROUND)), self.head_dim)
            return KV([torch.zeros(shape, dtype=self.stored, device=self.device)
                       for _ in range(self.layers_count)])

    def _room(self, positions: int) -> int:
        return _rounded(max(positions, min(512, self.context)))

    def prefill(self, cache: Cache, ids: list[int], start: int) -> None:
        """Compute positions start.. of a one-row cache."""
        with torch.inference_mode():
            self._run(cache, ids, start)

    def peek(self, cache: Cache, ids: list[int], start: int) -> Tensor:
        """As prefill, with the logits fp32 [len(ids), vocab] after each token."""
        with torch.inference_mode():
            return self._head(self._run(cache, ids, start))[0].float().cpu()

    def _run(self, cache: Cache, ids: list[int], start: int) -> Tensor:
        kv = _as_kv(cache)
        kv.grow(start + len(ids))
        count = len(ids)
        mask = self._causal(count, start) if count > 1 else None
        step = Step(1, count, start, None, None, start + count, mask)
        return self._hidden(torch.tensor([ids], device=self.device), step, kv)

    def _causal(self, tokens: int, start: int) -> Tensor:
        """[groups * T, start + T] additive mask: each token sees itself and what is before it."""
        at = torch.arange(start, start + tokens, device=self.device)
        keys = torch.arange(start + tokens, device=self.device)
        mask = torch.zeros(tokens, start + tokens, dtype=self.stored, device=self.device)
        mask.masked_fill_(keys[None, :] > at[:, None], float("-inf"))
        return mask.repeat(self.heads // self.kv_heads, 1)

    def step(self, cache: Cache, ids: list[int], positions: list[int]) -> Tensor:
        """One token a row at its own position: logits fp32 [rows, vocab], on the CPU."""
        with torch.inference_mode():
            kv = _as_kv(cache)
            rows, seen = len(ids), max(positions) + 1
            kv.grow(seen)
            step = Step(rows, 1, positions[0], None, None, seen, None)
            if min(positions) + 1 != seen:
                step.index = torch.tensor(positions, device=self.device)
                step.every = torch.arange(rows, device=self.device)
                keys = torch.arange(seen, device=self.device)
                mask = torch.zeros(rows, 1, 1, seen, dtype=self.stored, device=self.device)
                hidden_keys = keys[None, :] > step.index[:, None]
                step.mask = mask.masked_fill_(hidden_keys[:, None, None], float("-inf"))
            tokens = torch.tensor(ids, device=self.device).unsqueeze(1)  # [rows, 1]
            return self._head(self._hidden(tokens, step, kv))[:, 0].float().cpu()

    def stack(self, caches: list[tuple[Cache, int]], rows: int) -> KV:
        """`rows` copies of each one-row cache's first positions, the first cache's rows first."""
        with torch.inference_mode():
            capacity = _rounded(max(length for _, length in caches) + ROUND)
            parts = [[_resized(layer, rows, capacity, length) for layer in _as_kv(cache).layers]
                     for cache, length in caches]
            return KV([torch.cat(layers) if len(layers) > 1 else layers[0]
                       for layers in zip(*parts, strict=True)])

    def keep(self, cache: Cache, rows: list[int]) -> KV:
        """Only these rows."""
        with torch.inference_mode():
            index = torch.tensor(rows, device=self.device)
            return KV([layer.index_select(0, index) for layer in _as_kv(cache).layers])

    def _attend(self, query: Tensor, fresh: Tensor, layer: Tensor, step: Step) -> Tensor:
        """query [rows, T, heads, d] over the cache once fresh keys and values are in it.

        fresh [rows, T, 2 * kv_heads, d]; returns [rows, T, heads * d]. Query heads that share keys
        are folded into the query's length, so that no key is copied.
        """
        rows, tokens, heads, dim = query.shape
        if step.index is None:
            layer[:, :, step.start : step.start + tokens] = fresh.transpose(1, 2)
        else:
            layer[step.every, :, step.index] = fresh[:, 0]
        kv, groups = self.kv_heads, heads // self.kv_heads
        if groups > 1:
            query = query.view(rows, tokens, kv, groups, dim).permute(0, 2, 3, 1, 4)
            query = query.reshape(rows, kv, groups * tokens, dim)
        else:
            query = query.transpose(1, 2)
        out = F.scaled_dot_product_attention(
            query, layer[:, :kv, : step.seen], layer[:, kv:, : step.seen], attn_mask=step.mask
        )  # [rows, kv, groups * T, d]
        if groups > 1:
            out = out.view(rows, kv, groups, tokens, dim).permute(0, 3, 1, 2, 4)
            return out.reshape(rows, tokens, heads * dim)
        return out.transpose(1, 2).reshape(rows, tokens, heads * dim)


def chunk_tokens(parameters: int, dtype: Dtype, device: torch.device) -> int:
    """Tokens of one prefill call; fixed by the model, so that int8 gives the same text again."""
    if device.type != "cpu":
        return 512
    work = 8e9 if dtype == "int8" else 3e9  # parameters times tokens
    return max(16, min(256, int(work / max(1, parameters)) // 16 * 16))


def _as_kv(cache: Cache) -> KV:
    assert isinstance(cache, KV)
    return cache
