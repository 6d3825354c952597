"""Captured steps on the CPU, by a tape that repeats operations as a CUDA graph does.

What a card alone can show is in test_on_cuda.py.
"""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.mirror.conftest import PLAIN, engine_of, write
from tests.mirror.tape import Address, TapeGraph
from vaultgpt.arithmetic import Dtype
from vaultgpt.mirror import graphs
from vaultgpt.mirror.attention import KV
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.families import Commons, build
from vaultgpt.mirror.graphs import Graphs
from vaultgpt.mirror.lean import LeanModel
from vaultgpt.mirror.mirror_worker import Inbox, Worker
from vaultgpt.mirror.weights import Checkpoint, LoraFactors
from vaultgpt.settings import Mirror
from vaultgpt.wire import Prompt, Sampling, read_frame

CPU = torch.device("cpu")
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),  # as SmolLM2, and Gemma
    ("mistral", {"sliding_window": 24}),
    ("granite", {}),
    ("qwen2", {}),
    ("qwen3", {}),
    ("gpt2", {}),
    ("gemma", {}),
    ("gemma3_text", {}),
]
NAMES = [f"{family}-{'-'.join(options) or 'plain'}" for family, options in FAMILIES]
EXACT = {"float32": 2e-5, "bfloat16": 0.03}  # shares of the largest logit


def lean(base: Path, voice: Path | None = None, dtype: Dtype = "float32", **more: Any) -> LeanModel:
    model = build(base, voice, dtype, CPU, **more)
    assert isinstance(model, LeanModel) and model.graphs is None  # no CUDA, no graphs
    return model


def with_tape(model: LeanModel, make: Callable[[], TapeGraph] = TapeGraph) -> Graphs:
    """Layers as they stand, which is what a GPU runs, and steps that are captured."""
    model.ready, model.graphs = model.layers, Graphs(make)
    return model.graphs


def close(found: Tensor, wanted: Tensor, dtype: str = "float32") -> bool:
    return bool((found - wanted).abs().max() <= EXACT[dtype] * wanted.abs().max())


