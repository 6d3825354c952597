"""One life of a vault's state in a child process that a fault befalls at a chosen write, and what
must hold afterwards. The fault is a real SIGKILL, or an error of the disk.

The child counts its writes by Python's audit events, and is forked from a process that has read the
modules once. Knows nothing about pytest.
"""

from __future__ import annotations

import atexit
import errno
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tests.ledger.vaults import DAY, HOUR, NOW, Vault, entries_learned, prose
from tests.rounds.fakes import train
from vaultgpt import generation_folders
from vaultgpt.errors import VaultGPTError, expected
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.memory_file import MemoryFile
from vaultgpt.rounds.mend import repair
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState

Fault = Literal["kill", "ENOSPC", "EIO"]
STEPS = ("scan", "train", "forget", "accepted", "activate", "train again", "token", "config")
_WRITES = {"os.rename", "os.chmod", "os.truncate", "os.mkdir", "os.remove", "os.link"}
_FORGET = "note004.md"


def made(root: Path) -> Vault:
    """A vault of 30 notes whose life has not begun."""
    root.mkdir()
    vault = Vault(root)
    vault.fill(30, paragraphs=3, words=30)
    return vault


def _told(answer: Any) -> None:
    """A round that told of no generation has nothing that could be lost."""
    if answer["generation"] is None:
        raise VaultGPTError(f"No generation: {answer['verdict']['why']}")


def _steps(vault: Vault) -> dict[str, Callable[[], object]]:
    from vaultgpt.settings import save_option

    def in_ledger(work: Callable[[Ledger], object]) -> Callable[[], object]:
        def run() -> None:
            with Ledger.open(vault.state) as ledger:
                work(ledger)

        return run

    return {
        "scan": in_ledger(lambda ledger: vault.record(ledger)),
        "train": lambda: _told(train(vault, NOW)),
        "forget": in_ledger(lambda ledger: ledger.forgotten.add(_FORGET, NOW)),
        "accepted": in_ledger(lambda ledger: ledger.emitted.accepted(prose("own", 20), NOW)),
        "activate": in_ledger(lambda ledger: ledger.generations.activate(None, NOW)),
        "train again": lambda: _told(train(vault, NOW + HOUR, fresh=True)),
        "token": vault.state.rotate_token,
        "config": lambda: save_option(vault.state.config, "training.keep", 3),
    }


class _Writes:
    """Counts the writes of this process, and lets the fault befall the chosen one."""

    def __init__(self, inside: Path, at: int, fault: Fault) -> None:
        self.count, self._inside, self._at, self._fault = 0, str(inside), at, fault
        self._fsync = os.fsync

    def start(self) -> None:
        sys.addaudithook(self._heard)
        os.fsync = self._synced

    def _synced(self, fd: Any) -> None:
        self._one()
        self._fsync(fd)

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            flags = args[2] if isinstance(args[2], int) else 0
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            writes = event in _WRITES
        if writes and isinstance(args[0], str | bytes):
            place = os.fsdecode(args[0])
            if self._inside in place or not os.path.isabs(place):  # relative to a folder's number
                self._one()

    def _one(self) -> None:
        self.count += 1
        if self.count != self._at:
            return
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        number = errno.ENOSPC if self._fault == "ENOSPC" else errno.EIO
        raise OSError(number, os.strerror(number))


def live(vault: Vault, at: int, fault: Fault) -> tuple[list[str], int, list[str]]:
    """The steps that were told as done, the writes in all, and failures told in no clear way."""
    lines = _nursery().live([str(vault.root), str(vault.state.folder), str(at), fault])
    count = next((int(line[6:]) for line in lines if line.startswith("count ")), 0)
    wrong = ("odd ",) if at else ("odd ", "told ")
    told = [line[5:] for line in lines if line.startswith("done ")]
    return told, count, [line for line in lines if line.startswith(wrong)]


class _Nursery:
    """A process that forks a child for each life: 0.4 s rather than 1.1."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def live(self, life: list[str]) -> list[str]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(life) + "\n")
        self._process.stdin.flush()
        return list(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@functools.cache
def _nursery() -> _Nursery:
    made = _Nursery()
    atexit.register(made.close)
    return made


def _serve() -> None:
    """A life as a line on standard input, what its child printed as a line on standard output."""
    for line in sys.stdin:
        ours, theirs = os.pipe()
        if not (pid := os.fork()):
            os.dup2(theirs, 1)
            _child(*json.loads(line))
            sys.stdout.flush()
            os._exit(0)
        os.close(theirs)
        with os.fdopen(ours) as printed:
            lines = printed.read().splitlines()
        os.waitpid(pid, 0)
        print(json.dumps(lines), flush=True)


def _child(root: str, folder: str, at: str, fault: Any) -> None:
    vault = Vault.__new__(Vault)
    vault.root, vault.settings = Path(root), Settings()
    vault.state = VaultState(Path(root), Path(folder))
    writes = _Writes(vault.state.folder, int(at), fault)
    writes.start()
    for name, step in _steps(vault).items():
        try:
            step()
            print(f"done {name}", flush=True)
        except Exception as error:
            known = expected(error)
            kind = "told" if known else "odd"
            print(f"{kind} {name}: {known or type(error).__name__}", flush=True)
    print(f"count {writes.count}", flush=True)


def check(vault: Vault, done: list[str]) -> str:
    """Start again as a daemon does, and look; what is wrong in a sentence, "" when all holds."""
    state = vault.state
    with Ledger.open(state) as ledger:
        repair(state, ledger, NOW + DAY)
        vault.record(ledger, NOW + DAY)
        active = ledger.generations.writing()
        forgotten = {e.path for e in ledger.entries.all() if e.forgotten}
        if "forget" in done and _FORGET not in forgotten:
            return "a forgotten note is known no more"
        if "accepted" in done and not len(ledger.emitted.lookup()._hashes):
            return "an accepted text is not remembered"
        if "train" in done and not ledger.generations.all(kept=False):
            return "a generation that was told of is lost"
        if (
            active is not None
            and generation_folders.condition(state.generations / active) != "sound"
        ):
            return f"the active generation is not sound: {active}"
        if active is not None and active in ledger.generations.barred():
            return "a barred generation is active"
        if ledger.paused():
            return "learning is paused"
        ledger.guard.mend()
    memory = MemoryFile(state.memory)
    if memory.damaged:
        return "memory.jsonl is damaged"
    answer = train(vault, NOW + 2 * DAY, fresh=True)
    if not answer["verdict"]["promoted"]:
        return f"the next round is not promoted: {answer['verdict']['why']}"
    with Ledger.open(state) as ledger:
        voice = ledger.generations.active()
        known = entries_learned(ledger, voice)
        if {e.id for e in ledger.entries.all() if e.forgotten} & known:
            return "a forgotten note is learned again"
        if len(state.token()) < 16 or len(state.secret()) != 32:
            return "token or secret is no good"
    if left := [p.name for p in state.staging.iterdir()]:
        return f"staging holds {left}"
    return ""


if __name__ == "__main__":
    _serve()
