"""Does the mirror obey its tags? A classifier of real pages reads what it wrote under each.

Judged on words alone (white space folded to one space, lower case, the same for real and generated
pieces); with the layout kept beside it. Also bits per byte under the right header and wrong ones,
tag strength, an unknown tag and two tags at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.voice.classify import Judge, laid_out, ratio, require
from benchmarks.voice.headers import Scored, bits_of, lower, scored
from benchmarks.voice.journals import Journal, items
from benchmarks.voice.mirrors import continuations, open_engine, trained, with_header
from benchmarks.voice.pieces import balanced, distinct, folded, generated, real_pieces
from benchmarks.voice.rows import Bench, Case, Options, main, writing
from benchmarks.voice.tags_summary import ODD, SEEDS, STRENGTHS, TAGS, summary, table
from vaultgpt.training.round import Item
from vaultgpt.wire import Sampling

TEXTS, TOKENS = 200, 190  # a tag; about 130 words each
LEAST_PIECES, MOST_PIECES = 40, 1000  # real ones: below the least a tag is not judged
DISTINCT_WORDS = 4000
ODD_TEXTS = 40
TOKENS_PER_S = 700.0  # eight at a time; half of it where the header's pull is strengthened


def cases(options: Options) -> list[Case]:
    found = []
    for name, tags in TAGS.items():
        for seed in SEEDS[name]:
            for g in STRENGTHS if seed == 1 else (Sampling.tag_strength,):
                cost = len(tags) * TEXTS * TOKENS / TOKENS_PER_S * (1 if g == 1 else 2) + 45
                written = Sampling(tag_strength=g)
                found.append(_case(options, name, seed, str(g), cost, _written(written), written))
            found.append(_case(options, name, seed, "bpb", 25.0, _headers))
        cost = (len(tags) + len(ODD)) * ODD_TEXTS * TOKENS / TOKENS_PER_S + 60
        found.append(_case(options, name, 1, "odd", cost, _odd, Sampling()))
    return found


Measure = Callable[[Options, Journal, int], dict[str, Any]]


def _case(options: Options, name: str, seed: int, what: str, cost: float, measure: Measure,
          sampling: Sampling | None = None) -> Case:
    def run() -> dict[str, Any]:
        require()
        return measure(options, _journal(options, name), seed)

    return Case(f"{name}/{seed}/{what}", seed, cost, run,
                writes=writing(sampling) if sampling else "")


@lru_cache(maxsize=4)
def _known(folder: str) -> Journal:
    return Journal(Path(folder))


def _journal(options: Options, name: str) -> Journal:
    return _known(str(options.data / name))


@lru_cache(maxsize=4)
def _judge(folder: str, layout: bool) -> Judge:
    journal = _known(folder)
    real = real_pieces(journal.notes, TAGS[journal.name], MOST_PIECES)
    return Judge(balanced(real, LEAST_PIECES), laid_out if layout else folded)


def _written(sampling: Sampling) -> Measure:
    def measure(options: Options, journal: Journal, seed: int) -> dict[str, Any]:
        engine = open_engine(trained(options.work, journal, seed))
        texts = {
            tag: continuations(
                engine, TEXTS, 10_000 * seed + 97 * i, tags=(tag,), tokens=TOKENS, sampling=sampling
            )
            for i, tag in enumerate(TAGS[journal.name])
        }
        return compare(
            texts,
            _real_texts(journal),
            _judge(str(journal.folder), False),
            _judge(str(journal.folder), True),
        )

    return measure


def _real_texts(journal: Journal) -> dict[str, list[str]]:
    real = real_pieces(journal.notes, TAGS[journal.name], MOST_PIECES)
    return {tag: [p.text for p in real if p.label == tag] for tag in TAGS[journal.name]}


def compare(
    texts: dict[str, list[str]], real: dict[str, list[str]], judge: Judge, seen: Judge
) -> dict[str, Any]:
    """Figures of texts written under each tag; `seen` judges with the layout kept."""
    tags: dict[str, Any] = {}
    told: dict[str, list[float]] = {}
    looked: dict[str, list[float]] = {}
    for tag, wrote in texts.items():
        own = generated(wrote, tag)
        tags[tag] = {
            "real_pieces": len(real[tag]),
            "judged": len(real[tag]) >= LEAST_PIECES,
            "texts": len(wrote),
            "empty": sum(not t.split() for t in wrote),
            "pieces": len(own),
            "words": sum(len(t.split()) for t in wrote),
            "taken_for": judge.shares(own),
            **distinct(wrote, DISTINCT_WORDS),
            **{f"real_{k}": v for k, v in distinct(real[tag], DISTINCT_WORDS).items()},
        }
        if tag in judge.right and own:
            told[tag], looked[tag] = judge.each(own), seen.each(own)
            tags[tag] |= ratio(judge, {tag: told[tag]})
    return {
        "tags": tags,
        "words_alone": ratio(judge, told) if told else None,
        "layout_kept": ratio(seen, looked) if looked else None,
    }


def _headers(options: Options, journal: Journal, seed: int) -> dict[str, Any]:
    mirror = trained(options.work, journal, seed)
    found: dict[str, Any] = {}
    for tag in TAGS[journal.name]:
        held = [i for i in items(mirror.split.held) if tag in i.tags]
        if held:
            found[tag] = _one_tag(
                held,
                [t for t in TAGS[journal.name] if t != tag],
                lambda changed: scored(changed, mirror.adapter),
            )
    return {"tags": found}


def _one_tag(
    held: list[Item], others: list[str], measure: Callable[[list[Item]], Scored]
) -> dict[str, Any]:
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


def _odd(options: Options, journal: Journal, seed: int) -> dict[str, Any]:
    engine = open_engine(trained(options.work, journal, seed))
    asked = {**{tag: (tag,) for tag in TAGS[journal.name]}, **ODD}
    texts = {
        name: continuations(engine, ODD_TEXTS, 500 + 31 * i, tags=tags, tokens=TOKENS)
        for i, (name, tags) in enumerate(asked.items())
    }
    most = min(DISTINCT_WORDS, *(sum(len(t.split()) for t in own) for own in texts.values()))
    judge = _judge(str(journal.folder), False)
    return {
        "asked": {
            name: {
                "texts": len(own),
                "empty": sum(not t.split() for t in own),
                "words": sum(len(t.split()) for t in own),
                "taken_for": judge.shares(generated(own, name)),
                **{k: v for k, v in distinct(own, most).items() if k != "words"},
            }
            for name, own in texts.items()
        },
        "distinct_words": most,
    }


BENCH = Bench("tags", __doc__.splitlines()[0], cases, summary, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
