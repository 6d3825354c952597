"""Products in int8 and fp16: they stay near fp32, and what reads them changes none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.mirror.conftest import engine_of
from vaultgpt import arithmetic
from vaultgpt.arithmetic import Int8Way, int8_linear, int8_way, multiplies_fp16
from vaultgpt.mirror.families import build
from vaultgpt.mirror.lean import LeanModel

CPU = torch.device("cpu")


@pytest.mark.parametrize("way", ["turned", "packed"])
@pytest.mark.parametrize("biased", [False, True])
def test_both_ways_of_int8_agree_with_fp32(way: Int8Way, biased: bool) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(96, 64), torch.randn(96) if biased else None
    for shape in ((1, 1, 64), (1, 17, 64), (5, 1, 64)):
        x = torch.randn(shape)
        wanted = torch.nn.functional.linear(x, weight, bias)
        got = int8_linear(weight, bias, way)(x)
        assert got.shape == wanted.shape and got.dtype == torch.float32
        assert (got - wanted).abs().max() < 0.03 * wanted.abs().max()


def test_a_row_of_int8_knows_nothing_of_the_rows_beside_it() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 64)
    x[0] *= 300.0  # as a start token's
    x[:, 7] *= 30.0  # as a column that stands out
    weight, bias = torch.randn(96, 64) / 8, torch.randn(96)
    product = int8_linear(weight, bias, "turned")
    whole = product(x)
    assert torch.equal(product(x[5:20]), whole[5:20])
    alone = torch.cat([product(row[None]) for row in x])  # of one row by another operator
    wanted = torch.nn.functional.linear(x, weight, bias)
    size = wanted.abs().amax(1, keepdim=True)
    assert ((alone - whole).abs() / size).max() < 1e-5
    assert ((whole - wanted).abs() / size).max() < 0.02


@pytest.mark.parametrize("way", ["turned", "packed"])
def test_a_weight_that_is_changed_some_rows_at_a_time_is_the_same_as_at_once(way: Int8Way) -> None:
    torch.manual_seed(0)
    turn, norm, weight = arithmetic._turn(64), torch.rand(128), torch.randn(1_216, 128)
    assert turn is not None
    at_once: list[int] = []

    def change(rows: torch.Tensor) -> torch.Tensor:
        at_once.append(len(rows))
        return (turn @ (rows * norm).view(-1, 64, 128)).view(rows.shape)

    x = torch.randn(3, 128)
    by_rows, kept = int8_linear(weight, None, way, change=change)(x), weight.clone()
    assert max(at_once) < len(weight) == sum(at_once) and torch.equal(weight, kept)
    assert torch.equal(by_rows, int8_linear(change(weight), None, way)(x))


def test_layers_are_packed_by_one_thread_each(tiny_llama: Path, monkeypatch: Any) -> None:
    """1. torch has three threads. 2. A model is read in int8. Result: who packs a layer has one of
    them, so that no two wait for each other, and afterwards there are three again.
    """
    found: list[int] = []
    read = LeanModel.read_layer

    def counted(model: LeanModel, index: int) -> tuple[Any, Any]:
        found.append(torch.get_num_threads())
        return read(model, index)

    monkeypatch.setattr(LeanModel, "read_layer", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for sample in ((), range(20, 60)):
            build(tiny_llama, None, "int8", CPU, sample)
            assert torch.get_num_threads() == 3 and {*found} == {1}
    finally:
        torch.set_num_threads(before)


def test_the_largest_products_do_not_overflow() -> None:
    """1. Weights and inputs that are all alike once turned. Result: right on every processor."""
    turn = arithmetic._turn(64)
    assert turn is not None
    alike = arithmetic.turn_by(torch.ones(3, 64), turn)
    product = int8_linear(alike, None, "turned")
    for x in (alike, alike[:1]):
        assert (product(x) - 64.0).abs().max() < 1.0


@pytest.mark.parametrize("way", ["turned", "packed"])
def test_as_written_is_what_the_product_holds(
    way: Int8Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(arithmetic, "int8_way", lambda: way)
    weight, x = torch.randn(96, 64), torch.randn(5, 64)
    kept = arithmetic.as_written(weight, "int8")
    assert 0 < (kept - weight).abs().max() < 0.03
    got, wanted = int8_linear(weight, None, way)(x), torch.nn.functional.linear(x, kept)
    exact = torch.nn.functional.linear(x, weight)
    assert (got - wanted).abs().mean() < (got - exact).abs().mean()
    assert torch.equal(arithmetic.as_written(weight, "bfloat16"), weight.bfloat16().float())


@pytest.mark.parametrize("biased", [False, True])
def test_weights_in_fp16_are_what_is_judged(biased: bool) -> None:
    if not multiplies_fp16():
        pytest.skip("this processor multiplies by no weights in fp16")
    torch.manual_seed(0)
    weight, bias = torch.randn(96, 64), torch.randn(96) if biased else None
    product = arithmetic.make_linear(weight, bias, "float16", CPU)
    for shape in ((1, 1, 64), (1, 17, 64), (5, 1, 64)):
        x = torch.randn(shape)
        wanted = torch.nn.functional.linear(x, arithmetic.as_written(weight, "float16"), bias)
        got = product(x)
        assert got.shape == wanted.shape and got.dtype == torch.float32
        assert (got - wanted).abs().max() < 1e-4 < (got - x @ weight.T).abs().max() + biased


def test_without_any_int8_operator_it_falls_back_to_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("not built")

    monkeypatch.setattr(arithmetic, "_Turned", missing)
    monkeypatch.setattr(arithmetic, "_Packed", missing)
    int8_way.cache_clear()
    weight, x = torch.randn(8, 4), torch.randn(1, 1, 4)
    try:
        assert torch.equal(int8_linear(weight, None)(x), torch.nn.functional.linear(x, weight))
    finally:
        int8_way.cache_clear()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("embedding", [False, True])
def test_what_voices_share_and_read_in_two_threads_changes_no_number(
    tiny_models: Callable[..., Path], adapters: Callable[..., Path], family: str, embedding: bool
) -> None:
    base, sample = tiny_models(family), list(range(20, 60))
    kind = "gpt2" if family == "gpt2" else "llama"
    voice = adapters(base, kind, embedding=embedding)
    alone = build(base, voice, "int8", CPU)
    other = build(base, None, "int8", CPU)
    beside = build(base, voice, "int8", CPU, sample, like=other)
    assert isinstance(alone, LeanModel) and isinstance(beside, LeanModel)
    wanted, got = (model.peek(model.empty(), sample, 0) for model in (alone, beside))
    assert torch.equal(wanted, got)
    assert (beside.head is getattr(other, "head", None)) is not embedding
    assert beside.parameters == alone.parameters and beside.exact is None


def test_the_base_lends_nothing_to_a_voice_of_files_that_took_its_place(
    tmp_path: Path, adapters: Callable[..., Path]
) -> None:
    base = tiny.tiny_model(tmp_path / "base")
    engine = engine_of(base, dtype="int8")
    engine._sample = []  # int8 whatever it costs
    engine.activate(None)
    voice = adapters(base, "llama")
    shutil.rmtree(base)
    tiny.tiny_model(base, seed=2)
    engine.activate("g000001", voice)
    wanted = build(base, voice, "int8", CPU)
    got = engine._models["g000001"]
    ids = list(range(20, 60))
    assert torch.equal(*(m.peek(m.empty(), ids, 0) for m in (wanted, got)))
