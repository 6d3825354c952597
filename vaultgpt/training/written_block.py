"""One block of a Llama-like model with LoRA, forward and backward written out.

What is cheap is computed again in the backward pass. Knows nothing about losses, data or steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vaultgpt.training.written_parts import Joined, Norm

_GELU = {"gelu_pytorch_tanh", "gelu_new"}


@dataclass
class _Kept:
    """What a block keeps for its backward pass; all have a row a token."""

    x: Tensor  # [N, hidden] float32, as it came
    x_share: Tensor
    h: Tensor  # normed, wide
    heads: Tensor | None = None  # queries and keys before their norms [N, heads, d]
    head_shares: tuple[Tensor, Tensor] | None = None
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)
    attended: Tensor | None = None  # wide
    out: Tensor | None = None  # before its own norm, with its share
    out_share: Tensor | None = None
    middle: Tensor | None = None  # [N, hidden] float32, after attention
    middle_share: Tensor | None = None
    g: Tensor | None = None  # `middle` normed, wide
    gate_up: Tensor | None = None
    low: Tensor | None = None  # of the last product's input
    down: Tensor | None = None
    down_share: Tensor | None = None


@dataclass(frozen=True)
class Pass:
    """What all blocks share in one pass."""

    spans: list[tuple[int, int]]  # of the documents
    turns: dict[str | None, tuple[Tensor, Tensor]]  # cos and signed sin [N, 1, d] by kind of layer


class DecoderLayer:
    """One layer."""

    def __init__(self, layer: Any, kind: str | None, activation: str, dtype: torch.dtype) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.kind, self.gelu = kind, activation in _GELU
        self.dim, self.scaling = attention.head_dim, attention.scaling
        self.window: int | None = getattr(attention, "sliding_window", None)
        self.norm = Norm(layer.input_layernorm)
        self.qkv = Joined([attention.q_proj, attention.k_proj, attention.v_proj], dtype)
        self.o = Joined([attention.o_proj], dtype)
        self.gate_up = Joined([mlp.gate_proj, mlp.up_proj], dtype)
        self.down = Joined([mlp.down_proj], dtype)
        self.heads = self.o.ins // self.dim
        self.groups = (self.qkv.outs // self.dim - self.heads) // 2
        self.head_norms = [Norm(n) for n in _modules(attention, "q_norm", "k_norm")]
        own = _modules(layer, "pre_feedforward_layernorm", "post_feedforward_layernorm")
        after = Norm(layer.post_attention_layernorm)
        self.mlp_norm = Norm(own[0]) if own else after
        self.out_norms = [after, Norm(own[1])] if own else []

    @property
    def products(self) -> list[Joined]:
        return [self.qkv, self.o, self.gate_up, self.down]

    def forward(self, x: Tensor, over: Pass) -> tuple[Tensor, _Kept]:
        """x [N, hidden] float32, and what the backward pass needs."""
        h = self.qkv.room(len(x))
        kept = _Kept(x, self.norm(x, h[:, : self.qkv.ins]), h)
        joined = self.qkv(h).view(len(x), -1, self.dim)  # [N, heads + 2 groups, d]
        self._turn(joined, over, kept)
        kept.attended = self._attend(joined, over, kept)
        out = self.o(kept.attended)
        if self.out_norms:
            kept.out = out
            out = torch.empty_like(out)
            kept.out_share = self.out_norms[0](kept.out.float(), out)
        kept.middle = x + out
        kept.g = self.gate_up.room(len(x))
        kept.middle_share = self.mlp_norm(kept.middle, kept.g[:, : self.gate_up.ins])
        kept.gate_up = self.gate_up(kept.g)
        acts = self.down.room(len(x))
        gate, up = kept.gate_up.chunk(2, 1)
        torch.mul(self._active(gate), up, out=acts[:, : self.down.ins])
        out = self.down(acts)
        kept.low = acts[:, self.down.ins :].clone()
        if self.out_norms:
            kept.down = out
            out = torch.empty_like(out)
            kept.down_share = self.out_norms[1](kept.down.float(), out)
        return kept.middle + out, kept

    def _active(self, gate: Tensor) -> Tensor:
        return F.gelu(gate, approximate="tanh") if self.gelu else F.silu(gate)

    def _turn(self, joined: Tensor, over: Pass, kept: _Kept) -> None:
        """Norm (where the family does) and rotate queries and keys in place."""
        turned = joined[:, : self.heads + self.groups]
        if self.head_norms:
            kept.heads = turned.clone()
            values = kept.heads.float()
            query, key = self.head_norms
            kept.head_shares = (
                query(values[:, : self.heads], turned[:, : self.heads]),
                key(values[:, self.heads :], turned[:, self.heads :]),
            )
        cos, sin = over.turns[self.kind]
        values = turned.float()
        turned.copy_((values * cos).addcmul_(values.roll(self.dim // 2, -1), sin))

    def _attend(self, joined: Tensor, over: Pass, kept: _Kept) -> Tensor:
        """Each document sees itself; wide [N, heads * d + low].

        In float32: its backward pass takes half of bfloat16's time (9 heads of 64, 300 tokens: 24
        and 42 ms a thousand; forward 12 and 13), and nothing is rounded in between.
        """
        out = self.o.room(len(joined))
        places = (0, self.heads, self.heads + self.groups, joined.shape[1])
        grad = torch.is_grad_enabled()
        for start, end in over.spans:
            query, key, value = (
                joined[start:end, a:b].transpose(0, 1)[None].float().requires_grad_(grad)
                for a, b in pairwise(places)
            )
            mask = _window(end - start, self.window)
            seen = F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask,
                is_causal=mask is None,
                scale=self.scaling,
                enable_gqa=self.heads != self.groups,
            )
            out[start:end, : self.o.ins].view(end - start, self.heads, self.dim).copy_(
                seen.detach()[0].transpose(0, 1)
            )
            if grad:
                kept.parts.append((seen, query, key, value))
        return out

    def backward(self, slope: Tensor, kept: _Kept, over: Pass, found: dict[int, Tensor]) -> Tensor:
        """Slope of x, in the place of that of the block's output [N, hidden] float32."""
        assert kept.gate_up is not None and kept.g is not None and kept.low is not None
        assert kept.middle is not None and kept.middle_share is not None
        assert kept.attended is not None
        back = self._own_norm(1, slope, kept.down, kept.down_share, self.down)
        gate, up = kept.gate_up.chunk(2, 1)
        active = self._active(gate)
        acts = self.down.room(len(slope))
        torch.mul(active, up, out=acts[:, : self.down.ins])
        acts[:, self.down.ins :] = kept.low
        of_acts = self.down.back(back, acts, found)
        back = self.gate_up.slope_room(len(slope))
        of_gate, of_up = back[:, : self.gate_up.outs].chunk(2, 1)
        torch.mul(of_acts, active, out=of_up)
        of_acts *= up
        if self.gelu:
            of_gate.copy_(torch.ops.aten.gelu_backward(of_acts, gate, approximate="tanh"))
        else:
            of_gate.copy_(torch.ops.aten.silu_backward(of_acts, gate))
        of_g = self.gate_up.back(back, kept.g, found)
        slope += self.mlp_norm.back(of_g, kept.middle, kept.middle_share)
        back = self._own_norm(0, slope, kept.out, kept.out_share, self.o)
        of_heads = self.o.back(back, kept.attended, found)
        back = self.qkv.slope_room(len(slope))
        self._attend_back(of_heads, back, kept, over)
        slope += self.norm.back(self.qkv.back(back, kept.h, found), kept.x, kept.x_share)
        return slope

    def _own_norm(
        self, which: int, slope: Tensor, x: Tensor | None, share: Tensor | None, product: Joined
    ) -> Tensor:
        """The slope of a product's output, wide, through the norm behind it if there is one."""
        wide = product.slope_room(len(slope))
        if x is not None and share is not None:
            slope = self.out_norms[which].back(slope, x.float(), share)
        wide[:, : product.outs].copy_(slope)
        return wide

    def _attend_back(self, slope: Tensor, back: Tensor, kept: _Kept, over: Pass) -> None:
        joined = back[:, : self.qkv.outs].view(len(slope), -1, self.dim)
        for (start, end), (seen, *parts) in zip(over.spans, kept.parts, strict=True):
            given = slope[start:end].view(end - start, self.heads, self.dim).transpose(0, 1)[None]
            slopes = torch.autograd.grad(seen, parts, given.float())
            joined[start:end].copy_(torch.cat(slopes, 1)[0].transpose(0, 1))
        turned = joined[:, : self.heads + self.groups]
        cos, sin = over.turns[self.kind]
        values = turned.float()
        whole = (values * cos).add_((values * sin).roll(self.dim // 2, -1))
        if self.head_norms and kept.heads is not None and kept.head_shares is not None:
            before, (query, key) = kept.heads.float(), self.head_norms
            split, shares = self.heads, kept.head_shares
            whole = torch.cat(
                [
                    query.back(whole[:, :split], before[:, :split], shares[0]),
                    key.back(whole[:, split:], before[:, split:], shares[1]),
                ],
                1,
            )
        turned.copy_(whole)


def _modules(parent: Any, *names: str) -> list[Any]:
    found = [getattr(parent, name, None) for name in names]
    return [] if None in found else found


def _window(length: int, window: int | None) -> Tensor | None:
    """What each of `length` positions sees where that is less than all before it."""
    if window is None or length <= window:
        return None
    back = torch.arange(length)[:, None] - torch.arange(length)  # how far
    return torch.zeros(length, length).masked_fill_((back < 0) | (back >= window), float("-inf"))
