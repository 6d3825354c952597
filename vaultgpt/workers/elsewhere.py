"""A round whose learning is done by another machine, over the user's own ssh.

Measured before and after, judged and published here; what leaves is a sealed lesson (token blocks),
whose key goes through ssh alone. Knows nothing about torch; `lending.py` is the other end.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from vaultgpt import __version__
from vaultgpt.bases.names import NamedBase
from vaultgpt.children import environment, program, spawn_options
from vaultgpt.errors import (
    Conflict,
    ErrorAnswer,
    TrainingError,
    UsageError,
    VaultGPTError,
    error_of,
)
from vaultgpt.files import appending, read_json, write_json
from vaultgpt.settings import Training
from vaultgpt.training.round import LEARNED, LESSON, RoundPart
from vaultgpt.training.sealing import new_key, unseal
from vaultgpt.wire import Hear, ProgressEvent, ReportRow, read_frame, write_frame
from vaultgpt.workers.jobs import run_trainer
from vaultgpt.workers.lending import LendAnswer, LendOrder
from vaultgpt.workers.process import RoundStopped

_SSH = "VAULTGPT_SSH"  # in place of `ssh`, with its options, as GIT_SSH_COMMAND is for git
_OPTIONS = ("-T", "-oBatchMode=yes", "-oServerAliveInterval=15", "-oServerAliveCountMax=4")
_ERRAND = "errand.json"  # beside the job: the lesson's name there, and its key
_TRIES, _PAUSE_S = 5, 1.0  # lines in a row that bring nothing further; doubled each time
_SILENT_S = 1800.0
_LOOK_S = 0.2
_CHUNK = 1 << 20  # characters of a frame
_HOST = re.compile(r"[\w.@:%\[\]+-]+")
_NOT_FOUND = 127  # a shell's status


@dataclass(frozen=True)
class Lender:
    """Another machine: what ssh calls it, and the command that is vaultgpt there."""

    host: str
    program: str = "vaultgpt"

    def __post_init__(self) -> None:
        if self.host.startswith("-") or not _HOST.fullmatch(self.host):
            raise UsageError(f"{self.host!r} is no machine's name.", "Give what ssh takes.")

    @property
    def command(self) -> list[str]:
        """What starts the other end."""
        own = shlex.split(os.environ.get(_SSH, ""))
        ssh = own[0] if own else program("ssh")
        if ssh is None:
            raise TrainingError("There is no ssh on this machine.", "Install OpenSSH's client.")
        return [ssh, *own[1:], *_OPTIONS, "--", self.host, f"{self.program} lend"]


class _Broken(Exception):
    """The line ended; with ssh's status."""

    def __init__(self, status: int | None) -> None:
        self.status = status


