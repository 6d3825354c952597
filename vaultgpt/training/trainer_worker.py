"""The trainer process: one job from standard input, progress and one result on standard output.

Frames are wire.py's. Leaves within 2 s of a stop frame or of its parent's death. Knows nothing
about how a round is run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from vaultgpt.children import no_core, private_stdout
from vaultgpt.errors import TrainingError, VaultGPTError, expected, is_memory
from vaultgpt.training.round import TrainerOrder
from vaultgpt.wire import DoneAnswer, Hear, read_frame, write_frame

_GRACE_S = 1.0  # between being told to stop and leaving whatever is under way
_LOWEST = 19
_Answer = Mapping[str, object]
_Work = Callable[[TrainerOrder, Hear, threading.Event, float], _Answer]  # order, say, stop, began


class Channel:
    """Frames to the parent on a private copy of standard output; libraries print on the other."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def send(self, message: Mapping[str, object]) -> None:
        """Write one frame; leave the process when the parent has gone."""
        with self._lock:
            try:
                write_frame(self._stream, message)
            except OSError:
                os._exit(1)


def _watch(stream: IO[bytes], stop: threading.Event) -> None:
    """Wait for a stop frame or the end of the stream; then set `stop`, and leave after GRACE_S."""
    with contextlib.suppress(OSError, ValueError):
        while (message := read_frame(stream)) is not None and not message.get("stop"):
            pass
    stop.set()
    time.sleep(_GRACE_S)
    os._exit(130)


def main(work: _Work | None = None, what: str = "round") -> int:
    """Do `work` (a round) as the first frame orders: its "job", and "polite" unless it is false.

    The exit status: 0, 1 for a failure, 130 when stopped. `what` is named in failures."""
    began = time.monotonic()
    channel, source = Channel(private_stdout()), sys.stdin.buffer
    _yield_memory()
    no_core()
    if os.environ.get("RANK", "0") != "0":
        return _beside()
    try:
        order: TrainerOrder | None = read_frame(source)
    except ValueError:
        order = None
    if order is None or "job" not in order:
        return 1
    if order.get("polite", True):
        _lower_priority()
    stop = threading.Event()
    threading.Thread(target=_watch, args=(source, stop), daemon=True).start()
    channel.send({"event": "progress", "phase": "load", "fraction": 0.0})
    return _answer(lambda: (work or _round)(order, channel.send, stop, began), channel, what)


def _round(order: TrainerOrder, say: Hear, stop: threading.Event, began: float) -> _Answer:
    """A round whole, or the part of it that the order names."""
    from vaultgpt.training import distributed, learning, trainer

    job, part, key = Path(order["job"]), order.get("part"), order.get("key", "")
    machine = order.get("machine")
    began -= order.get("spent_s", 0.0)
    if part in ("pack", "finish"):
        halved = trainer.Trainer(job, say, stop, began, distributed.ALONE, machine)
        if part == "finish":
            return halved.finish(key).to_json()
        halved.pack(key)
        return {}
    others = distributed.Together.join()
    if part == "sealed":
        learning.learn_sealed(job, Path(order["base"]), key, say, stop, others)
        return {}
    return trainer.run_job(job, say, stop, began, others, machine).to_json()


def _beside() -> int:
    """One of several processes of a round that is not the first: it follows that."""
    from vaultgpt.training import distributed, learning

    _lower_priority()
    learning.follow(distributed.Together.join())
    return 0


def _answer(work: Callable[[], _Answer], channel: Channel, what: str) -> int:
    from vaultgpt.training.loop import Stopped

    try:
        report = work()
    except Stopped:
        return 130
    except VaultGPTError as error:
        failure = error
    except Exception as error:
        # The process boundary: no traceback, and no text of the error, which may hold prose.
        if is_memory(error):
            failure = TrainingError(
                f"There is not enough memory for this {what}.",
                "Choose a smaller base, or close other programs.",
            )
        elif (known := expected(error)) is not None:  # a full disk, as a checkpoint is written
            failure = known
        else:
            failure = TrainingError(
                f"The {what} failed ({type(error).__name__}).", "Run `vaultgpt doctor`."
            )
    else:
        done: DoneAnswer = {"event": "done", "report": report}
        channel.send(done)
        return 0
    channel.send(failure.answer())
    return 1


def _lower_priority() -> None:
    """The lowest priority there is, unless the parent gave it already."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(max(0, _LOWEST - os.nice(0)))


def _yield_memory() -> None:
    """The first to go when memory runs out."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


if __name__ == "__main__":
    # Not sys.exit: finalising aborts (SIGABRT) while the watching thread waits in standard input.
    os._exit(main())
