"""Full fine-tuning of the base on a round's own job, the nanoGPT way: what LoRA is held against.

AdamW with decay on matrices, cosine to a tenth, dropout 0.1, the best checkpoint by validation; the
same blocks in the same order as the LoRA round, its general text too. Knows nothing about journals.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.choose import Recipe
from vaultgpt.training.device import choose_device
from vaultgpt.training.loop import Loop, Plan
from vaultgpt.training.lora import Adapter
from vaultgpt.training.streams import split_validation
from vaultgpt.training.trainer import Trainer

DROPOUT = 0.1
DECAY = 0.1  # of matrices
BETAS = (0.9, 0.95)
FLOOR = 0.1  # of the peak rate, at the end of the cosine


class FullLearner:
    """Stands where training.learner.Learner does, with every weight of the base trainable."""

    def __init__(
        self, base: BaseModel, recipe: Recipe, rate: float, steps: int, dropout: float
    ) -> None:
        self.base, self.recipe, self.rate, self.steps = base, recipe, rate, steps
        self.alpha, self.calls = 0, 0
        base.model.requires_grad_(True)
        self.parameters: dict[str, nn.Parameter] = dict(base.model.named_parameters())
        matrices = [p for p in self.parameters.values() if p.ndim > 1]
        vectors = [p for p in self.parameters.values() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}],
            lr=0.0,
            betas=BETAS,
            fused=True,
        )
        self._hooks = [
            m.register_forward_hook(partial(_drop, dropout))
            for n, m in base.model.named_modules()
            if n.endswith(("self_attn", "mlp", "embed_tokens"))
        ]

    def set_rate(self, factor: float) -> None:
        """Warm-up as the loop says (5 %), then a cosine from the peak to a tenth of it."""
        warm = max(3, math.ceil(0.05 * self.steps))
        if self.calls < warm:
            share = (self.calls + 1) / (warm + 1)
        else:
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

    def state(self) -> dict[str, Tensor]:
        """Nothing: a run is short and is not resumed in its middle."""
        return {}

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self.base.model.requires_grad_(False)


def _drop(share: float, module: nn.Module, inputs: Any, output: Any) -> Any:
    if not share or not torch.is_grad_enabled():
        return output
    first = output[0] if isinstance(output, tuple) else output
    dropped = nn.functional.dropout(first, share)
    return (dropped, *output[1:]) if isinstance(output, tuple) else dropped


class _FullTrainer(Trainer):
    def tune(self, rate: float, dropout: float) -> tuple[BaseModel, Adapter, float, int, float]:
        at = self.settings
        device = choose_device(at.device, at.dtype, at.threads)
        base = load_base(Path(self.job.base), device)
        train = [i for i in self.job.items if i.role in ("train", "replay")]
        train, validation = split_validation(train, self.seed)
        recipe, mixture, epoch_tokens, total = self._mixture(base, None, train, 0)
        steps = max(1, round(total / recipe.batch_tokens))
        check = max(1, round(epoch_tokens / recipe.batch_tokens / 4))
        torch.manual_seed(self.seed)
        learner = FullLearner(base, recipe, rate, steps, dropout)
        from vaultgpt.training.evaluate import segments

        found = segments(validation, base.encoder)
        plan = Plan(steps, check, None, self.folder, self.digest)
        loop: Any = Loop(learner, mixture, found, plan, stop=self.stop)  # type: ignore[arg-type]
        last = loop.run()
        learner.close()
        state = loop.progress
        best = min((v for _, v in state.checks), default=math.nan)
        return base, loop.best or last, best, state.tokens, state.seconds


@torch.no_grad()
def _put(base: BaseModel, tensors: dict[str, Tensor]) -> None:
    for name, parameter in base.model.named_parameters():
        parameter.copy_(tensors[name])


def full_tune(
    job: Path, rate: float, dropout: float = DROPOUT
) -> tuple[BaseModel, dict[str, float]]:
    """(the base with the trained weights in it, figures) of one full fine-tuning."""
    folder = job.parent / "full"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    shutil.copyfile(job, folder / "job.json")
    trainer = _FullTrainer(folder / "job.json", lambda event: None, threading.Event(), 0.0)
    base, weights, best, tokens, seconds = trainer.tune(rate, dropout)
    shutil.rmtree(folder, ignore_errors=True)
    _put(base, weights.tensors)
    return base, {
        "rate": rate,
        "dropout": dropout,
        "validation": best,
        "tokens": float(tokens),
        "train_s": seconds,
    }
