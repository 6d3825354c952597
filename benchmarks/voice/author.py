"""Does it sound like this author and no other? Burrows' delta, and a classifier between authors.

The classifier reads 100-word pieces of five diarists, words alone (quotes, dashes, case and white
space folded, since editions differ in them). The mirror and the base write on after the same first
words of held-out paragraphs; only what they wrote is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.common import markdown, middle
from benchmarks.voice.journals import Journal, half_sentences, items
from benchmarks.voice.mirrors import Trained, continuations, open_engine, trained
from benchmarks.voice.pieces import Classifier, Piece, cut, generated
from benchmarks.voice.rows import Case, Figures, Options, Row, main, yes
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


def cases(options: Options) -> list[Case]:
    return [Case(name, SEED, "author") for name in MIRRORS]


def _pages(notes: Sequence[ScannedNote], author: str) -> list[Piece]:
    return [
        Piece(text, author, note) for note, text in cut((i.id, own_text(i)) for i in items(notes))
    ]


@lru_cache(maxsize=1)
def _classifier(data: Path) -> Classifier:
    """Of pieces of every author's training pages."""
    learned: list[Piece] = []
    for author in AUTHORS:
        learned += spread(_pages(Journal(data / author).split(SEED)[0], author), PIECES)
    return Classifier(learned)


def measure(options: Options, case: Case) -> Figures:
    name, judge = case.journal, _classifier(options.data)
    mirror = trained(options, Journal(options.data / name), SEED)
    engine = open_engine(mirror)
    prompts = half_sentences(items(mirror.held), options.of(PROMPTS), SEED, context=0, words=12)
    told = {}
    for model in ("mirror", "base"):
        texts: list[str] = []
        for number, one in enumerate(prompts):
            asked = replace(one, max_tokens=TOKENS)
            texts += _after(engine, EACH, asked, model, 100 * number)
        told[f"{model}_after"] = _attributed(judge, texts, name)
    real = fmean(judge.right(_pages(mirror.held, name)))
    delta = _delta(mirror, engine, options.of(PAGES))
    return {"real_held_out": real, "prompts": len(prompts), "attributed": told, "delta": delta}


def _after(engine: Engine, count: int, one: Prompt, model: str, seed: int) -> list[str]:
    """Texts of the mirror under a header; the base gets none, as it knows none."""
    if model == "base":
        one = Prompt(one.text, max_tokens=one.max_tokens)
    return continuations(engine, count, replace(one, length="tokens", seed=seed, model=model))


def _attributed(judge: Classifier, texts: Sequence[str], author: str) -> dict[str, Any]:
    """{"pieces", "share", "low", "high"}: what share of the pieces is taken for `author`."""
    right = judge.right(generated(texts, author))
    if not right:
        return {"pieces": 0, "share": None, "low": None, "high": None}
    share, count = fmean(right), len(right)
    low, high = middle(np.random.default_rng(1).binomial(count, share, 1000) / count)
    return {"pieces": count, "share": share, "low": low, "high": high}


def _delta(mirror: Trained, engine: Engine, pages: int) -> dict[str, Any]:
    """Burrows' delta of the mirror's pages and the base's among the author's held-out pages."""
    training = [own_text(i) for i in items(mirror.learned)]
    held = [own_text(i) for i in items(mirror.held)]
    words = page_words(*(sum(len(t.split()) for t in texts) for texts in (training, held)))
    if words is None:
        return {}
    learned, own = _of_length(training, words), _of_length(held, words)
    found = {}
    for model in ("mirror", "base"):
        page = Prompt("", ("journal",), max_tokens=PAGE_TOKENS)
        wrote = _of_length(_after(engine, pages, page, model, 3000), words)
        found[model] = style(learned, own, wrote, [1.0] * len(wrote), words)
    return found


def _of_length(texts: Sequence[str], words: int) -> list[str]:
    return [text for _, text in cut((("", text) for text in texts), words)]


def table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        told, delta = row.figures["attributed"], row.figures["delta"]
        mirror, base = told["mirror_after"], told["base_after"]
        known = mirror["share"] is not None and base["share"] is not None
        clear = yes(mirror["low"] > base["high"] if known else None)
        shares = [_share(one) for one in (mirror, base)]
        places = [_percentile(delta.get(model, {})) for model in ("mirror", "base")]
        real = f"{100 * row.figures['real_held_out']:.1f} %"
        lines.append([row.journal, real, *shares, clear, *places])
    columns = ("journal", "real held-out pages", "mirror", "base", "clear of the base")
    more = ("delta percentile, mirror", "base")
    note = (
        "Shares of pieces taken for the right author, of five. Percentile: how many of the author's"
        " own held-out pages lie farther from the average page; 50 is the author's own."
    )
    return markdown((*columns, *more), lines) + "\n\n" + note


def _share(one: dict[str, Any]) -> str:
    if one["share"] is None:
        return "too little text"
    return f"{100 * one['share']:.1f} % ({100 * one['low']:.0f} to {100 * one['high']:.0f})"


def _percentile(one: dict[str, Any]) -> str:
    if one.get("percentile") is None:
        return "too little text"
    return f"{one['percentile']:.0f} ({one['low']:.0f} to {one['high']:.0f})"


if __name__ == "__main__":
    main(__doc__, cases, measure, table, writes=True)
