"""Where a round runs: device, arithmetic, threads, and what its memory holds.

Knows nothing about models' insides or data; the estimate of memory is rough and halving corrects
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from vaultgpt import arithmetic
from vaultgpt.bases.estimate import usable_cores
from vaultgpt.children import trim_heap
from vaultgpt.errors import TrainingError, Unavailable
from vaultgpt.training.distributed import ALONE, Together

if TYPE_CHECKING:
    from vaultgpt.training.base_model import BaseModel

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Device:
    """A torch device, the dtype of its matrix products in training, and CPU threads."""

    where: torch.device
    dtype: torch.dtype  # float32, or bfloat16 under autocast; weights and LoRA stay float32
    threads: int

    @classmethod
    def choose(cls, device: str, dtype: str, threads: int, together: Together = ALONE) -> Device:
        """From [training] device, dtype and threads. TrainingError for a device that is not there.

        Of several processes each has a graphics card of its own, or its share of the cores."""
        try:
            where = arithmetic.choose_device(device)
        except Unavailable:
            raise TrainingError(
                f"There is no usable {device.partition(':')[0].upper()} device here.",
                "Set training.device to auto or cpu.",
            ) from None
        if together.size > 1 and where.type == "cuda":
            if together.size > (cards := torch.cuda.device_count()):
                raise TrainingError(
                    f"There are {cards} graphics cards here for {together.size} processes.",
                    "Set training.processes to that number.",
                )
            where = torch.device("cuda", together.rank)
            torch.cuda.set_device(where)
        count = max(1, usable_cores(threads) // together.size)
        torch.set_num_threads(count)
        return cls(where, _dtype(where, dtype), count)

    @property
    def name(self) -> str:
        """For the report: `cpu`, `mps` or the GPU's name."""
        if self.where.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.where)})"
        return self.where.type

    def side_by_side(self, work: Callable[[_T], _R], parts: Sequence[_T]) -> list[_R]:
        """`work` of all parts at the same time, each with its share of the threads.

        oneDNN leaves many a product of a small model to one thread, and Python is one. SmolLM2 in
        steps of 512 tokens, one pass and two at a time, by turns: Emily Dickinson's poems 405 and
        520 tokens/s, the example vault 385 and 418.
        """
        if len(parts) < 2:
            return list(map(work, parts))
        each = max(1, self.threads // len(parts))
        torch.set_num_threads(each)  # a number that MKL has for all
        try:
            with ThreadPoolExecutor(len(parts), "pass", torch.set_num_threads, (each,)) as pool:
                return list(pool.map(work, parts))
        finally:
            torch.set_num_threads(self.threads)

    def autocast(self) -> torch.autocast:
        """The context of a training forward pass."""
        return torch.autocast(
            self.where.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16
        )


def on_cpu(device: Device) -> Device:
    """The same round moved to the CPU."""
    where = torch.device("cpu")
    asked = "float32" if device.dtype == torch.float32 else "auto"
    return Device(where, _dtype(where, asked), device.threads)


def _dtype(where: torch.device, asked: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it; MPS stays in float32.

    On 2 Zen 5 cores (AVX512-bf16) a pebble LoRA step runs at 6,200 tokens/s under autocast and at
    3,200 in float32 (blocks of 512, both in one run); without such units bfloat16 is emulated."""
    if asked != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[asked]
    if where.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    if where.type == "cpu" and arithmetic.cpu_multiplies_bf16():
        return torch.bfloat16
    return torch.float32


def release(base: BaseModel) -> None:
    """Hand back what was freed: cached blocks, and what glibc keeps of a heap full of holes."""
    if base.device.where.type == "cuda":
        torch.cuda.empty_cache()
    elif base.device.where.type == "mps":
        torch.mps.empty_cache()
    else:
        trim_heap()  # SmolLM2-135M after training: 2.0 GB before, 1.2 after
