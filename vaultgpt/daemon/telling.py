"""What the daemon says of itself while it runs: on its terminal in sentences, in its log in words.

The log: what happened and to which id, an exception by its class alone; no prose, no title, no
sentence of the gate's, which may name a tag; foreign messages are not written down. Knows nothing
about how rounds are run.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vaultgpt.files import PRIVATE_FILE, make_private_dir
from vaultgpt.server.events import Broker, Event

if TYPE_CHECKING:  # who serves all vaults runs no round
    from vaultgpt.rounds.outcome import RoundAnswer
    from vaultgpt.rounds.under_way import RoundProgress

_MAX_BYTES = 1 << 20
_BACKUPS = 3
_MOST_A_MINUTE = 20  # of one message
log = logging.getLogger("vaultgpt.daemon")


@dataclass(frozen=True)
class _WholeEvent(Event):
    """Tells one record as it is."""

    told: Mapping[str, object]

    @property
    def data(self) -> Mapping[str, object]:
        return self.told


@dataclass(frozen=True)
class ScanEvent(Event):
    """The vault was read: notes that changed, and notes that went."""

    name = "scan"
    read: int
    gone: int


@dataclass(frozen=True)
class StartEvent(Event):
    """A round starts."""

    name = "started"
    why: str


@dataclass(frozen=True)
class SayEvent(Event):
    """A sentence of the round under way."""

    name = "say"
    text: str


@dataclass(frozen=True)
class StepEvent(_WholeEvent):
    """How far the round under way is."""

    name = "progress"
    told: RoundProgress


@dataclass(frozen=True)
class VerdictEvent(_WholeEvent):
    """A round ended."""

    name = "verdict"
    told: RoundAnswer


@dataclass(frozen=True)
class FailureEvent(Event):
    """A round failed, or waits for another one."""

    name = "error"
    message: str
    code: str


@dataclass(frozen=True)
class SwapEvent(Event):
    """Another generation writes; None: the base alone."""

    name = "swap"
    active: str | None


class _PrivateFile(RotatingFileHandler):
    """A rotating file that only its owner reads."""

    def _open(self) -> IO[str]:  # type: ignore[override]
        fd = os.open(self.baseFilename, os.O_APPEND | os.O_CREAT | os.O_WRONLY, PRIVATE_FILE)
        return os.fdopen(fd, "a", encoding="utf-8")


class _NamesOnly(logging.Formatter):
    """Our own messages as they are; of other libraries' only logger, level and exception class."""

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.split(".")[0] == "vaultgpt"
        kind = record.exc_info[0] if record.exc_info else None
        text = record.getMessage() if ours else ""
        head = f"{self.formatTime(record)} {record.levelname} {record.name}"
        return " ".join(filter(None, [head, text, kind.__name__ if kind else ""]))


class _Seldom(logging.Filter):
    """The same message of the same logger at most so often a minute: who sends rubbish to the port
    does not fill the disk. A client that left while it was answered is no error: the hotkey's Esc
    is one."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], ConnectionError):
            return False
        key = (record.name, record.levelno, str(record.msg)[:80])
        began, count = self._seen.get(key, (0.0, 0))
        if not 0 <= record.created - began < 60.0:
            began, count = record.created, 0
            if len(self._seen) > 1000:
                self._seen.clear()
        self._seen[key] = (began, count + 1)
        return count < _MOST_A_MINUTE


def start_log(folder: Path, name: str = "daemon.log") -> logging.Handler:
    """Write to a file in `folder`, and what others log too, without its words."""
    make_private_dir(folder)
    handler = _PrivateFile(
        folder / name, maxBytes=_MAX_BYTES, backupCount=_BACKUPS, encoding="utf-8", delay=True
    )
    handler.setFormatter(_NamesOnly())
    handler.addFilter(_Seldom())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("vaultgpt").setLevel(logging.INFO)
    return handler


def stop_log(handler: logging.Handler) -> None:
    """Close what start_log opened."""
    logging.getLogger().removeHandler(handler)
    handler.close()


async def tell(broker: Broker, say: Callable[[str], None], whose: str = "") -> None:
    """Say, of `whose` vault, and log what is published, until cancelled or the broker closes."""
    with broker.subscribe() as listener:
        async for event in listener.events(heartbeat_s=None):
            if event is not None and (said := _sentences(event)) is not None:
                logged, line = said
                log.info(logged)
                say(f"{time.strftime('%H:%M')} {whose}{line}")


def _sentences(event: Event) -> tuple[str, str] | None:
    """(for the log, for the terminal); None for what is not worth a line."""
    match event:
        case StartEvent(why):
            return "round started", f"A round starts. {why}"
        case VerdictEvent(answer):
            return _verdict(answer)
        case FailureEvent(message, code):
            said = "waits for another one" if code == "conflict" else "failed"
            return f"round {said}", f"The round {said}: {message}"
        case SwapEvent(active):
            who = active or "the base alone"
            return f"swapped to {who}", f"From now on {who} writes."
    return None


def _verdict(answer: RoundAnswer) -> tuple[str, str]:
    why, generation = answer["verdict"]["why"], answer["generation"]
    if answer["kind"] == "none":
        return "round had nothing to learn", f"Nothing was learned: {why}"
    if answer["verdict"]["promoted"]:
        return f"round learned {generation}", f"Learned {generation}: {why}"
    return "round refused", f"The old voice stays: {why}"
