"""In which arithmetic the mirror writes: devices, dtypes, and matrix products in them.

It lies below training and mirror, so that the gate can judge in what will write. Knows nothing
about models, files or requests.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaultgpt.errors import Unavailable

Linear = nn.Module  # [..., in] -> [..., out], in the dtype of its input
Dtype = Literal["float32", "bfloat16", "float16", "int8"]
Int8Way = Literal["turned", "packed"]
# Makes a weight of what is given, whole or some rows of it, in whole blocks of _BLOCK.
_RowChange = Callable[[Tensor], Tensor] | None
_STORED: dict[Dtype, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}
SMALL = 60_000_000  # parameters; below it fp32 is fast enough and exact
_BLOCK = 64  # columns that are turned together
_ROWS = 1 << 10  # of a weight quantised at once: what caches hold takes a third of the time
_read: dict[type, list[Any]] = {}  # what TorchScript makes of a class
_scripting = threading.Lock()  # torch compiles a type once, and asks without a lock whether it has


def choose_device(wanted: str) -> torch.device:
    """What a setting such as "auto" or "cuda:1" means. Unavailable where there is none such."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        wanted = next((kind for kind in there if there[kind]), "cpu")
    if not there.get(wanted.partition(":")[0], True):
        raise Unavailable(f"There is no device {wanted} here.", "Set mirror.device to auto or cpu.")
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device, parameters: int) -> Dtype:
    """The arithmetic of a setting. CPU: fp32 for small bases, int8 beyond, or fp16 where 8-bit
    products overflow; CUDA bf16; MPS fp16."""
    if wanted == "int8" and device.type != "cpu":
        return "bfloat16" if device.type == "cuda" else "float16"
    if wanted == "float16" and device.type == "cpu" and not multiplies_fp16():
        return "float32"
    fixed: dict[str, Dtype] = {dtype: dtype for dtype in _STORED}
    if wanted in fixed:
        return fixed[wanted]
    if device.type == "cuda":
        return "bfloat16"
    if parameters < SMALL:
        return "float32"
    if device.type == "mps":
        return "float16"
    rough = int8_way() == "turned" and _steps() < 255
    return "float16" if rough and multiplies_fp16() else "int8"


def sixteen_bits(device: torch.device) -> Dtype:
    """bfloat16; on a CPU that only emulates it float16, and where it has not that either float32.

    Emulated, a prompt took ten times as long.
    """
    if device.type != "cpu" or cpu_multiplies_bf16():
        return "bfloat16"
    return "float16" if multiplies_fp16() else "float32"


def stored_in(dtype: Dtype, device: torch.device) -> torch.dtype:
    """What activations, norms and the cache are kept in."""
    whole = dtype == "float16" and device.type == "cpu"  # whose products take and give fp32
    return torch.float32 if whole else _STORED[dtype]


