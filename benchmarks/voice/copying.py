"""Does the mirror copy its author? 1,000 continuations with the guard on and off, and its cost.

Half begin from nothing, half in the middle of the author's own learned sentences, where copying is
likeliest, the words before the cursor included. The index that counts shares no code with the
guard that it checks, neither its way to words nor its hashes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.common import markdown, middle
from benchmarks.voice.journals import Journal, items
from benchmarks.voice.mirrors import Trained, continuations, open_engine, trained
from benchmarks.voice.pieces import Opening, half_sentences
from benchmarks.voice.rows import Case, Figures, Options, Row, main, writing, yes
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.prompting import MOST_ALTERNATIVES
from vaultgpt.wire import Prompt, Sampling, Usage

JOURNAL, SEED = "thoreau", 1
TEXTS = 1000
EACH = 4  # texts after one half sentence
TOKENS = 115  # about 80 words
COPY_WORDS, GUARD_WORDS = 8, 10
ANCHOR = 4  # words; a shorter copied run counts as none
PAIRS, PAIR_TOKENS, LEAST_TOKENS = 120, 160, 40  # of the speed row
COST_BOUND = 0.05
HEADERS = (("journal",), ("poetry",), ())
_WORD = re.compile(r"[^\W_]+")
Run = tuple[str, ...]


def cases(options: Options) -> list[Case]:
    return [
        Case(JOURNAL, SEED, what, partial(_measured, options, what), writing())
        for what in ("on", "off", "speed")
    ]


def _measured(options: Options, what: str) -> Figures:
    mirror = trained(options, Journal(options.data / JOURNAL), SEED)
    return _speed(mirror) if what == "speed" else _copying(mirror, guard=what == "on")


# What stands in a vault word for word -------------------------------------------------------------


def _words(text: str) -> list[tuple[int, str]]:
    """(end in characters, normalised word) of each word: letters and digits, NFKC, casefold."""

    def normal(word: str) -> str:
        return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())

    return [(m.end(), normal(m.group())) for m in _WORD.finditer(text)]


def _runs(words: Sequence[str], n: int) -> list[Run]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


class Standing:
    """The runs of some texts; none crosses from one text into the next."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [[w for _, w in _words(t)] for t in texts]
        self._sets: dict[int, set[Run]] = {}
        self._places: dict[Run, list[tuple[int, int]]] = {}
        for number, words in enumerate(self._texts):
            for at, run in enumerate(_runs(words, ANCHOR)):
                self._places.setdefault(run, []).append((number, at))

    def of(self, n: int) -> set[Run]:
        """All runs of n words."""
        if n not in self._sets:
            self._sets[n] = {run for words in self._texts for run in _runs(words, n)}
        return self._sets[n]

    def completed(self, before: str, text: str, n: int) -> int:
        """Runs of n words that stand here and whose last word ends in `text`, after `before`."""
        words, known = _words(before + text), self.of(n)
        ends = [end for end, _ in words[n - 1 :]]
        runs = _runs([w for _, w in words], n)
        return sum(e > len(before) and r in known for e, r in zip(ends, runs, strict=False))

    def longest(self, before: str, text: str) -> int:
        """Words of the longest run that stands here and ends in `text`; it may begin before."""
        words = _words(before + text)
        first = next((i for i, (end, _) in enumerate(words) if end > len(before)), len(words))
        plain, best = [w for _, w in words], 0
        for at, run in enumerate(_runs(plain, ANCHOR)):
            for number, place in self._places.get(run, ()):
                own, size = self._texts[number], ANCHOR
                most = min(len(plain) - at, len(own) - place)
                while size < most and plain[at + size] == own[place + size]:
                    size += 1
                if at + size > first:
                    best = max(best, size)
        return best


# What is written ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """One continuation and what stood before it."""

    before: str
    text: str


