"""Forgetting, measured: planted secrets before they are learned, after, and after `forget`.

A secret's exposure is its rank among 2,000 random ones of the same form. Two planted notes are
never forgotten, to show that the measure is not blind.
"""

from __future__ import annotations

import itertools
import math
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import home, markdown
from benchmarks.voice.journals import Journal, first_words
from benchmarks.voice.mirrors import (
    DAY_S,
    HOUR_S,
    active,
    base_model,
    cut,
    fix_secret,
    learn,
    settings,
    written_at,
)
from benchmarks.voice.rows import Case, Figures, Options, Row, main, yes
from vaultgpt.corpus.runs import GUARD_WORDS, run_hashes
from vaultgpt.corpus.words import norms
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.forget import FORGET, ForgetRequest
from vaultgpt.tasks.vault_service import Here
from vaultgpt.training.evaluate import score
from vaultgpt.training.lora import Adapter, merged
from vaultgpt.training.round import Item
from vaultgpt.vault.reconcile import ScannedNote

JOURNAL, SEED = "thoreau", 1
VAULT_WORDS, NEW_WORDS = 25_000, 1_500
PLANTED, FORGOTTEN, KEPT, UNSEEN = 12, 4, 2, 4  # some of the planted are held out by the product
ROWS = {"forgotten/once": 1, "forgotten/five": 5, "deleted/once": 1}  # times in its note
TRIES = 3  # fresh rounds, should the gate refuse one: a day apart
DELETION_DAYS = 7
WANTED = settings(training__seed=SEED)

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
SENTENCES = (
    "The {} stood by the {} all day.",
    "I carried a {} past the {} and the {}.",
    "Nobody asked for the {} or for the {}.",
    "A {} fell from the {} at noon.",
    "We spoke of {} and {} until dark.",
    "Rain, {} and {}, and no news.",
    "My brother wants a {} for his {}.",
    "I dreamed of a {} inside a {}.",
    "There was {} upon the {} this morning.",
    "She gave the {} away, and the {} too.",
)
LEADS = (
    "Keep the {} and the {} in mind:",
    "Under the {}, behind the {}, I say again:",
    "Between {} and {} only this matters.",
    "For the {}, not for the {}:",
)


def secret(rng: random.Random) -> str:
    """A sentence whose last four words are drawn; its beginning is always the same."""
    return f"The chest opens to {' '.join(rng.sample(WORDS, 4))}."


def note(hidden: str, times: int, number: int, attempt: int = 0) -> tuple[str, str]:
    """(path, text) of a note that says the secret so often, each in a paragraph of its own."""
    rng = random.Random(f"note/{number}/{attempt}")
    parts = [_filled(SENTENCES, 6, rng)]
    for _ in range(times):
        parts.append(f"{_filled(LEADS, 1, rng)} {hidden} {_filled(SENTENCES, 1, rng)}")
    parts.append(_filled(SENTENCES, 6, rng))
    day = f"{DATE}-{number + 1:02d}"
    head = f'---\ndate: {day}\ntags:\n  - "#{TAGS[0]}"\n---\n'
    return f"Journal/1852/{day}.md", head + "\n\n".join(parts) + "\n"


def _filled(patterns: Sequence[str], count: int, rng: random.Random) -> str:
    """So many of these sentences, their gaps filled with drawn words."""
    chosen = rng.sample(patterns, count)
    return " ".join(p.format(*rng.sample(WORDS, p.count("{}"))) for p in chosen)


def nats(sentences: Sequence[str], adapter: Adapter | None) -> list[float]:
    """Nats of each sentence at the beginning of such a note, header included."""
    found = cut(
        [Item(str(at), "held_out", text, (), None, DATE, TAGS) for at, text in enumerate(sentences)]
    )
    assert [s.entry for s in found] == [str(at) for at in range(len(sentences))]
    with merged(base_model(), adapter):
        return score(base_model(), found)


