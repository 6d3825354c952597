"""Every family against transformers: logits, greedy text token for token, adapters against peft."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.mirror.conftest import PLAIN, engine_of, make_adapter, never
from vaultgpt import arithmetic
from vaultgpt.arithmetic import (
    Dtype,
    choose_dtype,
    compiled,
    int8_way,
    make_linear,
    multiplies_fp16,
    sixteen_bits,
)
from vaultgpt.errors import BaseModelError, GenerationError
from vaultgpt.mirror.anymodel import AnyModel
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.families import Commons, build
from vaultgpt.mirror.gpt2 import GPT2
from vaultgpt.mirror.lean import Model
from vaultgpt.mirror.llama import Llama
from vaultgpt.mirror.weights import Checkpoint, Weights
from vaultgpt.wire import Prompt

CPU = torch.device("cpu")
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CASES: list[tuple[str, dict[str, Any], type]] = [
    ("llama", {}, Llama),
    ("llama", {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}, Llama),
    ("llama", {"rope_parameters": LLAMA3}, Llama),
    (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
        Llama,
    ),
    ("llama", {"num_key_value_heads": 4, "hidden_act": "gelu"}, AnyModel),
    (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        AnyModel,
    ),
    ("mistral", {"sliding_window": None}, Llama),
    ("mistral", {"sliding_window": 24}, Llama),
    ("granite", {}, Llama),
    ("qwen2", {}, Llama),
    ("qwen3", {}, Llama),
    ("gpt2", {}, GPT2),
    ("gpt2", {"activation_function": "gelu", "tie_word_embeddings": False}, GPT2),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, AnyModel),
    ("gpt_neox", {}, AnyModel),
    ("gemma", {}, Llama),
    ("gemma3_text", {}, Llama),
    ("gemma3_text", {"final_logit_softcapping": 5.0}, AnyModel),
    ("gemma2", {"sliding_window": 24}, AnyModel),
]
NAMES = [f"{family}-{'-'.join(options) or 'plain'}" for family, options, _ in CASES]


def reference(base: Path, generation: Path | None = None) -> Any:
    """The same model in transformers, the adapter loaded by plain peft."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    if generation:
        delta = generation / "embedding_delta.safetensors"
        if delta.exists():
            with torch.no_grad():
                net.get_input_embeddings().weight.add_(load_file(delta)["embedding"])
        net = PeftModel.from_pretrained(net, str(generation)).eval()
    return net


def logits_of(model: Model, ids: list[int]) -> torch.Tensor:
    """Prefill in two chunks, a look at several tokens, then single steps."""
    cache = model.empty()
    third = len(ids) // 3
    model.prefill(cache, ids[:third], 0)
    parts = [model.peek(cache, ids[third : 2 * third], third)]
    parts += [model.step(cache, [ids[i]], [i]) for i in range(2 * third, len(ids))]
    return torch.cat(parts)  # [len(ids) - third, vocab]


@pytest.mark.parametrize(("family", "options", "kind"), CASES, ids=NAMES)
def test_logits_and_greedy_text_equal_transformers(
    tmp_path: Path, family: str, options: dict[str, Any], kind: type
) -> None:
    base = tiny.tiny_model(tmp_path / "base", family, **options)
    engine = engine_of(base)
    net = reference(base)
    assert type(engine._model("base")) is kind
    text = tiny.prose(120, 3)
    ids = [engine.vocabulary.start, *engine.vocabulary.encode(text)][:90]
    with torch.inference_mode():
        wanted = net(torch.tensor([ids])).logits[0]
    assert (logits_of(engine._model("base"), ids) - wanted[30:]).abs().max() < 1e-4
    for words in (0, 1, 9, 40):
        assert_greedy_equal(engine, net, " ".join(text.split(" ")[:words]))


def test_the_embedded_base_is_decoded_by_the_lean_forward() -> None:
    pebble = Path(__file__).resolve().parents[2] / "vaultgpt" / "pebble"
    assert type(build(pebble, None, "float32", CPU)) is Llama


