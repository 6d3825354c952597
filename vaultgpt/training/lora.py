"""Adapters: LoRA through peft on every linear layer of the blocks, and the embedding's delta.

Reads, writes and merges PEFT folders. Knows nothing about data or schedules.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from vaultgpt.arithmetic import Dtype, as_written
from vaultgpt.bases.kinds import ModelConfig, Rope
from vaultgpt.errors import BaseModelError, GenerationError
from vaultgpt.files import read_json, write_atomic, write_json
from vaultgpt.generation_folders import ADAPTER, CONFIG, EMBEDDING, PeftAdapter
from vaultgpt.training.base_model import BaseModel, quiet
from vaultgpt.training.written_block import exact_in

_ROWS = 1 << 14
# peft refuses out_proj in these families: their fused kernels read its weight directly.
_FUSED = {"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"}


@dataclass(frozen=True)
class Adapter(PeftAdapter[Tensor]):
    """float32, on the CPU."""

    def as_saved(self) -> Adapter:
        """What it is once it was saved and loaded."""
        if self.embedding is None:
            return self
        return replace(self, embedding=self.embedding.bfloat16().float())


def _linear_suffixes(model: Any) -> tuple[list[str], bool]:
    """Last name parts of every linear layer but the head, sorted; and whether they are Conv1D."""
    head = model.get_output_embeddings()
    barred = {"out_proj"} if model.config.model_type in _FUSED else set()
    found = {
        name.rsplit(".", 1)[-1]: isinstance(module, Conv1D)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not head
        and name.rsplit(".", 1)[-1] not in barred
    }
    if not found:
        raise BaseModelError(
            "The base has no linear layers to adapt.",
            "Choose another base with `vaultgpt base NAME`.",
        )
    return sorted(found), all(found.values())


def _config(base: BaseModel, rank: int) -> LoraConfig:
    targets, conv = _linear_suffixes(base.model)
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=targets,
        fan_in_fan_out=conv,
    )


def wrap(base: BaseModel, rank: int, seed: int) -> PeftModel:
    """Put fresh LoRA layers (B = 0) into the base, in float32; only they take gradients."""
    config = _config(base, rank)
    torch.manual_seed(seed)
    try:
        wrapped = get_peft_model(base.model, config)
    except ValueError:
        raise BaseModelError(
            "The base has layers that LoRA can't be put on.",
            "Choose another base with `vaultgpt base NAME`.",
        ) from None
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    if base.device.where.type == "cpu":
        _fuse(wrapped)
    return wrapped


def lora_parameters(wrapped: Any) -> dict[str, nn.Parameter]:
    """LoRA parameters by the names they have in a PEFT file."""
    return {
        name.replace(".default.", "."): parameter
        for name, parameter in wrapped.named_parameters()
        if "lora_" in name
    }


def save_adapter(
    folder: Path, base: BaseModel, adapter: Adapter, base_name: str, revision: str | None
) -> None:
    """Write the PEFT files (and the delta's) into `folder`, mode 0600, each whole or not at all.

    `base` is plain. The delta in bfloat16, half as large: it is small beside what it is added to.
    """
    write_atomic(folder / ADAPTER, save(adapter.tensors, {"format": "pt"}))
    config = _config(base, adapter.rank)
    fields: dict[str, object] = config.to_dict()  # type: ignore[no-untyped-call]
    fields |= {"base_model_name_or_path": base_name, "revision": revision, "inference_mode": True}
    fields["target_modules"], _ = _linear_suffixes(base.model)
    write_atomic(folder / CONFIG, json.dumps(fields, indent=2, sort_keys=True, default=str) + "\n")
    if adapter.embedding is not None:
        half = adapter.embedding.bfloat16()
        write_atomic(folder / EMBEDDING, save({"embedding": half}, {"format": "pt"}))


def load_adapter(folder: Path) -> Adapter:
    """Read a PEFT folder. GenerationError as PeftAdapter.read has it."""
    found = Adapter.read(folder, load_file)
    delta = found.embedding
    return found if delta is None else replace(found, embedding=delta.float())


@contextlib.contextmanager
def merged(base: BaseModel, adapter: Adapter | None, dtype: Dtype = "float32") -> Iterator[None]:
    """The plain base with the adapter added to its weights; the pristine ones come back after.

    In another `dtype` than float32 the weights are those that would write in it."""
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    head = base.model.get_output_embeddings()
    tied, bf16 = base.tied, dtype == "bfloat16"
    try:
        if adapter is not None:
            for weight, delta in _deltas(base, adapter):
                _keep(weight, kept)
                weight += delta.to(weight.device, weight.dtype)
        if dtype != "float32":
            _write_in(base, dtype, kept)
        with torch.autocast(base.device.where.type, torch.bfloat16) if bf16 else nullcontext():
            yield
    finally:
        if tied:
            head.weight = base.embedding
        for weight, pristine in kept.values():
            weight.copy_(pristine)


def _keep(weight: Tensor, kept: dict[int, tuple[Tensor, Tensor]]) -> None:
    """Once, and in half the room where that loses nothing."""
    if weight.data_ptr() not in kept:
        half = exact_in(weight, torch.bfloat16, torch.float16)
        kept[weight.data_ptr()] = (weight, weight.clone() if half is None else half)


@torch.no_grad()
def _write_in(base: BaseModel, dtype: Dtype, kept: dict[int, tuple[Tensor, Tensor]]) -> None:
    """Make every product's weight what it is when it writes; a tied head becomes one of its own.

    Activations are left as they are: of what int8 costs on SmolLM2-135M theirs is the least part.
    """
    head, table = base.model.get_output_embeddings(), base.embedding.data
    tied = base.tied
    if tied:
        head.weight = nn.Parameter(_as_written(table, dtype), requires_grad=False)
    for module in base.model.modules():
        if isinstance(module, nn.Linear | Conv1D) and not (tied and module is head):
            weight = module.weight.data
            _keep(weight, kept)
            conv = isinstance(module, Conv1D)
            new = _as_written(weight.T if conv else weight, dtype)
            weight.copy_(new.T if conv else new)
    _keep(table, kept)
    table.copy_(table.to(torch.float16 if dtype == "float16" else torch.bfloat16))


def _as_written(weight: Tensor, dtype: Dtype) -> Tensor:
    """Row by row as the whole is; a part at a time, for an embedding may be most of a base."""
    made = torch.empty_like(weight)
    for begin in range(0, len(weight), _ROWS):
        rows = slice(begin, begin + _ROWS)
        made[rows] = as_written(weight[rows].float().cpu(), dtype).to(made)
    return made


def _deltas(base: BaseModel, adapter: Adapter) -> Iterator[tuple[Tensor, Tensor]]:
    for path, (down, up) in adapter.factors.items():
        try:
            module = base.model.get_submodule(path)
            weight = module.weight.data
            delta = adapter.scale * (up.to(weight.device) @ down.to(weight.device))  # [out, in]
            yield weight, (delta.T if isinstance(module, Conv1D) else delta).reshape(weight.shape)
        except (AttributeError, RuntimeError):
            raise GenerationError(
                "A generation does not fit this base.", "Run `vaultgpt train --fresh`."
            ) from None
    if adapter.embedding is not None:
        if adapter.embedding.shape != base.embedding.shape:
            raise GenerationError(
                "A generation does not fit this base.", "Run `vaultgpt train --fresh`."
            )
        yield base.embedding.data, adapter.embedding


def merged_model(base: Path, generation: Path | None) -> Any:
    """transformers' model of `base`, fp32, `generation` and its embedding's change merged in."""
    quiet()
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    if generation is None:
        return model
    delta = generation / EMBEDDING
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own, of transformers' next names
        model = PeftModel.from_pretrained(model, str(generation)).merge_and_unload()
    if delta.exists():
        weight = model.get_input_embeddings().weight
        with torch.no_grad():
            weight += load_file(delta)["embedding"].to(weight.dtype)
    return model


def write_merged(base: Path, generation: Path, target: Path) -> None:
    """Merge `generation` into `base`; write fp32 safetensors and the tokenizer into `target`."""
    merged_model(base, generation).save_pretrained(target, safe_serialization=True)
    AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(target)
    config = read_json(target / "config.json")
    write_json(target / "config.json", config | _older_rope(config))


def _older_rope(config: ModelConfig) -> ModelConfig:
    """The rotary positions by the keys they had before transformers 5.

    mlx_lm and others read those alone, and without them take 10,000 for SmolLM2's 100,000."""
    named = config.get("rope_parameters") or Rope()
    found: ModelConfig = {}
    if "full_attention" in named:
        if local := named.get("sliding_attention", Rope()).get("rope_theta"):
            found["rope_local_base_freq"] = local
        named = named["full_attention"]
    whole: Rope = {**named}
    if theta := whole.pop("rope_theta", None):
        found["rope_theta"] = theta
    if whole.get("rope_type", "default") != "default":
        found["rope_scaling"] = whole
    return found


# A linear layer with LoRA on it as one step of autograd, for the CPU -----------------------------


def _fuse(wrapped: nn.Module) -> None:
    """Give every LoRA layer of `wrapped` that stands on an nn.Linear this forward.

    PEFT's own casts the input twice, scales, and adds in passes of their own, which a small base
    feels. Same sums, same parameters."""
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
