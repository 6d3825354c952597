"""Does the mirror obey its tags? A classifier of real pages reads what it wrote under each.

Judged on words alone (white space folded to one space, lower case, the same for real and generated
pieces). Also bits per byte under the right header and wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.voice.classify import Judge, ratio, require
from benchmarks.voice.headers import Scored, bits_of, lower, scored
from benchmarks.voice.journals import SEEDS, Journal, items
from benchmarks.voice.mirrors import continuations, open_engine, trained, with_header
from benchmarks.voice.pieces import balanced, distinct, generated, real_pieces
from benchmarks.voice.rows import Bench, Case, Figures, Options, Row, interval, main, writing, yes
from vaultgpt.training.round import Item

TAGS = {
    "mixed-three-authors": ("journal", "dream", "poetry", "fiction"),
    "thoreau": ("journal", "poetry"),
}
BOUND = 0.9  # of real pages' accuracy
TEXTS, TOKENS = 200, 190  # a tag; about 130 words each
LEAST_PIECES, MOST_PIECES = 40, 1000  # real ones: below the least a tag is not judged
DISTINCT_WORDS = 4000
TOKENS_PER_S = 700.0  # eight at a time


def cases(options: Options) -> list[Case]:
    found = []
    for name, tags in TAGS.items():
        cost = len(tags) * TEXTS * TOKENS / TOKENS_PER_S + 45
        for seed in SEEDS.get(name, (1,)):
            found.append(_case(options, name, seed, "written", cost, _written, writing()))
            found.append(_case(options, name, seed, "headers", 25.0, _headers))
    return found


Measure = Callable[[Options, Journal, int], Figures]


def _case(
    options: Options,
    name: str,
    seed: int,
    what: str,
    cost: float,
    measure: Measure,
    wrote: str = "",
) -> Case:
    def run() -> Figures:
        require()
        return measure(options, _known(options.data / name), seed)

    return Case(name, seed, what, cost, run, writing=wrote)


@lru_cache(maxsize=4)
def _known(folder: Path) -> Journal:
    return Journal(folder)


@lru_cache(maxsize=4)
def _judge(folder: Path) -> Judge:
    journal = _known(folder)
    real = real_pieces(journal.notes, TAGS[journal.name], MOST_PIECES)
    return Judge(balanced(real, LEAST_PIECES))


def _written(options: Options, journal: Journal, seed: int) -> Figures:
    engine = open_engine(trained(options.work, journal, seed))
    texts = {
        tag: continuations(engine, TEXTS, 10_000 * seed + 97 * i, tags=(tag,), tokens=TOKENS)
        for i, tag in enumerate(TAGS[journal.name])
    }
    real = real_pieces(journal.notes, TAGS[journal.name], MOST_PIECES)
    real_texts = {tag: [p.text for p in real if p.label == tag] for tag in texts}
    return compare(texts, real_texts, _judge(journal.folder))


def compare(texts: dict[str, list[str]], real: dict[str, list[str]], judge: Judge) -> Figures:
    """Figures of texts written under each tag."""
    tags: dict[str, Any] = {}
    told: dict[str, list[float]] = {}
    for tag, wrote in texts.items():
        own = generated(wrote, tag)
        tags[tag] = {
            "real_pieces": len(real[tag]),
            "texts": len(wrote),
            "empty": sum(not t.split() for t in wrote),
            "pieces": len(own),
            "taken_for": judge.shares(own),
            **distinct(wrote, DISTINCT_WORDS),
            **{f"real_{k}": v for k, v in distinct(real[tag], DISTINCT_WORDS).items()},
        }
        if tag in judge.right and own:
            told[tag] = judge.each(own)
            tags[tag] |= ratio(judge, {tag: told[tag]})
    return {"tags": tags, "words_alone": ratio(judge, told) if told else None}


def _headers(options: Options, journal: Journal, seed: int) -> Figures:
    mirror = trained(options.work, journal, seed)
    found: dict[str, Any] = {}
    for tag in TAGS[journal.name]:
        held = [i for i in items(mirror.split.held) if tag in i.tags]
        others = [t for t in TAGS[journal.name] if t != tag]
        if held:
            found[tag] = _one_tag(held, others, lambda changed: scored(changed, mirror.adapter))
    return {"tags": found}


def _one_tag(
    held: list[Item], others: list[str], measure: Callable[[list[Item]], Scored]
) -> Figures:
    """Bits per byte of one tag's notes; the date stays but for "bare", and the title always."""
    right = measure(held)
    each = [measure(with_header(held, tags=(other,))) for other in others]
    wrong = {k: (sum(e[k][0] for e in each) / len(each), right[k][1]) for k in right}
    none, bare = measure(with_header(held, tags=())), measure(with_header(held, tags=(), date=""))
    return {
        "entries": len(right),
        "bytes": sum(b for _, b in right.values()),
        "right": bits_of(right),
        "wrong": bits_of(wrong),
        "none": bits_of(none),
        "bare": bits_of(bare),
        "over_wrong": lower(right, wrong),
        "over_none": lower(right, none),
    }


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| row | tag | real pieces | right, real | right, written | ratio | distinct-1, 2, 3 | "
        "of real text |",
        "|---|---|---|---|---|---|---|---|",
    ]
    tags = [(row, tag, t) for row in rows for tag, t in row.figures["tags"].items()]
    lines += [_written_line(row.key, tag, t) for row, tag, t in tags if row.what == "written"]
    lines += [
        "",
        "| notes | right header | wrong | no tag | no header | right below wrong |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_header_line(row.key, tag, t) for row, tag, t in tags if row.what == "headers"]
    lines += ["", f"| journal | written of real | at least {BOUND} |", "|---|---|---|"]
    for name in TAGS:
        told = [r.figures["words_alone"] for r in rows if r.journal == name and r.what == "written"]
        if ratios := [one["ratio"] for one in told if one]:
            mean, half = interval(ratios)
            spread = f" ± {half:.3f}, {len(ratios)} seeds" if len(ratios) > 1 else ""
            lines.append(f"| {name} | {mean:.3f}{spread} | {yes(mean >= BOUND)} |")
    return "\n".join(lines)


def _written_line(key: str, tag: str, t: dict[str, Any]) -> str:
    right = "too few | | "
    if "ratio" in t:
        right = f"{100 * t['real']:.1f} % | {100 * t['generated']:.1f} % | {t['ratio']:.3f}"
    own = ", ".join(f"{t[f'distinct_{n}']:.3f}" for n in (1, 2, 3))
    real = ", ".join(f"{t[f'real_distinct_{n}']:.3f}" for n in (1, 2, 3))
    return f"| {key} | {tag} | {t['real_pieces']} | {right} | {own} | {real} |"


def _header_line(key: str, tag: str, t: dict[str, Any]) -> str:
    o = t["over_wrong"]
    each = " | ".join(f"{t[name]:.4f}" for name in ("right", "wrong", "none", "bare"))
    gain = f"{o['gain']:.4f} ({o['low']:.4f} to {o['high']:.4f})"
    return f"| {key} {tag} ({t['entries']}) | {each} | {gain} |"


BENCH = Bench("tags", str(__doc__).splitlines()[0], cases, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
