"""What handlers share: the daemon as the API sees it, and counters in Prometheus' text format.

Labels are routes and statuses, never prose. Knows nothing about how the daemon does it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, TypeVar

from aiohttp import web
from pydantic import BaseModel

from vaultgpt.errors import VaultGPTError
from vaultgpt.server.events import Broker
from vaultgpt.settings import Settings
from vaultgpt.tasks.vault_service import Task
from vaultgpt.vault.at_cursor import AtCursor, EditorNote
from vaultgpt.wire import Piece, Prompt, Usage

_BUCKETS_MS = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400)
_Q = TypeVar("_Q", bound=BaseModel | None)
_A = TypeVar("_A")


class Service(Protocol):
    """The daemon as the API sees it. Every method may raise a VaultGPTError."""

    broker: Broker

    @property
    def settings(self) -> Settings:
        """The vault's settings as they stand now."""

    def token(self) -> str:
        """The bearer token as it stands now."""

    def phone_token(self) -> str:
        """The phone's bearer token as it stands now."""

    def gone(self) -> VaultGPTError | None:
        """What to say of a state folder that is not in its place."""

    def touch(self) -> None:
        """Somebody writes: a request for text came in."""

    async def ask(self, task: Task[_Q, _A], request: _Q) -> _A:
        """The answer to a task of tasks/."""

    async def check_note(self, path: str | None, tags: tuple[str, ...]) -> str | None:
        """Forbidden, with the rule's code, when the rules leave out the note or a tag.

        The date of the note at `path` comes back: ISO, of a day, month or year; None for none."""

    async def at_cursor(self, note: EditorNote) -> AtCursor:
        """How a note in an editor reads at its cursor, or why nothing is written there."""

    async def base(self) -> str:
        """The name of the base that writes, which need not be the one in the settings."""

    def generate(self, prompt: Prompt) -> AsyncIterator[Piece | Usage]:
        """Pieces, then one Usage; closing the iterator cancels the generation."""

    async def warm(self, prompt: Prompt) -> int:
        """Prefill and cache the prompt; the number of its tokens that were cached already."""

    def note_emitted(self, text: str) -> None:
        """Keep for provenance that the mirror said this; never waits."""

    def gauges(self) -> dict[str, float]:
        """Figures for /metrics, by Prometheus name; no prose."""


class Metrics:
    """What the API has done since it started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.tokens = 0
        self.cancelled = 0
        self._first_token_ms: list[float] = [0.0] * (len(_BUCKETS_MS) + 1)
        self._first_token_sum = 0.0

    def request(self, route: str, status: int) -> None:
        """One answered request; `route` is the route's pattern."""
        self.requests[route, status] += 1

    def completion(self, tokens: int, first_token_ms: float) -> None:
        """One finished completion."""
        self.tokens += tokens
        self._first_token_sum += first_token_ms
        place = sum(first_token_ms > bound for bound in _BUCKETS_MS)
        self._first_token_ms[place] += 1

    def text(self, gauges: Mapping[str, float]) -> str:
        """The whole page."""
        lines = ["# TYPE vaultgpt_requests_total counter"]
        for (route, status), count in sorted(self.requests.items()):
            lines.append(f'vaultgpt_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += [
            "# TYPE vaultgpt_tokens_total counter",
            f"vaultgpt_tokens_total {self.tokens}",
            "# TYPE vaultgpt_cancelled_total counter",
            f"vaultgpt_cancelled_total {self.cancelled}",
            *self._histogram(),
        ]
        for name, value in sorted(gauges.items()):
            lines += [f"# TYPE vaultgpt_{name} gauge", f"vaultgpt_{name} {value:g}"]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name, total, lines = "vaultgpt_first_token_ms", 0.0, []
        for bound, count in zip((*_BUCKETS_MS, "+Inf"), self._first_token_ms, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total:g}')
        return [
            f"# TYPE {name} histogram",
            *lines,
            f"{name}_sum {self._first_token_sum:g}",
            f"{name}_count {total:g}",
        ]


# Where the application keeps what its handlers share.
SERVICE: web.AppKey[Service] = web.AppKey("service", Service)
METRICS: web.AppKey[Metrics] = web.AppKey("metrics", Metrics)
NEWEST: web.AppKey[dict[str, asyncio.Task[Any]]] = web.AppKey("newest", dict)
WRITING: web.AppKey[set[asyncio.Task[Any]]] = web.AppKey("writing", set)
