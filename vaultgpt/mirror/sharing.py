"""One process that writes for several vaults: a session for each, and they take turns.

It listens on a socket that `serve --all` opened and leaves with the last session; a session is a
Worker that sees nothing of the others. Knows nothing about vaults. POSIX alone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import IO, TYPE_CHECKING, cast

from vaultgpt.children import leave_with_parent, no_core, own_code, trim_heap
from vaultgpt.mirror.mirror_worker import Inbox, Taken, Worker
from vaultgpt.settings import Mirror
from vaultgpt.wire import write_frame

if TYPE_CHECKING:
    from vaultgpt.mirror.engine import Engine
    from vaultgpt.mirror.families import Commons

_SLICE_S = 0.03  # a session that others wait for goes on so long: several tokens, or one step
_READER_S = 1.0  # until a session's reader has seen that its socket is closed
_SWITCH_S = 0.0005  # a vocabulary being read hands the interpreter to who writes; Python's is 5 ms
_TURNS = ("generate", "warm")  # all else stands beside the turns: a swap holds nobody up
_REGROUP = Taken({"op": "regroup"}, 0.0)  # from ourselves: one more came to the same base


class _Turn:
    """Who may compute. First come, first served: who gives way waits behind all who wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._owner: int | None = None  # the thread whose turn it is
        self._since = 0.0

    def take(self) -> None:
        """Wait for it."""
        with self._lock:
            if self._owner is None:
                self._begin(threading.get_ident())
                return
            called = threading.Lock()
            called.acquire()
            self._waiting.append((threading.get_ident(), called))
        called.acquire()

    def leave(self) -> None:
        """Hand it to who has waited longest."""
        with self._lock:
            if not self._waiting:
                self._owner = None
                return
            thread, called = self._waiting.popleft()
            self._begin(thread)
        called.release()

    def give_way(self) -> None:
        """Let those who wait have their turns, once one's own has lasted _SLICE_S."""
        if self._mine and self._waiting and perf_counter() - self._since >= _SLICE_S:
            self.leave()
            self.take()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What is done inside holds nobody up."""
        mine = self._mine
        if mine:
            self.leave()
        try:
            yield
        finally:
            if mine:
                self.take()

    def _begin(self, thread: int) -> None:
        self._owner, self._since = thread, perf_counter()

    @property
    def _mine(self) -> bool:
        return self._owner == threading.get_ident()


class _Pen:
    """Held while a frame is written. Who waits for it holds nobody up: the one that has it may wait
    for a vault that does not read."""

    def __init__(self, turn: _Turn) -> None:
        self._lock, self._turn = threading.Lock(), turn

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            with self._turn.aside():
                self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _SessionOutput:
    """The sending end of a session, as write_frame wants it: a vault that does not read waits
    alone."""

    def __init__(self, connection: socket.socket, turn: _Turn) -> None:
        self._connection, self._turn = connection, turn

    def write(self, data: bytes) -> None:
        """BrokenPipeError when the reader has gone."""
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[self._connection.send(left, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    with self._turn.aside():
                        select.select([], [self._connection], [])
        except (OSError, ValueError):
            raise BrokenPipeError from None

    def flush(self) -> None:
        """Nothing is held back."""


class _YieldingInbox(Inbox):
    """Asked at every token and every chunk of a prompt whether to go on, it lets others in."""

    def __init__(self, stream: IO[bytes], turn: _Turn) -> None:
        super().__init__(stream, lambda: None)
        self._turn = turn

    def is_cancelled(self, request: object) -> bool:
        self._turn.give_way()
        return super().is_cancelled(request)


class _Session(Worker):
    """One vault's worker; its engine, its guard and its cache are its own."""

    def __init__(
        self,
        connection: socket.socket,
        turn: _Turn,
        share: Callable[[], float],
        commons: Callable[[], Commons],
        count_threads: Callable[[int], int],
    ) -> None:
        """`share` is its part of the memory for prompts, `commons` what is read once for all;
        `count_threads` tells how many threads it has in place of what it wants."""
        self._turn, self._connection = turn, connection
        self._share, self._commons, self._count_threads = share, commons, count_threads
        inbox = _YieldingInbox(cast("IO[bytes]", connection.makefile("rb")), turn)
        super().__init__(inbox, cast("IO[bytes]", _SessionOutput(connection, turn)), _Pen(turn))

    def serve(self) -> None:
        """Until the vault's daemon leaves."""
        reader = threading.Thread(target=self.inbox.read, name="reader", daemon=True)
        try:
            write_frame(
                self.out, {"event": "hello", "pid": os.getpid(), "version": own_code().version}
            )
            reader.start()
            self.run()
        except BrokenPipeError:
            pass
        finally:
            self.inbox.done.set()
            self.engine = self.index = None
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            if reader.ident is not None:
                reader.join(_READER_S)  # it holds on to what is to be let go of
            self._connection.close()

    def _answer(self, taken: Taken) -> None:
        if taken is _REGROUP:
            with contextlib.suppress(
                Exception
            ):  # nobody asked: the next request meets it and tells
                cast("Engine", self.engine).regroup()
            return
        if taken.order.get("op") not in _TURNS:
            super()._answer(taken)
            return
        self._turn.take()
        try:
            super()._answer(taken)
        finally:
            self._turn.leave()

    def _own(self, settings: Mirror) -> Engine:
        # Torch gives a new thread the count that was set last, be it by who packs a layer.
        self._threads = self._count_threads(self._threads)
        engine = super()._own(settings)
        engine.aside, engine.prefixes.share = self._turn.aside, self._share
        engine.commons = self._commons()
        line = self.inbox.queue
        engine.company = lambda: line.put(_REGROUP)
        return engine