def cpu_multiplies_bf16() -> bool:
    """Whether this processor has instructions for it, as torch sees it."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if capabilities:
        return any(capabilities.get(name) for name in ("avx512_bf16", "arm_bf16", "bf16"))
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe()) if probe is not None else False


def chunk_tokens(parameters: int, dtype: Dtype, device: torch.device) -> int:
    """Tokens of one prefill call; fixed by the model, so that int8 gives the same text again.

    48 at least, for fewer make poor use of a product: 3 times 16 rows take 2.3 times 48 (int8).
    """
    if device.type != "cpu":
        return 512
    work = {"int8": 8e9, "float16": 1.3e10}.get(dtype, 3e9)  # parameters times tokens
    return max(48, min(256, int(work / max(1, parameters)) // 16 * 16))


def make_linear(
    weight: Tensor,
    bias: Tensor | None,
    dtype: Dtype,
    device: torch.device,
    *,
    turned: bool = False,
    once: bool = False,
    change: _RowChange = None,
) -> Linear:
    """A product with `weight` [out, in] fp32 and `bias` [out]; int8 only on the CPU.

    `turned`: its input will come turned already (see `turn_of`). `once`: it is used once, so that
    no better layout is worth its making. `change` makes the weight of what is given.
    """
    if dtype == "int8":
        return int8_linear(weight, bias, turned=turned, change=change)
    weight = weight if change is None else change(weight)
    if dtype == "float16" and device.type == "cpu":
        return _Halved(weight, bias)
    kept = weight.to(device, _STORED[dtype])
    if dtype == "float32" and device.type == "cpu" and not once:
        # Stored [in, out]. All of pebble's products, one thread: 2.6 ms against 4.5 for one row,
        # 11 against 15 for 16.
        kept = kept.t().contiguous().t()
    return _AsStored(kept, None if bias is None else bias.to(device, _STORED[dtype]))


def compiled(module: nn.Module, device: torch.device) -> nn.Module:
    """`module` without Python between its operations, as TorchScript; itself where that fails.

    On the CPU alone: on a GPU torch would fuse, and compile anew for each shape. A token of
    SmolLM2-135M in int8 on one thread: 10.4 ms, 9.0 so; of pebble 1.37 and 0.95.
    """
    if device.type != "cpu":
        return module
    try:
        with _scripting, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is announced for removal
            return scripted(module)
    except Exception:  # a torch or a Python that can't any more: slower, and the same
        return module


def scripted(module: nn.Module) -> nn.Module:
    """torch.jit.script, which reads a class's source once a process and not for each object.

    A layer of SmolLM2-135M: 4 ms in place of 19. By a part of torch that is not public.
    """
    made: nn.Module
    try:
        from torch.jit import _recursive

        made = _recursive.create_script_module(module, _methods)  # type: ignore[no-untyped-call]
    except (ImportError, AttributeError, TypeError):
        made = torch.jit.script(module)
    return made


def _methods(module: nn.Module) -> list[Any]:
    """What TorchScript compiles of a module, read for its class; of no object, which would stay."""
    from torch.jit import _recursive

    kind = type(module)
    if kind not in _read:
        found = _recursive.infer_methods_to_compile(module)  # type: ignore[no-untyped-call]
        _read[kind] = [
            each._replace(original_method=getattr(kind, each.original_method.__name__))
            for each in found
        ]
    return _read[kind]


def as_written(weight: Tensor, dtype: Dtype) -> Tensor:
    """What `weight` [out, in] fp32 becomes when it writes in `dtype`, in fp32 again."""
    if dtype != "int8":
        return weight.to(_STORED[dtype]).to(weight.dtype)
    turn = turn_of(weight.shape[1], dtype)
    codes, scales, _ = _quantise(weight, turn)
    whole = codes.to(weight.dtype).mul_(scales[:, None])
    return whole if turn is None else turn_by(whole, turn).view_as(weight)


def int8_linear(
    weight: Tensor,
    bias: Tensor | None,
    way: Int8Way | None = None,
    *,
    turned: bool = False,
    change: _RowChange = None,
) -> Linear:
    """int8 with one scale a row of the weight; `way` None takes what suits this machine.

    SmolLM2-135M's products on 2 threads: one row turned 5.3 ms, packed 8.1 (bf16 20, fp32 30); 288
    rows 114 and 425.
    """
    way = way or int8_way()
    if way is None:
        return _AsStored((weight if change is None else change(weight)).contiguous(), bias)
    if way == "turned":
        return _Turned(weight, bias, turned, change)
    return _Packed(weight, bias, change)


@lru_cache(maxsize=1)
def int8_way() -> Int8Way | None:
    """The better of those that this build of torch and this processor offer.

    A product that comes out wrong is none: some processors overflow where others do not.
    """
    ones = torch.ones(2, 64)
    ways: tuple[tuple[Int8Way, Callable[[Tensor, Tensor | None], Linear]], ...] = (
        ("turned", _Turned),
        ("packed", _Packed),
    )
    for name, make in ways:
        try:
            if bool((make(ones, None)(ones) > 60.0).all()):
                return name
        except (RuntimeError, AttributeError, NotImplementedError):
            continue
    return None


@lru_cache(maxsize=1)
def multiplies_fp16() -> bool:
    """Whether this build of torch multiplies by weights in fp16 on this processor (x86 alone)."""
    ones = torch.ones(2, 64)
    try:
        return bool((_Halved(ones, None)(ones) == 64.0).all())
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


@lru_cache(maxsize=1)
def _steps() -> int:
    """Steps from an activation's least to its greatest: 255, or 127 where 8-bit products overflow.

    Without VNNI, x86 sums pairs of products in 16 bits. SmolLM2-135M on such a processor, beside
    fp32: 1.09 % more nats at 255 steps and 0.39 % at 127; Gemma 3 270M 0.56 and 0.29 %.
    """
    codes = torch.full((1, 64), 127, dtype=torch.int8)
    one = torch.ops.quantized.linear_dynamic.default
    largest = one(torch.ones(1, 64), _prepacked(codes, torch.ones(1)))
    return 255 if float(largest) > 0.99 * 64 * 127 else 127


def _prepacked(codes: Tensor, scales: Tensor) -> Any:
    """Codes int8 [out, in] with a scale [out] each, as the quantised operators take them."""
    zeros = torch.zeros(len(scales), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are announced for removal
        rows = torch._make_per_channel_quantized_tensor(codes, scales.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(rows, None)


def _quantise(
    weight: Tensor, turn: Tensor | None, change: _RowChange = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes int8 [out, in] of the turned weight; of each row a scale, and its codes' sum, fp32.

    The sums are exact: codes of a row of 2^17 columns come to less than 2^24.
    """
    codes = torch.empty(weight.shape, dtype=torch.int8)
    scales, sums = torch.empty(len(weight)), torch.empty(len(weight))
    for begin in range(0, len(weight), _ROWS):
        rows = slice(begin, begin + _ROWS)
        each = weight[rows] if change is None else change(weight[rows])
        each = each if turn is None else turn_by(each, turn)
        scale = torch.maximum(each.amax(1), each.amin(1).neg_()).clamp_min_(1e-8) / 127
        parts = each / scale[:, None] if turn is None else each.div_(scale[:, None])
        codes[rows] = parts.round_()
        scales[rows], sums[rows] = scale, parts.sum(1)
    return codes, scales, sums


