"""A cache of rows that differ in length, what a pass writes to and sees of it, and attention.

Knows nothing about weights, families or requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_ROUND = 128  # positions; caches grow in steps of this

# What the layers of one kind write and see in a pass. Not a class: TorchScript, which takes it too,
# reads no annotation that is text.
Sight = NamedTuple(  # noqa: UP014
    "Sight",
    [
        ("start", int),  # first position, when all rows share it
        ("first", int),  # the first key that is looked at
        ("seen", int),  # and the one behind the last
        ("mask", Tensor | None),  # [groups * T, keys]; [rows, 1, 1, keys] where rows differ
        ("at", Tensor | None),  # [rows] positions, when they differ (T is 1 then)
        ("every", Tensor | None),  # [rows] 0.., beside `at`
    ],
)


@dataclass
class Step:
    """Where this forward pass writes and what it sees; one for all layers."""

    rows: int
    tokens: int  # T, a row
    start: int  # first position, or one that no row is before
    seen: int  # keys to look at
    device: torch.device
    dtype: torch.dtype
    index: Tensor | None = None  # [rows] positions, when they differ (T is 1 then)
    every: Tensor | None = None  # [rows] 0.., beside `index`
    _sights: dict[int | None, Sight] = field(default_factory=dict, init=False)

    def sight(self, window: int | None, groups: int) -> Sight:
        """Of a layer of such a window: a token sees itself and the `window` - 1 before it."""
        if window not in self._sights:
            first, mask = self._sight(window or self.seen, groups)
            self._sights[window] = Sight(self.start, first, self.seen, mask, self.index, self.every)
        return self._sights[window]

    def _sight(self, window: int, groups: int) -> tuple[int, Tensor | None]:
        first = max(0, self.start - window + 1)
        if self.tokens == 1 and self.index is None:
            return first, None
        at = self.index
        if at is None:
            at = torch.arange(self.start, self.start + self.tokens, device=self.device)
        keys = torch.arange(first, self.seen, device=self.device)
        hidden = (keys > at[:, None]) | (keys <= at[:, None] - window)  # [T or rows, keys]
        mask = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device)
        mask.masked_fill_(hidden, float("-inf"))
        return first, mask.repeat(groups, 1) if self.index is None else mask[:, None, None]


def attend(query: Tensor, fresh: Tensor, layer: Tensor, sight: Sight) -> Tensor:
    """query [rows, T, heads, d] over the cache once fresh keys and values are in it.

    fresh [rows, T, 2 * kv_heads, d]; returns [rows, T, heads * d]. Query heads that share keys
    are folded into the query's length, so that no key is copied. In the part of Python that
    TorchScript takes."""
    rows, tokens, heads, dim = query.shape
    at, every = sight.at, sight.every
    if at is not None and every is not None:
        layer.transpose(1, 2).index_put_([every, at], fresh[:, 0])
    else:
        layer.narrow(2, sight.start, tokens).copy_(fresh.transpose(1, 2))
    kv = layer.shape[1] // 2
    groups = heads // kv
    if tokens == 1:
        folded = query.view(rows, kv, groups, dim)
    else:
        folded = query.view(rows, tokens, kv, groups, dim).permute(0, 2, 3, 1, 4)
        folded = folded.reshape(rows, kv, groups * tokens, dim)
    looked = layer.narrow(2, sight.first, sight.seen - sight.first)
    out = F.scaled_dot_product_attention(
        folded, looked.narrow(1, 0, kv), looked.narrow(1, kv, kv), sight.mask
    )  # [rows, kv, groups * T, d]
    if tokens > 1:
        out = out.view(rows, kv, groups, tokens, dim).permute(0, 3, 1, 2, 4)
    return out.reshape(rows, tokens, heads * dim)


class KV:
    """One tensor a layer: [rows, 2 * kv_heads, capacity, head_dim], keys before values."""

    def __init__(self, layers: list[Tensor]) -> None:
        self.layers = layers

    @staticmethod
    def empty(layers: int, like: Tensor, heads: int, context: int, dim: int) -> KV:
        """One row; `heads` are those of keys and of values, the numbers of the kind of `like`."""
        positions = min(512, _rounded(max(_ROUND, min(512, context))))
        return KV([like.new_zeros(1, heads, positions, dim) for _ in range(layers)])

    @staticmethod
    def stacked(caches: list[tuple[KV, int]], rows: int) -> KV:
        """`rows` copies of each one-row cache's first positions, the first cache's rows first."""
        capacity = _rounded(max(length for _, length in caches) + _ROUND)
        parts = [
            [_resized(layer, rows, capacity, length) for layer in kv.layers]
            for kv, length in caches
        ]
        joined = zip(*parts, strict=True)
        return KV([torch.cat(each) if len(each) > 1 else each[0] for each in joined])

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

    def only(self, rows: list[int]) -> KV:
        """A copy of these rows."""
        index = torch.tensor(rows, device=self.layers[0].device)
        return KV([layer.index_select(0, index) for layer in self.layers])

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(layer.numel() * layer.element_size() for layer in self.layers)


def _rounded(positions: int) -> int:
    """Positions up to the next whole step of a cache."""
    return -(-positions // _ROUND) * _ROUND


def _resized(layer: Tensor, rows: int, capacity: int, length: int | None = None) -> Tensor:
    out = layer.new_zeros(rows, layer.shape[1], capacity, layer.shape[3])
    length = min(layer.shape[2], capacity) if length is None else length
    out[:, :, :length] = layer[:, :, :length]
    return out
