"""Muon for the blocks' matrices, AdamW for embeddings and norms, in one flat, savable object.

Muon (K. Jordan and others, 2024, "Muon: an optimizer for hidden layers") replaces a matrix's
momentum by the nearest orthogonal matrix, found by a Newton-Schulz iteration. Matrices of one
shape are stacked and iterated together: at this size a call costs more than its arithmetic.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

# Quintic coefficients of the paper: they bring singular values near 1 in five rounds.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


@dataclass(frozen=True)
class Rates:
    """Peak learning rates and decays; `muon` and `adam` are the anchor's, batch doubled."""

    muon: float = 0.02
    adam: float = 3e-3
    muon_momentum: float = 0.95
    muon_decay: float = 0.01
    adam_betas: tuple[float, float] = (0.9, 0.95)
    adam_decay: float = 0.0
    adam_epsilon: float = 1e-10

    def scaled(self, share: float) -> Rates:
        """The same with every peak learning rate times `share`."""
        return replace(self, muon=self.muon * share, adam=self.adam * share)


class MuonAdam:
    """`step(multiplier)` applies the gradients with every peak rate times the multiplier."""

    def __init__(self, model: nn.Module, rates: Rates) -> None:
        self.rates = rates
        self.steps = 0
        named = dict(model.named_parameters())
        self._matrices = {n: p for n, p in named.items() if p.ndim == 2 and ".layers." in n}
        self._others = {n: p for n, p in named.items() if n not in self._matrices}
        self.state: dict[str, Tensor] = {}
        for name, parameter in self._matrices.items():
            self.state[f"momentum.{name}"] = torch.zeros_like(parameter)
        for name, parameter in self._others.items():
            self.state[f"first.{name}"] = torch.zeros_like(parameter)
            self.state[f"second.{name}"] = torch.zeros_like(parameter)
        self._stacks: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name, parameter in self._matrices.items():
            long, short = max(parameter.shape), min(parameter.shape)
            self._stacks[(long, short)].append(name)

    @torch.no_grad()
    def step(self, multiplier: float) -> None:
        self.steps += 1
        for names in self._stacks.values():
            self._muon(names, self.rates.muon * multiplier)
        for name in self._others:
            self._adam(name, self.rates.adam * multiplier)

    def _muon(self, names: list[str], rate: float) -> None:
        tall = []
        for name in names:
            gradient, momentum = self._gradient(name), self.state[f"momentum.{name}"]
            momentum.lerp_(gradient, 1 - self.rates.muon_momentum)
            looked_ahead = gradient.lerp(momentum, self.rates.muon_momentum)
            wide = gradient.shape[0] < gradient.shape[1]
            tall.append(looked_ahead.T if wide else looked_ahead)
        updates = orthogonalised(torch.stack(tall))  # (matrices, long, short)
        for name, update in zip(names, updates, strict=True):
            parameter = self._matrices[name]
            rows, columns = parameter.shape
            parameter.mul_(1 - rate * self.rates.muon_decay)
            turned = update.T if rows < columns else update
            parameter.add_(turned.to(parameter.dtype), alpha=-rate * max(1, rows / columns) ** 0.5)

    def _adam(self, name: str, rate: float) -> None:
        parameter, gradient = self._others[name], self._gradient(name)
        first, second = self.state[f"first.{name}"], self.state[f"second.{name}"]
        beta_1, beta_2 = self.rates.adam_betas
        first.lerp_(gradient, 1 - beta_1)
        second.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        scale = (second / (1 - beta_2**self.steps)).sqrt_().add_(self.rates.adam_epsilon)
        parameter.mul_(1 - rate * self.rates.adam_decay)
        parameter.addcdiv_(first, scale, value=-rate / (1 - beta_1**self.steps))

    def _gradient(self, name: str) -> Tensor:
        gradient = (self._matrices.get(name, self._others.get(name))).grad  # type: ignore[union-attr]
        if gradient is None:
            raise RuntimeError(f"{name} has no gradient: was backward called?")
        return gradient


def orthogonalised(stack: Tensor) -> Tensor:
    """Each matrix's nearest (semi-)orthogonal one, roughly. stack: (n, long, short), long first."""
    a, b, c = COEFFICIENTS
    x = stack.bfloat16()
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).bfloat16()
    for _ in range(ROUNDS):
        gram = x.mT @ x  # (n, short, short)
        x = torch.baddbmm(x, x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), beta=a)
    return x
