"""Does the mirror copy its author? 1,000 continuations with the guard on and off, and its cost.

Half begin from nothing, half in the middle of the author's own learned sentences, where copying is
likeliest, the words before the cursor included. The index that counts shares no code with the
guard that it checks, neither its way to words nor its hashes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.common import markdown, middle
from benchmarks.voice.journals import Journal, half_sentences, items
from benchmarks.voice.mirrors import Trained, continuations, open_engine, trained, write
from benchmarks.voice.rows import Case, Figures, Options, Row, main, yes
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.prompting import MOST_ALTERNATIVES
from vaultgpt.wire import Prompt, Sampling

JOURNAL, SEED = "thoreau", 1
TEXTS = 1000
EACH = 4  # texts after one half sentence
TOKENS = 115  # about 80 words
COPY_WORDS, GUARD_WORDS = 8, 10
PAIRS, PAIR_TOKENS, LEAST_TOKENS = 120, 160, 40  # of the speed row
COST_BOUND = 0.05
HEADERS = (("journal",), ("poetry",), ())
ANCHOR = 4  # words; a shorter copied run counts as none
Run = tuple[str, ...]
_WORD = re.compile(r"[^\W_]+")


def cases(options: Options) -> list[Case]:
    return [Case(JOURNAL, SEED, what) for what in ("on", "off", "speed")]


def measure(options: Options, case: Case) -> Figures:
    mirror = trained(options, Journal(options.data / JOURNAL), SEED)
    if case.what == "speed":
        return _speed(options, mirror)
    return _copying(options, mirror, guard=case.what == "on")


class Standing:
    """What stands in some texts word for word; no run crosses from one text into the next."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._places: dict[Run, list[int]] = defaultdict(list)
        before = 0  # words of the texts before
        for words in map(_words, texts):
            for at, run in enumerate(_anchors(words)):
                self._places[run].append(before + at)
            before += len(words)

    def lengths(self, before: str, text: str) -> list[int]:
        """For each word of `text` how many words in a row stand here that end with it.

        They may begin in `before`, in the middle of whose last word `text` may go on.
        """
        words = _words(before + text)
        found, sizes = [0] * min(ANCHOR - 1, len(words)), dict[int, int]()
        for run in _anchors(words):
            places = self._places.get(run, ())
            sizes = {place: sizes.get(place - 1, ANCHOR - 1) + 1 for place in places}
            found.append(max(sizes.values(), default=0))
        return found[len(found) - len(_words(text)) :]


def _anchors(words: Sequence[str]) -> list[Run]:
    return [tuple(words[at : at + ANCHOR]) for at in range(len(words) - ANCHOR + 1)]


def _words(text: str) -> list[str]:
    """Letters and digits, NFKC, casefold."""

    def normal(word: str) -> str:
        return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())

    return [normal(word) for word in _WORD.findall(text)]


def _copying(options: Options, mirror: Trained, *, guard: bool) -> Figures:
    entries = [entry for one in mirror.learned for entry in one.note.entries]
    vault = Standing(entry.document()[0] for entry in entries)
    engine, half = open_engine(mirror, guard=guard), options.of(TEXTS, 8) // 2
    how: Any = {"length": "tokens", "max_tokens": TOKENS, "sampling": Sampling(guard=guard)}
    empty, inside = [], []
    for number, at in enumerate(range(0, half, MOST_ALTERNATIVES)):
        plan = Prompt("", HEADERS[number % len(HEADERS)], seed=1000 * number, **how)
        drawn = continuations(engine, min(MOST_ALTERNATIVES, half - at), plan)
        empty += [("", text) for text in drawn]
    for number, one in enumerate(half_sentences(items(mirror.learned), half // EACH, SEED)):
        plan = replace(one, seed=7 + 1000 * number, **how)
        inside += [(one.text, text) for text in continuations(engine, EACH, plan)]
    return {
        **counted(vault, [*empty, *inside]),
        "from_nothing": counted(vault, empty),
        "half_sentences": counted(vault, inside),
        "author": counted(vault, [("", i.text) for i in items(mirror.held)]),
    }


def counted(vault: Standing, found: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Counts over (what stood before, text); the share is of the runs in the text alone."""
    alone = [vault.lengths("", text) for _, text in found]
    joined = [vault.lengths(*one) for one in found]
    runs = [size >= COPY_WORDS for sizes in alone for size in sizes[COPY_WORDS - 1 :]]
    return {
        "texts": len(found),
        "words": sum(len(text.split()) for _, text in found),
        "share_8": sum(runs) / max(1, len(runs)),
        "texts_with_10": sum(max(sizes, default=0) >= GUARD_WORDS for sizes in joined),
        "longest": max(max(sizes, default=0) for sizes in alone),
        "longest_joined": max(max(sizes, default=0) for sizes in joined),
    }


def _speed(options: Options, mirror: Trained) -> Figures:
    """The same prompts and seeds with the guard on and off, in turns, one text at a time.

    Its cost is a share of the speed: all tokens over all seconds; the interval resamples pairs.
    """
    engine, count = open_engine(mirror), options.of(PAIRS)
    openings = half_sentences(items(mirror.learned), count // 2, SEED + 1)
    openings += [Prompt("", HEADERS[i % 2]) for i in range(count - len(openings))]
    timed: list[list[float]] = []
    for number, one in enumerate([openings[0], *openings]):
        asked = replace(one, length="tokens", max_tokens=PAIR_TOKENS, seed=number)
        order = (True, False) if number % 2 else (False, True)
        got = {g: _timed(engine, replace(asked, sampling=Sampling(guard=g))) for g in order}
        if number and min(got[True][0], got[False][0]) >= LEAST_TOKENS:  # the first only warms up
            timed.append([*got[True], *got[False]])
    pairs = np.array(timed)  # [pairs, 4]: tokens and seconds with the guard, and without
    picks = np.random.default_rng(1).integers(0, len(pairs), (1000, len(pairs)))
    drawn = np.stack([pairs.sum(0), *pairs[picks].sum(1)])  # [1 + draws, 4]; the first of all
    on, off = drawn[:, 0] / drawn[:, 1], drawn[:, 2] / drawn[:, 3]  # tokens a second
    cost = 1 - on / off
    low, high = middle(cost[1:])
    found = {"on_tokens_per_s": on[0], "off_tokens_per_s": off[0], "cost": cost[0]}
    return {"pairs": len(pairs), **found, "low": low, "high": high}


def _timed(engine: Engine, prompt: Prompt) -> tuple[float, float]:
    """(tokens after the first, seconds they took)."""
    _, usage = write(engine, prompt)
    tokens = float(usage.tokens - 1)
    return (tokens, tokens / usage.tokens_per_s) if usage.tokens_per_s else (0.0, 0.0)


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
        said.append(f"No run of 10 words completed in {on['texts']} texts: {yes(met)}.")
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
    main(__doc__, cases, measure, table, writes=True)
