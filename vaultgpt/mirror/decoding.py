"""The token loop of one request: lanes of models, a row for each alternative, step after step.

A lane is one run of a model over one variant of the prompt: under the header, without it (tag
strength), or the base beside the adapter (voice strength). Prefilled prompts are kept for the next
request. Knows nothing about text, but for the chances of a prompt's own tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from time import perf_counter

import numpy as np
import numpy.typing as npt

from vaultgpt.mirror.answer import Answer
from vaultgpt.mirror.lean import Cache, Model
from vaultgpt.mirror.sampling import Logits, log_softmax
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.wire import Piece, Sampling, TokenChance

_Rows = npt.NDArray[np.float32]  # [rows, vocab]
_Key = tuple[str, str]  # generation, variant
_ENTRIES = 6
_BYTES = 512 << 20


@dataclass
class _Prefix:
    """A one-row cache and the tokens whose positions in it are valid."""

    key: _Key
    cache: Cache
    ids: list[int] = field(default_factory=list)


class Cancelled(Exception):
    """The request was cancelled; caught by the engine."""


class PrefixStore:
    """The last few prefixes, least recently used first out.

    Two engines shipped the bug of reusing a prefix after the adapter changed; here the generation
    is part of the key, and a changed one is never looked at.
    """

    def __init__(self, entries: int = _ENTRIES, limit_bytes: int = _BYTES) -> None:
        self.entries, self.limit_bytes = entries, limit_bytes
        self.share: Callable[[], float] = lambda: 1.0  # of limit_bytes, where several have stores
        self._kept: list[_Prefix] = []

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget everything (another base)."""
        self._kept.clear()

    def drop(self, generations: set[str]) -> None:
        """Forget the prefixes of these generations."""
        self._kept = [p for p in self._kept if p.key[0] not in generations]

    def fill(
        self, key: _Key, model: Model, ids: list[int], cancelled: Callable[[], bool]
    ) -> tuple[_Prefix, int]:
        """A prefix that holds exactly `ids`, and how many of them were found.

        Only what is missing is computed, in chunks between which `cancelled` is asked. Cancelled
        is raised then; what was computed stays for the next request.
        """
        prefix, found = self._take(key, model, ids)
        del prefix.ids[found:]
        while len(prefix.ids) < len(ids):
            if cancelled():
                raise Cancelled
            part = ids[len(prefix.ids) : len(prefix.ids) + model.chunk]
            model.prefill(prefix.cache, part, len(prefix.ids))
            prefix.ids += part
        return prefix, found

    def _take(self, key: _Key, model: Model, ids: list[int]) -> tuple[_Prefix, int]:
        best, found = None, 0
        for prefix in self._kept:
            if prefix.key == key and (common := _common(prefix.ids, ids)) > found:
                best, found = prefix, common
        if best is None:
            best = _Prefix(key, model.empty())
        elif found < len(best.ids) // 2 and found < len(ids):
            # Another note that shares the opening only: leave that one its own.
            best = _Prefix(key, model.stack([(best.cache, found)], 1), best.ids[:found])
        self._kept = [p for p in self._kept if p is not best]
        self._kept.append(best)
        self._trim()
        return best, found

    def _trim(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > self.entries
            or sum(p.cache.nbytes() for p in self._kept) > self.limit_bytes * self.share()
        ):
            self._kept.pop(0)


def _common(a: list[int], b: list[int]) -> int:
    count = min(len(a), len(b))
    if a[:count] == b[:count]:
        return count
    return next(i for i in range(count) if a[i] != b[i])


def prompt_chances(
    model: Model,
    vocabulary: Vocabulary,
    ids: list[int],
    head: int,
    most: int,
    barred: Logits,
    cancelled: Callable[[], bool],
) -> tuple[TokenChance, ...]:
    """Of each of `ids` from `head` on; what stands before them is read and not told, nor are
    `barred` tokens [vocab] among the likeliest."""
    cache, told = model.empty(), []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for start in range(0, len(ids) - 1, model.chunk):
        if cancelled():
            break
        part = ids[start : min(start + model.chunk, len(ids) - 1)]
        rows = model.peek(cache, part, start).numpy()
        for i, row in enumerate(rows, start + 1):
            if i >= head:
                text = decoder.decode(vocabulary.bytes_of([ids[i]]))
                chance = vocabulary.chance(log_softmax(row), ids[i], most, barred)
                told.append(replace(chance, text=text))
    return tuple(told)


@dataclass
class Lane:
    """A model, its prompt's tokens, and the one-row prefix that holds all but the last of them."""

    model: Model
    ids: list[int]
    prefix: _Prefix


