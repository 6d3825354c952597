"""POST /v1/completions and /v1/warm: OpenAI's text completion, whole or as server-sent events.

Knows nothing about how text is made. What was emitted is recorded however the request ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from vaultgpt.errors import Conflict, Forbidden, Unavailable, VaultGPTError, WorkerDied, expected
from vaultgpt.server.connections import written
from vaultgpt.server.context import METRICS, NEWEST, SERVICE, WRITING
from vaultgpt.server.growing import GrowingCompletion
from vaultgpt.server.problems import BadRequest, ErrorBody, body_of, parse
from vaultgpt.tasks.language import unread_text
from vaultgpt.tasks.likeness import LIKENESS, LikenessRequest
from vaultgpt.tasks.open_note import Label
from vaultgpt.tasks.schemas import (
    Completion,
    CompletionRequest,
    WarmRequest,
    check_model,
    note_path,
    to_prompt,
)
from vaultgpt.vault.entry import Judgement
from vaultgpt.vault.place import Place
from vaultgpt.wire import Piece, Prompt, Usage

_log = logging.getLogger("vaultgpt.server")
_begun: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()  # whose stream has begun
_UNASKED = Judgement(
    False, "cursor in no line of prose", "A clause goes on with a line of prose, and here is none."
)
STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}


async def completions(request: web.Request) -> web.StreamResponse:
    """Write on from the prompt. Of one `user` the newest request wins: the older ones end."""
    body = await parse(request, CompletionRequest)
    asked = await _checked(request, body)
    asked.allowed()
    with _newest(request, body.user):
        return await _complete(request, body, asked)


async def _complete(
    request: web.Request, body: CompletionRequest, asked: _CompletionAsked
) -> web.StreamResponse:
    service, metrics = request.app[SERVICE], request.app[METRICS]
    answer = GrowingCompletion(asked.prompt, asked.label, asked.place, body)
    with _slot(request):
        try:
            async with aclosing(answer.written(service.generate)) as items:  # type: ignore[type-var]
                if body.stream:
                    return await _stream(request, answer, items)
                async for item in items:
                    answer.add(item)
            return web.json_response(answer.whole())
        finally:
            for text in answer.emitted():
                service.note_emitted(text)
            if answer.usage is not None:
                metrics.completion(answer.usage.tokens, answer.usage.first_token_ms)
            else:
                metrics.cancelled += 1


async def _stream(
    request: web.Request, answer: GrowingCompletion, items: AsyncIterator[Piece | Usage]
) -> web.StreamResponse:
    """Send chunks as they come. An error before the first chunk is a plain HTTP error.

    The mirror writes on while the reader reads: who reads slowly holds nobody up."""
    first = await anext(items, None)
    response = web.StreamResponse(headers=STREAM_HEADERS)
    _begun.add(request.task)
    await response.prepare(request)
    frames: asyncio.Queue[bytes | None] = asyncio.Queue()
    writing = asyncio.create_task(_into(frames, answer, first, items))
    try:
        while (frame := await frames.get()) is not None:
            await written(request, response.write(frame))
    finally:
        writing.cancel()
        await asyncio.wait([writing])
    await response.write_eof()
    return response


async def _into(
    frames: asyncio.Queue[bytes | None],
    answer: GrowingCompletion,
    item: Piece | Usage | None,
    items: AsyncIterator[Piece | Usage],
) -> None:
    """Everything that goes over the wire, then None, however it ends."""
    held: Piece | None = None  # an alternative's end waits until it is known not to be the last
    try:
        while item is not None:
            answer.add(item)
            if held is not None:
                frames.put_nowait(_data_frame(answer.chunk(held, isinstance(item, Usage))))
                held = None
            if isinstance(item, Piece) and item.finish is not None:
                held = item
            elif isinstance(item, Piece):
                frames.put_nowait(_data_frame(answer.chunk(item, False)))
            item = await anext(items, None)
        if answer.usage is None:
            raise WorkerDied("The mirror stopped before it had answered.", "Ask again.")
        if answer.include_usage:
            frames.put_nowait(_data_frame(answer.usage_chunk()))
        frames.put_nowait(_data_frame("[DONE]"))
    except VaultGPTError as error:
        frames.put_nowait(_error_frame(body_of(error)))
    except Exception as error:
        _log.error("a stream failed: %s", type(error).__name__)
        known = expected(error) or VaultGPTError("Something went wrong inside vaultgpt.")
        frames.put_nowait(_error_frame(body_of(known)))
    finally:
        frames.put_nowait(None)


async def warm(request: web.Request) -> web.Response:
    """Prefill and cache the prompt, so that the hotkey finds it ready."""
    asked = await _checked(request, await parse(request, WarmRequest))
    if asked.label is not None and asked.label.refused is not None:
        return web.json_response({"cached_tokens": 0, "label": asked.label.model_dump()})
    with _slot(request):
        cached = await request.app[SERVICE].warm(asked.prompt)
    label = {} if asked.label is None else {"label": asked.label.model_dump()}
    return web.json_response({"cached_tokens": cached, **label})


async def label(request: web.Request) -> web.Response:
    """How a note reads at its cursor. Nothing is prefilled: no worker is woken for it."""
    body = await parse(request, WarmRequest)
    if body.vaultgpt.note is None:
        raise BadRequest("Give the note.", "vaultgpt.note")
    asked = await _checked(request, body)
    return web.json_response({"label": asked.label.model_dump() if asked.label else None})


async def likeness(request: web.Request) -> web.Response:
    """How like its author each sentence of a note is."""
    asked = await parse(request, LikenessRequest)
    with _slot(request):
        return web.json_response(await request.app[SERVICE].ask(LIKENESS, asked))


@dataclass(frozen=True)
class _CompletionAsked:
    """A request as it was read: the prompt, a note's label, and where the text is to stand."""

    prompt: Prompt
    label: Label | None = None  # of a note that was sent in place of a prompt
    place: Place = field(default_factory=Place)

    def allowed(self) -> None:
        """Forbidden, with the reason, where nothing is written at the note's cursor."""
        if self.label is None or (refused := self.label.refused) is None:
            return
        rule = not refused.code.startswith("cursor")
        why = f"The rules leave this note out. {refused.why}" if rule else refused.why
        raise Forbidden(why, refused.code, param="vaultgpt.note")


