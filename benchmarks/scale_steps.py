"""The steps that scale.py measures: python -m benchmarks.scale_steps NAME VAULT prints JSON.

Each in a process of its own, which imports what the product would and no more.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Found = dict[str, Any]


@contextlib.contextmanager
def _timed(found: Found, name: str) -> Iterator[None]:
    """Its seconds of the clock and of the processor."""
    began, spent = time.perf_counter(), time.process_time()
    yield
    found[f"{name}_s"] = round(time.perf_counter() - began, 3)
    found[f"{name}_cpu_s"] = round(time.process_time() - spent, 3)


def _settle(ledger: Any, state: Any, settings: Any, found: Found) -> None:
    """Bring the ledger in step with the folder, as the daemon and the command line do."""
    ledger.follow(settings.rules, time.time())


def _again(ledger: Any, state: Any, settings: Any, found: Found) -> None:
    """What the daemon does when nothing has changed: its comparison alone, without a start."""
    ledger.follow(settings.rules, time.time())
    with _timed(found, "compare"):
        ledger.follow(settings.rules, time.time())


def _due(ledger: Any, state: Any, settings: Any, found: Found) -> None:
    """What the daemon's schedule asks: is a round due, now or at night?"""
    from vaultgpt.rounds.run import what_is_due
    from vaultgpt.training.round import Asked

    for _ in range(2):  # the first one counts what is new
        with _timed(found, "due"):
            what_is_due(state, settings, ledger, time.time())
            what_is_due(state, settings, ledger, time.time(), Asked(nightly=True))


def _plan(ledger: Any, state: Any, settings: Any, found: Found) -> Any:
    """The next round's plan with 1,500 new words, all else being learned."""
    from vaultgpt.bases.names import resolve
    from vaultgpt.training.plan import plan
    from vaultgpt.training.round import Asked

    base = resolve("pebble", state)
    with _timed(found, "plan"):
        return plan(ledger, settings, base, time.time(), Asked(manual=True))


def _assembled(ledger: Any, state: Any, settings: Any, found: Found) -> Any:
    """That round's job: what it learns from and is judged by, read from the vault."""
    from vaultgpt.bases.names import resolve
    from vaultgpt.training.assemble import Places, build_job, reader

    planned, base, now = (
        _plan(ledger, state, settings, found),
        resolve("pebble", state),
        time.time(),
    )
    read = reader(state.vault, settings.rules)
    found["opened"] = 0

    def counted(paths: Any) -> Any:
        for scanned in read(paths):
            found["opened"] += 1
            yield scanned

    places = Places(state.staging / "out", None, None, {}, None, None)
    with _timed(found, "job"):
        return build_job(
            ledger, settings, base, planned, now, read=counted, places=places, manual=True
        ).job


def _job(ledger: Any, state: Any, settings: Any, found: Found) -> None:
    """The job alone."""
    _assembled(ledger, state, settings, found)


def _replay(ledger: Any, state: Any, settings: Any, found: Found) -> None:
    """Which entries that round reads again, holds out and learns."""
    from vaultgpt.training.selection import select

    ready = ledger.pending(time.time(), 0.0)
    with _timed(found, "replay"):
        found["entries"] = len(select(ledger, ready, 1).replay)


def _copying(ledger: Any, state: Any, settings: Any, found: Found) -> None:
    """What the gate is told of copying, but for the drawing: what was learned is held against
    what was held out, which here stands for what is drawn too."""
    from vaultgpt.training.copying import WordRuns
    from vaultgpt.training.evaluate import own_parts

    items = _assembled(ledger, state, settings, found).items
    learned = own_parts(i for i in items if i.role in ("train", "replay"))
    held_out = own_parts(i for i in items if i.role in ("held_out", "new_held_out"))
    with _timed(found, "copying"):
        index = WordRuns(learned)
        for _ in range(2):
            index.measure(held_out)


def _guard(ledger: Any, state: Any, settings: Any, found: Found) -> None:
    """The copy guard's index as the mirror loads it, and the new words asked of it one by one."""
    import numpy  # noqa: F401  that every worker has

    from vaultgpt.corpus.runs import GUARD_WORDS, RunIndex
    from vaultgpt.corpus.words import norms
    from vaultgpt.vault.reconcile import read_some

    rows = ledger.entries.named(ledger.pending(time.time(), 0.0).entries)
    notes = read_some(state.vault, settings.rules, sorted({row.path for row in rows.values()}))
    words = [word for one in notes for e in one.note.entries for word in norms(e.prose)]
    with _timed(found, "load"):
        index = RunIndex(state.runs, ledger.key).load()
    with _timed(found, "asked"):
        found["known"] = sum(
            index.has(words[at : at + GUARD_WORDS]) for at in range(len(words) - GUARD_WORDS + 1)
        )
    found["words"] = len(words)


def _near(ledger: Any, state: Any, settings: Any, found: Found) -> None:
    """Near-duplicates looked for in the whole vault, as after new text that may be a copy."""
    import numpy  # noqa: F401  that whoever recorded a note has

    ledger.entries.forget_copies()
    with _timed(found, "near"):
        ledger.entries.find_copies()


def _learn(ledger: Any, state: Any, settings: Any, found: Found) -> None:
    """Enter a generation that learned all that is there, as a promoted round would."""
    from vaultgpt.bases.names import resolve
    from vaultgpt.ledger import GenerationRow

    base, now, name = resolve("pebble", state), time.time(), "g000001"
    paragraphs = ledger.entries.paragraphs().items()
    rows = [(entry, p.digest, p.words) for entry, told in paragraphs for p in told]
    learned = (settings.training.rank, settings.training.embedding, sum(w for _, _, w in rows))
    ends = (now, True, "kept", *learned)
    row = GenerationRow(name, 1, "fresh", None, base.name, base.sha256, *ends)
    ledger.generations.add(row, rows)
    ledger.generations.activate(name, now)


STEPS = {
    "settle": _settle,
    "again": _again,
    "due": _due,
    "plan": _plan,
    "job": _job,
    "replay": _replay,
    "copying": _copying,
    "guard": _guard,
    "near": _near,
    "learn": _learn,
}


def main(name: str, vault: Path) -> None:
    """Do one of STEPS and print what it found."""
    from vaultgpt.ledger import Ledger
    from vaultgpt.settings import load_settings
    from vaultgpt.state import find_state

    found: Found = {}
    state = find_state(vault)
    with Ledger.open(state) as ledger:
        STEPS[name](ledger, state, load_settings(state.config), found)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
