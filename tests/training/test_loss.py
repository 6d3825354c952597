"""The fused loss: the nats and gradients of a plain cross entropy, whatever the chunk."""

from __future__ import annotations

import sys
from typing import Any

import psutil
import pytest
import torch
import torch.nn.functional as F

from tests.training.conftest import item
from vaultgpt.corpus.documents import join
from vaultgpt.training import loss as loss_module
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.evaluate import segments
from vaultgpt.training.loss import _IGNORE, Batch, each_nats, make_batch, total_nats


def some_batch(base: BaseModel) -> Batch:
    documents = [s.document for s in segments([item(i) for i in range(5)], base.encoder)]
    return make_batch(base, [join([document]) for document in documents])


@pytest.mark.parametrize("chunk_rows", [1, 7, 100_000])
def test_nats_and_gradients_are_those_of_a_plain_cross_entropy(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch, chunk_rows: int
) -> None:
    batch, weights = some_batch(base), dict(base.model.named_parameters())
    base.model.requires_grad_(True)
    plain = F.cross_entropy(
        base.logits(batch.ids, batch.positions).flatten(0, 1),
        batch.targets.flatten(),
        reduction="sum",
        ignore_index=_IGNORE,
    )
    wanted = torch.autograd.grad(0.5 * plain, list(weights.values()))
    monkeypatch.setattr(loss_module, "_FUSED_LOGITS", chunk_rows * base.embedding.shape[0])
    fused = total_nats(base, batch)
    found = torch.autograd.grad(0.5 * fused, list(weights.values()))
    assert float(fused.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    for name, one, other in zip(weights, found, wanted, strict=True):
        assert torch.allclose(one, other, atol=2e-5, rtol=1e-4), name


def test_a_frozen_head_takes_no_gradient_and_the_rest_still_does(base: BaseModel) -> None:
    base.model.requires_grad_(False)
    norm = next(p for n, p in base.model.named_parameters() if n.endswith("norm.weight"))
    norm.requires_grad_(True)
    total_nats(base, some_batch(base)).backward()
    assert norm.grad is not None and float(norm.grad.abs().sum()) > 0
    assert base.embedding.grad is None


def test_bfloat16_stays_near_float32(base: BaseModel) -> None:
    batch = some_batch(base)
    exact = float(total_nats(base, batch))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = float(total_nats(base, batch))
    assert rough == pytest.approx(exact, rel=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's heap that fills with holes")
def test_scoring_takes_the_memory_of_one_chunk_however_many_there_are(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, vocabulary = 80, 49_152
    held: list[int] = []

    class Wide(torch.nn.Linear):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            held.append(psutil.Process().memory_info().rss)
            return super().forward(hidden)

    model: Any = base.model
    model.set_output_embeddings(Wide(base.embedding.shape[1], vocabulary, bias=False))
    monkeypatch.setattr(loss_module, "_FUSED_LOGITS", rows * base.embedding.shape[0])
    one = some_batch(base)
    each_nats(base, Batch(one.ids.repeat(8, 1), None, one.targets.repeat(8, 1)))
    assert len(held) >= 24
    assert held[-1] - held[8] < 4 * (4 * rows * vocabulary), "bytes of four chunks, not of all"
