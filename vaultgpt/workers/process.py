"""What both workers share: how they are started, what their end means, how many threads they get.

Knows nothing about what they are asked.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

import vaultgpt
from vaultgpt import errors
from vaultgpt.errors import TrainingError, VaultGPTError
from vaultgpt.estimate import usable_cores

_CLASS_NAME = re.compile(rb"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt))\b", re.MULTILINE)
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}


class RoundStopped(TrainingError):
    """The round was ended on request; what it had learned waits in its checkpoint."""

    code = "stopped"
    http_status = 409


def command(module: str) -> list[str]:
    """The arguments that start `module`. -P: a vault that is the current folder lends no code."""
    return [sys.executable, "-P", "-m", module]


def environment(**more: str) -> dict[str, str]:
    """Our own environment, offline, with the place of this very package in front."""
    place = str(Path(vaultgpt.__file__).resolve().parent.parent)
    paths = [place, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **_OFFLINE, "PYTHONPATH": os.pathsep.join(paths), **more}


def spawn_options() -> dict[str, Any]:
    """A process group of its own, so that Ctrl-C reaches the supervisor alone.

    Never a session of its own: under Linux autogroup, nice counts only within one session.
    Untested on Windows.
    """
    if os.name == "nt":
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return {"creationflags": flags | getattr(subprocess, "CREATE_NO_WINDOW", 0)}
    return {"process_group": 0}


def exit_meaning(status: int | None, stderr: bytes = b"") -> str:
    """What an exit status says, as the end of a sentence; of `stderr` only an exception's class."""
    if status is not None and status < 0:
        if -status == signal.SIGTERM:
            return "it was told to end"
        if os.name == "posix" and -status == signal.SIGKILL:
            return "it was killed, probably for lack of memory"
        return f"it crashed with signal {-status}"
    names = _CLASS_NAME.findall(stderr)
    reason = f" ({names[-1].decode()})" if names else ""
    return f"it ended with status {'?' if status is None else status}{reason}"


def _classes(root: type[VaultGPTError]) -> dict[str, type[VaultGPTError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            found = _classes(child) | found
    return found


def error_from_frame(frame: dict[str, Any]) -> VaultGPTError:
    """The error that a worker sent: {"code", "message", "mend", "status"}."""
    code = str(frame.get("code") or "error")
    kind = _classes(VaultGPTError).get(code, VaultGPTError)
    error = kind(str(frame.get("message") or "The worker failed."), str(frame.get("mend") or ""))
    error.code = code
    if isinstance(status := frame.get("status"), int):
        error.http_status = status
    return error


def idle_threads(sample_s: float = 0.1) -> int:
    """Threads for the mirror: the idle physical cores, one fewer under load. Blocks `sample_s`.

    More threads than idle cores cost 375 ms a token instead of 55 (measured on 2 cores). Work at
    low priority (our trainer) yields to us: it counts as load, not as taken cores.
    """
    times = psutil.cpu_times_percent(interval=sample_s)
    polite = float(getattr(times, "nice", 0.0))
    logical = psutil.cpu_count() or 1
    taken = max(0.0, 100.0 - times.idle - polite - getattr(times, "iowait", 0.0)) / 100 * logical
    loaded = polite > 25 or taken >= 0.5
    return max(1, usable_cores() - round(taken) - loaded)
