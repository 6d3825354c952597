"""Tiny GGUF files written from tiny models, as llama.cpp's converter writes Llama's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

TURN_END = "<|im_end|>"
NORMAL, CONTROL = 1, 3


def write_gguf(
    model: Path,
    target: Path,
    *,
    packed: bool = False,
    chat: bool = False,
    architecture: str = "llama",
    facts: dict[str, Any] | None = None,
    tokenizer: bool = True,
) -> Path:
    """Write the Llama in folder `model` as one GGUF file; return `target`.

    `packed`: matrices as Q8_0, else fp32. `chat`: the last token is a turn's mark, and the end.
    """
    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(str(target), architecture)
    writer.add_name("Tiny")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    for key, value in (facts or {}).items():
        writer.add_uint32(key, value) if isinstance(value, int) else writer.add_string(key, value)
    if config["rope_parameters"]["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", _slowed(config))
    if tokenizer:
        _add_tokenizer(writer, model, chat)
    _add_tensors(writer, model, config, packed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _add_tokenizer(writer: gguf.GGUFWriter, model: Path, chat: bool) -> None:
    whole = json.loads((model / "tokenizer.json").read_text())
    ids = {**whole["model"]["vocab"], **{t["content"]: t["id"] for t in whole["added_tokens"]}}
    special = {t["content"] for t in whole["added_tokens"] if t["special"]}
    tokens = sorted(ids, key=lambda token: ids[token])
    if chat:
        tokens[-1] = TURN_END
        special.add(TURN_END)
    merges = [m if isinstance(m, str) else " ".join(m) for m in whole["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if t in special else NORMAL for t in tokens])
    writer.add_token_merges(merges[:-1] if chat else merges)
    end = len(tokens) - 1 if chat else 0
    writer.add_bos_token_id(end if chat else 0)
    writer.add_eos_token_id(end)


def _add_tensors(
    writer: gguf.GGUFWriter, model: Path, config: dict[str, Any], packed: bool
) -> None:
    from safetensors import safe_open

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    with safe_open(model / "model.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118
            if name == "lm_head.weight":
                continue
            data: np.ndarray = file.get_tensor(name)
            for part, count in heads.items():
                if part in name:
                    data = _interleave(data, count)
            found = names.get_name(name, try_suffixes=(".weight", ".bias"))
            assert found is not None
            kind = gguf.GGMLQuantizationType.Q8_0 if packed and data.ndim == 2 else None
            if kind is not None:
                data = gguf.quantize(data, kind)
            writer.add_tensor(found, np.ascontiguousarray(data), raw_dtype=kind)


def _interleave(weights: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of a head's rows [out, in] for its rotary positions."""
    shape = (heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return weights.reshape(shape).swapaxes(1, 2).reshape(weights.shape)


def _slowed(config: dict[str, Any]) -> np.ndarray:
    """How many times slower than usual each rotary frequency of Llama 3 turns."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    inverse, _ = ROPE_INIT_FUNCTIONS["llama3"](LlamaConfig(**config), "cpu")
    usual = config["rope_parameters"]["rope_theta"] ** -(np.arange(len(inverse)) / len(inverse))
    slower: np.ndarray = (usual / inverse.numpy()).astype(np.float32)
    return slower
