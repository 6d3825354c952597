"""The mirror worker from outside: started when asked, one request at a time, gone when idle.

Knows nothing about models. A worker that dies fails its request; the next one starts afresh.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vaultgpt.config import Mirror
from vaultgpt.errors import VaultGPTError
from vaultgpt.wire import Piece, Prompt, Usage
from vaultgpt.workers.channel import Channel
from vaultgpt.workers.process import command, error_from_frame, idle_threads

LOAD_S = 600.0  # longest loading of a base
ANSWER_S = 300.0  # longest time between two frames of an answer; prefill of a large base


@dataclass(frozen=True)
class Opening:
    """What a mirror worker must know to write."""

    base: Path
    active: str | None  # generation id; None writes as the base
    generations: dict[str, Path]
    settings: Mirror = field(default_factory=Mirror)
    runs: Path | None = None
    secret: bytes = b""

    def swap_frame(self) -> dict[str, Any]:
        """What changes when another generation becomes active."""
        folder = self.generations.get(self.active) if self.active else None
        return {"active": self.active, "folder": str(folder) if folder else None,
                "generations": {k: str(v) for k, v in self.generations.items()}}

    def frame(self, threads: int) -> dict[str, Any]:
        """The worker's first frame."""
        return {"op": "open", "base": str(self.base), **self.swap_frame(),
                "settings": asdict(self.settings), "runs": str(self.runs) if self.runs else None,
                "secret": self.secret.hex(), "threads": threads}


class MirrorProcess:
    """One mirror worker, kept running while somebody writes. To be used from one event loop."""

    def __init__(
        self,
        opening: Callable[[], Awaitable[Opening]],
        *,
        program: Sequence[str] | None = None,
    ) -> None:
        self._opening = opening  # asked at every start and swap: the ledger has the truth
        self._program = list(program or command("vaultgpt.mirror.worker"))
        self._turn = asyncio.Lock()  # a swap waits here too: it falls between two requests
        self._ids = itertools.count(1)
        self._channel: Channel | None = None
        self._starting: asyncio.Task[Channel] | None = None
        self._opened: Opening | None = None
        self._leave: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        self.ready: dict[str, Any] = {}  # the worker's "ready" frame: device, dtype, load_ms

    @property
    def running(self) -> bool:
        """Whether a worker is up."""
        return self._channel is not None and self._channel.alive

    @property
    def active(self) -> str | None:
        """The generation the running worker writes with; None for the base, or when none runs."""
        return self._opened.active if self.running and self._opened else None

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._channel.pid if self.running and self._channel else None

    async def open(self) -> dict[str, Any]:
        """Start the worker if none runs; its "ready" frame. VaultGPTError, WorkerDied."""
        async with self._turn:
            await self._ensure()
        return self.ready

    async def generate(self, prompt: Prompt) -> AsyncIterator[Piece | Usage]:
        """Pieces, then one Usage. Closing the iterator, or cancelling its task, ends the work."""
        frame = {"op": "generate", "id": next(self._ids), "prompt": prompt.to_json()}
        async with self._turn, self._asked(frame) as answers:
            while True:
                answer = await answers()
                if answer["event"] == "piece":
                    yield Piece(int(answer.get("index", 0)), str(answer["text"]),
                                answer.get("finish"))
                elif answer["event"] == "usage":
                    yield Usage(**{k: answer[k] for k in Usage.__dataclass_fields__})
                    return

    async def warm(self, prompt: Prompt) -> int:
        """Prefill and cache the prompt; how many of its tokens the cache held. Cancellable."""
        frame = {"op": "warm", "id": next(self._ids), "prompt": prompt.to_json()}
        async with self._turn, self._asked(frame) as answers:
            return int((await answers()).get("cached_tokens", 0))

    async def activate(self) -> None:
        """Take over what the ledger now says is active, between two requests.

        Another base needs another worker: the old one leaves, the next request starts the new.
        """
        async with self._turn:
            if not self.running:
                return
            opening = await self._opening()
            was = self._opened
            if opening == was:
                return
            if was is None or (opening.base, opening.settings) != (was.base, was.settings):
                await self._end()
                return
            assert self._channel is not None
            self._channel.send({"op": "activate", **opening.swap_frame()})
            answer = await self._channel.answer(None, LOAD_S)
            if answer["event"] == "error":
                await self._end()  # nobody knows what it holds now: the next request starts anew
                raise error_from_frame(answer)
            self._opened = opening
            self._rest(opening)

    async def reload_runs(self) -> None:
        """Tell the worker that the guard's index has grown."""
        async with self._turn:
            if self.running and self._channel is not None:
                self._channel.send({"op": "runs", "id": next(self._ids)})

    async def stop(self) -> None:
        """End the worker now, whatever it does; returns once it has gone."""
        self._rest(None)
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, VaultGPTError):
                await self._starting
        await self._end()

    @contextlib.asynccontextmanager
    async def _asked(
        self, frame: dict[str, Any]
    ) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
        """Send a request; yields the function that awaits its next frame. Cancels what is left."""
        channel, number = await self._ensure(), frame["id"]
        done = False

        async def answer() -> dict[str, Any]:
            nonlocal done
            got = await channel.answer(number, ANSWER_S)
            done = got["event"] != "piece"
            if got["event"] == "error":
                raise error_from_frame(got)
            return got

        try:
            channel.ask(number, frame)
            yield answer
        finally:
            if not done:
                channel.send({"op": "cancel", "id": number})
            channel.forget(number)
            self._rest(self._opened)

    async def _ensure(self) -> Channel:
        """The running worker; starts one. A caller that leaves does not stop the start."""
        self._rest(None)
        if self._channel is not None and self._channel.alive:
            return self._channel
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> Channel:
        if self._channel is not None:
            await self._end()
        opening = await self._opening()
        threads = opening.settings.threads or await asyncio.to_thread(idle_threads)
        channel = await Channel.spawn(self._program)
        try:
            channel.send(opening.frame(threads))
            self.ready = await channel.answer(None, LOAD_S)
            if self.ready["event"] == "error":
                raise error_from_frame(self.ready)
        except BaseException:
            await channel.end()
            raise
        self._channel, self._opened = channel, opening
        self._rest(opening)
        return channel

    async def _end(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.end()

    def _rest(self, opening: Opening | None) -> None:
        """Set the time at which an idle worker leaves; None: it is needed now."""
        if self._leave is not None:
            self._leave.cancel()
            self._leave = None
        if opening is not None:
            idle_s = opening.settings.idle_minutes * 60
            self._leave = asyncio.get_running_loop().call_later(idle_s, self._go)

    def _go(self) -> None:
        if not self._turn.locked():
            self._leaving = asyncio.create_task(self._end())

