"""Loading bases of every family, finding out whether they pack, and refusing what can't be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from vaultgpt import arithmetic
from vaultgpt.errors import BaseModelError
from vaultgpt.training import base_model as base_module
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.device import Device
from vaultgpt.training.loss import _IGNORE, Batch, each_nats, total_nats

PACKAGE = Path(arithmetic.__file__).parent
CPU = Device(torch.device("cpu"), torch.float32, 1)
PACKED = ("llama", "gpt2", "qwen2", "qwen3", "gpt_neox", "gemma", "gemma2")


@pytest.mark.parametrize("family", PACKED)
def test_packed_documents_have_the_logits_they_have_alone(family: str, tmp_path: Path) -> None:
    base = load_base(tiny.tiny_model(tmp_path, family), CPU)
    assert base.packs
    first, second = torch.arange(3, 20)[None], torch.arange(60, 90)[None]
    ids = torch.cat([first, second], 1)
    positions = torch.cat([torch.arange(17), torch.arange(30)])[None]
    with torch.no_grad():
        packed = base.logits(ids, positions)
        alone = torch.cat([base.logits(first, None), base.logits(second, None)], 1)
    torch.testing.assert_close(packed, alone, atol=2e-5, rtol=1e-4)


def test_a_recurrent_family_is_not_packed_and_says_so(tmp_path: Path) -> None:
    base = load_base(tiny.tiny_model(tmp_path, "mamba"), CPU)
    assert not base.packs
    assert any("can't be packed" in note for note in base.notes)


def test_a_family_that_leaks_with_position_ids_is_found_out(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With transformers' default attention mask packed documents see each other, unwarned."""

    def leaky(ids: torch.Tensor, positions: torch.Tensor | None) -> dict[str, object]:
        return {
            "input_ids": ids,
            "position_ids": positions,
            "use_cache": False,
            "attention_mask": torch.ones_like(ids),
        }

    assert base_module.packing_isolates(base)
    monkeypatch.setattr(base_module, "_inputs", leaky)
    assert not base_module.packing_isolates(base)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_chunked_nats_equal_the_cross_entropy_of_whole_logits(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma 2 caps its logits after the head, so it goes through its own forward."""
    base = load_base(
        tiny.tiny_model(tmp_path, family, final_logit_softcapping=5.0)
        if family == "gemma2"
        else tiny.tiny_model(tmp_path, family),
        CPU,
    )
    assert base.plain_head == (family == "llama")
    monkeypatch.setattr("vaultgpt.training.loss._CHUNK_LOGITS", 512 * 7)
    ids = torch.arange(40).reshape(2, 20) * 5
    targets = torch.roll(ids, -1, 1)
    targets[:, -1] = _IGNORE
    targets[0, :4] = _IGNORE
    batch = Batch(ids, None, targets)
    base.embedding.requires_grad_(True)
    logits = base.model(input_ids=ids, use_cache=False).logits.float()
    whole = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets, reduction="none", ignore_index=_IGNORE
    )
    torch.testing.assert_close(each_nats(base, batch), whole.detach(), atol=1e-4, rtol=1e-4)
    whole.sum().backward()
    embedding: Any = base.embedding
    expected, embedding.grad = embedding.grad, None
    total_nats(base, batch).backward()
    assert embedding.grad is not None and expected is not None
    torch.testing.assert_close(embedding.grad, expected, atol=1e-3, rtol=1e-3)


def test_a_missing_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no readable config\.json"):
        load_base(tmp_path / "nothing", CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "brandnew", "auto_map": {"AutoModelForCausalLM": "code.Model"}},
            "code of its",
        ),
        ({"model_type": "brandnew"}, "of a kind"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "not a causal"),
        ({"is_encoder_decoder": True}, "not a causal"),
        ({"hidden_size": 64}, "do not fit|can't be loaded"),
        ({"num_hidden_layers": 3}, "do not fit"),
        ({"model_type": 7}, "of a kind"),
    ],
)
def test_odd_bases_are_refused(
    change: dict[str, object], message: str, llama: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "odd"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(BaseModelError, match=message):
        load_base(folder, CPU)


def test_pickled_weights_are_never_read(llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "bin"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match="no safetensors"):
        load_base(folder, CPU)


def test_damaged_weights_and_tokenizers_are_one_sentence(llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "damaged"))
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(BaseModelError, match="can't be loaded"):
        load_base(folder, CPU)
    folder = Path(shutil.copytree(llama, tmp_path / "mute"))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(BaseModelError, match="tokenizer"):
        load_base(folder, CPU)


def test_device_settings_that_are_not_there_are_refused() -> None:
    from vaultgpt.errors import TrainingError

    assert Device.choose("auto", "float32", 1).dtype == torch.float32
    assert Device.choose("cpu", "bfloat16", 1).dtype == torch.bfloat16
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="no usable CUDA"):
            Device.choose("cuda", "auto", 1)


def test_one_function_says_what_the_name_of_a_device_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "choose_device", lambda wanted: torch.device("meta"))
    assert Device.choose("auto", "float32", 1).where.type == "meta"
    asking = [p.name for p in PACKAGE.rglob("*.py") if "mps.is_available" in p.read_text("utf-8")]
    assert asking == ["arithmetic.py"]
