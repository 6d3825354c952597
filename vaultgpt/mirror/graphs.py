"""A token's step captured once and started as a whole: CUDA graphs for the lean decoder.

On a GPU a small model's step waits for Python, which starts hundreds of operations one by one.
Each captured step is held against the same one op by op before it writes. Knows nothing about
families, voices or requests.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Protocol

import torch
from torch import Tensor

from vaultgpt.mirror.attention import KV
from vaultgpt.mirror.lean import LeanModel

_SMALLEST = 512  # positions; caches of captured steps have these, or twice, four times as many
_BYTES = 512 << 20  # of all their caches, of one voice
_MOST = 16  # captured steps of one voice
_WARM_UPS = 2  # steps before a capture: libraries choose their kernels and take their workspace
# Beside the step op by op, as a share of the norm: attention may be another kernel. By a mask in
# place of a cut, bf16 on a CPU: SmolLM2 1.8 %, Gemma 3 270M 1.6 %, pebble 0.6 %; fp32 7e-7.
_ROUNDING = {torch.float32: 1e-3, torch.float16: 0.01, torch.bfloat16: 0.05}


class _Graph(Protocol):
    """What remembers the operations of a step, each with the tensors and numbers it had."""

    def capture(self, step: Callable[[], Tensor]) -> Tensor:
        """Run `step` and remember it; the tensor that every `replay` writes its result to."""

    def replay(self) -> None:
        """The same operations on the same tensors."""


class _CudaGraph:
    """A graph on a GPU. Those of one `pool` share memory, which goes with the last of them."""

    def __init__(self, device: torch.device, pool: Any) -> None:
        self._device, self._pool, self._graph = device, pool, torch.cuda.CUDAGraph()

    def capture(self, step: Callable[[], Tensor]) -> Tensor:
        """RuntimeError where it can't be done. Other threads may use the GPU meanwhile."""
        beside = _side_stream(self._device)
        # The outer one is left again even where a capture fails: `graph` stays on its stream then.
        with torch.cuda.device(self._device), torch.cuda.stream(beside):
            torch.cuda.synchronize()
            for _ in range(_WARM_UPS):
                step()
            with torch.cuda.graph(self._graph, self._pool, beside, "thread_local"):
                return step()

    def replay(self) -> None:
        """On the current stream."""
        self._graph.replay()


@lru_cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures: matrix products keep a workspace for every stream they ever had."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class _CapturedStep:
    """A step of so many rows over a cache of so many positions, which one KV lives in at a time."""

    def __init__(self, model: LeanModel, rows: int, capacity: int, graph: _Graph) -> None:
        self._size = _cache_bytes(model, rows, capacity)
        shape = (model.layers_count, rows, 2 * model.kv_heads, capacity, model.head_dim)
        whole = torch.zeros(shape, dtype=model.stored, device=model.device)
        self._kv = KV(list(whole.unbind()))
        self._given = torch.zeros(2, rows, dtype=torch.int64, device=model.device)
        self._held = model.reserve(capacity)  # else it is freed when a longer text needs more
        self._user: Callable[[], KV | None] = lambda: None
        self._rounding = _ROUNDING[model.stored]
        self._graph = graph
        ids, at = self._given
        self._logits = graph.capture(lambda: model.step_by_tensors(self._kv, ids, at))

    def nbytes(self) -> int:
        """Bytes of the cache."""
        return self._size

    def fault(self, kv: KV, ids: list[int], positions: list[int], logits: Tensor) -> str:
        """What it does otherwise than the step that gave `logits` and left `kv`; "" for nothing."""
        self._copy(kv)
        every, at = torch.arange(len(ids)), torch.tensor(positions)
        for layer in self._kv.layers:
            layer[every, :, at] = 0.0  # what is compared is what it writes there
        found = self.run(ids, positions)
        off = [_off(*(each - each.mean(-1, keepdim=True) for each in (found, logits)))]
        both = list(zip(self._kv.layers, kv.layers, strict=True))
        off += [_off(mine[every, :, at], its[every, :, at]) for mine, its in both]
        if not all(each <= self._rounding for each in off):  # as for what is no number
            return f"a captured step was {100 * max(off):.2g} % off"
        count = min(kv.capacity, self._kv.capacity)
        for mine, its in both:
            mine[every, :, at] = its[every, :, at]
            if not torch.equal(mine[:, :, :count], its[:, :, :count]):
                return "a captured step wrote to a place that is not its own"
        return ""

    def take_in(self, kv: KV) -> None:
        """Let `kv` live in this step's cache; the one that lives there moves out."""
        if kv.layers is self._kv.layers:
            return
        before = self._user()
        if before is not None and before.layers is self._kv.layers:
            before.layers = [layer.clone() for layer in before.layers]
        self._copy(kv)
        kv.layers = self._kv.layers
        self._user = weakref.ref(kv)

    def _copy(self, kv: KV) -> None:
        count = min(kv.capacity, self._kv.capacity)
        for mine, its in zip(self._kv.layers, kv.layers, strict=True):
            mine.zero_()  # hidden keys count for nothing, as long as they are numbers
            mine[:, :, :count] = its[:, :, :count]

    def run(self, ids: list[int], positions: list[int]) -> Tensor:
        """The next token of every row: logits fp32 [rows, vocab], on the CPU."""
        self._given.copy_(torch.tensor([ids, positions]))
        self._graph.replay()
        return self._logits.to("cpu", copy=True)


