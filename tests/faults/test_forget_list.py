"""The list of what was forgotten: memory.jsonl cut, lost, changed, half written, or both lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ledger.vaults import DAY, NOW, Vault, entries_learned, prose
from tests.rounds.fakes import train
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.memory_file import MemoryFile
from vaultgpt.rounds.mend import repair

Facts = tuple[object, ...]


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """A learned vault with a forgotten note and an accepted text."""
    made = Vault(tmp_path)
    made.fill(40)
    train(made)
    with Ledger.open(made.state) as ledger:
        ledger.emitted.accepted(prose("own", 20), NOW)
        forgotten = next(e.path for e in ledger.entries.all() if not e.held_out)
        ledger.forgotten.add(forgotten, NOW)
    return made


def lose_ledger(vault: Vault) -> None:
    for path in vault.state.folder.glob("ledger.sqlite3*"):
        path.unlink()


def facts(vault: Vault) -> Facts:
    """What can't be had from the vault."""
    with Ledger.open(vault.state) as ledger:
        repair(vault.state, ledger, NOW + DAY)
        vault.record(ledger, NOW + DAY)
        return (
            {(e.path, e.held_out, e.held_digests) for e in ledger.entries.all() if e.held_out},
            {e.path for e in ledger.entries.all() if e.forgotten},
            ledger.forgotten.runs().tolist(),
            ledger.emitted.lookup().lengths(),
            ledger.rounds.scores(),
            ledger.generations.barred(),
            ledger.paused(),
        )


def cut_a_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def change_a_line(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"accepted": true', b'"accepted": false'))


def swap_lines(path: Path) -> None:
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([second, first, *rest]))


