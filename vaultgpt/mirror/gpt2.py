"""GPT-2-like models: learned positions, LayerNorm, Conv1D weights read as plain products.

`fits` reads the configuration strictly, as llama.py does. Knows nothing about files or requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from vaultgpt.arithmetic import Linear
from vaultgpt.bases.kinds import activation_of
from vaultgpt.mirror.attention import KV, Step, attend
from vaultgpt.mirror.lean import LeanModel
from vaultgpt.mirror.weights import NEUTRAL, LoraFactors, keys

if TYPE_CHECKING:
    from vaultgpt.bases.kinds import ModelConfig

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
}
_READ = keys(
    """model_type vocab_size n_positions n_embd n_layer n_head n_inner activation_function
    layer_norm_epsilon scale_attn_weights add_cross_attention scale_attn_by_inverse_layer_idx
    reorder_and_upcast_attn tie_word_embeddings"""
)


def fits(config: ModelConfig) -> bool:
    """Whether this forward pass is the whole truth about such a configuration."""
    odd = ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention")
    return (
        config.get("model_type") == "gpt2"
        and not set(config) - NEUTRAL - _READ
        and activation_of(config) in _ACTIVATIONS
        and config.get("scale_attn_weights", True) is True
        and not any(config.get(key) for key in odd)
    )


@dataclass
class _GPT2Layer:
    """One layer's weights; norms are (weight, bias)."""

    norm: tuple[Tensor, Tensor]
    qkv: Linear
    out: Linear
    mlp_norm: tuple[Tensor, Tensor]
    up: Linear
    down: Linear


class GPT2(LeanModel):
    """The forward pass."""

    ends = (*LeanModel.ends, "places")

    def _shape(self, config: ModelConfig) -> None:
        self.hidden, self.heads = config.get("n_embd", 768), config.get("n_head", 12)
        self.kv_heads, self.head_dim = self.heads, self.hidden // self.heads
        self.layers_count = config.get("n_layer", 12)
        self.context = config.get("n_positions", 1024)
        self.eps = config.get("layer_norm_epsilon", 1e-5)
        self.activation = _ACTIVATIONS[activation_of(config)]
        # openai-community/gpt2 stores "h.0...", save_pretrained "transformer.h.0..."
        self._under = "transformer." if "transformer.wte.weight" in self.weights else ""
        masks = (".attn.bias", ".attn.masked_bias")
        self.weights.left -= {n for n in self.weights.left if n.endswith(masks)}

    def _product(self, name: str) -> Linear:
        """A Conv1D [in, out] as a product [out, in] (dynamic int8 would skip it otherwise)."""
        weight = self.weights.product(self._under + name, f"transformer.{name}", conv=True)
        return self._linear(weight, self.weights.read(f"{self._under}{name}.bias"))

    def _norm(self, name: str) -> tuple[Tensor, Tensor]:
        weight, bias = (
            self._kept(self.weights.read(f"{self._under}{name}.{part}"))
            for part in ("weight", "bias")
        )
        return weight, bias

    def _layer(self, index: int) -> _GPT2Layer:
        prefix = f"h.{index}."
        return _GPT2Layer(
            norm=self._norm(prefix + "ln_1"),
            qkv=self._product(prefix + "attn.c_attn"),
            out=self._product(prefix + "attn.c_proj"),
            mlp_norm=self._norm(prefix + "ln_2"),
            up=self._product(prefix + "mlp.c_fc"),
            down=self._product(prefix + "mlp.c_proj"),
        )

    def _beside(self, layer: _GPT2Layer, index: int, adapter: LoraFactors) -> _GPT2Layer:
        def product(whole: Linear, name: str) -> Linear:
            return self._with_factors(whole, *adapter.pair([f"transformer.h.{index}.{name}"]))

        return replace(
            layer,
            qkv=product(layer.qkv, "attn.c_attn"),
            out=product(layer.out, "attn.c_proj"),
            up=product(layer.up, "mlp.c_fc"),
            down=product(layer.down, "mlp.c_proj"),
        )

    def _load_ends(self, config: ModelConfig) -> None:
        tied = bool(config.get("tie_word_embeddings", True))
        self._keep_ends(*self.weights.ends(self._under + "wte.weight", tied))
        self.norm = self._norm("ln_f")
        self.places = self._kept(self.weights.read(self._under + "wpe.weight"))

    def _normed(self, x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        return F.layer_norm(x, (self.hidden,), norm[0], norm[1], self.eps)

    def _hidden(self, ids: Tensor, step: Step, kv: KV) -> Tensor:
        at = slice(step.start, step.start + step.tokens)
        places = self.places[at] if step.index is None else self.places[step.index].unsqueeze(1)
        x = self._embed(ids) + places  # [rows, T, hidden]
        heads = self.heads
        sight = step.sight(None, 1)
        for block, layer in zip(self.layers, kv.layers, strict=True):
            joined = block.qkv(self._normed(x, block.norm))
            joined = joined.view(step.rows, step.tokens, 3 * heads, self.head_dim)
            out = attend(joined[:, :, :heads], joined[:, :, heads:], layer, sight)
            x = x + block.out(out)
            inner = self.activation(block.up(self._normed(x, block.mlp_norm)))
            x = x + block.down(inner)
        return x

    def _last(self, hidden: Tensor) -> Tensor:
        return self._normed(hidden, self.norm)
