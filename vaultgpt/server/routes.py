"""The one table of routes: the application and its description are made from it.

Most rows are tasks (tasks/), which the daemon does; the rest is what only a server has: health,
streams, figures. Knows nothing about how a task is done.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NotRequired

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from vaultgpt.errors import NotFound
from vaultgpt.server import completions, visits
from vaultgpt.server.connections import written
from vaultgpt.server.context import METRICS, SERVICE, WRITING
from vaultgpt.server.problems import parse, parse_query
from vaultgpt.tasks.client import proof_of
from vaultgpt.tasks.config import OPTIONS, RELOAD, SET_OPTION
from vaultgpt.tasks.continue_ import ACCEPT
from vaultgpt.tasks.forget import FORGET
from vaultgpt.tasks.generations import ACTIVATE, GENERATIONS
from vaultgpt.tasks.likeness import LIKENESS
from vaultgpt.tasks.open_note import Label
from vaultgpt.tasks.page import BLIND, MONTH, OPEN, PAGE, PHONE, REFRAINS
from vaultgpt.tasks.provenance import MONTHS, PROVENANCE
from vaultgpt.tasks.report import MEASURE, REPORT
from vaultgpt.tasks.request import Nothing, Question
from vaultgpt.tasks.schemas import Completion, CompletionRequest, WarmRequest
from vaultgpt.tasks.status import STATUS, TAGS
from vaultgpt.tasks.train import CANCEL, GIVE_UP, TRAIN
from vaultgpt.tasks.vault_service import Task
from vaultgpt.tasks.why import WHY

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_CONTENT_TYPE = "text/plain; version=0.0.4"
_CHALLENGE_BYTES = (16, 64)  # shortest and longest


@dataclass(frozen=True)
class Route:
    """One row: what is asked, by whom it is answered, and what it does in a sentence."""

    method: str
    path: str
    request: Any  # a pydantic model: the fields of a GET's query and path, or of a POST's body
    answer: Any  # a type of JSON; None for a stream or text
    handler: _Handler
    sentence: str
    status: int = 200


class _HealthRequest(Question):
    """Whether the daemon is up, and that it is the one that holds the token."""

    challenge: str | None = Field(
        None,
        pattern=r"^([0-9A-Fa-f]{2})+$",
        min_length=2 * _CHALLENGE_BYTES[0],
        max_length=2 * _CHALLENGE_BYTES[1],
        description="Random bytes in hex; the answer has their proof, a keyed hash",
    )


class _HealthAnswer(TypedDict, total=False):
    """It is up. `proof` answers a challenge."""

    ok: bool
    proof: str


class _ReportRequest(Question):
    """The report as it is known; the old way to have it measured first."""

    measure: str | None = Field(None, pattern="^[01]$", description="1: as POST /v1/report")


class _ModelRow(TypedDict):
    """OpenAI's model object."""

    id: str
    object: str
    created: int
    owned_by: str


class _ModelRequest(Question):
    """One model."""

    id: str


class _Models(TypedDict):
    """What a completion may name as its model."""

    object: str
    data: list[_ModelRow]


class _Labelled(TypedDict):
    """How a note reads at its cursor."""

    label: Label


class _Warmed(TypedDict):
    """How many of the prompt's tokens were cached already; a note's label."""

    cached_tokens: int
    label: NotRequired[Label]


def _task(task: Task[Any, Any]) -> Route:
    asks = task.request or Nothing

    async def handle(request: web.Request) -> web.Response:
        asked = await _asked(request, asks)
        given = asked if task.request else None
        return _json(await request.app[SERVICE].ask(task, given), task.status)

    return Route(task.method, task.path, asks, task.answer, handle, task.sentence, task.status)


async def _asked(request: web.Request, model: type[Question]) -> Question:
    if request.method == "GET":
        return parse_query(request, model)
    return await parse(request, model)


async def _health(request: web.Request) -> web.Response:
    challenge = parse_query(request, _HealthRequest).challenge
    if challenge is None:
        return _json(_HealthAnswer(ok=True))
    return _json(
        _HealthAnswer(ok=True, proof=proof_of(*_asked_where(request), bytes.fromhex(challenge)))
    )


def _asked_where(request: web.Request) -> tuple[str, int | str]:
    """The token that counts where the daemon is asked, and that place."""
    service = request.app[SERVICE]
    if visits.by_phone(request):
        return service.phone_token(), request.host.lower()
    assert request.transport is not None
    return service.token(), int(request.transport.get_extra_info("sockname")[1])


