"""GPT-2-like models: learned positions, LayerNorm, Conv1D weights read as plain products.

`fits` reads the configuration strictly, as llama.py does. Knows nothing about files or requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vaultgpt.mirror.lean import KV, LeanModel, Step
from vaultgpt.mirror.linear import STORED, Dtype, Linear, make_linear
from vaultgpt.mirror.weights import Adapter, Checkpoint

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
}
NEUTRAL = {
    "architectures", "transformers_version", "dtype", "torch_dtype", "bos_token_id",
    "eos_token_id", "pad_token_id", "use_cache", "initializer_range", "resid_pdrop", "embd_pdrop",
    "attn_pdrop", "summary_type", "summary_use_proj", "summary_activation",
    "summary_proj_to_labels", "summary_first_dropout", "task_specific_params", "n_ctx",
    "_name_or_path", "return_dict", "output_hidden_states", "output_attentions", "id2label",
    "label2id", "problem_type", "chunk_size_feed_forward", "is_encoder_decoder", "_num_labels",
    "gradient_checkpointing",
}
READ = {
    "model_type", "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner",
    "activation_function", "layer_norm_epsilon", "scale_attn_weights", "add_cross_attention",
    "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "tie_word_embeddings",
}


def fits(config: dict[str, Any]) -> bool:
    """Whether this forward pass is the whole truth about such a configuration."""
    odd = ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention")
    return (
        config.get("model_type") == "gpt2"
        and not set(config) - NEUTRAL - READ
        and config.get("activation_function", "gelu_new") in ACTIVATIONS
        and config.get("scale_attn_weights", True) is True
        and not any(config.get(key) for key in odd)
    )


@dataclass
class Block:
    """The weights of one layer; norms are (weight, bias)."""

    norm: tuple[Tensor, Tensor]
    qkv: Linear
    out: Linear
    mlp_norm: tuple[Tensor, Tensor]
    up: Linear
    down: Linear


class GPT2(LeanModel):
    """The forward pass. KeyError or ValueError when the checkpoint has other tensors."""

    def __init__(self, files: Checkpoint, adapter: Adapter | None, dtype: Dtype,
                 device: torch.device) -> None:
        config = files.config
        self.device, self.stored, self.dtype = device, STORED[dtype], dtype
        self.hidden, self.heads = config.get("n_embd", 768), config.get("n_head", 12)
        self.kv_heads, self.head_dim = self.heads, self.hidden // self.heads
        self.layers_count = config.get("n_layer", 12)
        self.context = config.get("n_positions", 1024)
        self.eps = config.get("layer_norm_epsilon", 1e-5)
        self.activation = ACTIVATIONS[config.get("activation_function", "gelu_new")]
        self.parameters = 0
        self._files, self._adapter = files, adapter
        # openai-community/gpt2 stores "h.0...", save_pretrained "transformer.h.0..."
        self._under = "transformer." if "transformer.wte.weight" in files.names else ""
        masks = (".attn.bias", ".attn.masked_bias")
        self._left = {n for n in files.names if not n.endswith(masks)}
        self.blocks = [self._block(f"h.{i}.") for i in range(self.layers_count)]
        self._load_ends(bool(config.get("tie_word_embeddings", True)))
        if self._left:
            raise ValueError("tensors of another architecture")
        del self._files, self._adapter, self._left

    def _read(self, name: str) -> Tensor:
        self._left.discard(name)
        weight = self._files.read(name)
        self.parameters += weight.numel()
        return weight

    def _product(self, name: str) -> Linear:
        """A Conv1D [in, out] as a product [out, in] (dynamic int8 would skip it otherwise)."""
        weight = self._read(f"{self._under}{name}.weight").t().contiguous()
        if self._adapter:
            weight = self._adapter.merge(f"transformer.{name}", weight)
        return make_linear(weight, self._read(f"{self._under}{name}.bias"), self.dtype, self.device)

    def _norm(self, name: str) -> tuple[Tensor, Tensor]:
        weight, bias = (self._read(f"{self._under}{name}.{part}").to(self.device, self.stored)
                        for part in ("weight", "bias"))
        return weight, bias

    def _block(self, prefix: str) -> Block:
        return Block(
            norm=self._norm(prefix + "ln_1"), qkv=self._product(prefix + "attn.c_attn"),
            out=self._product(prefix + "attn.c_proj"), mlp_norm=self._norm(prefix + "ln_2"),
            up=self._product(prefix + "mlp.c_fc"), down=self._product(prefix + "mlp.c_proj"),
        )

    def _load_ends(self, tied: bool) -> None:
        embedding = self._read(self._under + "wte.weight")
        if self._adapter:
            embedding = self._adapter.merge_embedding(embedding)
        head = embedding
        if tied:
            self._left.discard("lm_head.weight")
        else:
            head = self._read("lm_head.weight")
            head = self._adapter.merge("lm_head", head) if self._adapter else head
        self.vocab = head.shape[0]
        self.norm = self._norm("ln_f")
        self.head = make_linear(head, None, self.dtype, self.device)
        self.embedding = embedding.to(self.device, self.stored)
        self.places = self._read(self._under + "wpe.weight").to(self.device, self.stored)

    def _hidden(self, ids: Tensor, step: Step, kv: KV) -> Tensor:
        at = slice(step.start, step.start + step.tokens)
        places = self.places[at] if step.index is None else self.places[step.index].unsqueeze(1)
        x = F.embedding(ids, self.embedding) + places  # [rows, T, hidden]
        size, heads = (self.hidden,), self.heads
        for block, layer in zip(self.blocks, kv.layers, strict=True):
            joined = block.qkv(F.layer_norm(x, size, *block.norm, self.eps))
            joined = joined.view(step.rows, step.tokens, 3 * heads, self.head_dim)
            x = x + block.out(
                self._attend(joined[:, :, :heads], joined[:, :, heads:], layer, step))
            inner = self.activation(block.up(F.layer_norm(x, size, *block.mlp_norm, self.eps)))
            x = x + block.down(inner)
        return x

    def _head(self, hidden: Tensor) -> Tensor:
        return self.head(F.layer_norm(hidden, (self.hidden,), *self.norm, self.eps))
