"""Does the mirror copy its author? 1,000 continuations with the guard on and off, and canaries.

Half begin from nothing, half in the middle of the author's own learned sentences, where copying is
likeliest. Counted by an index of its own (copied.py), the words before the cursor included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.voice.canary import canaries, canary_lines
from benchmarks.voice.copied import Standing
from benchmarks.voice.journals import Journal, items
from benchmarks.voice.mirrors import Trained, learned_text, open_engine, trained, write
from benchmarks.voice.pieces import Opening, half_sentences
from benchmarks.voice.rows import Bench, Case, Figures, Options, Row, main, writing, yes
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.prompting import MOST_ALTERNATIVES
from vaultgpt.wire import Piece, Prompt, Sampling, Usage

JOURNAL, SEED = "thoreau", 1
TEXTS = 1000
EACH = 4  # texts after one half sentence
TOKENS = 115  # about 80 words
COPY_WORDS, GUARD_WORDS = 8, 10
PAIRS, PAIR_TOKENS, LEAST_TOKENS = 120, 160, 40  # of the speed row
COST_BOUND = 0.05
HEADERS = (("journal",), ("poetry",), ())
TOKENS_PER_S, ALONE_PER_S = 600.0, 300.0


@dataclass(frozen=True)
class Written:
    """One continuation and what stood before it."""

    before: str
    text: str


def cases(options: Options) -> list[Case]:
    thousand = TEXTS * TOKENS / TOKENS_PER_S + 60
    pairs = 2 * PAIRS * PAIR_TOKENS / ALONE_PER_S + 20

    def case(what: str, cost: float, measure: Callable[[Trained], Figures]) -> Case:
        def run() -> Figures:
            return measure(trained(options.work, Journal(options.data / JOURNAL), SEED))

        return Case(JOURNAL, SEED, what, cost, run, writing=writing())

    def planted() -> Figures:
        return canaries(Journal(options.data / JOURNAL), options.work / "canary", SEED)

    return [
        case("on", thousand, lambda mirror: _copying(mirror, guard=True)),
        case("off", thousand, lambda mirror: _copying(mirror, guard=False)),
        case("speed", pairs, _speed),
        Case(JOURNAL, SEED, "canary", 180.0, planted, writing=writing()),
    ]


def _copying(mirror: Trained, *, guard: bool) -> dict[str, Any]:
    vault = Standing(learned_text(mirror))
    engine = open_engine(mirror, guard=guard)
    sampling = Sampling(guard=guard)
    half = TEXTS // 2
    empty = from_nothing(engine, half, sampling)
    openings = half_sentences(items(mirror.split.train), half // EACH, SEED)
    inside = after(engine, openings, EACH, sampling)
    held = [i.text for i in items(mirror.split.held)]
    return {
        **counted(vault, [*empty, *inside]),
        "from_nothing": counted(vault, empty),
        "half_sentences": counted(vault, inside),
        "author": counted(vault, [Written("", t) for t in held]),
    }


def from_nothing(engine: Engine, count: int, sampling: Sampling) -> list[Written]:
    """`count` texts, MOST_ALTERNATIVES at a time, under each header in turn."""
    found: list[Written] = []
    while len(found) < count:
        number = len(found) // MOST_ALTERNATIVES
        prompt = Prompt(
            "",
            HEADERS[number % len(HEADERS)],
            length="tokens",
            max_tokens=TOKENS,
            n=min(MOST_ALTERNATIVES, count - len(found)),
            seed=1000 * number,
            sampling=sampling,
        )
        found += [Written("", text) for text in write(engine, prompt)]
    return found


def after(
    engine: Engine, openings: Sequence[Opening], each: int, sampling: Sampling
) -> list[Written]:
    """`each` texts after every opening, under its own header."""
    found: list[Written] = []
    for number, one in enumerate(openings):
        prompt = Prompt(
            one.text,
            one.tags,
            one.date,
            length="tokens",
            max_tokens=TOKENS,
            n=each,
            seed=7 + 1000 * number,
            sampling=sampling,
        )
        found += [Written(one.text, text) for text in write(engine, prompt)]
    return found


def counted(vault: Standing, found: Sequence[Written]) -> dict[str, Any]:
    """Counts over texts; shares are of the runs of 8 words that lie in the new text alone."""
    pairs = [vault.shared(one.text, COPY_WORDS) for one in found]
    done = [vault.completed(one.before, one.text, GUARD_WORDS) for one in found]
    total = sum(runs for runs, _ in pairs)
    sizes = sorted(len(one.text.split()) for one in found)
    return {
        "texts": len(found),
        "words": sum(sizes),
        "median_words": sizes[len(sizes) // 2],
        "empty": sizes.count(0),
        "runs_of_8": total,
        "copied_8": sum(c for _, c in pairs),
        "share_8": sum(c for _, c in pairs) / max(1, total),
        "completed_10": sum(done),
        "texts_with_10": sum(d > 0 for d in done),
        "longest": max(vault.longest("", one.text) for one in found),
        "longest_joined": max(vault.longest(one.before, one.text) for one in found),
    }


def _speed(mirror: Trained) -> dict[str, Any]:
    """The same prompts and seeds with the guard on and off, in turns, one text at a time."""
    engine = open_engine(mirror)
    openings = half_sentences(items(mirror.split.train), PAIRS // 2, SEED + 1)
    openings += [Opening("", HEADERS[i % 2], None) for i in range(PAIRS - len(openings))]
    timed: list[tuple[float, float, float, float]] = []
    for number, one in enumerate([openings[0], *openings]):
        prompt = Prompt(
            one.text, one.tags, one.date, length="tokens", max_tokens=PAIR_TOKENS, seed=number
        )
        order = (True, False) if number % 2 else (False, True)
        got = {
            guard: _timed(engine, replace(prompt, sampling=Sampling(guard=guard)))
            for guard in order
        }
        if number and min(got[True][0], got[False][0]) >= LEAST_TOKENS:  # the first only warms up
            timed.append((*got[True], *got[False]))
    return speed(timed)


def _timed(engine: Engine, prompt: Prompt) -> tuple[float, float]:
    """(tokens after the first, seconds they took)."""
    usage = None
    for said in engine.generate(prompt, lambda: False):
        usage = said if isinstance(said, Usage) else usage
        assert isinstance(said, Piece | Usage)
    assert usage is not None
    tokens = float(usage.tokens - 1)
    return (tokens, tokens / usage.tokens_per_s) if usage.tokens_per_s else (0.0, 0.0)


def speed(timed: Sequence[tuple[float, float, float, float]]) -> dict[str, Any]:
    """From (tokens, s) with the guard and (tokens, s) without: its cost as a share of speed.

    All tokens over all seconds; the interval of 95 % resamples pairs.
    """
    table = np.array(timed, np.float64)  # [pairs, 4]
    rng = np.random.default_rng(1)

    def cost(rows: np.ndarray[Any, Any]) -> float:
        tokens, seconds, bare, bare_s = rows.sum(0)
        return float(1 - (tokens / seconds) / (bare / bare_s))

    draws = [cost(table[rng.integers(0, len(table), len(table))]) for _ in range(1000)]
    low, high = np.percentile(draws, [2.5, 97.5])
    sums = table.sum(0)
    each = 1 - (table[:, 0] / table[:, 1]) / (table[:, 2] / table[:, 3])
    return {
        "pairs": len(table),
        "on_tokens_per_s": float(sums[0] / sums[1]),
        "off_tokens_per_s": float(sums[2] / sums[3]),
        "cost": cost(table),
        "low": float(low),
        "high": float(high),
        "median_cost": float(np.median(each)),
    }


def table(rows: Sequence[Row]) -> str:
    have = {r.what: r.figures for r in rows}
    lines = [
        "| texts | n | words | longest copied run | with the words before | "
        "8-word runs copied | texts that complete 10 words |",
        "|---|---|---|---|---|---|---|",
    ]
    for what in ("on", "off"):
        if one := have.get(what):
            lines += [
                _line(f"guard {what}", one),
                _line(f"guard {what}, from nothing", one["from_nothing"]),
                _line(f"guard {what}, after half sentences", one["half_sentences"]),
                _line("the author's held-out notes", one["author"]),
            ]
    if on := have.get("on"):
        met = on["texts_with_10"] == 0 and on["texts"] == TEXTS
        lines += ["", f"No run of 10 words completed in {TEXTS} texts: {yes(met)}."]
    if pace := have.get("speed"):
        lines += [
            "",
            f"Guard on {pace['on_tokens_per_s']:.0f} tokens/s, off "
            f"{pace['off_tokens_per_s']:.0f}: it costs {100 * pace['cost']:.1f} % "
            f"({100 * pace['low']:.1f} to {100 * pace['high']:.1f}), {pace['pairs']} pairs; "
            f"under {100 * COST_BOUND:.0f} %: {yes(pace['cost'] < COST_BOUND)}.",
        ]
    return "\n".join(lines + (canary_lines(have["canary"]) if "canary" in have else []))


def _line(name: str, one: dict[str, Any]) -> str:
    return (
        f"| {name} | {one['texts']} | {one['words']:,} | {one['longest']} | "
        f"{one['longest_joined']} | {100 * one['share_8']:.2f} % | {one['texts_with_10']} |"
    )


BENCH = Bench("copying", str(__doc__).splitlines()[0], cases, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
