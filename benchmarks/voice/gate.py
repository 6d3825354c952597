"""Is the gate worth its name: bad rounds refused, good ones promoted, at least 19 of 20 each?

Every trial is an incremental round of the product on a copy of one trained vault, with another draw
of the author's later pages and another seed; a bad one has its job spoiled first.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any

from benchmarks.common import markdown
from benchmarks.voice.arriving import by_day, day_of
from benchmarks.voice.journals import Journal
from benchmarks.voice.mirrors import DAY_S, HOUR_S, START_S, copied, learn, make_start, settings
from benchmarks.voice.rows import Case, Figures, Options, Row, main, yes
from tests import spoiled
from vaultgpt.errors import TrainingError
from vaultgpt.state import VaultState
from vaultgpt.training.round import Asked
from vaultgpt.vault.reconcile import ScannedNote

JOURNAL, SEED = "thoreau", 1
VAULT_WORDS = 25_000  # its first dated pages
LATER_WORDS = 60_000  # the pages after those, from which a trial draws
NEW_WORDS = 1_500  # of a trial: what starts a round at once
NOW = START_S + 2 * DAY_S  # when it starts
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
    return [Case(JOURNAL, SEED, f"{kind}/{block}") for block in range(BLOCKS) for kind in KINDS]


def pages(journal: Journal, words: int) -> tuple[list[ScannedNote], list[ScannedNote]]:
    """The first dated notes with so many words, and those with the next 60,000."""
    dated = [n for n in by_day(journal.notes) if day_of(n) > date.min]
    before = [0, *itertools.accumulate(n.note.words for n in dated)]
    first, last = (bisect_left(before, most) for most in (words, words + LATER_WORDS))
    return dated[:first], dated[first:last]


def draw(later: Sequence[ScannedNote], trial: int) -> list[ScannedNote]:
    """Whole later notes with about 1,500 words, none longer than half of that; by the trial."""
    order = [n for n in later if n.note.words <= NEW_WORDS // 2]
    random.Random(f"gate/{trial}").shuffle(order)
    before = [0, *itertools.accumulate(n.note.words for n in order)]
    return order[: bisect_left(before, NEW_WORDS)]


def measure(options: Options, case: Case) -> Figures:
    """Some trials; how many were promoted, and which checks failed the others."""
    kind, block = case.what.split("/")
    journal, place = Journal(options.data / JOURNAL), options.place("gate", JOURNAL)
    first, later = pages(journal, options.of(VAULT_WORDS, 6_000))

    fill = partial(journal.fill, first, saved=START_S)
    start = make_start(place / "first", fill, settings(SEED), "gate", START_S + DAY_S)
    verdicts, trials = [], options.of(TRIALS, 1)
    for number in range(int(block) * TRIALS, int(block) * TRIALS + trials):
        with copied(start, place / "trial") as state:
            journal.fill(draw(later, number), state.vault, NOW - 7 * HOUR_S)
            verdicts.append(_trial(state, KINDS[kind], number))
    promoted = sum(one["promoted"] for one in verdicts)
    return {
        "kind": kind,
        "trials": trials,
        "promoted": promoted,
        "right": promoted if kind == "good" else trials - promoted,
        "failed_checks": Counter(name for one in verdicts for name in one["failed"]),
        "figures": [one["figures"] for one in verdicts],  # by check: for another bound's sake
    }


def _trial(state: VaultState, spoil: spoiled.Spoil, number: int) -> dict[str, Any]:
    """One incremental round: {"promoted", "failed": checks, "figures": of all checks}."""
    rng = random.Random(f"spoil/{number}")
    wanted, asked = settings(100 + number), Asked(manual=True)
    try:
        answer = learn(state, wanted, asked, NOW, tamper=lambda job: spoil(job, rng))
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
    main(__doc__, cases, measure, table)
