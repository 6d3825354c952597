"""Does it obey a tag? What a classifier of the author's pages says, and bits per byte by header.

The classifier: hashed character 2- to 4-grams and words, tf-idf, weighted ridge regression on
one-hot labels. The bits: of held-out tagged notes under their own header, a wrong tag's, and none.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vaultgpt.corpus.words import norms
from vaultgpt.report.job import HeaderBits, HeaderFigures, TagFigures, TagRow
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.evaluate import LN2, by_entry, score, segments
from vaultgpt.training.round import Item

_Matrix = npt.NDArray[np.float32]
PIECE_WORDS = 100
LEAST_PIECES = 40  # of the author's under a tag; below, the tag is reported and not judged
LEAST_GENERATED = 10
FOLDS = 5
_CHAR_BUCKETS, _WORD_BUCKETS = 1 << 13, 1 << 13
_RIDGE = 0.3  # of a row's squared length, which is 1
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def _counts(pieces: Sequence[str]) -> _Matrix:
    """[pieces, _CHAR_BUCKETS + _WORD_BUCKETS]: log(1 + count) of each hashed feature."""
    rows = np.zeros((len(pieces), _CHAR_BUCKETS + _WORD_BUCKETS), np.float32)
    for row, piece in zip(rows, pieces, strict=True):
        points = np.frombuffer(piece.lower().encode("utf-32-le", "surrogatepass"), np.uint32)
        codes = points.astype(np.uint64)
        rolled, found = codes, []
        for n in (2, 3, 4):
            rolled = rolled[:-1] * _FACTOR + codes[n - 1 :]
            found.append((rolled * _FACTOR) >> np.uint64(51))  # 13 bits
        row[:_CHAR_BUCKETS] = np.bincount(
            np.concatenate(found).astype(np.int64), minlength=_CHAR_BUCKETS
        )
        words = [zlib.crc32(w.encode("utf-8", "surrogatepass")) for w in norms(piece)]
        row[_CHAR_BUCKETS:] = np.bincount(
            np.array(words, np.int64) % _WORD_BUCKETS, minlength=_WORD_BUCKETS
        )
    return np.log1p(rows)


class _Classifier:
    """One linear score a label; the largest names a piece."""

    def __init__(self, found: _Matrix, labels: npt.NDArray[np.int64], classes: int) -> None:
        """`found` [n, features] from `_counts`; `labels` [n] in 0..classes-1, each seen once."""
        seen = (found > 0).sum(0)
        self._idf = np.log((1 + len(found)) / (1 + seen)).astype(np.float32) + 1
        rows = self._rows(found)
        weights = len(labels) / classes / np.bincount(labels, minlength=classes)[labels]
        targets = np.eye(classes)[labels] - 1.0 / classes  # [n, classes]
        kernel = (rows @ rows.T).astype(np.float64) + 1.0  # 1: a constant feature
        dual = np.linalg.solve(kernel + _RIDGE * np.diag(1.0 / weights), targets)
        self._weights = rows.T @ dual.astype(np.float32)  # [features, classes]
        self._constant = dual.sum(0)

    def _rows(self, found: _Matrix) -> _Matrix:
        rows: _Matrix = found * self._idf
        for part in (slice(0, _CHAR_BUCKETS), slice(_CHAR_BUCKETS, None)):
            rows[:, part] /= np.maximum(np.linalg.norm(rows[:, part], axis=1, keepdims=True), 1e-9)
        return rows / np.float32(np.sqrt(2.0))

    def say(self, found: _Matrix) -> npt.NDArray[np.int64]:
        """[n]: the label of each row of `_counts`."""
        scores = self._rows(found) @ self._weights + self._constant
        best: npt.NDArray[np.int64] = scores.argmax(1).astype(np.int64)
        return best


def judge(
    real: Mapping[str, Sequence[Sequence[str]]],
    generated: Mapping[str, Sequence[str]],
    sizes: Mapping[str, int],
) -> TagFigures:
    """Shares of pieces that are read as of their tag.

    `real[tag]` holds one list of pieces for each of FOLDS parts of the notes. A part is judged by a
    classifier that saw only the others, and the generated pieces by all of these classifiers, so
    that both shares come from as much training text. The two totals are means over tags. `sizes`
    are the pieces of every tag of the vault; those not in `real` are reported and not judged."""
    looked = {tag: sum(map(len, parts)) for tag, parts in real.items()}
    tags = sorted(t for t in real if looked[t] >= LEAST_PIECES and all(real[t]))
    rows: dict[str, TagRow] = {
        t: _row(looked.get(t, sizes.get(t, 0)), len(generated.get(t, ())))
        for t in sorted({*real, *sizes})
    }
    answer: TagFigures = {
        "real": None,
        "generated": None,
        "tags": rows,
        "why": None,
        "piece_words": PIECE_WORDS,
    }
    if len(tags) < 2:
        answer["why"] = (
            "Whether it writes otherwise under one tag than under another is not measured: that "
            f"takes two tags with {LEAST_PIECES} pieces of {PIECE_WORDS} words each."
        )
        return answer
    table = {t: [_counts(part) for part in real[t]] for t in tags}
    judged = {
        t: [_counts(generated[t])] * FOLDS
        for t in tags
        if len(generated.get(t, ())) >= LEAST_GENERATED
    }
    own, written = _accuracies(table, table, judged)
    for tag, share in own.items():
        rows[tag]["real"] = share
    for tag, share in written.items():
        rows[tag]["generated"] = share
    answer["real"] = float(np.mean([own[t] for t in tags]))
    if len(judged) == len(tags):
        answer["generated"] = float(np.mean([written[t] for t in tags]))
    return answer


def _row(real: int, generated: int) -> TagRow:
    return {"real_pieces": real, "generated_pieces": generated, "real": None, "generated": None}


def _accuracies(
    table: Mapping[str, Sequence[_Matrix]], *asked: Mapping[str, Sequence[_Matrix]]
) -> list[dict[str, float]]:
    """Of each `asked`: tag -> share of its rows that the classifier without their fold reads so.

    All hold FOLDS matrices of `_counts` a tag."""
    tags = list(table)
    right = [dict.fromkeys(one, 0) for one in asked]
    for fold in range(FOLDS):
        rows = [part for t in tags for i, part in enumerate(table[t]) if i != fold]
        labels = [
            n
            for n, t in enumerate(tags)
            for i, part in enumerate(table[t])
            if i != fold
            for _ in part
        ]
        model = _Classifier(np.concatenate(rows), np.array(labels, np.int64), len(tags))
        for one, found in zip(asked, right, strict=True):
            for tag, parts in one.items():
                found[tag] += int((model.say(parts[fold]) == tags.index(tag)).sum())
    return [
        {tag: found[tag] / sum(map(len, parts)) for tag, parts in one.items()}
        for one, found in zip(asked, right, strict=True)
    ]


_NOTES_AT_ONCE = 6  # so that a slow base overruns its time by seconds, not minutes
_NOTE_CHARS = 1200  # of each note's beginning, where a header matters most: about one segment
_MOST_BYTES = 120_000  # of text; each is scored three times
_KINDS = ("right", "wrong", "none")
_Sums = dict[str, list[float]]  # kind -> [nats, bytes]


def header_figures(
    base: BaseModel,
    items: Sequence[Item],
    tags: Sequence[str],
    limit_s: float,
    seed: int,
    on_part: Callable[[float], None],
) -> HeaderFigures:
    """Bits per byte by header; None where unknown.

    The wrong header is the note's own with one of `tags` that the note lacks in place of its tags.
    Beginnings of notes come in a drawn order until `limit_s` seconds or _MOST_BYTES are spent; the
    figures are all of the same notes. Without two tags there is no wrong one."""
    kinds = _KINDS if len(set(tags)) > 1 else ("right", "none")
    usable = [i for i in items if i.tags and ("wrong" not in kinds or set(tags) - set(i.tags))]
    random.Random(seed).shuffle(usable)
    usable = [_beginning(item) for item in usable]
    total, notes = _sums(kinds), 0
    by_tag: dict[str, _Sums] = {}
    began = time.monotonic()
    for at in range(0, len(usable), _NOTES_AT_ONCE):
        part = usable[at : at + _NOTES_AT_ONCE]
        for kind in kinds:
            headed = [_headed(item, kind, tags, at + n) for n, item in enumerate(part)]
            found = segments(headed, base.encoder)
            known = {item.id: item.tags for item in part}
            for entry, nats, size in by_entry(found, score(base, found)):
                for sums in (total, *(by_tag.setdefault(t, _sums(kinds)) for t in known[entry])):
                    sums[kind][0] += nats
                    sums[kind][1] += size
        notes += len(part)
        spent_s = time.monotonic() - began
        on_part(min(1.0, max(notes / len(usable), spent_s / max(limit_s, 1e-9))))
        if spent_s > limit_s or total["right"][1] > _MOST_BYTES:
            break
    return {
        **_bits(total),
        "notes": notes,
        "by_tag": {tag: _bits(sums) for tag, sums in sorted(by_tag.items())},
    }


def _sums(kinds: Sequence[str]) -> _Sums:
    return {kind: [0.0, 0.0] for kind in kinds}


def _beginning(item: Item) -> Item:
    if len(item.text) <= _NOTE_CHARS:
        return item
    return replace(item, text="".join(item.text[:_NOTE_CHARS].rsplit(None, 1)[:1]))


def _headed(item: Item, kind: str, tags: Sequence[str], number: int) -> Item:
    if kind == "right":
        return item
    if kind == "none":
        return replace(item, tags=(), date=None)
    others = [tag for tag in tags if tag not in item.tags]
    return replace(item, tags=(others[number % len(others)],))


def _bits(sums: _Sums) -> HeaderBits:
    right, wrong, none = (
        sums[kind][0] / LN2 / sums[kind][1] if kind in sums and sums[kind][1] else None
        for kind in _KINDS
    )
    return {"right": right, "wrong": wrong, "none": none, "bytes": int(sums["right"][1])}
