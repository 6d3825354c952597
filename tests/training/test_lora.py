"""Adapters on every linear layer of every family, merged as peft merges them."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests import tiny
from tests.mirror.conftest import make_adapter
from tests.mirror.test_families import LLAMA3
from vaultgpt.errors import GenerationError
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.choose import Recipe
from vaultgpt.training.device import Device
from vaultgpt.training.learner import Learner
from vaultgpt.training.lora import (
    Adapter,
    _linear_suffixes,
    load_adapter,
    merged,
    merged_model,
    save_adapter,
    write_merged,
)

CPU = Device(torch.device("cpu"), torch.float32, 1)
RECIPE = Recipe(rank=4, rate=1e-2, embedding_rate=1e-3, batch_tokens=512, block_tokens=64)
IDS = torch.arange(2, 40)[None]


def random_adapter(base: BaseModel, recipe: Recipe = RECIPE) -> tuple[Learner, Adapter]:
    """A learner and an adapter whose tensors all matter."""
    learner = Learner(base, recipe, 1, None)
    generator = torch.Generator().manual_seed(5)
    tensors = {
        n: 0.1 * torch.randn(t.shape, generator=generator)
        for n, t in learner.snapshot().tensors.items()
    }
    delta = None
    if learner.pristine is not None:
        delta = 0.1 * torch.randn(base.embedding.shape, generator=generator)
    return learner, Adapter(recipe.rank, 2 * recipe.rank, tensors, delta)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gpt_neox", "gemma"])
def test_a_saved_adapter_means_the_same_to_plain_peft(family: str, tmp_path: Path) -> None:
    folder = tiny.tiny_model(tmp_path / "base", family)
    base = load_base(folder, CPU)
    learner, adapter = random_adapter(base, replace(RECIPE, embedding_rate=0.0))
    out = tmp_path / "out"
    out.mkdir()
    learner.close()
    save_adapter(out, base, adapter, "some/base", "rev")
    with torch.no_grad():
        plain = base.logits(IDS, None)
        with merged(base, load_adapter(out)):
            mine = base.logits(IDS, None)
        torch.testing.assert_close(base.logits(IDS, None), plain, atol=0, rtol=0)
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        theirs = PeftModel.from_pretrained(loaded, str(out)).eval()(IDS, use_cache=False).logits
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert float((mine - plain).abs().max()) > 0.01


@pytest.mark.parametrize("rope", [{"rope_type": "default", "rope_theta": 200.0}, LLAMA3])
def test_a_merged_model_names_its_positions_for_older_programs_too(
    rope: dict[str, Any], tmp_path: Path
) -> None:
    """mlx_lm 0.32 took 10,000 for any Llama's that transformers 5 had saved."""
    base = tiny.tiny_model(tmp_path / "base", rope_parameters=rope)
    voice = make_adapter(base, tmp_path / "voice", "llama", embedding=True)
    write_merged(base, voice, tmp_path / "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["rope_theta"] == rope["rope_theta"]
    assert config.get("rope_scaling", {}).get("factor") == rope.get("factor")
    with torch.no_grad():
        whole = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
        theirs = whole(IDS).logits
        mine = merged_model(base, voice)(IDS).logits
    torch.testing.assert_close(theirs, mine, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_every_linear_layer_of_the_blocks_and_nothing_else_is_adapted(
    family: str, tmp_path: Path
) -> None:
    base = load_base(tiny.tiny_model(tmp_path, family), CPU)
    expected = {
        "llama": ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
        "gpt2": ["c_attn", "c_fc", "c_proj"],
        "gpt_neox": ["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"],
    }[family]
    assert _linear_suffixes(base.model) == (expected, family == "gpt2")
    learner = Learner(base, RECIPE, 1, None)
    assert not any("lm_head" in n or "embed_out" in n for n in learner.lora)


def test_files_follow_the_contract(base: BaseModel, tmp_path: Path) -> None:
    learner, adapter = random_adapter(base)
    learner.close()
    save_adapter(tmp_path, base, adapter, "pebble", "rev7")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["task_type"]) == ("LORA", "CAUSAL_LM")
    assert config["bias"] == "none"
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.0)
    assert (config["base_model_name_or_path"], config["revision"]) == ("pebble", "rev7")
    assert not config["modules_to_save"] and not config["use_dora"] and not config["use_rslora"]
    assert all("." not in name for name in config["target_modules"])
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert tensors and all(t.dtype == torch.float32 for t in tensors.values())
    assert all(n.startswith("base_model.model.") for n in tensors)
    delta = load_file(tmp_path / "embedding_delta.safetensors")
    assert delta["embedding"].shape == base.embedding.shape
    if os.name == "posix":
        assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}


def test_training_and_merged_weights_agree_with_the_embedding_trained_too(
    base: BaseModel,
) -> None:
    learner, adapter = random_adapter(base)
    learner.load(adapter)
    with torch.no_grad():
        unmerged = base.logits(IDS, None)
    back = learner.snapshot()
    learner.close()
    with torch.no_grad(), merged(base, back):
        torch.testing.assert_close(base.logits(IDS, None), unmerged, atol=1e-4, rtol=1e-4)


def test_a_continued_adapter_keeps_its_rank_and_its_delta_even_when_it_is_not_trained(
    base: BaseModel,
) -> None:
    learner, adapter = random_adapter(base)
    learner.close()
    again = Learner(base, replace(RECIPE, embedding_rate=0.0), 2, adapter)
    assert "embedding" not in again.parameters
    kept = again.snapshot()
    assert kept.embedding is not None and adapter.embedding is not None
    torch.testing.assert_close(kept.embedding, adapter.embedding, atol=1e-6, rtol=1e-5)


def test_adapters_that_do_not_fit_or_are_damaged_are_refused(
    base: BaseModel, tmp_path: Path
) -> None:
    learner, adapter = random_adapter(base)
    learner.close()
    save_adapter(tmp_path, base, adapter, "b", None)
    strange = {n.replace("layers.1", "layers.7"): t for n, t in adapter.tensors.items()}
    with (
        pytest.raises(GenerationError, match="does not fit"),
        merged(base, replace(adapter, tensors=strange)),
    ):
        pass
    with pytest.raises(GenerationError, match="does not fit"):
        Learner(base, replace(RECIPE, rank=8), 1, adapter)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    for more in ({"use_dora": True}, {"rank_pattern": {"o_proj": 2}}, {"bias": "all"}):
        (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **more}))
        with pytest.raises(GenerationError, match="what is not applied"):
            load_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    half = {
        n: t for n, t in adapter.tensors.items() if not n.endswith("0.mlp.up_proj.lora_B.weight")
    }
    save_adapter(tmp_path, base, replace(adapter, tensors=half), "b", None)
    with pytest.raises(GenerationError, match="no LoRA factors"):
        load_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(GenerationError, match="damaged"):
        load_adapter(tmp_path)
