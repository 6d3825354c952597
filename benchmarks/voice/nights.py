"""Small rounds as the journal grows, beside one fresh training: what is kept, what is gained.

80 % of the dated words are learned first; the rest arrives by its dates, a round a week or a night
when 200 words wait. A night asks only what the product's own ledger says is due.
"""

from __future__ import annotations

import json
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.voice.arriving import Calendar, fill_first, night, plan_calendar, put, stage_items
from benchmarks.voice.journals import Journal
from benchmarks.voice.mirrors import cut, learn, settings
from benchmarks.voice.nights_figures import foretold, month_ends, rounds_since_first, surprise
from benchmarks.voice.nights_summary import table
from benchmarks.voice.rows import (
    RECIPE,
    Bench,
    Case,
    Figures,
    Options,
    Unfinished,
    base_digest,
    main,
)
from benchmarks.voice.stage import copy_start, home, make_start, open_state
from vaultgpt.bases.names import resolve
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round, what_is_due
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState
from vaultgpt.training.evaluate import tokens_of
from vaultgpt.training.lora import Adapter, load_adapter
from vaultgpt.training.round import Asked
from vaultgpt.training.trainer import run_job

STEP_DAYS = {"weekly": 7, "nightly": 1}
TAIL_DAYS = 7  # looks after the last arrival, for text that was held out of the round before
KEEP = 1000  # generations: the curve needs old ones
SEEDS = {"thoreau": (1, 2, 3), "hawthorne": (1,)}
WORDS = {"thoreau": 262e3, "hawthorne": 530e3}
ROUNDS = {
    ("thoreau", "weekly"): 10,
    ("thoreau", "nightly"): 60,
    ("hawthorne", "weekly"): 45,
    ("hawthorne", "nightly"): 100,
}  # a guess, for the cost


def wanted(seed: int) -> Settings:
    """The product's settings but for the generations kept."""
    return settings(training__keep=KEEP, training__seed=seed)


def cases(options: Options) -> list[Case]:
    until = time.monotonic() + options.most_s
    found = []
    for name, seeds in SEEDS.items():
        for seed in seeds:
            for variant in (*STEP_DAYS, "fresh"):
                found.append(_case(options, name, seed, variant, until))
    return found


def _case(options: Options, name: str, seed: int, variant: str, until: float) -> Case:
    journal = Journal(options.data / name)
    work = _work(options, name, seed)
    training_s = WORDS[name] * 0.9 * 1.35 * 3.3 / 4500 + 60
    cost = training_s * 1.2
    if variant != "fresh":
        each = 22 + WORDS[name] / 40e3  # scan, score, train and sample
        cost = ROUNDS[name, variant] * each * (1 - _done(work / variant)) + 120
    if not (work / "first" / "answer.json").exists():
        cost += 0.8 * training_s

    def run() -> Figures:
        found, asked = plan_calendar(journal.notes, seed), wanted(seed)
        start = make_start(
            work / "first",
            lambda vault: fill_first(journal, found, vault),
            lambda state: _first(state, found, asked),
            f"nights/{name}",
        )
        if variant == "fresh":
            return fresh(journal, found, start, work / variant, asked)
        place = simulate(journal, found, start, work / variant, STEP_DAYS[variant], asked, until)
        return _figures(found, place, variant)

    return Case(name, seed, variant, cost, run, resumes=variant != "fresh")


def _work(options: Options, name: str, seed: int) -> Path:
    return options.work / f"nights-{name}-{seed}-{base_digest()}-{RECIPE}"


def _done(place: Path) -> float:
    """Share of the looks that an earlier run took."""
    at = _place(place)
    return float(at["look"] / max(1, at["looks"]))


def _place(place: Path) -> dict[str, Any]:
    file = place / "at.json"
    if not file.exists():
        return {"look": 0, "looks": 0, "seconds": 0.0}
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _first(state: VaultState, found: Calendar, asked: Settings) -> RoundAnswer:
    return learn(state, asked, fresh=True, now=night(found.border - timedelta(1)))


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


