"""Which defaults learn a voice best: one factor at a time, at two sizes of vault.

Fresh and incremental rounds on parts of Thoreau's journal, held-out bits per byte on notes that the
vault lacks. The gate is not asked. docs/method.md shows the table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.voice.journals import Journal, first_words, items
from benchmarks.voice.mirrors import (
    Job,
    bits,
    capture_job,
    cut,
    learn,
    run_captured,
    settings,
)
from benchmarks.voice.rows import Bench, Case, Options, Row, base_digest, main
from benchmarks.voice.stage import fix_secret, home
from vaultgpt.files import read_json, write_json
from vaultgpt.state import create_state
from vaultgpt.training.choose import choose_rate
from vaultgpt.training.round import Report

JOURNAL, SEED = "thoreau", 1
SIZES = {"10k": 10_000, "50k": 50_000}
FINAL = "235k"  # all but the hold-out
NEW_WORDS = 1_500  # of the incremental rounds
OPENING_TOKENS = 48  # of a segment: little but the header to go by, as in an empty note
COST_S = {"10k": 25.0, "50k": 60.0, FINAL: 330.0}


@dataclass(frozen=True)
class Change:
    """One departure from the defaults: training options, or constants by dotted name."""

    options: dict[str, Any]
    constants: dict[str, Any]


def _set(**options: Any) -> Change:
    return Change(options, {})


def _const(**constants: Any) -> Change:
    return Change({}, {k.replace("__", "."): v for k, v in constants.items()})


def _fresh_shares(general: float) -> Change:
    shares = {"new": 1 - general, "replay": 0.0, "general": general}
    return _const(trainer__FRESH_SHARES=shares)


def _mix(new: float, replay: float, general: float) -> Change:
    return _const(trainer__SHARES={"new": new, "replay": replay, "general": general})


def _rate(times: float) -> Change:
    return _const(choose__choose_rate=lambda params: times * choose_rate(params))


FRESH: dict[str, Change] = {
    "default": _set(),
    "rate x0.5": _rate(0.5),
    "rate x0.7": _rate(0.7),
    "rate x1.4": _rate(1.4),
    "rate x2": _rate(2.0),
    "rank=8": _set(rank=8),
    "rank=64": _set(rank=64),
    "epochs=1": _set(epochs=1.0),
    "epochs=3": _set(epochs=3.0),
    "header-dropout=0": _const(header__DROP_HEADER=0.0),
    "header-dropout=0.3": _const(header__DROP_HEADER=0.3),
    "title=0": _const(header__TITLE=0.0),
    "title=1": _const(header__TITLE=1.0),
    "general=0": _fresh_shares(0.0),
    "general=0.25": _fresh_shares(0.25),
    "none cut short": _const(streams__SHORT_SHARE=0.0),
}
TITLES = ("title=0", "title=1")  # at 10k only: Thoreau's notes are titled by their dates
NIGHT: dict[str, Change] = {
    "default": _set(),
    "30 % replay": _mix(0.6, 0.3, 0.1),
    "no general text": _mix(0.9, 0.1, 0.0),
    "rate x0.5": _rate(0.5),
    "rate x2": _rate(2.0),
    "passes=2.5": _set(new_passes=2.5),
}
FINALISTS = ("default", "rate x0.7", "rate x1.4", "rank=8")


def cases(options: Options) -> list[Case]:
    found = []
    for size in SIZES:
        for name, change in FRESH.items():
            if size == "10k" or name not in TITLES:
                found.append(_case(options, "fresh", size, name, change, COST_S[size]))
    for name, change in NIGHT.items():
        found.append(_case(options, "night", "50k", name, change, 25.0))
    for name in FINALISTS:
        found.append(_case(options, "fresh", FINAL, name, FRESH[name], COST_S[FINAL]))
    return found


def _case(options: Options, kind: str, size: str, name: str, change: Change, cost_s: float) -> Case:
    def run() -> dict[str, Any]:
        return _measure(options, kind, size, change)

    return Case(f"{kind}/{size}/{name}", SEED, cost_s, run, small_rounds=kind == "night")


@contextlib.contextmanager
def _changed(constants: dict[str, Any]) -> Iterator[None]:
    """Module constants replaced, and put back."""
    from vaultgpt.corpus import header
    from vaultgpt.training import choose, streams, trainer

    modules = {"header": header, "trainer": trainer, "choose": choose, "streams": streams}
    with contextlib.ExitStack() as stack:
        for dotted, value in constants.items():
            module, name = dotted.split(".")
            stack.enter_context(patch.object(modules[module], name, value))
        yield


def _measure(options: Options, kind: str, size: str, change: Change) -> dict[str, Any]:
    place = options.work / f"sweep-{kind}-{size}-{base_digest()}"
    job = _job(options, place, size, kind)
    job = {**job, "settings": {**job["settings"], **change.options}}
    held = items(Journal(options.data / JOURNAL).split(SEED).held)
    found, openings = cut(held), cut(held, OPENING_TOKENS)
    with _changed(change.constants):
        report, adapter = run_captured(job, place / "run")
    general = report.bits_per_byte
    return {"base": bits(found, None), "after": bits(found, adapter),
            "openings": bits(openings, adapter), **_before(job, found),
            "tokens": report.tokens, "steps": report.steps,
            "seconds": round(report.seconds, 1), "general": general["general"],
            "general_base": general["general_base"], "copied": report.copying.get("share"),
            "learning": _learning(report)}


def _before(job: Job, found: Sequence[Any]) -> dict[str, float]:
    """An incremental round's starting point on the same notes."""
    from vaultgpt.training.lora import load_adapter

    return {"before": bits(found, load_adapter(Path(job["parent"])))} if job["parent"] else {}


