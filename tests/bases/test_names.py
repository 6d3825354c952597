"""Which base a name means, what a folder must hold, and what a kept generation gets back."""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from vaultgpt.bases import hashes, names
from vaultgpt.bases.hashes import RECORD, verify
from vaultgpt.bases.kinds import _NATIVE, native_classes
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import base_of_generation, keep_embedded, remarks, resolve
from vaultgpt.errors import BaseModelError
from vaultgpt.state import VaultState


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def refusal(folder: Path) -> str:
    with pytest.raises(BaseModelError) as error:
        resolve(str(folder))
    assert "\n" not in str(error.value) and error.value.mend
    return str(error.value)


@pytest.fixture
def copy(tmp_path: Path, tiny_llama: Path) -> Path:
    """A tiny Llama's folder that the test may spoil."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def manifest(base: Base) -> names.NamedBase:
    return {"base": base.name, "revision": base.revision, "base_sha256": base.sha256}


def test_pebble_is_the_embedded_base_and_says_its_size() -> None:
    base = resolve("pebble")
    assert base.embedded and base.folder == names._pebble_folder()
    assert base.parameters > 5_000_000 and base.context >= 512 and base.tied
    assert len(base.revision) == 40 and "model.safetensors" in base.sha256


def test_looking_up_a_base_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from vaultgpt.bases.names import resolve; import vaultgpt.tasks.init; "
        "resolve('pebble'); "
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    root = str(names._pebble_folder().parent.parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=root, check=True)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_sizes_are_read_from_files_as_transformers_counts_them(
    family: str, tiny_models: Callable[..., Path]
) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_models(family)
    base, model = resolve(str(folder)), AutoModelForCausalLM.from_pretrained(folder)
    assert base.parameters == sum(p.numel() for p in model.parameters())
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert base.tied == (head.weight is embedding.weight)
    assert (base.hidden, base.layers, base.vocab) == (32, 2, 512)
    assert base.model_type == family and base.context == (2048 if family == "mamba" else 256)


def test_a_relative_folder_is_a_path_only_when_written_as_one(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.parent)
    assert resolve("./model").folder == copy.resolve()
    assert resolve("./model").name == str(copy.resolve())
    with pytest.raises(BaseModelError, match="no base called 'model'"):
        resolve("model")
    with pytest.raises(BaseModelError, match="There is no folder"):
        resolve("./nothing")


def test_a_changed_file_is_another_revision_and_an_unchanged_one_is_not_read_again(
    copy: Path, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve(str(copy))
    monkeypatch.setattr(hashes, "sha256_file", lambda path: pytest.fail("read again"))
    assert resolve(str(copy)) == first
    monkeypatch.undo()
    change_config(copy, rope_theta=5000.0)
    assert resolve(str(copy)).revision != first.revision
    with pytest.raises(BaseModelError, match=r"config.json of .* is damaged or missing"):
        verify(first)


def test_gpt2_with_vocab_and_merges_only_is_a_base(tiny_models: Callable[..., Path]) -> None:
    base = resolve(str(tiny_models("gpt2", tokenizer="vocab_merges")))
    assert {"vocab.json", "merges.txt"} <= set(base.sha256)


def test_what_is_no_causal_language_model_is_refused(copy: Path) -> None:
    change_config(copy, architectures=["LlamaForSequenceClassification"])
    assert "does not write text from left to right" in refusal(copy)
    change_config(copy, architectures=["BertForMaskedLM"], model_type="bert")
    assert "does not write text from left to right (BertForMaskedLM)" in refusal(copy)
    change_config(copy, architectures=["T5ForConditionalGeneration"], model_type="t5")
    assert "t5 model, which the installed transformers does not know" in refusal(copy)
    change_config(copy, architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=None)
    assert "not a plain text model" in refusal(copy)
    change_config(copy, model_type=None)
    assert "what kind of model" in refusal(copy)
    (copy / "config.json").write_text("[1]")
    assert "can't be read" in refusal(copy)
    (copy / "config.json").unlink()
    assert "no config.json" in refusal(copy)


def test_remote_code_is_refused_unless_transformers_has_the_model_itself(copy: Path) -> None:
    code = {"AutoModelForCausalLM": "modeling_x.XForCausalLM"}
    change_config(copy, auto_map=code)
    assert resolve(str(copy)).model_type == "llama"  # never run: transformers' own class is used
    change_config(copy, model_type="x", architectures=["XForCausalLM"])
    assert "asks for remote code" in refusal(copy)


def test_every_family_taken_for_native_is_known_to_transformers() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) >= _NATIVE
    assert "GPT2LMHeadModel" in native_classes("gpt2") and not native_classes("x")


def test_transformers_is_asked_once_for_a_folder_and_not_at_each_start(
    copy: Path, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_config(copy, model_type="olmo3", architectures=["Olmo3ForCausalLM"])
    first = resolve(str(copy))
    monkeypatch.setattr("vaultgpt.bases.kinds.native_classes", lambda kind: pytest.fail("again"))
    assert resolve(str(copy)) == first


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["model_type", "vocab_size", "hidden_size", "architectures", "weight_map", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.binary(max_size=64),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_no_content_of_a_folder_raises_anything_but_our_own_error(
    value: Any, weights: bytes, native: bool
) -> None:
    if native and isinstance(value, dict):
        value["model_type"] = "llama"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(value))
        (folder / "tokenizer.json").write_text("{}")
        (folder / "model.safetensors.index.json").write_text(json.dumps(value))
        (folder / "model.safetensors").write_bytes(weights)
        with contextlib.suppress(BaseModelError), patched_registry():
            resolve(name)


@contextlib.contextmanager
def patched_registry() -> Iterator[None]:
    """No process for each strange model type."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaultgpt.bases.kinds.native_classes", lambda kind: frozenset())
        yield


