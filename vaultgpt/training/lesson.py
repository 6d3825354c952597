"""What is to be learned as token blocks, and the learning of it: here, or on another machine alike.

A lesson holds no text, name, path or id; its blocks say all to whoever has the base's tokenizer.
Knows nothing about jobs, measuring or how a lesson travels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vaultgpt.training.base import BaseModel
from vaultgpt.training.checkpoint import Progress
from vaultgpt.training.choose import Recipe
from vaultgpt.training.device import release
from vaultgpt.training.evaluate import Segment
from vaultgpt.training.last_weights import LastWeights
from vaultgpt.training.learner import Learner
from vaultgpt.training.loop import Loop, Plan
from vaultgpt.training.lora import Adapter
from vaultgpt.training.streams import Mixture
from vaultgpt.training.together import ALONE, Together


@dataclass(frozen=True)
class Lesson:
    """All that learning takes beside the base."""

    seed: int
    recipe: Recipe
    steps: int
    check_every: int  # steps between validations
    seconds: float | None  # that it may take
    mixture: Mixture
    validation: Sequence[Segment]
    parent: Adapter | None  # what it goes on from, and where its training stood
    last: LastWeights | None


@dataclass(frozen=True)
class Learned:
    """What came of it, and on what."""

    adapter: Adapter
    last: LastWeights | None  # where the next round goes on
    progress: Progress
    device: str
    dtype: str
    threads: int
    packed: bool
    notes: list[str]  # of the base there


def learn(
    base: BaseModel,
    lesson: Lesson,
    folder: Path | None,
    job: str,
    stop: threading.Event,
    on_step: Callable[[Progress], None],
    together: Together = ALONE,
) -> Learned:
    """Train to the end, going on from a checkpoint of this very `job` in `folder`; None keeps none.

    The base is as it was afterwards, but for one that is shared out. loop.Stopped when `stop` is
    set; TrainingError.
    """
    learner = Learner(
        base, lesson.recipe, lesson.seed, lesson.parent, lesson.last, shared=together.shared
    )
    if together.shared:
        together.share_out(base.model, base.device.where.type)
        base.notes.append(f"each of {together.size} processes kept a part of the base (FSDP)")
        release(base)
    deadline = None if lesson.seconds is None else time.monotonic() + lesson.seconds
    plan = Plan(lesson.steps, lesson.check_every, deadline, folder, job)
    loop = Loop(
        learner,
        lesson.mixture,
        lesson.validation,
        plan,
        stop=stop,
        on_step=on_step,
        together=together,
    )
    adapter = loop.run()
    last = loop.last(adapter)
    learner.close()
    return Learned(
        adapter.as_saved(),
        last,
        loop.progress,
        base.device.name,
        str(base.device.dtype).removeprefix("torch."),
        base.device.threads,
        base.packs,
        [*base.notes, *loop.progress.notes],
    )
