"""The fast decoder's common part: an in-place KV cache, and what runs layers over it.

A family (llama.py, gpt2.py) supplies embedding, blocks and head. Knows nothing about tokenizers,
sampling or requests. Sequences of one batch may differ in length.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaultgpt.arithmetic import Dtype, Linear, chunk_tokens, make_linear, stored_in
from vaultgpt.mirror.attention import KV, Step
from vaultgpt.mirror.head import Head
from vaultgpt.mirror.weights import Checkpoint, LoraFactors, Weights

if TYPE_CHECKING:
    from vaultgpt.bases.kinds import ModelConfig
    from vaultgpt.mirror.graphs import Graphs


class Cache(Protocol):
    """Keys and values of some rows; whoever holds it knows which positions are valid."""

    @property
    def rows(self) -> int:
        """Sequences side by side."""

    def nbytes(self) -> int:
        """Bytes held."""


class Model(Protocol):
    """A causal model for the engine, whatever computes it."""

    vocab: int  # rows of the head
    context: int  # tokens
    dtype: Dtype
    cost: float | None  # nats beside those of fp32, as a share of them, where it was measured

    @property
    def chunk(self) -> int:
        """Tokens that one prefill call should take at most (about 50 ms)."""

    def empty(self) -> Cache:
        """A cache of one row."""

    def prefill(self, cache: Cache, ids: list[int], start: int) -> None:
        """Compute positions start.. of a one-row cache; earlier ones are valid."""

    def peek(self, cache: Cache, ids: list[int], start: int) -> Tensor:
        """As prefill, and the logits after each of `ids`: fp32 [len(ids), vocab], on the CPU."""

    def step(
        self, cache: Cache, ids: list[int], positions: list[int], every: bool = True
    ) -> Tensor:
        """One token a row at its own position: logits fp32 [rows, vocab], on the CPU.

        Without `every` those of the model's seldom tokens may be left out, far below all others.
        """

    def stack(self, caches: list[tuple[Cache, int]], rows: int) -> Cache:
        """`rows` copies of each one-row cache's first positions, so many as stand beside it."""

    def keep(self, cache: Cache, rows: list[int]) -> Cache:
        """Only these rows, in this order."""

    def nbytes(self) -> int:
        """Bytes of weights, roughly."""


