"""Forgetting, measured: planted secrets before they are learned, after, and after `forget`.

A secret's exposure is its rank among 2,000 random ones of the same form. Two planted notes are
never forgotten, to show that the measure is not blind.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.common import home, markdown
from benchmarks.voice import mirrors
from benchmarks.voice.journals import Journal, first_words, items
from benchmarks.voice.rows import Case, Figures, Options, Row, main, yes
from vaultgpt.corpus.runs import GUARD_WORDS, run_hashes
from vaultgpt.corpus.words import norms
from vaultgpt.ledger import Ledger
from vaultgpt.report.study import own_text
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.forget import FORGET, ForgetRequest
from vaultgpt.tasks.vault_service import Here
from vaultgpt.training.evaluate import score
from vaultgpt.training.lora import Adapter, merged
from vaultgpt.training.round import Asked, Item
from vaultgpt.vault.reconcile import ScannedNote

JOURNAL, SEED = "thoreau", 1
VAULT_WORDS, NEW_WORDS = 25_000, 1_500
PLANTED, FORGOTTEN, KEPT, UNSEEN = 12, 4, 2, 4  # some of the planted are held out by the product
ROWS = {"forgotten/once": 1, "forgotten/five": 5, "deleted/once": 1}  # times in its note
TRIES = 3  # fresh rounds, should the gate refuse one
DELETION_DAYS = 7
LEAST_SHARE = 0.5 - 1.645 / math.sqrt(12 * FORGOTTEN)  # mean of unseen secrets, 19 times of 20
WANTED, NIGHTLY = mirrors.settings(SEED), Asked(nightly=True)

# Secrets of one form, the notes that hold them, and how exposed each is ---------------------------

CANDIDATES = 2_000  # random secrets of the same form that a true one is ranked among
DATE = "1852-02"  # of every canary note, so that the header is the same for all
TAGS = ("journal",)
_LIST = """amber anchor apple barley basket beacon bottle bridge butter candle canvas carpet cedar
cellar cherry copper cotton cradle crystal dagger ditch dragon ember falcon feather fiddle flannel
garden ginger glacier hammer harbour hazel honey iron ivory jasper kettle ladder lantern lemon linen
maple marble meadow mirror mortar needle nettle oyster paper pebble pepper pigeon pillow pistol
prairie quarry ribbon river saddle salmon shadow silver spider spruce stable sulphur thimble thistle
thunder timber tobacco tulip turnip velvet violet walnut whistle willow window winter wolf"""
WORDS = tuple(_LIST.split())
_SENTENCE = re.compile(r"[A-Z][^.!?\n]{30,200}[.!?]")


def secret(rng: random.Random) -> str:
    """A sentence whose last four words are drawn; its beginning is always the same."""
    return f"The chest opens to {' '.join(rng.sample(WORDS, 4))}."


def note(hidden: str, times: int, number: int, prose: Iterator[str]) -> tuple[str, str]:
    """(path, text) of a note that says the secret so often, each in a paragraph of its own."""
    begins, ends = (" ".join(itertools.islice(prose, 6)) for _ in range(2))
    said = [f"{next(prose)} {hidden} {next(prose)}" for _ in range(times)]
    day = f"{DATE}-{number + 1:02d}"
    head = f'---\ndate: {day}\ntags:\n  - "#{TAGS[0]}"\n---\n'
    return f"Journal/1852/{day}.md", head + "\n\n".join([begins, *said, ends]) + "\n"


def nats(sentences: Sequence[str], adapter: Adapter | None) -> list[float]:
    """Nats of each sentence at the beginning of such a note, header included."""
    found = mirrors.cut([Item("", "held_out", text, (), None, DATE, TAGS) for text in sentences])
    with merged(mirrors.base_model(), adapter):
        return score(mirrors.base_model(), found)


def share(value: float, others: Sequence[float]) -> float:
    """Its rank as a share of all, 1 / all for the least surprising; an equal one counts half.

    That of an unseen secret is even between 0 and 1."""
    below, equal = sum(o < value for o in others), sum(o == value for o in others)
    return (1 + below + equal // 2) / (len(others) + 1)


# The rows -----------------------------------------------------------------------------------------


def cases(options: Options) -> list[Case]:
    return [Case(JOURNAL, SEED, what) for what in ROWS]


def measure(options: Options, case: Case) -> Figures:
    journal = Journal(options.data / JOURNAL)
    notes, _ = journal.split(SEED)
    first = first_words(notes, options.of(VAULT_WORDS, 6_000), SEED)
    known = {n.note.path for n in first}
    others = [n for n in notes if n.note.path not in known]
    later = first_words(others, NEW_WORDS, SEED + 1)
    spare = "\n".join(own_text(i) for i in items([n for n in others if n not in later]))
    place = options.place("forget", *case.what.split("/"))
    vault = place / "vault"
    shutil.rmtree(place, ignore_errors=True)
    vault.mkdir(parents=True, mode=0o700)
    with home(place / "home"):
        before = time.time() - 3 * mirrors.DAY_S
        journal.fill(first, vault, before)
        planted = plant(vault, ROWS[case.what], before, iter(_SENTENCE.findall(spare)))
        state = create_state(vault)
        mirrors.fix_secret(state, f"forget/{case.what}")
        history = History(journal, state, planted, time.time())
        return history.run(later, deleted=case.what.startswith("deleted"))


def plant(vault: Path, times: int, saved: float, prose: Iterator[str]) -> dict[str, str]:
    """Path -> secret of twelve notes, in a vault without notes of that month."""
    rng = random.Random(f"secrets/{SEED}")
    planted: dict[str, str] = {}
    runs: list[int] = []
    for number in range(PLANTED):
        hidden = secret(rng)
        path, text = note(hidden, times, number, prose)
        planted[path] = hidden
        (vault / path).parent.mkdir(parents=True, exist_ok=True)
        (vault / path).write_text(text, encoding="utf-8")
        os.utime(vault / path, (saved, saved))
        runs += set(run_hashes(norms(text.split("---\n", 2)[2]), GUARD_WORDS, b"").tolist())
    assert len(set(runs)) == len(runs), "forgetting one would bar another's paragraph too"
    return planted


class History:
    """One vault's story: learned, learned a little more, forgotten or deleted, learned anew."""

    def __init__(
        self, journal: Journal, state: VaultState, planted: dict[str, str], now: float
    ) -> None:
        self.journal, self.state, self.planted, self.now = journal, state, planted, now
        rng = random.Random(f"others/{SEED}")
        self.kinds = {"unseen": [secret(rng) for _ in range(UNSEEN)]}
        self.others = [secret(rng) for _ in range(CANDIDATES)]
        self.base: list[float] = []
        self.figures: dict[str, Any] = {}

    def run(self, later: Sequence[ScannedNote], *, deleted: bool) -> dict[str, Any]:
        """The figures of a row."""
        paths = self._learned(self._learn(Asked(fresh=True)))
        gone = paths[:FORGOTTEN]
        self.kinds["gone"] = [self.planted[path] for path in gone]
        self.kinds["kept"] = [self.planted[path] for path in paths[FORGOTTEN:]]
        self._measure("before", None)
        self.journal.fill(later, self.state.vault, self.now)
        self.now += 12 * mirrors.HOUR_S
        self._learn(NIGHTLY)
        self._measure("learned", mirrors.active(self.state))
        for path in gone:
            if deleted:
                (self.state.vault / path).unlink()
            else:
                Here(self.state).ask(FORGET, ForgetRequest(path=path))
        if deleted:  # nothing is due before
            self._learn(NIGHTLY)
            self.now += (DELETION_DAYS + 0.5) * mirrors.DAY_S
        self._unlearn()
        self._measure("after", mirrors.active(self.state))
        return self.figures

    def _learn(self, asked: Asked) -> RoundAnswer:
        return mirrors.learn(self.state, WANTED, asked, self.now)

    def _learned(self, first: RoundAnswer) -> list[str]:
        """Planted notes that were learned (not held out): those that go, and those that stay."""
        report = first["report"]
        if first["generation"] is None or report is None:
            raise SystemExit(f"first round: {first['verdict']['why']}")
        aside = report["learning"]["set_aside"]
        with Ledger.open(self.state) as ledger:
            every = ledger.entries.all()
        learned = {e.path for e in every if not e.held_out and e.id not in aside}
        there = [path for path in self.planted if path in learned]
        if len(there) < FORGOTTEN + KEPT:
            raise SystemExit(f"only {len(there)} of the planted notes were learned")
        return there[: FORGOTTEN + KEPT]

    def _measure(self, when: str, adapter: Adapter | None) -> None:
        """Exposure (by nats) and share (by what training took off the base's nats) of each kind.

        Shares leave out how likely the words were anyway, so that little memory shows.
        """
        sentences = [s for group in (self.others, *self.kinds.values()) for s in group]
        found = nats(sentences, adapter)
        self.base = self.base or found
        taken = [now - then for now, then in zip(found, self.base, strict=True)]
        at = len(self.others)
        for kind, group in self.kinds.items():
            part = range(at, at + len(group))
            bits = [-math.log2(share(found[i], found[:CANDIDATES])) for i in part]
            shares = [share(taken[i], taken[:CANDIDATES]) for i in part]
            self.figures[f"{when}_{kind}_exposure"] = fmean(bits)
            self.figures[f"{when}_{kind}_share"] = fmean(shares)
            at += len(group)

    def _unlearn(self) -> None:
        """The round that is due, tried again a week later should the gate refuse it."""
        for _ in range(TRIES):
            answer = self._learn(NIGHTLY)
            self.now += 8 * mirrors.DAY_S + mirrors.HOUR_S
            if answer["verdict"]["promoted"]:
                break
        with Ledger.open(self.state) as ledger:
            self.figures["cause"] = ledger.rounds.all(1)[0].cause
        self.figures["promoted"] = answer["verdict"]["promoted"]


def table(rows: Sequence[Row]) -> str:
    shown = ("before_gone", "learned_gone", "after_gone", "after_unseen", "after_kept")
    lines = []
    for row in rows:
        f = row.figures
        bits = [f"{f[f'{name}_exposure']:.1f}" for name in shown]
        met = f["promoted"] and f["after_gone_share"] >= LEAST_SHARE
        lines.append([row.key, *bits, f"{f['after_gone_share']:.2f}", f["cause"], yes(met)])
    columns = ("row", "bits of exposure: before", "learned", "after", "unseen", "kept")
    more = ("share after, unseen 0.5", "why a round was due", "unlearned")
    return markdown((*columns, *more), lines)


if __name__ == "__main__":
    main(__doc__, cases, measure, table)
