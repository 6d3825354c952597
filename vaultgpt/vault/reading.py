"""Notes read in a process of their own, which is ended when one takes too long.

Each note has a budget of time by its length; one that exceeds it, or kills its reader, is
unreadable by itself and the next are read on. Knows nothing about folders or rules.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any

from vaultgpt import children
from vaultgpt.errors import VaultError
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import CRASHED, TOO_LONG, Note, unreadable

_BUDGET_S = 3.0  # a note of 100 kB takes 10 ms
_BUDGET_S_MB = 3.0  # more for each megabyte
_PATIENCE = 20  # such budgets may pass while the machine leaves the reader no time
_START_S = 60.0
_AT_ONCE, _AT_ONCE_BYTES = 32, 128 << 10  # notes in one message, which share the first's budget
_IN_FLIGHT = 4  # messages
_HEAD = struct.Struct(">I")
_Asked = tuple[str, bytes | str]  # a note's path and its bytes, or an editor's text


class _ReaderProcess:
    """The process, and a thread that takes what it says."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=children.environment(),
            **children.spawn_options(),
        )
        self.said: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._listen, name="note-reader", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            if self.next(_START_S) == "ready":
                return
        self.end()  # left alone, one more would hang beside it at each attempt
        raise VaultError(
            "The process that reads the notes does not start.", "`vaultgpt doctor` says more."
        )

    def _listen(self) -> None:
        stream = self.process.stdout
        with contextlib.suppress(OSError, ValueError, EOFError, pickle.PickleError):
            while stream is not None and (message := _take(stream)) is not None:
                self.said.put(message)
        self.said.put(None)

    def next(self, seconds: float) -> Any:
        """What it says next; None when it has ended. TimeoutError."""
        try:
            return self.said.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise TimeoutError from None

    def ask(self, message: object) -> None:
        """Send something to be read; nothing happens where it has ended."""
        with contextlib.suppress(OSError, ValueError):
            assert self.process.stdin is not None
            _put(self.process.stdin, message)

    def seconds(self) -> float:
        """Time of a processor that it has had so far."""
        import psutil  # 20 ms, and only needed where something is wrong

        try:
            return float(psutil.Process(self.process.pid).cpu_times().user)
        except psutil.Error:
            return 0.0

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()


class _NoteReader:
    """Reads notes in a child that is started when first needed and kept."""

    def __init__(self, budget_s: float = _BUDGET_S, command: Sequence[str] = ()) -> None:
        self.budget_s = budget_s
        self._command = command or children.command("vaultgpt.vault.reading")
        self._child: _ReaderProcess | None = None
        self._lock = threading.Lock()

    def read(self, daily: DailyFormat, notes: Sequence[_Asked]) -> list[Note]:
        """Read (path, bytes, or an editor's text) in order. VaultError when no child starts."""
        with self._lock:
            out: list[Note] = []
            waiting = deque(_together(notes))
            while waiting:
                why = self._run(daily, waiting, out)
                if not why:
                    continue
                failed = waiting.popleft()
                if len(failed) == 1:
                    out.append(unreadable(failed[0][0], why))
                else:  # which of them it was is found by reading each alone
                    waiting.extendleft([one] for one in reversed(failed))
            return out

    def close(self) -> None:
        """End the child; the next note starts another."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None

    def _run(self, daily: DailyFormat, waiting: deque[Sequence[_Asked]], out: list[Note]) -> str:
        """Have all that waits read into `out`; why the first that is left could not be, or ""."""
        child = self._child = self._child or _ReaderProcess(self._command)
        child.ask(daily)
        sent = 0
        while waiting:
            while sent < min(len(waiting), _IN_FLIGHT):
                child.ask(waiting[sent])
                sent += 1
            size = sum(len(data) for _, data in waiting[0])
            try:
                notes = self._await(child, self.budget_s + _BUDGET_S_MB * size / (1 << 20))
            except TimeoutError:
                self._end()
                return TOO_LONG
            if notes is None:
                self._end()
                return CRASHED
            out += notes
            waiting.popleft()
            sent -= 1
        return ""

    def _await(self, child: _ReaderProcess, budget_s: float) -> Any:
        """The next note. TimeoutError when the budget is spent; a busy machine spends none of it.

        VaultError when the child gets no time at all."""
        spent = None
        for _ in range(_PATIENCE):
            try:
                return child.next(budget_s)
            except TimeoutError:
                spent = child.seconds() if spent is None else spent
                if child.seconds() - spent >= budget_s / 2:
                    raise
        self._end()
        raise VaultError("The process that reads the notes does not answer.", "It is started anew.")


def _together(notes: Sequence[_Asked]) -> Iterator[Sequence[_Asked]]:
    """Notes in the messages that they are sent in."""
    begin = size = 0
    for n, (_, data) in enumerate(notes):
        if n > begin and (n - begin == _AT_ONCE or size + len(data) > _AT_ONCE_BYTES):
            yield notes[begin:n]
            begin, size = n, 0
        size += len(data)
    if notes:
        yield notes[begin:]


READER = _NoteReader()  # of this process
EDITOR_READER = _NoteReader(budget_s=1.0)  # beside it: a hotkey waits for no scan
atexit.register(READER.close)
atexit.register(EDITOR_READER.close)


def _put(stream: IO[bytes], message: object) -> None:
    data = pickle.dumps(message, protocol=5)
    stream.write(_HEAD.pack(len(data)))
    stream.write(data)
    stream.flush()


def _take(stream: IO[bytes]) -> Any:
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    return pickle.loads(stream.read(*_HEAD.unpack(head)))


def _leave_with(parent: int, busy: threading.Event) -> None:
    """End the process soon after its parent's death in the midst of a note; while it waits for one,
    the end of its input does that, and nobody wakes."""
    while busy.wait() and os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def main() -> None:
    """The child: a format of daily notes or some notes in, these as they were read out."""
    children.no_core()
    busy = threading.Event()
    if os.name == "posix":  # elsewhere a closed pipe alone tells it
        threading.Thread(target=_leave_with, args=(os.getppid(), busy), daemon=True).start()
    importlib.import_module("vaultgpt.vault.note")  # 50 ms, which the parent need not have
    gc.freeze()  # what is imported is looked through for cycles no more: a tenth of its time
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    daily = DailyFormat()
    _put(sink, "ready")
    while (message := _take(source)) is not None:
        if isinstance(message, DailyFormat):
            daily = message
            continue
        busy.set()
        read = [_read(path, data, daily) for path, data in message]
        busy.clear()
        _put(sink, read)


def _read(path: str, data: bytes | str, daily: DailyFormat) -> Note:
    from vaultgpt.vault.note import read_note, read_text

    if isinstance(data, str):
        return read_text(path, data, daily)
    note = read_note(path, data, daily)
    _ = note.words  # counted here, and sent along
    return note


if __name__ == "__main__":
    main()
