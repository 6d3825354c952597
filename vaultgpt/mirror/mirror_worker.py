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
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import IO, TYPE_CHECKING, Any

from vaultgpt.children import no_core
from vaultgpt.errors import Unavailable, UsageError, VaultGPTError, is_memory
from vaultgpt.options import with_option
from vaultgpt.settings import Mirror, Settings
from vaultgpt.wire import Frame, Piece, Prompt, private_stdout, read_frame, write_frame

if TYPE_CHECKING:
    from vaultgpt.corpus.runs import RunIndex
    from vaultgpt.mirror.engine import Engine
    from vaultgpt.mirror.remote import RemoteEngine

_GRACE_S = 1.0  # between the end of the input and a hard exit
_NO_MEMORY = Unavailable(
    "There is not enough memory for this request.",
    "Close other programs or choose a smaller base.",
)


class Inbox:
    """What the reader thread shares with the main thread."""

    def __init__(self, stream: IO[bytes], leave: Callable[[], None]) -> None:
        self.queue: queue.Queue[Frame | None] = queue.Queue()
        self.stopping = threading.Event()
        self.done = threading.Event()
        self.on_ping: Callable[[], None] = lambda: None
        self._stream, self._leave = stream, leave
        self._cancelled: set[Any] = set()
        self._waiting: set[Any] = set()
        self._lock = threading.Lock()

    def read(self) -> None:
        """The reader thread: until the input ends or says stop, then out within GRACE_S."""
        try:
            while (message := read_frame(self._stream)) is not None and message.get("op") != "stop":
                self._take(message)
        except (OSError, ValueError):
            pass  # an input that can't be read is one that has ended
        self.stopping.set()
        self.queue.put(None)
        if not self.done.wait(_GRACE_S):
            self._leave()

    def _take(self, message: Frame) -> None:
        if message.get("op") == "ping":
            self.on_ping()
            return
        with self._lock:
            if message.get("op") == "cancel":
                if message.get("id") in self._waiting:
                    self._cancelled.add(message["id"])
                return
            if "id" in message:
                self._waiting.add(message["id"])
        self.queue.put({**message, "received": perf_counter()})

    def is_cancelled(self, request: Any) -> bool:
        """Whether this request is to stop."""
        return self.stopping.is_set() or request in self._cancelled

    def finished(self, request: Any) -> None:
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
        inbox.on_ping = lambda: self._send("pong", {})  # from the reader, whatever the engine does
        self.engine: Engine | RemoteEngine | None = None
        self.index: RunIndex | None = None
        self._threads = 0
        self._ops = {
            "open": self._open,
            "generate": self._generate,
            "warm": self._warm,
            "activate": self._activate,
            "runs": self._runs,
        }

    def run(self) -> None:
        """Until the input ends."""
        while (message := self.inbox.queue.get()) is not None and not self.inbox.stopping.is_set():
            self._answer(message)
            self.inbox.finished(message.get("id"))

    def _answer(self, message: Frame) -> None:
        try:
            op = self._ops.get(str(message.get("op")))
            if op is None:
                raise UsageError("The mirror does not know this operation.")
            op(message)
        except VaultGPTError as error:
            self._error(message, error)
        except BrokenPipeError:
            self.inbox.stopping.set()
        except Exception as error:  # the process's own border: the class alone, never its text
            self._error(
                message,
                _NO_MEMORY
                if is_memory(error)
                else VaultGPTError(
                    f"The mirror failed ({type(error).__name__}).",
                    "`vaultgpt doctor` looks for the cause.",
                ),
            )

    def _send(self, event: str, to: Frame, /, **fields: Any) -> None:
        head = {"event": event, **({"id": to["id"]} if "id" in to else {})}
        with self._writing:
            write_frame(self.out, {**head, **fields})

    def _error(self, message: Frame, error: VaultGPTError) -> None:
        try:
            self._send(
                "error",
                message,
                code=error.code,
                message=error.message,
                mend=error.mend,
                status=error.http_status,
            )
        except BrokenPipeError:
            self.inbox.stopping.set()

    def _open(self, message: Frame) -> None:
        from vaultgpt.corpus.runs import RunIndex

        settings = _settings(message)
        self._threads = int(message.get("threads") or settings.threads)
        if message.get("runs"):
            self.index = RunIndex(Path(message["runs"]), bytes.fromhex(message["secret"])).load()
        self.engine = None
        engine = self._engine(settings, message)
        engine.load(Path(message["base"]))
        engine.activate(message.get("active"), None, _folders(message))
        self.engine = engine
        self._send(
            "ready",
            message,
            device=str(engine.device),
            dtype=engine.dtype,
            cost=engine.cost,
            problem=engine.problem,
            load_ms=round((perf_counter() - message["received"]) * 1000, 1),
        )

    def _engine(self, settings: Mirror, message: Frame) -> Engine | RemoteEngine:
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
        return RemoteEngine(settings, runs, Path(message["engine"]), self._own)

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

    def _prompt(self, message: Frame) -> Prompt:
        try:
            return Prompt.from_json(message["prompt"])
        except (KeyError, TypeError, AttributeError):
            raise UsageError("The prompt is not one that the mirror understands.") from None

    def _generate(self, message: Frame) -> None:
        engine, prompt = self._opened(), self._prompt(message)
        for said in engine.generate(
            prompt, lambda: self.inbox.is_cancelled(message.get("id")), message["received"]
        ):
            if isinstance(said, Piece):
                self._send("piece", message, **said.to_json())
            else:
                slow = engine.slow if said.engine == "own" else ""
                told = replace(said, engine_problem=engine.problem, slow=slow)
                self._send("usage", message, **told.to_json())

    def _warm(self, message: Frame) -> None:
        cached = self._opened().warm(
            self._prompt(message), lambda: self.inbox.is_cancelled(message.get("id"))
        )
        self._send("warmed", message, cached_tokens=cached)

    def _activate(self, message: Frame) -> None:
        folder = message.get("folder")
        self._opened().activate(
            message.get("active"),
            Path(folder) if folder else None,
            _folders(message) if "generations" in message else None,
        )
        engine = self._opened()
        self._send(
            "activated",
            message,
            active=message.get("active"),
            dtype=engine.dtype,
            cost=engine.cost,
            problem=engine.problem,
        )

    def _runs(self, message: Frame) -> None:
        if self.index is not None:
            self.index.load()
        self._send("runs", message)


def _settings(message: Frame) -> Mirror:
    settings = Settings()
    for name, value in (message.get("settings") or {}).items():
        settings = with_option(settings, f"mirror.{name}", value)
    return settings.mirror


def _folders(message: Frame) -> dict[str, Path]:
    return {g: Path(folder) for g, folder in (message.get("generations") or {}).items()}


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
