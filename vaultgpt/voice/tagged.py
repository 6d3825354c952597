"""Does it obey a tag? A small classifier of the author's pages by tag, and what it says of others'.

Hashed character 2- to 4-grams and words, tf-idf, weighted ridge regression on one-hot labels. Knows
nothing about models.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vaultgpt.corpus.runs import norms

Matrix = npt.NDArray[np.float32]
PIECE_WORDS = 100
LEAST_PIECES = 40  # of the author's under a tag; below, the tag is reported and not judged
LEAST_GENERATED = 10
MOST_PIECES = 150  # of one tag that are looked at
MOST_TAGS = 8
FOLDS = 5
CHAR_BUCKETS, WORD_BUCKETS = 1 << 13, 1 << 13
RIDGE = 0.3  # of a row's squared length, which is 1
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def counts(pieces: Sequence[str]) -> Matrix:
    """[pieces, CHAR_BUCKETS + WORD_BUCKETS]: log(1 + count) of each hashed feature."""
    rows = np.zeros((len(pieces), CHAR_BUCKETS + WORD_BUCKETS), np.float32)
    for row, piece in zip(rows, pieces, strict=True):
        points = np.frombuffer(piece.lower().encode("utf-32-le", "surrogatepass"), np.uint32)
        codes = points.astype(np.uint64)
        rolled, found = codes, []
        for n in (2, 3, 4):
            rolled = rolled[:-1] * _FACTOR + codes[n - 1 :]
            found.append((rolled * _FACTOR) >> np.uint64(51))  # 13 bits
        row[:CHAR_BUCKETS] = np.bincount(
            np.concatenate(found).astype(np.int64), minlength=CHAR_BUCKETS
        )
        words = [zlib.crc32(w.encode("utf-8", "surrogatepass")) for w in norms(piece)]
        row[CHAR_BUCKETS:] = np.bincount(
            np.array(words, np.int64) % WORD_BUCKETS, minlength=WORD_BUCKETS
        )
    return np.log1p(rows)


class Classifier:
    """One linear score a label; the largest names a piece."""

    def __init__(self, found: Matrix, labels: npt.NDArray[np.int64], classes: int) -> None:
        """`found` [n, features] from `counts`; `labels` [n] in 0..classes-1, each at least once."""
        seen = (found > 0).sum(0)
        self._idf = np.log((1 + len(found)) / (1 + seen)).astype(np.float32) + 1
        rows = self._rows(found)
        weights = len(labels) / classes / np.bincount(labels, minlength=classes)[labels]
        targets = np.eye(classes)[labels] - 1.0 / classes  # [n, classes]
        kernel = (rows @ rows.T).astype(np.float64) + 1.0  # 1: a constant feature
        dual = np.linalg.solve(kernel + RIDGE * np.diag(1.0 / weights), targets)
        self._weights = rows.T @ dual.astype(np.float32)  # [features, classes]
        self._constant = dual.sum(0)

    def _rows(self, found: Matrix) -> Matrix:
        rows: Matrix = found * self._idf
        for part in (slice(0, CHAR_BUCKETS), slice(CHAR_BUCKETS, None)):
            rows[:, part] /= np.maximum(np.linalg.norm(rows[:, part], axis=1, keepdims=True), 1e-9)
        return rows / np.float32(np.sqrt(2.0))

    def say(self, found: Matrix) -> npt.NDArray[np.int64]:
        """[n]: the label of each row of `counts`."""
        scores = self._rows(found) @ self._weights + self._constant
        best: npt.NDArray[np.int64] = scores.argmax(1).astype(np.int64)
        return best


def judge(
    real: Mapping[str, Sequence[Sequence[str]]],
    generated: Mapping[str, Sequence[str]],
    sizes: Mapping[str, int],
) -> dict[str, Any]:
    """{"real", "generated", "tags": {tag: {...}}, "why"}: shares of pieces read under their tag.

    `real[tag]` holds one list of pieces for each of FOLDS parts of the notes. A part is judged by a
    classifier that saw only the others, and the generated pieces by all of these classifiers, so
    that both shares come from as much training text. The two totals are means over tags. `sizes`
    are the pieces of every tag of the vault; those not in `real` are reported and not judged.
    """
    looked = {tag: sum(map(len, parts)) for tag, parts in real.items()}
    tags = sorted(t for t in real if looked[t] >= LEAST_PIECES and all(real[t]))
    rows: dict[str, Any] = {
        t: _row(looked.get(t, sizes.get(t, 0)), len(generated.get(t, ())))
        for t in sorted({*real, *sizes})
    }
    answer: dict[str, Any] = {
        "real": None,
        "generated": None,
        "tags": rows,
        "why": None,
        "piece_words": PIECE_WORDS,
    }
    if len(tags) < 2:
        answer["why"] = (
            f"Fewer than two tags have {LEAST_PIECES} pieces of {PIECE_WORDS} words "
            "that can be told apart."
        )
        return answer
    table = {t: [counts(part) for part in real[t]] for t in tags}
    judged = {
        t: [counts(generated[t])] * FOLDS
        for t in tags
        if len(generated.get(t, ())) >= LEAST_GENERATED
    }
    for kind, shares in zip(("real", "generated"), _accuracies(table, table, judged), strict=True):
        for tag, share in shares.items():
            rows[tag][kind] = share
    answer["real"] = float(np.mean([rows[t]["real"] for t in tags]))
    if len(judged) == len(tags):
        answer["generated"] = float(np.mean([rows[t]["generated"] for t in tags]))
    return answer


def _row(real: int, generated: int) -> dict[str, Any]:
    return {"real_pieces": real, "generated_pieces": generated, "real": None, "generated": None}


def _accuracies(
    table: Mapping[str, Sequence[Matrix]], *asked: Mapping[str, Sequence[Matrix]]
) -> list[dict[str, float]]:
    """Of each `asked`: tag -> share of its rows that the classifier without their fold reads so.

    All hold FOLDS matrices of `counts` a tag.
    """
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
        model = Classifier(np.concatenate(rows), np.array(labels, np.int64), len(tags))
        for one, found in zip(asked, right, strict=True):
            for tag, parts in one.items():
                found[tag] += int((model.say(parts[fold]) == tags.index(tag)).sum())
    return [
        {tag: found[tag] / sum(map(len, parts)) for tag, parts in one.items()}
        for one, found in zip(asked, right, strict=True)
    ]