async def _checked(request: web.Request, body: WarmRequest) -> _CompletionAsked:
    """What is asked, once the model's name is one and the rules allow the note."""
    service = request.app[SERVICE]
    check_model(body.model)
    ours, settings = body.vaultgpt, service.settings.mirror
    if ours.note is not None:
        path = None if ours.note.path is None else note_path(ours.note.path)
        if ours.tags:
            await service.check_note(None, tuple(ours.tags))
        note = await service.at_cursor(ours.note.opened(path))
        prompt = to_prompt(body, settings, note)
        if prompt.length == "clause" and note.judgement.used and not note.place.flows:
            note = replace(note, judgement=_UNASKED)
        warning = unread_text(await service.base(), prompt.text, service.settings.base)
        service.touch()
        return _CompletionAsked(prompt, Label.of(prompt, note, warning), note.place)
    path = None if ours.path is None else note_path(ours.path)
    prompt = to_prompt(body, settings)
    if path is not None or ours.tags:
        date = await service.check_note(path, tuple(ours.tags))
        if date is not None and "date" not in ours.model_fields_set:
            prompt = replace(prompt, date=date[:7])  # null asks for none, silence for the note's
    service.touch()
    return _CompletionAsked(prompt)


@contextmanager
def _newest(request: web.Request, user: object) -> Iterator[None]:
    """End what the same user asked before. Conflict for the older one, where it has said nothing;
    else its stream breaks off."""
    if not isinstance(user, str) or not user:
        yield
        return
    newest, task = request.app[NEWEST], request.task
    if (older := newest.get(user)) is not None:
        older.cancel()
    newest[user] = task
    try:
        yield
    except asyncio.CancelledError:
        if newest.get(user) is task or task in _begun:
            raise  # the client left, or has heard a part already
        task.uncancel()
        raise Conflict("A newer request took this one's place.") from None
    finally:
        if newest.get(user) is task:
            del newest[user]


@contextmanager
def _slot(request: web.Request) -> Iterator[None]:
    """A place in the queue for the mirror: one is served, `server.queue` may wait, Busy beyond."""
    tasks, limit = request.app[WRITING], request.app[SERVICE].settings.server.queue
    if len(tasks) > limit:
        raise _Busy(
            "Too many requests wait for the mirror.", "Ask again in a moment.", retry_after_s=2.0
        )
    task = request.task
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)


def _data_frame(value: Completion | str) -> bytes:
    """An unnamed event, as OpenAI's clients read them: JSON, or the bare word [DONE]."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def _error_frame(body: ErrorBody) -> bytes:
    """An event named "error": the stream ends after it, without [DONE]."""
    return f"event: error\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


class _Busy(Unavailable):
    """More requests wait for the mirror than `server.queue` allows."""

    code = "queue_full"
    http_status = 429