def simulate(
    journal: Journal,
    found: Calendar,
    start: Path,
    place: Path,
    step_days: int,
    asked: Settings,
    until: float,
) -> Path:
    """Let the days pass; at.json keeps the place after each look. Unfinished at `until`.

    A look that was cut off is taken again: notes are written anew and the ledger knows the rest.
    """
    if not (place / "at.json").exists():
        copy_start(start, place)
        _keep_place(place, 0, 1, 0.0)
    days = looks(found, step_days)
    at = _place(place)
    with home(place / "home"):
        state = open_state(place)
        for number in range(at["look"], len(days)):
            if time.monotonic() > until:
                raise Unfinished
            began = time.monotonic()
            before = days[number - 1] if number else found.border - timedelta(1)
            look(journal, found, state, before, days[number], asked)
            at["seconds"] += time.monotonic() - began
            _keep_place(place, number + 1, len(days), at["seconds"])
    return place


def look(
    journal: Journal, found: Calendar, state: VaultState, before: date, day: date, asked: Settings
) -> None:
    """What arrived since `before` is put into the vault, and the night's round runs if one is due.

    Without arrivals only the ledger is asked, which is what a scan of an unchanged vault would say.
    """
    arrived = found.between(before, day)
    for stage in arrived:
        put(journal, stage, state.vault, stage.day)
    now = night(day)
    if not arrived:
        with Ledger.open(state) as ledger:
            base = resolve(asked.base, state)
            if what_is_due(state, asked, ledger, now, Asked(nightly=True), base).kind == "none":
                return
    learn(state, asked, now=now, nightly=True, manual=False)


def _keep_place(place: Path, look_number: int, count: int, seconds: float) -> None:
    file = place / "at.new"
    file.write_text(json.dumps({"look": look_number, "looks": count, "seconds": seconds}))
    file.replace(place / "at.json")


def _figures(found: Calendar, place: Path, variant: str) -> Figures:
    with home(place / "home"):
        state = open_state(place)
        with Ledger.open(state) as ledger:
            made = [g for g in ledger.generations.all() if g.promoted]
            active = str(ledger.generations.active())
            spent = rounds_since_first(ledger)
        weeks = foretold(found, state, made)
        last = surprise(found, load_adapter(state.generations / active), "last")
        first = surprise(found, load_adapter(state.generations / made[0].id), "first")
    return {
        **_words(found),
        **surprise(found, None, "base"),
        **first,
        **last,
        **spent,
        "looks": len(looks(found, STEP_DAYS[variant])),
        "simulation_s": round(_place(place)["seconds"], 1),
        "weeks": weeks,
    }


def _words(found: Calendar) -> dict[str, Any]:
    return {
        "border": found.border.isoformat(),
        "last_day": found.last.isoformat(),
        "first_words": found.first_words,
        "later_words": found.later_words,
        "held_old_words": sum(n.note.words for n in found.old),
        "held_late_words": sum(n.note.words for n in found.late),
    }


def fresh(
    journal: Journal, found: Calendar, start: Path, place: Path, asked: Settings
) -> dict[str, Any]:
    """One fresh training on everything, on a copy of the first state: the same notes held out.

    Its adapter is measured whether or not the gate would let it pass.
    """
    copy_start(start, place)
    kept: list[Adapter] = []

    def trainer(job_path: Path, on_progress: Any, stop: Any, *, settings: Any) -> dict[str, Any]:
        report = run_job(job_path, on_progress, stop)
        kept.append(load_adapter(job_path.parent / "out"))
        return dict(report.to_json())

    with home(place / "home"):
        state = open_state(place)
        for stage in found.later:
            put(journal, stage, state.vault, stage.day)
        now = night(found.last + timedelta(TAIL_DAYS))
        answer = run_round(state, asked, fresh=True, manual=True, trainer=trainer, now=lambda: now)
        with Ledger.open(state) as ledger:
            spent = rounds_since_first(ledger)
    read = 2 * tokens_of(cut(stage_items(found.later)))  # foretold by base and active
    return {
        **_words(found),
        **surprise(found, None, "base"),
        **surprise(found, kept[0], "last"),
        **spent,
        "promoted_by_gate": answer["verdict"]["promoted"],
        **month_ends(found, spent["trained_tokens"] + spent["scored_tokens"], read),
    }


BENCH = Bench("nights", str(__doc__).splitlines()[0], cases, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