def _copying(mirror: Trained, *, guard: bool) -> Figures:
    entries = [entry for one in mirror.split.train for entry in one.note.entries]
    vault = Standing(entry.document()[0] for entry in entries)
    engine, half = open_engine(mirror, guard=guard), TEXTS // 2
    plan = Prompt("", length="tokens", max_tokens=TOKENS, sampling=Sampling(guard=guard))
    empty = _from_nothing(engine, half, plan)
    inside: list[Written] = []
    openings = half_sentences(items(mirror.split.train), half // EACH, SEED)
    for number, one in enumerate(openings):
        asked = replace(plan, text=one.text, tags=one.tags, date=one.date, seed=7 + 1000 * number)
        inside += [Written(one.text, text) for text in continuations(engine, EACH, asked)]
    return {
        **counted(vault, [*empty, *inside]),
        "from_nothing": counted(vault, empty),
        "half_sentences": counted(vault, inside),
        "author": counted(vault, [Written("", i.text) for i in items(mirror.split.held)]),
    }


def _from_nothing(engine: Engine, count: int, plan: Prompt) -> list[Written]:
    """`count` texts, MOST_ALTERNATIVES at a time, under each header in turn."""
    found: list[Written] = []
    while len(found) < count:
        number = len(found) // MOST_ALTERNATIVES
        asked = replace(plan, tags=HEADERS[number % len(HEADERS)], seed=1000 * number)
        drawn = min(MOST_ALTERNATIVES, count - len(found))
        found += [Written("", text) for text in continuations(engine, drawn, asked)]
    return found


def counted(vault: Standing, found: Sequence[Written]) -> dict[str, Any]:
    """Counts over texts; shares are of the runs of 8 words that lie in the new text alone."""
    runs = [run for one in found for run in _runs([w for _, w in _words(one.text)], COPY_WORDS)]
    done = [vault.completed(one.before, one.text, GUARD_WORDS) for one in found]
    copied = sum(run in vault.of(COPY_WORDS) for run in runs)
    return {
        "texts": len(found),
        "words": sum(len(one.text.split()) for one in found),
        "share_8": copied / max(1, len(runs)),
        "texts_with_10": sum(d > 0 for d in done),
        "longest": max(vault.longest("", one.text) for one in found),
        "longest_joined": max(vault.longest(one.before, one.text) for one in found),
    }


def _speed(mirror: Trained) -> Figures:
    """The same prompts and seeds with the guard on and off, in turns, one text at a time."""
    engine = open_engine(mirror)
    openings = half_sentences(items(mirror.split.train), PAIRS // 2, SEED + 1)
    openings += [Opening("", HEADERS[i % 2], None) for i in range(PAIRS - len(openings))]
    timed: list[tuple[float, float, float, float]] = []
    plan = Prompt("", length="tokens", max_tokens=PAIR_TOKENS)
    for number, one in enumerate([openings[0], *openings]):
        asked = replace(plan, text=one.text, tags=one.tags, date=one.date, seed=number)
        order = (True, False) if number % 2 else (False, True)
        got = {g: _timed(engine, replace(asked, sampling=Sampling(guard=g))) for g in order}
        if number and min(got[True][0], got[False][0]) >= LEAST_TOKENS:  # the first only warms up
            timed.append((*got[True], *got[False]))
    return speed(timed)


def _timed(engine: Engine, prompt: Prompt) -> tuple[float, float]:
    """(tokens after the first, seconds they took)."""
    (usage,) = (s for s in engine.generate(prompt, lambda: False) if isinstance(s, Usage))
    tokens = float(usage.tokens - 1)
    return (tokens, tokens / usage.tokens_per_s) if usage.tokens_per_s else (0.0, 0.0)


def speed(timed: Sequence[tuple[float, float, float, float]]) -> Figures:
    """From (tokens, s) with the guard and (tokens, s) without: its cost as a share of speed.

    All tokens over all seconds; the interval of 95 % resamples pairs.
    """
    pairs = np.array(timed, np.float64)  # [pairs, 4]
    picks = np.random.default_rng(1).integers(0, len(pairs), (1000, len(pairs)))

    def cost(sums: np.ndarray[Any, Any]) -> Any:
        return 1 - (sums[..., 0] / sums[..., 1]) / (sums[..., 2] / sums[..., 3])

    low, high = middle(cost(pairs[picks].sum(1)))
    sums = pairs.sum(0)
    return {
        "pairs": len(pairs),
        "on_tokens_per_s": float(sums[0] / sums[1]),
        "off_tokens_per_s": float(sums[2] / sums[3]),
        "cost": float(cost(sums)),
        "low": low,
        "high": high,
    }


def table(rows: Sequence[Row]) -> str:
    have = {r.what: r.figures for r in rows}
    lines, said = [], []
    for what in ("on", "off"):
        if one := have.get(what):
            parts = {"": one, ", from nothing": one["from_nothing"]}
            parts[", after half sentences"] = one["half_sentences"]
            lines += [_line(f"guard {what}{name}", part) for name, part in parts.items()]
    if on := have.get("on"):
        lines.append(_line("the author's held-out notes", on["author"]))
        met = on["texts_with_10"] == 0 and on["texts"] == TEXTS
        said.append(f"No run of 10 words completed in {TEXTS} texts: {yes(met)}.")
    if pace := have.get("speed"):
        said.append(
            f"Guard on {pace['on_tokens_per_s']:.0f} tokens/s, off "
            f"{pace['off_tokens_per_s']:.0f}: it costs {100 * pace['cost']:.1f} % "
            f"({100 * pace['low']:.1f} to {100 * pace['high']:.1f}), {pace['pairs']} pairs; "
            f"under {100 * COST_BOUND:.0f} %: {yes(pace['cost'] < COST_BOUND)}."
        )
    columns = ("texts", "n", "words", "longest copied run", "with the words before")
    more = ("8-word runs copied", "texts that complete 10 words")
    return "\n\n".join([markdown((*columns, *more), lines), *said])


def _line(name: str, one: dict[str, Any]) -> list[object]:
    runs = (one["longest"], one["longest_joined"], f"{100 * one['share_8']:.2f} %")
    return [name, one["texts"], f"{one['words']:,}", *runs, one["texts_with_10"]]


if __name__ == "__main__":
    main("copying", __doc__, cases, table)