HARMS: dict[str, Callable[[Path], object]] = {
    "cut at a line's end": cut_a_line,
    "cut within a line": lambda path: os.truncate(path, path.stat().st_size - 40),
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "changed": change_a_line,
    "put out of order": swap_lines,
    "overwritten": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_memory_file_is_written_anew_from_the_ledger_at_once(
    vault: Vault, harm: str
) -> None:
    """1. A note is forgotten. 2. memory.jsonl is cut, lost or changed. 3. The ledger is opened.
    4. The ledger is lost. 5. It is rebuilt from memory.jsonl.
    Result: the opening wrote the file anew, so all that can't be had from the vault is as before.
    """
    before = facts(vault)
    HARMS[harm](vault.state.memory)
    with Ledger.open(vault.state) as ledger:
        assert ledger.paused() is None
    lines = MemoryFile(vault.state.memory)
    assert lines.last and not lines.damaged
    lose_ledger(vault)
    assert facts(vault) == before


def test_a_running_daemon_notices_at_its_next_write(vault: Vault) -> None:
    """1. A daemon holds the ledger. 2. memory.jsonl is cut at a line's end. 3. Another text is
    accepted. 4. The ledger is lost. Result: the forgotten note is still known.
    """
    before = facts(vault)
    with Ledger.open(vault.state) as ledger:
        os.truncate(vault.state.memory, 0)
        ledger.emitted.accepted(prose("other", 20), NOW)
    lose_ledger(vault)
    assert facts(vault) == before


@pytest.mark.parametrize("left", ["nothing", "an empty file"])
@pytest.mark.parametrize("what", ["deleted", "emptied", "changed", "overwritten"])
def test_both_lost_always_pauses(vault: Vault, what: str, left: str) -> None:
    """1. A note is forgotten. 2. Ledger and memory.jsonl are lost or damaged, the generations too;
    an empty file stands in the ledger's place. 3. The ledger is opened, twice.
    Result: learning waits for the author both times.
    """
    HARMS[what](vault.state.memory)
    lose_ledger(vault)
    if left == "an empty file":
        vault.state.ledger.touch()
    for folder in vault.state.generations.iterdir():
        folder.rename(vault.root.parent / folder.name)
    for _ in range(2):
        with Ledger.open(vault.state) as ledger:
            assert "forgotten notes could be relearned" in str(ledger.paused())


def test_an_empty_ledger_is_rebuilt_from_the_memory_file(vault: Vault) -> None:
    """1. A note is forgotten. 2. A power cut leaves a database of no bytes. 3. It is opened.
    Result: all that can't be had from the vault comes back.
    """
    before = facts(vault)
    lose_ledger(vault)
    vault.state.ledger.touch()
    assert facts(vault) == before


def test_a_short_write_is_gone_on_with(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. The system writes seven bytes at a time. 2. A note is forgotten. 3. The ledger is lost.
    Result: the line is whole.
    """
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, body: real(fd, body[:7]))
    with Ledger.open(vault.state) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out and not e.forgotten)
        ledger.forgotten.add(path, NOW)
    monkeypatch.undo()
    lose_ledger(vault)
    assert path in facts(vault)[1]  # type: ignore[operator]


def test_a_full_disk_leaves_no_half_line_and_forgets_nothing_in_part(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. The disk is full after half a line. 2. A note is to be forgotten. 3. There is room again.
    Result: an error, no half of a line, the note not forgotten; then it is.
    """
    real, before = os.write, vault.state.memory.read_bytes()

    def full(fd: int, body: bytes) -> int:
        if len(body) < 300:
            raise OSError(28, "No space left on device")
        return real(fd, body[: len(body) // 2])

    with Ledger.open(vault.state) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out and not e.forgotten)
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError):
            ledger.forgotten.add(path, NOW)
        monkeypatch.undo()
        assert vault.state.memory.read_bytes() == before
        assert not any(e.path == path and e.forgotten for e in ledger.entries.all())
        ledger.forgotten.add(path, NOW)
    lose_ledger(vault)
    assert path in facts(vault)[1]  # type: ignore[operator]


def test_an_older_memory_file_goes_on_with_chained_lines(tmp_path: Path) -> None:
    """1. A file of lines that do not name the one before. 2. Lines are appended. 3. An older line
    is cut out. Result: all are read; then the gap is noticed.
    """
    import hashlib
    import json

    path, old = tmp_path / "memory.jsonl", b""
    for number in (1, 2):
        line = {"n": number, "kind": "scores", "time": NOW}
        body = json.dumps(line, sort_keys=True, separators=(",", ":"))
        check = hashlib.sha256(body.encode()).hexdigest()[:16]
        old += json.dumps({**line, "sum": check}).encode() + b"\n"
    path.write_bytes(old)
    MemoryFile(path).append("active", NOW, generation=None)
    again = MemoryFile(path)
    assert again.last == 3 and not again.damaged
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[::2]))
    assert MemoryFile(path).damaged


def test_rows_of_the_forgotten_that_rot_are_made_again_before_a_round(vault: Vault) -> None:
    """1. A note is forgotten. 2. Its rows in the ledger lose it: the file is well, a bit is not. 3.
    A fresh round. Result: the note is forgotten, and the new generation did not learn it.
    """
    with Ledger.open(vault.state) as ledger:
        (forgotten,) = {e.id for e in ledger.entries.all() if e.forgotten}
        with ledger._db.write() as sql:
            sql.execute("UPDATE entries SET forgotten=0")
            sql.execute("DELETE FROM forgotten")
    train(vault, NOW + DAY, fresh=True)
    with Ledger.open(vault.state) as ledger:
        assert forgotten in {e.id for e in ledger.entries.all() if e.forgotten}
        learned = entries_learned(ledger, ledger.generations.active())
        assert learned and forgotten not in learned


def test_the_guard_s_index_is_whole_after_all_of_it(vault: Vault) -> None:
    """1. A note is forgotten. 2. memory.jsonl and the index of runs are lost. 3. A scan, and the
    ledger is lost too. Result: the index holds the forgotten note's runs.
    """
    with Ledger.open(vault.state) as ledger:
        runs = ledger.forgotten.runs()
    vault.state.memory.unlink()
    facts(vault)
    for file in vault.state.runs.iterdir():
        file.unlink()
    lose_ledger(vault)
    facts(vault)
    assert RunIndex(vault.state.runs, b"").load().contains(runs).all()
