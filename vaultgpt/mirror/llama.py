"""Llama-like models in one forward pass: Llama, Mistral, Qwen2, Qwen3, Granite, Gemma and Gemma 3.

What tells them apart is folded into the weights as they are read, as far as it goes (scales, norms
that hold w of 1 + w). `fits` reads the configuration strictly: a key or tensor it does not know
sends the model to transformers instead. Knows nothing about files or requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vaultgpt.arithmetic import Linear
from vaultgpt.mirror.lean import KV, LeanModel, Step
from vaultgpt.mirror.weights import NEUTRAL, Adapter, keys

if TYPE_CHECKING:
    from vaultgpt.bases.kinds import ModelConfig, Rope

_READ = keys(
    """model_type vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads
    num_key_value_heads head_dim hidden_act hidden_activation rms_norm_eps max_position_embeddings
    tie_word_embeddings rope_parameters rope_theta rope_scaling attention_bias mlp_bias
    sliding_window use_sliding_window layer_types"""
)
_GEMMA = keys("use_bidirectional_attention")
_GEMMA3 = _GEMMA | keys(
    """query_pre_attn_scalar final_logit_softcapping attn_logit_softcapping rope_local_base_freq
    sliding_window_pattern _sliding_window_pattern"""
)
_GRANITE = frozenset(
    ["embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"]
)
_KEYS = {  # further keys by model type
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), keys("")),
    "gemma": _GEMMA,
    "gemma3_text": _GEMMA3,
    "granite": _GRANITE,
}
_QKV, _GATE_UP = ["q_proj", "k_proj", "v_proj"], ["gate_proj", "up_proj"]
_SILU, _GELU = ("silu", "swish"), ("gelu_pytorch_tanh", "gelu_new")
_ROPE_KEYS = keys(
    """rope_theta rope_type type factor low_freq_factor high_freq_factor
    original_max_position_embeddings partial_rotary_factor"""
)


def _activation(config: ModelConfig) -> str:
    gemma = str(config["model_type"]).startswith("gemma")
    name = config.get("hidden_activation") or config.get("hidden_act")
    return str(name or (_GELU if gemma else _SILU)[0])


def _windows(config: ModelConfig) -> list[int | None]:
    """Each layer's window; None where all positions are seen."""
    count, window = config["num_hidden_layers"], config.get("sliding_window")
    kind, kinds = config["model_type"], config.get("layer_types")
    if kind == "gemma3_text" and not kinds:
        every = config.get("sliding_window_pattern", config.get("_sliding_window_pattern", 6))
        kinds = ["full_attention" if (i + 1) % every == 0 else "sliding" for i in range(count)]
    if not kinds:
        slides = window and config.get("use_sliding_window", kind == "mistral")
        kinds = ["sliding" if slides else "full_attention"] * count
    return [None if kind == "full_attention" else window for kind in kinds]


def _ropes(config: ModelConfig) -> tuple[Rope, Rope]:
    """The parameters of layers that see everything, and of those with a window."""
    named = config.get("rope_parameters") or {}
    if "full_attention" in named:
        return _rope(config, named["full_attention"]), _rope(config, named["sliding_attention"])
    whole = _rope(config, named)
    local = config.get("rope_local_base_freq")
    if config["model_type"] == "gemma3_text":
        whole["rope_theta"] = config.get("rope_theta", 1e6)
        return whole, {"rope_theta": local or 1e4, "rope_type": "default"}
    return whole, whole


def _rope(config: ModelConfig, named: Rope) -> Rope:
    scaling: Rope = config.get("rope_scaling") or {}
    rope: Rope = {"rope_theta": config.get("rope_theta", 10000.0), **scaling, **named}
    rope["rope_type"] = rope.get("rope_type", rope.get("type", "default"))
    return rope


def fits(config: ModelConfig) -> bool:
    """Whether this forward pass is the whole truth about such a configuration."""
    kind = config.get("model_type")
    if kind not in _KEYS or set(config) - NEUTRAL - _READ - _KEYS[kind]:
        return False
    gemma = kind.startswith("gemma")
    odd = ("final_logit_softcapping", "attn_logit_softcapping", "use_bidirectional_attention")
    kinds = {"full_attention", "sliding_attention"}
    return (
        _activation(config) in (_GELU if gemma else _SILU)
        and config.get("pretraining_tp", 1) == 1
        and not config.get("rope_interleaved")
        and not any(config.get(key) for key in odd)
        and not set(config.get("layer_types") or []) - kinds
        and all(_turns_plainly(rope) for rope in _ropes(config))
    )


def _turns_plainly(rope: Rope) -> bool:
    return (
        rope["rope_type"] in ("default", "linear", "llama3")
        and not set(rope) - _ROPE_KEYS
        and rope.get("partial_rotary_factor", 1.0) == 1.0
    )


