"""Small rounds go on from the weights as they stood, and their mean goes on too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.training.conftest import item
from tests.training.test_loop import RECIPE, make_loop, same
from vaultgpt.generation_folders import EMBEDDING, LAST_WEIGHTS
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.checkpoint import MOMENTS, LastWeights, load_last, save_last
from vaultgpt.training.loop import Loop
from vaultgpt.training.lora import Adapter, load_adapter, save_adapter


def trained(base: BaseModel, folder: Path, steps: int = 4) -> tuple[Adapter, LastWeights, Loop]:
    loop = make_loop(base, folder, steps)
    mean = loop.run()
    last = loop.last(mean)
    assert last is not None
    loop.learner.close()
    return mean, last, loop


def test_the_file_comes_back_as_it_was(base: BaseModel, tmp_path: Path) -> None:
    mean, last, loop = trained(base, tmp_path / "work")
    save_last(tmp_path, last)
    back = load_last(tmp_path, mean)
    assert back is not None and back.weights.embedding is not None
    assert last.weights.embedding is not None
    rtol = 0.005  # bfloat16
    assert torch.allclose(back.weights.embedding, last.weights.embedding, atol=0.0, rtol=rtol)
    for name, tensor in last.weights.tensors.items():
        assert torch.allclose(back.weights.tensors[name], tensor, atol=0.0, rtol=rtol)
    assert (back.tokens, back.weight) == (loop.progress.tokens, loop.progress.weight)
    assert not same(back.weights, mean)
    assert (back.steps, back.batch_tokens) == (4, RECIPE.batch_tokens)
    assert (
        back.moments.keys()
        == last.moments.keys()
        == {f"{moment}/{name}" for name in (*mean.tensors, "embedding") for moment in MOMENTS}
    )
    assert all(torch.allclose(back.moments[n], t, rtol=0.01) for n, t in last.moments.items())


def test_a_voice_kept_in_float32_is_still_read(base: BaseModel, tmp_path: Path) -> None:
    """As generations were written before: every tensor in float32, the moments in bfloat16."""
    mean, last, loop = trained(base, tmp_path / "work")
    assert mean.embedding is not None and last.weights.embedding is not None
    loop.learner.close()
    save_adapter(tmp_path, base, mean, "tiny", None)
    save_file({"embedding": mean.embedding}, tmp_path / EMBEDDING)
    save_last(tmp_path, last)
    with safe_open(tmp_path / LAST_WEIGHTS, framework="pt") as file:
        header = file.metadata()
    whole = last.weights.tensors | {"embedding_delta": last.weights.embedding}
    halves = {n: t.bfloat16() for n, t in last.moments.items()}
    save_file(whole | halves, tmp_path / LAST_WEIGHTS, header)
    read = load_adapter(tmp_path)
    assert same(read, mean, 0.0) and read.embedding is not None
    assert torch.equal(read.embedding, mean.embedding)
    back = load_last(tmp_path, read)
    assert back is not None and same(back.weights, last.weights, 0.0)


@pytest.mark.parametrize("fault", ["missing", "damaged", "another rank", "no delta"])
def test_where_none_fits_the_mean_itself_is_gone_on_from(
    base: BaseModel, tmp_path: Path, fault: str
) -> None:
    mean, last, _ = trained(base, tmp_path / "work")
    if fault == "damaged":
        (tmp_path / LAST_WEIGHTS).write_bytes(b"\x00" * 40)
    elif fault == "another rank":
        small = {
            name: t[:2] if "lora_A" in name else t[:, :2].clone()
            for name, t in last.weights.tensors.items()
        }
        save_last(tmp_path, replace(last, weights=replace(last.weights, tensors=small)))
    elif fault == "no delta":
        save_last(tmp_path, replace(last, weights=replace(last.weights, embedding=None)))
    assert load_last(tmp_path, mean) is None
    guessed = LastWeights.guess(mean, 1000.0)
    assert guessed.weights is mean and (guessed.tokens, guessed.weight) == (1000, 500_000.0)


def test_a_round_goes_on_from_the_last_weights_and_moves_the_mean_by_its_share(
    base: BaseModel, tmp_path: Path
) -> None:
    mean, last, _ = trained(base, tmp_path / "first")
    half = replace(RECIPE, warmup=0.0, batch_tokens=RECIPE.batch_tokens // 2)
    loop = make_loop(base, tmp_path / "second", 1, half, mean, last=last)
    learner = loop.learner
    assert same(learner.snapshot(), mean)
    assert same(learner.last(0, last.weight).weights, last.weights)
    assert learner.last(0, last.weight).steps == 4
    for name, moment in learner.last(0, last.weight).moments.items():
        noisier = 2 if name.startswith("exp_avg_sq") else 1  # of half the batch
        assert torch.allclose(moment, noisier * last.moments[name])
    after = loop.run()
    end = loop.last(after)
    assert end is not None and end.tokens == last.tokens + loop.progress.tokens
    weight = loop.progress.tokens * end.tokens
    share = weight / (last.weight + weight)
    assert end.weight == pytest.approx(last.weight + weight) and 0.05 < share < 0.5
    for name, tensor in after.tensors.items():
        wanted = torch.lerp(mean.tensors[name], end.weights.tensors[name], share)
        assert torch.allclose(tensor, wanted, atol=1e-6)
    assert after.embedding is not None and mean.embedding is not None
    assert not torch.equal(after.embedding, mean.embedding)


def test_an_embedding_that_is_trained_no_more_stays_at_the_mean(
    base: BaseModel, tmp_path: Path
) -> None:
    mean, last, _ = trained(base, tmp_path / "first")
    loop = make_loop(
        base, tmp_path / "second", 2, replace(RECIPE, embedding_rate=0.0), mean, last=last
    )
    after = loop.run()
    assert after.embedding is not None and mean.embedding is not None
    assert torch.allclose(after.embedding, mean.embedding, atol=1e-6)
    assert not same(after, mean)


def test_an_earlier_mean_that_was_better_is_gone_on_from_itself(
    base: BaseModel, tmp_path: Path
) -> None:
    """The weights at the end are then those that overfitted."""
    loop = make_loop(base, tmp_path, 4, check_every=2, validation=[item(50, "held_out", 20)])
    loop.run()
    assert loop.best is not None and loop.last(loop.best) is None
