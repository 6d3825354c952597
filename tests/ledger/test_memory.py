"""What outlives the ledger: forgotten notes, held-out membership, provenance, scores."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.ledger.vaults import DAY, HOUR, NOW, FakeBase, Vault, body, prose
from tests.rounds.fakes import FakeTrainer
from vaultgpt.corpus.runs import GUARD_WORDS, RunIndex, norms
from vaultgpt.errors import NotFound, StateError
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.memory import Memory
from vaultgpt.rounds import repair, run_round


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path)
    made.fill(40)
    return made


def lose_ledger(vault: Vault) -> None:
    for path in vault.state.folder.glob("ledger.sqlite3*"):
        path.unlink()


def train(vault: Vault, **more: bool) -> dict[str, object]:
    return run_round(vault.state, vault.settings, trainer=FakeTrainer(), base=FakeBase(),
                     now=lambda: NOW, manual=True, **more)


def test_lines_are_numbered_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    memory = Memory(path)
    for i in range(3):
        memory.append("scores", NOW, value=i)
    assert [line["value"] for line in Memory(path).read()] == [0, 1, 2]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_torn_last_line_is_cut_off_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    Memory(path).append("a", NOW)
    with path.open("ab") as stream:
        stream.write(b'{"n": 2, "kind": "b", "ti')
    memory = Memory(path)
    assert memory.last == 1 and memory.damaged == 0
    memory.append("c", NOW)
    assert [line["kind"] for line in Memory(path).read()] == ["a", "c"]


def test_a_changed_line_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    memory = Memory(path)
    for kind in "abc":
        memory.append(kind, NOW)
    path.write_text(path.read_text().replace('"b"', '"x"'))
    again = Memory(path)
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
        held = {e.path for e in ledger.entries() if e.held_out}
        forgotten = next(e.path for e in ledger.entries() if not e.held_out)
        ledger.forget(forgotten, NOW)
        ledger.note_accepted(own, NOW)
        active, scores = ledger.active(), ledger.scores()
    lose_ledger(vault)
    with Ledger.open(vault.state) as ledger:
        assert ledger.paused() is None
        repair(vault.state, ledger, NOW)
        vault.record(ledger, NOW + HOUR)
        assert {e.path for e in ledger.entries() if e.held_out} == held
        assert [e.path for e in ledger.entries() if e.forgotten] == [forgotten]
        assert ledger.scores() == scores
        assert ledger.barred() == {active}
        assert ledger.emitted().lengths() == (8,)
        assert ledger.active() is None  # the only generation learned what was forgotten
        ids = {e.id for e in ledger.entries() if e.forgotten}
        assert not ids & set(ledger.pending(NOW + HOUR, 0).entries)


def test_a_lost_ledger_without_forgotten_notes_keeps_the_active_generation(vault: Vault) -> None:
    train(vault)
    lose_ledger(vault)
    assert train(vault)["kind"] == "none"
    with Ledger.open(vault.state) as ledger:
        assert ledger.active() == "g000001" and ledger.lineage("g000001")


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
        held = {e.path for e in ledger.entries() if e.held_out}
    for path in vault.state.folder.glob("ledger.sqlite3-*"):
        path.unlink()
    vault.state.ledger.write_bytes(b"not a database at all" * 100)
    assert train(vault)["kind"] == "none"
    assert list(vault.state.folder.glob("ledger.sqlite3.damaged-*"))
    with Ledger.open(vault.state) as ledger:
        assert {e.path for e in ledger.entries() if e.held_out} == held


def test_a_crash_between_memory_and_database_forgets_all_the_same(vault: Vault) -> None:
    """1. `forget` writes its line. 2. The process is killed before the database commits.
    3. The ledger is opened again. Result: the note is forgotten.
    """
    class Killed(BaseException):
        pass

    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        path = next(e.path for e in ledger.entries())
        real = ledger._forget_rows

        def killed(entry: str, digests: object) -> None:
            raise Killed

        ledger._forget_rows = killed  # type: ignore[method-assign,assignment]
        with pytest.raises(Killed):
            ledger.forget(path, NOW)
        ledger._forget_rows = real  # type: ignore[method-assign]
    with Ledger.open(vault.state) as ledger:
        assert [e.path for e in ledger.entries() if e.forgotten] == [path]


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
        path = next(e.path for e in ledger.entries())
        text = (vault.root / path).read_text().split("---\n")[-1]
        ledger.forget(path, NOW)
        assert ledger.forget(path, NOW)  # twice changes nothing
        vault.remove(path)
        vault.record(ledger, NOW + 10 * DAY)
        with pytest.raises(NotFound):
            ledger.forget("no such note.md", NOW)
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
        two.note_accepted(prose("a", 20), NOW)
        one.note_accepted(prose("b", 20), NOW)
        two.set_meta("x", "1")
        assert len(two.emitted().lengths()) == 1 and one.meta("x") == "1"
    lines = [json.loads(line) for line in vault.state.memory.read_text().splitlines()]
    assert [line["n"] for line in lines] == list(range(1, len(lines) + 1))
