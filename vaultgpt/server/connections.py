"""Connections to the API: at most so many, none half open for long, no reader that holds us up.

Stands between the listening socket and aiohttp, which has no limit of its own. Knows nothing about
HTTP but when a request is being answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

_MOST = 128
_REFUSED = (
    b'{"error": {"message": "This is no HTTP request that can be served.", '
    b'"type": "invalid_request_error", "code": "invalid_request", "param": null}}'
)
_SLOW_READER_S = 30.0
_HALF_OPEN_S = 10.0  # from the first byte, or the connection, to a whole request
_LOOK_S = 1.0
_answers: weakref.WeakKeyDictionary[asyncio.BaseTransport, tuple[float, bool]]
_answers = weakref.WeakKeyDictionary()  # when the last request came whole, and whether it goes on


@contextlib.contextmanager
def answering(request: web.Request) -> Iterator[None]:
    """The request has come whole, and is answered meanwhile."""
    transport = request.transport
    if transport is not None:
        _answers[transport] = (time.monotonic(), True)
    try:
        yield
    finally:
        if transport is not None:
            _answers[transport] = (_answers[transport][0], False)


async def written(request: web.Request, writing: Awaitable[None]) -> None:
    """Wait for a part of an answer to go out; a reader too slow for it is cut off."""
    try:
        async with asyncio.timeout(_SLOW_READER_S):
            await writing
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader is too slow") from None


class _Guarded(asyncio.Protocol):
    """One connection: hands everything on, and knows since when it owes us a request."""

    def __init__(self, inner: Any, limits: _Limits) -> None:
        self._inner, self._limits = inner, limits
        self.transport: asyncio.Transport | None = None
        self.owes_since: float | None = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._inner.connection_made(transport)
        self._limits.opened(self)

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        if self.owes_since is None and not _answers.get(self.transport, (0.0, False))[1]:
            self.owes_since = time.monotonic()
            self._limits.owing.set()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return bool(self._inner.eof_received())

    def connection_lost(self, error: Exception | None) -> None:
        self._limits.open.discard(self)
        self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def late(self, now: float) -> bool:
        """Whether a whole request has not come in time."""
        if self.transport is None:
            return False
        came, _ = _answers.get(self.transport, (0.0, False))
        if self.owes_since is not None and came >= self.owes_since:
            self.owes_since = None
        return self.owes_since is not None and now - self.owes_since > _HALF_OPEN_S


class _Silent(RequestHandler):
    """aiohttp's connection, whose own refusals of what is no HTTP repeat nothing of it."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        self.log_exception("Error handling request", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer was sent already")
        answer = web.Response(status=status, body=_REFUSED, content_type="application/json")
        answer.force_close()
        return answer


class _Limits:
    """All connections of one listening socket."""

    def __init__(self, make: Callable[[], Any], most: int) -> None:
        self._make, self._most = make, most
        self.open: set[_Guarded] = set()
        self.owing = asyncio.Event()  # a connection owes a request

    def __call__(self) -> _Guarded:
        inner = self._make()
        inner.__class__ = _Silent
        return _Guarded(inner, self)

    def opened(self, one: _Guarded) -> None:
        """One more. Beyond the limit the one that has owed a request longest gives way."""
        self.open.add(one)
        self.owing.set()
        if len(self.open) > self._most:
            owing = [c for c in self.open if c.owes_since is not None and c is not one]
            self._abort(min(owing, key=lambda c: c.owes_since or 0.0, default=one))

    def _abort(self, one: _Guarded) -> None:
        self.open.discard(one)
        if one.transport is not None:
            one.transport.abort()

    async def watch(self) -> None:
        """Close what is half open, until cancelled. Where no connection owes a request, as one that
        hears of events, nothing wakes it."""
        while True:
            self.owing.clear()
            now = time.monotonic()
            for one in [c for c in self.open if c.late(now)]:
                self._abort(one)
            since = [c.owes_since for c in self.open if c.owes_since is not None]
            if since:
                await asyncio.sleep(max(_LOOK_S, min(since) + _HALF_OPEN_S - now))
            else:
                await self.owing.wait()


class _Listening:
    """A socket that is listened on."""

    def __init__(
        self, server: asyncio.Server, limits: _Limits, watch: asyncio.Task[None], inner: web.Server
    ) -> None:
        self._server, self._limits, self._watch, self._inner = server, limits, watch, inner

    def answering(self) -> int:
        """How many requests are under way, streams of events with them."""
        found = [c.transport for c in self._limits.open if c.transport is not None]
        return sum(_answers.get(transport, (0.0, False))[1] for transport in found)

    def close(self) -> None:
        """Take no more connections."""
        self._watch.cancel()
        self._server.close()

    def finish(self) -> None:
        """Take no more requests: a connection ends with the one that it is answered now."""
        self.close()
        self._inner.pre_shutdown()


async def listen(runner: web.AppRunner, sock: socket.socket) -> _Listening:
    """Serve the application of a runner that was set up on a listening socket, within limits."""
    assert runner.server is not None, "call setup() first"
    limits, loop = _Limits(runner.server, _MOST), asyncio.get_running_loop()
    server = await loop.create_server(limits, sock=sock)
    return _Listening(server, limits, loop.create_task(limits.watch()), runner.server)
