"""Full fine-tuning of the base on a round's own job, the nanoGPT way: what LoRA is held against.

AdamW with decay on matrices, cosine to a tenth, dropout 0.1, the best checkpoint by validation; the
same blocks in the same order as the LoRA round, its general text too. Knows nothing about journals.
"""

from __future__ import annotations

import contextlib
import math
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.choose import Recipe
from vaultgpt.training.device import Device
from vaultgpt.training.evaluate import segments
from vaultgpt.training.loop import Loop, Plan
from vaultgpt.training.lora import Adapter
from vaultgpt.training.streams import split_validation
from vaultgpt.training.trainer import Trainer

DROPOUT, DECAY, BETAS = 0.1, 0.1, (0.9, 0.95)  # decay of matrices
WARM, FLOOR = 0.05, 0.1  # of the steps; of the peak rate, at the end of the cosine


class _FullLearner:
    """Stands where training.learner.Learner does, with every weight of the base trainable."""

    def __init__(self, base: BaseModel, recipe: Recipe, rate: float, steps: int) -> None:
        self.base, self.recipe, self.rate, self.steps = base, recipe, rate, steps
        self.alpha = self.calls = self.tokens_before = 0
        self.weight_before = 0.0
        base.model.requires_grad_(True)
        self.parameters: dict[str, nn.Parameter] = dict(base.model.named_parameters())
        matrices = [p for p in self.parameters.values() if p.ndim > 1]
        vectors = [p for p in self.parameters.values() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": DECAY}]
        groups.append({"params": vectors, "weight_decay": 0.0})
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)
        for name, module in base.model.named_modules():
            if name.endswith(("self_attn", "mlp", "embed_tokens")):
                module.register_forward_hook(_drop)

    def set_rate(self, factor: float) -> None:
        """Warm-up, then a cosine, whatever the loop's own schedule says."""
        warm = max(3, math.ceil(WARM * self.steps))
        share = (self.calls + 1) / (warm + 1)
        if self.calls >= warm:
            done = min(1.0, (self.calls - warm) / max(1, self.steps - warm))
            share = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
        self.calls += 1
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * share

    def follow(self, share: float) -> None:
        """Nothing: this recipe keeps the weights that it ends at."""

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The weights as they stand."""
        return contextlib.nullcontext()

    def snapshot(self) -> Adapter:
        """All weights, under the type that the loop keeps its best in."""
        return Adapter(0, 0, {n: p.detach().clone() for n, p in self.parameters.items()}, None)


def _drop(module: nn.Module, inputs: Any, output: Any) -> Any:
    if not torch.is_grad_enabled():
        return output
    first, *rest = output if isinstance(output, tuple) else (output,)
    dropped: Tensor = nn.functional.dropout(first, DROPOUT)
    return (dropped, *rest) if rest else dropped


@torch.no_grad()
def _put(base: BaseModel, tensors: dict[str, Tensor]) -> None:
    for name, parameter in base.model.named_parameters():
        parameter.copy_(tensors[name])
        parameter.requires_grad_(False)


def full_tune(path: Path, rate: float) -> tuple[BaseModel, dict[str, float]]:
    """(the base with the trained weights in it, figures) of one full fine-tuning of a job."""
    trainer = Trainer(path, lambda event: None, threading.Event())
    at = trainer.settings
    base = load_base(Path(trainer.job.base), Device.choose(at.device, at.dtype, at.threads))
    train = [i for i in trainer.job.items if i.role in ("train", "replay")]
    train, validation = split_validation(train, trainer.seed)
    recipe, mixture, epoch_tokens, total = trainer._mixture(base, None, train, 0)
    steps = max(1, round(total / recipe.batch_tokens))
    check = max(1, round(epoch_tokens / recipe.batch_tokens / 4))
    torch.manual_seed(trainer.seed)
    learner: Any = _FullLearner(base, recipe, rate, steps)
    plan = Plan(steps, check, None, None, trainer.digest)
    loop = Loop(learner, mixture, segments(validation, base.encoder), plan, stop=trainer.stop)
    last = loop.run()
    _put(base, (loop.best or last).tensors)
    state = loop.progress
    best = min((value for _, value in state.checks), default=math.nan)
    figures = {"rate": rate, "dropout": DROPOUT, "validation": best, "train_s": state.seconds}
    return base, {**figures, "tokens": float(state.tokens)}
