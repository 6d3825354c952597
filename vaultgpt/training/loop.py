"""The training loop: optimiser steps over a mixture of blocks, within a time and a memory limit.

Knows nothing about entries, reports or processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor

from vaultgpt.corpus.documents import Block
from vaultgpt.errors import OutOfMemory, TrainingError, is_memory
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.checkpoint import (
    DAMAGED,
    LastWeights,
    Progress,
    read_checkpoint,
    write_checkpoint,
)
from vaultgpt.training.choose import rate_at
from vaultgpt.training.device import on_cpu, release
from vaultgpt.training.distributed import ALONE, Together
from vaultgpt.training.evaluate import LN2, Segment, score
from vaultgpt.training.learner import Learner
from vaultgpt.training.lora import Adapter
from vaultgpt.training.loss import Batch, make_batch, plan_passes, total_nats
from vaultgpt.training.streams import Mixture

# Between two checkpoints; further apart where writing one takes over a hundredth of that: pebble's
# are 60 MB, SmolLM2's 79, and take 0.2 to 0.4 s of a processor and a busy disk up to 3 s.
CHECKPOINT_S, CHECKPOINT_SHARE = 30.0, 0.01
_PATIENCE = 3  # validations in a row that are worse than the best by _WORSE
# Validation sets are small: an early minimum within the noise is worse than a run that went on to
# its end (25,000 words of Thoreau: held-out 1.718 at the validation's best step, 1.712 at the end).
_WORSE = 0.005
_CALIBRATION_STEPS = 3  # before a budget sets the number of steps
_SLACK = 0.97  # of the remaining time is planned for
_ROWS = 1024  # tokens at once, at most: more gain little and are kept until their backward pass
# Bytes kept for the backward pass by one token and layer, in multiples of the hidden size: about
# 20 tensors of hidden width and 3 of the feed-forward's, 4 bytes each, rounded up.
_PER_LAYER = 160
_SHARE = 0.35  # of the free memory that one pass may take


class Stopped(Exception):
    """The round was asked to stop; its checkpoint is written."""


@dataclass(frozen=True)
class Plan:
    """How long to train and where to look. `deadline` is on the clock that `Loop` is given."""

    steps: int
    check_every: int  # steps between validations
    deadline: float | None
    folder: Path | None  # of the checkpoint; None keeps none
    job: str  # digest of the job


def _slopes(
    base: BaseModel, batch: Batch, scale: float, parameters: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """The sum of nats, and its gradients by the parameters, scaled. The seam of memory tests."""
    with base.device.autocast():
        nats = total_nats(base, batch)
    slopes = torch.autograd.grad(nats * scale, parameters, materialize_grads=True)
    return float(nats.detach()), list(slopes)


def _best(progress: Progress) -> float:
    """Lowest validated bits per byte so far."""
    return min((value for _, value in progress.checks), default=float("inf"))


class Loop:
    """One training run; `run` returns the best adapter. `progress` says how it went.

    Of several processes each takes the gradients of its share of a step's blocks; their sum is that
    of one process, and so every one of them takes the same step."""

    def __init__(
        self,
        learner: Learner,
        mixture: Mixture,
        validation: Sequence[Segment],
        plan: Plan,
        *,
        stop: threading.Event,
        on_step: Callable[[Progress], None] = lambda progress: None,
        clock: Callable[[], float] = time.monotonic,
        together: Together = ALONE,
    ) -> None:
        self.learner, self.mixture, self.validation = learner, mixture, validation
        self.plan, self.stop, self.on_step, self.clock = plan, stop, on_step, clock
        self.progress = Progress(steps=plan.steps, weight=learner.weight_before)
        self.together = together
        self.best: Adapter | None = None
        self.began = clock()
        self._writing = 0.0  # what the last checkpoint took, of what it may take
        block, most = learner.recipe.block_tokens, learner.recipe.batch_tokens
        if learner.base.written is not None:
            most = min(most, _ROWS)
        fit = _tokens_that_fit(learner.base, block, max(block, most))
        self.progress.micro_tokens = together.same(fit) if together.shared else fit
        self.progress.recipe = asdict(learner.recipe)

    def run(self) -> Adapter:
        """Train to the end. Stopped when told to; OutOfMemory when nothing fits."""
        self._resume()
        saved_at = self.clock()
        while self.progress.step < self.progress.steps:
            if self.stop.is_set():
                self._save()
                raise Stopped
            self._one_step()
            if self._due_for_check() and self._check():
                break
            self._fit_to_deadline()
            if self.clock() - saved_at >= CHECKPOINT_S * max(1.0, self._writing):
                began = self.clock()
                self._save()
                saved_at = self.clock()
                self._writing = (saved_at - began) / (CHECKPOINT_SHARE * CHECKPOINT_S or 1.0)
            self.on_step(self.progress)
        return self._chosen()

    def last(self, chosen: Adapter) -> LastWeights | None:
        """Where the next round goes on; None where the end was not `chosen`, but an earlier one."""
        if chosen is self.best:
            return None
        return self.learner.last(self.progress.tokens, self.progress.weight)

    def _chosen(self) -> Adapter:
        """The mean at the end, or the best validated one where that is clearly better."""
        state = self.progress
        if self.best is not None and state.checks:
            if state.checks[-1][1] > _best(state) * (1 + _WORSE):
                return self.best
            state.best_step = state.step
        return self.learner.snapshot()

    def _one_step(self) -> None:
        begin, state = self.clock(), self.progress
        blocks = self.mixture.step(self.learner.recipe.batch_tokens)
        self.learner.set_rate(rate_at(state.step, state.steps, self.learner.recipe))
        loss = self._added_up(self._gradients(blocks))
        torch.nn.utils.clip_grad_norm_(
            list(self.learner.parameters.values()), self.learner.recipe.clip
        )
        self.learner.optimiser.step()
        self.learner.optimiser.zero_grad(set_to_none=True)
        if loss != loss:
            raise TrainingError(
                "Training diverged: the loss is not a number.", "Lower training.learning_rate."
            )
        state.losses.append(loss)
        state.step += 1
        state.position = self.mixture.position
        tokens = sum(len(b) for b in blocks)
        state.tokens += tokens
        # Later weights count for more, in proportion to the tokens read by then.
        weight = float(tokens) * (self.learner.tokens_before + state.tokens)
        state.weight += weight
        self.learner.follow(weight / state.weight)
        state.seconds += self.clock() - begin

    def _added_up(self, loss: float) -> float:
        """The loss of all processes; the gradients of all in each."""
        if self.together.size == 1:
            return loss
        slopes = []
        for parameter in self.learner.parameters.values():
            if parameter.grad is None:  # a step of fewer blocks than processes
                parameter.grad = torch.zeros_like(parameter)
            slopes.append(parameter.grad)
        total = slopes[0].new_tensor([loss])
        self.together.add_up([*slopes, total])
        return float(total)

    def _gradients(self, blocks: list[Block]) -> float:
        """Mean nats a token over the blocks, as far as they are this process's; gradients
        accumulate in parts that fit the memory."""
        while True:
            try:
                return self._accumulate(blocks)
            except Exception as error:
                if not is_memory(error) or self.together.shared:
                    raise  # the others are in the same pass, and can't be told
            self.learner.optimiser.zero_grad(set_to_none=True)
            self._shrink(max(len(b) for b in blocks))

    def _accumulate(self, blocks: list[Block]) -> float:
        base = self.learner.base
        count = max(1, sum(int(b.loss_mask[1:].sum()) for b in blocks))
        blocks = self.together.mine(sorted(blocks, key=lambda b: -len(b)))
        sides = plan_passes(base, blocks, self.progress.micro_tokens)
        parameters = list(self.learner.parameters.values())

        def passes(which: Sequence[Batch]) -> tuple[float, list[Tensor]]:
            """One after the other; their sums."""
            total, added = 0.0, list[Tensor]()
            for batch in which:
                nats, slopes = _slopes(base, batch, 1.0 / count, parameters)
                total += nats
                added = [a.add_(b) for a, b in zip(added, slopes, strict=True)] if added else slopes
            return total, added

        found = base.device.side_by_side(passes, sides)
        found += [
            _slopes(base, self._nothing(), 0.0, parameters)
            for _ in range(self.together.idle(sum(map(len, sides))))
        ]
        for at, parameter in enumerate(parameters):
            slopes = [each[at] for _, each in found if each]
            parameter.grad = reduce(torch.add, slopes) if slopes else None
        return sum(nats for nats, _ in found) / count

    def _nothing(self) -> Batch:
        """Two tokens, passed through a shared base for the others' sake."""
        ids = np.full(2, self.learner.base.encoder.end, np.int32)
        return make_batch(self.learner.base, [Block(ids, np.arange(2, dtype=np.int32), ids == ids)])

    def _shrink(self, longest: int) -> None:
        """Out of memory: half as many tokens at once, then the CPU, then give up."""
        state, base = self.progress, self.learner.base
        release(base)
        if state.micro_tokens > longest:
            state.micro_tokens = max(longest, state.micro_tokens // 2)
            state.notes.append(
                f"out of memory: batch halved to {state.micro_tokens} tokens at once"
            )
        elif base.device.where.type != "cpu" and self.together.size == 1:
            self.learner.move(on_cpu(base.device))
            state.notes.append("out of memory: moved to the CPU")
        else:
            raise OutOfMemory(
                "There is not enough memory for one block.",
                "Set training.block_tokens lower, or choose a smaller base.",
            )

    def _due_for_check(self) -> bool:
        step = self.progress.step
        return bool(self.validation) and (
            step % self.plan.check_every == 0 or step == self.progress.steps
        )

    def _check(self) -> bool:
        """Validate; keep the best; True when it is time to stop."""
        state = self.progress
        shared = self.together.shared  # then all score all, in the same passes
        mine = self.validation if shared else self.together.mine(self.validation)
        with self.learner.averaged(), self.learner.base.device.autocast():
            nats = sum(score(self.learner.base, mine, halve=not shared))
        total = torch.tensor([nats / self.together.size if shared else nats], dtype=torch.float64)
        self.together.add_up([total])
        value = float(total) / LN2 / sum(s.bytes for s in self.validation)
        best = _best(state)
        state.checks.append((state.step, value))
        if value < best:
            self.best, state.best_step = self.learner.snapshot(), state.step
        state.stale = state.stale + 1 if value > best * (1 + _WORSE) else 0
        return state.stale >= _PATIENCE

    def _fit_to_deadline(self) -> None:
        """Lower the number of steps to what the remaining time holds, validations included."""
        state = self.progress
        if self.plan.deadline is None or state.step < _CALIBRATION_STEPS:
            return
        run = self.clock() - self.began
        here = state.step - self._step_at_start
        left = (self.plan.deadline - self.clock()) * _SLACK
        can = state.step + max(0, int(left / max(run / max(1, here), 1e-6)))
        state.steps = self.together.same(max(state.step, min(self.plan.steps, can)))

    def _resume(self) -> None:
        self._step_at_start = 0
        if self.plan.folder is None:
            return
        first = self.together.first
        found = self.together.same(
            read_checkpoint(self.plan.folder, self.plan.job) if first else None
        )
        if found is None:
            if (self.plan.folder / DAMAGED).exists():
                self.progress.notes.append("Its checkpoint was damaged, so it began anew.")
            return
        if not self.learner.fits(found[1]):
            self.progress.notes.append("Its checkpoint is of other weights, so it began anew.")
            return
        fits, recipe = self.progress.micro_tokens, self.progress.recipe
        self.progress, tensors = found
        self.progress.recipe = recipe
        # Another card, or none, may hold less than where it was begun.
        self.progress.micro_tokens = min(fits, self.progress.micro_tokens)
        self._step_at_start = self.progress.step
        self.learner.restore(tensors)
        best = {n.removeprefix("best/"): t for n, t in tensors.items() if n.startswith("best/")}
        if best:
            delta = best.pop("embedding_delta", None)
            self.best = Adapter(self.learner.recipe.rank, self.learner.alpha, best, delta)
        self.mixture.skip(self.progress.position)

    def _save(self) -> None:
        if self.plan.folder is None or not self.together.first:
            return
        tensors = self.learner.state()
        if self.best is not None:
            tensors |= {f"best/{n}": t for n, t in self.best.tensors.items()}
            if self.best.embedding is not None:
                tensors["best/embedding_delta"] = self.best.embedding
        write_checkpoint(self.plan.folder, self.plan.job, self.progress, tensors)


def _tokens_that_fit(base: BaseModel, least: int, most: int) -> int:
    """Tokens of one forward and backward pass, between `least` and `most`."""
    config = base.model.config.get_text_config()
    layers = int(getattr(config, "num_hidden_layers", 12))
    hidden = int(getattr(config, "hidden_size", base.embedding.shape[1]))
    return max(least, min(most, int(_free_bytes(base) * _SHARE / (_PER_LAYER * layers * hidden))))


def _free_bytes(base: BaseModel) -> int:
    """Memory that could be taken now, on the device of the base."""
    where = base.device.where
    if where.type == "cuda":
        return int(torch.cuda.mem_get_info(where)[0])
    return int(psutil.virtual_memory().available)
