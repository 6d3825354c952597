"""A round from the vault to a verdict, with a trainer that only pretends."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.vaults import DAY, NOW, FakeBase, Vault, body, prose
from tests.rounds.fakes import FakeTrainer, train
from vaultgpt import generations
from vaultgpt.bases import resolve
from vaultgpt.config import Training
from vaultgpt.errors import BaseModelError, Conflict, StateError, TrainingError
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.round_log import Rounds
from vaultgpt.rounds import repair, room, run_round
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.training.round import Asked

KEYS = {"round", "kind", "verdict", "report", "generation"}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path)
    made.fill(60, paragraphs=4)
    return made


def go(vault: Vault, trainer: Any, now: float = NOW, **more: Any) -> RoundAnswer:
    return run_round(
        vault.state,
        vault.settings,
        trainer=trainer,
        base=more.pop("base", FakeBase()),
        now=lambda: now,
        manual=more.pop("manual", True),
        **more,
    )


def test_the_first_round_is_judged_published_and_active(vault: Vault) -> None:
    told: list[str] = []
    trainer = FakeTrainer()
    answer = go(vault, trainer, on_promoted=told.append)
    assert set(answer) >= KEYS
    assert answer["kind"] == "fresh" and answer["verdict"]["promoted"], answer["verdict"]
    assert answer["generation"] == "g000001" and told == ["g000001"]
    (job,) = trainer.jobs
    assert job.round.asked == Asked(manual=True) and job.round.cause == "first"
    with Ledger.open(vault.state) as ledger:
        assert ledger.rounds.all()[0].cause == "first"
    assert answer["report"] is not None
    assert set(answer["report"]["bits_per_byte"]) == {
        "held_out",
        "held_out_before",
        "held_out_base",
        "new_notes",
        "new_notes_before",
        "general",
        "general_base",
    }
    with Ledger.open(vault.state) as ledger:
        assert ledger.generations.active() == "g000001"
        assert ledger.pending(NOW, 0).words == 0
    manifest = generations.verify(vault.state.generations / "g000001")
    assert manifest["held_out"] and manifest["learned"] and manifest["parent"] is None


def test_a_round_foresees_the_memory_that_it_takes(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A fifth of a gigabyte is free. 2. More is. Result: refused with both figures; it runs."""
    monkeypatch.setattr(room, "_free_gb", lambda: 0.2)
    trainer = FakeTrainer()
    with pytest.raises(StateError, match=r"takes about \d\.\d GB of memory, and 0\.2 GB are free"):
        go(vault, trainer)
    assert not trainer.jobs and not list(vault.state.staging.iterdir())
    monkeypatch.undo()
    assert go(vault, trainer)["verdict"]["promoted"]


def test_no_prose_is_left_in_staging_or_the_ledger_once_a_round_closed(vault: Vault) -> None:
    secret = "zanzibarquux"
    vault.write("secret.md", body("secret") + f"\n{secret} {prose('tail')}\n")
    trainer = FakeTrainer()
    go(vault, trainer)
    assert secret in trainer.texts[0]
    for path in vault.state.folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_held_out_entries_never_reach_the_trainer_as_training_text(vault: Vault) -> None:
    trainer = FakeTrainer()
    go(vault, trainer)
    items = trainer.jobs[0].items
    held = {i.id for i in items if i.role == "held_out"}
    assert held and not held & {i.id for i in items if i.role == "train"}
    train = "\n".join(i.text for i in items if i.role == "train")
    for item in (i for i in items if i.role == "held_out"):
        for paragraph in item.text.split("\n\n"):
            assert paragraph.strip() not in train


def test_a_second_round_with_nothing_new_says_so(vault: Vault) -> None:
    go(vault, FakeTrainer())
    answer = go(vault, FakeTrainer())
    assert answer["kind"] == "none" and answer["report"] is None and answer["generation"] is None
    assert answer["verdict"]["promoted"] is False
    assert answer["verdict"]["why"] == "nothing new to learn"


