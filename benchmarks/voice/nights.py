"""Small rounds as the journal grows, beside one fresh training: what is kept, what is gained.

80 % of the dated words are learned first; the rest arrives by its dates, a round a week or a night
when 200 words wait. A night asks only what the product's own ledger says is due. Of another base
(--base FOLDER, which learns slowly) a journal's last 30,000 words are asked, each week.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import PEBBLE, home, markdown
from benchmarks.voice.arriving import (
    Calendar,
    fill_first,
    last_words,
    night,
    plan_calendar,
    put,
    words_of,
)
from benchmarks.voice.journals import Journal, items
from benchmarks.voice.mirrors import (
    active,
    bits,
    copy_start,
    cut,
    learn,
    make_start,
    on_base,
    settings,
)
from benchmarks.voice.rows import Case, Figures, Options, Row, interval, main, yes
from vaultgpt.bases.names import resolve
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.run import what_is_due
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState, create_state
from vaultgpt.training.evaluate import tokens_of
from vaultgpt.training.lora import Adapter, load_adapter
from vaultgpt.training.round import Asked

STEP_DAYS = {"weekly": 7, "nightly": 1}
VARIANTS = (*STEP_DAYS, "fresh")
TAIL_DAYS = 7  # looks after the last arrival, for text that was held out of the round before
SEEDS = {"thoreau": (1, 2, 3), "hawthorne": (1,)}
# Of another base; less than 30 % of it comes later, after which the product learns all anew.
OTHER, OTHER_WORDS, OTHER_FIRST = "amiel", 30_000, 0.84
RATIO = 0.97  # of the fresh training's gain, at least
WORSE = 0.01  # old notes, at most
TOKENS = 0.25  # of the month's-end fresh trainings, at most


def cases(options: Options) -> list[Case]:
    if options.base != PEBBLE:
        asked = [(OTHER, 1, what) for what in ("weekly", "fresh")]
    else:
        asked = [(n, s, v) for n, found in SEEDS.items() for s in found for v in VARIANTS]
    return [Case(*one, partial(_measured, options, *one)) for one in asked]


def _measured(options: Options, name: str, seed: int, variant: str) -> Figures:
    journal, base = Journal(options.data / name), options.base
    work = options.place("nights", name, seed)
    asked = on_base(settings(training__seed=seed), base)
    found = plan_calendar(journal.notes, seed)
    if base != PEBBLE:
        found = plan_calendar(last_words(journal.notes, OTHER_WORDS), seed, OTHER_FIRST)
    start = make_start(
        work / "first",
        lambda vault: fill_first(journal, found, vault),
        lambda state: learn(state, asked, fresh=True, now=night(found.border - timedelta(1))),
        f"nights/{name}",
    )
    place = copy_start(start, work / variant)
    with home(place / "home"):
        state = create_state(place / "vault")
        figures = _base(found, base)
        if variant == "fresh":
            figures |= _fresh(journal, found, state, asked, base)
        else:
            figures |= _small(journal, found, state, asked, base, STEP_DAYS[variant])
    shutil.rmtree(place)
    return figures


def looks(found: Calendar, step_days: int) -> list[date]:
    """The days after which the vault is looked at: every night, or the last of every week.

    Looks that come over a week after all arrivals are left out: what a refused round left is tried
    again after seven days, and after that time alone makes nothing due.
    """
    count = (found.last - found.border).days + 1 + TAIL_DAYS
    days = [
        found.border + timedelta(at)
        for at in range(step_days - 1, count + step_days - 1, step_days)
    ]
    return [d for d in days if found.between(d - timedelta(step_days + TAIL_DAYS + 1), d)]


def _small(
    journal: Journal,
    found: Calendar,
    state: VaultState,
    asked: Settings,
    base: Path,
    step_days: int,
) -> Figures:
    """Let the days pass: what arrives is put into the vault, and what is due then is learned."""
    first = _surprise(found, active(state), "first", base)
    before = found.border - timedelta(1)
    for day in looks(found, step_days):
        arrived = found.between(before, day)
        for one in arrived:
            put(journal, one.note, state.vault, one.day)
        if arrived or _due(state, asked, night(day)):
            learn(state, asked, now=night(day), nightly=True, manual=False)
        before = day
    with Ledger.open(state) as ledger:
        spent = _spent(ledger)
    return {**first, **_surprise(found, active(state), "last", base), **spent}


def _due(state: VaultState, asked: Settings, now: float) -> bool:
    """What a scan of an unchanged vault would say."""
    with Ledger.open(state) as ledger:
        base = resolve(asked.base, state)
        return what_is_due(state, asked, ledger, now, Asked(nightly=True), base).kind != "none"


def _fresh(
    journal: Journal, found: Calendar, state: VaultState, asked: Settings, base: Path
) -> Figures:
    """One fresh training on everything, the same notes held out.

    Its adapter is measured whether or not the gate would let it pass.
    """
    kept: list[Adapter] = []
    for one in found.later:
        put(journal, one.note, state.vault, one.day)
    now = night(found.last + timedelta(TAIL_DAYS))
    learn(state, asked, fresh=True, now=now, left=lambda out: kept.append(load_adapter(out)))
    with Ledger.open(state) as ledger:
        spent = _spent(ledger)
    later = items([a.note for a in found.later])
    read = 2 * tokens_of(cut(later, base))  # by base and active
    tokens = month_ends(found, spent["trained_tokens"] + spent["scored_tokens"], read)
    last = _surprise(found, kept[0], "last", base)
    return {**last, **spent, "month_ends_tokens": tokens}


def _base(found: Calendar, base: Path) -> Figures:
    """Of the calendar, and of the base alone."""
    return {
        "border": found.border.isoformat(),
        "last_day": found.last.isoformat(),
        "first_words": words_of(found.first),
        "later_words": words_of(found.later),
        **_surprise(found, None, "base", base),
    }


def _spent(ledger: Ledger) -> dict[str, Any]:
    """Counts and tokens of every judged round after the first, refused ones too."""
    done = [r for r in ledger.rounds.all() if r.report is not None and r.number > 1]
    reports = [r.report or {} for r in done]
    return {
        "rounds": len(done),
        "refused": sum(not r.promoted for r in done),
        "fresh_rounds": sum(r.kind == "fresh" for r in done),
        "trained_tokens": sum(int(r["tokens"]) for r in reports),
        "scored_tokens": sum(int(r["scored_tokens"]) for r in reports),
        "rounds_s": round(sum(float(r["seconds"]) for r in reports), 1),
    }


def _surprise(found: Calendar, adapter: Adapter | None, name: str, base: Path) -> dict[str, float]:
    """Bits per byte of the held-out notes: old, late and both, named NAME_old and so on."""
    parts = {"old": cut(items(found.old), base), "late": cut(items(found.late), base)}
    parts["both"] = parts["old"] + parts["late"]
    return {f"{name}_{key}": bits(part, adapter, base) for key, part in parts.items()}


def month_ends(found: Calendar, tokens: int, foretold_tokens: int) -> int:
    """Tokens of a fresh training at the end of each month in which something arrived.

    Each costs the measured training's tokens, evaluation included, times the share of the words
    that were there by then: passes are the same and held-out text is a share of the words. What was
    read to foretell new pages is counted once for each page, not every month. `foretold_tokens` is
    that part of `tokens`.
    """
    there, later, cost = words_of(found.first), words_of(found.later), 0.0
    every = there + later
    for month in sorted({(a.day.year, a.day.month) for a in found.later}):
        new = words_of([a for a in found.later if (a.day.year, a.day.month) == month])
        there += new
        cost += (tokens - foretold_tokens) * there / every + foretold_tokens * new / later
    return round(cost)


def gain(figures: Figures, name: str = "last", part: str = "both") -> float:
    """1 - bits per byte over the base's."""
    return float(1 - figures[f"{name}_{part}"] / figures[f"base_{part}"])


