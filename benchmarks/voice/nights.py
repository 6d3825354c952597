"""Small rounds as the journal grows, beside one fresh training: what is kept, what is gained.

80 % of the dated words are learned first; the rest arrives by its dates, a round a week or a night
when 200 words wait. A night asks only what the product's own ledger says is due. Of another base
(--base FOLDER, which learns slowly) a journal's last 30,000 words are asked, each week.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import PEBBLE, markdown
from benchmarks.voice.arriving import (
    Calendar,
    day_of,
    evening,
    last_words,
    night,
    plan_calendar,
    words_of,
)
from benchmarks.voice.journals import Journal, items
from benchmarks.voice.mirrors import FRESH, active, bits, copied, cut, learn, make_start, settings
from benchmarks.voice.rows import Case, Figures, Options, Row, interval, main, yes
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.run import what_is_due
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState
from vaultgpt.training.evaluate import tokens_of
from vaultgpt.training.lora import Adapter, load_adapter
from vaultgpt.training.round import Asked
from vaultgpt.vault.reconcile import ScannedNote

STEP_DAYS = {"weekly": 7, "nightly": 1}
VARIANTS = (*STEP_DAYS, "fresh")
SEEDS = {"thoreau": (1, 2, 3), "hawthorne": (1,)}
# Of another base; less than 30 % of it comes later, after which the product learns all anew.
OTHER, OTHER_WORDS, OTHER_FIRST = "amiel", 30_000, 0.84
RATIO = 0.97  # of the fresh training's gain, at least
WORSE = 0.01  # old notes, at most
TOKENS = 0.25  # of the month's-end fresh trainings, at most


def cases(options: Options) -> list[Case]:
    if options.base != PEBBLE:
        return [Case(OTHER, 1, variant) for variant in ("weekly", "fresh")]
    return [
        Case(n, s, variant) for n, seeds in SEEDS.items() for s in seeds for variant in VARIANTS
    ]


def measure(options: Options, case: Case) -> Figures:
    name, seed, variant = case.journal, case.seed, case.what
    journal, base = Journal(options.data / name), options.base
    work, asked = options.place("nights", name, seed), settings(seed, options.base)
    found = plan_calendar(journal.notes, seed)
    if base != PEBBLE:
        found = plan_calendar(last_words(journal.notes, OTHER_WORDS), seed, OTHER_FIRST)
    before = found.border - timedelta(1)

    fill = partial(journal.fill, found.first, saved=evening(before - timedelta(6)))
    start = make_start(work / "first", fill, asked, f"nights/{name}", night(before))
    with copied(start, work / variant) as state:
        story = Story(journal, found, state, asked, base)
        told = story.fresh() if variant == "fresh" else story.small(STEP_DAYS[variant])
        words = {"first_words": words_of(found.first), "later_words": words_of(found.later)}
        return {**words, **story.surprise("base", None), **told}


@dataclass(frozen=True)
class Story:
    """A vault that has learned what was there first, and what comes then."""

    journal: Journal
    found: Calendar
    state: VaultState
    asked: Settings
    base: Path  # its folder

    def small(self, step_days: int) -> Figures:
        """Let the days pass: what arrives is put into the vault, what is due then is learned."""
        first = self.surprise("first", active(self.state))
        before = self.found.border - timedelta(1)
        for day in self.found.looks(step_days):
            arrived = self.found.between(before, day)
            self._put(arrived)
            if arrived or self._due(night(day)):
                learn(self.state, self.asked, Asked(nightly=True), night(day))
            before = day
        return {**first, **self.surprise("last", active(self.state)), **self._spent()}

    def fresh(self) -> Figures:
        """One fresh training on everything, the same notes held out.

        Its adapter is measured whether or not the gate would let it pass.
        """
        kept: list[Adapter] = []
        self._put(self.found.later)
        now = night(self.found.last + timedelta(7))
        learn(self.state, self.asked, FRESH, now, left=lambda out: kept.append(load_adapter(out)))
        spent = self._spent()
        later = items(self.found.later)
        read = 2 * tokens_of(cut(later, self.base))  # by base and active
        tokens = self.found.month_ends(spent["trained_tokens"] + spent["scored_tokens"], read)
        return {**self.surprise("last", kept[0]), **spent, "month_ends_tokens": tokens}

    def surprise(self, name: str, adapter: Adapter | None) -> dict[str, float]:
        """Bits per byte of the held-out notes: old, late and both, named NAME_old and so on."""
        old, late = (cut(items(part), self.base) for part in (self.found.old, self.found.late))
        parts = {"old": old, "late": late, "both": old + late}
        return {f"{name}_{key}": bits(part, adapter, self.base) for key, part in parts.items()}

    def _put(self, arrived: Sequence[ScannedNote]) -> None:
        for one in arrived:
            self.journal.fill([one], self.state.vault, evening(day_of(one)))

    def _due(self, now: float) -> bool:
        """What a scan of an unchanged vault would say."""
        with Ledger.open(self.state) as ledger:
            found = what_is_due(self.state, self.asked, ledger, now, Asked(nightly=True))
            return found.kind != "none"

    def _spent(self) -> dict[str, Any]:
        """Counts and tokens of every judged round after the first, refused ones too."""
        with Ledger.open(self.state) as ledger:
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
    bounds = ("row", "gain of fresh, >= 97 %", "old worse by, <= 1 %")
    more = (*bounds, "tokens of month's-end fresh, <= 25 %")
    return markdown((*columns, "s"), lines) + "\n\n" + markdown(more, judged)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


if __name__ == "__main__":
    main(__doc__, cases, measure, table, any_base=True)