@pytest.mark.parametrize(("family", "options"), FAMILIES, ids=NAMES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_by_tensors_gives_the_logits_of_the_usual_one(
    tiny_models: Callable[..., Path], family: str, options: dict[str, Any], dtype: Dtype
) -> None:
    """Rows at their own positions, beyond each window, over a cache with more than is seen."""
    model = lean(tiny_models(family, **options), dtype=dtype)
    ids = list(range(20, 70))
    prefix = model.empty()
    model.prefill(prefix, ids, 0)
    usual = model.stack([(prefix, 50), (prefix, 44)], 2)
    fixed = KV([torch.nn.functional.pad(layer, (0, 0, 0, 7)) for layer in usual.layers])
    at = [50, 50, 44, 41]
    for token in range(6):
        given = [7 + token, 90, 30 + token, 11]
        wanted = model.step(usual, given, at)
        with torch.inference_mode():
            found = model.step_by_tensors(fixed, torch.tensor(given), torch.tensor(at))
        assert close(found, wanted, dtype)
        at = [each + 1 for each in at]


@pytest.mark.parametrize(("family", "options"), FAMILIES, ids=NAMES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_replays_give_the_logits_of_steps(
    tiny_models: Callable[..., Path], family: str, options: dict[str, Any], dtype: Dtype
) -> None:
    """One row and four, finished rows let go, and the prompt that was written on goes on."""
    model = lean(tiny_models(family, **options), dtype=dtype)
    ids = list(range(20, 60))

    def all_logits() -> list[Tensor]:
        one = model.empty()
        model.prefill(one, ids, 0)
        found = [model.step(one, [60 + i], [40 + i]) for i in range(4)]
        model.prefill(one, [5, 6, 7], 44)  # what comes now is written into the captured cache
        found += [model.step(one, [80], [47])]
        four = model.stack([(one, 48), (one, 40)], 2)
        for i in range(3):
            found.append(model.step(four, [9, 8, 7, 6 + i], [48 + i, 48 + i, 40 + i, 40 + i]))
        two = model.keep(four, [3, 0])
        return found + [model.step(two, [i, 30], [43 + i, 51 + i]) for i in range(3)]

    wanted = all_logits()
    captured = with_tape(model)
    for _ in range(2):  # captures, then replays alone
        assert all(close(*pair, dtype) for pair in zip(all_logits(), wanted, strict=True))
    assert not captured.refused and [rows for rows, _ in captured.shapes] == [1, 4, 2]


def test_two_texts_that_take_turns_in_one_captured_cache_keep_their_own(tiny_llama: Path) -> None:
    model = lean(tiny_llama)

    def turns() -> list[Tensor]:
        texts = [(model.empty(), [40 + i, *range(20, 50)]) for i in range(3)]
        for cache, ids in texts:
            model.prefill(cache, ids, 0)
        return [model.step(cache, [i], [31 + i]) for i in range(5) for cache, _ in texts]

    wanted = turns()
    captured = with_tape(model)
    assert all(map(close, turns(), wanted)) and len(captured.shapes) == 1


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_text_outgrows_its_captured_cache(tiny_models: Callable[..., Path], family: str) -> None:
    model = lean(tiny_models(family, context=1500))
    ids = [20 + i % 300 for i in range(505)]

    def grown() -> list[Tensor]:
        cache = model.empty()
        model.prefill(cache, ids, 0)
        found = [model.step(cache, [i], [505 + i]) for i in range(12)]
        model.prefill(cache, ids, 517)
        found += [model.step(cache, [i], [1022 + i]) for i in range(6)]
        return [*found, model.step(cache, [3], [300])]  # and goes back to where it was

    wanted = grown()
    captured = with_tape(model)
    for _ in range(2):
        assert all(map(close, grown(), wanted))
    assert captured.shapes == [(1, 512), (1, 1024), (1, 1500)] and not captured.refused


def test_tables_that_grow_leave_those_of_a_capture(tiny_models: Callable[..., Path]) -> None:
    model = lean(tiny_models("llama", context=9000))
    captured, cache = with_tape(model), model.empty()
    found = [model.step(cache, [20 + i], [i]) for i in range(3)]
    model.reserve(5000)
    found += [model.step(cache, [23], [3])]
    model.graphs = None
    cache = model.empty()
    wanted = [model.step(cache, [20 + i], [i]) for i in range(4)]
    assert all(map(close, found, wanted)) and not captured.refused


class Unable(TapeGraph):
    """A driver that captures nothing."""

    def capture(self, step: Callable[[], Tensor]) -> Tensor:
        raise RuntimeError("operation not permitted when stream is capturing")


class Wrong(TapeGraph):
    """A card whose products come out otherwise."""

    def capture(self, step: Callable[[], Tensor]) -> Tensor:
        self.logits = super().capture(step)
        return self.logits

    def replay(self) -> None:
        super().replay()
        self.logits[:, ::2] *= 1.01


class Forgetful(TapeGraph):
    """Keys and values are not written; for the token that was written op by op they stand there."""

    def replay(self) -> None:
        done = self._tape.operations
        self._tape.operations = [each for each in done if "index_put" not in str(each[0])]
        self.repeat()


class Astray(TapeGraph):
    """A key of another position is written over, which one token does not show."""

    def replay(self) -> None:
        super().replay()
        storages = {id(a): a for _, args, _, _ in self._tape.operations for a in args[:1]}
        for place in storages.values():
            if isinstance(place, Address) and len(place.size) == 4 and place.size[2] > 128:
                place.tensor()[0, :, 0] += 1.0


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Unable, "capturing a step failed (RuntimeError)"),
        (Wrong, "a captured step was"),
        (Forgetful, "a captured step was"),
        (Astray, "a place that is not its own"),
    ],
)
def test_what_does_not_do_the_same_never_writes_and_is_told(
    tiny_llama: Path, make: type[TapeGraph], why: str
) -> None:
    prompt = Prompt(text="We saw the", length="tokens", max_tokens=12, n=2, sampling=PLAIN)
    wanted = write(engine_of(tiny_llama), prompt)[0]
    engine = engine_of(tiny_llama)
    model = engine._model("base")
    assert isinstance(model, LeanModel) and engine.slow == ""
    made: list[TapeGraph] = []
    captured = with_tape(model, lambda: made.append(make()) or made[-1])  # type: ignore[func-returns-value]
    assert write(engine, prompt)[0] == wanted
    assert why in captured.refused and not captured.shapes
    assert write(engine, replace(prompt, n=1))[0] == wanted[:1]
    assert len(made) == 1, "it is tried once a voice"
    out = io.BytesIO()
    worker = Worker(Inbox(io.BytesIO(), lambda: None), out)
    worker.engine, told = engine, []
    worker._generate({"op": "generate", "id": 1, "prompt": prompt.to_json()}, 0.0)
    out.seek(0)
    while (frame := read_frame(out)) is not None:
        told.append(frame)
    assert told[-1]["usage"]["slow"] == captured.refused == engine.slow


