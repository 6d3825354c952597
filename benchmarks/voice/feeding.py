"""Twenty rounds on its own words: every continuation is accepted, one word in ten edited after.

Each day real pages arrive too. Masked, the ledger is told what was emitted and accepted, as the
product tells it; unmasked, it is not. Held-out pages of the author show which way the voice goes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.voice.journals import Journal, first_words, items
from benchmarks.voice.mirrors import bits, cut, learn, settings, write
from benchmarks.voice.rows import (
    PEBBLE,
    Bench,
    Case,
    Options,
    Row,
    base_digest,
    main,
    recipe_digest,
    writing,
)
from benchmarks.voice.stage import (
    DAY_S,
    HOUR_S,
    START_S,
    copy_start,
    home,
    make_start,
    open_state,
    written_at,
)
from vaultgpt.config import Mirror, Rules
from vaultgpt.corpus.provenance import mask_ranges
from vaultgpt.corpus.runs import GUARD_WORDS, RunIndex, norms, split_words
from vaultgpt.ledger import Ledger
from vaultgpt.mirror.engine import Engine
from vaultgpt.state import VaultState
from vaultgpt.training.lora import load_adapter
from vaultgpt.vault.scan import ScannedNote, read_one, read_vault
from vaultgpt.wire import Prompt

JOURNAL, SEED = "mary-maclane", 1
FIRST_WORDS = 40_000
ROUNDS = 20
REAL_WORDS = 800  # that arrive before each round, at least
DRAWS, DRAW_TOKENS = 6, 150  # continuations a round
EDIT_EVERY = 10  # words
VARIANTS = ("masked", "unmasked")
COUNTS = (
    "rounds",
    "promoted",
    "refused",
    "fresh_rounds",
    "real_words",
    "mirror_words",
    "masked_words",
)
Draw = Callable[[Prompt], str]  # the text of one continuation
WANTED = settings(training__seed=SEED)


def cases(options: Options) -> list[Case]:
    return [_case(options, variant) for variant in VARIANTS]


def _case(options: Options, variant: str) -> Case:
    journal = Journal(options.data / JOURNAL)
    place = options.work / f"feeding-{JOURNAL}-{base_digest()}-{recipe_digest()}"
    cost = ROUNDS * 30.0 + (0 if (place / "first" / "answer.json").exists() else 60.0)

    def run() -> dict[str, Any]:
        split = journal.split(SEED)
        first = first_words(split.train, FIRST_WORDS, SEED)
        known = {n.note.path for n in first}
        coming = [n for n in split.train if n.note.path not in known]
        random.Random(SEED).shuffle(coming)
        start = make_start(
            place / "first",
            lambda vault: _fill(journal, first, vault),
            lambda state: learn(state, WANTED, fresh=True, now=START_S + DAY_S),
            "feeding",
        )
        copy_start(start, place / variant)
        with home(place / variant / "home"):
            state = open_state(place / variant)
            days = Days(journal, state, first, coming, masked=variant == "masked")
            return run_days(days, split.held, ROUNDS)

    return Case(f"{JOURNAL}/{variant}", SEED, cost, run, small_rounds=True, writes=writing())


def _fill(journal: Journal, notes: Sequence[ScannedNote], vault: Path) -> None:
    for one in notes:
        journal.add(one, vault)
        written_at(vault / one.note.path, START_S)


def run_days(days: Days, held: Sequence[ScannedNote], rounds: int) -> dict[str, Any]:
    """The figures of a row: held-out bits per byte after the first training and after each day."""
    found = cut(items(held))
    runs = RunIndex(days.state.runs, days.state.secret(), GUARD_WORDS)
    engine = Engine(Mirror(), runs)
    engine.load(PEBBLE)

    def draw(prompt: Prompt) -> str:
        return write(engine, prompt)[0]

    active = days.active()
    surprises = [bits(found, load_adapter(days.state.generations / active))]
    for number in range(1, rounds + 1):
        runs.load()
        if active != engine.active:
            engine.activate(active, days.state.generations / active)
        days.day(number, draw)
        active = days.active()
        surprises.append(bits(found, load_adapter(days.state.generations / active)))
    base = bits(found, None)
    gains = [1 - value / base for value in surprises]
    return {
        "base": base,
        "held_out": surprises,
        "gain_first": gains[0],
        "gain_last": gains[-1],
        "gain_least": min(gains),
        **days.counts,
    }


class Days:
    """The author's days: pages of their own, continuations accepted and edited, a nightly round."""

    def __init__(
        self,
        journal: Journal,
        state: VaultState,
        first: Sequence[ScannedNote],
        coming: Sequence[ScannedNote],
        *,
        masked: bool,
    ) -> None:
        self.journal, self.state, self.masked = journal, state, masked
        self.there = [n.note.path for n in first]
        self.coming = list(coming)
        self.vocabulary = [word for n in first for word in norms(n.note.text)]
        self.turn = 0  # which note is continued next
        self.counts = dict.fromkeys(COUNTS, 0)

    def active(self) -> str:
        with Ledger.open(self.state) as ledger:
            return str(ledger.active())

    def day(self, number: int, draw: Draw) -> None:
        """Everything of one day, and the round that the night finds due."""
        night = START_S + (number + 1) * DAY_S
        rng = random.Random(f"{SEED}/{number}")
        order = sorted(self.there)
        self._arrive(night - 8 * HOUR_S)
        for at in range(DRAWS):
            path = order[self.turn % len(order)]
            self.turn += 1
            self._continue(
                path, draw, SEED + 1000 * number + at, night - (6 - at / 2) * HOUR_S, rng
            )
        answer = learn(self.state, WANTED, now=night, nightly=True, manual=False)
        if answer["report"] is not None:
            promoted = bool(answer["verdict"]["promoted"])
            for name, count in (
                ("rounds", 1),
                ("promoted", promoted),
                ("refused", not promoted),
                ("fresh_rounds", answer["kind"] == "fresh"),
            ):
                self.counts[name] += int(count)

    def _arrive(self, now: float) -> None:
        words = 0
        while words < REAL_WORDS and self.coming:
            one = self.coming.pop()
            self.journal.add(one, self.state.vault)
            written_at(self.state.vault / one.note.path, now)
            self.there.append(one.note.path)
            words += one.note.words
        self.counts["real_words"] += words

    def _continue(self, path: str, draw: Draw, seed: int, now: float, rng: random.Random) -> None:
        """A continuation in a paragraph of its own: accepted, saved, seen, edited, seen again."""
        entry = read_one(self.state.vault, Rules(), path).note.entries[-1]
        text = entry.document()[0].rstrip() + "\n\n"
        drawn = whole_words(
            draw(
                Prompt(
                    text,
                    entry.tags,
                    entry.date[:7] if entry.date else None,
                    entry.title,
                    length="tokens",
                    max_tokens=DRAW_TOKENS,
                    seed=seed,
                )
            )
        )
        if not drawn:
            return
        file = self.state.vault / path
        before = file.read_text(encoding="utf-8").rstrip() + "\n\n"
        with Ledger.open(self.state) as ledger:
            if self.masked:
                ledger.note_emitted(drawn, now, path)
                ledger.note_accepted(drawn, now, path)
            self._save(ledger, file, before + drawn + "\n", now + 60)
            edited = edit(drawn, self.vocabulary, rng)
            self._save(ledger, file, before + edited + "\n", now + 600)
            hidden = mask_ranges(edited, now + 600, ledger.emitted())
        self.counts["mirror_words"] += len(split_words(edited))
        self.counts["masked_words"] += sum(len(split_words(edited[s:e])) for s, e in hidden)

    def _save(self, ledger: Ledger, file: Path, text: str, now: float) -> None:
        """The note is saved and the watch sees it."""
        file.write_text(text, encoding="utf-8", newline="")
        written_at(file, now)
        ledger.record(read_vault(self.state.vault, Rules(), {}), now + 5)


