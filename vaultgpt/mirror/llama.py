"""Llama-like models: Llama, Mistral without sliding window, Qwen2 (qkv bias), Qwen3 (q/k norms).

`fits` reads the configuration strictly: a key or tensor it does not know sends the model to
transformers instead. Knows nothing about files or requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vaultgpt.mirror.lean import KV, LeanModel, Step
from vaultgpt.mirror.linear import STORED, Dtype, Linear, make_linear
from vaultgpt.mirror.weights import Adapter, Checkpoint

TYPES = ("llama", "mistral", "qwen2", "qwen3")
NEUTRAL = {  # keys that do not change a forward pass
    "architectures", "transformers_version", "dtype", "torch_dtype", "bos_token_id",
    "eos_token_id", "pad_token_id", "use_cache", "initializer_range", "attention_dropout",
    "pretraining_tp", "_name_or_path", "return_dict", "output_hidden_states", "output_attentions",
    "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "problem_type",
    "max_window_layers", "is_llama_config", "rope_interleaved", "unk_token_id",
    "vaultgpt_base_version",
}
READ = {
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps",
    "max_position_embeddings", "tie_word_embeddings", "rope_parameters", "rope_theta",
    "rope_scaling", "attention_bias", "mlp_bias", "sliding_window", "use_sliding_window",
    "layer_types",
}
ROPE_KEYS = {"rope_theta", "rope_type", "type", "factor", "low_freq_factor", "high_freq_factor",
             "original_max_position_embeddings", "partial_rotary_factor"}


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    rope = {"rope_theta": config.get("rope_theta", 10000.0), **(config.get("rope_scaling") or {}),
            **(config.get("rope_parameters") or {})}
    rope["rope_type"] = rope.get("rope_type", rope.get("type", "default"))
    return rope


def fits(config: dict[str, Any]) -> bool:
    """Whether this forward pass is the whole truth about such a configuration."""
    if config.get("model_type") not in TYPES or set(config) - NEUTRAL - READ:
        return False
    rope = _rope(config)
    slides = config.get("sliding_window") and config.get(
        "use_sliding_window", config["model_type"] == "mistral")
    return (
        config.get("hidden_act", "silu") == "silu"
        and config.get("pretraining_tp", 1) == 1
        and not config.get("rope_interleaved")
        and rope["rope_type"] in ("default", "linear", "llama3")
        and not set(rope) - ROPE_KEYS
        and rope.get("partial_rotary_factor", 1.0) == 1.0
        and (not slides or config["sliding_window"] >= config.get("max_position_embeddings", 2048))
        and all(kind == "full_attention" for kind in config.get("layer_types") or [])
    )


def rope_table(config: dict[str, Any], dim: int, positions: int) -> tuple[Tensor, Tensor]:
    """cos and signed sin, each fp32 [positions, dim]; the sign saves a negation per token."""
    rope = _rope(config)
    inverse = 1.0 / (rope["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim))  # [dim / 2]
    if rope["rope_type"] == "linear":
        inverse = inverse / rope["factor"]
    elif rope["rope_type"] == "llama3":
        inverse = _llama3(inverse, rope)
    angles = torch.outer(torch.arange(positions).float(), inverse)  # [positions, dim / 2]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=1), torch.cat([-sin, sin], dim=1)


def _llama3(inverse: Tensor, rope: dict[str, Any]) -> Tensor:
    """Long wavelengths are stretched by `factor`, short ones kept, those between blended."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * inverse / (2 * math.pi)
    share = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    stretched: Tensor = (1 - share) * inverse / rope["factor"] + share * inverse
    return stretched


@dataclass
class Block:
    """The weights of one layer; q/k norms are None outside Qwen3."""

    norm: Tensor
    qkv: Linear  # [.., hidden] -> [.., (heads + 2 * kv_heads) * d]
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Linear
    mlp_norm: Tensor
    gate_up: Linear  # [.., hidden] -> [.., 2 * inner]
    down: Linear


