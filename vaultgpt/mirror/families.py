"""Which forward pass a base gets, and in which arithmetic it may write.

Knows nothing about requests.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from vaultgpt.arithmetic import Dtype, sixteen_bits
from vaultgpt.errors import BaseModelError
from vaultgpt.mirror import gpt2, llama
from vaultgpt.mirror.lean import LeanModel, Model
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.mirror.weights import Checkpoint, LoraFactors

_PACKING = 4  # threads at most that put layers into int8 or fp16
_MOST_COST = 0.005  # of the nats in fp32 that int8 may add; beyond, 16 bits write


class Commons:
    """What belongs to a base and to no author, read once for several engines of one process.

    Kept while one of them uses it. Who is alone on a base has nothing to share and merges its
    voice: a token of SmolLM2-135M takes 11.4 ms so, and 14.8 beside it. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: WeakValueDictionary[tuple[object, ...], LeanModel] = WeakValueDictionary()
        self._words: WeakValueDictionary[tuple[object, ...], Vocabulary] = WeakValueDictionary()
        self._joining = threading.Lock()  # the other one is held while a base is read
        self._users: WeakKeyDictionary[object, Path] = WeakKeyDictionary()
        self._calls: WeakKeyDictionary[object, Callable[[], None]] = WeakKeyDictionary()

    def join(self, user: object, base: Path, company: Callable[[], None]) -> None:
        """`user` writes on `base` from now on; `company` is called when another one comes there."""
        with self._joining:
            self._users[user], self._calls[user] = base, company
            for other in self._beside(user):
                self._calls[other]()

    def alone(self, user: object) -> bool:
        """Whether no other one writes on its base."""
        with self._joining:
            return not self._beside(user)

    def _beside(self, user: object) -> list[object]:
        base = self._users.get(user)
        return [each for each, where in self._users.items() if where == base and each is not user]

    def vocabulary(self, base: Path) -> Vocabulary:
        """The tokenizer of a base. BaseModelError."""
        key = stamps(base)
        with self._lock:
            if (found := self._words.get(key)) is None:
                found = self._words[key] = Vocabulary.load(base)
            return found

    def voice(
        self, files: Checkpoint, generation: Path | None, dtype: Dtype, device: torch.device
    ) -> LeanModel | None:
        """A voice beside the base's weights, or the base; None where it must be merged."""
        key = (dtype, device, *stamps(files.folder))
        with self._lock:
            if (whole := self._models.get(key)) is None:
                whole = _lean(files, None, dtype, device)
                if whole is None:
                    return None
                self._models[key] = whole
        if generation is None:
            return whole
        adapter = LoraFactors(generation)
        try:
            voice = whole.beside(files, adapter)
        except (KeyError, RuntimeError):  # it leaves a product out, or has another base's shapes
            return None
        return voice if adapter.used else None


def stamps(base: Path) -> tuple[object, ...]:
    """What tells a base's files from others that took their place since: an upgrade, one fetched
    anew. A voice is verified against those on the disk and must not write beside older ones."""
    found = (entry.stat() for entry in os.scandir(base) if entry.is_file())
    return (base, *sorted((s.st_ino, s.st_size, s.st_mtime_ns) for s in found))


def build(
    base: Path,
    generation: Path | None,
    dtype: Dtype,
    device: torch.device,
    sample: Sequence[int] = (),
    commons: Commons | None = None,
    like: Model | None = None,
    seldom: Sequence[int] = (),
) -> Model:
    """The model of `base` with `generation`'s adapter merged in fp32, then cast or quantised.

    With `commons` the adapter stays beside weights that others use too, where that can be. With
    a `sample` of tokens int8 is held against fp32 on them, and 16 bits write where it costs
    more than MOST_COST. `like` is another voice of the same files, which lends what no voice
    changes. `seldom` tokens' logits may be left out of a step."""
    files = Checkpoint(base)
    try:
        model = _build(files, generation, dtype, device, sample, commons, like, seldom)
        if dtype == "int8" and sample:
            if model.cost is None:  # else somebody who shares it asked before
                model.cost = _cost(files, generation, model, list(sample))
            if model.cost > _MOST_COST:
                del model  # before the next one takes its memory
                bits = sixteen_bits(device)
                model = _build(files, generation, bits, device, (), commons, None, seldom)
        return model
    except torch.OutOfMemoryError:
        raise BaseModelError(
            "The base does not fit into the device's memory.",
            "Set mirror.device to cpu, or choose a smaller base.",
        ) from None
    finally:
        files.close()


