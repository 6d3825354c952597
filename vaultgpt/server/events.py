"""Server-sent events: the broker between the daemon's loop and its listeners.

Knows nothing about what the events say. A listener that does not read loses the oldest ones.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import ClassVar

_HEARTBEAT_S = 15.0
_BACKLOG = 256


@dataclass(frozen=True)
class Event:
    """One event: its name ("scan", "progress", "verdict", "swap") and its fields as figures."""

    name: ClassVar[str]

    @property
    def data(self) -> Mapping[str, object]:
        """Its figures as JSON."""
        return asdict(self)

    def frame(self) -> bytes:
        """The event as it goes over the wire."""
        return f"event: {self.name}\ndata: {json.dumps(self.data, ensure_ascii=False)}\n\n".encode()


@dataclass(eq=False)
class _Listener:
    """One reader's place in the stream."""

    closed: bool = False
    waiting: deque[Event] = field(default_factory=lambda: deque(maxlen=_BACKLOG))
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def events(self, heartbeat_s: float | None = _HEARTBEAT_S) -> AsyncIterator[Event | None]:
        """Events as they come; None after `heartbeat_s` without one, to find the dead. Who listens
        in this process, and can't die, needs none."""
        while True:
            while self.waiting:
                yield self.waiting.popleft()
            if self.closed:
                return
            self.woken.clear()
            try:
                async with asyncio.timeout(heartbeat_s):
                    await self.woken.wait()
            except TimeoutError:
                yield None


class Broker:
    """Hands every published event to every listener. To be used from one event loop."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._listeners)

    def publish(self, event: Event) -> None:
        """Tell all listeners; never waits."""
        for listener in self._listeners:
            listener.waiting.append(event)
            listener.woken.set()

    def close(self) -> None:
        """End all streams after what they still hold."""
        self._closed = True
        for listener in self._listeners:
            listener.closed = True
            listener.woken.set()

    @contextmanager
    def subscribe(self) -> Iterator[_Listener]:
        """A listener that hears all that is published from now on, until the block ends."""
        listener = _Listener(closed=self._closed)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