class _SshConnection:
    """One ssh connection: a frame there, one back."""

    def __init__(self, machine: Lender, stop: threading.Event) -> None:
        self._process = subprocess.Popen(
            machine.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(offline=False),
            **spawn_options(),
        )
        self._stop, self._heard = stop, time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """End it once the round is stopped or nothing was heard for too long: reads then end."""
        while self._process.poll() is None:
            if self._stop.wait(_LOOK_S) or time.monotonic() - self._heard > _SILENT_S:
                self._process.kill()
                return

    def ask(self, order: LendOrder, on_progress: Hear = lambda _: None) -> LendAnswer:
        """The answer to this order, and what is told before it."""
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, order)
        except OSError:
            raise self._broken() from None
        return self.hear(on_progress)

    def hear(self, on_progress: Hear = lambda _: None) -> LendAnswer:
        """The next answer, and what is told before it."""
        while True:
            answer = self._next()
            if answer["event"] not in ("progress", "say"):
                return cast(LendAnswer, answer)
            on_progress(answer)

    def _next(self) -> LendAnswer | ProgressEvent:
        """What is said next; an error is raised."""
        assert self._process.stdout is not None
        answer: LendAnswer | ProgressEvent | ErrorAnswer | None
        try:
            answer = read_frame(self._process.stdout)
        except (OSError, ValueError):
            answer = None
        if answer is None:
            raise self._broken()
        self._heard = time.monotonic()
        if answer["event"] == "error":
            raise error_of(answer)
        return answer

    def _broken(self) -> _Broken:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return _Broken(self._process.wait(2.0))
        return _Broken(None)

    def close(self) -> None:
        """The other end sees it, and leaves."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run_elsewhere(
    job_path: Path,
    on_progress: Hear,
    stop: threading.Event,
    *,
    settings: Training,
    machine: Lender,
    polite: Callable[[], bool] = lambda: True,
) -> ReportRow:
    """As run_trainer, but for the learning itself. TrainingError where that machine fails.

    What lies there is erased in the end, whatever it is. Where it could not be reached, the next
    round of the same job goes on from there; a machine erases by itself what is a day old."""

    def local(part: RoundPart) -> ReportRow:
        return run_trainer(job_path, on_progress, stop, settings=settings, polite=polite, part=part)

    return _Errand(job_path, on_progress, stop, settings, machine, local).run()


class _Errand:
    """One round's way there and back."""

    def __init__(
        self,
        job_path: Path,
        on_progress: Hear,
        stop: threading.Event,
        settings: Training,
        machine: Lender,
        local: Callable[[RoundPart], ReportRow],
    ) -> None:
        self.folder, self.hear, self.stop = job_path.parent, on_progress, stop
        self.settings, self.machine, self.local = settings, machine, local
        self.lesson, self.learned = self.folder / LESSON, self.folder / LEARNED
        self.part = self.folder / f"{LEARNED}.part"
        job = read_json(job_path)
        self.base: NamedBase = {
            "base": job["base_name"],
            "revision": job["base_revision"],
            "base_sha256": job["base_sha256"],
        }
        self.moved = 0  # characters that came through, there or back
        self.reached = False
        self.id, self.key = self._name_and_key()

    def run(self) -> ReportRow:
        began, left = time.monotonic(), ""
        try:
            self._over_lines(self._open)  # before minutes of measuring
            if not self.lesson.exists():
                self.local({"part": "pack", "key": self.key})
            self._over_lines(self._there_and_back)
        except RoundStopped:
            raise
        except VaultGPTError:
            with contextlib.suppress(VaultGPTError):
                self._over_lines(self._wipe)
            if not self.learned.exists():
                raise
            left = f"what {self.machine.host} was lent, sealed, could not be erased there yet"
        spent_s = time.monotonic() - began
        report = self.local({"part": "finish", "key": self.key, "spent_s": spent_s})
        report["learning"]["machine"] = self.machine.host
        report["notes"] += [left] if left else []
        return report

    def _name_and_key(self) -> tuple[str, str]:
        """Made once for a lesson, so that what was half sent is gone on with."""
        path = self.folder / _ERRAND
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = read_json(path)
            if known["version"] == __version__:
                return str(known["id"]), str(known["key"])
        for stale in (self.lesson, self.learned, self.part):
            stale.unlink(missing_ok=True)
        name, key = secrets.token_hex(16), new_key()
        write_json(path, {"id": name, "key": key, "version": __version__})
        return name, key

    @contextlib.contextmanager
    def _line(self) -> Iterator[_SshConnection]:
        """A line to the same vaultgpt there."""
        line = _SshConnection(self.machine, self.stop)
        try:
            version = line.hear().get("version")
            self.reached = True
            if version != __version__:
                raise TrainingError(
                    f"{self.machine.host} has vaultgpt {version}, and here is {__version__}.",
                    "Install the same on both.",
                )
            yield line
        finally:
            line.close()

    def _over_lines(self, work: Callable[[_SshConnection], Any]) -> None:
        """Do it over as many lines as it takes, as long as each brings it further."""
        failures = 0
        while True:
            before = self.moved
            if self.stop.is_set():
                raise RoundStopped("The round was stopped.", "The next one goes on from there.")
            try:
                with self._line() as line:
                    work(line)
                    return
            except (_Broken, Conflict) as error:
                failures = 1 if self.moved > before else failures + 1
                if not self.stop.is_set() and (failures == _TRIES or not self.reached):
                    raise self._unreachable(error) from None
            self.stop.wait(_PAUSE_S * 2 ** (failures - 1))

    def _unreachable(self, error: _Broken | Conflict) -> VaultGPTError:
        if isinstance(error, Conflict):
            return error
        host = self.machine.host
        if error.status == _NOT_FOUND:
            return TrainingError(
                f"There is no `{self.machine.program}` on {host}.",
                "Install vaultgpt there, or say --program with its whole path.",
            )
        return TrainingError(
            f"The connection to {host} could not be had or kept.",
            f"See that `ssh {host} true` works without asking or printing anything.",
        )

    def _open(self, line: _SshConnection) -> LendAnswer:
        return line.ask({"op": "open", "id": self.id, "base": self.base})

    def _there_and_back(self, line: _SshConnection) -> None:
        if not self.learned.exists():
            here = self._open(line)
            if not (size := here["learned"]):
                self._send(line, here["lesson"])
                size = self._learn(line)
            self._fetch(line, size)
        self._wipe(line)

    def _wipe(self, line: _SshConnection) -> LendAnswer:
        return line.ask({"op": "wipe", "id": self.id})

    def _send(self, line: _SshConnection, at: int) -> None:
        size = self.lesson.stat().st_size
        with open(self.lesson, "rb") as stream:
            while at < size:
                stream.seek(at)
                data = stream.read(_CHUNK).decode("ascii")
                sent = line.ask({"op": "put", "at": at, "data": data})["lesson"]
                self._moved("send", sent - at, sent / size)
                at = sent

    def _moved(self, phase: str, characters: int, fraction: float) -> None:
        self.moved += characters
        self.hear({"event": "progress", "phase": phase, "fraction": fraction})

    def _learn(self, line: _SshConnection) -> int:
        """Size of what was learned. A line that breaks now ends the learning, and the round."""
        host, mend = self.machine.host, "Nothing here has changed: run it again, there or here."
        try:
            answer = line.ask(
                {"op": "learn", "key": self.key, "processes": self.settings.processes}, self.hear
            )
        except _Broken:
            if self.stop.is_set():
                raise
            raise TrainingError(f"The line to {host} ended while it learned.", mend) from None
        except VaultGPTError as error:
            raise TrainingError(f"On {host}: {error.message}", mend) from None
        self.part.unlink(missing_ok=True)  # of an earlier learning
        return answer["learned"]

    def _fetch(self, line: _SshConnection, size: int) -> None:
        with appending(self.part) as stream:
            while (at := stream.tell()) < size:
                data = line.ask({"op": "get", "at": at, "most": _CHUNK})["data"].encode()
                stream.write(data)
                self._moved("fetch", len(data), (at + len(data)) / size)
        unseal(self.part.read_bytes(), self.key)
        self.part.replace(self.learned)