def test_one_that_would_take_too_much_memory_is_not_captured(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = lean(tiny_llama)
    row = model.empty().nbytes()
    monkeypatch.setattr(graphs, "_BYTES", 5 * row)
    captured = with_tape(model)
    for rows in (1, 2, 6, 3, 1):
        cache = model.stack([(model.empty(), 0)], rows)
        model.step(cache, [20] * rows, [0] * rows)
    assert captured.shapes == [(3, 256), (1, 256)] and not captured.refused


@pytest.mark.parametrize("sampling", [PLAIN, Sampling(), Sampling(tag_strength=1.5, voice=0.5)])
def test_the_text_is_that_of_an_engine_without(
    tiny_writer: Path, adapters: Callable[..., Path], sampling: Sampling
) -> None:
    """Lanes of two models, alternatives that end one by one, a voice that takes over and goes."""
    voice = adapters(tiny_writer, "llama", embedding=True)

    def texts(captures: bool) -> list[str]:
        engine = engine_of(tiny_writer, cuda_graphs=captures)
        found: list[str] = []

        def said(text: str, n: int) -> None:
            used: list[Graphs] = []
            for name in ("base", engine.active):
                model = engine._model(name)
                assert isinstance(model, LeanModel)
                if captures:
                    used.append(model.graphs or with_tape(model))
            tags = ("dream",)
            given: dict[str, Any] = {"max_tokens": 16, "seed": 3, "tags": tags, "n": n}
            found.extend(write(engine, Prompt(text=text, sampling=sampling, **given))[0])
            assert not captures or (used[-1].shapes and not engine.slow)

        said("I walked along the", 1)
        said("I walked along the " + found[0], 3)
        engine.activate("g000001", voice)
        said("I walked along the", 3)
        engine.activate(None)
        said("I walked along the", 1)
        return found

    assert texts(True) == texts(False)


def test_no_step_is_captured_unless_the_settings_ask(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Graphs, "on", staticmethod(lambda _: Graphs(TapeGraph)))
    for asked in (False, True):
        engine = engine_of(tiny_llama, cuda_graphs=asked)
        model = engine._model(engine.active)
        assert isinstance(model, LeanModel) and (model.graphs is not None) == asked


@pytest.mark.parametrize("first", [False, True])
def test_a_base_that_vaults_share_captures_its_steps_where_one_of_them_asks(
    tiny_llama: Path, adapters: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Whichever writes first; a voice beside it follows its own vault's settings."""
    monkeypatch.setattr(Graphs, "on", staticmethod(lambda _: Graphs(TapeGraph)))
    commons, voice = Commons(), adapters(tiny_llama, "llama")
    engines = [Engine(Mirror(device="cpu", cuda_graphs=asked)) for asked in (first, not first)]
    for engine in engines:
        engine.commons = commons
        engine.load(tiny_llama)
    one, other = (engine._model("base") for engine in engines)
    assert isinstance(one, LeanModel) and one is other and one.graphs is not None
    for engine, asked in zip(engines, (first, not first), strict=True):
        engine.activate("g000001", voice)
        beside = engine._model("g000001")
        assert isinstance(beside, LeanModel) and beside.whole is one
        assert (beside.graphs is not None) == asked


def test_a_voice_beside_has_captures_of_its_own_which_go_with_it(
    tiny_llama: Path, adapters: Callable[..., Path]
) -> None:
    commons = Commons()
    base = lean(tiny_llama, commons=commons)
    ours = with_tape(base)
    adapter = adapters(tiny_llama, "llama")
    assert base.beside(Checkpoint(tiny_llama), LoraFactors(adapter)).graphs is None
    voice = lean(tiny_llama, adapter, commons=commons)
    assert voice.whole is base
    theirs = weakref.ref(with_tape(voice))
    for model in (base, voice):
        model.step(model.empty(), [20], [0])
    assert ours.shapes == [(1, 256)] == theirs().shapes  # type: ignore[union-attr]
    del voice, model
    gc.collect()
    assert theirs() is None