@dataclass
class _LaneBatch:
    """Lanes of one model, which are stepped at once: the first lane's rows, then the next one's.

    Weights are read once for all of them: a tag strength costs a third of the speed, not half.
    """

    model: Model
    lanes: list[Lane]
    cache: Cache  # the only lane's own prefix for a single row

    @staticmethod
    def of(lanes: list[Lane], rows: int) -> _LaneBatch:
        model = lanes[0].model
        if len(lanes) == rows == 1:
            return _LaneBatch(model, lanes, lanes[0].prefix.cache)
        caches = [(lane.prefix.cache, len(lane.ids) - 1) for lane in lanes]
        return _LaneBatch(model, lanes, model.stack(caches, rows))

    def step(self, rows: list[Answer], every: bool) -> list[_Rows]:
        """Logits of each lane, after the last token of every row."""
        last = [a.tail[-1] if a.tail else lane.ids[-1] for lane in self.lanes for a in rows]
        at = [len(lane.ids) - 1 + len(a.tail) for lane in self.lanes for a in rows]
        logits: _Rows = self.model.step(self.cache, last, at, every).numpy()
        return np.split(logits, len(self.lanes))

    def shrink(self, rows: list[int], before: int) -> None:
        """Only these rows of each lane, out of `before`."""
        places = range(0, len(self.lanes) * before, before)
        self.cache = self.model.keep(self.cache, [at + row for at in places for row in rows])

    def keep(self, tail: list[int]) -> None:
        """The single row's text becomes the lanes' prefixes: the next request may go on from it."""
        for row, lane in enumerate(self.lanes):
            if len(self.lanes) > 1:
                lane.prefix.cache = self.model.keep(self.cache, [row])
            lane.prefix.ids[:] = [*lane.ids, *tail[:-1]]


@dataclass(frozen=True)
class Guidance:
    """How the lanes' logits become one: c, u and b are the lanes' places, None where there is none.

    u + g (c - u) + a (c - b): tag strength g against the prompt without its header, voice strength
    a against the base.
    """

    without_header: int | None
    base: int | None
    tag_strength: float
    voice: float

    @staticmethod
    def of(sampling: Sampling, lanes: list[str]) -> Guidance:
        """From the names of the lanes: "c" first, then "u" and "b" where they are run."""
        place = {name: i for i, name in enumerate(lanes)}
        return Guidance(place.get("u"), place.get("b"), sampling.tag_strength, sampling.voice)

    def __call__(self, parts: list[_Rows]) -> _Rows:
        c = parts[0]
        mixed = c
        if self.without_header is not None:
            u = parts[self.without_header]
            mixed = u + np.float32(self.tag_strength) * (c - u)
        if self.base is not None:
            mixed = mixed + np.float32(self.voice) * (c - parts[self.base])
        return mixed


class Decoding:
    """Steps all unfinished alternatives together until they are done or cancelled."""

    def __init__(
        self, lanes: list[Lane], guidance: Guidance, barred: Logits, every: bool = True
    ) -> None:
        """`every`: the models' seldom tokens are not among the barred."""
        self.lanes, self.guidance, self.barred, self.every = lanes, guidance, barred, every
        self.batches: list[_LaneBatch] = []
        self.first_at: float | None = None  # perf_counter() seconds at the first token
        self.leader_at = 0.0  # and at the last one of alternative 0

    def look(self, path: list[int]) -> list[Logits]:
        """Mixed logits after the prompt and after each token of `path` (for healing)."""
        parts = []
        for lane in self.lanes:
            start = len(lane.ids) - 1
            parts.append(lane.model.peek(lane.prefix.cache, [lane.ids[-1], *path], start).numpy())
        return list(self.guidance(parts))

    def run(self, answers: list[Answer], cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """Pieces of all alternatives in the order they are settled."""
        live = list(answers)
        rows = list(answers)  # the batch's rows, finished ones too until it is made smaller
        self._fork(len(rows))
        while live:
            if cancelled():
                for answer in live:
                    yield from answer.wording.cancel()
                break
            logits = self._step(rows)
            logits += self.barred
            for row, answer in enumerate(rows):
                if answer.finish is None:
                    yield from self._advance(answer, logits[row])
            live = [a for a in live if a.finish is None]
            if 0 < len(live) <= len(rows) // 2:
                for batch in self.batches:
                    batch.shrink([rows.index(a) for a in live], len(rows))
                rows = list(live)
        if len(answers) == 1:
            for batch in self.batches:
                batch.keep(answers[0].tail)

    def _advance(self, answer: Answer, logits: Logits) -> list[Piece]:
        token = answer.choose(logits)
        now = perf_counter()
        if self.first_at is None and not answer.forced:
            self.first_at = now
        if answer.wording.index == 0:
            self.leader_at = now
        return answer.take(token)

    def _fork(self, rows: int) -> None:
        self.batches = [
            _LaneBatch.of(list(lanes), rows)
            for _, lanes in groupby(self.lanes, key=lambda lane: id(lane.model))
        ]

    def _step(self, rows: list[Answer]) -> _Rows:
        return self.guidance(
            [each for batch in self.batches for each in batch.step(rows, self.every)]
        )