def test_a_new_note_is_learned_by_an_incremental_round_with_replay(vault: Vault) -> None:
    go(vault, FakeTrainer())
    vault.write("new.md", body("brand new", 4))
    trainer = FakeTrainer()
    answer = go(vault, trainer)
    assert answer["kind"] == "incremental" and answer["verdict"]["promoted"], answer["verdict"]
    job = trainer.jobs[0]
    assert job.parent and job.parent.endswith("g000001") and set(job.compare) == {"before", "fresh"}
    roles = {i.role for i in job.items}
    assert roles == {"train", "replay", "held_out", "new_held_out"}
    train = [i for i in job.items if i.role == "train"]
    assert len(train) == 1 and len(train[0].new_ranges) == 3
    words = sum(len(i.text.split()) for i in job.items if i.role == "replay")
    assert words == 240  # a seventh of the new words, in whole entries: one
    held = next(i for i in job.items if i.role == "new_held_out")
    assert held.text.strip() and held.text.strip() not in train[0].text
    with Ledger.open(vault.state) as ledger:
        waiting = ledger.pending(NOW, 0)
        assert waiting.words == 60  # the paragraph held out of that round
        assert len(ledger.rounds.scores()) == 1
    again = FakeTrainer()
    assert go(vault, again)["kind"] == "incremental"
    assert not [i for i in again.jobs[0].items if i.role == "new_held_out"]
    with Ledger.open(vault.state) as ledger:
        assert ledger.pending(NOW, 0).words == 0


def test_a_refused_round_leaves_everything_as_it_was(vault: Vault) -> None:
    go(vault, FakeTrainer())
    vault.write("new.md", body("brand new", 4))
    answer = go(vault, FakeTrainer(after=0.9))
    assert not answer["verdict"]["promoted"] and answer["generation"] is None
    assert "%" in answer["verdict"]["why"]
    with Ledger.open(vault.state) as ledger:
        assert ledger.generations.active() == "g000001" and ledger.pending(NOW, 0).words == 240
    assert generations.published(vault.state) == ["g000001"]
    assert not list(vault.state.staging.iterdir())


def test_an_interrupted_round_goes_on_in_its_own_folder(vault: Vault) -> None:
    def die(folder: Path) -> None:
        (folder / "checkpoint").write_text("half")
        raise TrainingError("died")

    first = FakeTrainer()
    first.before_answer = die
    with pytest.raises(TrainingError):
        go(vault, first)
    second = FakeTrainer()
    seen: list[bool] = []
    second.before_answer = lambda folder: seen.append((folder / "checkpoint").exists())
    assert go(vault, second)["generation"] == "g000001"
    assert seen == [True] and first.texts == second.texts


def test_an_interrupted_round_whose_vault_changed_starts_anew(vault: Vault) -> None:
    def die(folder: Path) -> None:
        (folder / "checkpoint").write_text("half")
        raise TrainingError("died")

    first = FakeTrainer()
    first.before_answer = die
    with pytest.raises(TrainingError):
        go(vault, first)
    vault.write("another.md", body("another", 4))
    second = FakeTrainer()
    seen: list[bool] = []
    second.before_answer = lambda folder: seen.append((folder / "checkpoint").exists())
    answer = go(vault, second)
    assert answer["round"] == 2 and seen == [False]
    assert not list(vault.state.staging.iterdir())


def test_a_round_reads_its_base_again_and_does_not_learn_on_rotten_weights(
    vault: Vault, tiny_llama: Path, tmp_path: Path
) -> None:
    """1. The base is opened. 2. A byte rots, its size and time stay. Result: no trainer starts."""
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "base"))
    base, weights = resolve(str(folder)), folder / "model.safetensors"
    before = weights.stat()
    with weights.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert resolve(str(folder)) == base
    trainer = FakeTrainer()
    with pytest.raises(BaseModelError, match=r"model.safetensors of .* is damaged"):
        go(vault, trainer, base=base)
    assert not trainer.jobs
    go(vault, trainer, base=resolve(str(folder)))  # taken as it is now
    assert trainer.jobs


