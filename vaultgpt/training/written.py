"""A Llama-like model with LoRA, forward and backward written out, for training on the CPU.

Autograd keeps more and passes over it oftener: SmolLM2-135M took 4.9 GB with it and takes 2.1.
Knows nothing about losses, data or optimisers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor

from vaultgpt.bases.kinds import activation_of
from vaultgpt.training.written_block import DecoderLayer, Norm, Pass, hold

if TYPE_CHECKING:
    from vaultgpt.training.base_model import BaseModel

# A pass has a multiple of these: for each number of rows oneDNN makes code of its own for every
# product and keeps it. 300 numbers, one product: 238 MB.
_STEP = 32
_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
_ACTIVATIONS = {"silu", "swish", "gelu_pytorch_tanh", "gelu_new"}
# Of float32, by which half of the hidden states of a fixed text may be off: of SmolLM2-135M's, in
# bfloat16, transformers' are by 0.010 and these by 0.013, the worst by 1.2 and 0.15.
_OFF = {torch.bfloat16: 0.05, torch.float32: 1e-3}


class _WrittenBackbone:
    """The blocks of a base that carries LoRA; `close` gives it weights of its own again."""

    def __init__(self, base: BaseModel, whole: bool) -> None:
        self.dtype = base.device.dtype
        self.backbone = getattr(base.model, base.model.base_model_prefix)
        config = base.model.config
        self.whole = base.embedding.dtype
        self.kinds: list[str | None] = [None] * len(self.backbone.layers)
        if config.model_type == "gemma3_text":
            self.kinds = list(config.layer_types)
        self.blocks = [
            DecoderLayer(layer, kind, activation_of(config.to_dict()), self.dtype)
            for layer, kind in zip(self.backbone.layers, self.kinds, strict=True)
        ]
        self.norm = Norm(self.backbone.norm)
        self.embedding = base.embedding
        scale = getattr(self.backbone.embed_tokens, "embed_scale", None)
        self.scale = 1.0 if scale is None else float(scale)
        self.parameters = [
            p
            for block in self.blocks
            for joined in block.products
            for ab in joined.pairs
            for p in ab
        ]
        self.held: Tensor | None = None
        if whole:
            self.held = hold(self.embedding, torch.empty_like(self.embedding, dtype=self.dtype))

    def hidden(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        """Last hidden states [B, L, hidden] in the arithmetic of the products, with a graph."""
        if positions is None:
            positions = torch.arange(ids.shape[1]).expand_as(ids)
        kind, more = ids.device.type, -ids.numel() % _STEP
        given = F.pad(ids.reshape(-1), (0, more))
        places = torch.cat([positions.reshape(-1), torch.arange(more)])  # a document of its own
        with torch.autocast(kind, enabled=False):
            flat: Tensor = _Through.apply(  # type: ignore[no-untyped-call]
                self, torch.is_grad_enabled(), given, places, self.embedding, *self.parameters
            )
        return flat[: ids.numel()].view(*ids.shape, -1)

    def about(self, positions: Tensor) -> Pass:
        """Documents and rotations of a row of tokens: a document begins at position 0."""
        starts = torch.nonzero(positions == 0).flatten().tolist()
        spans = list(zip(starts, [*starts[1:], len(positions)], strict=True))
        like = torch.empty(0)  # float32
        turns = {}
        for kind in set(self.kinds):
            named = {} if kind is None else {"layer_type": kind}
            cos, sin = self.backbone.rotary_emb(like, positions[None], **named)  # [1, N, d]
            sin = sin[0].clone()
            sin[:, : sin.shape[1] // 2].neg_()
            turns[kind] = (cos[0][:, None], sin[:, None])
        return Pass(spans, turns)

    def embed(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.embedding.detach()).float() * self.scale

    def take(self) -> None:
        """Bring every A and B into the products as they stand."""
        for block in self.blocks:
            for product in block.products:
                product.take()

    @torch.no_grad()
    def close(self) -> None:
        """Give the base weights of its own, in the arithmetic they had."""
        for block in self.blocks:
            for product in block.products:
                product.release(self.whole)
        if self.held is not None:
            self.embedding.data = self.held.to(self.whole, copy=True)


class _Through(torch.autograd.Function):
    """All blocks as one step of autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        written: _WrittenBackbone,
        keeps: bool,  # ctx.needs_input_grad would be true in scoring too
        ids: Tensor,
        positions: Tensor,
        embedding: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        written.take()
        over = written.about(positions)
        x, all_kept = written.embed(ids), []
        for block in written.blocks:
            with torch.set_grad_enabled(keeps):
                x, kept = block.forward(x, over)
            if keeps:
                all_kept.append(kept)
        out = torch.empty_like(x, dtype=written.dtype)
        share = written.norm(x, out)
        if keeps:
            ctx.state = (written, ids, over, all_kept, x, share)
        return out

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        written, ids, over, all_kept, x, share = ctx.state
        del ctx.state
        found: dict[int, Tensor] = {}
        back = written.norm.back(slope, x, share)
        for block in reversed(written.blocks):
            back = block.backward(back, all_kept.pop(), over, found)
        of_embedding = None
        if ctx.needs_input_grad[4]:
            of_embedding = torch.zeros_like(written.embedding)
            of_embedding.index_add_(0, ids, back.mul_(written.scale).to(of_embedding.dtype))
        return None, None, None, None, of_embedding, *(found[id(p)] for p in written.parameters)


def write_out(base: BaseModel, whole: bool = True) -> _WrittenBackbone | None:
    """For a base with fresh LoRA (B = 0) on the CPU; None where this is not how it computes.

    `whole`: nothing is added to the embedding, so that it too may be held in the products' way."""
    config = base.model.config
    if base.device.where.type != "cpu" or config.model_type not in _FAMILIES:
        return None
    if config.model_type == "mistral" and config.sliding_window:  # only its masks know of it
        return None
    if not (base.packs and base.plain_head):
        return None
    if activation_of(config.to_dict()) not in _ACTIVATIONS:
        return None
    if not all(isinstance(layer, LoraLinear) for layer in _linears(base)):
        return None
    ids = torch.arange(2, 26)[None] % base.embedding.shape[0]
    positions = torch.cat([torch.arange(11), torch.arange(13)])[None]
    with torch.no_grad():
        theirs = base.hidden(ids, positions).float()
    try:
        written = _WrittenBackbone(base, whole)
    except (AttributeError, KeyError, ValueError, RuntimeError):
        return None
    with torch.no_grad():
        ours = written.hidden(ids, positions).float()
    off = (ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)
    if not float(off.median()) <= _OFF[written.dtype]:
        written.close()
        return None
    return written


def _linears(base: BaseModel) -> Iterator[Any]:
    for layer in getattr(getattr(base.model, base.model.base_model_prefix), "layers", []):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield getattr(layer.self_attn, name, None)
        for name in ("gate_proj", "up_proj", "down_proj"):
            yield getattr(layer.mlp, name, None)
