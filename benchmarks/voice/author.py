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
from typing import Any

import numpy as np

from benchmarks.voice.classify import Classifier, require
from benchmarks.voice.journals import Journal, items
from benchmarks.voice.mirrors import Trained, continuations, open_engine, trained
from benchmarks.voice.pieces import Opening, Piece, cut, generated, half_sentences
from benchmarks.voice.rows import Bench, Case, Figures, Options, Row, main, writing, yes
from vaultgpt.mirror.engine import Engine
from vaultgpt.report.study import own_text
from vaultgpt.report.style import page_words, style
from vaultgpt.training.evaluate import spread
from vaultgpt.vault.reconcile import ScannedNote

AUTHORS = ("thoreau", "mary-maclane", "confederate-girl", "hawthorne", "amiel")
MIRRORS = AUTHORS[:4]  # the fifth only makes the choice harder
SEED = 1
PIECES = 600  # of each author's training pages
PROMPTS, EACH = 25, 8  # texts after held-out beginnings: 200 of the mirror, 200 of the base
EMPTY = 100  # and from nothing
TOKENS = 170  # about 115 words: one piece
PAGES, PAGE_TOKENS = 48, 440  # about 310 words each, for the delta
_DRAWS = 1000
TOKENS_PER_S = 700.0


def cases(options: Options) -> list[Case]:
    tokens = 2 * ((PROMPTS * EACH + EMPTY) * TOKENS + PAGES * PAGE_TOKENS)
    return [_case(options, name, tokens / TOKENS_PER_S + 60) for name in MIRRORS]


def _case(options: Options, name: str, cost: float) -> Case:
    def run() -> Figures:
        require()
        return _measure(options, name)

    return Case(name, SEED, "author", cost, run, writing=writing())


@lru_cache(maxsize=8)
def _journal(folder: Path) -> Journal:
    return Journal(folder)


def _pages(notes: Sequence[ScannedNote], author: str) -> list[Piece]:
    return [
        Piece(text, author, note) for note, text in cut((i.id, own_text(i)) for i in items(notes))
    ]


@lru_cache(maxsize=2)
def _classifier(data: Path) -> tuple[Classifier, dict[str, float]]:
    """Trained on training pages; and the share of each author's held-out pages told right."""
    learned: list[Piece] = []
    held: list[Piece] = []
    for author in AUTHORS:
        split = _journal(data / author).split(SEED)
        learned += spread(_pages(split.train, author), PIECES)
        held += _pages(split.held, author)
    judge = Classifier(learned)
    said = judge(held)
    right = {
        author: [s == p.label for s, p in zip(said, held, strict=True) if p.label == author]
        for author in AUTHORS
    }
    return judge, {author: sum(r) / len(r) for author, r in right.items() if r}


def _measure(options: Options, name: str) -> Figures:
    judge, real = _classifier(options.data)
    mirror = trained(options.work, _journal(options.data / name), SEED)
    engine = open_engine(mirror)
    held = items(mirror.split.held)
    prompts = half_sentences(held, PROMPTS, SEED, context=0, words=12)
    told: dict[str, Any] = {}
    for model in ("mirror", "base"):
        tags = ("journal",) if model == "mirror" else ()
        empty = continuations(engine, EMPTY, 7, tags=tags, tokens=TOKENS, model=model)
        told[f"{model}_after"] = attributed(judge, _after(engine, prompts, model), name)
        told[f"{model}_empty"] = attributed(judge, empty, name)
    return {
        "real_held_out": real[name],
        "prompts": len(prompts),
        "attributed": told,
        "delta": _delta(mirror, engine),
    }


def _after(engine: Engine, prompts: Sequence[Opening], model: str) -> list[str]:
    """Texts of the mirror under each prompt's own header; the base gets none, as it knows none."""
    found: list[str] = []
    for number, one in enumerate(prompts):
        one = one if model == "mirror" else replace(one, tags=(), date=None)
        found += continuations(
            engine,
            EACH,
            100 * number,
            tags=one.tags,
            date=one.date,
            texts=(one.text,),
            tokens=TOKENS,
            model=model,
        )
    return found


def attributed(judge: Classifier, texts: Sequence[str], author: str) -> dict[str, Any]:
    """{"pieces", "share", "low", "high", "as"}: what share of the pieces is taken for `author`."""
    pieces = generated(texts, author)
    said = judge(pieces)
    right = np.array([s == author for s in said], np.float64)
    if not len(right):
        return {"pieces": 0, "share": None, "low": None, "high": None, "as": {}}
    rng = np.random.default_rng(1)
    draws = right[rng.integers(0, len(right), (_DRAWS, len(right)))].mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {
        "pieces": len(pieces),
        "share": float(right.mean()),
        "low": float(low),
        "high": float(high),
        "as": {a: said.count(a) / len(said) for a in AUTHORS},
    }


def _delta(mirror: Trained, engine: Engine) -> dict[str, Any]:
    """Burrows' delta of the mirror's pages and the base's among the author's held-out pages."""
    texts = {
        "training": [own_text(i) for i in items(mirror.split.train)],
        "held": [own_text(i) for i in items(mirror.split.held)],
    }
    counts = {k: sum(len(t.split()) for t in v) for k, v in texts.items()}
    words = page_words(counts["training"], counts["held"])
    if words is None:
        return {"page_words": None}
    learned, own = (_of_length(texts[k], words) for k in ("training", "held"))
    found: dict[str, Any] = {"page_words": words}
    for model in ("mirror", "base"):
        tags = ("journal",) if model == "mirror" else ()
        wrote = continuations(engine, PAGES, 3000, tags=tags, tokens=PAGE_TOKENS, model=model)
        pages = _of_length(wrote, words)
        found[model] = style(learned, own, pages, [1.0] * len(pages), words)
    return found


def _of_length(texts: Sequence[str], words: int) -> list[str]:
    return [text for _, text in cut(((str(i), t) for i, t in enumerate(texts)), words)]


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| journal | real held-out pages | mirror | base | mirror, from nothing | base | "
        "mirror clear of the base | delta percentile, mirror | base |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        told, delta = row.figures["attributed"], row.figures["delta"]
        each = ("mirror_after", "base_after", "mirror_empty", "base_empty")
        shares = " | ".join(_share(told[k]) for k in each)
        places = " | ".join(_percentile(delta.get(m, {})) for m in ("mirror", "base"))
        real = f"{100 * row.figures['real_held_out']:.1f} %"
        lines.append(f"| {row.journal} | {real} | {shares} | {_clear(told)} | {places} |")
    lines += [
        "",
        "Shares of pieces taken for the right author, of five. Percentile: how many of "
        "the author's own held-out pages lie farther from the average page; 50 is the "
        "author's own.",
    ]
    return "\n".join(lines)


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


BENCH = Bench("author", str(__doc__).splitlines()[0], cases, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