def assert_greedy_equal(engine: Engine, net: Any, text: str, model: str = "mirror") -> None:
    prompt = Prompt(text=text, length="tokens", max_tokens=24, sampling=PLAIN, model=model)
    request = engine.begin(prompt, never, 0.0)
    list(request.pieces(never))
    ids = [engine.vocabulary.start, *engine.vocabulary.encode(text)]
    with torch.inference_mode():
        whole = net.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids)).long(),
            max_new_tokens=24,
            do_sample=False,
            pad_token_id=0,
        )[0].tolist()
    wanted = whole[len(ids) :]
    assert request.answers[0].tail[: len(wanted)] == wanted


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt2", "gpt_neox", "gemma"])
@pytest.mark.parametrize("embedding", [False, True], ids=["lora", "lora+embedding"])
def test_a_generation_equals_plain_peft(
    tiny_models: Callable[..., Path], adapters: Callable[..., Path], family: str, embedding: bool
) -> None:
    base = tiny_models(family)
    generation = adapters(base, family, embedding=embedding)
    engine = engine_of(base)
    engine.activate("g000001", generation)
    net = reference(base, generation)
    text = tiny.prose(60, 5)
    ids = [engine.vocabulary.start, *engine.vocabulary.encode(text)][:60]
    with torch.inference_mode():
        wanted = net(torch.tensor([ids])).logits[0]
        plain = reference(base)(torch.tensor([ids])).logits[0]
    assert (wanted - plain).abs().max() > 0.1  # the adapter does something
    assert (logits_of(engine._model("g000001"), ids) - wanted[20:]).abs().max() < 1e-4
    assert_greedy_equal(engine, net, text)
    assert_greedy_equal(engine, reference(base), text, model="base")

    commons = Commons()
    beside = [build(base, g, "float32", CPU, (), commons) for g in (generation, None, generation)]
    if family != "gpt_neox":  # transformers' own models are merged
        assert beside[0].whole is beside[1] and beside[2].whole is beside[1]  # type: ignore[attr-defined]
    for model, logits in zip(beside, (wanted, plain, wanted), strict=True):
        assert (logits_of(model, ids) - logits[20:]).abs().max() < 1e-4
    os.utime(base / "config.json")  # as of another base in this one's place
    assert build(base, None, "float32", CPU, (), commons) is not beside[1]


def test_voices_beside_one_base_share_tensors_and_no_module(
    tiny_models: Callable[..., Path], adapters: Callable[..., Path]
) -> None:
    """torch.jit.script writes to what it scripts, and sessions of one engine script at once."""
    base = tiny_models("qwen2")
    generation, commons = adapters(base, "qwen2"), Commons()
    one, other = (build(base, generation, "float32", CPU, (), commons) for _ in range(2))
    assert isinstance(one, Llama) and isinstance(other, Llama) and one.whole is not None
    for layers in zip(one.whole.layers, one.layers, other.layers, strict=True):
        for name in ("qkv", "out", "gate_up", "down"):
            own, *voices = (getattr(layer.parts, name) for layer in layers)
            found = [own, *(each.whole for each in voices)]
            assert len(set(map(id, found))) == 3
            assert all(each.weight is own.weight for each in found)


