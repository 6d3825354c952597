"""Out of memory: how it shows itself, and how many tokens a pass may start with.

Knows nothing about models' insides; the estimate is rough and the halving corrects it.
"""

from __future__ import annotations

import psutil
import torch

from vaultgpt.training.base import BaseModel

# Bytes kept for the backward pass by one token and layer, in multiples of the hidden size: about
# 20 tensors of hidden width and 3 of the feed-forward's, 4 bytes each, rounded up.
_PER_LAYER = 160
_SHARE = 0.35  # of the free memory that one pass may take
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA and MPS raise kinds of RuntimeError, the CPU allocator a plain one, Python its own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SIGNS)


def tokens_that_fit(base: BaseModel, least: int, most: int) -> int:
    """Tokens of one forward and backward pass, between `least` and `most`."""
    config = base.model.config.get_text_config()
    layers = int(getattr(config, "num_hidden_layers", 12))
    hidden = int(getattr(config, "hidden_size", base.embedding.shape[1]))
    return max(least, min(most, int(free_bytes(base) * _SHARE / (_PER_LAYER * layers * hidden))))


def free_bytes(base: BaseModel) -> int:
    """Memory that could be taken now, on the device of the base."""
    where = base.device.where
    if where.type == "cuda":
        return int(torch.cuda.mem_get_info(where)[0])
    return int(psutil.virtual_memory().available)


def release(base: BaseModel) -> None:
    """Hand cached blocks back before trying again with less."""
    if base.device.where.type == "cuda":
        torch.cuda.empty_cache()
    elif base.device.where.type == "mps":
        torch.mps.empty_cache()
