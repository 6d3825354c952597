"""Learning for another machine: what `vaultgpt train --on` speaks to at the other end of its ssh.

Frames on standard input and output. What it is given lies sealed in a private folder; the key is
held in memory and given to the trainer through a pipe. Knows nothing about notes.
"""

from __future__ import annotations

import contextlib
import queue
import re
import shutil
import threading
import time
from pathlib import Path
from typing import IO, Literal, Required

from typing_extensions import TypedDict

from vaultgpt import __version__
from vaultgpt.bases.names import NamedBase, base_of_generation
from vaultgpt.errors import BaseModelError, Conflict, ErrorAnswer, VaultGPTError
from vaultgpt.files import appending, locked, make_private_dir
from vaultgpt.settings import Training
from vaultgpt.state import state_root
from vaultgpt.training.round import LEARNED, LESSON, RoundPart
from vaultgpt.training.sealing import require_sealing
from vaultgpt.wire import ProgressEvent, read_frame, write_frame
from vaultgpt.workers.jobs import run_trainer

_LOCK = "lock"
_ID = re.compile(r"[0-9a-f]{32}")
_KEPT_S = 86_400.0  # of what nobody came back for
_BUSY = Conflict("That machine still ends an earlier connection.", "Try again in a minute.")


class LendOrder(TypedDict, total=False):
    """To a machine that learns for another: open a round's folder, take or give a part of a sealed
    file, learn, erase it all."""

    op: Required[Literal["open", "put", "learn", "get", "wipe"]]
    id: str
    base: NamedBase  # of a round to be opened
    at: int  # where the part begins
    data: str  # of a part to be put
    most: int  # characters of a part to be given
    key: str  # of a lesson to be learned
    processes: int


class LendAnswer(TypedDict, total=False):
    """From it: there, how much of the sealed files lies here, a part of one, gone."""

    event: Required[Literal["hello", "here", "data", "wiped"]]
    version: str
    lesson: int  # characters
    learned: int
    data: str


def lend(source: IO[bytes], out: IO[bytes]) -> None:
    """Do what the frames ask until the line ends.

    Then what was half sent stays, sealed, for the next line; what was being learned is erased."""
    _sweep(time.time())
    hello: LendAnswer = {"event": "hello", "version": __version__}
    write_frame(out, hello)
    asked = _Orders(source)
    first = asked.next()
    name = first.get("id", "") if first else ""
    if first is None or not _ID.fullmatch(name):
        return
    folder = make_private_dir(_root() / name, parents=True)
    try:
        with locked(folder / _LOCK, _BUSY):
            _Lent(folder, asked, out).answer(first)
    except VaultGPTError as error:
        _say(out, error.answer())
    except OSError:
        pass  # the line is gone
    finally:
        if not any(file.name != _LOCK for file in folder.glob("*")):
            _erase(folder)


def _root() -> Path:
    return state_root() / "lent"


def _erase(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # another round's lies there
        _root().rmdir()


def _sweep(now: float) -> None:
    for folder in _root().glob("*"):
        with contextlib.suppress(OSError):
            newest = max(p.stat().st_mtime for p in (folder, *folder.iterdir()))
            if now - newest > _KEPT_S:
                _erase(folder)


def _say(out: IO[bytes], answer: ErrorAnswer | ProgressEvent) -> None:
    with contextlib.suppress(OSError):
        write_frame(out, answer)


class _Orders:
    """Orders as they come, and `gone` once the line has ended."""

    def __init__(self, source: IO[bytes]) -> None:
        self.gone = threading.Event()
        self._frames: queue.Queue[LendOrder | None] = queue.Queue()
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def _read(self, source: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (frame := read_frame(source)) is not None:
                self._frames.put(frame)
        self.gone.set()
        self._frames.put(None)

    def next(self) -> LendOrder | None:
        """None at the end."""
        return self._frames.get()


class _Lent:
    """One line, about one round."""

    def __init__(self, folder: Path, asked: _Orders, out: IO[bytes]) -> None:
        self.folder, self.asked, self.out = folder, asked, out
        self.lesson, self.learned = folder / LESSON, folder / LEARNED
        self.base = Path()

    def answer(self, first: LendOrder) -> None:
        order: LendOrder | None = first
        while order is not None:
            answer = {
                "open": self._open,
                "put": self._put,
                "learn": self._learn,
                "get": self._get,
                "wipe": self._wipe,
            }[order["op"]](order)
            write_frame(self.out, answer)
            order = self.asked.next()

    def _open(self, order: LendOrder) -> LendAnswer:
        """What lies here of it; BaseModelError where its base does not."""
        require_sealing()
        try:
            self.base = base_of_generation(None, order["base"]).folder
        except BaseModelError:
            name = order["base"]["base"]
            raise BaseModelError(
                f"That machine does not have this vault's base, {name}, with these very files.",
                f"Fetch it there with `vaultgpt base {name}`.",
            ) from None
        return {"event": "here", "lesson": _size(self.lesson), "learned": _size(self.learned)}

    def _put(self, order: LendOrder) -> LendAnswer:
        if order["at"] == _size(self.lesson):
            with appending(self.lesson) as stream:
                stream.write(order["data"].encode("ascii"))
        return {"event": "here", "lesson": _size(self.lesson)}

    def _learn(self, order: LendOrder) -> LendAnswer:
        """In a process of its own; the line's end stops it, and nothing is left then."""
        part: RoundPart = {"part": "sealed", "key": order["key"], "base": str(self.base)}
        try:
            run_trainer(
                self.folder,
                lambda event: _say(self.out, event),
                self.asked.gone,
                settings=Training(processes=order["processes"]),
                polite=lambda: False,  # as what ssh starts: `--program "nice vaultgpt"` lowers it
                part=part,
            )
        except BaseException:
            _erase(self.folder)
            raise
        self.lesson.unlink()
        return {"event": "here", "learned": _size(self.learned)}

    def _get(self, order: LendOrder) -> LendAnswer:
        with open(self.learned, "rb") as stream:
            stream.seek(order["at"])
            return {"event": "data", "data": stream.read(order["most"]).decode("ascii")}

    def _wipe(self, order: LendOrder) -> LendAnswer:
        _erase(self.folder)
        return {"event": "wiped"}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