def _angles(rope: Rope, dim: int, positions: int) -> Tensor:
    """fp32 [positions, dim / 2]."""
    inverse = 1.0 / (rope["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim))  # [dim / 2]
    if rope["rope_type"] == "linear":
        inverse = inverse / rope["factor"]
    elif rope["rope_type"] == "llama3":
        inverse = _llama3(inverse, rope)
    return torch.outer(torch.arange(positions).float(), inverse)


def _llama3(inverse: Tensor, rope: Rope) -> Tensor:
    """Long wavelengths are stretched by `factor`, short ones kept, those between blended."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * inverse / (2 * math.pi)
    share = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    stretched: Tensor = (1 - share) * inverse / rope["factor"] + share * inverse
    return stretched


@dataclass
class _LlamaLayer:
    """One layer's weights; None where the family has no such norm."""

    window: int | None
    norm: Tensor
    qkv: Linear  # [.., hidden] -> [.., (heads + 2 * kv_heads) * d]
    head_norm: Tensor | None  # [heads + kv_heads, d] of queries and keys
    out: Linear
    out_norm: Tensor | None
    mlp_norm: Tensor
    gate_up: Linear  # [.., hidden] -> [.., 2 * inner]
    down: Linear
    down_norm: Tensor | None


class Llama(LeanModel):
    """The forward pass of them all."""

    def _shape(self, config: ModelConfig) -> None:
        self.kind = config["model_type"]
        self.hidden = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads") or self.heads
        self.head_dim = config.get("head_dim") or self.hidden // self.heads
        self.layers_count = config["num_hidden_layers"]
        self.context = config.get("max_position_embeddings", 2048)
        self.eps = config.get("rms_norm_eps", 1e-6)
        self.activation: Callable[[Tensor], Tensor] = F.silu
        if _activation(config) in _GELU:
            self.activation = partial(F.gelu, approximate="tanh")
        self.windows, self.ropes = _windows(config), _ropes(config)
        self.residual_scale = config.get("residual_multiplier", 1.0)
        scalar = config.get("query_pre_attn_scalar", self.head_dim)
        attention = config.get("attention_multiplier", scalar**-0.5)
        self.query_scale = attention * self.head_dim**0.5  # beside what attention does by itself
        self.weights.left -= {n for n in self.weights.left if n.endswith("rotary_emb.inv_freq")}
        # Numbers that turn together lie side by side, so that one complex product turns them all.
        self.complex = self.stored == torch.float32 and self.device.type == "cpu"
        self._tables(4096)

    def _tables(self, positions: int) -> None:
        """(Re)make the rope tables; they grow in doubling steps with the longest sequence."""
        self._positions = min(positions, self.context)
        self.turns = [self._table(rope) for rope in self.ropes]

    def _table(self, rope: Rope) -> tuple[Tensor, ...]:
        """Complex [positions, d / 2]; or cos and signed sin, [positions, d] each."""
        angles = _angles(rope, self.head_dim, self._positions)
        if self.complex:
            return (torch.polar(torch.ones_like(angles), angles),)
        cos, sin = angles.cos(), angles.sin()  # the sign of sin saves a negation a token
        return self._kept(torch.cat([cos, cos], 1)), self._kept(torch.cat([-sin, sin], 1))

    def _norm(self, name: str) -> Tensor:
        weight = self.weights.read(name + ".weight")
        return weight.add_(1.0) if self.kind.startswith("gemma") else weight

    def _joined(self, prefix: str, names: list[str]) -> tuple[Tensor, Tensor | None]:
        """The weights and biases of several products of one input as one."""
        weights = [self.weights.product(prefix + name) for name in names]
        biases = [
            self.weights.read(f"{prefix}{name}.bias")
            for name in names
            if f"{prefix}{name}.bias" in self.weights
        ]
        if biases and len(biases) != len(weights):
            raise ValueError("biases on some products only")
        return torch.cat(weights), torch.cat(biases) if biases else None

    def _layer(self, index: int) -> _LlamaLayer:
        prefix = f"model.layers.{index}."
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        head_norm = self._head_norm(attention)
        qkv, bias = self._joined(attention, _QKV)
        qkv = self._arranged(qkv, head_norm)
        bias = None if bias is None else self._arranged(bias, head_norm)
        after = prefix + "post_attention_layernorm"
        own = prefix + "pre_feedforward_layernorm"
        four = own + ".weight" in self.weights  # norms a layer; Gemma 3 has one behind each part
        return _LlamaLayer(
            window=self.windows[index],
            norm=self._kept(self._norm(prefix + "input_layernorm")),
            qkv=self._linear(qkv, bias),
            head_norm=None if head_norm is None else self._kept(head_norm),
            out=self._residual(attention + "o_proj"),
            out_norm=self._kept(self._norm(after)) if four else None,
            mlp_norm=self._kept(self._norm(own if four else after)),
            gate_up=self._linear(*self._joined(mlp, _GATE_UP)),
            down=self._residual(mlp + "down_proj"),
            down_norm=self._kept(self._norm(prefix + "post_feedforward_layernorm"))
            if four
            else None,
        )

    def _arranged(self, rows: Tensor, head_norm: Tensor | None) -> Tensor:
        """Rows of queries, keys and values as the forward pass takes them."""
        if head_norm is None:
            rows[: self.heads * self.head_dim] *= self.query_scale
        return self._paired(rows)

    def _beside(self, layer: _LlamaLayer, index: int, adapter: Adapter) -> _LlamaLayer:
        attention, mlp = (f"model.layers.{index}.{part}." for part in ("self_attn", "mlp"))
        a, b = adapter.pair([attention + name for name in _QKV])
        out, down = adapter.pair([attention + "o_proj"]), adapter.pair([mlp + "down_proj"])
        return replace(
            layer,
            qkv=self._with_factors(layer.qkv, a, self._arranged(b, layer.head_norm)),
            out=self._with_factors(layer.out, out[0], out[1] * self.residual_scale),
            gate_up=self._with_factors(layer.gate_up, *adapter.pair([mlp + n for n in _GATE_UP])),
            down=self._with_factors(layer.down, down[0], down[1] * self.residual_scale),
        )

    def _residual(self, name: str) -> Linear:
        weight, bias = self._joined("", [name])
        return self._linear(
            weight * self.residual_scale, None if bias is None else bias * self.residual_scale
        )

    def _head_norm(self, attention: str) -> Tensor | None:
        if attention + "q_norm.weight" not in self.weights:
            return None
        query, key = (self._norm(attention + name) for name in ("q_norm", "k_norm"))
        rows = [query * self.query_scale] * self.heads + [key] * self.kv_heads
        return self._paired(torch.cat(rows)).view(-1, self.head_dim)

    def _paired(self, rows: Tensor) -> Tensor:
        """Rows of queries and keys, a head's two halves interleaved for the complex product."""
        if not self.complex:
            return rows
        turned = (self.heads + self.kv_heads) * self.head_dim
        order = torch.arange(len(rows))
        pairs = order[:turned].view(-1, 2, self.head_dim // 2).transpose(1, 2).reshape(-1)
        return rows[torch.cat([pairs, order[turned:]])]

    def _load_ends(self, config: ModelConfig) -> None:
        gemma = self.kind.startswith("gemma")
        tied = bool(config.get("tie_word_embeddings", gemma))
        embedding, head = self.weights.ends("model.embed_tokens.weight", tied)
        scale = self.hidden**0.5 if gemma else config.get("embedding_multiplier", 1.0)
        self._keep_ends(embedding * scale if scale != 1.0 else embedding, head)
        norm = self._norm("model.norm") / config.get("logits_scaling", 1.0)
        self.norm = self._kept(norm)

    def _hidden(self, ids: Tensor, step: Step, kv: KV) -> Tensor:
        if step.seen > self._positions:
            self._tables(2 * step.seen)
        whole, local = (self._turns_at(turn, step) for turn in self.turns)
        x = self._embed(ids)  # [rows, T, hidden]
        size, eps = (self.hidden,), self.eps
        for block, layer in zip(self.layers, kv.layers, strict=True):
            turn = whole if block.window is None else local
            out = self._attention(block, F.rms_norm(x, size, block.norm, eps), turn, layer, step)
            if block.out_norm is not None:
                out = F.rms_norm(out, size, block.out_norm, eps)
            x = out.add_(x)
            gate, up = block.gate_up(F.rms_norm(x, size, block.mlp_norm, eps)).chunk(2, -1)
            out = block.down(self.activation(gate).mul_(up))
            if block.down_norm is not None:
                out = F.rms_norm(out, size, block.down_norm, eps)
            x = out.add_(x)
        return x

    def _turns_at(self, turn: tuple[Tensor, ...], step: Step) -> tuple[Tensor, ...]:
        """The rows of a rope table for this pass, [T or rows, 1 .., d or d / 2]."""
        if step.index is not None:
            return tuple(t[step.index][:, None, None] for t in turn)
        return tuple(t[step.start : step.start + step.tokens].unsqueeze(1) for t in turn)

    def _attention(
        self, block: _LlamaLayer, x: Tensor, turn: tuple[Tensor, ...], layer: Tensor, step: Step
    ) -> Tensor:
        dim, heads, kv = self.head_dim, self.heads, self.kv_heads
        joined = block.qkv(x).view(step.rows, step.tokens, heads + 2 * kv, dim)
        turned = joined[:, :, : heads + kv]  # queries and keys are rotated, values are not
        if block.head_norm is not None:
            turned.copy_(F.rms_norm(turned, (dim,), None, self.eps).mul_(block.head_norm))
        if self.complex:
            torch.view_as_complex(turned.view(*turned.shape[:-1], -1, 2)).mul_(turn[0])
        else:
            turned.copy_(torch.addcmul(turned * turn[0], turned.roll(dim // 2, -1), turn[1]))
        query, fresh = joined[:, :, :heads], joined[:, :, heads:]
        return block.out(self._attend(query, fresh, layer, step, block.window))

    def _head(self, hidden: Tensor) -> Tensor:
        return self.head(F.rms_norm(hidden, (self.hidden,), self.norm, self.eps))
