"""POST /v1/completions and /v1/warm: OpenAI's text completion, whole or as server-sent events.

Knows nothing about how text is made. What was emitted is recorded however the request ends.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from vaultgpt.errors import VaultGPTError, WorkerDied
from vaultgpt.server import keys
from vaultgpt.server.events import data_frame, error_frame
from vaultgpt.server.parsing import check_model, note_path, parse
from vaultgpt.server.problems import Busy, body_of
from vaultgpt.server.schemas import CompletionRequest, WarmRequest, to_prompt
from vaultgpt.wire import Piece, Prompt, Usage

STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}


class Answer:
    """One completion as it grows: the texts by alternative, and the chunks of the wire."""

    def __init__(self, prompt: Prompt, include_usage: bool) -> None:
        self.prompt = prompt
        self.texts = [""] * prompt.n
        self.finish: list[str | None] = [None] * prompt.n
        self.usage: Usage | None = None
        self._include_usage = include_usage
        self._head: dict[str, Any] = {
            "id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion",
            "created": int(time.time()), "model": prompt.model,
        }

    def add(self, item: Piece | Usage) -> None:
        """Take in the next thing the engine says."""
        if isinstance(item, Usage):
            self.usage = item
            return
        self.texts[item.index] += item.text
        if item.finish is not None:
            self.finish[item.index] = "length" if item.finish == "length" else "stop"

    def chunk(self, piece: Piece, last: bool) -> dict[str, Any]:
        """The wire's form of one piece; the last one of a stream carries our figures."""
        finish = self.finish[piece.index] if piece.finish is not None else None
        value = {**self._head, "choices": [_choice(piece.index, piece.text, finish)]}
        if last and self.usage is not None:
            value |= {"usage": self._usage_json(self.usage), "vaultgpt": self._ours(self.usage)}
        elif self._include_usage:
            value["usage"] = None
        return value

    def whole(self) -> dict[str, Any]:
        """The answer to a request that does not stream. WorkerDied when the engine said no end."""
        if self.usage is None:
            raise WorkerDied("The mirror stopped before it had answered.", "Ask again.")
        choices = [_choice(i, text, finish or "stop")
                   for i, (text, finish) in enumerate(zip(self.texts, self.finish, strict=True))]
        return {**self._head, "choices": choices, "usage": self._usage_json(self.usage),
                "vaultgpt": self._ours(self.usage)}

    def _usage_json(self, usage: Usage) -> dict[str, Any]:
        return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.tokens,
                "total_tokens": usage.prompt_tokens + usage.tokens,
                "prompt_tokens_details": {"cached_tokens": usage.cached_tokens}}

    def _ours(self, usage: Usage) -> dict[str, Any]:
        return {"generation": usage.generation, "tags": list(self.prompt.tags),
                "first_token_ms": usage.first_token_ms, "cached_tokens": usage.cached_tokens,
                "tokens_per_s": usage.tokens_per_s}


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "finish_reason": finish, "logprobs": None}


async def completions(request: web.Request) -> web.StreamResponse:
    """Write on from the prompt."""
    body = await parse(request, CompletionRequest)
    prompt, path = await _checked(request, body)
    service, metrics = request.app[keys.SERVICE], request.app[keys.METRICS]
    usage_wanted = bool(body.stream_options and body.stream_options.include_usage)
    answer = Answer(prompt, usage_wanted)
    with _slot(request):
        try:
            async with aclosing(service.generate(prompt)) as items:  # type: ignore[type-var]
                if body.stream:
                    return await _stream(request, answer, items)
                async for item in items:
                    answer.add(item)
            return web.json_response(answer.whole())
        finally:
            for text in filter(None, answer.texts):
                service.note_emitted(text, path)
            if answer.usage is not None:
                metrics.completion(answer.usage.tokens, answer.usage.first_token_ms)
            else:
                metrics.cancelled += 1


async def _stream(
    request: web.Request, answer: Answer, items: AsyncIterator[Piece | Usage]
) -> web.StreamResponse:
    """Send chunks as they come. An error before the first chunk is a plain HTTP error."""
    first = await anext(items, None)
    response = web.StreamResponse(headers=STREAM_HEADERS)
    await response.prepare(request)
    held: Piece | None = None  # an alternative's end waits until it is known not to be the last
    try:
        item = first
        while item is not None:
            answer.add(item)
            if held is not None:
                await response.write(data_frame(answer.chunk(held, isinstance(item, Usage))))
                held = None
            if isinstance(item, Piece) and item.finish is not None:
                held = item
            elif isinstance(item, Piece):
                await response.write(data_frame(answer.chunk(item, False)))
            item = await anext(items, None)
        if answer.usage is None:
            raise WorkerDied("The mirror stopped before it had answered.", "Ask again.")
        await response.write(data_frame("[DONE]"))
    except VaultGPTError as error:
        await response.write(error_frame(body_of(error)))
    await response.write_eof()
    return response


async def warm(request: web.Request) -> web.Response:
    """Prefill and cache the prompt, so that the hotkey finds it ready."""
    body = await parse(request, WarmRequest)
    prompt, _path = await _checked(request, body)
    with _slot(request):
        cached = await request.app[keys.SERVICE].warm(prompt)
    return web.json_response({"cached_tokens": cached})


async def _checked(request: web.Request, body: WarmRequest) -> tuple[Prompt, str | None]:
    """The prompt, once the model's name is one and the rules allow the note."""
    service = request.app[keys.SERVICE]
    check_model(body.model)
    path = None if body.vaultgpt.path is None else note_path(body.vaultgpt.path)
    tags = tuple(body.vaultgpt.tags)
    prompt = to_prompt(body, service.settings.mirror)
    if path is not None or tags:
        date = await service.check_note(path, tags)
        if date is not None and "date" not in body.vaultgpt.model_fields_set:
            prompt = replace(prompt, date=date[:7])  # null asks for none, silence for the note's
    service.touch()
    return prompt, path


@contextmanager
def _slot(request: web.Request) -> Iterator[None]:
    """A place in the queue for the mirror: one is served, `server.queue` may wait, Busy beyond."""
    tasks, limit = request.app[keys.WRITING], request.app[keys.SERVICE].settings.server.queue
    if len(tasks) > limit:
        raise Busy("Too many requests wait for the mirror.", "Ask again in a moment.",
                   retry_after_s=2.0)
    task = request.task
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)
