"""Adapters: LoRA through peft on every linear layer of the blocks, and the embedding's delta.

Reads, writes and merges PEFT folders. Knows nothing about data or schedules.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from vaultgpt.errors import BaseModelError, GenerationError
from vaultgpt.files import write_atomic
from vaultgpt.generations import ADAPTER, CONFIG, EMBEDDING
from vaultgpt.training.base import BaseModel
from vaultgpt.training.fused import fuse

_PREFIX = "base_model.model."
# peft refuses out_proj in these families: their fused kernels read its weight directly.
_FUSED = {"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"}


@dataclass(frozen=True)
class Adapter:
    """LoRA tensors under peft's names, float32 on the CPU, and the embedding's delta or None."""

    rank: int
    alpha: int
    tensors: dict[str, Tensor]
    embedding: Tensor | None  # [vocabulary, hidden]


def linear_suffixes(model: Any) -> tuple[list[str], bool]:
    """Last name parts of every linear layer but the head, sorted; and whether they are Conv1D."""
    head = model.get_output_embeddings()
    barred = {"out_proj"} if model.config.model_type in _FUSED else set()
    found = {name.rsplit(".", 1)[-1]: isinstance(module, Conv1D)
             for name, module in model.named_modules()
             if isinstance(module, nn.Linear | Conv1D) and module is not head
             and name.rsplit(".", 1)[-1] not in barred}
    if not found:
        raise BaseModelError("The base has no linear layers to adapt.",
                             "Choose another base with `vaultgpt base NAME`.")
    return sorted(found), all(found.values())


def wrap(base: BaseModel, rank: int, seed: int) -> tuple[PeftModel, LoraConfig]:
    """Put fresh LoRA layers (B = 0) into the base, in float32; only they take gradients."""
    targets, conv = linear_suffixes(base.model)
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=rank, lora_alpha=2 * rank,
                        lora_dropout=0.0, bias="none", target_modules=targets,
                        fan_in_fan_out=conv)
    torch.manual_seed(seed)
    try:
        wrapped = get_peft_model(base.model, config)
    except ValueError:
        raise BaseModelError("The base has layers that LoRA can't be put on.",
                             "Choose another base with `vaultgpt base NAME`.") from None
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    if base.device.where.type == "cpu":
        fuse(wrapped)
    return wrapped, config


def lora_parameters(wrapped: Any) -> dict[str, nn.Parameter]:
    """LoRA parameters by the names they have in a PEFT file."""
    return {name.replace(".default.", "."): parameter
            for name, parameter in wrapped.named_parameters() if "lora_" in name}


def save_adapter(folder: Path, adapter: Adapter, config: LoraConfig, base_name: str,
                 revision: str | None) -> None:
    """Write the PEFT files (and the delta's) into `folder`, mode 0600, each whole or not at all."""
    write_atomic(folder / ADAPTER, save(adapter.tensors, {"format": "pt"}))
    fields: dict[str, Any] = config.to_dict()  # type: ignore[no-untyped-call]
    fields.update(base_model_name_or_path=base_name, revision=revision, inference_mode=True)
    fields["target_modules"] = sorted(fields["target_modules"])
    write_atomic(folder / CONFIG, json.dumps(fields, indent=2, sort_keys=True, default=str) + "\n")
    if adapter.embedding is not None:
        write_atomic(folder / EMBEDDING, save({"embedding": adapter.embedding}, {"format": "pt"}))


def load_adapter(folder: Path) -> Adapter:
    """Read a PEFT folder; GenerationError when a file is missing or damaged."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / ADAPTER)
        extra = folder / EMBEDDING
        delta = load_file(extra)["embedding"] if extra.exists() else None
        return Adapter(int(config["r"]), int(config["lora_alpha"]), tensors, delta)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        raise GenerationError(f"The generation in {folder.name} is damaged.",
                              "Run `vaultgpt doctor`.") from None


@contextlib.contextmanager
def merged(base: BaseModel, adapter: Adapter | None) -> Iterator[None]:
    """The plain base with the adapter added to its weights; the pristine ones come back after."""
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        if adapter is not None:
            for weight, delta in _deltas(base, adapter):
                kept.append((weight, weight.clone()))
                weight += delta.to(weight.device, weight.dtype)
        yield
    finally:
        for weight, pristine in kept:
            weight.copy_(pristine)


def _deltas(base: BaseModel, adapter: Adapter) -> Iterator[tuple[Tensor, Tensor]]:
    scale = adapter.alpha / adapter.rank
    for name, down in adapter.tensors.items():
        if not name.endswith(".lora_A.weight"):
            continue
        up = adapter.tensors[name.replace(".lora_A.", ".lora_B.")]
        path = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        try:
            module = base.model.get_submodule(path)
            weight = module.weight.data
            delta = scale * (up.to(weight.device) @ down.to(weight.device))  # [out, in]
            yield weight, (delta.T if isinstance(module, Conv1D) else delta).reshape(weight.shape)
        except (AttributeError, RuntimeError):
            raise GenerationError("A generation does not fit this base.",
                                  "Run `vaultgpt train --fresh`.") from None
    if adapter.embedding is not None:
        if adapter.embedding.shape != base.embedding.shape:
            raise GenerationError("A generation does not fit this base.",
                                  "Run `vaultgpt train --fresh`.")
        yield base.embedding.data, adapter.embedding
