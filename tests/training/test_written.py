"""The written-out step: the loss and the gradients of autograd, with documents kept apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.training.test_lora import CPU, RECIPE, random_adapter
from vaultgpt.corpus.documents import Block
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.device import Device
from vaultgpt.training.learner import Learner
from vaultgpt.training.loss import Batch, each_nats, make_batch, total_nats

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text")
NEAR = {torch.float32: 1e-5, torch.bfloat16: 0.07}  # relative, of a tensor's norm


def learned(
    folder: Path, family: str, dtype: torch.dtype, embedding_rate: float = 1e-3, **more: Any
) -> tuple[BaseModel, Learner]:
    """A tiny base whose LoRA and embedding all matter."""
    model = tiny.tiny_model(folder, family, layers=4, **more)
    base = load_base(model, Device(CPU.where, dtype, 1))
    learner, adapter = random_adapter(base, replace(RECIPE, embedding_rate=embedding_rate))
    learner.load(adapter)
    return base, learner


def row(*lengths: int, seed: int = 0) -> Block:
    """Documents of these lengths, packed."""
    ids = np.random.default_rng(seed).integers(0, 400, sum(lengths)).astype(np.int32)
    positions = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    return Block(ids, positions, np.ones(len(ids), np.bool_))


def nats_and_gradients(
    base: BaseModel, learner: Learner, batch: Batch
) -> tuple[float, dict[str, Tensor]]:
    with base.device.autocast():
        nats = total_nats(base, batch)
    (nats * 0.01).backward()
    found = {n: p.grad.clone() for n, p in learner.parameters.items() if p.grad is not None}
    learner.optimiser.zero_grad(set_to_none=True)
    assert found.keys() == learner.parameters.keys()
    return float(nats.detach()), found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("embedding_rate", [0.0, 1e-3])
def test_the_same_loss_and_gradients_as_autograd(
    family: str, dtype: torch.dtype, embedding_rate: float, tmp_path: Path
) -> None:
    base, learner = learned(tmp_path, family, dtype, embedding_rate)
    written = base.written
    assert written is not None
    batch = make_batch(base, [row(50, 13, 30), row(70, 10, seed=1), row(5, 3, 60, seed=2)])
    ours = nats_and_gradients(base, learner, batch)
    base.written = None
    theirs = nats_and_gradients(base, learner, batch)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-6 if dtype == torch.float32 else 1e-3)
    for name, wanted in theirs[1].items():
        assert float((ours[1][name] - wanted).norm()) <= NEAR[dtype] * float(wanted.norm()), name
    base.written = written
    learner.close()


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_packed_documents_are_isolated(family: str, tmp_path: Path) -> None:
    """Together in a row, or each in a row of its own with padding: one loss, one gradient."""
    base, learner = learned(tmp_path, family, torch.float32)
    block = row(40, 60, 9)
    ids, positions, mask = block.token_ids, block.position_ids, block.loss_mask
    mask[[0, 40, 100]] = False  # a document's last token does not foretell the next one's first
    parts = [
        Block(ids[a:b], positions[a:b], mask[a:b]) for a, b in ((0, 40), (40, 100), (100, 109))
    ]
    together = nats_and_gradients(base, learner, make_batch(base, [block]))
    alone = nats_and_gradients(base, learner, make_batch(base, parts))
    assert together[0] == pytest.approx(alone[0], rel=1e-6)
    for name, wanted in alone[1].items():
        torch.testing.assert_close(together[1][name], wanted, atol=1e-5, rtol=1e-4)


def test_scoring_keeps_nothing_for_a_backward_pass(tmp_path: Path) -> None:
    """Kept, it was 1.1 GB of SmolLM2-135M's 2.5: torch tells a step of autograd that its weights
    need their gradients, whether or not anybody will ask for them."""
    base, learner = learned(tmp_path, "llama", torch.float32)
    batch = make_batch(base, [row(50, 30), row(70, 10, seed=1)])
    asked: list[bool] = []
    for block in base.written.blocks:
        block.forward = _recording(block.forward, asked)
    each_nats(base, batch)
    assert asked == [False] * len(base.written.blocks)
    nats_and_gradients(base, learner, batch)
    assert asked[len(base.written.blocks) :] == [True] * len(base.written.blocks)


def _recording(forward: Any, asked: list[bool]) -> Any:
    """The forward pass of a block; whether it keeps what leads back goes into `asked`."""

    def recorded(*given: Any) -> Any:
        asked.append(torch.is_grad_enabled())
        return forward(*given)

    return recorded


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_weights_are_held_in_half_the_room_and_come_back_as_they_were(
    name: str, tmp_path: Path
) -> None:
    """In bfloat16; where that loses something the exact ones lie beside, as small as can be."""
    folder = tiny.tiny_model(tmp_path, "llama", dtype=name)
    base = load_base(folder, Device(CPU.where, torch.bfloat16, 1))
    before = {n: p.clone() for n, p in base.model.named_parameters()}
    learner = Learner(base, replace(RECIPE, embedding_rate=0.0), 1)
    assert base.written is not None
    product = base.written.blocks[0].o
    assert product.linears[0].weight.dtype == base.embedding.dtype == torch.bfloat16
    assert product.exact[0].dtype == base.written.held.dtype == getattr(torch, name)
    learner.close()
    assert base.written is None
    for n, p in base.model.named_parameters():
        assert p.dtype == torch.float32 and torch.equal(p, before[n]), n


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "granite"])
def test_other_families_go_through_autograd(family: str, tmp_path: Path) -> None:
    base = load_base(tiny.tiny_model(tmp_path, family), CPU)
    learner = Learner(base, RECIPE, 1)
    assert base.written is None
    learner.close()


def test_a_model_that_computes_otherwise_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(tiny.tiny_model(tmp_path, "llama"), CPU)
    before = base.embedding.clone()
    for layer in base.model.model.layers:
        layer.self_attn.scaling *= 3  # as the written-out step reads it
        monkeypatch.setattr(
            layer.self_attn, "forward", _as_before(layer.self_attn, layer.self_attn.scaling / 3)
        )
    learner = Learner(base, RECIPE, 1)
    assert base.written is None
    assert torch.equal(base.embedding, before)
    learner.close()


def _as_before(attention: Any, scaling: float) -> Any:
    real = attention.forward

    def forward(*args: Any, **named: Any) -> Any:
        wrong, attention.scaling = attention.scaling, scaling
        try:
            return real(*args, **named)
        finally:
            attention.scaling = wrong

    return forward
