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


class Steps:
    """What can be measured of a vault; `found` is printed."""

    def __init__(self, ledger: Any, state: Any, settings: Any) -> None:
        self.ledger, self.state, self.settings = ledger, state, settings
        self.found: dict[str, Any] = {}

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Its seconds of the clock and of the processor."""
        began, spent = time.perf_counter(), time.process_time()
        yield
        self.found[f"{name}_s"] = round(time.perf_counter() - began, 3)
        self.found[f"{name}_cpu_s"] = round(time.process_time() - spent, 3)

    def settle(self) -> None:
        """Bring the ledger in step with the folder, as the daemon and the command line do."""
        self.ledger.follow(self.settings.rules, time.time())

    def again(self) -> None:
        """What the daemon does when nothing has changed: its comparison alone, without a start."""
        self.ledger.follow(self.settings.rules, time.time())
        with self._timed("compare"):
            self.ledger.follow(self.settings.rules, time.time())

    def due(self) -> None:
        """What the daemon's schedule asks: is a round due, now or at night?"""
        from vaultgpt.rounds.run import what_is_due
        from vaultgpt.training.round import Asked

        asked = self.state, self.settings, self.ledger
        for _ in range(2):  # the first one counts what is new
            with self._timed("due"):
                what_is_due(*asked, time.time())
                what_is_due(*asked, time.time(), Asked(nightly=True))

    def plan(self) -> Any:
        """The next round's plan with 1,500 new words, all else being learned."""
        from vaultgpt.bases.names import resolve
        from vaultgpt.training.plan import plan
        from vaultgpt.training.round import Asked

        base = resolve("pebble", self.state)
        with self._timed("plan"):
            return plan(self.ledger, self.settings, base, time.time(), Asked(manual=True))

    def job(self) -> Any:
        """That round's job: what it learns from and is judged by, read from the vault."""
        from vaultgpt.bases.names import resolve
        from vaultgpt.training.assemble import Places, build_job, reader

        asked = self.ledger, self.settings, resolve("pebble", self.state), self.plan(), time.time()
        read = reader(self.state.vault, self.settings.rules)
        self.found["opened"] = 0

        def counted(paths: Any) -> Any:
            for scanned in read(paths):
                self.found["opened"] += 1
                yield scanned

        places = Places(self.state.staging / "out", None, None, {}, None, None)
        with self._timed("job"):
            return build_job(*asked, read=counted, places=places, manual=True).job

    def replay(self) -> None:
        """Which entries that round reads again, holds out and learns."""
        from vaultgpt.training.selection import select

        ready = self.ledger.pending(time.time(), 0.0)
        with self._timed("replay"):
            select(self.ledger, ready, 1)

    def copying(self) -> None:
        """What the gate is told of copying, but for the drawing: what was learned is held against
        what was held out, which here stands for what is drawn too."""
        from vaultgpt.training.copying import WordRuns
        from vaultgpt.training.evaluate import own_parts

        items = self.job().items
        learned = own_parts(i for i in items if i.role in ("train", "replay"))
        held_out = own_parts(i for i in items if i.role in ("held_out", "new_held_out"))
        with self._timed("copying"):
            index = WordRuns(learned)
            for _ in range(2):
                index.measure(held_out)

    def guard(self) -> None:
        """The copy guard's index as the mirror loads it."""
        import numpy  # noqa: F401  that every worker has

        from vaultgpt.corpus.runs import RunIndex

        with self._timed("load"):
            RunIndex(self.state.runs, self.ledger.key).load()

    def near(self) -> None:
        """Near-duplicates looked for in the whole vault, as after new text that may be a copy."""
        import numpy  # noqa: F401  that whoever recorded a note has

        self.ledger.entries.forget_copies()
        with self._timed("near"):
            self.ledger.entries.find_copies()

    def learn(self) -> None:
        """Enter a generation that learned all that is there, as a promoted round would."""
        from vaultgpt.bases.names import resolve
        from vaultgpt.ledger import GenerationRow

        base, now, name = resolve("pebble", self.state), time.time(), "g000001"
        paragraphs = self.ledger.entries.paragraphs().items()
        rows = [(entry, p.digest, p.words) for entry, told in paragraphs for p in told]
        of = self.settings.training
        ends = (now, True, "kept", of.rank, of.embedding, sum(w for _, _, w in rows))
        row = GenerationRow(name, 1, "fresh", None, base.name, base.sha256, *ends)
        self.ledger.generations.add(row, rows)
        self.ledger.generations.activate(name, now)


def main(name: str, vault: Path) -> None:
    """Do one of the steps and print what it found."""
    from vaultgpt.ledger import Ledger
    from vaultgpt.settings import load_settings
    from vaultgpt.state import find_state

    state = find_state(vault)
    with Ledger.open(state) as ledger:
        steps = Steps(ledger, state, load_settings(state.config))
        getattr(steps, name)()
    print(json.dumps(steps.found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
