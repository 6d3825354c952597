"""One job in a process of its own, polite as a rule: a training round, or a measurement.

Knows nothing about what is learned or measured. Synchronous: the daemon runs it in a thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, cast

import psutil

from vaultgpt.bases.estimate import usable_cores
from vaultgpt.children import command, environment, exit_meaning, spawn_options
from vaultgpt.errors import ErrorAnswer, TrainingError, error_of
from vaultgpt.settings import Training
from vaultgpt.training.round import RoundPart, TrainerOrder, of_machine
from vaultgpt.wire import DoneAnswer, Hear, ProgressEvent, ReportRow, read_frame, write_frame
from vaultgpt.workers.process import RoundStopped

_TERMINATE_AFTER_S = 2.0
_KILL_AFTER_S = 5.0
_LOOK_S, _STOPPED_S = 0.1, 8.0
_SILENT_S = 1800.0  # longest time between two frames; a large base loads in minutes
_LOWEST_NICE = 19


_JobAnswer = ProgressEvent | DoneAnswer | ErrorAnswer


@dataclass(frozen=True)
class _JobKind:
    """Which process does the job, and how its end is told: each a sentence and the mend."""

    module: str
    stopped: tuple[str, str]
    silent: tuple[str, str]
    halted: tuple[str, str]
    died: tuple[str, str]  # the first opens the sentence that says how


_TRAINER = _JobKind(
    "vaultgpt.training.trainer_worker",
    ("The round was stopped.", "The next one goes on from there."),
    (
        "The trainer has said nothing for half an hour.",
        "It was ended; the next round goes on from there.",
    ),
    (
        "The trainer was halted from outside (SIGSTOP) and was ended.",
        "The next round goes on from its checkpoint.",
    ),
    (
        "The trainer died",
        "The next round goes on from its checkpoint; a smaller "
        "training.batch_tokens takes less memory.",
    ),
)
_VOICE = _JobKind(
    "vaultgpt.report.job",
    ("The measuring was stopped.", "Ask for the report again."),
    (
        "The measuring process has said nothing for half an hour.",
        "It was ended; `vaultgpt report --quick` does without.",
    ),
    (
        "The measuring process was halted from outside (SIGSTOP) and was ended.",
        "`vaultgpt report --quick` does without.",
    ),
    ("The measuring process died", "`vaultgpt report --quick` does without."),
)


def _always() -> bool:
    """A job that nobody waits for."""
    return True


_A_co = TypeVar("_A_co", covariant=True)


class JobRunner(Protocol[_A_co]):
    """run_trainer, run_voice, or a test's own; answers the figures of its kind of job."""

    def __call__(
        self, job_path: Path, on_progress: Hear, stop: threading.Event, *, settings: Training
    ) -> _A_co: ...


def run_voice(
    job_path: Path,
    on_progress: Hear,
    stop: threading.Event,
    *,
    settings: Training,
    program: Sequence[str] | None = None,
) -> Mapping[str, object]:
    """Measure a generation's voice and return the figures. Raises as run_trainer does."""
    return _run(_VOICE, job_path, on_progress, stop, settings, program)


def run_trainer(
    job_path: Path,
    on_progress: Hear,
    stop: threading.Event,
    *,
    settings: Training,
    program: Sequence[str] | None = None,
    polite: Callable[[], bool] = _always,
    part: RoundPart | None = None,
) -> ReportRow:
    """Carry out the job, or a part of it; its report, as far as one can trust a process.

    It runs at the lowest priority from the moment that `polite` says so; there is no way back.
    RoundStopped once `stop` was set; the worker's own VaultGPTError; TrainingError when it died."""
    learns = part is None or part["part"] == "sealed"
    if program is None and learns and settings.processes > 1:
        program = _several(settings.processes, command(_TRAINER.module))
    report = _run(_TRAINER, job_path, on_progress, stop, settings, program, polite, part)
    return cast(ReportRow, report)


def _several(processes: int, program: Sequence[str]) -> list[str]:
    """The program so many times, by torch's own launcher (torchrun), on this machine alone."""
    each = ("--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={processes}")
    return command("torch.distributed.run", *each, "--no-python", *program)


