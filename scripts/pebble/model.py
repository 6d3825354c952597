"""A lean forward pass of LlamaForCausalLM for training, with its parameter names and its sums.

State dicts go to and from transformers unchanged (checked by tests to 1e-4). It knows one thing
transformers doesn't: the loss is computed in chunks, so that no full logits matrix ever exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch._dynamo
import torch.nn.functional as F
from torch import Tensor, nn

LOSS_CHUNK_TOKENS = 512  # x 8,192 logits in bf16 = 8 MiB: stays in the last-level cache


@dataclass(frozen=True)
class Shape:
    """The model's sizes. `cpu` has 6.9 M parameters; `gpu` 11.6 M, the most for 24 MB."""

    vocabulary: int = 8192
    hidden: int = 256
    layers: int = 6
    heads: int = 4
    feed_forward: int = 704
    context: int = 1024  # tokens
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-6

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


SHAPES = {
    "cpu": Shape(),
    "gpu": Shape(hidden=384, layers=5, heads=6, feed_forward=960),
    "toy": Shape(vocabulary=300, hidden=32, layers=2, heads=2, feed_forward=64, context=128),
}


class Norm(nn.Module):
    """Root-mean-square norm with a gain."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.epsilon)


class Attention(nn.Module):
    """Causal self-attention with rotary positions; q, k and v in one product."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_size = shape.heads, shape.head_size
        self.q_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, _ = x.shape
        fused = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        qkv = F.linear(x, fused.to(x.dtype)).view(rows, length, 3, self.heads, self.head_size)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (rows, heads, length, head_size)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.linear(mixed.transpose(1, 2).reshape(rows, length, -1), cast(self.o_proj, x))


class FeedForward(nn.Module):
    """SwiGLU; gate and up in one product."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        fused = torch.cat([self.gate_proj.weight, self.up_proj.weight])
        gate, up = F.linear(x, fused.to(x.dtype)).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, cast(self.down_proj, x))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = Norm(shape.hidden, shape.norm_epsilon)
        self.post_attention_layernorm = Norm(shape.hidden, shape.norm_epsilon)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x).to(dtype), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x).to(dtype))
        return out


class Trunk(nn.Module):
    """Everything up to the last norm; the residual stream stays in fp32."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.norm_epsilon)
        angles = torch.outer(
            torch.arange(shape.context, dtype=torch.float32),
            shape.rope_theta ** -(torch.arange(0, shape.head_size, 2) / shape.head_size),
        ).repeat(1, 2)  # (context, head_size)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        length = tokens.shape[1]
        cos, sin = self.get_buffer("cos")[:length], self.get_buffer("sin")[:length]
        x = self.embed_tokens(tokens).float()  # (rows, length, hidden)
        for block in self.layers:
            x = block(x, cos, sin, dtype)
        out: Tensor = self.norm(x).to(dtype)
        return out


class Pebble(nn.Module):
    """Tied embeddings: the head is the embedding matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        self.softmax_loss: Any = softmax_loss
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                shrink = (2 * shape.layers) ** -0.5 if into_residual else 1.0
                nn.init.normal_(parameter, std=0.02 * shrink)

    def fuse(self) -> None:
        """torch.compile for what is elementwise: one graph a block and one for the loss."""
        torch._dynamo.config.cache_size_limit = 64
        for block in self.model.layers:
            block.compile(dynamic=False)
        self.softmax_loss = torch.compile(softmax_loss, dynamic=False)

    def forward(self, tokens: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        """Mean loss in nats a token. tokens, targets: (rows, length)."""
        hidden = self.model(tokens, dtype).flatten(0, 1)  # (rows * length, hidden)
        head = self.model.embed_tokens.weight
        apply: Any = ChunkedLoss.apply
        loss: Tensor = apply(hidden, head, targets.flatten(), self.softmax_loss)
        return loss


class ChunkedLoss(torch.autograd.Function):
    """Cross entropy of hidden @ weight.T, its gradients made chunk by chunk in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, softmax_loss: Any
    ) -> Tensor:
        head = weight.to(hidden.dtype)  # (vocabulary, hidden)
        grad_hidden = torch.empty_like(hidden)
        grad_head = torch.zeros_like(weight)
        total = hidden.new_zeros((), dtype=torch.float32)
        count = targets.shape[0]
        chunk = LOSS_CHUNK_TOKENS if hidden.device.type == "cpu" else 16 * LOSS_CHUNK_TOKENS
        for start in range(0, count, chunk):
            rows = hidden[start : start + chunk]
            logits = rows @ head.T  # (chunk, vocabulary)
            loss, grad = softmax_loss(logits, targets[start : start + chunk], count)
            total += loss
            grad_hidden[start : start + chunk] = grad @ head
            grad_head += grad.T @ rows
        ctx.save_for_backward(grad_hidden, grad_head)
        return total / count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        return grad_hidden * grads[0].to(grad_hidden.dtype), grad_head * grads[0], None, None


def softmax_loss(logits: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Summed loss in fp32 and d(mean loss)/d(logits) in the logits' type. logits: (chunk, v)."""
    wide = logits.float()
    log_sum = wide.logsumexp(dim=-1, keepdim=True)
    loss = (log_sum - wide.gather(1, targets[:, None])).sum()
    grad = (wide - log_sum).exp()
    one_hot = torch.arange(logits.shape[1], device=logits.device)[None] == targets[:, None]
    return loss, ((grad - one_hot.float()) / count).to(logits.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, halves convention. x: (rows, heads, length, head_size)."""
    low, high = x.float().chunk(2, dim=-1)
    turned = torch.cat([-high, low], dim=-1)
    return (x.float() * cos + turned * sin).to(x.dtype)


def cast(linear: nn.Linear, x: Tensor) -> Tensor:
    return linear.weight.to(x.dtype)
