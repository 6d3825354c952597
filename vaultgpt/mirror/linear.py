"""Matrix products as one callable: fp32 or bf16, and two ways of int8 behind one function.

Knows nothing about models. Figures, [1, 768] x [2304, 768] on 2 threads: fp32 88 us, dynamic int8
19 us, weight-only int8 23 us.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]  # [..., in] -> [..., out], in the dtype of its input
Int8Way = Literal["dynamic", "packed"]
Dtype = Literal["float32", "bfloat16", "float16", "int8"]
STORED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
          "int8": torch.float32}  # what activations, norms and the cache are kept in


def make_linear(weight: Tensor, bias: Tensor | None, dtype: Dtype, device: torch.device) -> Linear:
    """A product with `weight` [out, in] fp32 and `bias` [out]; int8 only on the CPU."""
    if dtype == "int8":
        return int8_linear(weight, bias)
    kept = weight.to(device, STORED[dtype])
    if dtype == "float32" and device.type == "cpu":
        # Stored [in, out]. All of pebble's products, one thread: 2.6 ms against 4.5 for one row,
        # 11 against 15 for 16.
        kept = kept.t().contiguous().t()
    kept_bias = None if bias is None else bias.to(device, STORED[dtype])
    return lambda x: F.linear(x, kept, kept_bias)


def int8_linear(weight: Tensor, bias: Tensor | None, way: Int8Way | None = None) -> Linear:
    """int8 with one scale a row; `way` None takes the fastest that this build of torch offers."""
    ways = [way] if way else ["dynamic", "packed"]
    for name in ways:
        try:
            product = _dynamic(weight, bias) if name == "dynamic" else _packed(weight, bias)
            product(torch.zeros(1, 1, weight.shape[1]))
        except (RuntimeError, AttributeError, NotImplementedError):
            continue
        return product
    kept = weight.contiguous()
    return lambda x: F.linear(x, kept, bias)


def _row_scales(weight: Tensor) -> Tensor:
    return weight.abs().amax(dim=1).clamp_min_(1e-8) / 127  # [out]


def _dynamic(weight: Tensor, bias: Tensor | None) -> Linear:
    """Activations in int8 too, one scale a call: torch.ao's operator, without torch.ao."""
    zeros = torch.zeros(weight.shape[0], dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are announced for removal
        rows = torch.quantize_per_channel(weight, _row_scales(weight), zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(rows, bias)
        reduced = _saturates()
    product = torch.ops.quantized.linear_dynamic
    return lambda x: product(x, packed, reduced)


@lru_cache(maxsize=1)
def _saturates() -> bool:
    """Whether 8-bit products overflow their 16-bit sums here, so that activations get 7 bits.

    They do on an AVX2 CPU without VNNI: logits of small models were off by 7 %.
    """
    ones = torch.ones(1, 64)
    rows = torch.quantize_per_tensor(ones, 1 / 127, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(rows, None)
    return bool(torch.ops.quantized.linear_dynamic(ones, packed).item() < 60.0)


def _packed(weight: Tensor, bias: Tensor | None) -> Linear:
    """Weights alone in int8, activations in bf16: the operator that is to stay."""
    scales = _row_scales(weight)
    rows = (weight / scales[:, None]).round_().clamp_(-127, 127).to(torch.int8)
    half = scales.to(torch.bfloat16)

    def product(x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        out = torch._weight_int8pack_mm(flat, rows, half).to(x.dtype)
        return (out if bias is None else out.add_(bias)).view(*x.shape[:-1], -1)

    return product
