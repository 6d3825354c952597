"""A clock that was ahead and is right again: nothing waits for the year that it was wrong by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.vaults import DAY, HOUR, NOW, FakeBase, Vault, body, prose
from tests.rounds.fakes import FakeTrainer, train
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.run import run_round, what_is_due
from vaultgpt.training.plan import _RETRY_S, _deleted_words

YEAR = 365 * DAY


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path)
    made.fill(40)
    return made


def test_notes_become_quiet_an_hour_after_the_clock_is_right(vault: Vault) -> None:
    """1. The clock is a year ahead; a note is saved and scanned. 2. The clock is set right.
    3. An hour passes. Result: the note is ready an hour after the correction was noticed.
    """
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW)
        vault.write("new.md", body("new"), age_s=0, now=NOW + YEAR)
        vault.record(ledger, NOW + YEAR)
        assert ledger.pending(NOW + 60).ready_notes == ledger.pending(NOW + 60).notes - 1
        assert ledger.pending(NOW + 60 + HOUR).ready_notes == ledger.pending(NOW + 60).notes


def test_what_waited_goes_on_waiting_as_long_as_it_must(vault: Vault) -> None:
    """1. On a clock a year ahead a note is saved, and another one half an hour later. 2. The clock
    is set right. Result: the first is ready half an hour before the second.
    """
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW)
        before = ledger.pending(NOW).ready_notes
        for minutes, name in ((0, "first.md"), (30, "second.md")):
            at = NOW + YEAR + minutes * 60
            vault.write(name, body(name), age_s=0, now=at)
            vault.record(ledger, at)
        assert ledger.pending(NOW).ready_notes == before
        assert ledger.pending(NOW + HOUR / 2 + 60).ready_notes == before + 1
        assert ledger.pending(NOW + HOUR + 60).ready_notes == before + 2


def test_rounds_are_not_held_back(vault: Vault) -> None:
    """1. On a clock a year ahead the gate refuses a round. 2. The clock is set right, as long
    passes as a refused round waits. Result: a round is due.
    """

    def learn(trainer: FakeTrainer, now: float) -> str:
        answer = run_round(
            vault.state, vault.settings, trainer=trainer, base=FakeBase(), now=lambda: now
        )
        return str(answer["kind"])

    def kind_due(now: float) -> str:
        with Ledger.open(vault.state) as ledger:
            return what_is_due(vault.state, vault.settings, ledger, now, base=FakeBase()).kind

    assert learn(FakeTrainer(), NOW) == "fresh"
    vault.write("new.md", body("new", 90), age_s=0, now=NOW + YEAR - DAY)
    assert learn(FakeTrainer(after=0.9, before=0.8), NOW + YEAR) == "incremental"
    assert kind_due(NOW + 2 * DAY) == "none"
    assert kind_due(NOW + 2 * DAY + _RETRY_S) == "incremental"


def test_the_mirror_s_own_words_stay_its_own(vault: Vault) -> None:
    """1. The clock is a year ahead; a text is accepted. 2. The clock is set right, the note that
    holds it is saved and scanned. Result: the text carries no loss.
    """
    own = prose("own", 20)
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW)
        ledger.emitted.accepted(own, NOW + YEAR)
        vault.write("new.md", "My own words. " + own + "\n", age_s=0, now=NOW + 600)
        vault.record(ledger, NOW + 600)
        seen = next(
            p.first_seen
            for e in ledger.entries.all()
            if e.path == "new.md"
            for p in ledger.entries.paragraphs()[e.id]
        )
        text = "My own words. " + own
        assert [text[s:e] for s, e in ledger.emitted.lookup().mask_ranges(text, seen)] == [own[:-1]]


def test_a_deleted_note_is_unlearned_in_time(vault: Vault) -> None:
    """1. On a clock a year ahead a learned note is deleted. 2. The clock is set right, the days of
    grace pass. Result: its words count as deleted.
    """
    train(vault)
    with Ledger.open(vault.state) as ledger:
        gone = next(e.path for e in ledger.entries.all() if not e.held_out)
        vault.remove(gone)
        vault.record(ledger, NOW + YEAR)
        days = vault.settings.schedule.deletion_days
        vault.record(ledger, NOW + 60)
        assert not _deleted_words(ledger, vault.settings, NOW + days * DAY - HOUR)
        assert _deleted_words(ledger, vault.settings, NOW + 120 + days * DAY)