def _run(
    kind: _JobKind,
    job_path: Path,
    on_progress: Hear,
    stop: threading.Event,
    settings: Training,
    program: Sequence[str] | None,
    polite: Callable[[], bool] = _always,
    part: RoundPart | None = None,
) -> Mapping[str, object]:
    process = subprocess.Popen(
        program or command(kind.module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(settings),
        **spawn_options(),
    )
    try:
        manners = _Manners(process.pid, polite)
        manners.look()
        with contextlib.suppress(OSError):  # it died already: its exit status tells
            assert process.stdin is not None
            first: TrainerOrder = {
                "job": str(job_path),
                "polite": manners.lowered,
                "machine": of_machine(settings),
                **(part or {}),
            }
            write_frame(process.stdin, first)
        return _follow(kind, process, on_progress, stop, manners)
    finally:
        _end(process)


def _environment(settings: Training) -> dict[str, str]:
    """Threads that wait for each other sleep, unless the user's own OMP_WAIT_POLICY says otherwise.

    Spinning, beside a program that keeps both of two cores busy, a step takes 3.7 times as long;
    alone it is no faster. Writing is another matter: its steps are so small that waking costs more.
    All threads share a heap of glibc's: with one each, 80 s of a first voice took 2.3 GB for 1.9.
    """
    threads = str(max(1, usable_cores(settings.threads) // settings.processes))
    patient = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    waits = environment(OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, OMP_WAIT_POLICY=patient)
    return waits | {"MALLOC_ARENA_MAX": "1"}


class _Manners:
    """Lowers the process once it has to be polite."""

    def __init__(self, pid: int, polite: Callable[[], bool]) -> None:
        self._pid, self._polite, self.lowered = pid, polite, False

    def look(self) -> None:
        if not self.lowered and self._polite():
            self.lowered = True
            _lower(self._pid)


def _lower(pid: int) -> None:
    """The lowest CPU and disk priority, of what it has started too."""
    with contextlib.suppress(psutil.Error, OSError):
        for child in psutil.Process(pid).children(recursive=True):
            _lower_one(child)
        _lower_one(psutil.Process(pid))


def _lower_one(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error, OSError):
        if psutil.WINDOWS:
            process.nice(psutil.IDLE_PRIORITY_CLASS)  # type: ignore[attr-defined,unused-ignore]
        else:
            process.nice(_LOWEST_NICE)
        if psutil.LINUX:
            process.ionice(psutil.IOPRIO_CLASS_BE, 7)


def _follow(
    kind: _JobKind,
    process: subprocess.Popen[bytes],
    on_progress: Hear,
    stop: threading.Event,
    manners: _Manners,
) -> Mapping[str, object]:
    frames: queue.Queue[_JobAnswer | None] = queue.Queue()
    errors = bytearray()
    readers = [
        threading.Thread(target=_pump, args=(process, frames), daemon=True),
        threading.Thread(target=_drain, args=(process, errors), daemon=True),
    ]
    for reader in readers:
        reader.start()
    heard, stopped = time.monotonic(), 0
    while True:
        if stop.is_set():
            _end(process)
            raise RoundStopped(*kind.stopped)
        manners.look()
        try:
            frame = frames.get(timeout=_LOOK_S)
        except queue.Empty:
            stopped = stopped + 1 if _is_stopped(process.pid) else 0
            if stopped * _LOOK_S > _STOPPED_S:
                raise TrainingError(*kind.halted) from None
            if time.monotonic() - heard > _SILENT_S:
                raise TrainingError(*kind.silent) from None
            continue
        heard = time.monotonic()
        if frame is None:
            status = process.wait(_KILL_AFTER_S)
            readers[1].join(1.0)
            said, mend = kind.died
            raise TrainingError(f"{said}: {exit_meaning(status, bytes(errors))}.", mend)
        if frame["event"] == "done":
            return frame["report"]
        if frame["event"] == "error":
            raise error_of(frame)
        on_progress(frame)


def _is_stopped(pid: int) -> bool:
    """Whether another program has halted it (SIGSTOP): it would wait for ever."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _pump(process: subprocess.Popen[bytes], frames: queue.Queue[_JobAnswer | None]) -> None:
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):
        while (frame := read_frame(process.stdout)) is not None:
            frames.put(frame)
    frames.put(None)


def _drain(process: subprocess.Popen[bytes], kept: bytearray) -> None:
    """Keep the last words of standard error: only an exception's class is ever shown of them."""
    assert process.stderr is not None
    with contextlib.suppress(ValueError, OSError):
        while chunk := process.stderr.read1(1 << 16):  # type: ignore[attr-defined]
            kept += chunk
            del kept[:-4096]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, then terminate, then kill; return once it has gone."""
    if process.poll() is None and process.stdin is not None:
        with contextlib.suppress(OSError, ValueError):
            write_frame(process.stdin, {"stop": True})
    for patience_s, harder in (
        (_TERMINATE_AFTER_S, process.terminate),
        (_KILL_AFTER_S - _TERMINATE_AFTER_S, process.kill),
    ):
        with contextlib.suppress(OSError, ValueError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(patience_s)
            break
        except subprocess.TimeoutExpired:
            harder()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()