def test_one_session_scripts_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    most: list[int] = []

    def script(module: torch.nn.Module) -> torch.nn.Module:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return module

    monkeypatch.setattr(arithmetic, "scripted", script)
    threads = [threading.Thread(target=compiled, args=(torch.nn.Identity(), CPU)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize("tied", [True, False])
def test_folding_the_last_norm_makes_no_second_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    if int8_way() != "turned":
        pytest.skip("nothing is folded on this processor")
    read: list[int] = []
    made: list[int] = []
    ends, real = Weights.ends, make_linear

    def ours(self: Weights, embedding: str, tied: bool) -> tuple[torch.Tensor, torch.Tensor]:
        found = ends(self, embedding, tied)
        read.append(found[1].data_ptr())
        return found

    def product(weight: torch.Tensor, *parts: Any, **named: Any) -> torch.nn.Module:
        made.append(weight.data_ptr())
        return real(weight, *parts, **named)

    monkeypatch.setattr(Weights, "ends", ours)
    monkeypatch.setattr("vaultgpt.mirror.lean.make_linear", product)
    build(tiny.tiny_model(tmp_path / "base", tie_word_embeddings=tied), None, "int8", CPU)
    assert made[0] == read[0], "the ends are loaded before any layer"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_voice_beside_int8_weights_is_as_close_as_a_merged_one(
    tiny_models: Callable[..., Path], adapters: Callable[..., Path], family: str
) -> None:
    base, ids = tiny_models(family), list(range(20, 80))
    generation = adapters(base, family, embedding=True)
    merged = build(base, generation, "int8", CPU, ids)
    beside = build(base, generation, "int8", CPU, ids, Commons())
    assert (merged.dtype, beside.dtype) == ("int8", "int8")
    assert merged.cost is not None and beside.cost is not None
    assert beside.cost < 1.5 * merged.cost


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_rows_of_different_length_equal_each_alone(
    tiny_models: Callable[..., Path], family: str
) -> None:
    model = build(tiny_models(family), None, "float32", CPU)
    ids = list(range(20, 60))
    cache = model.empty()
    model.prefill(cache, ids[:20], 0)
    batch = model.stack([(cache, 20)], 3)
    model.step(batch, [ids[20]] * 3, [20] * 3)
    rows = model.step(batch, [ids[21], 7, ids[20]], [21, 21, 20])  # the last row went back
    alone = [logits_of(model, [*ids[:21], last])[-1] for last in (ids[21], 7)]
    alone.append(logits_of(model, ids[:21])[-1])
    assert (rows - torch.stack(alone)).abs().max() < 1e-4
    kept = model.keep(batch, [2, 0])
    assert (model.step(kept, [ids[20], ids[21]], [20, 21])[1] - alone[0]).abs().max() < 1e-4


def test_sharded_and_bfloat16_checkpoints_are_read(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = tiny.tiny_model(tmp_path / "one", dtype="bfloat16")
    net = AutoModelForCausalLM.from_pretrained(base)
    parts = tmp_path / "parts"
    net.save_pretrained(parts, max_shard_size="20KB")
    tiny.tiny_tokenizer(parts)
    assert (parts / "model.safetensors.index.json").exists()
    one, many = (build(folder, None, "float32", CPU) for folder in (base, parts))
    assert torch.equal(logits_of(one, list(range(30))), logits_of(many, list(range(30))))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_int8_stays_close_to_fp32(tiny_models: Callable[..., Path], family: str) -> None:
    base = tiny_models(family)
    ids = list(range(5, 50))
    exact, coarse = (logits_of(build(base, None, dtype, CPU), ids) for dtype in ("float32", "int8"))
    agreement = torch.nn.functional.cosine_similarity(exact, coarse, dim=1)
    assert agreement.min() > 0.99


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "gemma3_text", "granite"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_the_compiled_forward_pass_is_the_one_that_stands_here(
    tiny_models: Callable[..., Path],
    adapters: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    dtype: Dtype,
) -> None:
    base, ids = tiny_models(family), list(range(5, 75))
    generation = adapters(base, "llama", embedding=True)

    def all_logits() -> list[torch.Tensor]:
        return [
            logits_of(build(base, voice, dtype, CPU, (), commons), ids)
            for voice in (None, generation)
            for commons in (None, Commons())
        ]

    quick = build(base, None, dtype, CPU)
    assert isinstance(quick, Llama) and isinstance(next(iter(quick.ready)), torch.jit.ScriptModule)
    wanted = all_logits()

    def missing(_: object) -> None:
        raise RuntimeError("this torch has none")

    monkeypatch.setattr(arithmetic, "scripted", missing)
    assert all(map(torch.equal, wanted, all_logits()))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "gpt_neox"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_logits_do_not_depend_on_how_a_prompt_is_cut(
    tiny_models: Callable[..., Path], family: str, dtype: Dtype
) -> None:
    if dtype == "float16" and not multiplies_fp16():
        pytest.skip("this processor multiplies by no weights in fp16")
    model = build(tiny_models(family), None, dtype, CPU)
    ids = list(range(5, 75))
    whole, once = model.empty(), model.empty()
    model.prefill(whole, ids[:69], 0)
    for start in range(0, 69, 11):
        model.prefill(once, ids[start : min(69, start + 11)], start)
    steps = model.empty()
    for i in range(69):
        model.step(steps, [ids[i]], [i])
    rows = [model.step(cache, [ids[69]], [69]) for cache in (whole, once, steps)]
    # Of 127 steps one is 0.8 %, and attention's last bits decide which of two an activation takes.
    rough = dtype == "int8" and arithmetic._steps() < 255
    assert (torch.cat(rows) - rows[0]).abs().max() < (0.1 if rough else 1e-4)


def test_the_arithmetic_that_writes_is_held_against_fp32(
    tiny_llama: Path, tiny_models: Callable[..., Path], tmp_path: Path
) -> None:
    sample = list(range(5, 50))
    for base in (tiny_llama, tiny_models("gpt_neox")):
        model = build(base, None, "int8", CPU, sample)
        assert model.dtype == "int8" and model.cost is not None and 0 < model.cost < 0.005
    assert build(tiny_llama, None, "float32", CPU, sample).cost is None
    for file in tiny_llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.embed_tokens.weight"][:, 3] = 0.0
    for name, tensor in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[3] = 0.0
    for name in ("q_proj", "k_proj", "v_proj"):  # a column that counts for nothing spoils the rest
        tensors[f"model.layers.0.self_attn.{name}.weight"][:, 3] = 300.0
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = build(tmp_path, None, "int8", CPU, sample)
    assert model.dtype == sixteen_bits(CPU) and model.cost is None
    commons, files = Commons(), Checkpoint(tmp_path)
    shared = commons.voice(files, None, "int8", CPU)  # as another vault's voice holds it
    for _ in range(2):
        asked = build(tmp_path, None, "int8", CPU, sample, commons)
        assert shared is not None and asked.dtype == sixteen_bits(CPU), "whoever asked before"


def test_dtype_follows_size_and_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_dtype("auto", CPU, 7_000_000) == "float32"
    cases: list[tuple[str, int, bool, Dtype]] = [
        ("turned", 255, True, "int8"),
        ("turned", 127, True, "float16"),  # 8-bit products overflow: AVX2 without VNNI
        ("turned", 127, False, "int8"),
        ("packed", 127, True, "int8"),
    ]
    for way, steps, halves, wanted in cases:
        monkeypatch.setattr(arithmetic, "int8_way", lambda way=way: way)
        monkeypatch.setattr(arithmetic, "_steps", lambda steps=steps: steps)
        monkeypatch.setattr(arithmetic, "multiplies_fp16", lambda halves=halves: halves)
        assert choose_dtype("auto", CPU, 124_000_000) == wanted
        assert choose_dtype("float16", CPU, 7_000_000) == ("float16" if halves else "float32")
    assert choose_dtype("auto", torch.device("cuda"), 7_000_000) == "bfloat16"
    assert choose_dtype("auto", torch.device("mps"), 124_000_000) == "float16"
    assert choose_dtype("float32", CPU, 124_000_000) == "float32"


def test_an_adapter_that_says_more_than_lora_is_refused(
    tiny_llama: Path, tmp_path: Path, adapters: Callable[..., Path]
) -> None:
    good = adapters(tiny_llama, "llama")
    for key, value in (("use_dora", True), ("bias", "all"), ("modules_to_save", ["lm_head"])):
        folder = tmp_path / key
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(
            (good / "adapter_model.safetensors").read_bytes()
        )
        config = json.loads((good / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(GenerationError):
            build(tiny_llama, folder, "float32", CPU)


def test_an_adapter_of_another_base_is_refused(
    tiny_llama: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    generation = make_adapter(tiny_gpt2, tmp_path / "g", "gpt2")
    engine = engine_of(tiny_llama)
    with pytest.raises(GenerationError):
        engine.activate("g000009", generation)
    assert engine.active == "base"


def test_a_missing_or_torn_base_is_one_clear_error(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError):
        engine_of(tmp_path)
    for file in tiny_llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:5000])
    with pytest.raises(BaseModelError):
        engine_of(tmp_path)


def test_a_base_with_code_of_its_own_is_refused(tiny_gpt2: Path, tmp_path: Path) -> None:
    for file in tiny_gpt2.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BaseModelError):
        build(tmp_path, None, "float32", CPU)


def test_foreign_tensors_send_the_model_to_transformers(tiny_gpt2: Path, tmp_path: Path) -> None:
    for file in tiny_gpt2.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    save_file(
        {**tensors, "extra.weight": torch.zeros(2)},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert isinstance(build(tmp_path, None, "float32", CPU), AnyModel)
