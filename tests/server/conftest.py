"""A small daemon in memory behind the real application, on a real runner and a real port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from vaultgpt.errors import Conflict, Forbidden, NotFound
from vaultgpt.options import with_option
from vaultgpt.server.api import make_runner
from vaultgpt.server.events import Broker
from vaultgpt.settings import Settings
from vaultgpt.tasks.vault_service import Task
from vaultgpt.vault.at_cursor import AtCursor, EditorNote, read_editor
from vaultgpt.wire import Piece, Prompt, Usage

TOKEN = "5" * 64
PHONE_TOKEN = "7" * 64
ORIGIN = "https://notes.example"


class FakeService:
    """The one faked seam: says `pieces`, remembers what it was told."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.settings: Settings = with_option(Settings(), "server.origins", ORIGIN)
        self.prompts: list[Prompt] = []
        self.emitted: list[str] = []
        self.accepted: list[tuple[str, str | None]] = []
        self.touched = 0
        self.pieces = [Piece(0, " and then"), Piece(0, " it rained.", "stop")]
        self.scored: list[Piece] = []  # said first where the prompt is echoed
        self.failure: Exception | None = None  # raised after the pieces
        self.hold: asyncio.Event | None = None  # waits here before the first piece: prefill
        self.hold_after: asyncio.Event | None = None  # or after the pieces
        self.ended = asyncio.Event()  # the generation's iterator was closed
        self.training = False
        self.writes_on = ""  # a base that is not the settings'

    async def base(self) -> str:
        return self.writes_on or self.settings.base

    def token(self) -> str:
        return TOKEN

    def phone_token(self) -> str:
        return PHONE_TOKEN

    def gone(self) -> None:
        return None

    def touch(self) -> None:
        self.touched += 1

    async def ask(self, task: Task[Any, Any], request: Any) -> Any:
        name = f"{task.method} {task.path}"
        if name == "POST /v1/accepted":
            self.accepted.append((request.text, request.path))
        if name == "GET /v1/notes" and request.path != "Träume/a.md":
            raise NotFound("There is no such note in the index.")
        if name == "GET /v1/report":
            raise NotFound("No round has been closed yet.")
        if self.training and name in ("POST /v1/train", "POST /v1/report"):
            raise Conflict("A round runs already.")
        self.training |= name == "POST /v1/train"
        answers: dict[str, Any] = {
            "GET /v1/status": {"notes": 3, "active": "g000001"},
            "GET /v1/generations": {
                "generations": [{"id": "g000001", "created": 1700000000.5, "active": True}]
            },
            "POST /v1/report": {"generation": "g000001", "sentences": ["It reads well."]},
            "GET /v1/tags": {"tags": {"dream": 2}, "years": {"2019": 1}},
            "GET /v1/notes": {"used": True, "why": "used", "prose": "x"},
            "POST /v1/train": {"kind": "fresh" if getattr(request, "fresh", 0) else "incremental"},
            "POST /v1/generations/{id}/activate": {"active": getattr(request, "id", None)},
        }
        return answers.get(name, {"ok": True})

    async def check_note(self, path: str | None, tags: tuple[str, ...]) -> str | None:
        if path == "private.md" or "private" in tags:
            raise Forbidden("The rules leave this note out.", "tag", param="vaultgpt.path")
        return "2019-03-14" if path == "dated.md" else None

    async def at_cursor(self, note: EditorNote) -> AtCursor:
        return read_editor(Path("/nowhere"), self.settings.rules, note)

    async def generate(self, prompt: Prompt) -> AsyncIterator[Piece | Usage]:
        self.prompts.append(prompt)
        try:
            if self.hold is not None:
                await self.hold.wait()
            for piece in self.scored if prompt.echo else []:
                yield piece
            for piece in self.pieces:
                yield piece
            if self.hold_after is not None:
                await self.hold_after.wait()
            if self.failure is not None:
                raise self.failure
            yield Usage("g000001", 7, 5, 4, 12.5, 90.0, sure=(0.5, 0.25))
        finally:
            self.ended.set()

    async def warm(self, prompt: Prompt) -> int:
        self.prompts.append(prompt)
        return 4

    def note_emitted(self, text: str) -> None:
        self.emitted.append(text)

    def gauges(self) -> dict[str, float]:
        return {"notes": 3.0}


class Api:
    """The application on 127.0.0.1 and a client that sends the token."""

    def __init__(
        self, service: FakeService, runner: web.AppRunner, session: aiohttp.ClientSession, port: int
    ) -> None:
        self.service, self.runner, self.session, self.port = service, runner, session, port

    async def get(self, path: str, **kwargs: Any) -> tuple[int, Any, Any]:
        """Status, JSON (or text), headers."""
        return await self._ask("GET", path, **kwargs)

    async def post(self, path: str, body: Any = None, **kwargs: Any) -> tuple[int, Any, Any]:
        """Status, JSON (or text), headers; `body` as JSON unless `data` is given."""
        if "data" not in kwargs:
            kwargs["json"] = {} if body is None else body
        return await self._ask("POST", path, **kwargs)

    async def _ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        token: str | None = TOKEN,
        **kwargs: Any,
    ) -> tuple[int, Any, Any]:
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(
            method, url, headers={**sent, **(headers or {})}, **kwargs
        ) as answer:
            if "json" in answer.content_type:
                return answer.status, await answer.json(), answer.headers
            return answer.status, await answer.text(), answer.headers

    async def raw(self, request: bytes) -> bytes:
        """Bytes in, bytes out, over a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        async with asyncio.timeout(5):
            answer = await reader.read(65536)
        writer.close()
        return answer


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    service = FakeService()
    runner = make_runner(service)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        yield Api(service, runner, session, runner.addresses[0][1])
    await runner.cleanup()
