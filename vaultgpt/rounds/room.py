"""Whether a round will find the disk and the memory that it takes, asked before it begins.

Knows nothing about what the round learns.
"""

from __future__ import annotations

import shutil

import psutil

from vaultgpt.bases.catalogue import known_base, learning_gb
from vaultgpt.bases.estimate import guess_device
from vaultgpt.errors import StateError
from vaultgpt.settings import Training
from vaultgpt.state import VaultState
from vaultgpt.training.round import BaseInfo

# Of disk: a checkpoint, the adapter, where its training goes on, and the text are all less than the
# base itself in fp32.
_ROUND_BYTES, _PARAMETER_BYTES = 32 << 20, 4
_CERTAIN = 0.8  # of the memory foreseen: what is less than that is surely too little


def require_disk_and_memory(
    state: VaultState, base: BaseInfo, training: Training, *, learns_here: bool = True
) -> None:
    """StateError with both figures where the disk or, on the CPU, the memory will not do."""
    disk = _ROUND_BYTES + _PARAMETER_BYTES * base.parameters
    if (free := shutil.disk_usage(state.folder).free) < disk:
        raise StateError(
            f"A round takes up to {disk / 1e6:,.0f} MB of disk, and {free / 1e6:,.0f} MB are "
            f"free where the state lies.",
            "Free some there, or keep fewer voices (`vaultgpt config training.keep 2`).",
        )
    if not learns_here or guess_device(training.device) != "cpu":
        return
    memory, free_gb = _foreseen_gb(base), _free_gb()
    if free_gb < _CERTAIN * memory:
        raise StateError(
            f"A round on {base.name} takes about {memory:.1f} GB of memory, and {free_gb:.1f} GB "
            f"are free.",
            "Close other programs, or choose a smaller base (`vaultgpt base` lists what fits).",
        )


def _foreseen_gb(base: BaseInfo) -> float:
    known = known_base(base.name)
    if known is not None:
        return known.learning_gb
    return learning_gb(base.parameters, base.vocab * base.hidden * (1 if base.tied else 2))


def _free_gb() -> float:
    return (psutil.virtual_memory().available + psutil.swap_memory().free) / 1e9