class Llama(LeanModel):
    """The forward pass. KeyError or ValueError when the checkpoint has other tensors."""

    def __init__(self, files: Checkpoint, adapter: Adapter | None, dtype: Dtype,
                 device: torch.device) -> None:
        config = files.config
        self.device, self.stored, self.dtype = device, STORED[dtype], dtype
        self.hidden = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads") or self.heads
        self.head_dim = config.get("head_dim") or self.hidden // self.heads
        self.layers_count = config["num_hidden_layers"]
        self.context = config.get("max_position_embeddings", 2048)
        self.eps = config.get("rms_norm_eps", 1e-6)
        self.parameters = 0
        self._files, self._adapter = files, adapter
        self._left = {n for n in files.names if not n.endswith("rotary_emb.inv_freq")}
        self.blocks = [self._block(f"model.layers.{i}.") for i in range(self.layers_count)]
        self._load_ends(bool(config.get("tie_word_embeddings", False)))
        self._tables(4096)
        if self._left:
            raise ValueError("tensors of another architecture")
        del self._files, self._adapter, self._left

    def _tables(self, positions: int) -> None:
        """(Re)make the rope tables; they grow in doubling steps with the longest sequence."""
        self._positions = min(positions, self.context)
        cos, sin = rope_table(self._config_rope, self.head_dim, self._positions)
        self.cos = cos.to(self.device, self.stored)
        self.sin = sin.to(self.device, self.stored)

    def _read(self, name: str) -> Tensor:
        self._left.discard(name)
        weight = self._files.read(name)
        self.parameters += weight.numel()
        return weight

    def _stored(self, name: str) -> Tensor:
        return self._read(name).to(self.device, self.stored)

    def _joined(self, prefix: str, names: list[str]) -> Linear:
        """Several products of one input as one, the adapter merged into each first."""
        weights, biases = [], []
        for name in names:
            weight = self._read(f"{prefix}{name}.weight")
            weights.append(self._adapter.merge(prefix + name, weight) if self._adapter else weight)
            if f"{prefix}{name}.bias" in self._left:
                biases.append(self._read(f"{prefix}{name}.bias"))
        if biases and len(biases) != len(weights):
            raise ValueError("biases on some products only")
        return make_linear(torch.cat(weights), torch.cat(biases) if biases else None,
                           self.dtype, self.device)

    def _block(self, prefix: str) -> Block:
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        norms = [self._stored(attention + n) if attention + n in self._left else None
                 for n in ("q_norm.weight", "k_norm.weight")]
        return Block(
            norm=self._stored(prefix + "input_layernorm.weight"),
            qkv=self._joined(attention, ["q_proj", "k_proj", "v_proj"]),
            q_norm=norms[0], k_norm=norms[1],
            out=self._joined(attention, ["o_proj"]),
            mlp_norm=self._stored(prefix + "post_attention_layernorm.weight"),
            gate_up=self._joined(mlp, ["gate_proj", "up_proj"]),
            down=self._joined(mlp, ["down_proj"]),
        )

    def _load_ends(self, tied: bool) -> None:
        embedding = self._read("model.embed_tokens.weight")
        if self._adapter:
            embedding = self._adapter.merge_embedding(embedding)
        head = embedding
        if tied:
            self._left.discard("lm_head.weight")
        else:
            head = self._read("lm_head.weight")
            head = self._adapter.merge("lm_head", head) if self._adapter else head
        self._config_rope = self._files.config
        self.vocab = head.shape[0]
        self.norm = self._stored("model.norm.weight")
        self.head = make_linear(head, None, self.dtype, self.device)
        self.embedding = embedding.to(self.device, self.stored)

    def _hidden(self, ids: Tensor, step: Step, kv: KV) -> Tensor:
        if step.seen > self._positions:
            self._tables(2 * step.seen)
        if step.index is None:
            at = slice(step.start, step.start + step.tokens)
            cos, sin = self.cos[at].unsqueeze(1), self.sin[at].unsqueeze(1)  # [T, 1, d]
        else:
            cos, sin = (t[step.index][:, None, None] for t in (self.cos, self.sin))  # [rows,1,1,d]
        x = F.embedding(ids, self.embedding)  # [rows, T, hidden]
        size = (self.hidden,)
        for block, layer in zip(self.blocks, kv.layers, strict=True):
            x = x + self._attention(block, F.rms_norm(x, size, block.norm, self.eps),
                                    cos, sin, layer, step)
            gate, up = block.gate_up(F.rms_norm(x, size, block.mlp_norm, self.eps)).chunk(2, -1)
            x = x + block.down(F.silu(gate).mul_(up))
        return x

    def _attention(self, block: Block, x: Tensor, cos: Tensor, sin: Tensor, layer: Tensor,
                   step: Step) -> Tensor:
        dim, heads, kv = self.head_dim, self.heads, self.kv_heads
        joined = block.qkv(x).view(step.rows, step.tokens, heads + 2 * kv, dim)
        turned = joined[:, :, : heads + kv]  # queries and keys are rotated, values are not
        if block.q_norm is not None and block.k_norm is not None:
            turned[:, :, :heads] = F.rms_norm(turned[:, :, :heads], (dim,), block.q_norm, self.eps)
            turned[:, :, heads:] = F.rms_norm(turned[:, :, heads:], (dim,), block.k_norm, self.eps)
        turned.copy_(torch.addcmul(turned * cos, turned.roll(dim // 2, -1), sin))
        return block.out(self._attend(joined[:, :, :heads], joined[:, :, heads:], layer, step))

    def _head(self, hidden: Tensor) -> Tensor:
        return self.head(F.rms_norm(hidden, (self.hidden,), self.norm, self.eps))
