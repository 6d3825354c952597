"""One night of a long round, here or in a process of its own, with a trainer that learns for real.

`LONG_S` is 0 here, so that every full round after the first voice is one of many nights. Knows
nothing about pytest.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

from typing_extensions import TypedDict

from tests.ledger.vaults import NOW
from vaultgpt.errors import expected
from vaultgpt.rounds import run
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.settings import load_settings
from vaultgpt.state import VaultState
from vaultgpt.training import plan
from vaultgpt.wire import ProgressEvent
from vaultgpt.workers.jobs import run_trainer

# The trainer: a checkpoint at each step, and a fault at the chosen one of them, or none.
_TRAINER = """
import errno, os, signal
import vaultgpt.training.checkpoint as checkpoint
import vaultgpt.training.loop as loop
import vaultgpt.training.trainer_worker as worker
loop.CHECKPOINT_S = loop.CHECKPOINT_SHARE = 0.0
at, fault = int(os.environ.get("NIGHT_AT", "0")), os.environ.get("NIGHT_FAULT", "")
real, sync, count = checkpoint.write_atomic, os.fsync, 0
def failing(_):
    if fault == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    os.kill(os.getpid(), signal.SIGKILL)
def write(path, data, *more):
    global count
    count += 1
    os.fsync = failing if count == at else sync
    return real(path, data, *more)
checkpoint.write_atomic = write
os._exit(worker.main())
"""


class Told(TypedDict, total=False):
    """What a night told."""

    steps: list[int]
    said: list[str]
    answer: RoundAnswer
    error: str


def night(
    state: VaultState,
    until: int | None = None,
    now: float = NOW,
    fresh: bool = False,
    at: int = 0,
    do: Callable[[], None] = lambda: None,
) -> Told:
    """A round that is stopped at its step `until`, or comes to its end; `do` what is to befall it
    once it has told of `at` steps."""
    stop, told = threading.Event(), Told(steps=[], said=[])

    def hear(event: ProgressEvent) -> None:
        if event["event"] == "say":
            told["said"].append(event["text"])
        elif event["phase"] == "train":
            told["steps"].append(event["step"])
            print(f"step {event['step']}", flush=True)
            if len(told["steps"]) == at:
                do()
            if until is not None and event["step"] >= until:
                stop.set()

    try:
        with mock.patch.object(run, "LONG_S", 0.0), mock.patch.object(plan, "LONG_S", 0.0):
            told["answer"] = run.run_round(
                state,
                load_settings(state.config),
                manual=True,
                fresh=fresh,
                on_progress=hear,
                stop=stop,
                now=lambda: now,
                trainer=partial(
                    run_trainer, program=[sys.executable, "-c", _TRAINER], polite=lambda: False
                ),
            )
    except Exception as error:
        told["error"] = str(expected(error) or f"not told in words: {type(error).__name__}")
    return told


if __name__ == "__main__":
    vault, folder = map(Path, sys.argv[1:3])
    night(VaultState(vault, folder))
