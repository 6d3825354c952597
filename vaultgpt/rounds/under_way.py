"""Which round is under way, whoever runs it: a small file beside its lock.

Knows nothing about what a round does. A file whose process has gone says nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from typing_extensions import TypedDict

from vaultgpt.children import lives
from vaultgpt.files import read_json, write_json
from vaultgpt.state import VaultState
from vaultgpt.wire import Hear, ProgressEvent

_EVERY_S = 2.0
_DOING = {
    "read": "reading the vault",
    "load": "loading the base",
    "evaluate": "measuring",
    "send": "sending to the other machine",
    "train": "learning",
    "fetch": "fetching from the other machine",
    "measure": "measuring",
    "write": "writing pages",
    "compare": "comparing",
}


class RoundProgress(TypedDict, total=False):
    """Where the round under way stands: what its trainer last told, and since when it runs."""

    kind: str | None
    pid: int
    started: float
    phase: str
    fraction: float
    step: int
    steps: int
    loss: float
    tokens_per_s: float


def _place(state: VaultState) -> Path:
    return state.folder / "round.json"


@contextlib.contextmanager
def noted(state: VaultState, now: float, hear: Hear) -> Iterator[Hear]:
    """Say that a round of this process is under way; what to tell its progress in place of `hear`.

    It is written at most every two seconds, and the file goes when the round ends."""
    told: RoundProgress = {"pid": os.getpid(), "started": now, "phase": "read", "fraction": 0.0}
    written = time.monotonic()

    def tell(event: ProgressEvent) -> None:
        nonlocal written
        more = {key: value for key, value in event.items() if key not in ("event", "text")}
        told.update(cast(RoundProgress, more))
        if time.monotonic() - written >= _EVERY_S:
            written = time.monotonic()
            _write(state, told)
        hear(event)

    _write(state, told)
    try:
        yield tell
    finally:
        with contextlib.suppress(OSError):
            _place(state).unlink(missing_ok=True)


def _write(state: VaultState, told: RoundProgress) -> None:
    with contextlib.suppress(OSError):  # a full disk: the round itself says so where it matters
        write_json(_place(state), told)


def under_way(state: VaultState) -> RoundProgress | None:
    """The round that some process runs now; None where none does."""
    try:
        found: RoundProgress = read_json(_place(state))
        return found if lives(int(found["pid"])) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def how_far(progress: RoundProgress | None) -> str:
    """`since 02:31, learning, 43 %`; "" where nothing is known."""
    if progress is None:
        return ""
    said = [doing(progress.get("phase", ""))]
    if (started := progress.get("started")) is not None:
        said.insert(0, f"since {time.strftime('%H:%M', time.localtime(started))}")
    return ", ".join([*said, f"{100 * (progress.get('fraction') or 0):.0f} %"])


def doing(phase: str) -> str:
    """What a long job does in one of its phases."""
    return _DOING.get(phase, "working")
