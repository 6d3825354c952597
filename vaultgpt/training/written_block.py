"""One block of a Llama-like model with LoRA, forward and backward written out, and its parts.

What is cheap is computed again in the backward pass; the frozen weights are held once, in the
arithmetic of the products. Knows nothing about losses, data or steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 1 << 14
_GELU = {"gelu_pytorch_tanh", "gelu_new"}


class _Joined:
    """Products of one input as one matrix [[W, sB], [A, 0]], W and B of each below one another.

    An input [N, in] is widened by what A makes of it, so that W and B take one product, and a slope
    [N, out] by what B makes of it, so that W' and A' do."""

    def __init__(self, layers: Sequence[Any], dtype: torch.dtype) -> None:
        self.layers = layers
        self.linears = [layer.get_base_layer() for layer in layers]
        self.pairs = [
            (layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in layers
        ]
        self.scales = [layer.scaling["default"] for layer in layers]
        weights = [linear.weight for linear in self.linears]
        self.ins, self.rank = weights[0].shape[1], self.pairs[0][0].shape[0]
        self.outs = sum(len(weight) for weight in weights)
        low = self.rank * len(weights)
        self.matrix = torch.zeros(self.outs + low, self.ins + low, dtype=dtype)
        self.places: list[tuple[slice, slice, slice]] = []  # rows of W; rows of A, columns of B
        self.exact: list[Tensor] = []  # of the frozen weights
        at = 0
        for index, weight in enumerate(weights):
            first = index * self.rank
            self.places.append(
                (
                    slice(at, at + len(weight)),
                    slice(self.outs + first, self.outs + first + self.rank),
                    slice(self.ins + first, self.ins + first + self.rank),
                )
            )
            at += len(weight)
            self.exact.append(hold(weight, self.matrix[self.places[-1][0], : self.ins]))
        biases = [linear.bias for linear in self.linears]
        some = [b is not None for b in biases]
        if any(some) != all(some):
            raise ValueError("biases on some products only")
        self.bias = torch.cat(biases).to(dtype) if all(some) else None

    def take(self) -> None:
        """Bring A and B into the matrix as they stand."""
        for (out, down, up), (a, b), scale in zip(
            self.places, self.pairs, self.scales, strict=True
        ):
            self.matrix[down, : self.ins].copy_(a)
            self.matrix[out, up].copy_(b * scale)  # at once: another thread may be reading it

    def room(self, rows: int) -> Tensor:
        """For an input: [rows, in + low], of which the caller fills [:, :in]."""
        return self.matrix.new_empty(rows, self.matrix.shape[1])

    def slope_room(self, rows: int) -> Tensor:
        """For a slope: [rows, out + low], of which the caller fills [:, :out]."""
        return self.matrix.new_empty(rows, self.matrix.shape[0])

    def __call__(self, x: Tensor) -> Tensor:
        """[N, out] of an input [N, in + low]."""
        torch.mm(x[:, : self.ins], self.matrix[self.outs :, : self.ins].T, out=x[:, self.ins :])
        whole = self.matrix[: self.outs].T
        return torch.mm(x, whole) if self.bias is None else torch.addmm(self.bias, x, whole)

    def back(self, slope: Tensor, x: Tensor, found: dict[int, Tensor]) -> Tensor:
        """Slope [N, in] of the input from that [N, out + low] of the output; A's and B's too."""
        torch.mm(
            slope[:, : self.outs], self.matrix[: self.outs, self.ins :], out=slope[:, self.outs :]
        )
        downs = slope[:, self.outs :].T @ x[:, : self.ins]  # [low, in]
        for (out, down, up), (a, b), scale in zip(
            self.places, self.pairs, self.scales, strict=True
        ):
            first = down.start - self.outs
            found[id(a)] = downs[first : first + self.rank].float()
            found[id(b)] = (slope[:, out].T @ x[:, up]).float().mul_(scale)
        of_x: Tensor = torch.mm(slope, self.matrix[:, : self.ins])
        return of_x

    def release(self, dtype: torch.dtype) -> None:
        """Give the layers weights of their own again."""
        for linear, exact in zip(self.linears, self.exact, strict=True):
            linear.weight.data = exact.to(dtype, copy=True, memory_format=torch.contiguous_format)


def exact_in(weight: Tensor, *dtypes: torch.dtype) -> Tensor | None:
    """The weight in the first of these that loses nothing; None where each does."""
    for dtype in dtypes:
        parts = torch.split(weight, _ROWS)
        if all(torch.equal(part.to(dtype).to(weight.dtype), part) for part in parts):
            return weight.to(dtype)
    return None


def hold(weight: nn.Parameter, into: Tensor) -> Tensor:
    """Let a weight lie in `into`, rounded to its arithmetic; the exact one, as small as can be."""
    exact = exact_in(weight.data, into.dtype, torch.float16)
    whole = weight.data if exact is None else exact
    into.copy_(weight.data)
    weight.data = into
    return into if whole.dtype == into.dtype else whole


class Norm:
    """RMS norm by a factor [width], of rows in float32."""

    def __init__(self, module: Any) -> None:
        weight = module.weight.detach().float()
        gemma = type(module).__name__.startswith("Gemma")
        self.weight = weight + 1.0 if gemma else weight
        self.eps = float(getattr(module, "variance_epsilon", getattr(module, "eps", 1e-6)))

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """Fill `out`; the rows' 1 / RMS [..., 1]."""
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        share = size.square_().div_(x.shape[-1]).add_(self.eps).rsqrt_()
        out.copy_((x * share).mul_(self.weight))
        return share  # type: ignore[no-any-return]

    def back(self, slope: Tensor, x: Tensor, share: Tensor) -> Tensor:
        """Slope of x, float32, from that of the output."""
        slope = slope * self.weight
        pull = torch.linalg.vecdot(slope, x).unsqueeze(-1)
        pull.mul_(share.pow(3)).div_(-x.shape[-1])
        return slope.mul_(share).addcmul_(x, pull)


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
        self.qkv = _Joined([attention.q_proj, attention.k_proj, attention.v_proj], dtype)
        self.o = _Joined([attention.o_proj], dtype)
        self.gate_up = _Joined([mlp.gate_proj, mlp.up_proj], dtype)
        self.down = _Joined([mlp.down_proj], dtype)
        self.heads = self.o.ins // self.dim
        self.groups = (self.qkv.outs // self.dim - self.heads) // 2
        self.head_norms = [Norm(n) for n in _modules(attention, "q_norm", "k_norm")]
        own = _modules(layer, "pre_feedforward_layernorm", "post_feedforward_layernorm")
        after = Norm(layer.post_attention_layernorm)
        self.mlp_norm = Norm(own[0]) if own else after
        self.out_norms = [after, Norm(own[1])] if own else []

    @property
    def products(self) -> list[_Joined]:
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
        and 42 ms a thousand; forward 12 and 13), and nothing is rounded in between."""
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
        self, which: int, slope: Tensor, x: Tensor | None, share: Tensor | None, product: _Joined
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
