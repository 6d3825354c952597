"""One layer of a Llama-like model: its weights, and its forward pass for TorchScript.

Knows nothing about files, configurations or the layers beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaultgpt.arithmetic import Linear
from vaultgpt.mirror.attention import Sight, attend


def _rms_norm(x: Tensor, weight: Tensor | None, eps: float, small: Tensor | None) -> Tensor:
    """[..., width] by its root mean square; `small` is fp32 [1] eps for fp32 on the CPU, or None.

    torch's own takes six operations there, 8 us of one row of 576 numbers in TorchScript; this 4.
    """
    if small is None:
        return F.rms_norm(x, [x.shape[-1]], weight, eps)
    size = torch.linalg.vector_norm(x, 2.0, [-1], True)
    out = x * torch.addcmul(small, size, size, value=1.0 / x.shape[-1]).rsqrt_()
    return out if weight is None else out.mul_(weight)


@dataclass
class Parts:
    """One layer's weights; None where the family has no such norm."""

    norm: Tensor | None  # None where it is folded into the product behind it
    qkv: Linear  # [.., hidden] -> [.., (heads + 2 * kv_heads) * d]
    head_norm: Tensor | None  # [heads + kv_heads, d] of queries and keys
    out: Linear
    out_norm: Tensor | None
    mlp_norm: Tensor | None
    gate_up: Linear  # [.., hidden] -> [.., 2 * inner]
    down: Linear
    down_norm: Tensor | None
    folded: tuple[Tensor, Tensor] | None = None  # the norms that are, for an adapter's products


class Layer(nn.Module):
    """A layer's forward pass, in the part of Python that TorchScript takes (`compiled`)."""

    def __init__(
        self, parts: Parts, heads: int, kv_heads: int, eps: float, small: Tensor | None, gelu: bool
    ) -> None:
        """`eps` and `small` as _rms_norm takes them."""
        super().__init__()
        self.parts = parts
        self.norm, self.mlp_norm, self.head_norm = parts.norm, parts.mlp_norm, parts.head_norm
        self.out_norm, self.down_norm = parts.out_norm, parts.down_norm
        self.qkv, self.out, self.gate_up, self.down = (
            parts.qkv,
            parts.out,
            parts.gate_up,
            parts.down,
        )
        self.turned, self.heads, self.joined = heads + kv_heads, heads, heads + 2 * kv_heads
        self.eps, self.small, self.gelu = eps, small, gelu

    def forward(
        self, x: Tensor, turn: Tensor, sin: Tensor | None, cache: Tensor, sight: Sight
    ) -> Tensor:
        """x [rows, T, hidden]; `turn` complex, or cos with its signed `sin`; the rest: `attend`."""
        rows, tokens, _ = x.shape
        joined = self.qkv(_rms_norm(x, self.norm, self.eps, self.small))
        joined = joined.view(rows, tokens, self.joined, -1)
        turned = joined[:, :, : self.turned]  # queries and keys are rotated, values are not
        dim = joined.shape[-1]
        if self.head_norm is not None:
            turned.copy_(_rms_norm(turned, None, self.eps, self.small).mul_(self.head_norm))
        if sin is None:
            pairs = turned.view(rows, tokens, self.turned, dim // 2, 2)
            torch.view_as_complex(pairs).mul_(turn)
        else:
            turned.copy_(torch.addcmul(turned * turn, turned.roll(dim // 2, -1), sin))
        query, fresh = joined[:, :, : self.heads], joined[:, :, self.heads :]
        out = self.out(attend(query, fresh, cache, sight))
        if self.out_norm is not None:
            out = _rms_norm(out, self.out_norm, self.eps, self.small)
        x = out.add_(x)
        gate, up = self.gate_up(_rms_norm(x, self.mlp_norm, self.eps, self.small)).chunk(2, -1)
        active = F.gelu(gate, approximate="tanh") if self.gelu else F.silu(gate)
        out = self.down(active.mul_(up))
        if self.down_norm is not None:
            out = _rms_norm(out, self.down_norm, self.eps, self.small)
        made: Tensor = out.add_(x)
        return made
