"""What is to be learned as token blocks, what came of it, and both as bytes for another process.

A lesson holds no text, name, path or id; its blocks say all to whoever has the base's tokenizer. In
bytes it is tensors and numbers alone, never a pickle. Knows nothing about how it is learned.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vaultgpt.corpus.documents import Block, Document
from vaultgpt.errors import TrainingError
from vaultgpt.training.checkpoint import Progress, progress_from_json
from vaultgpt.training.choose import Recipe
from vaultgpt.training.evaluate import Segment
from vaultgpt.training.last_weights import LastWeights
from vaultgpt.training.lora import Adapter
from vaultgpt.training.streams import Mixture, Stored

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


def pack_learned(learned: Learned) -> bytes:
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
            progress_from_json(parcel.facts["progress"]),
            str(device),
            str(dtype),
            int(threads),
            bool(packed),
            [str(note) for note in parcel.facts["notes"]],
        )
    except (KeyError, TypeError, ValueError, RuntimeError, zlib.error, SafetensorError):
        raise _DAMAGED from None
