"""Clients that hold connections: half open, too many, too slow; and logs that they could fill."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.server.conftest import TOKEN, Api, FakeService
from vaultgpt.daemon.telling import start_log, stop_log
from vaultgpt.server import connections, problems
from vaultgpt.server.api import make_runner
from vaultgpt.wire import Piece

HEAD = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The application on a real socket within the limits, whose times are a tenth of the real."""
    monkeypatch.setattr(connections, "_HALF_OPEN_S", 1.0)
    monkeypatch.setattr(connections, "_SLOW_READER_S", 1.0)
    monkeypatch.setattr(connections, "_LOOK_S", 0.1)
    monkeypatch.setattr(problems, "_BODY_S", 1.0)
    service = FakeService()
    runner = make_runner(service)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0), backlog=128)
    sock.setblocking(False)
    listening = await connections.listen(runner, sock)
    async with aiohttp.ClientSession() as session:
        yield Api(service, runner, session, sock.getsockname()[1])
    listening.close()
    await runner.cleanup()


async def gone(reader: asyncio.StreamReader, limit_s: float = 5.0) -> float:
    """Seconds until the other end has closed."""
    began = time.monotonic()
    async with asyncio.timeout(limit_s):
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
    return time.monotonic() - began


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n"], ids=len
)
async def test_a_half_open_connection_is_closed(api: Api, sent: bytes) -> None:
    """1. A client sends nothing, or half of a request, and waits. Result: it is cut off in time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(sent)
    assert 0.5 < await gone(reader) < 3
    writer.close()


async def test_a_dripping_head_and_a_body_that_does_not_come_are_cut_off(api: Api) -> None:
    """1. A head comes byte by byte. 2. Another request's body stays away. Result: the first is cut
    off, the second answered with 408, both in time.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert await gone(reader) < 3
    dripping.cancel()
    slow, sender = await asyncio.open_connection("127.0.0.1", api.port)
    sender.write(f"POST /v1/completions HTTP/1.1\r\n{HEAD}Content-Length: 99\r\n\r\n{{".encode())
    async with asyncio.timeout(4):
        answer = await slow.read(65536)
    assert answer.startswith(b"HTTP/1.1 408") and b"body_too_slow" in answer
    sender.close()


async def test_a_used_connection_may_rest(api: Api) -> None:
    """1. A request is answered. 2. Nothing for longer than a half-open one may live. 3. Another.
    Result: the same connection serves both.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    for _ in range(2):
        writer.write(f"GET /v1/status HTTP/1.1\r\n{HEAD}\r\n".encode())
        async with asyncio.timeout(3):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(1.5)
    writer.close()


async def test_a_long_answer_is_not_taken_for_half_open(api: Api) -> None:
    """1. A completion takes longer than a half-open connection may live. Result: it is whole."""
    api.service.hold_after = asyncio.Event()
    asyncio.get_running_loop().call_later(1.6, api.service.hold_after.set)
    status, body, _ = await api.post("/v1/completions", {"prompt": "x" * 200_000})
    assert status == 200 and body["choices"][0]["text"]


async def test_three_hundred_half_open_connections_stop_nobody(api: Api) -> None:
    """1. 300 connections are opened and left. 2. Somebody asks. Result: answered at once; no more
    than the limit are held, and none of the 300 after their time.
    """
    opened = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(300)]
    began = time.monotonic()
    assert (await api.get("/v1/status"))[0] == 200
    assert time.monotonic() - began < 1
    closed = await asyncio.gather(*(gone(reader) for reader, _ in opened))
    assert len(closed) == 300
    for _, writer in opened:
        writer.close()


async def test_a_reader_that_does_not_read_is_cut_off_and_holds_nobody_up(api: Api) -> None:
    """1. A long answer goes to a client that reads nothing. 2. Another asks meanwhile. Result: the
    generation of the first has ended before its reader is cut off, and what it said is kept.
    """
    api.service.pieces = [Piece(0, "x" * 50_000) for _ in range(160)]
    body = '{"prompt": "x", "stream": true}'
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", api.port))
    head = f"POST /v1/completions HTTP/1.1\r\n{HEAD}Content-Length: {len(body)}\r\n\r\n{body}"
    await loop.sock_sendall(client, head.encode())
    async with asyncio.timeout(10):
        await api.service.ended.wait()
        began = time.monotonic()
        while not api.service.emitted:
            await asyncio.sleep(0.05)
    assert time.monotonic() - began < 4
    assert len(api.service.emitted[0]) == 8_000_000
    client.close()


def test_a_message_is_logged_at_most_so_often(tmp_path: Path) -> None:
    """1. 5,000 bad requests a second. Result: a few lines a minute, of this message alone."""
    handler = start_log(tmp_path)
    try:
        for _ in range(5000):
            logging.getLogger("aiohttp.server").error("Error handling request from %s", "me")
        logging.getLogger("vaultgpt.daemon").error("round failed: %s", "ValueError")
    finally:
        stop_log(handler)
    lines = (tmp_path / "daemon.log").read_text().splitlines()
    assert len(lines) <= 21 and "round failed" in lines[-1]


async def test_the_newest_request_of_a_user_ends_the_older_one(api: Api) -> None:
    """1. A user's request waits for the mirror. 2. The same user asks again, another user too.
    Result: the older one ends with 409 at once, the others are answered.
    """
    api.service.hold = asyncio.Event()
    body = {"prompt": "x", "user": "obsidian"}
    older = asyncio.create_task(api.post("/v1/completions", body))
    async with asyncio.timeout(5):
        while not api.service.prompts:
            await asyncio.sleep(0.01)
        newer = asyncio.create_task(api.post("/v1/completions", body))
        status, answer, _ = await older
        assert (status, answer["error"]["code"]) == (409, "conflict")
        other = asyncio.create_task(api.post("/v1/completions", {**body, "user": "other"}))
        await asyncio.sleep(0.1)
        api.service.hold.set()
        assert [(await newer)[0], (await other)[0]] == [200, 200]


async def test_a_server_without_connections_does_not_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle daemon sleeps: the look for half-open connections begins with the first of them."""
    woken: list[float] = []

    async def count(seconds: float) -> None:
        woken.append(seconds)
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "sleep", count)
    limits = connections._Limits(lambda: None, 8)
    watch = asyncio.create_task(limits.watch())
    await asyncio.wait([watch], timeout=0.02)
    assert not woken
    limits.opened(connections._Guarded(None, limits))
    await asyncio.wait([watch], timeout=0.02)
    assert len(woken) == 1
    watch.cancel()


async def test_a_connection_that_owes_nothing_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hears of events stays open all day; the look for half-open ones sleeps meanwhile."""
    woken: list[float] = []
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: woken.append(seconds))
    limits = connections._Limits(lambda: None, 8)
    one = connections._Guarded(None, limits)
    limits.opened(one)
    one.owes_since = None
    watch = asyncio.create_task(limits.watch())
    await asyncio.wait([watch], timeout=0.02)
    assert not woken and not watch.done()
    watch.cancel()
