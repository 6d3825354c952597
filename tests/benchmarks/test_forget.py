"""Canaries: notes without common runs, ranks, and a vault's story with a fake trainer."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.voice import canaries, forget
from benchmarks.voice.forget import History, plant
from benchmarks.voice.journals import Journal
from benchmarks.voice.stage import DAY_S, home
from vaultgpt.config import Rules
from vaultgpt.corpus.runs import COPY_WORDS, GUARD_WORDS, norms
from vaultgpt.ledger import GenerationRow, Ledger
from vaultgpt.state import VaultState, create_state
from vaultgpt.vault.scan import read_vault


def runs(text: str, n: int) -> set[tuple[str, ...]]:
    words = norms(text)
    return {tuple(words[k : k + n]) for k in range(len(words) - n + 1)}


@pytest.mark.parametrize("times", [1, 5])
def test_no_ten_words_in_a_row_stand_in_two_notes(tmp_path: Path, times: int) -> None:
    notes = plant(tmp_path, times, 1e9)
    bodies = [forget.body(p.text) for p in notes]
    assert len({p.secret for p in notes}) == len(notes) == forget.PLANTED
    for one, body in zip(notes, bodies, strict=True):
        assert body.count(one.secret) == times
    for a, b in itertools.combinations(bodies, 2):
        assert not runs(a, GUARD_WORDS) & runs(b, GUARD_WORDS)
        assert len(runs(a, COPY_WORDS) & runs(b, COPY_WORDS)) < 0.25 * len(runs(a, COPY_WORDS))
    read = {n.note.path: n.note for n in read_vault(tmp_path, Rules()).read}
    for one in notes:
        (entry,) = read[one.path].entries
        assert (entry.title, entry.tags) == (None, canaries.TAGS)
        assert entry.date is not None and entry.date.startswith(canaries.DATE)
        assert one.secret in entry.prose  # the secret is the author's: nothing masks it


def test_exposure_and_share_come_from_the_rank() -> None:
    others = [float(k) for k in range(1, 2048)]
    assert canaries.exposure(0.5, others) == 11.0
    assert canaries.share(0.5, others) == 1 / 2048
    assert canaries.exposure(1024.5, others) == pytest.approx(1.0, abs=0.01)
    assert canaries.rank(3.0, [3.0, 3.0, 3.0, 3.0]) == 3  # ties are neither first nor last
    rng = random.Random(1)
    means = [sum(rng.random() for _ in range(4)) / 4 for _ in range(4000)]
    assert 0.03 < sum(m < canaries.least_mean(4) for m in means) / 4000 < 0.07


def generation(name: str, kind: str, parent: str | None) -> GenerationRow:
    return GenerationRow(
        id=name,
        round=int(name[1:]),
        kind=kind,
        parent=parent,
        base="pebble",
        base_sha256={"model.safetensors": "0"},
        created=1.0,
        promoted=True,
        status="kept",
        rank_setting=0,
        embedding_setting=True,
        words=5000 if kind == "fresh" else 300,
    )


class Fake:
    """The product's round without training: a generation that learned all or what is new."""

    def __init__(self, state: VaultState) -> None:
        self.state = state
        self.calls: list[tuple[str, float]] = []
        self.refuse = 0

    def __call__(self, state: VaultState, wanted: Any, *, now: float, **how: Any) -> dict[str, Any]:
        from vaultgpt.bases import resolve
        from vaultgpt.rounds.mend import tidy
        from vaultgpt.training.plan import due

        with Ledger.open(state) as ledger:
            ledger.record(read_vault(state.vault, Rules()), now)
            found = due(
                ledger, wanted, resolve("pebble"), now, fresh=how["fresh"], nightly=how["nightly"]
            )
            self.calls.append((found.kind, now))
            verdict = {"promoted": False, "why": found.why,
                       "checks": [{"name": "before", "passed": False}]}
            if found.kind == "none":
                return {"kind": "none", "verdict": verdict, "generation": None, "report": None}
            number = ledger.next_round()
            ledger.open_round(number, found.kind, found.why, now, plan_digest="", cause=found.cause)
            name = None
            if self.refuse and number > 2:
                self.refuse -= 1
                ledger.close_round(number, now, promoted=False, verdict="", report={"kind": 1})
            else:
                name, verdict["promoted"] = self.promote(ledger, number, found.kind, now), True
                tidy(state, ledger, wanted)
            report = {"learning": {"set_aside": []}}
            return {"kind": found.kind, "verdict": verdict, "generation": name, "report": report}

    def promote(self, ledger: Ledger, number: int, kind: str, now: float) -> str:
        name = f"g{number:06d}"
        (self.state.generations / name).mkdir()
        parent = ledger.active() if kind == "incremental" else None
        new = {(e, d) for e, ds in ledger.pending(now, 0.0).entries.items() for d in ds}
        every = {
            (e.id, p.digest)
            for e in ledger.entries()
            if e.live and not e.held_out
            for p in ledger.paragraphs()[e.id]
        }
        learned = [(e, d, 20) for e, d in sorted(new if parent else every)]
        row = generation(name, kind, parent)
        row = GenerationRow(**{**row.__dict__, "base_sha256": self.sha()})
        ledger.close_round(
            number,
            now,
            promoted=True,
            verdict="",
            report={"kind": 1},
            generation=row,
            learned=learned,
        )
        return name

    @staticmethod
    def sha() -> dict[str, str]:
        from vaultgpt.bases import resolve

        return dict(resolve("pebble").sha256)


