"""What a layer writes and sees in a pass, and attention over a cache of rows that differ in length.

Knows nothing about weights, families or requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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
