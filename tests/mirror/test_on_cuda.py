"""The mirror on a graphics card, beside the same on the CPU. Skipped, saying so, where none is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.mirror.conftest import PLAIN, engine_of, never, write
from vaultgpt.arithmetic import Dtype, choose_device, choose_dtype
from vaultgpt.mirror.attention import KV
from vaultgpt.mirror.families import build
from vaultgpt.mirror.graphs import Graphs
from vaultgpt.mirror.lean import LeanModel, Model
from vaultgpt.wire import Prompt

CARD = "cuda"
IDS = list(range(20, 80))
pytestmark = pytest.mark.skipif(choose_device("auto").type != CARD, reason="no CUDA is here")


def logits(model: Model) -> torch.Tensor:
    """After a prompt in two parts, and after a step."""
    cache = model.empty()
    model.prefill(cache, IDS[:25], 0)
    read = model.peek(cache, IDS[25:], 25)
    return torch.cat([read, model.step(cache, [7], [len(IDS)])])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "gpt_neox"])
@pytest.mark.parametrize("voice", [False, True])
def test_logits_are_those_of_the_cpu(
    tiny_models: Callable[..., Path], adapters: Callable[..., Path], family: str, voice: bool
) -> None:
    base = tiny_models(family)
    kind = family if family in ("gpt2", "gpt_neox") else "llama"
    generation = adapters(base, kind) if voice else None
    there, here = (
        logits(build(base, generation, "float32", torch.device(name))) for name in (CARD, "cpu")
    )
    assert there.device.type == "cpu" and (there - here).abs().max() < 2e-3


def test_it_writes_in_bfloat16_and_the_seed_and_a_warm_cache_give_the_same_text(
    tiny_llama: Path,
) -> None:
    assert choose_dtype("auto", torch.device(CARD), 135_000_000) == "bfloat16"
    engine = engine_of(tiny_llama, device=CARD)
    prompt = Prompt(text="We walked along the", length="tokens", max_tokens=24, n=3, seed=5)
    first = write(engine, prompt)
    assert (engine.device.type, engine.dtype) == (CARD, "bfloat16")
    assert write(engine, prompt)[0] == first[0] and len(first[0]) == 3


def test_greedy_text_in_fp32_is_that_of_the_cpu(tiny_llama: Path) -> None:
    prompt = Prompt(text="We saw the", length="tokens", max_tokens=24, sampling=PLAIN)
    there, here = (
        write(engine_of(tiny_llama, device=name, dtype="float32"), prompt)[0]
        for name in (CARD, "cpu")
    )
    assert there == here


def test_a_voice_takes_over_between_two_requests_and_back(
    tiny_llama: Path, adapters: Callable[..., Path]
) -> None:
    engine = engine_of(tiny_llama, device=CARD, dtype="float32")
    prompt = Prompt(text="We saw the", length="tokens", max_tokens=24, sampling=PLAIN)
    as_base = write(engine, prompt)[0]
    engine.activate("g000001", adapters(tiny_llama, "llama", embedding=True))
    as_voice = write(engine, prompt)[0]
    assert as_voice != as_base == write(engine, replace(prompt, model="base"))[0]
    engine.activate(None)
    assert write(engine, prompt)[0] == as_base


def test_a_prompt_is_warmed_there(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama, device=CARD)
    prompt = Prompt(text="We saw the harbour and the boats in it", length="tokens", max_tokens=4)
    warmed = engine.warm(prompt, never)
    assert warmed > 0 and write(engine, prompt)[2].cached_tokens == warmed


def lean(base: Path, voice: Path | None = None, dtype: Dtype = "float32") -> LeanModel:
    model = build(base, voice, dtype, torch.device(CARD))
    assert isinstance(model, LeanModel)
    model.graphs = Graphs.on(torch.device(CARD))
    return model


def captured(model: Model) -> Graphs:
    assert isinstance(model, LeanModel) and model.graphs is not None
    return model.graphs


def written(model: LeanModel) -> list[torch.Tensor]:
    """Logits of one row, of four at their own positions, of two that are left, and one again."""
    one = model.empty()
    model.prefill(one, IDS, 0)
    found = [model.step(one, [7 + i], [60 + i]) for i in range(4)]
    four = model.stack([(one, 60), (one, 40)], 2)
    for i in range(4):
        found.append(model.step(four, [9, 8, 7, 6 + i], [60 + i, 60 + i, 40 + i, 40 + i]))
    two = model.keep(four, [3, 0])
    found += [model.step(two, [i, 30], [44 + i, 64 + i]) for i in range(3)]
    model.prefill(one, IDS[:5], 64)
    return [*found, model.step(one, [9], [69])]


def shares(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> list[float]:
    """How far each is off, as a share of the largest logit."""
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)]


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("voice", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_captured_steps_give_the_logits_of_steps_op_by_op(
    tiny_models: Callable[..., Path],
    adapters: Callable[..., Path],
    family: str,
    voice: bool,
    dtype: Dtype,
) -> None:
    base = tiny_models(family, **({"sliding_window": 24} if family == "mistral" else {}))
    generation = adapters(base, "gpt2" if family == "gpt2" else "llama") if voice else None
    model = lean(base, generation, dtype)
    found = [*written(model), *written(model)]
    assert not captured(model).refused and [r for r, _ in captured(model).shapes] == [4, 2, 1]
    model.graphs = None
    most = 1e-4 if dtype == "float32" else 0.05
    assert max(shares(found, 2 * written(model))) < most


def test_a_text_outgrows_its_captured_cache_there(tiny_models: Callable[..., Path]) -> None:
    model = lean(tiny_models("llama", context=9000))
    graphs = captured(model)

    def grown() -> list[torch.Tensor]:
        cache = model.empty()
        model.prefill(cache, [20 + i % 300 for i in range(505)], 0)
        found = [model.step(cache, [i], [505 + i]) for i in range(12)]
        model.prefill(cache, [20 + i % 300 for i in range(4000)], 517)  # the rope's tables grow
        return [*found, *(model.step(cache, [i], [4517 + i]) for i in range(3))]

    found = grown() + grown()
    assert graphs.shapes == [(1, 512), (1, 1024), (1, 8192)] and not graphs.refused
    model.graphs = None
    assert max(shares(found, 2 * grown())) < 1e-4


def test_a_step_by_tensors_never_waits_for_the_card(tiny_models: Callable[..., Path]) -> None:
    for family in ("llama", "gpt2", "gemma3_text"):
        model = lean(tiny_models(family))
        kv, given = model.empty(), torch.tensor([7], device=CARD)
        assert isinstance(kv, KV)
        with torch.inference_mode():
            model.step_by_tensors(kv, given, given)
            torch.cuda.set_sync_debug_mode("error")
            try:
                model.step_by_tensors(kv, given, given)
            finally:
                torch.cuda.set_sync_debug_mode("default")


def test_text_with_graphs_is_that_without_and_a_new_voice_is_captured_anew(
    tiny_llama: Path, adapters: Callable[..., Path]
) -> None:
    prompt = Prompt(text="We saw the", length="tokens", max_tokens=24, n=3, sampling=PLAIN)
    told: list[list[list[str]]] = []
    for graphs in (True, False):
        engine = engine_of(tiny_llama, device=CARD, dtype="float32", cuda_graphs=graphs)
        texts = []
        for voice in (None, adapters(tiny_llama, "llama", embedding=True)):
            engine.activate("g000001" if voice else None, voice)
            model = engine._model(engine.active)
            assert isinstance(model, LeanModel) and (model.graphs is not None) == graphs
            assert not graphs or not captured(model).shapes
            texts += [write(engine, each)[0] for each in (prompt, prompt, replace(prompt, n=1))]
            assert engine.slow == "" and (not graphs or len(captured(model).shapes) > 1)
        told.append(texts)
    assert told[0] == told[1]


def test_a_capture_that_fails_is_told_and_the_text_is_the_same(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = Prompt(text="We saw the", length="tokens", max_tokens=24, sampling=PLAIN)
    wanted = write(engine_of(tiny_llama, device=CARD, dtype="float32"), prompt)[0]
    real = LeanModel.step_by_tensors

    def waits(model: LeanModel, kv: KV, ids: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        assert int(ids.sum()) >= 0
        return real(model, kv, ids, at)

    monkeypatch.setattr(LeanModel, "step_by_tensors", waits)
    engine = engine_of(tiny_llama, device=CARD, dtype="float32", cuda_graphs=True)
    here = torch.cuda.current_stream()
    assert [write(engine, prompt)[0] for _ in range(2)] == [wanted, wanted]
    assert engine.slow.startswith("capturing a step failed") and torch.cuda.current_stream() == here
    monkeypatch.undo()
    whole = {"device": CARD, "dtype": "float32", "cuda_graphs": True}
    engine = engine_of(tiny_llama, **whole)  # the card itself is whole
    assert write(engine, prompt)[0] == wanted and engine.slow == ""


def test_another_thread_may_use_the_card_during_a_capture(tiny_llama: Path) -> None:
    model, done, went_wrong = lean(tiny_llama), threading.Event(), list[Exception]()

    def busy() -> None:
        try:
            while not done.is_set():
                a = torch.randn(256, 256).to(CARD)
                (a @ a).sum().item()
        except Exception as error:
            went_wrong.append(error)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        found = [written(model) for _ in range(3)][-1]
    finally:
        done.set()
        thread.join()
    assert not went_wrong and not captured(model).refused
    model.graphs = None
    assert max(shares(found, written(model))) < 1e-4


def test_what_was_captured_goes_with_its_voice(tiny_llama: Path) -> None:
    written(lean(tiny_llama))  # what libraries keep for themselves
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    for _ in range(3):
        model = lean(tiny_llama)
        written(model)
        assert torch.cuda.memory_allocated() > before[0]
        del model
    torch.cuda.empty_cache()
    after = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    assert after[0] <= before[0] and after[1] <= before[1] + (2 << 20)