def test_two_rounds_at_once_are_a_conflict(vault: Vault) -> None:
    def nested(folder: Path) -> None:
        with pytest.raises(Conflict):
            go(vault, FakeTrainer())

    trainer = FakeTrainer()
    trainer.before_answer = nested
    assert go(vault, trainer)["verdict"]["promoted"]


def test_a_stop_leaves_the_round_open(vault: Vault) -> None:
    stop = threading.Event()

    def stopped(job: Path, on_progress: Any, event: threading.Event, *, settings: Any) -> Any:
        assert event is stop
        raise TrainingError("stopped")

    with pytest.raises(TrainingError):
        go(vault, stopped, stop=stop)
    with Ledger.open(vault.state) as ledger:
        assert ledger.rounds.interrupted() is not None and ledger.generations.active() is None


def test_staging_is_private(vault: Vault) -> None:
    modes: list[int] = []
    trainer = FakeTrainer()
    trainer.before_answer = lambda folder: modes.extend(
        p.stat().st_mode & 0o777 for p in (folder, folder / "job.json", folder / "out")
    )
    go(vault, trainer)
    assert modes == [0o700, 0o600, 0o700]


def test_forgetting_makes_a_fresh_round_due_that_lacks_the_note_and_erases_the_old(
    vault: Vault,
) -> None:
    go(vault, FakeTrainer())
    with Ledger.open(vault.state) as ledger:
        row = next(e for e in ledger.entries.all() if not e.held_out)
        text = (vault.root / row.path).read_text().split("---\n")[-1]
        ledger.forgotten.add(row.path, NOW)
        assert ledger.generations.barred() == {"g000001"}
        with pytest.raises(Conflict):
            ledger.generations.activate("g000001", NOW)
    vault.write(
        "copy.md",
        "My own words, some forty of them, so that the note is used. "
        + prose("own", 40)
        + "\n\n"
        + text,
    )
    trainer = FakeTrainer()
    answer = go(vault, trainer, manual=False)
    assert answer["kind"] == "fresh" and answer["verdict"]["promoted"], answer["verdict"]
    for paragraph in text.split("\n\n"):
        assert json.dumps(paragraph.strip())[1:-1] not in trainer.texts[0]
    assert generations.published(vault.state) == ["g000002"]
    with Ledger.open(vault.state) as ledger:
        assert ledger.generations.get(
            "g000001"
        ).status == "erased" and not ledger.generations.barred() - {"g000001"}


@pytest.mark.parametrize("why", ["forgotten", "deleted", "asked"])
def test_a_round_one_percent_worse_is_promoted_only_where_a_note_must_go(
    vault: Vault, why: str
) -> None:
    go(vault, FakeTrainer())
    with Ledger.open(vault.state) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out)
        if why == "forgotten":
            ledger.forgotten.add(path, NOW)
    if why == "deleted":
        vault.remove(path)
        go(vault, FakeTrainer(), now=NOW + DAY)  # the scan that first misses it
    answer = go(vault, FakeTrainer(after=0.828), now=NOW + 9 * DAY, fresh=True)
    assert answer["kind"] == "fresh"
    assert answer["verdict"]["promoted"] == (why != "asked"), answer["verdict"]


def test_what_the_mirror_wrote_carries_no_loss(vault: Vault) -> None:
    go(vault, FakeTrainer())
    own = prose("mirror", 20)
    with Ledger.open(vault.state) as ledger:
        ledger.emitted.offered(own, NOW + 10)
        ledger.emitted.accepted(own, NOW + 11)
    vault.write(
        "mixed.md",
        f"{prose('a', 30)}\n\n{prose('b', 30)} {own} {prose('c', 30)}\n",
        now=NOW + 20,
        age_s=0,
    )
    trainer = FakeTrainer()
    go(vault, trainer, now=NOW + 30)
    item = next(i for i in trainer.jobs[0].items if i.new_ranges)
    masked = "".join(item.text[s:e] for s, e in item.masked)
    assert masked == own.rstrip(".")


