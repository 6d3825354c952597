"""Does the mirror obey its tags? A classifier of real pages reads what it wrote under each.

Judged on words alone (white space folded to one space, lower case, the same for real and generated
pieces).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.common import markdown
from benchmarks.voice.journals import SEEDS, Journal
from benchmarks.voice.mirrors import continuations, open_engine, trained
from benchmarks.voice.pieces import Judge, Piece, balanced, distinct, generated, real_pieces
from benchmarks.voice.rows import Case, Figures, Options, Row, main, over_seeds, yes
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
    return [Case(name, seed, "written") for name in TAGS for seed in SEEDS.get(name, (1,))]


def measure(options: Options, case: Case) -> Figures:
    name, journal = case.journal, Journal(options.data / case.journal)
    real = real_pieces(journal.notes, TAGS[name], MOST_PIECES)
    judge = Judge(balanced(real, LEAST_PIECES))
    engine = open_engine(trained(options, journal, case.seed))
    tags: dict[str, Any] = {}
    judged: dict[str, list[Piece]] = {}
    for i, tag in enumerate(TAGS[name]):
        seed = 10_000 * case.seed + 97 * i
        plan = Prompt("", (tag,), length="tokens", max_tokens=TOKENS, seed=seed)
        wrote = continuations(engine, options.of(TEXTS), plan)
        real_texts = [p.text for p in real if p.label == tag]
        tags[tag] = {
            "real_pieces": len(real_texts),
            "distinct_1": distinct(wrote, DISTINCT_WORDS),
            "real_distinct_1": distinct(real_texts, DISTINCT_WORDS),
        }
        own = generated(wrote, tag)
        if tag in judge.accuracy and own:
            judged[tag] = own
            tags[tag] |= judge.ratio({tag: own})
    return {"tags": tags, "words_alone": judge.ratio(judged) if judged else None}


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
    words = [f"{t[key]:.3f}" for key in ("distinct_1", "real_distinct_1")]
    return [key, tag, t["real_pieces"], *right, *words]


if __name__ == "__main__":
    main(__doc__, cases, measure, table, writes=True)
