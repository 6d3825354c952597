"""Texts made comparable: real pages and generated ones cut, folded, counted and classified alike.

A text of 100 words or more is cut from its start and its rest dropped; shorter ones are joined in
their order until they fill a piece. Titles, tag lines and quotes are in neither kind of piece.
Knows nothing about mirrors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.common import needs_voice
from benchmarks.voice.journals import items
from vaultgpt.corpus.words import norms
from vaultgpt.report.study import own_text
from vaultgpt.training.evaluate import spread
from vaultgpt.vault.reconcile import ScannedNote

with needs_voice():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline, make_union

PIECE_WORDS = 100
FOLDS = 5
_WORD = re.compile(r"\S+")
_SIGNS = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "_": "", "*": "", "\\": ""})


@dataclass(frozen=True)
class Piece:
    """So many words of one hand. Pieces of one `note` are held out together."""

    text: str
    label: str
    note: str


def cut(texts: Iterable[tuple[str, str]], words: int = PIECE_WORDS) -> list[tuple[str, str]]:
    """(note, piece of exactly `words` white-space words) from (note, text); layout is kept.

    A joined piece of short texts bears the name of its first.
    """
    found: list[tuple[str, str]] = []
    waiting: list[tuple[str, str]] = []
    for note, text in texts:
        pieces = _of_length(text, words)
        if not pieces:
            waiting.append((note, text.strip()))
            pieces = _of_length("\n\n".join(t for _, t in waiting), words)
            note = waiting[0][0]
            waiting = [] if pieces else waiting
        found += [(note, piece) for piece in pieces]
    return found


def _of_length(text: str, words: int) -> list[str]:
    spans = [m.span() for m in _WORD.finditer(text)]
    firsts = range(0, len(spans) - words + 1, words)
    return [text[spans[i][0] : spans[i + words - 1][1]] for i in firsts]


def folded(text: str) -> str:
    """Words alone: white space to one space, quotes straight, dashes alike, lower case.

    So neither line breaks nor an edition's typography tell tags or authors apart.
    """
    text = re.sub(r"\s*(?:[—–]|-{2,})\s*", " - ", text.translate(_SIGNS))
    return " ".join(re.sub(r"\d", "0", text).lower().split())


def real_pieces(notes: Sequence[ScannedNote], tags: Sequence[str], most: int) -> list[Piece]:
    """At most `most` pieces a tag, evenly spaced; an entry stands for its one tag of these."""
    found: list[Piece] = []
    for tag in tags:
        own = [i for i in items(notes) if [t for t in i.tags if t in tags] == [tag]]
        pieces = [Piece(text, tag, note) for note, text in cut((i.id, own_text(i)) for i in own)]
        found += spread(pieces, most)
    return found


def balanced(found: Sequence[Piece], least: int) -> list[Piece]:
    """Of every label with `least` pieces or more as many as the rarest of them has, evenly spaced.

    With ten journal pages to a poem a classifier takes most poems for journal: on Thoreau's own
    poems it was right 43 times of 100 so, and 83 times with as many of either.
    """
    counts = Counter(p.label for p in found)
    judged = {label: count for label, count in sorted(counts.items()) if count >= least}
    most = min(judged.values(), default=0)
    return [p for label in judged for p in spread([q for q in found if q.label == label], most)]


def generated(texts: Sequence[str], label: str) -> list[Piece]:
    """Pieces of what a mirror wrote."""
    return [
        Piece(text, label, note) for note, text in cut((str(i), t) for i, t in enumerate(texts))
    ]


def distinct(texts: Iterable[str], most: int) -> float:
    """Share of different words in the first `most`."""
    words = [word for text in texts for word in norms(text)][:most]
    return len(set(words)) / max(1, len(words))


# A line between labels: tf-idf of words and characters


class Classifier:
    """Words (1 to 2) and characters within words (2 to 4), logistic regression, balanced."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
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

    def right(self, pieces: Sequence[Piece]) -> list[bool]:
        """For each piece whether it is taken for its label."""
        labels = self.model.predict([folded(p.text) for p in pieces]) if pieces else ()
        return [bool(said == p.label) for said, p in zip(labels, pieces, strict=True)]


class Judge:
    """A classifier for each fold of the real pieces, by whole notes, trained on the other folds.

    Real pieces are judged by the one that never saw their note, generated ones by all in turn:
    the same classifiers on both sides.
    """

    def __init__(self, real: Sequence[Piece]) -> None:
        labels, notes = [p.label for p in real], [p.note for p in real]
        if len(set(labels)) < 2:
            raise SystemExit(
                "There is too little real text to tell one kind from another.\n"
                "Take a journal with two tags of 40 passages of 100 words each, in several notes."
            )
        self.models: list[Classifier] = []
        right: dict[str, list[bool]] = {label: [] for label in labels}
        for learned, held in StratifiedGroupKFold(FOLDS).split(labels, labels, notes):
            self.models.append(Classifier([real[i] for i in learned]))
            for i, met in zip(held, self.models[-1].right([real[i] for i in held]), strict=True):
                right[labels[i]].append(met)
        self.accuracy = {label: fmean(met) for label, met in right.items()}

    def ratio(self, found: dict[str, list[Piece]]) -> dict[str, float]:
        """{"real", "generated", "ratio"}: means over labels of the share that is told right.

        `found`: label -> its generated pieces.
        """
        real = fmean(self.accuracy[label] for label in found)
        got = fmean(fmean(m.right(pieces)) for pieces in found.values() for m in self.models)
        return {"real": real, "generated": got, "ratio": got / max(real, 1e-9)}
