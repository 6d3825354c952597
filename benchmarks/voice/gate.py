"""Is the gate worth its name: bad rounds refused, good ones promoted, at least 19 of 20 each?

Every trial is an incremental round of the product on a copy of one trained vault, with another draw
of the author's later pages and another seed; a bad one has its job spoiled first.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import home, markdown
from benchmarks.voice.arriving import by_day
from benchmarks.voice.journals import Journal
from benchmarks.voice.mirrors import (
    DAY_S,
    HOUR_S,
    START_S,
    copy_start,
    learn,
    make_start,
    settings,
    written_at,
)
from benchmarks.voice.rows import Case, Figures, Options, Row, main, yes
from tests import spoiled
from vaultgpt.errors import TrainingError
from vaultgpt.state import create_state
from vaultgpt.vault.reconcile import ScannedNote

JOURNAL, SEED = "thoreau", 1
VAULT_WORDS = 25_000  # its first dated pages
LATER_WORDS = 60_000  # the pages after those, from which a trial draws
NEW_WORDS = 1_500  # of a trial: what starts a round at once
BLOCKS, TRIALS = 4, 5
BOUND = 19  # of 20
KINDS: dict[str, spoiled.Spoil] = {
    "good": spoiled.none,
    "rate": spoiled.too_fast,
    "shuffled": spoiled.shuffled,
    "repeated": spoiled.repeated,
    "german": spoiled.german,
    "half-empty": spoiled.half_empty,
}


def cases(options: Options) -> list[Case]:
    return [_case(options, kind, block) for block in range(BLOCKS) for kind in KINDS]


def _case(options: Options, kind: str, block: int) -> Case:
    place = options.place("gate", JOURNAL)
    trials = range(block * TRIALS, block * TRIALS + options.of(TRIALS, 1))
    words = options.of(VAULT_WORDS, 6_000)
    run = partial(block_of_trials, Journal(options.data / JOURNAL), words, place, kind, trials)
    return Case(JOURNAL, SEED, f"{kind}/{block}", run)


def pages(journal: Journal, words: int) -> tuple[list[ScannedNote], list[ScannedNote]]:
    """The first dated notes with so many words, and those with the next 60,000."""
    dated = [a.note for a in by_day(journal.notes) if a.day > date.min]
    first: list[ScannedNote] = []
    later: list[ScannedNote] = []
    got = 0
    for one in dated:
        if got < words + LATER_WORDS:
            (first if got < words else later).append(one)
            got += one.note.words
    return first, later


def draw(later: Sequence[ScannedNote], trial: int) -> list[ScannedNote]:
    """Whole later notes with about 1,500 words, none longer than half of that; by the trial."""
    rng = random.Random(f"gate/{trial}")
    order = [n for n in later if n.note.words <= NEW_WORDS // 2]
    rng.shuffle(order)
    chosen: list[ScannedNote] = []
    for one in order:
        if sum(n.note.words for n in chosen) >= NEW_WORDS:
            break
        chosen.append(one)
    return chosen


def block_of_trials(journal: Journal, words: int, place: Path, kind: str, trials: range) -> Figures:
    """Some trials; how many were promoted, and which checks failed the others."""
    first, later = pages(journal, words)

    def fill(vault: Path) -> None:
        for one in first:
            journal.add(one, vault)
            written_at(vault / one.note.path, START_S)

    start = make_start(
        place / "first",
        fill,
        lambda state: learn(state, settings(training__seed=SEED), fresh=True, now=START_S + DAY_S),
        "gate",
    )
    failed: Counter[str] = Counter()
    promoted = new_words = 0
    figures: list[Figures] = []  # by trial and check: for another bound's sake
    for number in trials:
        new = draw(later, number)
        new_words += sum(n.note.words for n in new)
        verdict = trial(journal, start, place / "trial", new, KINDS[kind], number)
        promoted += bool(verdict["promoted"])
        failed.update(verdict["failed"])
        figures.append(verdict["figures"])
    shutil.rmtree(place / "trial", ignore_errors=True)
    right = promoted if kind == "good" else len(trials) - promoted
    return {
        "kind": kind,
        "trials": len(trials),
        "promoted": promoted,
        "right": right,
        "new_words": new_words,
        "failed_checks": dict(sorted(failed.items())),
        "figures": figures,
    }


def trial(
    journal: Journal,
    start: Path,
    place: Path,
    new: Sequence[ScannedNote],
    spoil: spoiled.Spoil,
    number: int,
) -> dict[str, Any]:
    """One incremental round on a copy: {"promoted", "failed": checks, "figures": of all checks}."""
    copy_start(start, place)
    now = START_S + 2 * DAY_S
    rng = random.Random(f"spoil/{number}")
    with home(place / "home"):
        state = create_state(place / "vault")
        for one in new:
            journal.add(one, state.vault)
            written_at(state.vault / one.note.path, now - 7 * HOUR_S)
        try:
            answer = learn(
                state,
                settings(training__seed=100 + number),
                now=now,
                tamper=lambda job: spoil(job, rng),
            )
        except TrainingError as error:
            if "diverged" not in error.message:
                raise
            return {"promoted": False, "failed": ["diverged"], "figures": {}}
    if answer["kind"] != "incremental":
        raise SystemExit(f"trial {number}: the round was {answer['kind']}, not incremental")
    verdict = answer["verdict"]
    return {
        "promoted": verdict["promoted"],
        "failed": [c["name"] for c in verdict["checks"] if not c["passed"]],
        "figures": {c["name"]: c["figure"] for c in verdict["checks"]},
    }


def table(rows: Sequence[Row]) -> str:
    lines = []
    for kind in KINDS:
        blocks = [r.figures for r in rows if r.figures["kind"] == kind]
        right, trials = (sum(b[key] for b in blocks) for key in ("right", "trials"))
        failed = sum((Counter(one["failed_checks"]) for one in blocks), Counter[str]())
        should = "promoted" if kind == "good" else "refused"
        met = yes(right >= BOUND if trials == BLOCKS * TRIALS else None)
        checks = ", ".join(f"{name} {count}" for name, count in failed.most_common())
        lines.append((kind, should, f"{right} of {trials}", met, checks))
    columns = ("rounds", "should be", "were", "at least 19 of 20", "checks that failed")
    return markdown(columns, lines)


if __name__ == "__main__":
    main("gate", __doc__, cases, table)
