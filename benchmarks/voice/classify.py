"""A classifier of short texts by tag or author: tf-idf of words and characters, and a line.

scikit-learn is an optional extra, imported here only. Knows nothing about mirrors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.common import middle
from benchmarks.voice.pieces import FOLDS, Piece, folded

DRAWS = 1000  # of the bootstrap behind an interval


def require() -> None:
    """End with one sentence and the mend when scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise SystemExit(
            "This benchmark needs scikit-learn.\n"
            "Install it into the same environment: pip install scikit-learn"
        ) from None


class Classifier:
    """Words (1 to 2) and characters within words (2 to 4), logistic regression, balanced."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        both: dict[str, Any] = {"min_df": 2, "sublinear_tf": True}
        words: dict[str, Any] = {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
        signs: dict[str, Any] = {"ngram_range": (2, 4), "analyzer": "char_wb"}
        self.model: Any = make_pipeline(
            make_union(
                TfidfVectorizer(max_features=30_000, **words, **both),
                TfidfVectorizer(max_features=50_000, **signs, **both),
            ),
            LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000),
        )
        self.model.fit([folded(p.text) for p in pieces], [p.label for p in pieces])

    def __call__(self, pieces: Sequence[Piece]) -> list[str]:
        """The label of each piece."""
        if not pieces:
            return []
        return [str(label) for label in self.model.predict([folded(p.text) for p in pieces])]


class Judge:
    """A classifier for each fold, trained on the other folds.

    Real pieces are judged by the one that never saw their note, generated ones by all in turn:
    the same classifiers on both sides.
    """

    def __init__(self, real: Sequence[Piece]) -> None:
        learned = [[p for p in real if p.fold != k] for k in range(FOLDS)]
        if any(len({p.label for p in pieces}) < 2 for pieces in learned):
            raise SystemExit(
                "There is too little real text to tell one kind from another.\n"
                "Take a journal with two tags of 40 passages of 100 words each, in several notes."
            )
        self.models = [Classifier(pieces) for pieces in learned]
        self.right: dict[str, dict[str, list[float]]] = {}  # label -> note -> right or not
        for k, model in enumerate(self.models):
            held = [p for p in real if p.fold == k]
            for piece, label in zip(held, model(held), strict=True):
                notes = self.right.setdefault(piece.label, {})
                notes.setdefault(piece.note, []).append(float(label == piece.label))

    def accuracy(self, label: str) -> float:
        """Share of the label's real pieces that are told right."""
        return float(np.concatenate([np.array(v) for v in self.right[label].values()]).mean())

    def each(self, pieces: Sequence[Piece]) -> list[float]:
        """For each piece the share of the classifiers that tell it right."""
        said = [model(pieces) for model in self.models]
        return [sum(s[i] == p.label for s in said) / len(said) for i, p in enumerate(pieces)]


def ratio(judge: Judge, found: dict[str, list[float]], seed: int = 1) -> dict[str, float]:
    """{"real", "generated", "ratio", "low", "high"}: means over the labels of `found`.

    `found`: label -> Judge.each of its generated pieces. The interval resamples notes and
    generated pieces.
    """
    rng = np.random.default_rng(seed)
    real = {k: [np.array(v) for v in judge.right[k].values()] for k in found}

    def draw() -> float:
        ours, theirs = [], []
        for label, values in found.items():
            notes = [real[label][i] for i in rng.integers(0, len(real[label]), len(real[label]))]
            theirs.append(float(np.concatenate(notes).mean()))
            ours.append(float(rng.choice(values, len(values)).mean()))
        return sum(ours) / max(sum(theirs), 1e-9)

    own = sum(judge.accuracy(k) for k in found) / len(found)
    got = sum(sum(v) / len(v) for v in found.values()) / len(found)
    low, high = middle([draw() for _ in range(DRAWS)])
    return {"real": own, "generated": got, "ratio": got / max(own, 1e-9), "low": low, "high": high}
