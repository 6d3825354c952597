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
from pathlib import Path
from typing import IO, Any

from vaultgpt.errors import TrainingError, VaultGPTError
from vaultgpt.wire import read_frame, write_frame

GRACE_S = 1.0  # between being told to stop and leaving whatever is under way
LOWEST = 19


class Channel:
    """Frames to the parent on a private copy of standard output; libraries print on the other."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Write one frame; leave the process when the parent has gone."""
        with self._lock:
            try:
                write_frame(self._stream, message)
            except OSError:
                os._exit(1)


def private_stdout() -> IO[bytes]:
    """A copy of standard output; descriptor 1 becomes standard error."""
    copy = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return copy


def watch(stream: IO[bytes], stop: threading.Event) -> None:
    """Wait for a stop frame or the end of the stream; then set `stop`, and leave after GRACE_S."""
    with contextlib.suppress(OSError, ValueError):
        while (message := read_frame(stream)) is not None and not message.get("stop"):
            pass
    stop.set()
    time.sleep(GRACE_S)
    os._exit(130)


def main() -> int:
    """Run the job named by the first frame; exit status 0, 1 for a failure, 130 when stopped."""
    began = time.monotonic()
    channel, source = Channel(private_stdout()), sys.stdin.buffer
    lower_priority()
    try:
        message = read_frame(source)
        job = Path(str(message["job"])) if message else None
    except (ValueError, KeyError):
        job = None
    if job is None:
        return 1
    stop = threading.Event()
    threading.Thread(target=watch, args=(source, stop), daemon=True).start()
    channel.send({"event": "progress", "phase": "load", "fraction": 0.0})
    return _run(job, channel, stop, began)


def _run(job: Path, channel: Channel, stop: threading.Event, began: float) -> int:
    from vaultgpt.training.loop import Stopped
    from vaultgpt.training.memory import is_out_of_memory
    from vaultgpt.training.trainer import run_job

    try:
        report = run_job(job, channel.send, stop, began)
    except Stopped:
        return 130
    except VaultGPTError as error:
        failure = error
    except Exception as error:
        # The process boundary: no traceback, and no text of the error, which may hold prose.
        if is_out_of_memory(error):
            failure = TrainingError("There is not enough memory for this round.",
                                    "Choose a smaller base, or close other programs.")
        else:
            failure = TrainingError(f"The round failed ({type(error).__name__}).",
                                    "Run `vaultgpt doctor`.")
    else:
        channel.send({"event": "done", "report": report.to_json()})
        return 0
    channel.send({"event": "error", "message": failure.message, "mend": failure.mend,
                  "code": failure.code})
    return 1


def lower_priority() -> None:
    """The lowest priority there is, unless the parent gave it already."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(max(0, LOWEST - os.nice(0)))


if __name__ == "__main__":
    # Not sys.exit: finalising aborts (SIGABRT) while the watching thread waits in standard input.
    os._exit(main())
