"""GGUF files as bases: unpacked once and whole, as good as they were, or refused in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.bases.gguf_files import TURN_END, write_gguf
from vaultgpt.bases.fetch import download
from vaultgpt.bases.gguf import read_gguf
from vaultgpt.bases.names import NamedBase, base_of_generation, models_root, remarks, resolve
from vaultgpt.errors import BaseModelError
from vaultgpt.state import VaultState


@pytest.fixture(scope="session")
def llama3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose slow rotary frequencies are slowed further, as Llama 3's are."""
    rope = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0}
    rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope |= {"original_max_position_embeddings": 8192}
    return tiny.tiny_model(tmp_path_factory.mktemp("llama3"), seed=3, rope_parameters=rope)


@pytest.fixture(scope="session")
def plain_file(tmp_path_factory: pytest.TempPathFactory, llama3: Path) -> Path:
    """The tiny Llama 3 in fp32."""
    return write_gguf(llama3, tmp_path_factory.mktemp("gguf") / "tiny-f32.gguf")


@pytest.fixture(scope="session")
def chat_file(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """The tiny Llama packed as Q8_0, ending its texts with a turn's mark."""
    file = tmp_path_factory.mktemp("gguf") / "tiny-q8_0.gguf"
    return write_gguf(tiny_llama, file, packed=True, chat=True)


def refusal(name: str | Path) -> str:
    with pytest.raises(BaseModelError) as error:
        download(str(name))
    assert "\n" not in str(error.value) and error.value.mend
    return str(error.value)


def test_a_plain_file_becomes_the_model_it_was_made_from(
    plain_file: Path, llama3: Path, tmp_path: Path, state: VaultState
) -> None:
    """1. It is unpacked. 2. The file goes. Result: weights, logits, tokens and name are right."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = Path(shutil.copy(plain_file, tmp_path / "tiny.gguf"))
    seen: list[tuple[int, int]] = []
    base = download(str(file), state, lambda done, total: seen.append((done, total)))
    assert base.name == str(file) and base.parameters == resolve(str(llama3)).parameters
    assert base.revision == hashlib.sha256(file.read_bytes()).hexdigest()[:40]
    assert not remarks(base) and seen == sorted(seen)
    ids = torch.arange(40)[None] * 7 % 512
    mine, theirs = (AutoModelForCausalLM.from_pretrained(f) for f in (base.folder, llama3))
    assert torch.allclose(mine(ids).logits, theirs(ids).logits, atol=1e-5)
    configs = [json.loads((f / "config.json").read_text()) for f in (base.folder, llama3)]
    assert configs[0]["rope_parameters"] == configs[1]["rope_parameters"]
    text = "My sister walked along the cold river, and I remembered the piano.\n\n# Title"
    one, other = (AutoTokenizer.from_pretrained(f) for f in (base.folder, llama3))
    assert one(text).input_ids == other(text).input_ids and one.eos_token == other.eos_token
    file.unlink()
    assert resolve(base.name, state) == base == download(base.name, state)
    manifest: NamedBase = {"base": base.name, "revision": base.revision, "base_sha256": base.sha256}
    assert base_of_generation(state, manifest) == base
    shutil.rmtree(base.folder)
    with pytest.raises(BaseModelError, match="is not on this machine any more"):
        base_of_generation(state, manifest)
    assert "There is no file" in refusal(file)


def test_a_packed_chat_file_says_what_is_lost_and_ends_with_end_of_text(
    chat_file: Path, tmp_path: Path, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Unpacked. 2. Named again. Result: once; end-of-text ends it; both warnings are said."""
    base = download(str(chat_file), state)
    lost, warned = remarks(base)
    assert "Q8_0" in lost and "costs quality" in lost and "tuned to answer questions" in warned
    config = json.loads((base.folder / "config.json").read_text())
    assert config["bos_token_id"] == config["eos_token_id"] == 0 and config["dtype"] == "float16"
    assert "quantization_config" not in config and config["architectures"] == ["LlamaForCausalLM"]
    tokenizer = json.loads((base.folder / "tokenizer_config.json").read_text())
    assert tokenizer["bos_token"] == tokenizer["eos_token"] == "<|endoftext|>"
    assert not tokenizer.get("chat_template")
    record = json.loads((base.folder / "vaultgpt-base.json").read_text())
    assert record["source"]["sha256"] == hashlib.sha256(chat_file.read_bytes()).hexdigest()
    assert not list(models_root().glob("gguf/*/.part-*"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # no second child can start
    assert download(str(chat_file), state) == base
    again = download(str(shutil.copy(chat_file, tmp_path / "copy.gguf")))  # the same bytes
    assert again.folder == base.folder and resolve(str(tmp_path / "copy.gguf")) == again
    weights = base.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(BaseModelError, match=r"model.safetensors of .* is damaged"):
        resolve(base.name, state)


def test_an_interrupted_unpacking_leaves_nothing_and_can_be_run_again(
    plain_file: Path, state: VaultState
) -> None:
    """1. Ctrl-C while it reads. Result: no folder, no base, and the reason what to do."""

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(str(plain_file), state, interrupt)
    assert not [p for p in models_root().glob("gguf/*/*") if p.is_dir()]
    with pytest.raises(BaseModelError, match="unpacks it, once"):
        resolve(str(plain_file), state)


def test_a_kind_that_transformers_cannot_read_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    file = write_gguf(tiny_llama, tmp_path / "odd.gguf", architecture="plamo")
    assert "is a plamo model, which the installed transformers can't read" in refusal(file)


def test_ollamas_models_are_found_by_their_manifests(
    chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaultgpt.bases.gguf import ollama_file

    store = tmp_path / "models"
    monkeypatch.setenv("OLLAMA_MODELS", str(store))
    assert "Ollama has no smollm2" in refusal("ollama:smollm2")
    digest = hashlib.sha256(chat_file.read_bytes()).hexdigest()
    (store / "blobs").mkdir(parents=True)
    blob = Path(shutil.copy(chat_file, store / "blobs" / f"sha256-{digest}"))
    kind = "application/vnd.ollama.image"

    def add(place: str, *layers: tuple[str, str]) -> None:
        path = store / "manifests" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        listed = [{"mediaType": f"{kind}.{k}", "digest": d, "size": 1} for k, d in layers]
        path.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": listed}))

    add("registry.ollama.ai/library/smollm2/latest", ("model", f"sha256:{digest}"), ("params", "x"))
    add("registry.ollama.ai/me/mine/q8", ("model", f"sha256:{digest}"))
    add("hf.co/org/name/Q4", ("model", f"sha256:{digest}"))
    for name in ("smollm2", "smollm2:latest", "me/mine:q8", "hf.co/org/name:Q4"):
        assert ollama_file(f"ollama:{name}") == blob
    assert "It has" in refusal("ollama:qwen3") and "smollm2:latest" in refusal("ollama:qwen3")
    add("registry.ollama.ai/library/cloud/latest", ("license", "sha256:0"))
    assert "has no weights of it here" in refusal("ollama:cloud")
    add("registry.ollama.ai/library/own/latest", ("tensor", f"sha256:{digest}"))
    assert "in a form of its own" in refusal("ollama:own")
    add("registry.ollama.ai/library/lora/latest", ("model", f"sha256:{digest}"), ("adapter", "x"))
    assert "adapter on another model" in refusal("ollama:lora")
    add("registry.ollama.ai/library/up/latest", ("model", "sha256:../../x"))
    assert "can't be a base" in refusal("ollama:up")
    assert "Ollama has no ../../x" in refusal("ollama:../../x")
    (store / "manifests/registry.ollama.ai/library/own/latest").write_text("[")
    assert "manifest of ollama:own can't be read" in refusal("ollama:own")
    blob.unlink()
    assert "can't be read" in refusal("ollama:smollm2")
    assert f"{store} is Ollama's store" in refusal(store)


def test_every_other_file_and_folder_is_refused_in_its_own_words(
    plain_file: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    made: dict[str, dict[str, Any]] = {
        "parts": {"split.count": 2},
        "pictures": {"general.type": "mmproj"},
    }
    made |= {"lora": {"general.type": "adapter"}, "matrix": {"general.type": "imatrix"}}
    made |= {"vectors": {"llama.pooling_type": 1}}
    for name, facts in made.items():
        write_gguf(tiny_llama, tmp_path / f"{name}.gguf", facts=facts)
    write_gguf(tiny_llama, tmp_path / "mute.gguf", tokenizer=False)
    data = plain_file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[:-1000])
    (tmp_path / "head.gguf").write_bytes(data[:300])
    (tmp_path / "none.gguf").write_bytes(b"")
    (tmp_path / "x-00001-of-00002.gguf").write_bytes(data)
    for name in ("w.bin", "w.pt", "w.pth", "w.ckpt", "w.safetensors", "w.onnx"):
        (tmp_path / name).write_bytes(b"x")
    whole = Path(shutil.copytree(tiny_llama, tmp_path / "whole"))
    for name, words in {
        "parts.gguf": "one part of several",
        "x-00001-of-00002.gguf": "--merge",
        "pictures.gguf": "reads pictures for another model",
        "lora.gguf": "is an adapter",
        "matrix.gguf": "holds no model (imatrix)",
        "vectors.gguf": "turns text into vectors",
        "mute.gguf": "has no tokenizer",
        "cut.gguf": "damaged, incomplete or no GGUF",
        "head.gguf": "damaged, incomplete or no GGUF",
        "none.gguf": "damaged, incomplete or no GGUF",
        "gone.gguf": "There is no file",
        "w.bin": "could run code",
        "w.pt": "could run code",
        "w.pth": "could run code",
        "w.ckpt": "could run code",
        "w.safetensors": "weights alone",
        "w.onnx": "is no model",
        "whole/model.safetensors": f"Name its folder: `vaultgpt base {whole}`",
    }.items():
        assert words in refusal(tmp_path / name), name


def test_a_folder_of_gguf_files_asks_for_one_and_one_alone_is_taken(
    plain_file: Path, tmp_path: Path
) -> None:
    from vaultgpt.bases.names import packed_name

    store = tmp_path / "publisher" / "tiny-GGUF"  # as LM Studio keeps them
    store.mkdir(parents=True)
    shutil.copy(plain_file, store / "tiny-Q8_0.gguf")
    (store / "mmproj-tiny.gguf").write_bytes(b"GGUF")
    assert packed_name(str(store)) == str(store / "tiny-Q8_0.gguf")
    shutil.copy(plain_file, store / "tiny-F32.gguf")
    assert "holds 2 GGUF files (tiny-F32.gguf, tiny-Q8_0.gguf)" in refusal(store)


def test_without_the_package_one_sentence_has_the_command(
    plain_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    text = refusal(plain_file)
    assert "needs the package gguf" in text and "-m pip install gguf`" in text


def test_no_room_on_disk_or_in_memory_is_said_before_anything_runs(
    plain_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=400_000_000))
    assert "takes about 600 MB of memory, and 400 MB are free" in refusal(plain_file)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert "There is no room for" in refusal(plain_file)


def test_no_damage_to_a_header_raises_anything_but_our_own_error(
    plain_file: Path, tmp_path: Path
) -> None:
    """Bytes of the header are flipped, one file each. Result: a header, or one clear line."""
    data = plain_file.read_bytes()
    file = tmp_path / "flipped.gguf"
    for at in [*range(4, 200), *range(200, 20_000, 157)]:
        file.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            read_gguf(file, "flipped")
        except BaseModelError as error:
            assert "\n" not in str(error)


def test_a_turns_mark_is_the_chat_files_own_end(chat_file: Path, plain_file: Path) -> None:
    assert read_gguf(chat_file, "x").tokens[-1] == TURN_END and read_gguf(chat_file, "x").chat
    assert not read_gguf(plain_file, "x").chat and read_gguf(plain_file, "x").lost == ""
