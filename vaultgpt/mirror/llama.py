"""Llama-like models in one forward pass: Llama, Mistral, Qwen2, Qwen3, Granite, Gemma and Gemma 3.

What tells them apart is folded into the weights as they are read, as far as it goes (scales, norms
that hold w of 1 + w). `fits` reads the configuration strictly: a key or tensor it does not know
sends the model to transformers instead. Knows nothing about files or requests.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaultgpt.arithmetic import Linear, compiled, turn_by, turn_of
from vaultgpt.bases.kinds import activation_of, ropes_of
from vaultgpt.mirror.attention import KV, Step
from vaultgpt.mirror.lean import LeanModel
from vaultgpt.mirror.llama_layer import Layer, Parts
from vaultgpt.mirror.weights import NEUTRAL, LoraFactors, keys

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


def fits(config: ModelConfig) -> bool:
    """Whether this forward pass is the whole truth about such a configuration."""
    kind = config.get("model_type")
    if kind not in _KEYS or set(config) - NEUTRAL - _READ - _KEYS[kind]:
        return False
    gemma = kind.startswith("gemma")
    odd = ("final_logit_softcapping", "attn_logit_softcapping", "use_bidirectional_attention")
    kinds = {"full_attention", "sliding_attention"}
    return (
        activation_of(config) in (_GELU if gemma else _SILU)
        and config.get("pretraining_tp", 1) == 1
        and not config.get("rope_interleaved")
        and not any(config.get(key) for key in odd)
        and not set(config.get("layer_types") or []) - kinds
        and all(_turns_plainly(rope) for rope in ropes_of(config))
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
        self.gelu = activation_of(config) in _GELU
        self.windows, self.ropes = _windows(config), ropes_of(config)
        self.residual_scale = config.get("residual_multiplier", 1.0)
        scalar = config.get("query_pre_attn_scalar", self.head_dim)
        attention = config.get("attention_multiplier", scalar**-0.5)
        self.query_scale = attention * self.head_dim**0.5  # beside what attention does by itself
        self.weights.left -= {n for n in self.weights.left if n.endswith("rotary_emb.inv_freq")}
        # Numbers that turn together lie side by side, so that one complex product turns them all.
        self.complex = self.stored == torch.float32 and self.device.type == "cpu"
        self.small = torch.tensor([self.eps]) if self.complex else None
        self._tables(4096)
        # In int8 the stream between the layers is kept turned, as products want it, and the values
        # too: a turn a layer instead of four. Norms behind a layer's parts would not bear it.
        self.turn = self.value_turn = None
        if not self._four_norms(0):
            self.turn = turn_of(self.hidden, self.dtype)
        turn = turn_of(self.heads * self.head_dim, self.dtype)
        if turn is not None and self.head_dim % len(turn) == 0:
            self.value_turn = turn

    def _four_norms(self, index: int) -> bool:
        """Norms a layer; Gemma 3 has one behind each part."""
        return f"model.layers.{index}.pre_feedforward_layernorm.weight" in self.weights

    def _tables(self, positions: int) -> None:
        """(Re)make the rope tables; they grow in doubling steps with the longest sequence."""
        self._positions = min(positions, self.context)
        self.turns = [self._table(rope) for rope in self.ropes]

    def _table(self, rope: Rope) -> tuple[Tensor, Tensor | None]:
        """Complex [positions, d / 2]; or cos and signed sin, [positions, d] each."""
        angles = _angles(rope, self.head_dim, self._positions)
        if self.complex:
            return torch.polar(torch.ones_like(angles), angles), None
        cos, sin = angles.cos(), angles.sin()  # the sign of sin saves a negation a token
        return self._kept(torch.cat([cos, cos], 1)), self._kept(torch.cat([-sin, sin], 1))

    def _norm(self, name: str) -> Tensor:
        weight = self.weights.read(name + ".weight")
        return weight.add_(1.0) if self.kind.startswith("gemma") else weight

    def _joined(self, prefix: str, names: list[str]) -> tuple[Tensor, Tensor | None]:
        """The weights and biases of several products of one input as one."""
        weight = self.weights.joined([prefix + name for name in names])
        biases = [
            self.weights.read(f"{prefix}{name}.bias")
            for name in names
            if f"{prefix}{name}.bias" in self.weights
        ]
        if biases and len(biases) != len(names):
            raise ValueError("biases on some products only")
        return weight, torch.cat(biases) if biases else None

    def _layer(self, index: int) -> Layer:
        prefix = f"model.layers.{index}."
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        head_norm = self._head_norm(attention)
        qkv, bias = self._joined(attention, _QKV)
        qkv = self._arranged(qkv, head_norm)
        bias = None if bias is None else self._arranged(bias, head_norm)
        gate_up, gate_up_bias = self._joined(mlp, _GATE_UP)
        after = prefix + "post_attention_layernorm"
        own = prefix + "pre_feedforward_layernorm"
        four = self._four_norms(index)
        norm = self._kept(self._norm(prefix + "input_layernorm"))
        mlp_norm = self._kept(self._norm(own if four else after))
        fold = self.turn is not None
        return self._made(
            Parts(
                norm=None if fold else norm,
                qkv=self._linear(qkv, bias, turned=fold, change=norm.mul if fold else None),
                head_norm=None if head_norm is None else self._kept(head_norm),
                out=self._residual(attention + "o_proj", turned=self.value_turn is not None),
                out_norm=self._kept(self._norm(after)) if four else None,
                mlp_norm=None if fold else mlp_norm,
                gate_up=self._linear(
                    gate_up, gate_up_bias, turned=fold, change=mlp_norm.mul if fold else None
                ),
                down=self._residual(mlp + "down_proj"),
                down_norm=self._kept(self._norm(prefix + "post_feedforward_layernorm"))
                if four
                else None,
                folded=(norm, mlp_norm) if fold else None,
            )
        )

    def _made(self, parts: Parts) -> Layer:
        return Layer(parts, self.heads, self.kv_heads, self.eps, self.small, self.gelu)

    def _ready(self, layer: Layer) -> nn.Module:
        return compiled(layer, self.device)

    def _arranged(self, rows: Tensor, head_norm: Tensor | None) -> Tensor:
        """Rows of queries, keys and values as the forward pass takes them."""
        rows = self._paired(rows)  # in int8 a copy: others may have these too
        if head_norm is None and self.query_scale != 1.0:
            rows[: self.heads * self.head_dim] *= self.query_scale
        if self.value_turn is not None:
            values = (self.heads + self.kv_heads) * self.head_dim
            rows[values:] = _rows_turned(rows[values:], self.value_turn)
        return rows

    def _beside(self, layer: Layer, index: int, adapter: LoraFactors) -> Layer:
        parts = layer.parts
        attention, mlp = (f"model.layers.{index}.{part}." for part in ("self_attn", "mlp"))
        qkv = adapter.pair([attention + name for name in _QKV])
        gate_up = adapter.pair([mlp + name for name in _GATE_UP])
        out, down = adapter.pair([attention + "o_proj"]), adapter.pair([mlp + "down_proj"])
        if self.turn is not None and parts.folded is not None:
            qkv, gate_up = (
                (turn_by(a * norm, self.turn), b)
                for (a, b), norm in zip((qkv, gate_up), parts.folded, strict=True)
            )
        if self.value_turn is not None:
            out = (turn_by(out[0], self.value_turn), out[1])
        beside = replace(
            parts,
            qkv=self._with_factors(parts.qkv, qkv[0], self._arranged(qkv[1], parts.head_norm)),
            out=self._with_factors(parts.out, out[0], self._to_stream(out[1])),
            gate_up=self._with_factors(parts.gate_up, *gate_up),
            down=self._with_factors(parts.down, down[0], self._to_stream(down[1])),
        )
        return self._made(beside)

    def _residual(self, name: str, *, turned: bool = False) -> Linear:
        weight, bias = self._joined("", [name])
        bias = None if bias is None else self._to_stream(bias)
        return self._linear(weight, bias, turned=turned, change=self._to_stream)

    def _to_stream(self, rows: Tensor) -> Tensor:
        """A weight's rows, or a bias, as what they give is added to the stream."""
        rows = rows if self.residual_scale == 1.0 else rows * self.residual_scale
        return rows if self.turn is None else _rows_turned(rows, self.turn)

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
        norm = self._kept(self._norm("model.norm") / config.get("logits_scaling", 1.0))
        fold = self.turn is not None
        self.norm = None if fold else norm
        self._keep_ends(
            embedding * scale if scale != 1.0 else embedding, head, norm if fold else None
        )

    def reserve(self, positions: int) -> object:
        """The rope's tables."""
        if positions > self._positions:
            self._tables(2 * positions)
        return self.turns

    def _hidden(self, ids: Tensor, step: Step, kv: KV) -> Tensor:
        self.reserve(step.seen)
        turns = [self._turns_at(turn, step) for turn in self.turns]
        groups = self.heads // self.kv_heads
        sights = [step.sight(window, groups) for window in self.windows]
        x = self._embed(ids)  # [rows, T, hidden]
        x = x if self.turn is None else turn_by(x, self.turn)
        for i, (layer, cache) in enumerate(zip(self.ready, kv.layers, strict=True)):
            turn, sin = turns[self.windows[i] is not None]
            x = layer(x, turn, sin, cache, sights[i])
        return x

    def _turns_at(
        self, turn: tuple[Tensor, Tensor | None], step: Step
    ) -> tuple[Tensor, Tensor | None]:
        """The rows of a rope table for this pass, [T or rows, 1 .., d or d / 2]."""

        def rows(table: Tensor) -> Tensor:
            if step.index is not None:
                return table[step.index][:, None, None]
            return table[step.start : step.start + step.tokens].unsqueeze(1)

        return rows(turn[0]), None if turn[1] is None else rows(turn[1])

    def _last(self, hidden: Tensor) -> Tensor:
        return F.rms_norm(hidden, (self.hidden,), self.norm, self.eps)


def _rows_turned(rows: Tensor, turn: Tensor) -> Tensor:
    """[out, ...] so that what they give comes turned."""
    if rows.dim() == 1:
        return turn_by(rows, turn)
    return (turn @ rows.reshape(-1, len(turn), rows.shape[1])).view(rows.shape)
