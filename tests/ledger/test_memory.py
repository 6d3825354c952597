"""What outlives the ledger: forgotten notes, held-out membership, provenance, scores."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from tests.ledger.vaults import DAY, HOUR, NOW, Vault, body, prose
from tests.rounds.fakes import train
from vaultgpt.corpus.runs import GUARD_WORDS, RunIndex
from vaultgpt.corpus.words import norms
from vaultgpt.errors import NotFound, StateError
from vaultgpt.ledger import Ledger, memory_file
from vaultgpt.ledger.memory_file import MemoryFile
from vaultgpt.rounds.mend import repair


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path)
    made.fill(40)
    return made


def lose_ledger(vault: Vault) -> None:
    for path in vault.state.folder.glob("ledger.sqlite3*"):
        path.unlink()


def test_lines_are_numbered_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    memory = MemoryFile(path)
    for i in range(3):
        memory.append("scores", NOW, round=i)
    assert [line["round"] for line in MemoryFile(path).read()] == [0, 1, 2]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_torn_last_line_is_cut_off_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    MemoryFile(path).append("a", NOW)
    with path.open("ab") as stream:
        stream.write(b'{"n": 2, "kind": "b", "ti')
    memory = MemoryFile(path)
    assert memory.last == 1 and memory.damaged == 0
    memory.append("c", NOW)
    assert [line["kind"] for line in MemoryFile(path).read()] == ["a", "c"]


def test_a_changed_line_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    memory = MemoryFile(path)
    for kind in "abc":
        memory.append(kind, NOW)
    path.write_text(path.read_text().replace('"b"', '"x"'))
    again = MemoryFile(path)
    assert [line["kind"] for line in again.read()] == ["a", "c"] and again.damaged >= 1


def test_a_lost_ledger_comes_back_with_what_the_vault_can_not_tell(vault: Vault) -> None:
    """1. A vault is learned, a note is forgotten, text is accepted. 2. The database is deleted.
    3. The next opening reads memory.jsonl, a round repairs and scans.
    Result: held-out entries, the forgotten note, provenance and scores are as before, and the
    generation that learned the forgotten note is not taken up again.
    """
    train(vault)
    own = prose("own", 20)
    with Ledger.open(vault.state) as ledger:
        held = {e.path for e in ledger.entries.all() if e.held_out}
        forgotten = next(e.path for e in ledger.entries.all() if not e.held_out)
        ledger.forgotten.add(forgotten, NOW)
        ledger.emitted.accepted(own, NOW)
        active, scores = ledger.generations.active(), ledger.rounds.scores()
    lose_ledger(vault)
    with Ledger.open(vault.state) as ledger:
        assert ledger.paused() is None
        repair(vault.state, ledger, NOW)
        vault.record(ledger, NOW + HOUR)
        assert {e.path for e in ledger.entries.all() if e.held_out} == held
        assert [e.path for e in ledger.entries.all() if e.forgotten] == [forgotten]
        assert ledger.rounds.scores() == scores
        assert ledger.generations.barred() == {active}
        assert ledger.emitted.lookup().lengths() == (8,)
        assert ledger.generations.active() is None  # the only generation learned what was forgotten
        ids = {e.id for e in ledger.entries.all() if e.forgotten}
        assert not ids & set(ledger.pending(NOW + HOUR, 0).entries)


def test_a_lost_ledger_without_forgotten_notes_keeps_the_active_generation(vault: Vault) -> None:
    train(vault)
    lose_ledger(vault)
    assert train(vault)["kind"] == "none"
    with Ledger.open(vault.state) as ledger:
        assert ledger.generations.active() == "g000001" and ledger.generations.lineage("g000001")


def test_both_lost_with_generations_there_pauses_until_the_author_says_go(vault: Vault) -> None:
    train(vault)
    lose_ledger(vault)
    vault.state.memory.unlink()
    answer = train(vault)
    assert answer["kind"] == "none" and "forgotten" in str(answer["verdict"])
    assert train(vault, fresh=True)["kind"] == "fresh"


def test_a_new_vault_is_not_paused(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        assert ledger.paused() is None


def test_a_damaged_database_is_set_aside_and_rebuilt(vault: Vault) -> None:
    train(vault)
    with Ledger.open(vault.state) as ledger:
        held = {e.path for e in ledger.entries.all() if e.held_out}
    for path in vault.state.folder.glob("ledger.sqlite3-*"):
        path.unlink()
    vault.state.ledger.write_bytes(b"not a database at all" * 100)
    assert train(vault)["kind"] == "none"
    assert list(vault.state.folder.glob("ledger.sqlite3.damaged-*"))
    with Ledger.open(vault.state) as ledger:
        assert {e.path for e in ledger.entries.all() if e.held_out} == held


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process that is killed is forked")
def test_a_kill_between_memory_and_database_forgets_all_the_same(vault: Vault) -> None:
    """1. `forget` writes its line. 2. The process is killed before the database commits.
    3. The ledger is opened again. Result: the note is forgotten.
    """
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        path = next(e.path for e in ledger.entries.all())
    _forget_and_die(vault, path)
    with Ledger.open(vault.state) as ledger:
        assert [e.path for e in ledger.entries.all() if e.forgotten] == [path]


def _forget_and_die(vault: Vault, path: str) -> None:
    """A process that is killed once its line stands and before the database commits."""
    if (child := os.fork()) == 0:
        ledger = Ledger.open(vault.state)
        ledger.forgotten._bar_entry = lambda *_: os._exit(9)  # type: ignore[method-assign]
        ledger.forgotten.add(path, NOW)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process that is killed is forked")
def test_who_is_there_when_a_line_is_made_up_for_keeps_no_older_figure(vault: Vault) -> None:
    """1. A daemon has asked for the vault's totals. 2. Another process's `forget` is killed before
    the database commits. 3. The daemon writes something from which nothing is computed, and so
    makes up for the line. Result: totals are those without the note, now and when opened again.
    """
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        path, before = next(e.path for e in ledger.entries.all()), ledger.notes.totals()
        _forget_and_die(vault, path)
        ledger.notes._db.note("something", "else")
        after = ledger.notes.totals()
        assert after == ledger.notes._totals() != before
    with Ledger.open(vault.state) as ledger:
        assert ledger.notes.totals() == after


def test_a_newer_schema_is_refused_in_one_line(vault: Vault) -> None:
    with Ledger.open(vault.state):
        pass
    db = sqlite3.connect(vault.state.ledger)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StateError):
        Ledger.open(vault.state)


def test_the_ledger_is_private_and_holds_no_prose(vault: Vault) -> None:
    vault.write("secret.md", "Unmistakablewordhere " + body("x"))
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
    assert vault.state.ledger.stat().st_mode & 0o777 == 0o600
    for path in vault.state.folder.rglob("*"):
        if path.is_file():
            assert b"nmistakablewordhere" not in path.read_bytes()


def test_forgotten_runs_stay_in_the_guard_for_ever(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        path = next(e.path for e in ledger.entries.all())
        text = (vault.root / path).read_text().split("---\n")[-1]
        ledger.forgotten.add(path, NOW)
        assert ledger.forgotten.add(path, NOW)  # twice changes nothing
        vault.remove(path)
        vault.record(ledger, NOW + 10 * DAY)
        with pytest.raises(NotFound):
            ledger.forgotten.add("no such note.md", NOW)
    for file in vault.state.runs.iterdir():
        file.unlink()
    lose_ledger(vault)
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW + 11 * DAY)
    index = RunIndex(vault.state.runs, vault.state.secret(), GUARD_WORDS).load()
    assert index.has(norms(text.split("\n\n")[0]))


def test_two_ledgers_of_one_vault_take_turns(vault: Vault) -> None:
    with Ledger.open(vault.state) as one, Ledger.open(vault.state) as two:
        vault.record(one)
        two.emitted.accepted(prose("a", 20), NOW)
        one.emitted.accepted(prose("b", 20), NOW)
        two.set_meta("x", "1")
        assert len(two.emitted.lookup().lengths()) == 1 and one.meta("x") == "1"
    lines = [json.loads(line) for line in vault.state.memory.read_text().splitlines()]
    assert [line["n"] for line in lines] == list(range(1, len(lines) + 1))


def test_a_file_that_is_as_the_tables_know_it_is_not_read_line_by_line(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted text of years would make every command wait."""
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        ledger.emitted.accepted(prose("mine", 20), NOW)
        last = ledger._db.memory.last
    with monkeypatch.context() as patch:
        patch.setattr(memory_file, "_parse", None)
        with Ledger.open(vault.state) as ledger:
            assert (ledger._db.memory.last, ledger._db.memory.damaged) == (last, 0)
            ledger.emitted.accepted(prose("more", 20), NOW)
    with Ledger.open(vault.state) as ledger:
        lines = ledger._db.memory.read()
        assert [line["n"] for line in lines] == [*range(1, last + 2)]
        assert not ledger._db.memory.damaged
    vault.state.memory.write_bytes(vault.state.memory.read_bytes().replace(b"emitted", b"omitted"))
    with Ledger.open(vault.state) as ledger:
        assert ledger.meta("memory_repaired") == "1"
        assert len(ledger.emitted.lookup()._hashes) == 26
