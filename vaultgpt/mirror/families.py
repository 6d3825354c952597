"""Which forward pass a base gets, on which device and in which arithmetic.

Knows nothing about requests.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from vaultgpt.errors import BaseModelError, Unavailable
from vaultgpt.mirror import gpt2, llama
from vaultgpt.mirror.lean import Model
from vaultgpt.mirror.linear import Dtype
from vaultgpt.mirror.weights import Adapter, Checkpoint

SMALL = 60_000_000  # parameters; below it fp32 is fast enough and exact


def choose_device(wanted: str) -> torch.device:
    """The device of a setting such as "auto" or "cuda:1". Unavailable when it is not there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    name = wanted
    if wanted == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    if (name.startswith("cuda") and not cuda) or (name == "mps" and not mps):
        raise Unavailable(f"There is no device {name} here.", "Set mirror.device to auto or cpu.")
    return torch.device(name)


def choose_dtype(wanted: str, device: torch.device, parameters: int) -> Dtype:
    """The arithmetic of a setting. CPU: fp32 for small bases, int8 beyond; CUDA bf16; MPS fp16."""
    if wanted == "int8" and device.type != "cpu":
        return "bfloat16" if device.type == "cuda" else "float16"
    fixed: dict[str, Dtype] = {"int8": "int8", "bfloat16": "bfloat16", "float32": "float32"}
    if wanted in fixed:
        return fixed[wanted]
    if device.type == "cuda":
        return "bfloat16"
    small = parameters < SMALL
    if device.type == "mps":
        return "float32" if small else "float16"
    return "float32" if small else "int8"


def count_parameters(files: Checkpoint) -> int:
    """Numbers in the checkpoint."""
    return sum(math.prod(files.shape(name)) for name in files.names)


def build(base: Path, generation: Path | None, dtype: Dtype, device: torch.device) -> Model:
    """The model of `base` with `generation`'s adapter merged in fp32, then cast or quantised."""
    files = Checkpoint(base)
    adapter = Adapter(generation) if generation else None
    try:
        model = _lean(files, adapter, dtype, device)
        if model is None:
            from vaultgpt.mirror.anymodel import AnyModel

            adapter = Adapter(generation) if generation else None  # the first may be half used
            model = AnyModel(files, adapter, dtype, device)
    except torch.OutOfMemoryError:
        raise BaseModelError("The base does not fit into the device's memory.",
                             "Set mirror.device to cpu, or choose a smaller base.") from None
    finally:
        files.close()
    if adapter:
        adapter.finish()
    return model


def _lean(files: Checkpoint, adapter: Adapter | None, dtype: Dtype,
          device: torch.device) -> Model | None:
    try:
        if llama.fits(files.config):
            return llama.Llama(files, adapter, dtype, device)
        if gpt2.fits(files.config):
            return gpt2.GPT2(files, adapter, dtype, device)
    except (KeyError, ValueError):  # tensors of another architecture
        return None
    return None
