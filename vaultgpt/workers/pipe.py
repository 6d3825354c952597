"""Framed JSON to and from a child process, on an event loop: requests by number, answers in order.

Knows nothing about what the frames mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import psutil

from vaultgpt.children import environment, exit_meaning, spawn_options
from vaultgpt.errors import WorkerDied
from vaultgpt.wire import HEAD_BYTES, Frame, frame_of, message_of, size_of

_LOOK_S, _MUTE_S = 1.0, 5.0  # how often we look after one that owes an answer; longest silence
_STOP_S = 1.0  # the worker's time to leave by itself


class Mute(WorkerDied):
    """It neither answered nor worked, and was ended."""


class WorkerPipe:
    """A running child. Answers without a number go to None."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[int | None, asyncio.Queue[Frame | None]] = {None: asyncio.Queue()}
        self._errors = bytearray()
        self._died = ""
        self._heard, self._answers_pings, self._spent = time.monotonic(), False, -1.0
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._drain())]

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
        return WorkerPipe(process)

    @property
    def alive(self) -> bool:
        """Whether the child still runs and listens."""
        return not self._died and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def send(self, frame: Frame) -> None:
        """Hand a frame to the pipe; never waits, and says nothing when the child has gone."""
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing():
            return
        with contextlib.suppress(OSError, RuntimeError):
            stdin.write(frame_of(frame))

    def ask(self, number: int, frame: Frame) -> None:
        """Send a request whose answers are to be awaited."""
        self._answers[number] = asyncio.Queue()
        if not self.alive:
            self._answers[number].put_nowait(None)
        self.send(frame)

    def forget(self, number: int) -> None:
        """Answers to this request are no longer wanted."""
        self._answers.pop(number, None)

    async def answer(self, number: int | None, limit_s: float) -> Frame:
        """The next frame for this request. WorkerDied when the child ends or is silent too long."""
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
                    raise Mute(
                        "The mirror stopped answering and was ended.", "Ask again."
                    ) from None
                self.send({"op": "ping"})
        if frame is None:
            raise WorkerDied(
                f"The mirror's process died: {self._died}.", "Ask again: a fresh one is started."
            )
        return frame

    def _mute(self) -> bool:
        """Whether it neither answers nor works: stopped from outside, or waiting for ever."""
        try:
            child = psutil.Process(self.pid)
            status, spent = child.status(), sum(child.cpu_times()[:2])
        except psutil.Error:
            return False  # its end is noticed by the pipe
        idle, self._spent = spent == self._spent, spent
        silent = time.monotonic() - self._heard > _MUTE_S
        asleep = status == psutil.STATUS_SLEEPING and idle and self._answers_pings
        return silent and (status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP) or asleep)

    async def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end(self) -> None:
        """Ask the child to leave, then terminate, then kill it; returns once it has gone."""
        self.send({"op": "stop"})
        if self._process.stdin is not None:
            self._process.stdin.close()
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

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                size = size_of(await self._process.stdout.readexactly(HEAD_BYTES))
                frame = message_of(await self._process.stdout.readexactly(size))
                self._heard = time.monotonic()
                if frame.get("event") == "pong":
                    self._answers_pings = True
                    continue
                waiting = self._answers.get(frame.get("id"))
                if waiting is not None:
                    waiting.put_nowait(frame)
        except (asyncio.IncompleteReadError, ValueError, OSError):
            pass
        await self._gone()

    async def _gone(self) -> None:
        """The pipe has ended: the child is dead or mad. Tell everybody who waits."""
        self._died = "it closed its pipe"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._process.wait()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.wait(self._tasks[1:], timeout=_STOP_S)  # the last words of standard error
        self._died = exit_meaning(self._process.returncode, bytes(self._errors))
        for waiting in self._answers.values():
            waiting.put_nowait(None)

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(1 << 16):
            self._errors += chunk
            del self._errors[:-4096]
