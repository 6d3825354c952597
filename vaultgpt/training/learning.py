"""The learning of a lesson: here, by several processes, or of one that came sealed from elsewhere.

Knows nothing about jobs, measuring or verdicts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vaultgpt.errors import TrainingError
from vaultgpt.files import write_atomic
from vaultgpt.settings import Training
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.checkpoint import Progress
from vaultgpt.training.device import Device, release
from vaultgpt.training.learner import Learner
from vaultgpt.training.lesson import Learned, Lesson, pack_learned, pack_lesson, unpack_lesson
from vaultgpt.training.loop import Loop, Plan
from vaultgpt.training.round import LEARNED, LESSON
from vaultgpt.training.sealing import seal, unseal
from vaultgpt.training.together import ALONE, Together
from vaultgpt.wire import Hear, ProgressEvent


@dataclass(frozen=True)
class Site:
    """Where a lesson is learned: the base's folder, and the settings of [training] for that."""

    base: Path
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    whole_params: int = Training.whole_params


def _learn(
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


def learn(
    base: BaseModel,
    lesson: Lesson,
    place: Site,
    folder: Path | None,
    job: str,
    stop: threading.Event,
    on_step: Callable[[Progress], None],
    together: Together = ALONE,
) -> Learned:
    """As _learn, handing the lesson to the other processes, which wait in `follow`."""
    if together.size > 1:
        packed = pack_lesson(lesson)
        together.same((place, folder, job, packed))
        lesson = unpack_lesson(packed)
    together = together.sharing(base.params, place.whole_params)
    learned = _learn(base, lesson, folder, job, stop, on_step, together)
    if together.shared:  # a part of the base is left: what comes after needs the whole
        base.model = load_base(place.base, base.device).model
    return learned


def follow(together: Together) -> None:
    """Learn beside the first process what that hands out."""
    place, folder, job, packed = together.same(_NOTHING)
    base = load_base(place.base, Device.choose(place.device, place.dtype, place.threads, together))
    together = together.sharing(base.params, place.whole_params)
    _learn(base, unpack_lesson(packed), folder, job, threading.Event(), lambda _: None, together)


_NOTHING: tuple[Site, Path | None, str, bytes] = (Site(Path()), None, "", b"")


def learn_sealed(
    folder: Path,
    base: Path,
    key: str,
    say: Hear,
    stop: threading.Event,
    together: Together = ALONE,
) -> None:
    """Learn the sealed lesson in `folder` and leave what was learned there, sealed by the same key.

    Nothing else is written, no checkpoint either: it would be the author's voice in clear.
    """
    try:
        sealed = (folder / LESSON).read_bytes()
    except OSError:
        raise TrainingError(
            "The lesson is gone from that machine.", "Run the round again."
        ) from None
    lesson = unpack_lesson(unseal(sealed, key))
    place = Site(base)
    loaded = load_base(base, Device.choose(place.device, place.dtype, place.threads, together))

    def on_step(progress: Progress) -> None:
        say(step_event(progress))

    learned = learn(loaded, lesson, place, None, "", stop, on_step, together)
    write_atomic(folder / LEARNED, seal(pack_learned(learned), key))


def step_event(progress: Progress) -> ProgressEvent:
    """What is told of a step."""
    return {
        "event": "progress",
        "phase": "train",
        "fraction": progress.step / max(1, progress.steps),
        "step": progress.step,
        "steps": progress.steps,
        "loss": progress.losses[-1],
        "tokens_per_s": progress.tokens / max(progress.seconds, 1e-9),
    }