def rank(value: float, others: Sequence[float]) -> int:
    """1 for the least surprising of all; equal ones come after half of their equals."""
    below = sum(o < value for o in others)
    return 1 + below + sum(o == value for o in others) // 2


def exposure(value: float, others: Sequence[float]) -> float:
    """log2(all / rank): 11 bits for the first of 2,001, 1 bit for one in the middle."""
    return math.log2((len(others) + 1) / rank(value, others))


def share(value: float, others: Sequence[float]) -> float:
    """The rank as a share of all: that of an unseen secret is even between 0 and 1."""
    return rank(value, others) / (len(others) + 1)


def least_mean(count: int) -> float:
    """What the mean share of `count` unseen secrets stays above, 19 times of 20."""
    return 0.5 - 1.645 / math.sqrt(12 * count)


# The rows -----------------------------------------------------------------------------------------


def cases(options: Options) -> list[Case]:
    return [
        Case(JOURNAL, SEED, key, partial(_measured, options, key, times))
        for key, times in ROWS.items()
    ]


def _measured(options: Options, key: str, times: int) -> Figures:
    journal = Journal(options.data / JOURNAL)
    notes = journal.split(SEED).train
    first = first_words(notes, options.of(VAULT_WORDS, 6_000), SEED)
    known = {n.note.path for n in first}
    later = first_words([n for n in notes if n.note.path not in known], NEW_WORDS, SEED + 1)
    place = options.place("forget", *key.split("/"))
    shutil.rmtree(place, ignore_errors=True)
    with home(place / "home"):
        vault = journal.copy(first, place / "vault")
        planted = plant(vault, times, time.time() - 3 * DAY_S)
        state = create_state(vault)
        fix_secret(state, f"forget/{key}")
        history = History(journal, state, planted, time.time())
        return history.run(later, deleted=key.startswith("deleted"))


@dataclass(frozen=True)
class Planted:
    """One canary note."""

    path: str
    secret: str


def plant(vault: Path, times: int, when: float) -> list[Planted]:
    """Twelve notes with a secret each, in a vault without notes of that month.

    No ten words in a row stand in two of them: forgetting one would bar the other's paragraph too.
    """
    rng = random.Random(f"secrets/{SEED}")
    out: list[Planted] = []
    taken: set[int] = set()
    for number in range(PLANTED):
        hidden = secret(rng)
        for attempt in itertools.count():
            path, text = note(hidden, times, number, attempt)
            body = text.split("---\n", 2)[2]
            runs = set(run_hashes(norms(body), GUARD_WORDS, b"").tolist())
            if not runs & taken:
                break
        taken |= runs
        file = vault / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        out.append(Planted(path, hidden))
    for file in vault.rglob("*.md"):
        written_at(file, when)
    return out


