"""Burrows' delta: how near the use of common words is to the author's average page.

The profile is made of training text alone; held-out pages and the mirror's are measured alike, five
at a time. Source: J. Burrows, "Delta", Literary and Linguistic Computing 17 (2002).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vaultgpt.corpus.words import norms
from vaultgpt.report.job import StyleFigures

_Array = npt.NDArray[np.float64]
_COMMON_WORDS = 150
_PAGE_WORDS = (300, 200, 100)  # the longest of which there are enough pages is taken
LEAST_OWN, LEAST_TRAINING, LEAST_MIRROR = 20, 30, 10  # pages; from fewer no figure is made
# One page says little of an author: of real journals of others, single pages of 300 words came out
# at 25 to 58 %, five together at 0 to 12 %, other pages of the author's own at 46 to 70 %.
_TOGETHER = 5
_DRAWS, _HALVED = 400, 100  # sets of pages on either side; half samples behind the interval


@dataclass(frozen=True)
class _Profile:
    """The author's commonest words, and mean and spread of their shares over pages, each [N]."""

    words: tuple[str, ...]
    mean: _Array
    spread: _Array


def _make_profile(pages: Sequence[str]) -> _Profile:
    """From training pages of equal length. ValueError without any."""
    counted = [Counter(norms(page)) for page in pages]
    total: Counter[str] = Counter()
    for one in counted:
        total.update(one)
    words = tuple(w for w, _ in sorted(total.items(), key=lambda x: (-x[1], x[0]))[:_COMMON_WORDS])
    shares = _shares(counted, words)  # [pages, N]
    spread = shares.std(0)
    kept = spread > 0
    return _Profile(
        tuple(w for w, k in zip(words, kept, strict=True) if k), shares.mean(0)[kept], spread[kept]
    )


def _z_scores(profile: _Profile, pages: Sequence[str]) -> _Array:
    """[pages, N]: deviations from the author's average page, whose own z-scores are 0."""
    shares = _shares([Counter(norms(page)) for page in pages], profile.words)
    found: _Array = (shares - profile.mean) / profile.spread
    return found


def _distances(scores: _Array, weights: _Array, rng: np.random.Generator) -> _Array:
    """[_DRAWS]: delta of sets of _TOGETHER different pages, each drawn by its weight.

    Delta is the mean absolute z-score of the set's average page."""
    with np.errstate(divide="ignore"):
        keys = np.log(weights) + rng.gumbel(size=(_DRAWS, len(weights)))  # weighted, each once
    chosen = np.argpartition(-keys, _TOGETHER - 1, axis=1)[:, :_TOGETHER]
    found: _Array = np.abs(scores[chosen].mean(1)).mean(1)
    return found


def _shares(counted: Sequence[Counter[str]], words: Sequence[str]) -> _Array:
    if not counted:
        raise ValueError("no pages")
    rows = [[one[word] / max(1, one.total()) for word in words] for one in counted]
    return np.array(rows, np.float64).reshape(len(counted), len(words))


def _percentile(own: _Array, mirror: _Array) -> float:
    """Share in % of pairs in which the `own` distance is the larger one, ties by halves."""
    order = np.sort(own)
    ranks = np.searchsorted(order, mirror, "right") + np.searchsorted(order, mirror)
    return float(100.0 * (1.0 - ranks / 2.0 / len(own)).mean())


def page_words(training: int, held_out: int) -> int | None:
    """Words of a page, given words of training and held-out text; None when there is too little."""
    for words in _PAGE_WORDS:
        if held_out >= words * LEAST_OWN and training >= words * LEAST_TRAINING:
            return words
    return None


def style(
    training: Sequence[str],
    own: Sequence[str],
    mirror: Sequence[str],
    weights: Sequence[float],
    words: int | None,
    seed: int = 1,
) -> StyleFigures:
    """The share in % of draws of _TOGETHER own pages that are farther from the average.

    Farther than as many of the mirror's: 50 means like the author. Pages have `words` words. With
    too few, `percentile` is None and `why` a sentence. `low` and `high` hold it in 95 of 100
    random halves of both sets of pages, which scatter as whole sets would. (A bootstrap draws
    pages twice, and sets that hold one twice lie farther from the average, most of all on the side
    of fewer pages.)"""
    answer: StyleFigures = {
        "percentile": None,
        "low": None,
        "high": None,
        "page_words": words,
        "together": _TOGETHER,
        "own_pages": len(own),
        "mirror_pages": len(mirror),
        "why": None,
    }
    if words is None or len(own) < LEAST_OWN or len(training) < LEAST_TRAINING:
        answer["why"] = (
            f"Too little of your text is held out to compare pages: {LEAST_OWN} of "
            f"{_PAGE_WORDS[-1]} words are needed."
        )
        return answer
    share = np.asarray(weights, np.float64)
    if int((share > 0).sum()) < LEAST_MIRROR:
        answer["why"] = (
            f"How near its pages are to yours is not known: it wrote only {len(mirror)} pages in "
            f"the time given, and {LEAST_MIRROR} are needed."
        )
        return answer
    profile = _make_profile(training)
    far, near = _z_scores(profile, own), _z_scores(profile, mirror)
    rng = np.random.default_rng(seed)

    drawn = np.flatnonzero(share > 0)

    def compare(parts: int) -> float:
        of_own = rng.permutation(len(far))[: len(far) // parts]
        of_mirror = rng.permutation(drawn)[: len(drawn) // parts]
        return _percentile(
            _distances(far[of_own], np.ones(len(of_own)), rng),
            _distances(near[of_mirror], share[of_mirror], rng),
        )

    found = compare(1)
    low, high = np.percentile([compare(2) for _ in range(_HALVED)], [2.5, 97.5])
    return {**answer, "percentile": found, "low": float(low), "high": float(high)}
