"""A disk without room: a real small file system that is filled up, and writes that fail."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conftest import until
from tests.daemon.serving import Serving, wait_for
from tests.faults.test_state_files import run, writes
from tests.ledger.vaults import NOW, Vault, prose
from tests.rounds.fakes import train
from vaultgpt.cli import app
from vaultgpt.commands.common import failed
from vaultgpt.daemon.supervisor import Daemon
from vaultgpt.errors import DiskFull, StateError, Unavailable, expected
from vaultgpt.files import _LEAST_ROOM_BYTES, keep_ballast, write_atomic
from vaultgpt.ledger import Ledger
from vaultgpt.state import create_state
from vaultgpt.tasks.status import STATUS


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 400 MB in memory that holds the state; skipped where none can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m", "none", str(place)], capture_output=True
    )
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    monkeypatch.setenv("VAULTGPT_HOME", str(place / "vaultgpt"))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, left: int = 0) -> Path:
    """Take all room but so many bytes; the file that has it."""
    path = place / "filler"
    with open(path, "ab") as stream, contextlib.suppress(OSError):
        size = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize - left
        os.posix_fallocate(stream.fileno(), path.stat().st_size, max(1, size))
    return path


@pytest.fixture
def vault(small: Path, tmp_path: Path) -> Vault:
    """A learned vault whose state lies on the small file system."""
    made = Vault(tmp_path)
    made.fill(30, paragraphs=3, words=30)
    train(made)
    keep_ballast(made.state.folder)
    return made


def facts(vault: Vault) -> tuple[object, ...]:
    with Ledger.open(vault.state) as ledger:
        return (
            sorted(e.path for e in ledger.entries.all() if e.forgotten),
            ledger.generations.active(),
            len(ledger.emitted.lookup()._hashes),
            ledger._db.memory.last,
        )


ACTS: dict[str, Callable[[Ledger], object]] = {
    "forget": lambda ledger: ledger.forgotten.add(
        next(e.path for e in ledger.entries.all() if not e.held_out), NOW
    ),
    "accepted": lambda ledger: ledger.emitted.accepted(prose("own", 400), NOW),
    "activate": lambda ledger: ledger.generations.activate(None, NOW),
}


@pytest.mark.parametrize("act", ACTS)
def test_on_a_full_disk_it_is_done_whole_or_not_at_all(vault: Vault, small: Path, act: str) -> None:
    """1. The disk is filled up while the ledger is open. 2. forget, accepted or activate. 3. There
    is room again. 4. The same. Result: each call is done whole or refused whole, and the refusal
    is the full disk's; afterwards it is done.
    """
    before = facts(vault)
    with Ledger.open(vault.state) as ledger:
        filler = fill(small)
        refused = None
        try:
            ACTS[act](ledger)
        except Exception as error:
            refused = expected(error)
            assert isinstance(refused, DiskFull), repr(error)
        filler.unlink()
    if refused:
        assert facts(vault) == before
        with Ledger.open(vault.state) as ledger:
            ACTS[act](ledger)
    assert facts(vault) != before


@pytest.mark.parametrize("act", ACTS)
def test_the_database_full_after_the_memory_file_was_written(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """1. memory.jsonl takes its line, the database has no page left. 2. The same once there is
    room. Result: nothing of the first stands in either; then all of it in both.
    """
    before = facts(vault)
    with Ledger.open(vault.state) as ledger:
        sql = ledger._db.sql
        real = ledger._db.memory.append

        def full(*args: Any, **fields: Any) -> int:
            number = real(*args, **fields)
            raise OSError(errno.ENOSPC, "No space left on device", str(number))

        monkeypatch.setattr(ledger._db.memory, "append", full)
        with pytest.raises(OSError):
            ACTS[act](ledger)
        monkeypatch.undo()
        assert not sql.in_transaction
        after = facts(vault)
        assert after == before
        ACTS[act](ledger)
    assert facts(vault) != before


def test_a_round_asks_for_its_room_beforehand(vault: Vault, small: Path) -> None:
    """1. 20 MB are free. 2. A round is asked for. Result: refused with both figures, no job and no
    round row is left; with room it runs.
    """
    vault.write("more.md", "More text. " + "another word of it " * 12)
    filler = fill(small, left=20 << 20)
    with pytest.raises(StateError, match=r"takes up to \d+ MB of disk, and 2\d MB are free"):
        train(vault)
    assert not list(vault.state.staging.iterdir())
    with Ledger.open(vault.state) as ledger:
        assert ledger.rounds.interrupted() is None
    filler.unlink()
    assert train(vault)["verdict"]["promoted"]


def test_the_daemon_starts_serves_and_says_so_on_a_full_disk(
    small: Path, tmp_path: Path, tiny_llama: Path
) -> None:
    """1. The disk is full. 2. The daemon starts. 3. A hotkey; the token is rotated and a setting
    changed from the command line. 4. There is room again. Result: it answers, status says that the
    disk is full, no text is shown that could not be remembered, each refusal is one clear line;
    then the hotkey writes.
    """
    from typer.testing import CliRunner

    from vaultgpt.settings import save_option

    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "a.md").write_text(prose("a", 80))
    state = create_state(tmp_path / "vault")
    save_option(state.config, "base", str(tiny_llama))
    save_option(state.config, "training.pause", True)
    Ledger.open(state).close()
    keep_ballast(state.folder)
    filler = fill(small)
    with Serving(state) as daemon:
        fill(small)  # what the ballast gave back is taken too
        said = daemon.status()["problems"]
        assert any("is full" in one for one in said), said
        with pytest.raises(Exception, match="is full"):
            daemon.ask(prompt="I walked", max_tokens=3)
        for command in (["token", "--rotate"], ["config", "training.keep", "3"]):
            fill(small)
            done = CliRunner().invoke(app, [command[0], str(state.vault), *command[1:]])
            assert done.exit_code == 0 or "is full" in done.output, done.output
        assert done.exit_code == 1  # a page is wanted; rotating gives one back first
        filler.unlink()
        daemon.client.token = state.token()
        assert daemon.ask(prompt="I walked", max_tokens=3)["choices"][0]["text"]
        daemon.client.post("/v1/reload", {})  # looks at the vault again, as it does by itself
        wait_for(lambda: not daemon.status()["problems"])


def test_what_could_not_be_remembered_pauses_learning_until_it_can(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. The ledger refuses what the mirror said. 2. A round is asked for; another hotkey. 3. The
    ledger can be written. Result: neither is done before, `problems` says why; then it is known.
    """
    from vaultgpt.ledger.emitted import EmittedText

    said = prose("said", 20)

    async def go(daemon: Daemon) -> None:
        with monkeypatch.context() as patch:

            def refuse(*_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(EmittedText, "offered", refuse)
            daemon.note_emitted(said)
            await until(lambda: daemon.writing.pause())
            assert "learning waits" in str((await daemon.ask(STATUS, None))["problems"])
            with pytest.raises(Exception, match="learning waits"):
                await daemon.rounds.ask(False)
            with pytest.raises(OSError):
                await writes(daemon)
        await daemon.writing.remember()
        assert not (await daemon.ask(STATUS, None))["problems"]

    run(vault, go)
    with Ledger.open(vault.state) as ledger:
        assert len(ledger.emitted.lookup()._hashes)


def test_the_ballast_is_given_up_when_there_is_no_room(small: Path) -> None:
    keep_ballast(small)
    assert (small / "ballast").stat().st_size > 2 * _LEAST_ROOM_BYTES
    fill(small)
    keep_ballast(small)
    assert os.statvfs(small).f_bavail and not (small / "ballast").exists()
    keep_ballast(small)
    assert not (small / "ballast").exists(), "not before there is plenty"


def test_errors_of_the_disk_are_told_as_such() -> None:
    assert isinstance(expected(OSError(errno.EDQUOT, "x")), DiskFull)
    assert "mounted" in str(expected(OSError(errno.EIO, "x")))
    assert expected(ValueError("x")) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_is_blamed_for_what_was_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    """1. A disk takes no more, where the author had something written; 2. where the state is."""
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()

    def refuse(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    for place, of_the_state in ((tmp_path / "plot.svg", False), (tmp_path / "home" / "x", True)):
        with pytest.raises(OSError, match=place.name) as found:
            write_atomic(place, "x")
        assert failed(found.value, as_json=False) == 1
        said = capfd.readouterr().err
        assert ("holds vaultgpt's state" in said) is of_the_state
        assert (f"{os.strerror(number)} ({place})" in said) is not of_the_state


def test_a_ledger_that_another_process_holds_is_no_bug_of_ours(tmp_path: Path) -> None:
    busy = []
    for _ in range(2):
        busy.append(sqlite3.connect(tmp_path / "ledger", timeout=0, isolation_level=None))
    busy[0].execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as found:
        busy[1].execute("BEGIN IMMEDIATE")
    assert isinstance(expected(found.value), Unavailable)