class Graphs:
    """The captured steps of one voice, by rows and positions; op by op where there can be none."""

    def __init__(self, make: Callable[[], _Graph]) -> None:
        self.refused = ""  # why all steps are op by op
        self._make = make
        self._steps: OrderedDict[tuple[int, int], _CapturedStep] = OrderedDict()

    @staticmethod
    def on(device: torch.device) -> Graphs | None:
        """Of a voice on a device; None on one that has none."""
        if device.type != "cuda":
            return None
        return Graphs(partial(_CudaGraph, device, torch.cuda.graph_pool_handle()))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Rows and positions of what is captured, the last used last."""
        return list(self._steps)

    def step(self, model: LeanModel, kv: KV, ids: list[int], positions: list[int]) -> Tensor:
        """One token a row at its own position: logits fp32 [rows, vocab], on the CPU."""
        seen = max(positions) + 1
        shape = (len(ids), _capacity(max(seen, kv.capacity), model.context))
        if self.refused or seen > shape[1] or _cache_bytes(model, *shape) > _BYTES:
            return model.step_by_op(kv, ids, positions)
        if (found := self._steps.get(shape)) is None:
            return self._first(model, shape, kv, ids, positions)
        self._steps.move_to_end(shape)
        found.take_in(kv)
        return found.run(ids, positions)

    def _first(
        self, model: LeanModel, shape: tuple[int, int], kv: KV, ids: list[int], positions: list[int]
    ) -> Tensor:
        """A step op by op, and one captured beside it, which may write if it does the same."""
        logits = model.step_by_op(kv, ids, positions)
        try:
            made = _CapturedStep(model, *shape, self._make())
            self.refused = made.fault(kv, ids, positions, logits)
        except Exception as error:  # a driver, a torch or a card that can't: slower, and the same
            self.refused = f"capturing a step failed ({type(error).__name__})"
        if self.refused:
            self._steps.clear()
            return logits
        made.take_in(kv)
        self._steps[shape] = made
        # Only now: a pool that lost its last graph takes no new one before its memory is freed.
        while len(self._steps) > _MOST or sum(s.nbytes() for s in self._steps.values()) > _BYTES:
            self._steps.popitem(last=False)
        return logits


def _capacity(positions: int, context: int) -> int:
    """Of the least cache that holds so many."""
    capacity = _SMALLEST
    while capacity < positions:
        capacity *= 2
    return min(capacity, context)


def _cache_bytes(model: LeanModel, rows: int, capacity: int) -> int:
    numbers = model.layers_count * rows * 2 * model.kv_heads * capacity * model.head_dim
    return numbers * model.stored.itemsize


def _off(found: Tensor, wanted: Tensor) -> float:
    """How far the one is from the other, as a share of it."""
    found, wanted = found.float(), wanted.float()
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-12))
