"""The mirror worker from outside: started when asked, one request at a time, gone when idle.

Knows nothing about models. A worker that dies fails its request; the next one starts afresh.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from vaultgpt.bases.names import base_of_generation, resolve
from vaultgpt.children import command
from vaultgpt.errors import VaultGPTError, WorkerDied, error_of
from vaultgpt.generation_folders import verify
from vaultgpt.ledger import Ledger
from vaultgpt.settings import Mirror, Settings
from vaultgpt.state import VaultState
from vaultgpt.wire import (
    ActivateOrder,
    MirrorAnswer,
    OpenOrder,
    Piece,
    Prompt,
    Sampling,
    TokenChance,
    Usage,
    WriteOrder,
)
from vaultgpt.workers.pipe import AskAgain, Backoff, OtherVersion, Precedence, WorkerPipe
from vaultgpt.workers.process import idle_threads

_ENGINE = "engine"  # folder of a state: the voice that writes, in the forms other engines load
SHARED = "VAULTGPT_SHARED_ENGINE"  # where the engine of `serve --all` listens, as its daemons know
_LOAD_S = 600.0  # longest loading of a base
_ANSWER_S = 300.0  # longest time between two frames of an answer; prefill of a large base


@dataclass(frozen=True)
class Opening:
    """What a mirror worker must know to write."""

    base: Path
    active: str | None  # generation id; None writes as the base
    generations: dict[str, Path]
    settings: Mirror = field(default_factory=Mirror)
    runs: Path | None = None
    secret: bytes = b""
    engine: Path | None = None  # where voices lie for another engine

    def swap(self) -> ActivateOrder:
        """What a worker is told when another generation becomes active."""
        folder = self.generations.get(self.active) if self.active else None
        return {
            "op": "activate",
            "active": self.active,
            "folder": str(folder) if folder else None,
            "generations": {k: str(v) for k, v in self.generations.items()},
        }

    def order(self, threads: int) -> OpenOrder:
        """What a worker is told first."""
        return {
            "op": "open",
            "base": str(self.base),
            "active": self.active,
            "generations": {k: str(v) for k, v in self.generations.items()},
            "settings": asdict(self.settings),
            "runs": str(self.runs) if self.runs else None,
            "secret": self.secret.hex(),
            "engine": str(self.engine) if self.engine else None,
            "threads": threads,
        }


def mirror_opening(state: VaultState, settings: Settings, ledger: Ledger) -> Opening:
    """The generation that writes, the base it was trained on, and what else writes on that base.

    Without one the vault's base writes. The files of the one that writes are verified.
    BaseModelError, GenerationError. Blocks: reads and hashes files."""
    active = ledger.generations.writing()
    if active is None:
        base = resolve(settings.base, state)
    else:
        base = base_of_generation(state, verify(state.generations / active))
    barred = ledger.generations.barred()
    folders = {
        row.id: state.generations / row.id
        for row in ledger.generations.all()
        if row.id not in barred
        and base.matches(row.base_sha256)
        and (state.generations / row.id).is_dir()
    }
    # How it samples goes with each prompt: a worker that is awake need not end for that.
    where = replace(settings.mirror, **asdict(Sampling()))
    return Opening(
        base.folder, active, folders, where, state.runs, ledger.key, state.folder / _ENGINE
    )


@dataclass(frozen=True)
class _Readiness:
    """How the worker that runs, or ran last, writes."""

    device: str | None = None  # None before one was ready
    dtype: str | None = None
    cost: float | None = None
    problem: str = ""  # why our own decoder writes in place of the engine of the settings
    slow: str = ""  # why it writes slower than its device could

    def told(self, answer: MirrorAnswer) -> _Readiness:
        """With what a worker has just said."""
        if answer["event"] not in ("ready", "activated"):
            return self
        return replace(
            self,
            device=answer.get("device", self.device),
            dtype=answer["dtype"],
            cost=answer["cost"],
            problem=answer["problem"],
        )


async def _items(answers: Callable[[], Awaitable[MirrorAnswer]]) -> AsyncIterator[Piece | Usage]:
    """What the messages of an answer say; the usage ends it."""
    while True:
        answer = await answers()
        if answer["event"] == "piece":
            yield Piece.from_answer(answer)
        elif answer["event"] == "usage":
            yield Usage.from_answer(answer)
            return


class MirrorProcess:
    """One mirror worker, kept running while somebody writes. To be used from one event loop."""

    def __init__(
        self,
        opening: Callable[[], Awaitable[Opening]],
        *,
        program: Sequence[str] | None = None,
    ) -> None:
        self._opening = opening  # asked at every start and swap: the ledger has the truth
        self._program = list(program or command("vaultgpt.mirror.mirror_worker"))
        # Requests line up at the door, one of them has the turn: a swap, which waits for the turn
        # alone, falls between two requests and before all that wait. Swaps come in their order.
        self._door, self._turn, self._swapping = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._ids, self._swaps = itertools.count(1), 0  # how many swaps were wished for
        self._precedence = Precedence()
        self._channel: WorkerPipe | None = None
        self._starting: asyncio.Task[WorkerPipe] | None = None
        self._opened: Opening | None = None
        self._leave: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._health = Backoff()
        self._refused = ""  # why it writes beside the engine that the vaults share
        self.ready = _Readiness()

    @property
    def problem(self) -> str:
        """What is wrong with the workers, in a sentence; "" for nothing."""
        return self._health.problem or self._refused

    @property
    def engine_problem(self) -> str:
        """Why our own decoder writes in place of the engine of the settings; "" where it should."""
        return self.ready.problem

    @property
    def device(self) -> str | None:
        """Where it writes, and why slower than it could there; None before a worker is ready."""
        slow = f", slower than it could: {self.ready.slow}" if self.ready.slow else ""
        return f"{self.ready.device}{slow}" if self.ready.device else None

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

    async def open(self) -> None:
        """Start the worker if none runs. VaultGPTError, WorkerDied."""
        async with self._turn:
            await self._ensure()

    async def generate(self, prompt: Prompt) -> AsyncIterator[Piece | Usage]:
        """Pieces, then one Usage. Closing the iterator, or cancelling its task, ends the work."""
        with self._precedence.first():
            async with contextlib.aclosing(self._generated(prompt)) as items:  # type: ignore[type-var]
                async for item in items:
                    yield item

    async def _generated(self, prompt: Prompt) -> AsyncIterator[Piece | Usage]:
        order = self._order_of("generate", prompt)
        said = False
        async with self._door, self._turn:
            try:
                async with self._asked(order) as answers:
                    async for item in _items(answers):
                        said = True
                        yield self._heard(item)
                return
            except AskAgain:
                if said:
                    raise
            async with self._asked(order) as answers:  # by the one that takes its place
                async for item in _items(answers):
                    yield self._heard(item)

    async def score(self, prompt: Prompt) -> tuple[tuple[TokenChance, ...], str | None]:
        """How likely the tokens of an echoed prompt are, and the generation that wrote meanwhile,
        None for the base. Whoever wants text goes first."""

        async def told() -> tuple[tuple[TokenChance, ...], str | None]:
            tokens: list[TokenChance] = []
            writes = None
            async with contextlib.aclosing(self._generated(prompt)) as items:  # type: ignore[type-var]
                async for item in items:  # no swap falls in between
                    writes = self.active
                    tokens += item.tokens if isinstance(item, Piece) else ()
            return tuple(tokens), writes

        return await self._precedence.last(told)

    def _heard(self, item: Piece | Usage) -> Piece | Usage:
        if isinstance(item, Usage):
            self.ready = replace(self.ready, problem=item.engine_problem, slow=item.slow)
        return item

    async def warm(self, prompt: Prompt) -> int:
        """Prefill and cache the prompt; how many of its tokens the cache held. Cancellable."""
        order = self._order_of("warm", prompt)
        with self._precedence.first():
            async with self._door, self._turn, self._asked(order) as answers:
                answer = await answers()
                return answer.get("cached_tokens", 0) if answer["event"] == "warmed" else 0

    def _order_of(self, op: Literal["generate", "warm"], prompt: Prompt) -> WriteOrder:
        return {"op": op, "id": next(self._ids), "prompt": prompt.to_json()}

    async def activate(self) -> None:
        """Take over what the ledger says is active, and the guard's index, between two requests.

        Another base needs another worker: the old one leaves, the next request starts the new."""
        self._swaps += 1
        async with self._swapping:
            was, wished = self._opened, self._swaps
            found = await self._opening() if self.running else None  # the old voice writes on
            async with self._turn:
                if (channel := self._channel) is None or not channel.alive:
                    return
                self._tell_runs()  # what the new voice learned must not be copied
                if found is None or self._opened is not was or self._swaps > wished:
                    found, was = await self._opening(), self._opened
                if found == was:
                    return
                if was is None or (found.base, found.settings) != (was.base, was.settings):
                    await self._end()
                    return
                channel.send(found.swap())
                if (answer := await channel.answer(None, _LOAD_S))["event"] == "error":
                    await self._end()  # nobody knows what it holds: the next request starts anew
                    raise error_of(answer)
                self.ready, self._opened = self.ready.told(answer), found
                self._rest(found)

    async def reload_runs(self) -> None:
        """Tell the worker that the guard's index has grown."""
        async with self._turn:
            self._tell_runs()

    def _tell_runs(self) -> None:
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
        if self._leaving is not None:
            await self._leaving

    @contextlib.asynccontextmanager
    async def _asked(
        self, order: WriteOrder
    ) -> AsyncIterator[Callable[[], Awaitable[MirrorAnswer]]]:
        """Send a request; yields the function that awaits its next answer. Cancels what is left."""
        channel, number = await self._ensure(), order["id"]
        done = False

        async def answer() -> MirrorAnswer:
            nonlocal done
            try:
                got = await channel.answer(number, _ANSWER_S)
            except WorkerDied as error:
                self._health.died(error)
                raise
            done = got["event"] != "piece"
            if done and got["event"] != "error":
                self._health.answered()
            if got["event"] == "error":
                raise error_of(got)
            return got

        try:
            channel.ask(number, order)
            yield answer
        finally:
            if not done:
                channel.send({"op": "cancel", "id": number})
            channel.forget(number)
            self._rest(self._opened)

    async def _ensure(self) -> WorkerPipe:
        """The running worker; starts one. A caller that leaves does not stop the start."""
        self._rest(None)
        if self._channel is not None and self._channel.alive:
            return self._channel
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> WorkerPipe:
        self._health.check()
        if self._channel is not None:
            await self._end()
        opening = await self._opening()
        threads = opening.settings.threads or await asyncio.to_thread(idle_threads)
        channel = await self._process(opening.settings)
        try:
            channel.send(opening.order(threads))
            answer = await channel.answer(None, _LOAD_S)
            self.ready = _Readiness().told(answer)
            if answer["event"] == "error":
                raise error_of(answer)
        except BaseException as error:
            if isinstance(error, WorkerDied):
                self._health.died(error)
            await channel.end()
            raise
        self._channel, self._opened = channel, opening
        self._rest(opening)
        return channel

    async def _process(self, settings: Mirror) -> WorkerPipe:
        """A session of the engine that several vaults share, or a process of our own.

        Of our own too where none answers, and after deaths in a row that may be our own doing."""
        place = os.environ.get(SHARED)
        self._refused = ""
        if place and settings.shared and settings.engine == "own" and not self._health.over:
            try:
                return await WorkerPipe.connect(Path(place))
            except OtherVersion as error:
                self._refused = str(error)
            except WorkerDied:
                pass
        return await WorkerPipe.spawn(self._program)

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
        """It rests: let it leave. From this moment on a request starts another one."""
        if self._turn.locked() or self._channel is None:
            return
        channel, self._channel = self._channel, None
        self._leaving = asyncio.create_task(channel.end())
