"""Framed JSON to and from a child process, on an event loop: requests by number, answers in order.

Knows nothing about what the frames mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import Sequence
from typing import Any

from vaultgpt.errors import WorkerDied
from vaultgpt.wire import MAX_FRAME_BYTES
from vaultgpt.workers.process import environment, exit_meaning, spawn_options

STOP_S = 1.0  # the worker's time to leave by itself


class Channel:
    """A running child. Answers without a number go to None."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[int | None, asyncio.Queue[dict[str, Any] | None]] = {
            None: asyncio.Queue()}
        self._errors = bytearray()
        self._died = ""
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._drain())]

    @staticmethod
    async def spawn(program: Sequence[str]) -> Channel:
        """Start `program`. WorkerDied when the system refuses."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *program, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(),
                **spawn_options())
        except OSError as error:
            raise WorkerDied(f"The mirror can't be started ({type(error).__name__}).") from None
        return Channel(process)

    @property
    def alive(self) -> bool:
        """Whether the child still runs and listens."""
        return not self._died and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def send(self, frame: dict[str, Any]) -> None:
        """Hand a frame to the pipe; never waits, and says nothing when the child has gone."""
        stdin = self._process.stdin
        if stdin is None or stdin.is_closing():
            return
        body = json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        with contextlib.suppress(OSError, RuntimeError):
            stdin.write(struct.pack(">I", len(body)) + body)

    def ask(self, number: int, frame: dict[str, Any]) -> None:
        """Send a request whose answers are to be awaited."""
        self._answers[number] = asyncio.Queue()
        if not self.alive:
            self._answers[number].put_nowait(None)
        self.send(frame)

    def forget(self, number: int) -> None:
        """Answers to this request are no longer wanted."""
        self._answers.pop(number, None)

    async def answer(self, number: int | None, limit_s: float) -> dict[str, Any]:
        """The next frame for this request. WorkerDied when the child ends or is silent too long."""
        try:
            async with asyncio.timeout(limit_s):
                frame = await self._answers[number].get()
        except TimeoutError:
            await self.end()
            raise WorkerDied("The mirror has not answered for minutes and was ended.",
                             "Ask again.") from None
        if frame is None:
            raise WorkerDied(f"The mirror's process died: {self._died}.",
                             "Ask again: a fresh one is started.")
        return frame

    async def end(self) -> None:
        """Ask the child to leave, then terminate, then kill it; returns once it has gone."""
        self.send({"op": "stop"})
        if self._process.stdin is not None:
            self._process.stdin.close()
        for harder in (self._process.terminate, self._process.kill):
            try:
                async with asyncio.timeout(STOP_S):
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
                (size,) = struct.unpack(">I", await self._process.stdout.readexactly(4))
                if size > MAX_FRAME_BYTES:
                    break
                frame = json.loads(await self._process.stdout.readexactly(size))
                waiting = self._answers.get(frame.get("id"))
                if waiting is not None:
                    waiting.put_nowait(frame)
        except (asyncio.IncompleteReadError, ValueError, AttributeError, OSError):
            pass
        await self._gone()

    async def _gone(self) -> None:
        """The pipe has ended: the child is dead or mad. Tell everybody who waits."""
        self._died = "it closed its pipe"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.wait(self._tasks[1:], timeout=STOP_S)  # the last words of standard error
        self._died = exit_meaning(self._process.returncode, bytes(self._errors))
        for waiting in self._answers.values():
            waiting.put_nowait(None)

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(1 << 16):
            self._errors += chunk
            del self._errors[:-4096]