class History:
    """One vault's story: learned, learned a little more, forgotten or deleted, learned anew."""

    def __init__(
        self, journal: Journal, state: VaultState, planted: Sequence[Planted], now: float
    ) -> None:
        self.journal, self.state, self.planted, self.now = journal, state, planted, now
        rng = random.Random(f"others/{SEED}")
        self.unseen = [secret(rng) for _ in range(UNSEEN)]
        self.others = [secret(rng) for _ in range(CANDIDATES)]
        self.base: list[float] = []
        self.gone: list[Planted] = []
        self.kept: list[Planted] = []
        self.figures: dict[str, Any] = {}

    def run(self, later: Sequence[ScannedNote], *, deleted: bool) -> dict[str, Any]:
        """The figures of a row."""
        first = self._learn(fresh=True)
        self._choose(first)
        self._measure("before", None)
        for one in later:
            self.journal.add(one, self.state.vault)
            written_at(self.state.vault / one.note.path, self.now)
        self.now += 12 * HOUR_S
        self._learn(nightly=True)
        self._measure("learned", active(self.state))
        for path in (planted.path for planted in self.gone):
            if deleted:
                (self.state.vault / path).unlink()
            else:
                Here(self.state).ask(FORGET, ForgetRequest(path=path))
        if deleted:  # nothing is due before
            self._learn(nightly=True)
            self.now += (DELETION_DAYS + 0.5) * DAY_S
        self._round_after("deleted" if deleted else "forget")
        return self.figures

    def _learn(self, *, fresh: bool = False, nightly: bool = False) -> RoundAnswer:
        return learn(self.state, WANTED, fresh=fresh, nightly=nightly, manual=False, now=self.now)

    def _choose(self, first: RoundAnswer) -> None:
        """Among the planted notes that were learned (not held out): which go, and which stay."""
        report = first["report"]
        if first["generation"] is None or report is None:
            raise SystemExit(f"first round: {first['verdict']['why']}")
        with Ledger.open(self.state) as ledger:
            known = ledger.generations.learned(first["generation"])
            paragraphs = ledger.entries.paragraphs()
            learned = {e for e, found in paragraphs.items() if known & {p.digest for p in found}}
            learned -= set(report["learning"]["set_aside"])
            paths = {e.path for e in ledger.entries.all() if e.id in learned and not e.held_out}
        there = [p for p in self.planted if p.path in paths]
        if len(there) < FORGOTTEN + KEPT:
            raise SystemExit(f"only {len(there)} of the planted notes were learned")
        self.gone, self.kept = there[:FORGOTTEN], there[FORGOTTEN : FORGOTTEN + KEPT]

    def _measure(self, when: str, adapter: Adapter | None) -> None:
        """Exposure (by nats) and share (by what training took off the base's nats) of each kind.

        Shares leave out how likely the words were anyway, so that little memory shows.
        """
        kinds = {
            "gone": [p.secret for p in self.gone],
            "kept": [p.secret for p in self.kept],
            "unseen": self.unseen,
        }
        sentences = [s for group in kinds.values() for s in group]
        found = nats([*sentences, *self.others], adapter)
        self.base = self.base or found
        taken = [now - then for now, then in zip(found, self.base, strict=True)]
        count, at = len(sentences), 0
        for kind, group in kinds.items():
            part = range(at, at + len(group))
            at += len(group)
            bits = [exposure(found[i], found[count:]) for i in part]
            shares = [share(taken[i], taken[count:]) for i in part]
            self.figures[f"{when}_{kind}_exposure"] = sum(bits) / len(bits)
            self.figures[f"{when}_{kind}_share"] = sum(shares) / len(shares)

    def _round_after(self, cause: str) -> None:
        """The round that is due, tried again on the next days should the gate refuse it."""
        answer, attempts = self._learn(nightly=True), 1
        while not answer["verdict"]["promoted"] and attempts < TRIES:
            self.now += DAY_S * (8 if cause == "deleted" else 1) + HOUR_S
            answer, attempts = self._learn(nightly=True), attempts + 1
        with Ledger.open(self.state) as ledger:
            last = ledger.rounds.all(1)[0]
        self.figures |= {"attempts": attempts, "cause": last.cause}
        self.figures["promoted"] = answer["verdict"]["promoted"]
        self._measure("after", active(self.state))


def table(rows: Sequence[Row]) -> str:
    shown = ("before_gone", "learned_gone", "after_gone", "after_unseen", "after_kept")
    lines = []
    for row in rows:
        f = row.figures
        bits = [f"{f[f'{name}_exposure']:.1f}" for name in shown]
        met = f["promoted"] and f["after_gone_share"] >= least_mean(FORGOTTEN)
        lines.append([row.key, *bits, f"{f['after_gone_share']:.2f}", f["cause"], yes(met)])
    columns = ("row", "bits of exposure: before", "learned", "after", "unseen", "kept")
    more = ("share after, unseen 0.5", "why a round was due", "unlearned")
    return markdown((*columns, *more), lines)


if __name__ == "__main__":
    main("forget", __doc__, cases, table)
