"""A round from the vault to a verdict, with a trainer that only pretends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import threading
import weakref
from dataclasses import make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.ledger.vaults import DAY, NOW, PEBBLE, FakeBase, Vault, body, prose
from tests.rounds.fakes import FakeTrainer, train
from vaultgpt import generation_folders
from vaultgpt.bases import estimate
from vaultgpt.bases.names import resolve
from vaultgpt.corpus.words import split_words
from vaultgpt.errors import BaseModelError, Conflict, StateError, TrainingError, VaultGPTError
from vaultgpt.files import locked, make_private_dir
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.round_log import Rounds
from vaultgpt.rounds.ending import end_paused, must_stop
from vaultgpt.rounds.mend import repair
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round, what_is_due
from vaultgpt.settings import Rules, Training
from vaultgpt.tasks.forget import FORGET, ForgetRequest
from vaultgpt.tasks.scan import scanned
from vaultgpt.tasks.status import figures
from vaultgpt.tasks.train import GIVE_UP
from vaultgpt.tasks.vault_service import Desk
from vaultgpt.training import assemble
from vaultgpt.training import plan as planning
from vaultgpt.training.assemble import Places, build_job, reader
from vaultgpt.training.checkpoint import Progress, write_checkpoint
from vaultgpt.training.loop import Stopped
from vaultgpt.training.plan import Due, full_round, plan
from vaultgpt.training.round import Asked, Verdict
from vaultgpt.training.trainer import _read_job, run_job
from vaultgpt.vault import walk
from vaultgpt.vault.reading import READER
from vaultgpt.vault.reconcile import ScannedNote
from vaultgpt.wire import ReportRow
from vaultgpt.workers.elsewhere import Lender
from vaultgpt.workers.process import RoundStopped

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


def test_no_round_learns_by_rules_that_say_something_in_vain(vault: Vault) -> None:
    good = vault.state.config.read_text() if vault.state.config.exists() else ""
    vault.state.config.write_text(good + "[rule]\nexclude = ['Work/']\n")
    trainer = FakeTrainer()
    with pytest.raises(StateError, match=r"rules\.exclude"):
        go(vault, trainer)
    vault.state.config.write_text(good)
    assert go(vault, trainer)["generation"]


def test_the_first_round_is_judged_published_and_active(vault: Vault) -> None:
    trainer = FakeTrainer()
    answer = go(vault, trainer)
    assert set(answer) >= KEYS
    assert answer["kind"] == "fresh" and answer["verdict"]["promoted"], answer["verdict"]
    assert answer["generation"] == "g000001"
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
    manifest = generation_folders.verify(vault.state.generations / "g000001")
    assert manifest["held_out"] and manifest["learned"] and manifest["parent"] is None


def test_a_round_asks_once_what_is_due(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. A first round. 2. A small one. 3. A fresh one by request. 4. Another base.

    Result: asked once each time, also where every note is read once it is known.
    """
    asked: list[str] = []
    read: list[bool] = []
    due, follow = planning._Look.due, Ledger.follow

    def counted(*given: Any) -> Due:
        found = due(*given)
        asked.append(found.cause)
        return found

    def followed(ledger: Ledger, *given: Any, **how: Any) -> Any:
        read.append(how["whole"])
        return follow(ledger, *given, **how)

    monkeypatch.setattr(planning._Look, "due", counted)
    monkeypatch.setattr(Ledger, "follow", followed)
    trainer = FakeTrainer()
    go(vault, trainer)
    vault.write("new.md", body("new", 6, 50), age_s=0)
    go(vault, trainer, NOW + DAY)
    go(vault, trainer, NOW + 2 * DAY, fresh=True)
    assert asked == ["first", "asked", "asked"] and read == [False, False, True]
    assert [job.round.cause for job in trainer.jobs] == ["first", "asked", "asked"]
    del asked[:], read[:]
    go(vault, trainer, NOW + 3 * DAY, base=FakeBase(mark="e"))
    assert asked == ["base"] and read == [False, True]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("since", ["nothing", "a saved note", "another round"])
def test_a_round_that_is_asked_for_takes_the_answer_unless_the_vault_is_another_since(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, since: str, fresh: bool
) -> None:
    """1. A new note waits. 2. A round is asked for, and what is due told. 3. It begins, after
    nothing, another note, or a round of the command line's.

    Result: what is due is asked once; of a vault that is another since again, and it learns that.
    """
    go(vault, FakeTrainer())
    vault.write("new.md", body("new", 6, 50), age_s=0)
    when, asked, trainer = NOW + DAY, Asked(fresh, manual=True), FakeTrainer()
    with Ledger.open(vault.state) as ledger:
        ledger.follow(vault.settings.rules, when, 50)
        found = what_is_due(vault.state, vault.settings, ledger, when, asked, FakeBase())
    if since == "a saved note":
        vault.write("newer.md", body("newer", 6, 50), age_s=0)
    elif since == "another round":
        go(vault, FakeTrainer(), when)
    again: list[str] = []
    due = planning._Look.due

    def counted(*given: Any) -> Due:
        again.append(due(*given).cause)
        return due(*given)

    monkeypatch.setattr(planning._Look, "due", counted)
    go(vault, trainer, when, found=found, fresh=fresh)
    assert again == ([] if since == "nothing" else ["asked"])
    (why,) = [job.round.why for job in trainer.jobs]
    assert (why == found.why) == (fresh or since == "nothing")
    assert fresh or since != "a saved note" or why.startswith("600 new words")


