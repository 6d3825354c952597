"""GGUF files by our hand, read by llama.cpp itself: the same tokens, the same greedy text."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
import xllamacpp
from tokenizers import Tokenizer

from tests import tiny
from tests.mirror.conftest import make_adapter
from tests.mirror.test_families import LLAMA3
from vaultgpt.bases.kinds import ModelConfig, ropes_of
from vaultgpt.errors import BaseModelError
from vaultgpt.training.lora import load_adapter, merged_model
from vaultgpt.training.to_gguf import write_adapter, write_model

TEXT = "#dream | 2019\n# The river\n\nI walked along the cold river, 12 of them: naïve – 千."


class LlamaCpp:
    """llama.cpp's server over one file, in this process, on loopback."""

    def __init__(self, model: Path, lora: Path | None = None) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx, params.n_parallel, params.verbosity = 256, 1, 0
        params.warmup = params.fit_params = False
        # In fp32 throughout, as the other side: near ties of a random model go one way.
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cpuparams.n_threads = 1
        if lora:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0)]
        self._server = xllamacpp.Server(params)

    def ask(self, path: str, **body: Any) -> Any:
        address = self._server.listening_address + path
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["tokens"]

    def tokens(self, text: str) -> list[int]:
        found: list[int] = self.ask("/tokenize", content=text, add_special=True)
        return found

    def greedy(self, text: str, count: int = 24) -> list[int]:
        """The token ids that it writes on with."""
        asked = {"prompt": text, "n_predict": count, "temperature": 0, "return_tokens": True}
        found: list[int] = self.ask("/completion", **asked, ignore_eos=True)
        return found


def tokens_of(base: Path, text: str) -> list[int]:
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    return [0, *tokenizer.encode(text, add_special_tokens=False).ids]


@torch.no_grad()
def greedy(base: Path, generation: Path | None, ids: list[int], count: int = 24) -> list[int]:
    """What transformers writes on with, the end token barred as `ignore_eos` does."""
    model, written = merged_model(base, generation), list(ids)
    for _ in range(count):
        logits = model(torch.tensor([written])).logits[0, -1]  # [vocabulary]
        logits[0] = -torch.inf
        written.append(int(logits.argmax()))
    return written[len(ids) :]


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {}),
        ("llama", {"tokenizer": "byte_fallback"}),
        ("llama", {"tie_word_embeddings": False, "attention_bias": True}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("qwen3", {}),
        ("gemma3_text", {"query_pre_attn_scalar": 16}),
        ("gpt2", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "plain",
)
def test_llama_cpp_writes_what_the_merged_voice_writes(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Result: the embedding's change and LoRA on every layer are in it, and the tokenizer."""
    base = tiny.tiny_model(tmp_path / "base", family, **options)
    voice = make_adapter(base, tmp_path / "voice", family, embedding=True)
    write_model(base, voice, tmp_path / "voice.gguf")
    engine, ids = LlamaCpp(tmp_path / "voice.gguf"), tokens_of(base, TEXT)
    assert engine.tokens(TEXT) == ids
    written = engine.greedy(TEXT)
    assert written == greedy(base, voice, ids)
    assert written != greedy(base, None, ids)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_llama_cpp_lays_the_adapter_over_the_base(family: str, tmp_path: Path) -> None:
    base = tiny.tiny_model(tmp_path / "base", family)
    voice = make_adapter(base, tmp_path / "voice", family)
    write_model(base, None, tmp_path / "base.gguf")
    write_adapter(base, load_adapter(voice), tmp_path / "lora.gguf")
    ids = tokens_of(base, TEXT)
    over = LlamaCpp(tmp_path / "base.gguf", tmp_path / "lora.gguf")
    assert over.greedy(TEXT) == greedy(base, voice, ids)
    assert greedy(base, voice, ids) != greedy(base, None, ids)


def test_matrices_of_a_half_precision_base_are_half_as_large(tmp_path: Path) -> None:
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        base = tiny.tiny_model(tmp_path / dtype, dtype=dtype)
        write_model(base, None, tmp_path / f"{dtype}.gguf")
        sizes[dtype] = (tmp_path / f"{dtype}.gguf").stat().st_size
    assert sizes["bfloat16"] < 0.65 * sizes["float32"]
    LlamaCpp(tmp_path / "bfloat16.gguf").greedy(TEXT, 4)


@pytest.mark.parametrize(
    ("family", "options", "why"),
    [
        ("gpt_neox", {}, "kind gpt_neox"),
        ("gemma3_text", {}, "scale of its own"),
        ("llama", {"hidden_act": "gelu"}, "activation"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scaled by layers"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "stretched",
        ),
    ],
)
def test_what_llama_cpp_would_read_otherwise_is_refused_in_a_sentence(
    family: str, options: dict[str, Any], why: str, tmp_path: Path
) -> None:
    base = tiny.tiny_model(tmp_path / "base", family, **options)
    with pytest.raises(BaseModelError, match=why) as caught:
        write_model(base, None, tmp_path / "x.gguf")
    assert "--merged" in caught.value.mend and not (tmp_path / "x.gguf").exists()


def test_a_gemma_3_of_the_older_form_turns_its_windows_by_their_own_base() -> None:
    """As the hub has it; the newer form is what transformers writes of it."""
    older: ModelConfig = {
        "model_type": "gemma3_text",
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
    }
    newer: ModelConfig = {
        "model_type": "gemma3_text",
        "rope_parameters": {
            "full_attention": {"rope_theta": 1e6, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
        },
    }
    assert ropes_of(older) == ropes_of(newer)


def test_a_way_of_splitting_that_has_no_name_is_refused(tmp_path: Path) -> None:
    base = tiny.tiny_model(tmp_path / "base")
    path = base / "tokenizer.json"
    whole = json.loads(path.read_text())
    whole["pre_tokenizer"] = {"type": "Whitespace"}
    path.write_text(json.dumps(whole))
    with pytest.raises(BaseModelError, match="splits text"):
        write_model(base, None, tmp_path / "x.gguf")