def test_a_large_vault_is_sampled_first_and_then_due_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the machine had the room: nothing of this size is loaded.
    monkeypatch.setattr("vaultgpt.rounds.run.require_disk_and_memory", lambda *_, **__: None)
    vault = Vault(tmp_path)
    vault.fill(60, paragraphs=4)
    trainer = FakeTrainer()
    big = FakeBase(parameters=3_000_000_000)
    answer = go(vault, trainer, base=big)
    assert answer["sampled"] and answer["verdict"]["promoted"]
    assert trainer.jobs[0].round.budget_s == 180.0
    sampled = sum(i.role == "train" for i in trainer.jobs[0].items)
    trainer = FakeTrainer(after=0.79)
    answer = go(vault, trainer, base=big, now=NOW + DAY)
    assert answer["kind"] == "fresh" and not answer["sampled"]
    assert sum(i.role == "train" for i in trainer.jobs[0].items) > sampled
    assert go(vault, FakeTrainer(), base=big)["kind"] == "none"


def test_twelve_fresh_rounds_take_the_room_of_six_and_forgetting_still_knows_the_first(
    tmp_path: Path,
) -> None:
    """1. Six fresh rounds, of which three are kept; a paragraph that the first learned is gone.
    2. Six more. 3. Its note is forgotten. Result: what was learned takes the same room, segments'
    figures are those of kept ones, and that paragraph is barred too.
    """
    vault = Vault(tmp_path)
    vault.fill(20)
    vault.settings = replace(vault.settings, training=Training(keep=3))
    vault.write("harbour.md", f"{prose('once')}\n\n{prose('harbour')}\n")
    rows: list[int] = []
    for number in range(12):
        train(vault, NOW + number * DAY, fresh=True)
        if number == 0:
            vault.write("harbour.md", f"{prose('harbour')}\n", now=NOW + DAY)
        with Ledger.open(vault.state) as ledger:
            rows.append(_count(ledger, "learned"))
    with Ledger.open(vault.state) as ledger:
        assert rows[5] == rows[11] < 5 * rows[0]
        assert _count(ledger, "rounds WHERE segments != '{}'") <= 4
        ledger.forgotten.add("harbour.md", NOW + 30 * DAY)
        assert _count(ledger, "forgotten") == 2


def _count(ledger: Ledger, rows: str) -> int:
    return int(ledger.generations._db.read(f"SELECT COUNT(*) AS n FROM {rows}")[0]["n"])


@pytest.mark.parametrize("when", ["while it trains", "after a fault of the disk"])
def test_a_note_that_is_forgotten_before_its_round_is_closed_is_not_learned(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """1. A round learns a note. 2. It is forgotten while the round trains; or the disk fails as the
    published generation is entered, and it is forgotten then. 3. A daemon starts, a round follows.
    Result: the first generation is never active, nothing fails, and the second lacks the note.
    """
    trainer = FakeTrainer()

    def forget(*_: object) -> None:
        with Ledger.open(vault.state) as ledger:
            row = next(e for e in ledger.entries.all() if not e.held_out)
            ledger.forgotten.add(row.path, NOW)

    if when == "while it trains":
        trainer.before_answer = forget
        answer = go(vault, trainer)
        assert answer["generation"] is None and not answer["verdict"]["promoted"]
        assert "forgotten meanwhile" in answer["verdict"]["why"]
    else:
        with monkeypatch.context() as patch:
            patch.setattr(Rounds, "close", _fails)
            with pytest.raises(OSError):
                go(vault, trainer)
        forget()
    with Ledger.open(vault.state) as ledger:
        repair(vault.state, ledger, NOW)
        assert ledger.generations.active() is None
        assert ledger.generations.barred() == {"g000001"}
    assert go(vault, FakeTrainer(), NOW + DAY)["generation"] == "g000002"
    with Ledger.open(vault.state) as ledger:
        assert ledger.generations.writing() == "g000002"


def _fails(*_: object, **__: object) -> None:
    raise OSError(5, "Input/output error")
