"""Bits per byte: entries cut into segments, and each segment's nats under a model.

A segment is the start token, the entry's full true opening (tags, year and month, title) and up to
256 tokens of its text, in float32. The base, which never saw a header, is scored without that line:
it is 0.6 % better so. Knows nothing about training or verdicts.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from vaultgpt.arithmetic import Dtype
from vaultgpt.corpus.documents import Document, Encoder, join, opening, prepare, title_text
from vaultgpt.corpus.secrets import merge_ranges, outside
from vaultgpt.errors import is_memory
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.loss import each_nats, make_batch
from vaultgpt.training.round import Item, SegmentScores
from vaultgpt.wire import SegmentsRow

SEGMENT_TOKENS = 256
_SCORING = b"1"  # changes with the way of scoring, so that older figures are not reused
_BATCH_TOKENS = 8192
# Rows at once that stay near the caches: 32 segments on 2 cores in 1.76 s, by 8,192 tokens in 2.04
# to 2.49, with 2.8 times the page faults.
_CPU_BATCH_TOKENS = 2048
LN2 = math.log(2.0)
_T = TypeVar("_T")
# Of the budget: scoring one model, which is done twice, and drawing for `copying`. Gemma 3 270M on
# one busy core scored 53 segments in 142 s: three minutes became six, and 15 s were learning.
SCORING_SHARE, DRAWING_SHARE = 0.1, 0.08
_LEAST = {"held_out": 8, "general": 2}  # segments that are scored in any case
_Places = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Segment:
    """A stretch of one entry, ready to be scored."""

    entry: str
    tags: tuple[str, ...]
    year: str | None
    document: Document
    plain: Document  # the same text without the header line, for the base
    bytes: int  # UTF-8 bytes of what is scored


def segments(
    items: Iterable[Item], encoder: Encoder, tokens: int = SEGMENT_TOKENS
) -> list[Segment]:
    """Every item's text in segments of `tokens`; parts without a scored byte are left out.

    The end token is not scored: it is no text. Masked characters are not scored either."""
    found: list[Segment] = []
    for item in items:
        start = opening(item.tags, item.date, item.title)
        room = tokens + 2 + len(encoder.tokenizer.encode(start, add_special_tokens=False))
        for document in encoder.documents(prepare(item), start, room):
            scored = document.loss_mask & (document.byte_counts > 0)
            # A token that holds the rest of a split character adds no byte but is scored.
            keep = document.loss_mask.copy()
            if len(keep) and document.token_ids[-1] == encoder.end:
                keep[-1] = False
            if scored.any():
                part = Document(document.token_ids, keep, document.byte_counts, document.span)
                found.append(
                    Segment(
                        item.id,
                        item.tags,
                        (item.date or "")[:4] or None,
                        part,
                        _without_header(part, item.title, encoder),
                        int(document.byte_counts[keep].sum()),
                    )
                )
    return found


def _without_header(part: Document, title: str | None, encoder: Encoder) -> Document:
    """The same scored tokens after start token and title alone."""
    first = int(np.argmax(part.byte_counts > 0))
    before = [
        encoder.start,
        *encoder.tokenizer.encode(title_text(title), add_special_tokens=False).ids,
    ]
    none = np.zeros(len(before), np.int32)
    return Document(
        np.concatenate([np.array(before, np.int32), part.token_ids[first:]]),
        np.concatenate([none.astype(np.bool_), part.loss_mask[first:]]),
        np.concatenate([none, part.byte_counts[first:]]),
        part.span,
    )


def plain_segments(texts: Sequence[str], encoder: Encoder) -> list[Segment]:
    """Segments of text without header; each text counts as one entry."""
    items = [
        Item(f"general-{i}", "held_out", text, (), None, None, ()) for i, text in enumerate(texts)
    ]
    return segments(items, encoder)


def tokens_of(found: Sequence[Segment], *, plain: bool = False) -> int:
    """Tokens that one model reads to score these segments."""
    return sum(len(s.plain if plain else s.document) for s in found)


def spread(found: Sequence[_T], most: int) -> list[_T]:
    """At most `most` of them, evenly spaced."""
    if len(found) <= most:
        return list(found)
    return [found[i * len(found) // most] for i in range(most)]


def score(
    base: BaseModel,
    found: Sequence[Segment],
    on_part: Callable[[float], None] = lambda fraction: None,
    *,
    plain: bool = False,
    halve: bool = True,
) -> list[float]:
    """Nats of every segment under the model as it stands, `plain` without header lines.

    Out of memory halves the rows, where it may."""
    documents = [s.plain if plain else s.document for s in found]
    nats = [0.0] * len(found)
    order = sorted(range(len(found)), key=lambda i: -len(documents[i]))
    tokens = _CPU_BATCH_TOKENS if base.device.where.type == "cpu" else _BATCH_TOKENS
    at = 0
    while at < len(order):
        rows = max(1, tokens // len(documents[order[at]]))
        part = order[at : at + rows]
        try:
            values = _score_rows(base, [documents[i] for i in part])
        except Exception as error:
            if not is_memory(error) or rows == 1 or not halve:
                raise
            tokens //= 2
            continue
        for index, value in zip(part, values, strict=True):
            nats[index] = value
        at += len(part)
        on_part(at / len(order))
    return nats


def _score_rows(base: BaseModel, documents: Sequence[Document]) -> list[float]:
    batch = make_batch(base, [join([document]) for document in documents])
    with torch.no_grad():
        values: list[float] = each_nats(base, batch).double().sum(1).tolist()
    return values


def key_of(segment: Segment, secret: bytes, dtype: Dtype = "float32") -> str:
    """A keyed hash of all that a segment's nats depend on, the model aside: 16 hex digits."""
    way = _SCORING if dtype == "float32" else _SCORING + dtype.encode()
    digest = hashlib.blake2b(way, key=secret[:64], digest_size=8)
    for document in (segment.document, segment.plain):
        for part in (document.token_ids, document.loss_mask):
            digest.update(len(part).to_bytes(4, "little") + np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def as_scores(
    found: Sequence[Segment],
    nats: dict[str, list[float]],
    keys: Sequence[str] = (),
    carried: Sequence[int] = (),
) -> SegmentScores:
    """The gate's evidence: segments and their nats under each model."""
    return SegmentScores(
        entry=[s.entry for s in found],
        tags=[list(s.tags) for s in found],
        years=[s.year for s in found],
        bytes=[s.bytes for s in found],
        nats=nats,
        keys=list(keys),
        carried=list(carried),
    )


def bits_per_byte(scores: SegmentScores | None, model: str) -> float | None:
    """All bits over all bytes; None where nothing was scored."""
    if scores is None or model not in scores.nats or not sum(scores.bytes):
        return None
    return sum(scores.nats[model]) / LN2 / sum(scores.bytes)


def by_group(scores: SegmentScores, key: str) -> dict[str, dict[str, float]]:
    """{tag or year: {model: bits per byte, "bytes": n}}; `key` is "tags" or "years"."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, (tags, year) in enumerate(zip(scores.tags, scores.years, strict=True)):
        for name in tags if key == "tags" else [year or "undated"]:
            members[name].append(index)
    table: dict[str, dict[str, float]] = {}
    for name, indices in sorted(members.items()):
        size = sum(scores.bytes[i] for i in indices)
        if size:
            table[name] = {
                model: sum(nats[i] for i in indices) / LN2 / size
                for model, nats in scores.nats.items()
            }
            table[name]["bytes"] = float(size)
    return table


def by_entry(found: Sequence[Segment], nats: Sequence[float]) -> Iterator[tuple[str, float, int]]:
    """(entry id, nats, bytes) of each entry, in order of appearance."""
    sums: dict[str, list[float]] = {}
    for segment, value in zip(found, nats, strict=True):
        total = sums.setdefault(segment.entry, [0.0, 0.0])
        total[0] += value
        total[1] += segment.bytes
    for entry, (value, size) in sums.items():
        yield entry, value, int(size)


def judged_part(
    found: Sequence[Segment], keys: Sequence[str], least: int, last: Mapping[str, float]
) -> list[bool]:
    """Which segments a small round is judged on: `least` of them, those of the lowest keyed hashes.

    Every tag that comes first in an entry has one of them, as far as half of them go. Those of a
    smaller round are mostly among those of a larger one, so that the active generation was scored
    on them. What it has no figure for in `last` is scored in any case."""
    lowest: dict[tuple[str, ...], str] = {}
    for key, segment in sorted(zip(keys, found, strict=True), key=lambda p: p[0]):
        lowest.setdefault(segment.tags[:1], key)
    first = dict.fromkeys([*list(lowest.values())[: least // 2], *sorted(keys)])
    chosen = set(list(first)[:least])
    return [key in chosen or key not in last for key in keys]


def known_nats(
    known: Mapping[str, Mapping[str, SegmentsRow]],
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Model -> key of a segment -> nats measured in the rounds that made the generations compared.

    Beside it the active generation's last figures, measured or carried on."""
    found: dict[str, dict[str, float]] = {"base": {}}
    last: dict[str, float] = {}
    for model, sets in known.items():
        mine = found.setdefault(model, {})
        for scores in sets.values():
            nats, keys = scores.get("nats", {}), scores.get("keys", [])
            if len(nats.get("base", [])) == len(keys):
                found["base"].update(zip(keys, nats["base"], strict=True))
            if len(nats.get("after", [])) != len(keys):
                continue
            carried = set(scores.get("carried", []))
            mine.update(
                (key, value)
                for at, (key, value) in enumerate(zip(keys, nats["after"], strict=True))
                if at not in carried
            )
            if model == "before":
                last.update(zip(keys, nats["after"], strict=True))
    return found, last


def only_new(item: Item) -> Item:
    """The entry with everything masked that is not new in it."""
    if not item.new_ranges:
        return item
    old, at = [], 0
    for start, end in sorted(item.new_ranges):
        old.append((at, start))
        at = max(at, end)
    masked = merge_ranges([*item.masked, *old, (at, len(item.text))])
    return replace(item, masked=tuple(masked))


def own_parts(items: Iterable[Item]) -> list[str]:
    """The stretches of these items outside their masked ranges."""
    return [part for item in items for part in outside(item.text, item.masked)]


def sketch(
    sets: Mapping[str, Sequence[Segment]],
    keys: Mapping[str, Sequence[str]],
    seconds: float,
    nats_of: Callable[[Sequence[Segment]], Sequence[float]],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, dict[int, float]]:
    """By set, the places that are scored, in order, and the base's nats there.

    The least of them tells the pace, at which more are scored, in the sets' proportion, until
    `seconds` are gone."""
    began = clock()
    order = {name: _fair_order(keys[name], sets[name]) for name in _LEAST}
    least = {name: places[: _LEAST[name]] for name, places in order.items()}
    found = _score(sets, least, nats_of)
    pace = (clock() - began) / max(1, _tokens(sets, least))
    turns = sorted(
        ((turn + 1) / len(places), name, at)
        for name, places in order.items()
        for turn, at in enumerate(places)
        if turn >= _LEAST[name]
    )
    more: dict[str, list[int]] = {name: [] for name in order}
    left = seconds - (clock() - began)
    for _, name, at in turns:
        left -= pace * _tokens(sets, {name: [at]})
        if left < 0:
            break
        more[name].append(at)
    for name, nats in _score(sets, more, nats_of).items():
        found[name] |= nats
    return {name: dict(sorted(nats.items())) for name, nats in found.items()}


def _fair_order(keys: Sequence[str], found: Sequence[Segment]) -> list[int]:
    """Places in an order of which every beginning is a fair sample: by keyed hash, and one segment
    of every entry before a second one of any."""
    had: Counter[str] = Counter()
    turns: list[tuple[int, int]] = []
    for at in sorted(range(len(found)), key=keys.__getitem__):
        turns.append((had[found[at].entry], at))
        had[found[at].entry] += 1
    return [at for _, at in sorted(turns, key=lambda one: one[0])]


def _tokens(sets: Mapping[str, Sequence[Segment]], chosen: _Places) -> int:
    return sum(
        tokens_of([sets[name][at] for at in places], plain=True) for name, places in chosen.items()
    )


def _score(
    sets: Mapping[str, Sequence[Segment]],
    chosen: _Places,
    nats_of: Callable[[Sequence[Segment]], Sequence[float]],
) -> dict[str, dict[int, float]]:
    return {
        name: dict(zip(places, nats_of([sets[name][at] for at in places]), strict=True))
        for name, places in chosen.items()
    }
