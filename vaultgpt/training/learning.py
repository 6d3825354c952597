"""What a round learns, and its learning: here, by several processes, or sealed from elsewhere.

A lesson is token blocks with masks, as bytes where it goes to another process. Knows nothing about
jobs, measuring or verdicts.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vaultgpt.corpus.documents import Block, Document
from vaultgpt.errors import TrainingError
from vaultgpt.files import write_atomic
from vaultgpt.settings import Training
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.checkpoint import LastWeights, Progress
from vaultgpt.training.choose import Recipe
from vaultgpt.training.device import Device, release
from vaultgpt.training.distributed import ALONE, Together
from vaultgpt.training.evaluate import Segment
from vaultgpt.training.learner import Learner
from vaultgpt.training.loop import Loop, Plan
from vaultgpt.training.lora import Adapter
from vaultgpt.training.round import LEARNED, LESSON
from vaultgpt.training.sealing import seal, unseal
from vaultgpt.training.streams import Mixture, Stored
from vaultgpt.wire import Hear, ProgressEvent

_ABOUT = "about"  # the tensor that holds all that is no tensor, as JSON
_DAMAGED = TrainingError("What came from another process can't be read.", "Run the round again.")


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


class _TokenRow(Protocol):
    """A block or a document."""

    @property
    def token_ids(self) -> NDArray[np.int32]: ...
    @property
    def loss_mask(self) -> NDArray[np.bool_]: ...


class _Parcel:
    """Tensors by name and facts, to be written or as they were read."""

    def __init__(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.tensors, self.facts = tensors, facts

    def written(self) -> bytes:
        about = json.dumps(self.facts, allow_nan=False).encode()
        kept = {name: t.contiguous() for name, t in self.tensors.items()}
        kept[_ABOUT] = torch.frombuffer(bytearray(about), dtype=torch.uint8)
        return zlib.compress(save(kept), 1)  # positions and masks go to a hundredth

    @staticmethod
    def read(data: bytes) -> _Parcel:
        tensors = load(zlib.decompress(data))
        return _Parcel(tensors, json.loads(tensors.pop(_ABOUT).numpy().tobytes()))

    def put_rows(self, name: str, rows: Sequence[_TokenRow]) -> None:
        """Token ids and loss masks of blocks or documents."""
        self.put_parts(f"{name}/ids", [row.token_ids for row in rows])
        self.put_parts(f"{name}/mask", [row.loss_mask.astype(np.uint8) for row in rows])

    def rows(self, name: str) -> list[tuple[NDArray[np.int32], NDArray[np.bool_]]]:
        masks = [mask.astype(np.bool_) for mask in self.parts(f"{name}/mask")]
        return list(zip(self.parts(f"{name}/ids"), masks, strict=True))

    def put_parts(self, name: str, parts: Sequence[NDArray[Any]]) -> None:
        self.tensors[f"{name}/sizes"] = torch.tensor([len(p) for p in parts], dtype=torch.int64)
        joined = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        self.tensors[name] = torch.from_numpy(joined)

    def parts(self, name: str) -> list[NDArray[Any]]:
        sizes = self.tensors[f"{name}/sizes"].tolist()
        return [part.numpy() for part in torch.split(self.tensors[name], sizes)] if sizes else []

    def put_adapter(self, name: str, adapter: Adapter | None) -> None:
        if adapter is None:
            return
        self.facts[name] = [adapter.rank, adapter.alpha]
        self.tensors |= {f"{name}/{n}": t for n, t in adapter.tensors.items()}
        if adapter.embedding is not None:
            self.tensors[f"{name}.embedding"] = adapter.embedding

    def adapter(self, name: str) -> Adapter | None:
        if name not in self.facts:
            return None
        rank, alpha = map(int, self.facts[name])
        return Adapter(rank, alpha, self.under(name), self.tensors.get(f"{name}.embedding"))

    def under(self, name: str) -> dict[str, Tensor]:
        start = f"{name}/"
        return {n.removeprefix(start): t for n, t in self.tensors.items() if n.startswith(start)}

    def put_last(self, last: LastWeights | None) -> None:
        if last is None:
            return
        self.put_adapter("last", last.weights)
        self.tensors |= {f"moments/{n}": t for n, t in last.moments.items()}
        self.facts["course"] = [last.tokens, last.weight, last.steps, last.batch_tokens]

    def last(self) -> LastWeights | None:
        weights = self.adapter("last")
        if weights is None:
            return None
        tokens, weight, steps, batch = self.facts["course"]
        return LastWeights(
            weights, int(tokens), float(weight), self.under("moments"), int(steps), int(batch)
        )


def pack_lesson(lesson: Lesson) -> bytes:
    """The blocks of all its steps, and where it begins; its mixture is spent."""
    batch = lesson.recipe.batch_tokens
    blocks = [block for _ in range(lesson.steps) for block in lesson.mixture.step(batch)]
    facts = {
        "seed": lesson.seed,
        "recipe": asdict(lesson.recipe),
        "steps": lesson.steps,
        "check_every": lesson.check_every,
        "seconds": lesson.seconds,
        "bytes": [segment.bytes for segment in lesson.validation],
    }
    parcel = _Parcel({}, facts)
    parcel.put_rows("blocks", blocks)
    parcel.put_parts("blocks/positions", [block.position_ids for block in blocks])
    parcel.put_rows("looked", [segment.document for segment in lesson.validation])
    parcel.put_adapter("parent", lesson.parent)
    parcel.put_last(lesson.last)
    return parcel.written()


def unpack_lesson(data: bytes) -> Lesson:
    """The inverse. TrainingError."""
    try:
        parcel = _Parcel.read(data)
        facts, rows = parcel.facts, parcel.rows("blocks")
        blocks = [
            Block(ids, at, mask)
            for (ids, mask), at in zip(rows, parcel.parts("blocks/positions"), strict=True)
        ]
        looked = [
            _segment(ids, mask, int(size))
            for (ids, mask), size in zip(parcel.rows("looked"), facts["bytes"], strict=True)
        ]
        return Lesson(
            seed=int(facts["seed"]),
            recipe=Recipe(**facts["recipe"]),
            steps=int(facts["steps"]),
            check_every=int(facts["check_every"]),
            seconds=facts["seconds"],
            mixture=Mixture([(Stored(blocks), 1.0)]),
            validation=looked,
            parent=parcel.adapter("parent"),
            last=parcel.last(),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, zlib.error, SafetensorError):
        raise _DAMAGED from None


def _segment(ids: NDArray[np.int32], mask: NDArray[np.bool_], size: int) -> Segment:
    """What validation reads of one: neither whose it is nor where each byte stands."""
    document = Document(ids, mask, np.zeros(len(ids), np.int32), (0, 0))
    return Segment("", (), None, document, document, size)


def _pack_learned(learned: Learned) -> bytes:
    """An adapter, how it went and on what."""
    parcel = _Parcel({}, {"progress": asdict(learned.progress), "notes": learned.notes})
    parcel.facts["on"] = [learned.device, learned.dtype, learned.threads, learned.packed]
    parcel.put_adapter("adapter", learned.adapter)
    parcel.put_last(learned.last)
    return parcel.written()


def unpack_learned(data: bytes) -> Learned:
    """The inverse. TrainingError, also for weights that are no numbers."""
    try:
        parcel = _Parcel.read(data)
        adapter = parcel.adapter("adapter")
        device, dtype, threads, packed = parcel.facts["on"]
        if adapter is None or not all(t.isfinite().all() for t in parcel.tensors.values()):
            raise _DAMAGED
        return Learned(
            adapter,
            parcel.last(),
            Progress.from_json(parcel.facts["progress"]),
            str(device),
            str(dtype),
            int(threads),
            bool(packed),
            [str(note) for note in parcel.facts["notes"]],
        )
    except (KeyError, TypeError, ValueError, RuntimeError, zlib.error, SafetensorError):
        raise _DAMAGED from None


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
    set; TrainingError."""
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
    folder: Path, base: Path, key: str, say: Hear, stop: threading.Event, together: Together = ALONE
) -> None:
    """Learn the sealed lesson in `folder` and leave what was learned there, sealed by the same key.

    Nothing else is written, no checkpoint either: it would be the author's voice in clear."""
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
    write_atomic(folder / LEARNED, seal(_pack_learned(learned), key))


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
