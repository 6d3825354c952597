"""The mirror's process: framed JSON in on standard input, framed JSON out on a private descriptor.

A reader thread takes cancels at once and queues the rest; the main thread owns the engine. When the
input ends the process leaves within 2 s, in the middle of a forward pass too.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import IO, TYPE_CHECKING, cast

from vaultgpt.children import no_core, private_stdout
from vaultgpt.errors import Unavailable, UsageError, VaultGPTError, is_memory
from vaultgpt.options import with_option
from vaultgpt.settings import Mirror, Settings
from vaultgpt.wire import (
    ActivateOrder,
    MirrorAnswer,
    MirrorOrder,
    OpenOrder,
    Piece,
    Prompt,
    WriteOrder,
    read_frame,
    write_frame,
)

if TYPE_CHECKING:
    from vaultgpt.corpus.runs import RunIndex
    from vaultgpt.mirror.engine import Engine
    from vaultgpt.mirror.remote import RemoteEngine

_GRACE_S = 1.0  # between the end of the input and a hard exit
_UNKNOWN = UsageError("The mirror does not know this operation.")
_NO_MEMORY = Unavailable(
    "There is not enough memory for this request.", "Close other programs or choose a smaller base."
)


@dataclass(frozen=True)
class Taken:
    """An order as it came."""

    order: MirrorOrder
    at: float  # perf_counter


class Inbox:
    """What the reader thread shares with the main thread."""

    def __init__(self, stream: IO[bytes], leave: Callable[[], None]) -> None:
        self.queue: queue.Queue[Taken | None] = queue.Queue()
        self.stopping = threading.Event()
        self.done = threading.Event()
        self.on_ping: Callable[[], None] = lambda: None
        self._stream, self._leave = stream, leave
        self._cancelled: set[object] = set()
        self._waiting: set[object] = set()
        self._lock = threading.Lock()

    def read(self) -> None:
        """The reader thread: until the input ends or says stop, then out within GRACE_S."""
        try:
            while (order := read_frame(self._stream)) is not None and order.get("op") != "stop":
                self._take(order)
        except (OSError, ValueError):
            pass  # an input that can't be read is one that has ended
        self.stopping.set()
        self.queue.put(None)
        if not self.done.wait(_GRACE_S):
            self._leave()

    def _take(self, order: MirrorOrder) -> None:
        if order.get("op") == "ping":
            self.on_ping()
            return
        with self._lock:
            number = order.get("id")
            if order.get("op") == "cancel":
                if number in self._waiting:
                    self._cancelled.add(number)
                return
            if number is not None:
                self._waiting.add(number)
        self.queue.put(Taken(order, perf_counter()))

    def is_cancelled(self, request: object) -> bool:
        """Whether this request is to stop."""
        return self.stopping.is_set() or request in self._cancelled

    def finished(self, request: object) -> None:
        """The request has been answered; a late cancel of it means nothing."""
        with self._lock:
            self._waiting.discard(request)
            self._cancelled.discard(request)


class Worker:
    """Answers one message after another."""

    def __init__(
        self, inbox: Inbox, out: IO[bytes], pen: AbstractContextManager[object] | None = None
    ) -> None:
        """`pen` is held while a frame is written."""
        self.inbox, self.out, self._writing = inbox, out, pen or threading.Lock()
        inbox.on_ping = lambda: self._send({"event": "pong"})  # from the reader: at once
        self.engine: Engine | RemoteEngine | None = None
        self.index: RunIndex | None = None
        self._threads = 0

    def run(self) -> None:
        """Until the input ends."""
        while (taken := self.inbox.queue.get()) is not None and not self.inbox.stopping.is_set():
            self._answer(taken)
            self.inbox.finished(taken.order.get("id"))

    def _do(self, order: MirrorOrder, at: float) -> None:
        if "op" not in order:
            raise _UNKNOWN
        elif order["op"] == "open":
            self._open(order, at)
        elif order["op"] == "generate":
            self._generate(order, at)
        elif order["op"] == "warm":
            self._warm(order)
        elif order["op"] == "activate":
            self._activate(order)
        elif order["op"] == "runs":
            self._runs(order.get("id"))
        else:
            raise _UNKNOWN

    def _answer(self, taken: Taken) -> None:
        order = taken.order
        try:
            self._do(order, taken.at)
        except VaultGPTError as error:
            self._error(order, error)
        except BrokenPipeError:
            self.inbox.stopping.set()
        except Exception as error:  # the process's own border: the class alone, never its text
            self._error(
                order,
                _NO_MEMORY
                if is_memory(error)
                else VaultGPTError(
                    f"The mirror failed ({type(error).__name__}).",
                    "`vaultgpt doctor` looks for the cause.",
                ),
            )

    def _send(self, answer: MirrorAnswer) -> None:
        with self._writing:
            write_frame(self.out, answer)

    def _error(self, order: MirrorOrder, error: VaultGPTError) -> None:
        told = error.answer()
        if (number := order.get("id")) is not None:
            told["id"] = cast(int, number)
        try:
            self._send(told)
        except BrokenPipeError:
            self.inbox.stopping.set()

    def _open(self, order: OpenOrder, at: float) -> None:
        from vaultgpt.corpus.runs import RunIndex

        settings = _settings(order)
        self._threads = order.get("threads") or settings.threads
        if runs := order.get("runs"):
            self.index = RunIndex(Path(runs), bytes.fromhex(order["secret"])).load()
        self.engine = None
        engine = self._engine(settings, order)
        engine.load(Path(order["base"]))
        engine.activate(order.get("active"), None, _folders(order))
        self.engine = engine
        self._send(
            {
                "event": "ready",
                "device": str(engine.device),
                "load_ms": round((perf_counter() - at) * 1000, 1),
                "dtype": engine.dtype,
                "cost": engine.cost,
                "problem": engine.problem,
            }
        )

    def _engine(self, settings: Mirror, order: OpenOrder) -> Engine | RemoteEngine:
        """The body that the settings ask for; ours where they may not have the other one."""
        if settings.engine == "own":
            return self._own(settings)
        if refused := settings.refused():
            engine = self._own(settings)
            engine.problem = refused
            return engine
        from vaultgpt.mirror.copy_guard import NoRuns
        from vaultgpt.mirror.remote import RemoteEngine

        runs = NoRuns() if self.index is None else self.index
        return RemoteEngine(settings, runs, Path(order["engine"] or ""), self._own)

    def _own(self, settings: Mirror) -> Engine:
        import torch

        from vaultgpt.mirror.engine import Engine

        if self._threads:
            torch.set_num_threads(self._threads)
        return Engine(settings, self.index)

    def _opened(self) -> Engine | RemoteEngine:
        if self.engine is None:
            raise Unavailable("The mirror has no base open yet.")
        return self.engine

    def _prompt(self, order: WriteOrder) -> Prompt:
        try:
            return Prompt.from_json(order["prompt"])
        except (KeyError, TypeError, AttributeError):
            raise UsageError("The prompt is not one that the mirror understands.") from None

    def _generate(self, order: WriteOrder, at: float) -> None:
        engine, prompt, number = self._opened(), self._prompt(order), order["id"]
        for said in engine.generate(prompt, lambda: self.inbox.is_cancelled(number), at):
            if isinstance(said, Piece):
                self._send(said.answer(number))
            else:
                slow = engine.slow if said.engine == "own" else ""
                told = replace(said, engine_problem=engine.problem, slow=slow)
                self._send(told.answer(number))

    def _warm(self, order: WriteOrder) -> None:
        engine, prompt, number = self._opened(), self._prompt(order), order["id"]
        cached = engine.warm(prompt, lambda: self.inbox.is_cancelled(number))
        self._send({"event": "warmed", "id": number, "cached_tokens": cached})

    def _activate(self, order: ActivateOrder) -> None:
        engine, folder = self._opened(), order.get("folder")
        engine.activate(
            order.get("active"),
            Path(folder) if folder else None,
            _folders(order) if "generations" in order else None,
        )
        self._send(
            {
                "event": "activated",
                "active": order.get("active"),
                "dtype": engine.dtype,
                "cost": engine.cost,
                "problem": engine.problem,
            }
        )

    def _runs(self, number: int | None) -> None:
        if self.index is not None:
            self.index.load()
        self._send({"event": "runs"} if number is None else {"event": "runs", "id": number})


def _settings(order: OpenOrder) -> Mirror:
    settings = Settings()
    for name, value in (order.get("settings") or {}).items():
        settings = with_option(settings, f"mirror.{name}", value)
    return settings.mirror


def _folders(order: OpenOrder | ActivateOrder) -> dict[str, Path]:
    return {g: Path(folder) for g, folder in (order.get("generations") or {}).items()}


def main() -> None:
    """Serve the frames on standard input until it ends."""
    no_core()
    out = private_stdout()
    inbox = Inbox(sys.stdin.buffer, lambda: os._exit(0))
    worker = Worker(inbox, out)
    threading.Thread(target=inbox.read, name="reader", daemon=True).start()
    try:
        worker.run()
    finally:
        inbox.done.set()
    # Not through the interpreter's end: a library's thread or a closed pipe must not hold it up.
    os._exit(0)


if __name__ == "__main__":
    main()
