"""Measuring from the parent's side: what travels, what is kept, and what is erased."""

from __future__ import annotations

from dataclasses import replace

import pytest
from filelock import FileLock

from tests.ledger.vaults import NOW, FakeBase, Vault
from tests.report.conftest import FIGURES, FakeProcess, held_out_note, next_generation, rewrite
from vaultgpt import generation_folders
from vaultgpt.errors import Conflict, TrainingError
from vaultgpt.ledger import Ledger
from vaultgpt.report.job import VoiceFigures
from vaultgpt.report.measured import measure_voice
from vaultgpt.tasks.report import ReportAnswer, _report_of_active
from vaultgpt.wire import Sampling

FILE = "g000001.json"


def measure(vault: Vault, process: FakeProcess) -> VoiceFigures | None:
    return measure_voice(vault.state, vault.settings, now=lambda: NOW, process=process)


def report(vault: Vault, ledger: Ledger) -> ReportAnswer:
    return _report_of_active(ledger, vault.settings.mirror.sampling())


def test_figures_are_kept_privately_and_reused(learned: Vault, process: FakeProcess) -> None:
    first = measure(learned, process)
    assert first == {"generation": "g000001", "measured": NOW, **FIGURES}
    assert measure(learned, process) == first and len(process.jobs) == 1
    assert (learned.state.voice / FILE).stat().st_mode & 0o777 == 0o600
    assert learned.state.voice.stat().st_mode & 0o777 == 0o700


def test_the_job_holds_held_out_and_learned_pages_apart_in_a_private_file(
    learned: Vault, process: FakeProcess
) -> None:
    measure(learned, process)
    job = process.jobs[0]
    assert process.modes == [(0o600, 0o700)]
    writing = job["mirror"]
    assert (writing["temperature"], writing["top_p"], writing["tag_strength"]) == (1.0, 0.0, 1.0)
    assert writing["dtype"] == "auto"
    held, own = ({i["id"] for i in job[key]} for key in ("held_out", "learned"))
    assert held and own and not held & own
    assert not {p for i in job["learned"] for p in i["text"].split("\n\n")} & {
        p for i in job["held_out"] for p in i["text"].split("\n\n")
    }


def test_no_prose_is_left_after_success_or_failure(learned: Vault, process: FakeProcess) -> None:
    words = (learned.root / held_out_note(learned)).read_text(encoding="utf-8").split()[-5:-1]
    process.failure = TrainingError("It failed.")
    with pytest.raises(TrainingError):
        measure(learned, process)
    process.failure = None
    measure(learned, process)
    assert not list(learned.state.staging.iterdir())
    for path in learned.state.folder.rglob("*"):
        if path.is_file():
            assert " ".join(words).encode() not in path.read_bytes(), path


def test_a_changed_held_out_page_is_measured_anew_and_another_page_is_not(
    learned: Vault, process: FakeProcess
) -> None:
    measure(learned, process)
    held = held_out_note(learned)
    with Ledger.open(learned.state) as ledger:
        other = next(e.path for e in ledger.entries.all() if not e.held_out)
    rewrite(learned, other)
    measure(learned, process)
    assert len(process.jobs) == 1
    rewrite(learned, held)
    with Ledger.open(learned.state) as ledger:
        learned.record(ledger)
        assert report(learned, ledger)["voice"] is None
    measure(learned, process)
    assert len(process.jobs) == 2


def test_another_way_of_writing_is_measured_anew_and_the_old_figures_are_not_shown(
    learned: Vault, process: FakeProcess
) -> None:
    measure(learned, process)
    tame = replace(learned.settings, mirror=replace(learned.settings.mirror, min_p=0.05))
    measure_voice(learned.state, tame, now=lambda: NOW, process=process)
    assert len(process.jobs) == 2
    with Ledger.open(learned.state) as ledger:
        assert report(learned, ledger)["voice"] is None  # the settings say no min-p
        assert _report_of_active(ledger, tame.mirror.sampling())["voice"] is not None


def test_a_share_that_the_base_chooses_is_the_one_that_it_chose(
    learned: Vault, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A voice is measured while top-p is chosen by its base. 2. top-p is set to what was chosen.
    3. The choice is another one. Result: known all the same; then measured anew."""
    measure(learned, process)
    chosen = learned.settings.mirror.sampling().on(FakeBase().parameters).top_p
    said = replace(learned.settings, mirror=replace(learned.settings.mirror, top_p=chosen))
    measure_voice(learned.state, said, now=lambda: NOW, process=process)
    assert len(process.jobs) == 1
    with Ledger.open(learned.state) as ledger:
        assert _report_of_active(ledger, said.mirror.sampling())["voice"] is not None
        monkeypatch.setattr(Sampling, "on", lambda self, parameters: replace(self, top_p=0.5))
        assert report(learned, ledger)["voice"] is None


def test_figures_go_with_their_generation(learned: Vault, process: FakeProcess) -> None:
    measure(learned, process)
    with Ledger.open(learned.state) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out)
        ledger.forgotten.add(path, NOW)
    assert (learned.state.voice / FILE).exists()  # it still writes until the next one is there
    next_generation(learned, "g000002")
    assert not (learned.state.generations / "g000001").exists()
    assert not list(learned.state.voice.iterdir())


def test_figures_whose_generation_vanished_are_swept(learned: Vault, process: FakeProcess) -> None:
    measure(learned, process)
    (learned.state.generations / "g000001").rename(learned.root.parent / "gone")
    generation_folders.sweep(learned.state)
    assert not list(learned.state.voice.iterdir())


def test_a_round_under_way_forbids_it_and_nothing_active_needs_none(
    learned: Vault, process: FakeProcess
) -> None:
    with FileLock(learned.state.round_lock), pytest.raises(Conflict):
        measure(learned, process)
    with Ledger.open(learned.state) as ledger:
        ledger.generations.activate(None, NOW)
    assert measure(learned, process) is None and not process.jobs


def test_the_report_holds_the_figures_and_the_sentences(
    learned: Vault, process: FakeProcess
) -> None:
    with Ledger.open(learned.state) as ledger:
        before = report(learned, ledger)
        measure(learned, process)
        after = report(learned, ledger)
    assert before["voice"] is None and after["voice"] is not None
    assert after["voice"]["style"] == FIGURES["style"]
    assert {k: v for k, v in before.items() if k not in ("voice", "sentences")} == {
        k: v for k, v in after.items() if k not in ("voice", "sentences")
    }
    assert len(after["sentences"]) > len(before["sentences"]) >= 2
    assert any("than 60 % of your own pages" in line for line in after["sentences"])