async def _report(request: web.Request) -> web.Response:
    task = MEASURE if parse_query(request, _ReportRequest).measure == "1" else REPORT
    if task is MEASURE and visits.by_phone(request):
        visits.check_may_ask(request, f"{MEASURE.method} {MEASURE.path}")
    return _json(await request.app[SERVICE].ask(task, None))


async def _link(request: web.Request) -> web.Response:
    await parse(request, Nothing)
    return await visits.link(request)


async def _model_rows(request: web.Request) -> list[_ModelRow]:
    kept = (await request.app[SERVICE].ask(GENERATIONS, None))["generations"]
    names = [("mirror", 0), ("base", 0), *((row["id"], int(row["created"])) for row in kept)]
    return [
        _ModelRow(id=name, object="model", created=created, owned_by="vaultgpt")
        for name, created in names
    ]


async def _models(request: web.Request) -> web.Response:
    return _json(_Models(object="list", data=await _model_rows(request)))


async def _model(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    found = next((row for row in await _model_rows(request) if row["id"] == name), None)
    if found is None:
        raise NotFound("There is no such model.", "GET /v1/models lists them.")
    return _json(found)


async def _events(request: web.Request) -> web.StreamResponse:
    """What the daemon does, as it happens; a comment every quarter of a minute finds the dead."""
    with request.app[SERVICE].broker.subscribe() as listener:
        response = web.StreamResponse(headers=completions.STREAM_HEADERS)
        await response.prepare(request)
        await response.write(b": listening\n\n")
        async for event in listener.events():
            frame = b": still here\n\n" if event is None else event.frame()
            await written(request, response.write(frame))
        await response.write_eof()
    return response


async def _metrics(request: web.Request) -> web.Response:
    gauges = request.app[SERVICE].gauges()
    gauges["writing"] = float(len(request.app[WRITING]))
    return web.Response(
        body=request.app[METRICS].text(gauges).encode(), headers={"Content-Type": _CONTENT_TYPE}
    )


async def _openapi(_request: web.Request) -> web.Response:
    from vaultgpt.server.openapi import document

    return _json(document(ROUTES))


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(
        value, status=status, dumps=lambda v: json.dumps(v, ensure_ascii=False)
    )


ROUTES = (
    Route("GET", "/health", _HealthRequest, _HealthAnswer, _health, "Says only ok; needs no token"),
    _task(STATUS),
    Route(
        "GET", "/v1/models", Nothing, _Models, _models, '"mirror", "base" and the kept generations'
    ),
    Route("GET", "/v1/models/{id}", _ModelRequest, _ModelRow, _model, "One of them"),
    _task(GENERATIONS),
    _task(ACTIVATE),
    Route("GET", REPORT.path, _ReportRequest, REPORT.answer, _report, REPORT.sentence),
    _task(MEASURE),
    _task(TAGS),
    _task(WHY),
    _task(PROVENANCE),
    _task(MONTHS),
    _task(PAGE),
    _task(REFRAINS),
    _task(BLIND),
    _task(MONTH),
    Route("POST", OPEN.path, Nothing, OPEN.answer, _link, OPEN.sentence),
    _task(PHONE),
    Route(
        "POST",
        "/v1/completions",
        CompletionRequest,
        Completion,
        completions.completions,
        "Write on from the prompt",
    ),
    Route(
        "POST", "/v1/warm", WarmRequest, _Warmed, completions.warm, "Prefill and cache the prompt"
    ),
    Route(
        "POST",
        "/v1/label",
        WarmRequest,
        _Labelled,
        completions.label,
        "How a note reads at its cursor, or why it is refused",
    ),
    Route(
        "POST",
        LIKENESS.path,
        LIKENESS.request,
        LIKENESS.answer,
        completions.likeness,
        LIKENESS.sentence,
    ),
    _task(ACCEPT),
    _task(TRAIN),
    _task(CANCEL),
    _task(GIVE_UP),
    _task(FORGET),
    _task(OPTIONS),
    _task(SET_OPTION),
    _task(RELOAD),
    Route(
        "GET",
        "/v1/events",
        Nothing,
        None,
        _events,
        "Server-sent events: scan, started, progress, say, verdict, swap, error",
    ),
    Route("GET", "/metrics", Nothing, None, _metrics, "Figures in Prometheus' text format"),
    Route("GET", "/openapi.json", Nothing, dict[str, object], _openapi, "This description"),
)
