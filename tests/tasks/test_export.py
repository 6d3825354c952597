"""What `export` leaves behind: a whole private folder, and nothing when it can't be one."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests import tiny
from tests.mirror.conftest import make_adapter, publish_voice
from vaultgpt.errors import BaseModelError, Conflict, StateError
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.lineage import Generations
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks import export as task
from vaultgpt.tasks.export import Form, export
from vaultgpt.training.lora import merged_model

FILES: dict[Form, set[str]] = {
    "adapter": {"adapter_config.json", "adapter_model.safetensors", "embedding_delta.safetensors"},
    "merged": {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"},
    "gguf": {"voice.gguf"},
    "gguf-adapter": {"base.gguf", "voice-lora.gguf"},
    "ollama": {"voice.gguf", "Modelfile"},
    "mlx": {"adapters.safetensors", "adapter_config.json"},
}


def with_a_voice(
    tmp_path: Path, base: Path, family: str = "llama", embedding: bool = True
) -> VaultState:
    """A vault whose active generation is a random adapter of `base`."""
    (tmp_path / "vault").mkdir()
    state = create_state(tmp_path / "vault")
    save_option(state.config, "base", str(base))
    make_adapter(base, tmp_path / "staged", family, embedding=embedding)
    (tmp_path / "staged" / "last_weights.safetensors").write_bytes(b"l" * 100)
    name = publish_voice(state, base, tmp_path / "staged")
    with Ledger.open(state) as ledger:
        ledger.generations.activate(name, time.time())
    return state


@pytest.fixture
def state(tmp_path: Path, tiny_models: Callable[..., Path]) -> VaultState:
    return with_a_voice(tmp_path, tiny_models("llama"))


@pytest.mark.parametrize("form", FILES)
def test_every_form_is_a_private_folder_that_says_what_it_is(
    form: Form, state: VaultState, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "voice"
    export(state, form, target)
    names = {path.name for path in target.iterdir()}
    assert FILES[form] | {"README.md"} <= names and "last_weights.safetensors" not in names
    for path in (target.parent, target, *target.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    about = (target / "README.md").read_text()
    assert "diary in another form" in about and "#dream #poetry | 2019-03\n    # The river" in about
    assert ("embedding_delta" in about) == (form in ("adapter", "gguf-adapter", "mlx"))
    assert "{" not in about and about.startswith("---\nvaultgpt: false\n")
    assert [path.name for path in target.parent.iterdir()] == ["voice"]


def test_the_modelfile_writes_on_rather_than_chats(state: VaultState, tmp_path: Path) -> None:
    """Result: a raw template, the author's own sampling, and none of Ollama's own beside it."""
    save_option(state.config, "mirror.min_p", 0.05)
    export(state, "ollama", tmp_path / "o")
    lines = (tmp_path / "o" / "Modelfile").read_text().splitlines()
    assert lines[:2] == ["FROM ./voice.gguf", 'TEMPLATE "{{ .Prompt }}"']
    assert all(line.startswith("PARAMETER ") for line in lines[2:])
    values = dict(line.split(" ", 2)[1:] for line in lines[2:])
    assert values["temperature"] == "1.0" and values["top_p"] == "0.9"
    assert (
        values["min_p"] == "0.05" and values["top_k"] == "0" and values["repeat_penalty"] == "1.0"
    )
    assert json.loads(values["stop"]) == "<|endoftext|>" and values["num_ctx"] == "256"


def test_mlx_adds_to_every_layer_what_peft_adds(state: VaultState, tmp_path: Path) -> None:
    """By what mlx_lm computes, y + scale * (x A) B, in numpy, wherever this runs."""
    export(state, "mlx", tmp_path / "mlx")
    theirs = load_file(tmp_path / "mlx" / "adapters.safetensors")
    config = json.loads((tmp_path / "mlx" / "adapter_config.json").read_text())
    source = state.generations / "g000001"
    lora = json.loads((source / "adapter_config.json").read_text())
    ours = load_file(source / "adapter_model.safetensors")
    assert config["fine_tune_type"] == "lora" and config["num_layers"] == 2
    assert len(theirs) == len(ours)
    for name in (n for n in ours if ".lora_A." in n):
        module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        assert module.split(".", 3)[3] in config["lora_parameters"]["keys"]
        delta = ours[name.replace("lora_A", "lora_B")] @ ours[name] * lora["lora_alpha"] / lora["r"]
        mlx = theirs[f"{module}.lora_a"] @ theirs[f"{module}.lora_b"]
        np.testing.assert_allclose(mlx.T * config["lora_parameters"]["scale"], delta, rtol=1e-5)


@pytest.mark.parametrize(
    ("form", "family"),
    [("mlx", "llama"), ("mlx", "qwen3"), ("merged", "llama"), ("merged", "gemma")],
)
def test_mlx_itself_foretells_what_transformers_does(
    form: Form, family: str, tmp_path: Path, tiny_models: Callable[..., Path]
) -> None:
    """Result: mlx_lm's logits over a prompt, of the adapter on its base and of the merged folder,
    and so the same greedy text; the embedding's change goes along with the merged form alone."""
    if sys.platform == "win32":
        pytest.skip("MLX has no Windows build; the numpy test above ran")
    import mlx.core as mx
    from mlx_lm import load

    base = tiny_models(family)
    state = with_a_voice(tmp_path, base, family, embedding=form == "merged")
    export(state, form, tmp_path / "m")
    folder, adapter = (base, tmp_path / "m") if form == "mlx" else (tmp_path / "m", None)
    model, *_ = load(str(folder), adapter_path=str(adapter) if adapter else None)
    ids = [1, 5, 9, 40, 77, 3, 100, 41]
    with torch.no_grad():
        ours = merged_model(base, state.generations / "g000001")(torch.tensor([ids])).logits[0]
    theirs = np.array(model(mx.array([ids])).astype(mx.float32))[0]
    np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=2e-3 * float(ours.abs().max()))
    assert theirs.argmax(1).tolist() == ours.argmax(1).tolist()


