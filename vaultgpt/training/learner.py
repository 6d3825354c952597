"""A base with trainable LoRA layers and, where wanted, a trainable embedding, and their optimiser.

What is learned is the mean of the weights along the way: at a steady rate the weights themselves
wander about a place that is better than any of theirs. Knows nothing about data, schedules or
checkpoints on disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vaultgpt.errors import GenerationError
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.checkpoint import MOMENTS, LastWeights
from vaultgpt.training.choose import Recipe
from vaultgpt.training.device import Device, release
from vaultgpt.training.lora import Adapter, lora_parameters, wrap
from vaultgpt.training.written import write_out

_EMBEDDING = "embedding"


class Learner:
    """Puts LoRA into `base.model`; `close` takes it out again and brings the embedding back.

    With a `parent` its mean goes on, and the weights from where they stood in `last`."""

    def __init__(
        self,
        base: BaseModel,
        recipe: Recipe,
        seed: int,
        parent: Adapter | None = None,
        last: LastWeights | None = None,
        *,
        shared: bool = False,
    ) -> None:
        """`shared`: its blocks will be transformers' own, of which other processes hold parts."""
        self.base, self.recipe = base, recipe
        self.wrapped = wrap(base, recipe.rank, seed)
        self.alpha = 2 * recipe.rank
        self.lora = lora_parameters(self.wrapped)
        keeps_delta = parent is not None and parent.embedding is not None
        self.pristine: Tensor | None = None
        if recipe.embedding_rate > 0 or keeps_delta:
            self.pristine = base.embedding.detach().clone()
            base.embedding.requires_grad_(recipe.embedding_rate > 0)
        base.written = None if shared else write_out(base, whole=self.pristine is None)
        release(base)
        self.mean: dict[str, Tensor] = {}  # of `parameters`, float32, once there was a step
        self.tokens_before, self.weight_before = 0, 0.0  # of the rounds that it goes on from
        if parent is not None:
            self.alpha = parent.alpha
            self.load(parent)
        if parent is not None and last is not None:
            self.follow(1.0)
            trained = recipe.embedding_rate > 0  # else the embedding stays at the mean
            self.load(
                last.weights if trained else replace(last.weights, embedding=parent.embedding)
            )
            self.tokens_before, self.weight_before = last.tokens, last.weight
        self.optimiser = self._new_optimiser()
        if last is not None:
            self._recall(last)

    def _new_optimiser(self) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {
                "params": list(self.lora.values()),
                "peak": self.recipe.rate,
                "weight_decay": self.recipe.weight_decay,
            }
        ]
        if self.recipe.embedding_rate > 0:
            # Decay would pull towards 0, not towards the base.
            groups.append(
                {
                    "params": [self.base.embedding],
                    "weight_decay": 0.0,
                    "peak": self.recipe.embedding_rate,
                }
            )
        fused = self.base.device.where.type in ("cpu", "cuda")
        return torch.optim.AdamW(groups, lr=0.0, fused=fused)

    @torch.no_grad()
    def _recall(self, last: LastWeights) -> None:
        """The moments of earlier rounds: the few steps of a small one are too few to find them.

        The squares are of gradients over so many tokens; those over fewer are noisier by as much.
        """
        noisier = last.batch_tokens / self.recipe.batch_tokens
        for name, parameter in self.parameters.items():
            found = [last.moments.get(f"{moment}/{name}") for moment in MOMENTS]
            mean, square = (t if t is None or t.shape == parameter.shape else None for t in found)
            if mean is None or square is None:
                continue
            self.optimiser.state[parameter] = {
                "step": torch.tensor(float(last.steps), device=parameter.device),
                "exp_avg": mean.to(parameter.device, parameter.dtype, copy=True),
                "exp_avg_sq": square.to(parameter.device, parameter.dtype) * noisier,
            }

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that takes gradients, by name."""
        named = dict(self.lora)
        if self.recipe.embedding_rate > 0:
            named[_EMBEDDING] = self.base.embedding
        return named

    @torch.no_grad()
    def load(self, adapter: Adapter) -> None:
        """Set the weights to those of `adapter`; GenerationError when they do not fit."""
        fits = adapter.tensors.keys() == self.lora.keys() and all(
            adapter.tensors[n].shape == p.shape for n, p in self.lora.items()
        )
        delta = adapter.embedding
        if not fits or (delta is not None and delta.shape != self.base.embedding.shape):
            raise GenerationError(
                "The active generation does not fit this base.", "Run `vaultgpt train --fresh`."
            )
        for name, parameter in self.lora.items():
            parameter.copy_(adapter.tensors[name])
        if self.pristine is not None:
            self.base.embedding.copy_(self.pristine)
            if delta is not None:
                self.base.embedding.add_(delta.to(self.pristine.device, self.pristine.dtype))

    @torch.no_grad()
    def follow(self, share: float) -> None:
        """Take the weights as they stand into the mean, as `share` of it (all of it at first)."""
        for name, parameter in self.parameters.items():
            now = parameter.detach().float()
            if name in self.mean:
                self.mean[name].lerp_(now, share)
            else:
                self.mean[name] = now.clone()

    def snapshot(self) -> Adapter:
        """A copy of the mean, float32 on the CPU; of the weights themselves before any step."""
        return self._copy(self.mean)

    def last(self, tokens: int, weight: float) -> LastWeights:
        """The weights as they stand, after so many tokens of this round."""
        state = self.state()
        moments = {
            name: value.float().cpu().clone()
            for name, value in state.items()
            if name.partition("/")[0] in MOMENTS
        }
        steps = max((int(v) for n, v in state.items() if n.startswith("step/")), default=0)
        return LastWeights(
            self._copy({}),
            self.tokens_before + tokens,
            weight,
            moments,
            steps,
            self.recipe.batch_tokens,
        )

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> Adapter:
        """These values, and the weights as they stand where there is none."""
        tensors = {n: values.get(n, p).detach().float().cpu().clone() for n, p in self.lora.items()}
        delta = None
        if self.pristine is not None:
            learned = values.get(_EMBEDDING, self.base.embedding)
            delta = (learned.detach().float() - self.pristine.float()).cpu()
        return Adapter(self.recipe.rank, self.alpha, tensors, delta)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The base under the mean instead of the weights as they stand, which come back after."""
        kept = {n: p.detach().clone() for n, p in self.parameters.items() if n in self.mean}
        try:
            self._put(self.mean)
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.parameters[name].copy_(value)

    def set_rate(self, factor: float) -> None:
        """Set every group's learning rate to this share of its peak."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor

    def state(self) -> dict[str, Tensor]:
        """Weights, their mean and moments for a checkpoint."""
        tensors = {f"mean/{name}": value for name, value in self.mean.items()}
        for name, parameter in self.parameters.items():
            tensors[f"weight/{name}"] = parameter.detach()
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
        return tensors

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether `restore` can take these: of all that is trained there is a weight, as large."""
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        return all(shapes.get(f"weight/{n}") == p.shape for n, p in self.parameters.items())

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`; KeyError when a weight is missing."""
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            self.optimiser.state[parameter] = {
                key: tensors[f"{key}/{name}"].to(parameter.device)
                for key in ("step", *MOMENTS)
                if f"{key}/{name}" in tensors
            }
            if f"mean/{name}" in tensors:
                self.mean[name] = tensors[f"mean/{name}"].to(parameter.device)

    def move(self, device: Device) -> None:
        """Go on elsewhere with the same weights and moments."""
        state = {name: tensor.to("cpu").clone() for name, tensor in self.state().items()}
        self.optimiser.zero_grad(set_to_none=True)
        self.base.move(device)
        if self.pristine is not None:
            self.pristine = self.pristine.to(device.where)
        rates = [group["lr"] for group in self.optimiser.param_groups]
        self.optimiser = self._new_optimiser()
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        self.restore(state)

    @torch.no_grad()
    def close(self) -> None:
        """Leave the plain base as it was loaded."""
        self.optimiser.zero_grad(set_to_none=True)
        if self.base.written is not None:
            self.base.written.close()
            self.base.written = None
        if self.pristine is not None:
            self.base.embedding.copy_(self.pristine)
            self.base.embedding.requires_grad_(False)
        self.optimiser.state.clear()
        self.base.model = self.wrapped.unload()
        release(self.base)
