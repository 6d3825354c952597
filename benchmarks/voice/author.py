"""Does it sound like this author and no other? Burrows' delta, and a classifier between authors.

The classifier reads 100-word pieces of five diarists, words alone (quotes, dashes, case and white
space folded, since editions differ in them). The mirror and the base write on after the same first
words of held-out paragraphs; only what they wrote is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import markdown, middle
from benchmarks.voice.journals import Journal, items
from benchmarks.voice.mirrors import Trained, continuations, open_engine, trained
from benchmarks.voice.pieces import (
    Classifier,
    Opening,
    Piece,
    cut,
    generated,
    half_sentences,
    require,
)
from benchmarks.voice.rows import Case, Figures, Options, Row, main, writing, yes
from vaultgpt.mirror.engine import Engine
from vaultgpt.report.study import own_text
from vaultgpt.report.style import page_words, style
from vaultgpt.training.evaluate import spread
from vaultgpt.vault.reconcile import ScannedNote
from vaultgpt.wire import Prompt

AUTHORS = ("thoreau", "mary-maclane", "confederate-girl", "hawthorne", "amiel")
MIRRORS = AUTHORS[:4]  # the fifth only makes the choice harder
SEED = 1
PIECES = 600  # of each author's training pages
PROMPTS, EACH = 25, 8  # texts after held-out beginnings: 200 of the mirror, 200 of the base
TOKENS = 170  # about 115 words: one piece
PAGES, PAGE_TOKENS = 48, 440  # about 310 words each, for the delta
_DRAWS = 1000


def cases(options: Options) -> list[Case]:
    return [
        Case(name, SEED, "author", partial(_measure, options, name), writing()) for name in MIRRORS
    ]


def _pages(notes: Sequence[ScannedNote], author: str) -> list[Piece]:
    return [
        Piece(text, author, note) for note, text in cut((i.id, own_text(i)) for i in items(notes))
    ]


@lru_cache(maxsize=2)
def _classifier(data: Path) -> tuple[Classifier, dict[str, float]]:
    """Trained on training pages; and the share of each author's held-out pages told right."""
    learned: list[Piece] = []
    held: dict[str, list[Piece]] = {}
    for author in AUTHORS:
        split = Journal(data / author).split(SEED)
        learned += spread(_pages(split.train, author), PIECES)
        held[author] = _pages(split.held, author)
    judge = Classifier(learned)
    return judge, {a: judge(found).count(a) / len(found) for a, found in held.items() if found}


def _measure(options: Options, name: str) -> Figures:
    require()
    judge, real = _classifier(options.data)
    mirror = trained(options, Journal(options.data / name), SEED)
    engine = open_engine(mirror)
    prompts = half_sentences(items(mirror.split.held), PROMPTS, SEED, context=0, words=12)
    told = {
        f"{model}_after": attributed(judge, _after(engine, prompts, model), name)
        for model in ("mirror", "base")
    }
    found = {"real_held_out": real[name], "prompts": len(prompts), "attributed": told}
    return {**found, "delta": _delta(mirror, engine)}


def _plan(model: str, one: Opening, tokens: int, seed: int) -> Prompt:
    """What is asked of the mirror under a header; the base gets none, as it knows none."""
    tags, date = (one.tags, one.date) if model == "mirror" else ((), None)
    return Prompt(one.text, tags, date, length="tokens", max_tokens=tokens, seed=seed, model=model)


def _after(engine: Engine, prompts: Sequence[Opening], model: str) -> list[str]:
    """EACH texts after each prompt."""
    found: list[str] = []
    for number, one in enumerate(prompts):
        found += continuations(engine, EACH, _plan(model, one, TOKENS, 100 * number))
    return found


def attributed(judge: Classifier, texts: Sequence[str], author: str) -> dict[str, Any]:
    """{"pieces", "share", "low", "high"}: what share of the pieces is taken for `author`."""
    pieces = generated(texts, author)
    right = np.array([s == author for s in judge(pieces)], np.float64)
    if not len(right):
        return {"pieces": 0, "share": None, "low": None, "high": None}
    rng = np.random.default_rng(1)
    draws = right[rng.integers(0, len(right), (_DRAWS, len(right)))].mean(1)
    low, high = middle(draws)
    return {"pieces": len(pieces), "share": float(right.mean()), "low": low, "high": high}


def _delta(mirror: Trained, engine: Engine) -> dict[str, Any]:
    """Burrows' delta of the mirror's pages and the base's among the author's held-out pages."""
    training = [own_text(i) for i in items(mirror.split.train)]
    held = [own_text(i) for i in items(mirror.split.held)]
    words = page_words(*(sum(len(t.split()) for t in texts) for texts in (training, held)))
    found: dict[str, Any] = {"page_words": words}
    for model in ("mirror", "base") if words is not None else ():
        plan = _plan(model, Opening("", ("journal",), None), PAGE_TOKENS, 3000)
        wrote = continuations(engine, PAGES, plan)
        learned, own, pages = (_of_length(texts, words or 0) for texts in (training, held, wrote))
        found[model] = style(learned, own, pages, [1.0] * len(pages), words or 0)
    return found


def _of_length(texts: Sequence[str], words: int) -> list[str]:
    return [text for _, text in cut(((str(i), t) for i, t in enumerate(texts)), words)]


def table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        told, delta = row.figures["attributed"], row.figures["delta"]
        shares = [_share(told[f"{model}_after"]) for model in ("mirror", "base")]
        places = [_percentile(delta.get(model, {})) for model in ("mirror", "base")]
        real = f"{100 * row.figures['real_held_out']:.1f} %"
        lines.append([row.journal, real, *shares, _clear(told), *places])
    columns = ("journal", "real held-out pages", "mirror", "base", "clear of the base")
    more = ("delta percentile, mirror", "base")
    note = (
        "Shares of pieces taken for the right author, of five. Percentile: how many of the author's"
        " own held-out pages lie farther from the average page; 50 is the author's own."
    )
    return markdown((*columns, *more), lines) + "\n\n" + note


def _clear(told: dict[str, Any]) -> str:
    low, high = told["mirror_after"]["low"], told["base_after"]["high"]
    return yes(None if low is None or high is None else low > high)


def _share(one: dict[str, Any]) -> str:
    if one["share"] is None:
        return "too little text"
    return f"{100 * one['share']:.1f} % ({100 * one['low']:.0f} to {100 * one['high']:.0f})"


def _percentile(one: dict[str, Any]) -> str:
    if one.get("percentile") is None:
        return "too little text"
    return f"{one['percentile']:.0f} ({one['low']:.0f} to {one['high']:.0f})"


if __name__ == "__main__":
    main("author", __doc__, cases, table)