def test_a_round_foresees_the_memory_that_it_takes(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A fifth of a gigabyte is free. 2. More is. Result: refused with both figures; it runs."""
    monkeypatch.setattr(estimate, "_free_gb", lambda: 0.2)
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
    assert answer["verdict"]["why"] == "There is nothing new to learn."


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


@pytest.mark.parametrize("notes", [60, 180])
def test_a_small_round_opens_the_notes_of_its_job_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: int
) -> None:
    """1. A vault is learned. 2. 1,500 new words in six notes. 3. A round.

    Result: it opens those, the held-out ones and those it reads again, whatever the vault's size.
    """
    vault = Vault(tmp_path)
    vault.fill(notes, paragraphs=4)
    go(vault, FakeTrainer())
    for number in range(6):
        vault.write(f"new{number}.md", body(f"brand new {number}", 4, 63))
    opened, read = list[str](), READER.read

    def spied(daily: Any, files: Any) -> Any:
        opened.extend(path for path, _ in files)
        return read(daily, files)

    monkeypatch.setattr(READER, "read", spied)
    trainer = FakeTrainer()
    assert go(vault, trainer)["kind"] == "incremental"
    with Ledger.open(vault.state) as ledger:
        path_of = {row.id: row.path for row in ledger.entries.all()}
    used = {path_of[item.id] for item in trainer.jobs[0].items}
    assert {*opened} == used and len(used) < notes
    assert len(opened) - len(used) == 6, "new ones are read by the scan and for the job"


def test_a_round_holds_a_few_notes_at_a_time(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh round over 60 notes, five of which are read at once: never more than ten are held."""
    monkeypatch.setattr(assemble, "_SOME_NOTES", 5)
    alive: list[weakref.ref[ScannedNote]] = []
    most = 0

    def read(paths: Any) -> Any:
        nonlocal most
        for note in reader(vault.state.vault, vault.settings.rules)(paths):
            fresh = replace(note, note=replace(note.note))
            alive.append(weakref.ref(fresh))
            del note
            most = max(most, sum(one() is not None for one in alive))
            yield fresh

    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        planned = plan(ledger, vault.settings, FakeBase(), NOW, Asked(fresh=True))
        places = Places(vault.state.staging, None, None, {}, None, None)
        base = FakeBase()
        made = build_job(ledger, vault.settings, base, planned, NOW, read=read, places=places)
        assert len(alive) >= 60 and most <= 10
        assert {i.id for i in made.job.items} == {row.id for row in ledger.entries.all()}


def test_a_fresh_round_foretells_the_newest_text_and_no_whole_vault(vault: Vault) -> None:
    """1. A voice is active; 40 dated notes of 300 words are not learned. 2. A fresh round.

    Result: the newest of them are scored before they are learned, some 5,000 words.
    """
    go(vault, FakeTrainer())
    days = [f"2024-{1 + n // 28:02}-{1 + n % 28:02}" for n in range(40)]
    for day in days:
        vault.write(f"{day}.md", body(f"of {day}", 5))
    trainer = FakeTrainer()
    assert go(vault, trainer, fresh=True)["kind"] == "fresh"
    scored = [i for i in trainer.jobs[0].items if i.role == "score"]
    assert 4_700 <= sum(len(split_words(i.text)) for i in scored) <= 5_400
    with Ledger.open(vault.state) as ledger:
        rows = [r for r in ledger.entries.all() if r.path[:10] in days and not r.held_out]
    newest = sorted(rows, key=lambda row: row.path)[-len(scored) :]
    assert {i.id for i in scored} == {row.id for row in newest}


def test_a_refused_round_leaves_everything_as_it_was(vault: Vault) -> None:
    go(vault, FakeTrainer())
    vault.write("new.md", body("brand new", 4))
    answer = go(vault, FakeTrainer(after=0.9))
    assert not answer["verdict"]["promoted"] and answer["generation"] is None
    assert "%" in answer["verdict"]["why"]
    with Ledger.open(vault.state) as ledger:
        assert ledger.generations.active() == "g000001" and ledger.pending(NOW, 0).words == 240
    assert generation_folders.published(vault.state) == ["g000001"]
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


@pytest.mark.parametrize("when", ["early", "late"])
def test_a_state_that_goes_during_a_round_is_not_made_anew(vault: Vault, when: str) -> None:
    """1. A round learns. 2. The disk of its state is unmounted: before its results, or after.

    Result: it ends with an error, and nothing of it lies where the disk had been.
    """
    folder, trainer = vault.state.folder, FakeTrainer()

    def learn(job: Path, *given: Any, **more: Any) -> ReportRow:
        if when == "early":
            folder.rename(folder.with_name("away"))
            make_private_dir(job.parent / "out")
        report = trainer(job, *given, **more)
        folder.rename(folder.with_name("away"))
        return report

    with pytest.raises((OSError, VaultGPTError)):
        go(vault, learn)
    assert not folder.exists()


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
    assert generation_folders.published(vault.state) == ["g000002"]
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


def test_where_no_voice_may_write_any_longer_a_new_one_needs_be_better_than_the_base_alone(
    vault: Vault,
) -> None:
    """The base wrote on, day after day, where a new voice was 3 % worse than the barred one."""
    go(vault, FakeTrainer())
    with Ledger.open(vault.state) as ledger:
        ledger.forgotten.add(next(e.path for e in ledger.entries.all() if not e.held_out), NOW)
    worse = go(vault, FakeTrainer(after=1.02), now=NOW + DAY)
    assert not worse["verdict"]["promoted"]
    answer = go(vault, FakeTrainer(after=0.9), now=NOW + DAY)  # asked for, it is tried at once
    assert answer["verdict"]["promoted"], answer["verdict"]
    assert "than the base" in answer["verdict"]["why"]


def test_a_voice_that_was_put_aside_is_not_replaced_unless_one_asks(vault: Vault) -> None:
    go(vault, FakeTrainer())
    with Ledger.open(vault.state) as ledger:
        ledger.generations.activate(None, NOW)
    alone = go(vault, FakeTrainer(), now=NOW + DAY, manual=False)
    assert alone["kind"] == "none" and "rollback" in alone["verdict"]["why"]
    asked = go(vault, FakeTrainer(), now=NOW + DAY)
    assert asked["verdict"]["promoted"] and "no voice yet" not in asked["why"]


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


BIG = FakeBase(parameters=3_000_000_000)  # a full round of 14,400 words takes hours


@pytest.fixture
def paused(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """A vault with a first voice on a large base, whose full round was stopped at 34 %."""
    pause(vault, monkeypatch)
    return vault


def pause(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn the first voice, and stop the full round at 34 %."""
    # As if the machine had the room: nothing of this size is loaded.
    monkeypatch.setattr("vaultgpt.rounds.run.require_disk_and_memory", lambda *_, **__: None)
    assert go(vault, FakeTrainer(), base=BIG)["sampled"]
    trainer = FakeTrainer(after=0.79)
    trainer.before_answer = half_way
    with pytest.raises(RoundStopped):
        go(vault, trainer, base=BIG)


def half_way(folder: Path) -> None:
    """The trainer is stopped after an hour."""
    progress = Progress(step=34, steps=100, seconds=3600.0)
    write_checkpoint(folder, "job", progress, {"weight/a": torch.ones(4)})
    raise RoundStopped("The round was stopped.")


def killed(folder: Path) -> None:
    """The trainer ends before its first checkpoint."""
    raise RoundStopped("The round was stopped.")


def test_a_full_round_says_its_hours_and_goes_on_with_the_text_of_its_beginning(
    paused: Vault,
) -> None:
    """1. A full round of hours is stopped at 34 %. 2. A note is written, another one edited, a
    third renamed. 3. A round. 4. One more.

    Result: its hours and what is left were said; 3 learns the very job of the first night in its
    folder, whose checkpoint is there; 4 learns what was written since.
    """
    with Ledger.open(paused.state) as ledger:
        waits = what_is_due(paused.state, paused.settings, ledger, NOW, base=BIG)
        (row,) = [r for r in ledger.rounds.all() if r.ended is None]
        learner = next(e.path for e in ledger.entries.all() if not e.held_out)
    assert re.search(r"the whole vault is due\. That takes about (\d+|an?) \w+\.$", row.why)
    assert waits.kind == "fresh" and waits.takes_s == pytest.approx(3600 * 66 / 34)
    assert waits.why == "A full round is paused at 34 %, and about 2 hours are left."
    with Ledger.open(paused.state) as ledger:
        told = figures(Desk(paused.state, paused.settings, ledger, NOW))["paused_round"]
    assert told == {"round": 2, "fraction": 0.34, "left_s": waits.takes_s}
    folder = paused.state.staging / "r000002"
    job = (folder / "job.json").read_text()
    paused.write("new.md", body("brand new", 4))
    paused.write(learner, (paused.root / learner).read_text() + body("more", 1))
    paused.move("note010.md", "moved/elsewhere.md")
    said: list[Any] = []
    trainer, there = FakeTrainer(after=0.79), []
    trainer.before_answer = lambda f: there.append((f / "checkpoint.safetensors").exists())
    answer = go(paused, trainer, base=BIG, now=NOW + DAY, on_progress=said.append, manual=False)
    assert answer["round"] == 2 and answer["generation"] == "g000002", answer["verdict"]
    assert trainer.texts == [job] and there == [True]
    assert {"event": "say", "text": f"The full round goes on at {waits.why[26:]}"} in said
    assert not list(paused.state.staging.iterdir())
    last = FakeTrainer()
    assert go(paused, last, base=BIG, now=NOW + DAY)["kind"] == "incremental"
    assert prose("brand new/0") in last.texts[0] and prose("more/0") in last.texts[0]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("forgotten", "a note was forgotten"),
        ("deleted", "a note that it learns was deleted, or is not to be learned any more"),
        ("barred", "a note that it learns was deleted, or is not to be learned any more"),
        ("base", "the base model is another"),
        ("settings", "how it learns was changed in the settings"),
        ("asked", "a fresh one was asked for"),
        ("rolled back", "another voice became active"),
        ("damaged", "its files are damaged"),
        ("moved", "its files are damaged"),
    ],
)
def test_what_must_not_be_learned_ends_a_paused_round(paused: Vault, how: str, why: str) -> None:
    """1. A full round is paused. 2. A note of it is forgotten, deleted, barred by its front matter;
    or what it rests on changes. 3. A round.

    Result: the paused one ends with the sentence, another begins without that note.
    """
    with Ledger.open(paused.state) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out)
        text = (paused.root / path).read_text()
        if how == "forgotten":
            ledger.forgotten.add(path, NOW + 1)
        if how == "rolled back":
            ledger.generations.activate(None, NOW + 1)
    if how == "deleted":
        paused.remove(path)
    if how == "barred":
        paused.write(path, text.replace("---\n", "---\nvaultgpt: false\n", 1))
    if how == "settings":
        paused.settings = replace(paused.settings, training=Training(learning_rate=1e-4))
    if how == "damaged":
        job = paused.state.staging / "r000002" / "job.json"
        job.write_text(job.read_text().replace("journal", "diary"))
    said: list[Any] = []
    trainer = FakeTrainer(after=0.79)
    base = FakeBase(parameters=BIG.parameters, mark="b") if how == "base" else BIG
    if how == "moved":
        elsewhere = shutil.copytree(
            PEBBLE, paused.root.parent / "elsewhere", ignore=lambda *_: ["model.safetensors"]
        )
        base = FakeBase(parameters=BIG.parameters, folder=elsewhere)
    options = {"base": base, "fresh": how == "asked", "on_progress": said.append}
    assert go(paused, trainer, now=NOW + DAY, **options)["round"] == 3
    ends = f"The full round that was paused at 34 % ends: {why}."
    assert {"event": "say", "text": ends} in said
    with Ledger.open(paused.state) as ledger:
        assert next(r for r in ledger.rounds.all() if r.number == 2).verdict == ends
    if how in ("forgotten", "deleted", "barred"):
        assert text.split("---\n")[-1].split("\n\n")[0] not in trainer.texts[0]
    assert not list(paused.state.staging.iterdir())


def test_a_paused_round_goes_on_where_the_settings_say_by_now(paused: Vault) -> None:
    """1. A full round is paused. 2. What is about the machine is set anew. 3. A round. Result: it
    goes on, its job as it was, and the trainer is started by the new settings."""
    job = (paused.state.staging / "r000002" / "job.json").read_text()
    anew = Training(device="cpu", threads=1, processes=2, whole_params=5, keep=3, pause=True)
    paused.settings = replace(paused.settings, training=anew)
    told: list[Training] = []

    class Heard(FakeTrainer):
        def __call__(self, *job: Any, settings: Training) -> Any:
            told.append(settings)
            return super().__call__(*job, settings=settings)

    trainer = Heard(after=0.79)
    assert go(paused, trainer, base=BIG, now=NOW + DAY)["round"] == 2
    assert trainer.texts == [job] and told == [anew]


@pytest.mark.parametrize("before", [False, True], ids=["a new key", "a key that is gone"])
def test_a_paused_round_goes_on_after_an_upgrade_whose_settings_are_others(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """1. A full round is paused. 2. An upgrade, whose [training] has a key more, or one fewer.
    3. A round. Result: it goes on by the job of its beginning."""
    one_more = [("patience", int, 3)]
    other: Any = make_dataclass("Training", one_more, bases=(Training,), frozen=True)

    def have_the_key(patch: pytest.MonkeyPatch) -> None:
        for module in ("paused", "round"):
            patch.setattr(f"vaultgpt.training.{module}.Training", other)
        vault.settings = replace(vault.settings, training=other())

    with monkeypatch.context() as first:
        if before:
            have_the_key(first)
        pause(vault, monkeypatch)
    job = (vault.state.staging / "r000002" / "job.json").read_text()
    assert ("patience" in job) == before
    vault.settings = replace(vault.settings, training=Training())
    if not before:
        have_the_key(monkeypatch)
    trainer = FakeTrainer(after=0.79)
    assert go(vault, trainer, base=BIG, now=NOW + DAY)["round"] == 2
    assert trainer.texts == [job]


def test_a_paused_round_is_judged_in_the_arithmetic_that_writes_by_now(paused: Vault) -> None:
    """1. A full round is paused. 2. [mirror] is set anew, and a round is paused again. 3. Twice.

    Result: it goes on, its job's bytes as they were, judged as the settings say each time.
    """
    job = (paused.state.staging / "r000002" / "job.json").read_text()
    trainer, judged = FakeTrainer(after=0.79), []

    def look(folder: Path) -> None:
        said = _read_job(folder / "job.json")
        judged.append((said.writing, said.writing_on))
        if len(judged) == 1:
            raise RoundStopped("The round was stopped.")

    trainer.before_answer = look
    for dtype, device in (("int8", "cpu"), ("float32", "auto")):
        mirror = replace(paused.settings.mirror, dtype=dtype, device=device)
        paused.settings = replace(paused.settings, mirror=mirror)
        with contextlib.suppress(RoundStopped):
            answer = go(paused, trainer, base=BIG, now=NOW + DAY)
    assert answer["round"] == 2 and trainer.texts == [job, job]
    assert judged == [("int8", "cpu"), ("float32", "auto")]


def test_a_paused_round_is_erased_at_once_where_a_note_of_it_is_forgotten(paused: Vault) -> None:
    """1. A full round is paused. 2. A note is forgotten while it runs. 3. Another, while it waits.

    Result: while nothing changes it stays; 2 says that it has to stop; then its text is gone from
    the disk.
    """
    with Ledger.open(paused.state) as ledger:
        rows = [e for e in ledger.entries.all() if not e.held_out]
        assert not end_paused(paused.state, ledger, NOW)
        assert FORGET.work is not None and not must_stop(ledger)
        with locked(paused.state.round_lock, Conflict("A round runs.")):
            desk = Desk(paused.state, paused.settings, ledger, NOW + 1)
            FORGET.work(desk, ForgetRequest(path=rows[0].path))
            assert must_stop(ledger) and list(paused.state.staging.iterdir())
        FORGET.work(desk, ForgetRequest(path=rows[1].path))
        assert not list(paused.state.staging.iterdir())
        assert ledger.rounds.interrupted() is None


def files_that_hold(vault: Vault, words: str) -> list[str]:
    """Files of the state, whatever they are, in which these words stand."""
    found = [p for p in vault.state.folder.rglob("*") if p.is_file()]
    return [str(p) for p in found if words.encode() in p.read_bytes()]


@pytest.mark.parametrize("how", ["emptied", "deleted", "kept out", "tagged", "forgotten"])
@pytest.mark.parametrize("by", ["scan", "the daemon", "the next round"])
def test_no_file_keeps_the_text_of_a_note_that_left_a_paused_round(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, how: str, by: str
) -> None:
    """1. A full round that learns a note is paused. 2. The note is emptied, deleted, kept out by
    its front matter, tagged private, or forgotten. 3. `scan`, a look of the daemon's, or the next
    night. Result: the note's words stand in no byte of the state."""
    secret = "zanzibarquux"
    head = "---\ntags: [journal]\n---\n"
    vault.write("secret.md", f"{head}{body('secret')}\n{secret} {prose('tail')}\n")
    pause(vault, monkeypatch)
    assert files_that_hold(vault, secret) == [str(vault.state.staging / "r000002" / "job.json")]
    text = (vault.root / "secret.md").read_text()
    with Ledger.open(vault.state) as ledger:
        desk = Desk(vault.state, vault.settings, ledger, NOW + DAY)
        if how == "emptied":
            vault.write("secret.md", "", now=NOW + DAY)
        elif how == "deleted":
            vault.remove("secret.md")
        elif how == "forgotten":
            assert FORGET.work is not None and FORGET.work(desk, ForgetRequest(path="secret.md"))
        else:
            line = "vaultgpt: false" if how == "kept out" else "tags: [journal, private]"
            kept = re.sub(r"(?m)^tags:.*\n", "", text) if how == "tagged" else text
            vault.write("secret.md", kept.replace("---\n", f"---\n{line}\n", 1), now=NOW + DAY)
        if by == "scan":
            scanned(desk, lambda event: None)
        elif by == "the daemon":
            ledger.follow(vault.settings.rules, NOW + DAY, 10)
            assert how == "forgotten" or end_paused(vault.state, ledger, NOW + DAY)
    if by == "the next round":
        trainer = FakeTrainer(after=0.79)
        assert go(vault, trainer, base=BIG, now=NOW + DAY)["round"] == 3
        assert secret not in trainer.texts[0]
    assert not files_that_hold(vault, secret)
    with Ledger.open(vault.state) as ledger:
        assert not ledger.rounds.interrupted() and ledger.generations.active()


@pytest.mark.parametrize(("by", "waits"), [("forget", False), ("scan", False), ("scan", True)])
def test_no_file_keeps_what_a_measurement_that_was_killed_was_given(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, by: str, waits: bool
) -> None:
    """1. A report's measurement is killed, with or without a paused round beside it. 2. A note is
    forgotten, or `scan`. Result: its text is gone; the round that waits has kept its own."""
    marker = "zanzibarquux"
    if waits:
        pause(vault, monkeypatch)
    job = vault.state.staging / "voice" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text(json.dumps({"pages": [marker]}))
    with Ledger.open(vault.state) as ledger:
        desk = Desk(vault.state, vault.settings, ledger, NOW + 1)
        if by == "forget":
            assert FORGET.work is not None
            FORGET.work(desk, ForgetRequest(path="note000.md"))
        else:
            scanned(desk, lambda event: None)
        assert (ledger.rounds.interrupted() is not None) == waits
    assert not files_that_hold(vault, marker)
    left = [path.name for path in vault.state.staging.iterdir()]
    assert left == ["r000002"] * waits
    if waits:
        assert (vault.state.staging / "r000002" / "job.json").exists()


def test_a_round_under_way_ends_within_moments_once_another_command_forgets_a_note_of_it(
    paused: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A paused round goes on at a terminal, no daemon runs. 2. A note of it is forgotten. 3. The
    trainer tells of its next step. Result: it is stopped, the answer says why, no text is left."""
    monkeypatch.setattr("vaultgpt.rounds.run._LOOK_S", 0.0)
    stop = threading.Event()

    class Learning(FakeTrainer):
        def __call__(
            self, job_path: Path, on_progress: Any, stop: threading.Event, *, settings: Training
        ) -> Any:
            with Ledger.open(paused.state) as ledger:
                on_progress({"event": "progress", "phase": "train", "fraction": 0.5})
                assert not stop.is_set()
                path = next(e.path for e in ledger.entries.all() if not e.held_out)
                desk = Desk(paused.state, paused.settings, ledger, NOW + DAY)
                assert FORGET.work is not None and FORGET.work(desk, ForgetRequest(path=path))
            on_progress({"event": "progress", "phase": "train", "fraction": 0.6})
            assert stop.is_set()
            raise RoundStopped("The round was stopped.")

    answer = go(paused, Learning(), base=BIG, now=NOW + DAY, stop=stop)
    assert answer["verdict"]["why"] == (
        "The full round that was paused at 34 % ends: a note was forgotten."
    )
    assert not list(paused.state.staging.iterdir())


@pytest.mark.parametrize("cause", ["sampled", "rank"])
def test_a_paused_round_is_given_up_by_hand_and_waits_for_a_week(paused: Vault, cause: str) -> None:
    """1. A full round is paused: of a vault of which a sample is learned, or since another rank is
    set. 2. It runs and is given up; it waits and is given up; once more. 3. Nights. 4. A week.

    Result: a conflict beside its run; then its text is gone and the ledger says by whom; nothing
    waits the second time. 3 learns a new note on the voice that is there, unless all the rest is
    new; 4 is the full round's.
    """
    if cause == "rank":
        assert go(paused, FakeTrainer(after=0.79), base=BIG)["generation"] == "g000002"
        paused.settings = replace(paused.settings, training=Training(rank=5))
        trainer = FakeTrainer(after=0.79)
        trainer.before_answer = half_way
        with pytest.raises(RoundStopped):
            go(paused, trainer, base=BIG)
    with Ledger.open(paused.state) as ledger:
        desk = Desk(paused.state, paused.settings, ledger, NOW)
        assert GIVE_UP.work is not None
        with locked(paused.state.round_lock, Conflict("A round runs.")), pytest.raises(Conflict):
            GIVE_UP.work(desk, None)
        why = "The full round that was paused at 34 % ends: you gave it up."
        assert GIVE_UP.work(desk, None) == {"given_up": True, "why": why}
        assert not list(paused.state.staging.iterdir())
        assert GIVE_UP.work(desk, None) == {"given_up": False, "why": "No round is paused."}
        assert ledger.rounds.all()[0].verdict == why
        waits = what_is_due(paused.state, paused.settings, ledger, NOW + DAY, base=BIG)
    assert waits.kind == "none" and waits.why == (
        "The last fresh round was given up; it is tried again in 6 days or after 5,000 new words, "
        "or with `vaultgpt train --fresh`."
    )
    paused.write("new.md", body("brand new", 4))
    small = go(paused, FakeTrainer(), base=BIG, now=NOW + DAY, manual=False, nightly=True)
    assert small["kind"] == ("none" if cause == "sampled" else "incremental")
    full = go(paused, FakeTrainer(after=0.79), base=BIG, now=NOW + 8 * DAY, manual=False)
    assert full["kind"] == "fresh" and full["generation"]


def test_a_first_round_of_a_sample_that_is_given_up_by_hand_waits_for_a_week_too(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A large vault's first round is stopped, and given up. 2. The next day. 3. A fresh one is
    asked for. 4. A week. Result: 2 waits and says why; 3 and 4 are due."""
    # As if the machine had the room: nothing of this size is loaded.
    monkeypatch.setattr("vaultgpt.rounds.run.require_disk_and_memory", lambda *_, **__: None)
    trainer = FakeTrainer()
    trainer.before_answer = half_way
    with pytest.raises(RoundStopped):
        go(vault, trainer, base=BIG, manual=False)
    with Ledger.open(vault.state) as ledger:
        assert ledger.rounds.all()[0].sampled and GIVE_UP.work is not None
        assert GIVE_UP.work(Desk(vault.state, vault.settings, ledger, NOW), None)["given_up"]

        def due(days: int, asked: Asked) -> Due:
            when = NOW + days * DAY
            return what_is_due(vault.state, vault.settings, ledger, when, asked, base=BIG)

        for asked in (Asked(), Asked(nightly=True)):
            waits = due(1, asked)
            assert waits.kind == "none" and "given up" in waits.why
        for asked in (Asked(manual=True), Asked(fresh=True, manual=True)):
            assert due(1, asked).kind == "fresh"
        assert due(8, Asked()).kind == "fresh"


def test_on_a_full_disk_the_text_of_a_round_that_ends_goes_first(
    paused: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A note of a paused round is forgotten, and the disk has no room for the ledger's row. 2. A
    round, with room. Result: the text is gone all the same; a whole round follows."""
    with Ledger.open(paused.state) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out)
        ledger.forgotten.add(path, NOW + 1)
        with monkeypatch.context() as patch, pytest.raises(OSError):
            patch.setattr(Rounds, "abandon", _fails)
            end_paused(paused.state, ledger, NOW + 1)
        assert not list(paused.state.staging.iterdir())
    answer = go(paused, FakeTrainer(after=0.79), base=BIG, now=NOW + DAY)
    assert answer["kind"] == "fresh" and answer["generation"]
    with Ledger.open(paused.state) as ledger:
        assert ledger.rounds.interrupted() is None
    assert not list(paused.state.staging.iterdir())


@pytest.mark.parametrize("fresh", [True, False])
def test_text_of_a_round_that_left_no_checkpoint_is_erased_with_its_note(
    paused: Vault, fresh: bool
) -> None:
    """1. A full round, or a small one, is killed before its first checkpoint. 2. A note of it is
    forgotten. Result: while the full one is under way it has to stop; then its text is gone."""
    if fresh:
        (paused.state.staging / "r000002" / "checkpoint.safetensors").unlink()
    else:
        assert go(paused, FakeTrainer(after=0.79), base=BIG)["generation"]
        paused.write("new.md", body("brand new", 4))
        trainer = FakeTrainer()
        trainer.before_answer = killed
        with pytest.raises(RoundStopped):
            go(paused, trainer, base=BIG)
    (job,) = paused.state.staging.glob("r*/job.json")
    shutil.copytree(job.parent, job.parent.with_name("r000099"))  # killed before its row
    with Ledger.open(paused.state) as ledger:
        learned = {item["id"] for item in json.loads(job.read_text())["items"]}
        path = next(e.path for e in ledger.entries.all() if e.id in learned and not e.held_out)
        assert not end_paused(paused.state, ledger, NOW) and not must_stop(ledger)
        desk = Desk(paused.state, paused.settings, ledger, NOW + 1)
        with locked(paused.state.round_lock, Conflict("A round runs.")):
            assert FORGET.work is not None and FORGET.work(desk, ForgetRequest(path=path))
            assert must_stop(ledger) == fresh
        assert end_paused(paused.state, ledger, NOW)
        assert not list(paused.state.staging.iterdir()) and not ledger.rounds.interrupted()


@pytest.mark.parametrize("how", ["deleted", "barred"])
def test_a_full_round_ends_unpublished_where_a_note_of_it_went_meanwhile(
    paused: Vault, how: str
) -> None:
    """1. A paused round goes on, and nobody watches the vault. 2. A note of it is deleted, or kept
    out. 3. It learns to its end. Result: no voice of it, and its text is gone."""
    with Ledger.open(paused.state) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out)
    text = (paused.root / path).read_text()

    def meanwhile(folder: Path) -> None:
        paused.remove(path)
        if how == "barred":
            paused.write(path, text.replace("---\n", "---\nvaultgpt: false\n", 1))

    trainer = FakeTrainer(after=0.79)
    trainer.before_answer = meanwhile
    answer = go(paused, trainer, base=BIG)
    assert answer["generation"] is None and "deleted, or is not to be" in answer["verdict"]["why"]
    assert not list(paused.state.staging.iterdir())
    with Ledger.open(paused.state) as ledger:
        assert ledger.rounds.interrupted() is None and ledger.generations.active() == "g000001"


def test_a_full_round_whose_vault_is_out_of_reach_at_its_end_is_not_lost(paused: Vault) -> None:
    """1. A paused round learns to its end. 2. The vault's disk is unmounted meanwhile. Result: its
    voice is judged and published by what the ledger knows."""

    def meanwhile(folder: Path) -> None:
        paused.root.rename(paused.root.with_name("away"))

    trainer = FakeTrainer(after=0.79)
    trainer.before_answer = meanwhile
    assert go(paused, trainer, base=BIG)["generation"] == "g000002"


def test_another_machine_learns_a_paused_round_in_one_go_and_says_so(paused: Vault) -> None:
    said: list[Any] = []
    there: dict[str, Any] = {"base": BIG, "machine": Lender("attic"), "on_progress": said.append}
    assert go(paused, FakeTrainer(after=0.79), **there)["round"] == 2
    assert "keeps no checkpoint" in said[0]["text"]


def test_a_paused_round_waits_for_a_vault_that_is_out_of_reach(paused: Vault) -> None:
    """1. A full round is paused. 2. Half of the vault is away, and a round is asked for. 3. It is
    back. Result: nothing is learned or given up by 2, and 3 goes on."""
    away = paused.root.with_name("away")
    away.mkdir()
    for note in sorted(paused.root.glob("*.md"))[::2]:
        note.rename(away / note.name)
    assert go(paused, FakeTrainer(), base=BIG)["kind"] == "none"
    with Ledger.open(paused.state) as ledger:
        assert not end_paused(paused.state, ledger, NOW)
    for note in away.iterdir():
        note.rename(paused.root / note.name)
    assert go(paused, FakeTrainer(after=0.79), base=BIG)["round"] == 2


def test_a_paused_round_outlasts_a_note_that_can_not_be_opened_for_a_night(
    paused: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A full round is paused. 2. The disk does not give a note of it the next night, when the
    whole vault is read. 3. A round. Result: nothing ends; 3 goes on as the same round."""
    with Ledger.open(paused.state) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out)
    read = walk.read_bytes

    def faulty(way: walk.Way, place: str) -> bytes:
        if place.endswith(path):
            raise OSError(errno.EIO, "Input/output error")
        return read(way, place)

    monkeypatch.setattr(walk, "read_bytes", faulty)
    with Ledger.open(paused.state) as ledger:
        ledger.follow(paused.settings.rules, NOW + DAY, whole=True)
        assert [e.used for e in ledger.entries.all() if e.path == path] == [False]
        assert not end_paused(paused.state, ledger, NOW + DAY) and not must_stop(ledger)
    answer = go(paused, FakeTrainer(after=0.79), base=BIG, now=NOW + DAY)
    assert answer["round"] == 2 and answer["generation"] == "g000002", answer["verdict"]


def test_a_note_that_can_not_be_opened_and_is_kept_out_by_the_rules_ends_a_paused_round(
    paused: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A full round is paused. 2. A note of it goes to the cloud, and the rules leave it out.
    Result: the round ends, for that note is not to be learned any more."""
    with Ledger.open(paused.state) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out)
        inode = (paused.root / path).stat().st_ino
        monkeypatch.setattr(walk, "is_dataless", lambda status: status.st_ino == inode)
        ledger.follow(paused.settings.rules, NOW + DAY, whole=True)
        assert not end_paused(paused.state, ledger, NOW + DAY)
        ledger.follow(Rules(exclude=(path,)), NOW + DAY, whole=True)
        assert end_paused(paused.state, ledger, NOW + DAY)
    assert not list(paused.state.staging.iterdir())


def test_a_round_of_three_nights_makes_the_voice_of_one_at_once(
    vault: Vault, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A full round is stopped at its step 3, and 5, by a trainer that learns; notes are written
    meanwhile. 2. It comes to its end. 3. The same job is learned at once.

    Result: the same weights to the last bit, the same figures for the gate, and its whole time.
    """
    monkeypatch.setattr("vaultgpt.rounds.run.require_disk_and_memory", lambda *_, **__: None)
    base = replace(resolve(str(tiny_llama)), parameters=BIG.parameters)
    vault.settings = replace(
        vault.settings, training=Training(epochs=0.3, threads=1, device="cpu", dtype="float32")
    )
    assert go(vault, FakeTrainer(after=1.3), base=base)["sampled"]
    jobs: list[Path] = []

    def night(until: int) -> Any:
        def learn(path: Path, hear: Any, stop: threading.Event, *, settings: Any) -> Any:
            def told(message: Any) -> None:
                hear(message)
                if message["phase"] == "train" and message["step"] == until:
                    stop.set()

            jobs.append(path)
            try:
                return run_job(path, told, stop).to_json()
            except Stopped:
                raise RoundStopped("The round was stopped.") from None

        return learn

    for number, step in enumerate((3, 5)):
        with pytest.raises(RoundStopped):
            go(vault, night(step), base=base)
        vault.write(f"new{number}.md", body(f"brand new {number}", 4))
    folder = tmp_path / "at once"
    folder.mkdir()
    job = json.loads(jobs[0].read_text())
    (folder / "job.json").write_text(json.dumps({**job, "out": str(folder / "out")}))
    whole = run_job(folder / "job.json", lambda message: None, threading.Event())
    monkeypatch.setattr("vaultgpt.rounds.run.judge", lambda *a, **k: Verdict(True, "Better."))
    answer = go(vault, night(0), base=base, now=NOW + DAY)
    assert answer["generation"] == "g000001" and len({*jobs}) == 1 and len(jobs) == 3
    made = vault.state.generations / "g000001"
    for name in ("adapter_model.safetensors", "last_weights.safetensors"):
        one, other = load_file(made / name), load_file(folder / "out" / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items()), name
    report = generation_folders.verify(made)["report"]
    assert report["segments"] == json.loads(json.dumps(whole.to_json()))["segments"]
    assert report["steps"] == whole.steps > 6 and report["tokens"] == whole.tokens


def test_hours_are_told_by_the_pace_of_this_machine_once_there_is_one(vault: Vault) -> None:
    """1. A round on a base reaches 500 tokens a second. 2. Another base. Result: the pace counts
    for that base and kind of device alone."""
    trainer = FakeTrainer()
    trainer.tokens = 5000
    go(vault, trainer)
    elsewhere = replace(vault.settings, training=Training(device="cuda"))
    with Ledger.open(vault.state) as ledger:
        known = full_round(ledger, vault.settings, FakeBase())
        other = full_round(ledger, vault.settings, FakeBase(mark="b"))
        card = full_round(ledger, elsewhere, FakeBase())
    assert known.paced and known.tokens_per_s == 500.0 and known.full_s > 2 * other.full_s
    assert not other.paced and not card.paced and not card.measured


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