class _Sessions:
    """All that there are; together they keep as many prompts as one alone."""

    def __init__(self) -> None:
        self._turn, self._open = _Turn(), 0  # counted by the main thread alone
        self._lock = threading.Lock()
        self._common: list[Commons] = []
        self._threads: int | None = None  # of each session; 0: torch's own
        self._left, self._leave = os.pipe()

    def serve(self, listener: socket.socket) -> None:
        """Take up whoever comes, until the last one has left."""
        while True:
            ready, _, _ = select.select([listener.fileno(), self._left], [], [])
            if listener.fileno() in ready:
                self._begin(listener.accept()[0])
                continue
            self._open -= len(os.read(self._left, 64))
            if not self._open:
                return

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        self._open += 1
        run = threading.Thread(target=self._run, args=(connection,), name="session", daemon=True)
        run.start()

    def _count_threads(self, wanted: int) -> int:
        """As many as the first that opened wanted, or who is alone: to the others its work makes
        cores look taken."""
        with self._lock:
            if self._threads is None or self._open < 2:
                self._threads = wanted
            return self._threads

    def _share(self) -> float:
        return 1 / max(1, self._open)

    def _commons(self) -> Commons:
        """Made by the first that opens: it imports torch, and hello was said before that."""
        from vaultgpt.mirror.families import Commons

        with self._lock:
            self._common = self._common or [Commons()]
            return self._common[0]

    def _run(self, connection: socket.socket) -> None:
        try:
            mine = self._share, self._commons, self._count_threads
            _Session(connection, self._turn, *mine).serve()
            gc.collect()  # what it held goes to the system, not to the process for later
            trim_heap()
        finally:
            os.write(self._leave, b".")


def main() -> None:
    """Serve who connects to the listening socket whose descriptor is the argument."""
    no_core()
    sys.setswitchinterval(_SWITCH_S)
    own_code()  # as it is now, whatever an upgrade puts in its place
    listener = socket.socket(fileno=int(sys.argv[1]))
    leave_with_parent(0)
    _Sessions().serve(listener)
    os._exit(0)


if __name__ == "__main__":
    main()
