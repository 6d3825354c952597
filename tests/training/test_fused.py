"""LoRA in one product: the logits and gradients of PEFT's own layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.training.test_lora import CPU, IDS, RECIPE, random_adapter
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.device import Device
from vaultgpt.training.learner import Learner


def logits_and_gradients(base: BaseModel, learner: Learner) -> dict[str, Tensor]:
    """Of every trainable parameter, for a fixed loss."""
    with base.device.autocast():
        logits = base.logits(IDS, None).float()
    (logits.sin() * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    found = {n: p.grad.clone() for n, p in learner.parameters.items() if p.grad is not None}
    learner.optimiser.zero_grad(set_to_none=True)
    assert found.keys() == learner.parameters.keys()
    return {"logits": logits.detach(), **found}


def unfuse(learner: Learner) -> int:
    """Give every layer PEFT's forward back; how many were fused."""
    fused = [m for m in learner.wrapped.modules() if "forward" in vars(m)]
    for module in fused:
        del module.forward
    return len(fused)


@pytest.mark.parametrize(
    ("family", "layers"), [("llama", 7), ("qwen2", 7), ("gemma", 7), ("gpt_neox", 4), ("gpt2", 0)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_numbers_as_peft(
    family: str, layers: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    base = load_base(tiny.tiny_model(tmp_path / "base", family), Device(CPU.where, dtype, 1))
    learner, adapter = random_adapter(base, replace(RECIPE, embedding_rate=1e-3))
    learner.load(adapter)
    fused = logits_and_gradients(base, learner)
    assert unfuse(learner) == layers * base.model.config.num_hidden_layers
    theirs = logits_and_gradients(base, learner)
    for name, one in fused.items():
        scale = float(theirs[name].norm())
        assert float((one - theirs[name]).norm()) <= scale * (
            1e-5 if dtype == torch.float32 else 0.06
        ), name
    learner.close()
    assert unfuse(learner) == 0