def whole_words(text: str) -> str:
    """The text without a last word that may be cut off."""
    words = split_words(text)
    if words and words[-1].end == len(text):
        text = text[: words[-1].start]
    return text.strip()


def edit(text: str, vocabulary: Sequence[str], rng: random.Random) -> str:
    """One word in each ten becomes another word of the author's, somewhere among the ten."""
    words = split_words(text)
    parts, at = [], 0
    for begin in range(0, len(words), EDIT_EVERY):
        block = words[begin : begin + EDIT_EVERY]
        place = rng.randrange(EDIT_EVERY)
        if place >= len(block):
            continue
        word = block[place]
        other = rng.choice(vocabulary)
        while other == word.norm:
            other = rng.choice(vocabulary)
        parts += [text[at : word.start], other]
        at = word.end
    return "".join(parts) + text[at:]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in rows:
        f = row["figures"]
        masked = row["key"].endswith("/masked")
        found[row["key"]] = {
            "figure": f["gain_last"],
            "bound": f["gain_first"],
            "met": f["gain_last"] >= f["gain_first"] if masked else None,
            "least": f["gain_least"],
            "masked_share": f["masked_words"] / max(1, f["mirror_words"]),
        }
    return found


def table(rows: Sequence[Row], summed: dict[str, Any]) -> str:
    lines = [
        "| row | gain at first | least | at last | does not fall | promoted | own words "
        "(masked) | real words |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        f, one = row["figures"], summed[row["key"]]
        met = {True: "yes", False: "no", None: "not asked"}[one["met"]]
        lines.append(
            f"| {row['key']} | {100 * f['gain_first']:.2f} % | {100 * f['gain_least']:.2f} % | "
            f"{100 * f['gain_last']:.2f} % | {met} | {f['promoted']} of {f['rounds']} | "
            f"{f['mirror_words']:,} ({100 * one['masked_share']:.0f} %) | {f['real_words']:,} |"
        )
    return "\n".join(lines)


BENCH = Bench("feeding", str(__doc__).splitlines()[0], cases, summary, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