def table(rows: Sequence[Row]) -> str:
    fresh = {(r.journal, r.seed): r.figures for r in rows if r.what == "fresh"}
    seeds: dict[str, list[tuple[float, float, float]]] = {}
    lines, judged = [], []
    for row in rows:
        f = row.figures
        parts = [_percent(gain(f, part=part)) for part in ("both", "old", "late")]
        rounds = f"{f['rounds']} ({f['fresh_rounds']}, {f['refused']})"
        tokens = f"{f['trained_tokens']:,} + {f['scored_tokens']:,}"
        lines.append([row.key, *parts, rounds, tokens, f"{f['rounds_s']:,.0f}"])
        one = fresh.get((row.journal, row.seed))
        if row.what != "fresh" and one is not None:
            spent = (f["trained_tokens"] + f["scored_tokens"]) / one["month_ends_tokens"]
            told = (gain(f) / gain(one), f["last_old"] / f["first_old"] - 1, spent)
            met = (told[0] >= RATIO, told[1] <= WORSE, told[2] <= TOKENS)
            cells = [f"{_percent(t)} {yes(m)}" for t, m in zip(told, met, strict=True)]
            judged.append([row.key, *cells])
            seeds.setdefault(f"{row.journal}, {row.what}", []).append(told)
    for name, found in sorted(seeds.items()):
        if len(found) > 1:
            means = [interval(column) for column in zip(*found, strict=True)]
            judged.append(
                [f"{name}, all seeds", *(f"{_percent(m)} ± {100 * h:.1f}" for m, h in means)]
            )
    columns = ("row", "gain", "old", "late", "rounds (fresh, refused)", "trained + scored tokens")
    bounds = (
        "gain of fresh, >= 97 %",
        "old worse by, <= 1 %",
        "tokens of month's-end fresh, <= 25 %",
    )
    return markdown((*columns, "s"), lines) + "\n\n" + markdown(("row", *bounds), judged)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


if __name__ == "__main__":
    main("nights", __doc__, cases, table, any_base=True)