class LeanModel(ABC):
    """Prefill, step and cache for families that supply layers, `_hidden` and `_head`.

    `adapter` is merged into each weight as it is read. The layers come afterwards: by `hold`, or
    `read_anew` at every pass, so that a model in fp32 (`once`) can be looked at without being held.
    KeyError or ValueError when the checkpoint has other tensors than the family.
    """

    ends: tuple[str, ...] = ("vocab", "embedding", "head", "norm")  # what `_load_ends` sets

    layers_count: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    whole: LeanModel | None = None  # whose weights it uses, an adapter beside them
    own_bytes = 0
    exact: Tensor | None = None  # what fp32 gave on a sample when it was read
    graphs: Graphs | None = None  # steps captured on a GPU; of this voice alone
    delta: Tensor | None = None  # bf16 [vocab, hidden]: what is added to rows of the embedding

    def __init__(
        self,
        files: Checkpoint,
        adapter: LoraFactors | None,
        dtype: Dtype,
        device: torch.device,
        once: bool = False,
        like: LeanModel | None = None,
        seldom: Sequence[int] = (),
    ) -> None:
        """`like` has the same files, and lends its ends where no voice has changed them, if the
        same tokens are `seldom`."""
        self.seldom = tuple(seldom)
        self.device, self.dtype, self.once = device, dtype, once
        self.stored = stored_in(dtype, device)
        self.cost: float | None = None
        self.weights = Weights(files, adapter)
        self._shape(files.config)
        self.pristine = adapter is None or adapter.leaves_ends
        if like is not None and self._can_borrow(like):
            self._borrow_ends(like)
        else:
            before = set(self.weights.left)
            self._load_ends(files.config)
            self.of_ends = (before - self.weights.left, self.weights.parameters)
        self.layers: Iterable[Any] = []
        self.ready: Iterable[Any] = []

    def _can_borrow(self, like: LeanModel) -> bool:
        kind = (type(like), like.dtype, like.device)
        alike = kind == (type(self), self.dtype, self.device) and not self.once
        return alike and self.seldom == like.seldom and self.pristine and like.pristine

    def _borrow_ends(self, like: LeanModel) -> None:
        """A fifth of SmolLM2's numbers, and the larger part of what a voice would hold."""
        for name in self.ends:
            setattr(self, name, getattr(like, name))
        self.of_ends = like.of_ends
        self.weights.left -= like.of_ends[0]
        self.weights.parameters += like.of_ends[1]

    def read_layer(self, index: int) -> tuple[Any, Any]:
        """A layer, and as `_hidden` calls it. From several threads at once."""
        layer = self._layer(index)
        return layer, self._ready(layer)

    def hold(self, layers: Iterable[tuple[Any, Any]]) -> None:
        """These are all layers in their order, and nothing of the files may be left."""
        found = list(layers)
        self.layers, self.ready = ([pair[i] for pair in found] for i in (0, 1))
        self.parameters = self.weights.parameters
        if self.weights.left:
            raise ValueError("tensors of another architecture")
        del self.weights

    def read_anew(self, after: Callable[[int], None] = lambda _: None) -> None:
        """Layers are read when a pass uses them, each time; `after` is called once one is read."""

        def read(index: int) -> Any:
            layer = self._layer(index)
            after(index)
            return layer

        self.layers = self.ready = _Anew(read, self.layers_count)

    @abstractmethod
    def _shape(self, config: ModelConfig) -> None:
        """Set the numbers above from the configuration, and the names of tensors to pass over."""

    @abstractmethod
    def _load_ends(self, config: ModelConfig) -> None:
        """Read embedding, last norm and head."""

    @abstractmethod
    def _layer(self, index: int) -> Any:
        """Read one layer."""

    def _ready(self, layer: Any) -> Any:
        """The layer as `_hidden` calls it."""
        return layer

    @abstractmethod
    def _beside(self, layer: Any, index: int, adapter: LoraFactors) -> Any:
        """The layer with the adapter's factors beside its products. KeyError without them."""

    @abstractmethod
    def _hidden(self, ids: Tensor, step: Step, kv: KV) -> Tensor:
        """[rows, T] ids -> [rows, T, hidden], before the last norm."""

    @abstractmethod
    def _last(self, hidden: Tensor) -> Tensor:
        """The last norm, [rows, T, hidden]."""

    def _linear(self, weight: Tensor, bias: Tensor | None = None, **how: Any) -> Linear:
        """As make_linear."""
        return make_linear(weight, bias, self.dtype, self.device, once=self.once, **how)

    def beside(self, files: Checkpoint, adapter: LoraFactors) -> Self:
        """The same with an adapter, which is not merged: both use one copy of these weights.

        A token of pebble takes 2.9 ms so, and 2.6 merged; a voice 21 MB, and 50. KeyError for an
        adapter that leaves out a product.
        """
        model = copy.copy(self)
        model.whole, model.cost, model.graphs = self, None, None
        model.layers = [self._beside(each, i, adapter) for i, each in enumerate(self.layers)]
        model.ready = [self._ready(layer) for layer in model.layers]
        factors = sum(each.nbytes for pair in adapter.factors.values() for each in pair)
        model.own_bytes = factors
        model.pristine = adapter.leaves_ends
        if adapter.embedding is not None:
            model.weights = Weights(files, adapter)
            model._load_ends(files.config)
            del model.weights
            model.own_bytes += model.embedding.nbytes * 3 // 2
            half = adapter.embedding.to(self.device, torch.bfloat16)  # as our own files have it
            if torch.equal(self.embedding.float() + half.float(), model.embedding.float()):
                model.embedding, model.delta = self.embedding, half
        return model

    def _with_factors(self, whole: Linear, a: Tensor, b: Tensor) -> Linear:
        """`whole` and what the factors a [k, in] and b [out, k] add to it."""
        dtype = "float32" if self.dtype == "int8" else self.dtype
        down, up = (make_linear(each, None, dtype, self.device) for each in (a, b))
        return _Beside(whole, down, up)

    def _kept(self, weight: Tensor) -> Tensor:
        return weight.to(self.device, self.stored)

    def _keep_ends(self, embedding: Tensor, head: Tensor, folded: Tensor | None = None) -> None:
        """The tables of both ends; where products are packed the embedding, of which rows are only
        read, in 16 bits.

        A norm that is `folded` goes into the head in its place, whose input comes turned: in int8
        alone, where the embedding is a copy even if both are one table.
        """
        self.vocab = head.shape[0]
        rows = {"int8": torch.bfloat16, "float16": torch.float16}.get(self.dtype, self.stored)
        self.embedding = embedding.to(self.device, rows)
        if folded is not None:
            head.mul_(folded)
        seldom = self.seldom if self.device.type == "cpu" else ()
        self.head = Head(head, partial(self._linear, turned=folded is not None), seldom)

    def _embed(self, ids: Tensor) -> Tensor:
        rows = F.embedding(ids, self.embedding).to(self.stored)  # [rows, T, hidden]
        return rows if self.delta is None else rows.add_(F.embedding(ids, self.delta))

    @property
    def chunk(self) -> int:
        """Tokens of about 50 ms on one thread; a GPU takes whole prompts nearly.

        GPT-2 124M in int8, 256 tokens: 266 ms in chunks of 16, 123 in 64, 113 in 128.
        """
        return chunk_tokens(self.parameters, self.dtype, self.device)

    def nbytes(self) -> int:
        """Bytes of weights, roughly; beside a model that others use too, its own alone."""
        if self.whole is not None:
            return self.own_bytes
        size = {"int8": 1, "float16": 2}.get(self.dtype, self.stored.itemsize)
        return self.parameters * size + self.embedding.nbytes

    def empty(self) -> KV:
        """A cache of one row."""
        with torch.inference_mode():
            like = torch.empty(0, dtype=self.stored, device=self.device)
            heads = 2 * self.kv_heads
            return KV.empty(self.layers_count, like, heads, self.context, self.head_dim)

    def prefill(self, cache: Cache, ids: list[int], start: int) -> None:
        """Compute positions start.. of a one-row cache."""
        with torch.inference_mode():
            self._run(cache, ids, start)

    def peek(self, cache: Cache, ids: list[int], start: int) -> Tensor:
        """As prefill, with the logits fp32 [len(ids), vocab] after each token."""
        with torch.inference_mode():
            return self.head(self._last(self._run(cache, ids, start)))[0].float().cpu()

    def _run(self, cache: Cache, ids: list[int], start: int) -> Tensor:
        kv, count = _as_kv(cache), len(ids)
        kv.grow(start + count)
        step = Step(1, count, start, start + count, self.device, self.stored)
        return self._hidden(torch.tensor([ids], device=self.device), step, kv)

    def step(
        self, cache: Cache, ids: list[int], positions: list[int], every: bool = True
    ) -> Tensor:
        """One token a row at its own position: logits fp32 [rows, vocab], on the CPU."""
        with torch.inference_mode():
            kv = _as_kv(cache)
            if self.graphs is not None:
                return self.graphs.step(self, kv, ids, positions)
            return self.step_by_op(kv, ids, positions, every)

    def step_by_op(
        self, kv: KV, ids: list[int], positions: list[int], every: bool = True
    ) -> Tensor:
        """As `step`, each operation started by Python."""
        rows, seen = len(ids), max(positions) + 1
        kv.grow(seen)
        step = Step(rows, 1, min(positions), seen, self.device, self.stored)
        if step.start + 1 != seen:
            step.index = torch.tensor(positions, device=self.device)
            step.every = torch.arange(rows, device=self.device)
        tokens = torch.tensor(ids, device=self.device).unsqueeze(1)  # [rows, 1]
        hidden = self._last(self._hidden(tokens, step, kv))
        return self.head(hidden, every)[:, 0].float().cpu()

    def step_by_tensors(self, kv: KV, ids: Tensor, at: Tensor) -> Tensor:
        """As `step`, with no number that Python knows and the next token changes.

        ids and at int64 [rows], tokens and their positions; all of the cache is looked at. Logits
        fp32 [rows, vocab], all on the model's device.
        """
        step = Step(kv.rows, 1, 0, kv.capacity, self.device, self.stored, at)
        step.every = torch.arange(kv.rows, device=self.device)
        return self.head(self._last(self._hidden(ids.unsqueeze(1), step, kv)))[:, 0].float()

    def reserve(self, positions: int) -> object:
        """Be ready for so many. What is returned stays as it is, and must live while it is read."""
        return None

    def stack(self, caches: list[tuple[Cache, int]], rows: int) -> KV:
        """`rows` copies of each one-row cache's first positions, the first cache's rows first."""
        with torch.inference_mode():
            return KV.stacked([(_as_kv(cache), length) for cache, length in caches], rows)

    def keep(self, cache: Cache, rows: list[int]) -> KV:
        """Only these rows."""
        with torch.inference_mode():
            return _as_kv(cache).only(rows)


class _Anew:
    """Layers that are made when they are used and not kept."""

    def __init__(self, make: Callable[[int], Any], count: int) -> None:
        self._make, self._count = make, count

    def __iter__(self) -> Iterator[Any]:
        return map(self._make, range(self._count))


def _as_kv(cache: Cache) -> KV:
    assert isinstance(cache, KV)
    return cache


class _Beside(nn.Module):
    """A product, and what a low-rank one beside it adds."""

    def __init__(self, whole: Linear, down: Linear, up: Linear) -> None:
        super().__init__()
        # Of its own, with the same tensors: torch.jit.script writes to the attributes of what it
        # scripts, and another session may be scripting a voice beside the same weights.
        self.whole, self.down, self.up = copy.copy(whole), down, up

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.whole(x)
        return out.add_(self.up(self.down(x)))