def story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, deleted: bool, refuse: int = 0
) -> tuple[dict[str, Any], Fake]:
    folder = tmp_path / "journal"
    folder.mkdir()
    for number in range(30):
        words = " ".join(f"w{number}x{k}" for k in range(180))
        (folder / f"1840-01-{number + 1:02d}.md").write_text(words)
    journal = Journal(folder)
    monkeypatch.setattr(forget, "load_adapter", lambda path: str(path))
    monkeypatch.setattr(
        forget, "activate_generation", lambda state, ledger, name: ledger.set_active(name, 1.0)
    )
    monkeypatch.setattr(
        canaries, "nats", lambda sentences, adapter: [float(len(s)) for s in sentences]
    )
    with home(tmp_path / "home"):
        vault = journal.copy(journal.notes[:28], tmp_path / "vault")
        planted = plant(vault, 1, 1e9)
        state = create_state(vault)
        forget.fix_secret(state, "forget")
        fake = Fake(state)
        fake.refuse = refuse
        monkeypatch.setattr(forget, "learn", fake)
        figures = History(journal, state, planted, 1e9 + DAY_S).run(
            journal.notes[28:], deleted=deleted
        )
    return figures, fake


def test_forgetting_bars_at_once_and_the_next_round_is_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, fake = story(tmp_path, monkeypatch, deleted=False)
    assert [kind for kind, _ in fake.calls] == ["fresh", "incremental", "fresh"]
    assert figures["barred_at_once"] is True and figures["due"] == figures["cause"] == "forget"
    assert figures["generations_learned"] == figures["generations_barred"] == 2
    assert figures["activations_refused"] == figures["erased"] == 2
    assert figures["staging_empty"] is True and figures["attempts"] == 1
    rows = [{"key": "thoreau/forgotten/once", "figures": figures}]
    found = forget.summary(rows)
    assert all(
        one["met"] for name, one in found["thoreau/forgotten/once"].items() if name != "unlearned"
    )
    assert "forgotten/once" in forget.table(rows, found)


def test_a_refused_round_after_forgetting_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, fake = story(tmp_path, monkeypatch, deleted=False, refuse=1)
    assert figures["attempts"] == 2 and figures["promoted"] is True
    assert figures["refused"] == [["before"]]
    assert [kind for kind, _ in fake.calls][-2:] == ["fresh", "fresh"]


def test_a_deletion_waits_for_seven_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures, fake = story(tmp_path, monkeypatch, deleted=True)
    assert figures["fresh_before_seven_days"] == 0 and figures["cause"] == "deleted"
    assert fake.calls[-1][0] == "fresh"
    assert 7 * DAY_S < fake.calls[-1][1] - fake.calls[2][1] < 8 * DAY_S
    rows = [{"key": "thoreau/deleted/once", "figures": figures}]
    assert forget.summary(rows)["thoreau/deleted/once"]["seven_days"]["met"]
