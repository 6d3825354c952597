"""Texts made comparable: real pages and generated ones cut, folded, counted and classified alike.

A text of 100 words or more is cut from its start and its rest dropped; shorter ones are joined in
their order until they fill a piece. Titles, tag lines and quotes are in neither kind of piece.
The classifier is
scikit-learn's, an optional extra, imported here only. Knows nothing about mirrors.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common import middle
from benchmarks.voice.journals import items
from vaultgpt.corpus.words import norms
from vaultgpt.report.study import own_text
from vaultgpt.training.evaluate import spread
from vaultgpt.training.round import Item
from vaultgpt.vault.reconcile import ScannedNote

PIECE_WORDS = 100
FOLDS = 5
DRAWS = 1000  # of the bootstrap behind an interval
_WORD = re.compile(r"\S+")
_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]?[A-Z])")
_SIGNS = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "_": "", "*": "", "\\": ""})


@dataclass(frozen=True)
class Piece:
    """So many words of one hand. `note` is the cluster that it is resampled and held out with."""

    text: str
    label: str
    note: str
    fold: int = 0


def cut(texts: Iterable[tuple[str, str]], words: int = PIECE_WORDS) -> list[tuple[str, str]]:
    """(note, piece of exactly `words` white-space words) from (note, text); layout is kept.

    A joined piece of short texts bears the name of its first.
    """
    found: list[tuple[str, str]] = []
    waiting: list[tuple[str, str]] = []
    for note, text in texts:
        spans = [m.span() for m in _WORD.finditer(text)]
        if len(spans) >= words:
            found += [
                (note, text[spans[i][0] : spans[i + words - 1][1]])
                for i in range(0, len(spans) - words + 1, words)
            ]
            continue
        if spans:
            waiting.append((note, text.strip()))
        joined = "\n\n".join(t for _, t in waiting)
        spans = [m.span() for m in _WORD.finditer(joined)]
        if len(spans) >= words:
            found.append((waiting[0][0], joined[: spans[words - 1][1]]))
            waiting = []
    return found


def folded(text: str) -> str:
    """Words alone: white space to one space, quotes straight, dashes alike, lower case.

    So neither line breaks nor an edition's typography tell tags or authors apart.
    """
    text = re.sub(r"\s*(?:[—–]|-{2,})\s*", " - ", text.translate(_SIGNS))
    return " ".join(re.sub(r"\d", "0", text).lower().split())


def folds(sizes: Sequence[tuple[str, int]], count: int = FOLDS) -> dict[str, int]:
    """Note -> fold: the longest notes first, each into the fold with the fewest words so far."""
    load = [0] * count
    found = {}
    for name, size in sorted(sizes, key=lambda x: (-x[1], x[0])):
        place = load.index(min(load))
        found[name] = place
        load[place] += size
    return found


def real_pieces(notes: Sequence[ScannedNote], tags: Sequence[str], most: int) -> list[Piece]:
    """At most `most` pieces a tag, in folds by whole notes; an entry stands for its one tag."""
    found: list[Piece] = []
    for tag in tags:
        texts = [(i.id, own_text(i)) for i in items(notes) if _one(i.tags, tags) == tag]
        fold = folds([(name, len(text.split())) for name, text in texts])
        for number in range(FOLDS):
            part = cut((n, t) for n, t in texts if fold[n] == number)
            found += spread([Piece(text, tag, note, number) for note, text in part], most // FOLDS)
    return found


def balanced(found: Sequence[Piece], least: int) -> list[Piece]:
    """Of every label with `least` pieces or more as many as the rarest of them has, evenly spaced.

    With ten journal pages to a poem a classifier takes most poems for journal: on Thoreau's own
    poems it was right 43 times of 100 so, and 83 times with as many of either.
    """
    counts = {label: sum(p.label == label for p in found) for label in {p.label for p in found}}
    judged = sorted(label for label, count in counts.items() if count >= least)
    most = min((counts[label] for label in judged), default=0)
    return [p for label in judged for p in spread([q for q in found if q.label == label], most)]


def _one(own: Sequence[str], tags: Sequence[str]) -> str | None:
    fitting = [t for t in own if t in tags]
    return fitting[0] if len(fitting) == 1 else None


def generated(texts: Sequence[str], label: str) -> list[Piece]:
    """Pieces of what a mirror wrote; each is a cluster of its own."""
    return [
        Piece(text, label, f"g{i}")
        for i, (_, text) in enumerate(cut((str(i), t) for i, t in enumerate(texts)))
    ]


def distinct(texts: Iterable[str], most: int) -> float:
    """Share of different words in the first `most`."""
    words = [word for text in texts for word in norms(text)][:most]
    return len(set(words)) / max(1, len(words))


@dataclass(frozen=True)
class Opening:
    """A place in a note at which someone could ask for more."""

    text: str
    tags: tuple[str, ...]
    date: str | None  # "2014-03" at most: never the day


def half_sentences(
    found: Sequence[Item], count: int, seed: int, context: int = 30, words: int = 6
) -> list[Opening]:
    """The first `words` words of sentences of 14 words or more, after up to `context` words.

    Drawn evenly over the items, each place at most once.
    """

    def places(item: Item) -> list[str]:
        text = own_text(item)
        starts = [0, *(m.end() for m in _SENTENCE.finditer(text))]
        out = []
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            own = [m.span() for m in _WORD.finditer(text, start, end)]
            if len(own) >= 14:
                before = [m.start() for m in _WORD.finditer(text, 0, start)]
                first = before[-context] if len(before) > context else 0
                out.append(text[first if context else start : own[words - 1][1]])
        return out

    return _draw([(i, places(i)) for i in found], count, seed)


def _draw(places: Sequence[tuple[Item, list[str]]], count: int, seed: int) -> list[Opening]:
    """Round after round one place of each item, in a seeded order."""
    rng = random.Random(seed)
    order = sorted(places, key=lambda p: hashlib.blake2b(f"{seed}/{p[0].id}".encode()).digest())
    left = [(item, rng.sample(texts, len(texts))) for item, texts in order]
    found: list[Opening] = []
    while left and len(found) < count:
        left = [(item, texts) for item, texts in left if texts]
        for item, texts in left:
            if len(found) < count:
                found.append(Opening(texts.pop(), item.tags, (item.date or "")[:7] or None))
    return found


# A line between labels: tf-idf of words and characters


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
