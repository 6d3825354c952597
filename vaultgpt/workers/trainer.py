"""One job in a process of its own, at the lowest priority: a training round, or a measurement.

Knows nothing about what is learned or measured. Synchronous: the daemon runs it in a thread.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from vaultgpt.config import Training
from vaultgpt.errors import TrainingError
from vaultgpt.estimate import usable_cores
from vaultgpt.wire import read_frame, write_frame
from vaultgpt.workers.process import (
    RoundStopped,
    command,
    environment,
    error_from_frame,
    exit_meaning,
    spawn_options,
)

TERMINATE_AFTER_S = 2.0
KILL_AFTER_S = 5.0
SILENT_S = 1800.0  # longest time between two frames; a large base loads in minutes
LOWEST_NICE = 19


@dataclass(frozen=True)
class Kind:
    """Which process does the job, and how its end is told: each a sentence and the mend."""

    module: str
    stopped: tuple[str, str]
    silent: tuple[str, str]
    died: tuple[str, str]  # the first opens the sentence that says how


TRAINER = Kind(
    "vaultgpt.training.worker", ("The round was stopped.", "The next one goes on from there."),
    ("The trainer has said nothing for half an hour.",
     "It was ended; the next round goes on from there."),
    ("The trainer died", "The next round goes on from its checkpoint; a smaller "
     "training.batch_tokens takes less memory."))
VOICE = Kind(
    "vaultgpt.voice.worker", ("The measuring was stopped.", "Ask for the report again."),
    ("The measuring process has said nothing for half an hour.",
     "It was ended; `vaultgpt report --quick` does without."),
    ("The measuring process died", "`vaultgpt report --quick` does without."))


def run_voice(
    job_path: Path,
    on_progress: Callable[[dict[str, Any]], None],
    stop: threading.Event,
    *,
    settings: Training,
    program: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measure a generation's voice and return the figures. Raises as run_trainer does."""
    return _run(VOICE, job_path, on_progress, stop, settings, program)


def run_trainer(
    job_path: Path,
    on_progress: Callable[[dict[str, Any]], None],
    stop: threading.Event,
    *,
    settings: Training,
    program: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Carry out the job and return its Report as a dictionary.

    RoundStopped once `stop` was set; the worker's own VaultGPTError; TrainingError when it died.
    """
    return _run(TRAINER, job_path, on_progress, stop, settings, program)


def _run(
    kind: Kind,
    job_path: Path,
    on_progress: Callable[[dict[str, Any]], None],
    stop: threading.Event,
    settings: Training,
    program: Sequence[str] | None,
) -> dict[str, Any]:
    threads = str(usable_cores(settings.threads))
    process = subprocess.Popen(
        program or command(kind.module), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads), **spawn_options())
    try:
        _lower(process.pid)
        with contextlib.suppress(OSError):  # it died already: its exit status tells
            assert process.stdin is not None
            write_frame(process.stdin, {"job": str(job_path)})
        return _follow(kind, process, on_progress, stop)
    finally:
        _end(process)


def _lower(pid: int) -> None:
    """The lowest CPU and disk priority, and the first to go when memory runs out."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        if psutil.WINDOWS:
            process.nice(psutil.IDLE_PRIORITY_CLASS)  # type: ignore[attr-defined,unused-ignore]
        else:
            process.nice(LOWEST_NICE)
        if psutil.LINUX:
            process.ionice(psutil.IOPRIO_CLASS_BE, 7)
            Path(f"/proc/{pid}/oom_score_adj").write_text("500", encoding="ascii")


def _follow(
    kind: Kind,
    process: subprocess.Popen[bytes],
    on_progress: Callable[[dict[str, Any]], None],
    stop: threading.Event,
) -> dict[str, Any]:
    frames: queue.Queue[dict[str, Any] | None] = queue.Queue()
    errors = bytearray()
    readers = [threading.Thread(target=_pump, args=(process, frames), daemon=True),
               threading.Thread(target=_drain, args=(process, errors), daemon=True)]
    for reader in readers:
        reader.start()
    heard = time.monotonic()
    while True:
        if stop.is_set():
            _end(process)
            raise RoundStopped(*kind.stopped)
        try:
            frame = frames.get(timeout=0.1)
        except queue.Empty:
            if time.monotonic() - heard > SILENT_S:
                raise TrainingError(*kind.silent) from None
            continue
        heard = time.monotonic()
        if frame is None:
            status = process.wait(KILL_AFTER_S)
            readers[1].join(1.0)
            said, mend = kind.died
            raise TrainingError(f"{said}: {exit_meaning(status, bytes(errors))}.", mend)
        if frame.get("event") == "progress":
            on_progress(frame)
        elif frame.get("event") == "done":
            return dict(frame["report"])
        elif frame.get("event") == "error":
            raise error_from_frame(frame)


def _pump(process: subprocess.Popen[bytes], frames: queue.Queue[dict[str, Any] | None]) -> None:
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
    for patience_s, harder in ((TERMINATE_AFTER_S, process.terminate),
                               (KILL_AFTER_S - TERMINATE_AFTER_S, process.kill)):
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
