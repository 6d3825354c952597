"""Does the mirror obey its tags? A classifier of real pages reads what it wrote under each.

Judged on words alone (white space folded to one space, lower case, the same for real and generated
pieces).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.common import markdown
from benchmarks.voice.journals import SEEDS, Journal
from benchmarks.voice.mirrors import continuations, open_engine, trained
from benchmarks.voice.pieces import (
    Judge,
    balanced,
    distinct,
    generated,
    ratio,
    real_pieces,
    require,
)
from benchmarks.voice.rows import Case, Figures, Options, Row, main, over_seeds, writing, yes
from vaultgpt.wire import Prompt

TAGS = {
    "mixed-three-authors": ("journal", "dream", "poetry", "fiction"),
    "thoreau": ("journal", "poetry"),
}
BOUND = 0.9  # of real pages' accuracy
TEXTS, TOKENS = 200, 190  # a tag; about 130 words each
LEAST_PIECES, MOST_PIECES = 40, 1000  # real ones: below the least a tag is not judged
DISTINCT_WORDS = 4000


def cases(options: Options) -> list[Case]:
    return [
        Case(name, seed, "written", partial(_written, options, name, seed), writing())
        for name in TAGS
        for seed in SEEDS.get(name, (1,))
    ]


def _written(options: Options, name: str, seed: int) -> Figures:
    require()
    journal = Journal(options.data / name)
    real = real_pieces(journal.notes, TAGS[journal.name], MOST_PIECES)
    judge = Judge(balanced(real, LEAST_PIECES))
    engine = open_engine(trained(options, journal, seed))
    tags: dict[str, Any] = {}
    told: dict[str, list[float]] = {}
    for i, tag in enumerate(TAGS[journal.name]):
        plan = Prompt("", (tag,), length="tokens", max_tokens=TOKENS, seed=10_000 * seed + 97 * i)
        wrote = continuations(engine, options.of(TEXTS), plan)
        own, real_texts = generated(wrote, tag), [p.text for p in real if p.label == tag]
        tags[tag] = {
            "real_pieces": len(real_texts),
            "texts": len(wrote),
            "pieces": len(own),
            "distinct_1": distinct(wrote, DISTINCT_WORDS),
            "real_distinct_1": distinct(real_texts, DISTINCT_WORDS),
        }
        if tag in judge.right and own:
            told[tag] = judge.each(own)
            tags[tag] |= ratio(judge, {tag: told[tag]})
    return {"tags": tags, "words_alone": ratio(judge, told) if told else None}


def table(rows: Sequence[Row]) -> str:
    lines = [_line(row.key, tag, t) for row in rows for tag, t in row.figures["tags"].items()]
    columns = ("row", "tag", "real pieces", "right, real", "written", "ratio", "distinct", "real")
    judged = []
    for name in TAGS:
        found = [r.figures["words_alone"] for r in rows if r.journal == name]
        if ratios := [one["ratio"] for one in found if one]:
            told, mean = over_seeds(ratios, ".3f")
            judged.append((name, told, yes(mean >= BOUND)))
    bound = ("journal", "written of real", f"at least {BOUND}")
    return markdown(columns, lines) + "\n\n" + markdown(bound, judged)


def _line(key: str, tag: str, t: dict[str, Any]) -> list[object]:
    right = ["too few", "", ""]
    if "ratio" in t:
        right = [f"{100 * t['real']:.1f} %", f"{100 * t['generated']:.1f} %", f"{t['ratio']:.3f}"]
    return [key, tag, t["real_pieces"], *right, *(f"{t[k]:.3f}" for k in _DISTINCT)]


_DISTINCT = ("distinct_1", "real_distinct_1")

if __name__ == "__main__":
    main("tags", __doc__, cases, table)