def test_the_adapter_keeps_vllms_rules(state: VaultState, tmp_path: Path) -> None:
    """As its documentation gives them: plain LoRA, no whole modules, no bias, and a rank within one
    of those that may be asked for; every tensor a factor of a named target."""
    export(state, "adapter", tmp_path / "a")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["bias"] == "none"
    assert not any(config.get(k) for k in ("modules_to_save", "use_dora", "rank_pattern"))
    asked = re.search(r"--max-lora-rank (\d+)", (tmp_path / "a" / "README.md").read_text())
    assert asked and config["r"] <= int(asked[1]) and int(asked[1]) in task._RANKS
    shape = re.compile(r"base_model\.model\.[\w.]+\.(\w+)\.lora_[AB]\.weight")
    found = [shape.fullmatch(n) for n in load_file(tmp_path / "a" / "adapter_model.safetensors")]
    assert {match[1] for match in found if match} == set(config["target_modules"])
    assert all(found)


def test_nothing_is_written_into_a_vault_unless_asked(state: VaultState, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(state.vault)
    for target in (state.vault / "out", tmp_path / "link" / "deep" / "out"):
        with pytest.raises(Conflict, match="lies in the vault"):
            export(state, "adapter", target)
    assert not list(state.vault.iterdir())
    export(state, "adapter", state.vault / "out", inside_vault=True)
    assert (state.vault / "out" / "README.md").exists()


def test_what_is_there_is_never_written_over(state: VaultState, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(Conflict, match="not an empty folder"):
        export(state, "adapter", tmp_path / "full")
    (tmp_path / "empty").mkdir()
    export(state, "adapter", tmp_path / "empty")
    assert (tmp_path / "empty" / "README.md").exists()


def test_a_place_that_takes_nothing_is_named(
    state: VaultState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(task, "put_folder", read_only)
    with pytest.raises(StateError, match=r"out can't be written \(read-only file system\)"):
        export(state, "adapter", tmp_path / "out")
    assert not list(tmp_path.glob(".out*"))


def test_an_interrupted_export_leaves_nothing(
    state: VaultState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Ctrl-C while it is written. 2. A kill left a half. Result: nothing, then a whole one."""

    def interrupted(form: Form, folder: Path, *rest: Any) -> None:
        (folder / "half.gguf").write_bytes(b"x")
        raise KeyboardInterrupt

    place = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(task, "_write", interrupted)
        export(state, "merged", place / "voice")
    assert not list(place.iterdir())
    killed = place / f".voice.part-{2**22 + 1}"  # above any process id
    killed.mkdir()
    living = place / f".voice.part-{os.getppid()}"
    living.mkdir()
    export(state, "adapter", place / "voice")
    assert not killed.exists() and living.exists()


def test_a_base_that_a_form_has_no_room_or_words_for_is_refused_first(
    tmp_path: Path, tiny_models: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = with_a_voice(tmp_path, tiny_models("gpt_neox"), "gpt_neox")
    forms: tuple[Form, ...] = ("gguf", "gguf-adapter", "ollama", "mlx")
    for form in forms:
        with pytest.raises(BaseModelError, match="kind gpt_neox"):
            export(state, form, tmp_path / "out")
    turned = tiny.tiny_model(
        tmp_path / "turned", rope_parameters={"rope_type": "default", "rope_theta": 1e5}
    )
    (tmp_path / "other").mkdir()
    with pytest.raises(BaseModelError, match="rotary positions"):
        export(with_a_voice(tmp_path / "other", turned), "mlx", tmp_path / "out")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(StateError, match="are free there"):
        export(state, "merged", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_gguf_the_command_that_brings_it_is_told(
    state: VaultState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BaseModelError, match="needs the package gguf") as caught:
        export(state, "gguf", tmp_path / "out")
    assert "pip install gguf" in caught.value.mend and not (tmp_path / "out").exists()


def test_a_voice_that_learned_what_was_forgotten_is_not_handed_out(
    state: VaultState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Generations, "barred", lambda self: {"g000001"})
    with pytest.raises(Conflict, match="forgotten"):
        export(state, "adapter", tmp_path / "out")