def test_weights_must_be_whole_safetensors_of_readable_type(copy: Path) -> None:
    weights = copy / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-10])
    assert "model.safetensors is damaged or incomplete" in refusal(copy)
    weights.write_bytes(b"\xff" * 20)
    assert "damaged" in refusal(copy)
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header["model.layers.0.self_attn.q_proj.weight"]["dtype"] = "I8"
    packed = json.dumps(header).encode()
    weights.write_bytes(struct.pack("<Q", len(packed)) + packed + data[8 + size :])
    assert "quantised (I8 weights)" in refusal(copy)
    weights.rename(copy / "pytorch_model.bin")
    assert "no safetensors weights" in refusal(copy)


def test_an_adapter_beside_the_weights_is_refused_before_a_round_reads_it(copy: Path) -> None:
    """transformers attaches it on loading, the lean decoder does not: two different bases."""
    (copy / "adapter_config.json").write_text("{}")
    assert "holds an adapter beside its weights" in refusal(copy)
    (copy / "config.json").unlink()
    assert "is an adapter, not a model" in refusal(copy)


def test_weights_that_lie_there_twice_are_refused(copy: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "holds its weights twice" in refusal(copy)
    index = {"weight_map": {"a": "model.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert resolve(str(copy)).parameters


def test_a_tokenizer_larger_than_the_embedding_is_refused(copy: Path) -> None:
    path = copy / "tokenizer.json"
    whole = json.loads(path.read_text())
    extra = {"id": 512, "content": "<extra>", "special": True}
    path.write_text(json.dumps(whole | {"added_tokens": [*whole["added_tokens"], extra]}))
    assert "has 513 tokens, its embedding 512 rows" in refusal(copy)
    path.write_text("{")
    assert "tokenizer" in refusal(copy) and "can't be read" in refusal(copy)


def test_a_base_needs_an_end_and_it_must_lie_in_the_embedding(copy: Path) -> None:
    change_config(copy, eos_token_id=512)
    assert "lies beyond its embedding" in refusal(copy)
    change_config(copy, eos_token_id=None)
    (copy / "generation_config.json").unlink(missing_ok=True)
    assert resolve(str(copy))  # the tokenizer names it
    text = (copy / "tokenizer.json").read_text().replace("<|endoftext|>", "<|odd|>")
    (copy / "tokenizer.json").write_text(text)
    (copy / "tokenizer_config.json").write_text("{}")
    assert "names no end-of-text token" in refusal(copy)


def test_start_tokens_that_differ_and_turns_marks_are_remarked(copy: Path) -> None:
    assert not remarks(resolve(str(copy)))
    (copy / "generation_config.json").write_text('{"bos_token_id": 5}')
    (said,) = remarks(resolve(str(copy)))
    assert "generation_config.json starts a text with" in said and "<|endoftext|>" in said
    (copy / "generation_config.json").unlink()
    change_config(copy, eos_token_id=7)
    path = copy / "tokenizer.json"
    whole = json.loads(path.read_text())
    old = next(t for t, i in whole["model"]["vocab"].items() if i == 7)
    whole["model"]["vocab"] = {
        ("<|im_end|>" if t == old else t): i for t, i in whole["model"]["vocab"].items()
    }
    whole["model"]["merges"] = []
    path.write_text(json.dumps(whole))
    (said,) = remarks(resolve(str(copy)))
    assert "tuned to answer questions" in said


def test_hybrids_are_named_as_slower(tiny_models: Callable[..., Path], copy: Path) -> None:
    assert "can't be cut" in remarks(resolve(str(tiny_models("mamba"))))[0]
    change_config(copy, layer_types=["linear_attention", "full_attention"])
    assert "can't be cut" in remarks(resolve(str(copy)))[0]
    change_config(copy, layer_types=["sliding_attention", "full_attention"])
    assert not remarks(resolve(str(copy)))


def test_folders_for_other_programs_say_what_they_are(copy: Path, tmp_path: Path) -> None:
    change_config(copy, quantization={"group_size": 64, "bits": 4})
    assert "quantised (4 bits, for MLX)" in refusal(copy)
    for method in ("gptq", "awq", "bitsandbytes"):
        change_config(copy, quantization=None, quantization_config={"quant_method": method})
        assert f"quantised ({method})" in refusal(copy)
    cache = tmp_path / "models--org--name"
    (cache / "snapshots").mkdir(parents=True)
    change_config(copy, quantization_config=None)
    copy.rename(cache / "snapshots" / "abc")
    assert f"vaultgpt base {cache}/snapshots/abc" in refusal(cache)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "params.json").write_text("{}")
    assert "in its maker's own form" in refusal(tmp_path / "own")


def test_a_missing_tokenizer_is_said(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    assert "has no tokenizer" in refusal(copy)


def test_a_kept_generation_gets_its_old_pebble_after_an_upgrade(
    state: VaultState, tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. pebble 1 is kept. 2. The package brings pebble 2. Result: each generation gets its own."""
    old = resolve("pebble")
    kept = keep_embedded(state)
    assert keep_embedded(state) == kept  # once
    shutil.copytree(tiny_llama, tmp_path / "upgraded" / "pebble")
    monkeypatch.setattr(names, "_pebble_folder", lambda: tmp_path / "upgraded" / "pebble")
    new = resolve("pebble")
    assert base_of_generation(state, manifest(new)).folder == new.folder
    back = base_of_generation(state, manifest(old))
    assert back.folder == kept and back.sha256 == old.sha256 and back.revision == old.revision
    shutil.rmtree(kept)
    with pytest.raises(BaseModelError, match=r"version of pebble .* is gone"):
        base_of_generation(state, manifest(old))


def test_a_generation_refuses_a_folder_that_has_changed(copy: Path, state: VaultState) -> None:
    base = resolve(str(copy))
    assert base_of_generation(state, manifest(base)) == base
    change_config(copy, rope_theta=5000.0)
    with pytest.raises(BaseModelError, match="its files have changed"):
        base_of_generation(state, manifest(base))


def test_a_generation_names_the_command_that_brings_its_base_back(state: VaultState) -> None:
    gone: names.NamedBase = {
        "base": "org/tiny",
        "revision": "c3" * 20,
        "base_sha256": {"config.json": "0"},
    }
    with pytest.raises(BaseModelError) as error:
        base_of_generation(state, gone)
    assert f"vaultgpt base org/tiny@{'c3' * 20}" in str(error.value)


def test_damaged_records_are_one_line(state: VaultState) -> None:
    (state.bases / "pins.json").write_text("[1]")
    with pytest.raises(BaseModelError, match="damaged"):
        resolve("org/tiny", state)
    folder = names.hub_folder("org/tiny", "c3" * 20)
    folder.mkdir(parents=True)
    (folder / RECORD).write_text("{}")
    with pytest.raises(BaseModelError, match="record of org/tiny is damaged"):
        resolve("org/tiny")