def _build(
    files: Checkpoint,
    generation: Path | None,
    dtype: Dtype,
    device: torch.device,
    sample: Sequence[int],
    commons: Commons | None,
    like: Model | None,
    seldom: Sequence[int],
) -> Model:
    if commons is not None and (voice := commons.voice(files, generation, dtype, device)):
        return voice
    adapter = LoraFactors(generation) if generation else None
    like = like if isinstance(like, LeanModel) else None
    model: Model | None = _lean(files, adapter, dtype, device, sample, like, seldom)
    if model is None:
        from vaultgpt.mirror.anymodel import AnyModel

        adapter = LoraFactors(generation) if generation else None  # the first may be half used
        model = AnyModel(files, adapter, dtype, device, sample)
    if adapter:
        adapter.finish()
    return model


def _lean(
    files: Checkpoint,
    adapter: LoraFactors | None,
    dtype: Dtype,
    device: torch.device,
    sample: Sequence[int] = (),
    like: LeanModel | None = None,
    seldom: Sequence[int] = (),
) -> LeanModel | None:
    """None where no lean forward pass has this architecture. With a `sample` int8 knows what fp32
    gives on it."""
    try:
        if (kind := _kind(files)) is None:
            return None
        model = kind(files, adapter, dtype, device, like=like, seldom=seldom)
        if sample and dtype == "int8":
            _read_beside_exact(model, files, adapter, list(sample))
        else:
            _read_all(model)
        return model
    except (KeyError, ValueError):  # tensors of another architecture
        return None


def _kind(files: Checkpoint) -> type[LeanModel] | None:
    if llama.fits(files.config):
        return llama.Llama
    return gpt2.GPT2 if gpt2.fits(files.config) else None


def _exact(files: Checkpoint, adapter: LoraFactors | None) -> LeanModel:
    """The same in fp32, whose layers are read one by one and never held."""
    kind = _kind(files)
    assert kind is not None  # it was lean in int8
    return kind(files, adapter, "float32", torch.device("cpu"), once=True)


def _at_once() -> int:
    """Layers that are packed at a time: each takes a processor."""
    return max(1, min(_PACKING, torch.get_num_threads()))


@contextlib.contextmanager
def _packers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that pack, each on one processor; what is left is the caller's.

    With all of torch's threads behind each of them they wait for each other: SmolLM2-135M took
    twice as long on two busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - count))
    try:
        with ThreadPoolExecutor(count, "packing", torch.set_num_threads, (1,)) as packing:
            yield packing
    finally:
        torch.set_num_threads(threads)  # those of this thread, and of any that comes


def _read_all(model: LeanModel) -> None:
    """Read `model`'s layers, on the CPU several at once: packing one takes one processor."""
    every = range(model.layers_count)
    if model.device.type != "cpu":
        model.hold(map(model.read_layer, every))
        return
    with _packers(_at_once()) as packing:
        model.hold(packing.map(model.read_layer, every))


def _read_beside_exact(
    model: LeanModel, files: Checkpoint, adapter: LoraFactors | None, sample: list[int]
) -> None:
    """Read `model`'s layers, and what fp32 gives on the sample: `exact`, [len(sample), vocab].

    fp32 reads and merges each product, and while it computes, other threads pack: of SmolLM2-135M's
    1.7 s of one processor 0.5 are fp32's, and on two busy cores all took 1.4 (one packing: 1.85).
    """
    exact, made = _exact(files, adapter), list[Future[tuple[Any, Any]]]()
    exact.weights.hands = model.weights.takes = {}
    most = _at_once()
    with _packers(most) as packing:

        def packed(index: int) -> None:
            if index >= most:
                made[index - most].result()  # so many layers, and one, are held in fp32
            made.append(packing.submit(model.read_layer, index))

        exact.read_anew(packed)
        model.exact = exact.peek(exact.empty(), sample, 0)
        model.hold(each.result() for each in made)


def _cost(files: Checkpoint, generation: Path | None, model: Model, sample: list[int]) -> float:
    """Nats a token that `model`'s arithmetic adds to fp32's on `sample`, as a share of those.

    What it adds on average is the divergence of its chances from fp32's, which a few dozen tokens
    tell better than their own nats do."""
    exact: Tensor | None = getattr(model, "exact", None)  # from when it was read
    if exact is None:  # several use it
        whole = _exact(files, LoraFactors(generation) if generation else None)
        whole.read_anew()
        exact = whole.peek(whole.empty(), sample, 0)
    elif isinstance(model, LeanModel):
        model.exact = None
    right = exact[:-1].log_softmax(-1)  # [len(sample) - 1, vocab]
    ours = model.peek(model.empty(), sample, 0)[:-1].log_softmax(-1)
    added = F.kl_div(ours, right, reduction="sum", log_target=True)
    nats = F.nll_loss(right, torch.tensor(sample[1:]), reduction="sum")
    return float(added / nats)
