"""What the API needs of the daemon: the one seam between them.

Knows nothing about how it is done. Every method may raise a VaultGPTError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from vaultgpt.config import Settings
from vaultgpt.server.events import Broker
from vaultgpt.wire import Piece, Prompt, Usage


class Service(Protocol):
    """The daemon as the API sees it."""

    broker: Broker

    @property
    def settings(self) -> Settings:
        """The vault's settings as they stand now."""

    def token(self) -> str:
        """The bearer token as it stands now."""

    def touch(self) -> None:
        """Somebody writes: a request for text came in."""

    async def status(self) -> dict[str, Any]:
        """CONTRACT.md's `status`."""

    async def generations(self) -> list[dict[str, Any]]:
        """Every kept generation, newest first, each with at least "id", "created", "active"."""

    async def report(self, measure: bool = False) -> dict[str, Any]:
        """The active generation's report, "voice" and "sentences"; NotFound before the first round.

        `measure`: have its voice measured first where it is not known; Conflict while a round runs.
        """

    async def tags(self) -> dict[str, Any]:
        """{"tags": {tag: notes}, "years": {year: notes}} of the notes in use."""

    async def note(self, path: str) -> dict[str, Any]:
        """CONTRACT.md's `why` of one note; NotFound or Forbidden for a path that names none."""

    async def check_note(self, path: str | None, tags: tuple[str, ...]) -> str | None:
        """Forbidden, with the rule's code, when the rules leave out the note or a tag.

        The date of the note at `path` comes back: ISO, of a day, month or year; None for none.
        """

    def generate(self, prompt: Prompt) -> AsyncIterator[Piece | Usage]:
        """Pieces, then one Usage; closing the iterator cancels the generation."""

    async def warm(self, prompt: Prompt) -> int:
        """Prefill and cache the prompt; the number of its tokens that were cached already."""

    def note_emitted(self, text: str, path: str | None) -> None:
        """Keep for provenance that the mirror said this; never waits."""

    async def note_accepted(self, text: str, path: str | None) -> None:
        """Keep for provenance that the author took this."""

    async def train(self, fresh: bool) -> dict[str, Any]:
        """Start a round now; Conflict while one runs."""

    async def cancel_training(self) -> dict[str, Any]:
        """End the running round; Conflict when none runs."""

    async def activate(self, generation: str) -> dict[str, Any]:
        """Make a kept generation, or "base", the active one."""

    async def forget(self, path: str) -> dict[str, Any]:
        """Unlearn one note."""

    async def reload(self) -> dict[str, Any]:
        """Read settings, token and ledger again."""

    def gauges(self) -> dict[str, float]:
        """Figures for /metrics, by Prometheus name; no prose."""
