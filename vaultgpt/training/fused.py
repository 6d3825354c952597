"""A linear layer with LoRA on it as one step of autograd, for the CPU.

PEFT's own forward casts the input twice, scales, and adds in passes of their own, which a small
base feels. Same sums, same parameters. Knows nothing about training.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn


def fuse(wrapped: nn.Module) -> None:
    """Give every LoRA layer of `wrapped` that stands on an nn.Linear this forward."""
    for module in wrapped.modules():
        if isinstance(module, LoraLinear) and type(module.get_base_layer()) is nn.Linear:
            module.forward = partial(_forward, module)  # type: ignore[method-assign]


def _forward(module: Any, x: Tensor) -> Tensor:
    (name,) = module.active_adapters
    base, kind = module.get_base_layer(), x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    with torch.autocast(kind, enabled=False):
        out: Tensor = _Fused.apply(
            x,
            base.weight,
            base.bias,
            module.lora_A[name].weight,  # type: ignore[no-untyped-call]
            module.lora_B[name].weight,
            module.scaling[name],
            dtype,
        )
    return out


class _Fused(torch.autograd.Function):
    """x W' + bias + scale (x A') B' with gradients for x [..., in], A [r, in] and B [out, r]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> Tensor:
        rows, base = x.reshape(-1, x.shape[-1]).to(dtype), weight.to(dtype)
        a, b = down.to(dtype), (up * scale).to(dtype)
        low = rows @ a.T  # [N, r]
        out = rows @ base.T if bias is None else torch.addmm(bias.to(dtype), rows, base.T)
        out.addmm_(low, b.T)
        ctx.save_for_backward(rows, base, a, b, low)
        ctx.scale, ctx.kinds = scale, (x.dtype, down.dtype, up.dtype)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        rows, base, a, b, low = ctx.saved_tensors
        given = slope.reshape(-1, slope.shape[-1]).to(rows.dtype)  # [N, out]
        back = given @ b  # [N, r]
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (given @ base).addmm_(back, a).view(*slope.shape[:-1], -1).to(ctx.kinds[0])
        return (
            to_x,
            None,
            None,
            (back.T @ rows).to(ctx.kinds[1]),
            (given.T @ low).to(ctx.kinds[2]) * ctx.scale,
            None,
            None,
        )
