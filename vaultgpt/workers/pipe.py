"""Framed JSON to and from a mirror's process, on an event loop: requests by number, in their order.

The process is a child of ours, or the engine that the vaults of `serve --all` share. Knows nothing
about what the frames mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

from vaultgpt.children import environment, exit_meaning, own_code, spawn_options
from vaultgpt.errors import Unavailable, WorkerDied
from vaultgpt.wire import MirrorAnswer, MirrorOrder, WriteOrder, frame_of, receive
from vaultgpt.workers.process import HALTED_S, Stillness

_LOOK_S, _MUTE_S = 1.0, 5.0  # how often we look after one that owes an answer; longest silence
_STOP_S = 1.0  # the worker's time to leave by itself
_PATIENCE_S = 5.0  # that work gives way for; then it takes one turn among the others
_HELLO_S = 20.0  # until a shared engine that has to be started says that it is there
_AT_ONCE = 2  # deaths in a row after which the next one waits: 2, 4, 8 ... seconds
_MOST_WAIT_S = 300.0
_SHOWN_S = 600.0  # how long a death is told of
_R = TypeVar("_R")


class AskAgain(WorkerDied):
    """The process ended for a reason that need not lie in the request."""


class OtherVersion(WorkerDied):
    """An engine that another version of us started: its frames may mean something else."""


class WorkerPipe(ABC):
    """A running process. Answers without a number go to None."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int
    ) -> None:
        self.pid = pid
        self._reader, self._writer = reader, writer
        self._answers: dict[int | None, asyncio.Queue[MirrorAnswer | None]] = {
            None: asyncio.Queue()
        }
        self._died = ""
        self._heard, self._answers_pings, self._still = time.monotonic(), False, Stillness()
        self._tasks = [asyncio.create_task(self._read())]

    @staticmethod
    async def spawn(program: Sequence[str]) -> WorkerPipe:
        """Start `program`. WorkerDied when the system refuses."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *program, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(), **spawn_options()
            )
        except OSError as error:
            raise WorkerDied(f"The mirror can't be started ({type(error).__name__}).") from None
        return _ChildPipe(process)

    @staticmethod
    async def connect(place: Path) -> WorkerPipe:
        """A session of the engine that listens at `place`. WorkerDied without one, OtherVersion."""
        writer = None
        try:
            async with asyncio.timeout(_HELLO_S):
                _require_own(place.parent)
                reader, writer = await asyncio.open_unix_connection(place)
                hello = await receive(reader)
                pid = int(hello["pid"])
            _require_version(str(hello.get("version", "an older version")))
        except BaseException as error:
            if writer is not None:
                writer.close()  # one left open would be a session for ever
            if isinstance(error, (OSError, EOFError, ValueError, KeyError)):  # TimeoutError too
                raise WorkerDied(f"The shared engine is away ({type(error).__name__}).") from None
            raise
        return _SharedPipe(reader, writer, pid)

    @property
    def alive(self) -> bool:
        """Whether the process still runs and listens."""
        return not self._died

    def send(self, order: MirrorOrder) -> None:
        """Hand an order to the pipe; never waits, and says nothing when the process has gone."""
        if self._writer.is_closing():
            return
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write(frame_of(order))

    def ask(self, number: int, order: WriteOrder) -> None:
        """Send a request whose answers are to be awaited."""
        self._answers[number] = asyncio.Queue()
        if not self.alive:
            self._answers[number].put_nowait(None)
        self.send(order)

    def forget(self, number: int) -> None:
        """Answers to this request are no longer wanted."""
        self._answers.pop(number, None)

    async def answer(self, number: int | None, limit_s: float) -> MirrorAnswer:
        """The next answer to this request. WorkerDied when the process ends or is long silent."""
        frame, end = None, time.monotonic() + limit_s
        self._heard = max(self._heard, time.monotonic())
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    frame = await self._answers[number].get()
                    break
            except TimeoutError:
                if time.monotonic() > end or self._mute():
                    await self._kill()
                    raise AskAgain(
                        "The mirror stopped answering and was ended.", "Ask again."
                    ) from None
                self.send({"op": "ping"})
        if frame is None:
            raise self._death(
                f"The mirror's process died: {self._died}.", "Ask again: a fresh one is started."
            )
        return frame

    _death: type[WorkerDied] = WorkerDied  # what its end is raised as

    def _mute(self) -> bool:
        """Whether it neither answers nor works: stopped from outside, or waiting for ever."""
        still = self._still.of(self.pid)  # of one that is gone the pipe tells
        silent_s = time.monotonic() - self._heard
        if still == "halted":
            return silent_s > HALTED_S
        return still == "asleep" and self._answers_pings and silent_s > _MUTE_S

    @abstractmethod
    async def _kill(self) -> None:
        """End the process at once."""

    @abstractmethod
    async def end(self) -> None:
        """Have it leave, this session at least; returns once it has."""

    @abstractmethod
    async def _meaning(self) -> str:
        """Why it closed its pipe, as the end of a sentence."""

    async def _read(self) -> None:
        try:
            while True:
                frame = await receive(self._reader)
                self._heard = time.monotonic()
                if frame.get("event") == "pong":
                    self._answers_pings = True
                    continue
                waiting = self._answers.get(frame.get("id"))
                if waiting is not None:
                    waiting.put_nowait(frame)
        except (asyncio.IncompleteReadError, ValueError, OSError):
            pass
        self._died = "it closed its pipe"
        self._died = await self._meaning()
        for waiting in self._answers.values():
            waiting.put_nowait(None)


def _require_own(folder: Path) -> None:
    """PermissionError where others may put a socket: it will be told the secret and all prompts.

    One that was left behind may have been cleared away, and its name taken by another user."""
    status = os.lstat(folder)
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError


def _require_version(theirs: str) -> None:
    """OtherVersion where an upgrade came between its start and ours."""
    if theirs != (ours := own_code().version):
        raise OtherVersion(
            f"The engine that the vaults share is vaultgpt {theirs} and this daemon {ours}, which "
            " writes in a process of its own.",
            "Start `vaultgpt serve --all` anew.",
        )


class _ChildPipe(WorkerPipe):
    """A child of ours, whose standard input and output these are."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None and process.stdin is not None
        self._process, self._errors = process, bytearray()
        super().__init__(process.stdout, process.stdin, process.pid)
        self._tasks.append(asyncio.create_task(self._drain()))

    @property
    def alive(self) -> bool:
        return super().alive and self._process.returncode is None

    async def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end(self) -> None:
        """Ask the child to leave, then terminate, then kill it; returns once it has gone."""
        self.send({"op": "stop"})
        self._writer.close()
        for harder in (self._process.terminate, self._process.kill):
            try:
                async with asyncio.timeout(_STOP_S):
                    await self._process.wait()
                break
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    harder()
        await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meaning(self) -> str:
        """The pipe has ended: the child is dead or mad."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._process.wait()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.wait(self._tasks[1:], timeout=_STOP_S)  # the last words of standard error
        return exit_meaning(self._process.returncode, bytes(self._errors))

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(1 << 16):
            self._errors += chunk
            del self._errors[:-4096]


class _SharedPipe(WorkerPipe):
    """One session of an engine that other vaults use too: it ends with any of their requests."""

    _death = AskAgain

    async def _kill(self) -> None:
        """It is deaf to all of them: whoever notices ends it for all."""
        with contextlib.suppress(psutil.Error):
            psutil.Process(self.pid).kill()
        await self.end()

    async def end(self) -> None:
        self.send({"op": "stop"})
        with contextlib.suppress(OSError):
            self._writer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await asyncio.gather(*self._tasks, return_exceptions=True)
        for task in self._tasks:
            task.cancel()

    async def _meaning(self) -> str:
        return "the engine that the vaults share ended"


class Backoff:
    """How often workers died one after the other, and when the next may be started."""

    def __init__(self) -> None:
        self._deaths, self._not_before, self._said, self._until = 0, 0.0, "", 0.0

    @property
    def problem(self) -> str:
        """What is told of it in a sentence; "" for nothing."""
        return self._said if time.monotonic() < self._until else ""

    @property
    def over(self) -> bool:
        """Whether so many died in a row that the next one waits."""
        return self._deaths > _AT_ONCE

    def died(self, error: WorkerDied) -> None:
        """One more died before it had answered. The first two are replaced at once."""
        self._deaths += 1
        wait_s = min(_MOST_WAIT_S, 2.0 ** (self._deaths - _AT_ONCE)) if self.over else 0.0
        self._not_before = time.monotonic() + wait_s
        self._until = self._not_before + _SHOWN_S
        times = f" That was {self._deaths} times in a row." if self.over else ""
        self._said = f"{error.message}{times}"

    def answered(self) -> None:
        """One has answered: what crashed over and over is well again."""
        if self.over:
            self._until = 0.0
        self._deaths = 0

    def check(self) -> None:
        """Unavailable until the next may be started."""
        wait_s = self._not_before - time.monotonic()
        if wait_s > 0:
            mend = "`vaultgpt doctor` looks for the cause."
            raise Unavailable(f"{self._said} It is started again later.", mend, wait_s)


class Precedence:
    """Counts who goes first. To be used from one event loop."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._count, self._patience_s = 0, patience_s
        self._none, self._some = asyncio.Event(), asyncio.Event()
        self._none.set()

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Meanwhile nothing that gives way is done."""
        self._count += 1
        self._none.clear()
        self._some.set()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._some.clear()
                self._none.set()

    async def last(self, work: Callable[[], Coroutine[Any, Any, _R]]) -> _R:
        """What `work` gives; broken off when somebody goes first, and begun anew after that.

        Where somebody always does, as who types without a pause, it gives way for `patience_s`."""
        now = asyncio.get_running_loop().time
        until = now() + self._patience_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._none.wait()
            doing = asyncio.ensure_future(work())
            wanted = asyncio.ensure_future(self._some.wait())
            gives_way = {doing, wanted} if now() < until else {doing}
            try:
                await asyncio.wait(gives_way, return_when=asyncio.FIRST_COMPLETED)
                if doing.done():
                    return doing.result()
            finally:
                doing.cancel()
                wanted.cancel()
                await asyncio.gather(doing, wanted, return_exceptions=True)
