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
from typing import IO

from vaultgpt import __version__
from vaultgpt.bases.names import base_of_generation
from vaultgpt.errors import BaseModelError, Conflict, VaultGPTError
from vaultgpt.files import appending, locked, make_private_dir
from vaultgpt.settings import Training
from vaultgpt.state import state_root
from vaultgpt.training.round import LEARNED, LESSON
from vaultgpt.training.sealing import require_sealing
from vaultgpt.wire import Frame, read_frame, write_frame
from vaultgpt.workers.jobs import run_trainer

_LOCK = "lock"
_ID = re.compile(r"[0-9a-f]{32}")
_KEPT_S = 86_400.0  # of what nobody came back for
_BUSY = Conflict("That machine still ends an earlier connection.", "Try again in a minute.")


def lend(source: IO[bytes], out: IO[bytes]) -> None:
    """Do what the frames ask until the line ends.

    Then what was half sent stays, sealed, for the next line; what was being learned is erased.
    """
    _sweep(time.time())
    write_frame(out, {"event": "hello", "version": __version__})
    asked = _FrameQueue(source)
    first = asked.next()
    name = str(first.get("id")) if first else ""
    if first is None or not _ID.fullmatch(name):
        return
    folder = make_private_dir(_root() / name)
    try:
        with locked(folder / _LOCK, _BUSY):
            _Lent(folder, asked, out).answer(first)
    except VaultGPTError as error:
        _say(out, _as_frame(error))
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


def _say(out: IO[bytes], frame: Frame) -> None:
    with contextlib.suppress(OSError):
        write_frame(out, frame)


def _as_frame(error: VaultGPTError) -> Frame:
    fields = {"message": error.message, "mend": error.mend, "code": error.code}
    return {"event": "error", **fields, "status": error.http_status}


class _FrameQueue:
    """Frames as they come, and `gone` once the line has ended."""

    def __init__(self, source: IO[bytes]) -> None:
        self.gone = threading.Event()
        self._frames: queue.Queue[Frame | None] = queue.Queue()
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def _read(self, source: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (frame := read_frame(source)) is not None:
                self._frames.put(frame)
        self.gone.set()
        self._frames.put(None)

    def next(self) -> Frame | None:
        """None at the end."""
        return self._frames.get()


class _Lent:
    """One line, about one round."""

    def __init__(self, folder: Path, asked: _FrameQueue, out: IO[bytes]) -> None:
        self.folder, self.asked, self.out = folder, asked, out
        self.lesson, self.learned = folder / LESSON, folder / LEARNED
        self.base = Path()

    def answer(self, first: Frame) -> None:
        frame: Frame | None = first
        while frame is not None:
            answer = {
                "open": self._open,
                "put": self._put,
                "learn": self._learn,
                "get": self._get,
                "wipe": self._wipe,
            }[str(frame["op"])](frame)
            write_frame(self.out, answer)
            frame = self.asked.next()

    def _open(self, frame: Frame) -> Frame:
        """What lies here of it; BaseModelError where its base does not."""
        require_sealing()
        try:
            self.base = base_of_generation(None, frame["base"]).folder
        except BaseModelError:
            name = frame["base"]["base"]
            raise BaseModelError(
                f"That machine does not have this vault's base, {name}, with these very files.",
                f"Fetch it there with `vaultgpt base {name}`.",
            ) from None
        return {"event": "here", "lesson": _size(self.lesson), "learned": _size(self.learned)}

    def _put(self, frame: Frame) -> Frame:
        if int(frame["at"]) == _size(self.lesson):
            with appending(self.lesson) as stream:
                stream.write(str(frame["data"]).encode("ascii"))
        return {"event": "here", "lesson": _size(self.lesson)}

    def _learn(self, frame: Frame) -> Frame:
        """In a process of its own; the line's end stops it, and nothing is left then."""
        order = {"part": "sealed", "key": frame["key"], "base": str(self.base)}
        try:
            run_trainer(
                self.folder,
                lambda event: _say(self.out, dict(event)),
                self.asked.gone,
                settings=Training(processes=int(frame["processes"])),
                polite=lambda: False,  # as what ssh starts: `--program "nice vaultgpt"` lowers it
                order=order,
            )
        except BaseException:
            _erase(self.folder)
            raise
        self.lesson.unlink()
        return {"event": "here", "learned": _size(self.learned)}

    def _get(self, frame: Frame) -> Frame:
        with open(self.learned, "rb") as stream:
            stream.seek(int(frame["at"]))
            return {"event": "data", "data": stream.read(int(frame["most"])).decode("ascii")}

    def _wipe(self, frame: Frame) -> Frame:
        _erase(self.folder)
        return {"event": "wiped"}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
