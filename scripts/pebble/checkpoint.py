"""Checkpoints: named tensors and a few numbers, in parts of under 16 MB, atomic and verified.

A checkpoint is a folder `step-0001234` that appears by one rename; inside, safetensors bytes cut
into parts and a manifest with their hash. Knows nothing about what the tensors mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

PART_BYTES = 15_000_000
KEPT = 2


def write(
    root: Path,
    step: int,
    tensors: dict[str, Tensor],
    facts: dict[str, Any],
    dtype: torch.dtype = torch.float32,
    part_bytes: int = PART_BYTES,
) -> Path:
    """Save under root and delete all but the newest two. Floats are stored as `dtype`."""
    target, temporary = root / f"step-{step:07d}", root / f".step-{step:07d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    blob = save(
        {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in tensors.items()}
    )
    for number, start in enumerate(range(0, len(blob), part_bytes)):
        _write_synced(temporary / f"part-{number:03d}", blob[start : start + part_bytes])
    manifest = {"step": step, "sha256": hashlib.sha256(blob).hexdigest(), "facts": facts}
    _write_synced(temporary / "manifest.json", json.dumps(manifest, indent=1).encode())
    shutil.rmtree(target, ignore_errors=True)
    os.rename(temporary, target)
    for old in _complete(root)[:-KEPT]:
        shutil.rmtree(old)
    return target


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts of one checkpoint; refuses parts that don't match their hash."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    blob = b"".join(path.read_bytes() for path in sorted(folder.glob("part-*")))
    if hashlib.sha256(blob).hexdigest() != manifest["sha256"]:
        raise ValueError(f"{folder} is damaged: delete it and resume from the one before.")
    facts: dict[str, Any] = manifest["facts"]
    return load(blob), facts


def latest(root: Path) -> Path | None:
    complete = _complete(root)
    return complete[-1] if complete else None


def _complete(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("step-*") if (path / "manifest.json").is_file())


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