def _learning(report: Report) -> dict[str, Any]:
    return {k: report.learning[k] for k in ("rank", "rate", "batch_tokens", "planned_steps")}


def _job(options: Options, place: Path, size: str, kind: str) -> Job:
    """The round's job, made by the product once for all variants of a size."""
    kept = place / f"{kind}.json"
    if kept.exists():
        return dict(read_json(kept))
    journal = Journal(options.data / JOURNAL)
    train = list(journal.split(SEED).train)
    words = SIZES.get(size)
    chosen = train if words is None else first_words(train, words, SEED)
    with home(place / "home"):
        if not (place / "vault").exists():
            journal.copy(chosen, place / "vault")
        state = create_state(place / "vault")
        fix_secret(state, f"sweeps-{kind}-{size}")
        wanted = settings(training__seed=SEED)
        if kind == "night":
            if not any(state.generations.iterdir()):
                learn(state, wanted, fresh=True)
            paths = {n.note.path for n in chosen}
            for one in first_words([n for n in train if n.note.path not in paths],
                                   NEW_WORDS, SEED):
                journal.add(one, place / "vault")
        job = capture_job(state, wanted, fresh=kind == "fresh")
    write_json(kept, job)
    return job


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Each variant's held-out figure against the default's at its size; below 0 is better."""
    have = {r["key"]: r["figures"] for r in rows}
    return {"against_default": {
        key: round(f["after"] - have[f"{key.rpartition('/')[0]}/default"]["after"], 4)
        for key, f in have.items() if f"{key.rpartition('/')[0]}/default" in have}}


def table(rows: Sequence[Row], summed: dict[str, Any]) -> str:
    lines = ["| round | held-out | against the default | openings | plain English | tokens | s |",
             "|---|---|---|---|---|---|---|"]
    for row in rows:
        f = row["figures"]
        start = f.get("before", f["base"])
        diff = summed["against_default"].get(row["key"])
        plain = 100 * (f["general"] / f["general_base"] - 1)
        lines.append(f"| {row['key']} | {start:.4f} -> {f['after']:.4f} | "
                     f"{'' if diff is None else f'{diff:+.4f}'} | "
                     f"{f'{short:.4f}' if (short := f.get('openings')) else ''} | {plain:+.1f} % | "
                     f"{f['tokens']:,} | {f['seconds']:.0f} |")
    return "\n".join(lines)


BENCH = Bench("sweeps", __doc__.splitlines()[0], cases, summary, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
