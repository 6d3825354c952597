"""Of a model that also sees the text part is taken, from the hub, and it is the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.bases.hub_server import Hub
from vaultgpt.bases.fetch import download
from vaultgpt.bases.names import resolve
from vaultgpt.errors import BaseModelError
from vaultgpt.state import VaultState


def seeing_model(folder: Path) -> Path:
    """A tiny Qwen3.5 with eyes: text_config and vision_config, as published."""
    import transformers

    text = {
        **{"vocab_size": tiny.tiny_tokenizer(folder), "hidden_size": 32, "intermediate_size": 64},
        **{"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2},
        **{"head_dim": 8, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
        **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "max_position_embeddings": 256},
        **{"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True},
    }
    eyes = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    kind: Any = transformers.CONFIG_MAPPING["qwen3_5"]
    config = kind(
        text_config=text, vision_config=eyes | {"out_hidden_size": 32}, tie_word_embeddings=True
    )
    transformers.Qwen3_5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_the_text_part_of_a_model_that_sees_is_the_same_model(
    hub: Hub, state: VaultState, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    whole = seeing_model(tmp_path / "sees")
    hub.add("org/sees", whole)
    base = download("org/sees", state)
    assert base.model_type == "qwen3_5_text" and base.tied and base == resolve("org/sees", state)
    mine, theirs = (AutoModelForCausalLM.from_pretrained(f) for f in (base.folder, whole))
    assert base.parameters == sum(p.numel() for p in mine.parameters())
    ids = torch.arange(12)[None]
    assert torch.equal(*(model(input_ids=ids, use_cache=False).logits for model in (mine, theirs)))
    with pytest.raises(BaseModelError, match="not a plain text model") as error:
        resolve(str(whole))
    assert "give that name" in str(error.value)
