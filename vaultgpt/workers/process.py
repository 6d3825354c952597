"""What both workers share: how many threads they get, their stillness, being ended on request.

Knows nothing about what they are asked.
"""

from __future__ import annotations

from typing import Literal

import psutil

from vaultgpt.bases.estimate import usable_cores
from vaultgpt.errors import TrainingError

HALTED_S = 2.0  # a process that SIGSTOP holds for so long is ended


class Stillness:
    """Whether a process stands still, by one look after another."""

    def __init__(self) -> None:
        self._spent = -1.0

    def of(self, pid: int) -> Literal["halted", "asleep", "working", "gone"]:
        """Halted from outside, or asleep with nothing computed since the last look."""
        try:
            child = psutil.Process(pid)
            status, spent = child.status(), sum(child.cpu_times()[:2])
        except psutil.Error:
            return "gone"
        idle, self._spent = spent == self._spent, spent
        if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
            return "halted"
        return "asleep" if idle and status == psutil.STATUS_SLEEPING else "working"


class RoundStopped(TrainingError):
    """The round was ended on request; what it had learned waits in its checkpoint."""

    code = "stopped"
    http_status = 409


def idle_threads(sample_s: float = 0.1) -> int:
    """Threads for the mirror: the idle physical cores, one fewer under load. Blocks `sample_s`.

    More threads than idle cores cost 375 ms a token instead of 55 (measured on 2 cores). Work at
    low priority (our trainer) yields to us: it counts as load, not as taken cores."""
    times = psutil.cpu_times_percent(interval=sample_s)
    polite = float(getattr(times, "nice", 0.0))
    logical = psutil.cpu_count() or 1
    taken = max(0.0, 100.0 - times.idle - polite - getattr(times, "iowait", 0.0)) / 100 * logical
    loaded = polite > 25 or taken >= 0.5
    return max(1, usable_cores() - round(taken) - loaded)