def turn_of(width: int, dtype: Dtype) -> Tensor | None:
    """By what the input of a product of such a width is turned, [block, block]; None if it isn't.

    A forward pass may turn what it can beforehand, in its weights, and ask for `turned` products.
    """
    return _turn(width) if dtype == "int8" and int8_way() == "turned" else None


@lru_cache(maxsize=8)
def _turn(width: int) -> Tensor | None:
    """A Hadamard matrix [block, block], its own inverse; None for an odd width."""
    block = _BLOCK
    while width % block:
        block //= 2
    if block == 1:
        return None
    turn = torch.ones(1, 1)
    while turn.shape[0] < block:
        turn = torch.cat([torch.cat([turn, turn], 1), torch.cat([turn, -turn], 1)])
    return turn.div_(block**0.5)


def turn_by(x: Tensor, turn: Tensor) -> Tensor:
    """[..., width], each block of columns turned; once more, and they are as before."""
    return (x.reshape(-1, turn.shape[0]) @ turn).view(x.shape)


class _AsStored(nn.Module):
    """A product with the weight as it is."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class _Turned(nn.Module):
    """Weights and activations in int8, both turned: (x H)(W H)' is x W', and no number stands out.

    Activations have a few columns, and the start token's a few numbers, that are hundreds of times
    larger than the rest and leave it no digits. Turned within blocks of 64 columns they are spread
    (QuaRot, arXiv 2404.00456). A voice of SmolLM2-135M on text of three authors, beside fp32: int8
    with one scale a token 0.50 % more nats, turned 0.03 %, weights alone in int8 0.10 %.

    Every row has its own scale, so that a text does not depend on how its prompt was cut, nor on
    what is written beside it.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, turned: bool = False, change: _RowChange = None
    ) -> None:
        super().__init__()
        turn = _turn(weight.shape[1])
        codes, scales, sums = _quantise(weight, turn, change)
        self.turn = None if turned else turn
        self.packed, self.steps = _prepacked(codes, scales), _steps()
        self.sums = sums * scales  # [out]
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        if self.turn is not None:
            flat = turn_by(flat, self.turn)
        if flat.shape[0] == 1:
            out = torch.ops.quantized.linear_dynamic(flat, self.packed, self.steps < 255)
        else:
            # As for one, row by row: steps from the least to the greatest, a zero among them.
            low, high = torch.aminmax(flat, dim=1, keepdim=True)  # [rows, 1]
            low.clamp_max_(0.0)
            step = (high.clamp_min_(0.0) - low).clamp_min_(1e-30).div_(self.steps)
            zero = low.div_(step).neg_().round_()
            out = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                flat.div(step).add_(zero), 1.0, 0, self.packed
            )
            out.addr_(zero[:, 0], self.sums, alpha=-1).mul_(step)
        if self.bias is not None:
            out.add_(self.bias)
        made: Tensor = out.view(x.shape[:-1] + (out.shape[-1],))  # noqa: RUF005, for TorchScript
        return made


class _Packed(nn.Module):
    """Weights alone in int8, activations in bf16: the operator that is to stay."""

    def __init__(self, weight: Tensor, bias: Tensor | None, change: _RowChange = None) -> None:
        super().__init__()
        self.codes, scales, _ = _quantise(weight, None, change)
        self.scales, self.bias = scales.to(torch.bfloat16), bias

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        out = torch._weight_int8pack_mm(flat, self.codes, self.scales).to(x.dtype)
        if self.bias is not None:
            out.add_(self.bias)
        return out.view(x.shape[:-1] + (out.shape[-1],))  # noqa: RUF005, for TorchScript


class _Halved(nn.Module):
    """Weights alone in fp16, activations and sums in fp32, by FBGEMM.

    For processors without 8-bit dot products. With AVX2, two threads, head and six layers of
    SmolLM2-135M, of 1, 48 and 288 rows: 6.3, 24 and 93 ms; int8 5.1, 24, 101; fp32 27, 60, 159.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.packed, self.bias = torch.ops.quantized.linear_prepack_fp16(weight, None), bias

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        out = torch.ops.quantized.linear_dynamic_fp16(flat, self.packed)
        if self.bias is not None:
            out.add_(self.bias)
        made: Tensor = out.view(x.shape[:-1] + (out.shape[-1],))  # noqa: RUF005, for TorchScript
        return made
