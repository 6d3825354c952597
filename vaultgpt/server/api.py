"""The aiohttp application: routes, the order of checks, one place where failures are answered.

Knows the daemon only as a Service.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from vaultgpt.errors import NotFound, VaultGPTError
from vaultgpt.server import auth, completions, keys, problems
from vaultgpt.server.metrics import CONTENT_TYPE, Metrics
from vaultgpt.server.openapi import document
from vaultgpt.server.parsing import check_model, note_path, parse
from vaultgpt.server.schemas import AcceptedRequest, Empty, ForgetRequest, TrainRequest
from vaultgpt.server.service import Service

SHUTDOWN_S = 0.5  # for answers under way; generations are cancelled at once
log = logging.getLogger("vaultgpt.server")


def make_app(service: Service) -> web.Application:
    """The application; `max_body_kb` is read once, the token and the Origins on every request."""
    def origins() -> tuple[str, ...]:
        return service.settings.server.origins

    app = web.Application(
        middlewares=[_answers, auth.gate(service.token, origins)],
        client_max_size=service.settings.server.max_body_kb * 1024,
    )
    app[keys.SERVICE] = service
    app[keys.METRICS] = Metrics()
    app[keys.WRITING] = set()
    app.add_routes([
        web.get("/health", _health), web.get("/v1/status", _status),
        web.get("/v1/models", _models), web.get("/v1/generations", _generations),
        web.get("/v1/report", _report), web.get("/v1/tags", _tags),
        web.get("/v1/notes", _note), web.get("/v1/events", _events),
        web.get("/metrics", _metrics), web.get("/openapi.json", _openapi),
        web.post("/v1/completions", completions.completions),
        web.post("/v1/warm", completions.warm), web.post("/v1/accepted", _accepted),
        web.post("/v1/train", _train), web.post("/v1/train/cancel", _cancel),
        web.post("/v1/generations/{id}/activate", _activate),
        web.post("/v1/forget", _forget), web.post("/v1/reload", _reload),
    ])
    app.on_response_prepare.append(auth.cors(origins))
    app.on_shutdown.append(_end_streams)
    return app


def make_runner(service: Service) -> web.AppRunner:
    """A runner as the daemon uses it: a client that leaves cancels its handler; no access log.

    aiohttp's default leaves handler_cancellation off, and a generation then runs on; its access log
    would hold the paths of notes.
    """
    return web.AppRunner(make_app(service), handler_cancellation=True, access_log=None,
                         shutdown_timeout=SHUTDOWN_S)


@web.middleware
async def _answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as an error object; the only broad except of the API."""
    try:
        response = await handler(request)
    except VaultGPTError as error:
        response = problems.response_of(error)
    except web.HTTPException as error:
        response = problems.response_of_http(error)
    except ConnectionResetError:
        raise  # the client left while we wrote: there is nobody to answer
    except Exception as error:
        log.error("request failed: %s", type(error).__name__)
        response = problems.internal()
    resource = request.match_info.route.resource
    request.app[keys.METRICS].request(resource.canonical if resource else "?", response.status)
    return response


async def _end_streams(app: web.Application) -> None:
    """The daemon stops: end the event streams and the generations under way."""
    app[keys.SERVICE].broker.close()
    writing: set[asyncio.Task[Any]] = app[keys.WRITING]
    for task in tuple(writing):
        task.cancel()


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"ok": True})


async def _status(request: web.Request) -> web.Response:
    return _json(await request.app[keys.SERVICE].status())


async def _models(request: web.Request) -> web.Response:
    rows = await request.app[keys.SERVICE].generations()
    names = [("mirror", 0), ("base", 0), *((row["id"], int(row["created"])) for row in rows)]
    return _json({"object": "list", "data": [
        {"id": name, "object": "model", "created": created, "owned_by": "vaultgpt"}
        for name, created in names]})


async def _generations(request: web.Request) -> web.Response:
    return _json({"generations": await request.app[keys.SERVICE].generations()})


async def _report(request: web.Request) -> web.Response:
    given = request.query.getall("measure", ["0"])
    if given not in (["0"], ["1"]):
        raise problems.BadRequest("measure is 0 or 1.", "measure")
    return _json(await request.app[keys.SERVICE].report(given == ["1"]))


async def _tags(request: web.Request) -> web.Response:
    return _json(await request.app[keys.SERVICE].tags())


async def _note(request: web.Request) -> web.Response:
    paths = request.query.getall("path", [])
    if len(paths) != 1:
        raise problems.BadRequest("Give one path.", "path")
    return _json(await request.app[keys.SERVICE].note(note_path(paths[0])))


async def _metrics(request: web.Request) -> web.Response:
    gauges = request.app[keys.SERVICE].gauges()
    gauges["writing"] = float(len(request.app[keys.WRITING]))
    return web.Response(body=request.app[keys.METRICS].text(gauges).encode(),
                        headers={"Content-Type": CONTENT_TYPE})


async def _openapi(_request: web.Request) -> web.Response:
    return _json(document())


async def _accepted(request: web.Request) -> web.Response:
    body = await parse(request, AcceptedRequest)
    path = None if body.path is None else note_path(body.path)
    await request.app[keys.SERVICE].note_accepted(body.text, path)
    return _json({"ok": True})


async def _train(request: web.Request) -> web.Response:
    body = await parse(request, TrainRequest)
    return _json(await request.app[keys.SERVICE].train(body.fresh), status=202)


async def _cancel(request: web.Request) -> web.Response:
    await parse(request, Empty)
    return _json(await request.app[keys.SERVICE].cancel_training())


async def _activate(request: web.Request) -> web.Response:
    await parse(request, Empty)
    generation = request.match_info["id"]
    check_model(generation)
    if generation == "mirror":
        raise NotFound("There is no such generation.")
    return _json(await request.app[keys.SERVICE].activate(generation))


async def _forget(request: web.Request) -> web.Response:
    body = await parse(request, ForgetRequest)
    return _json(await request.app[keys.SERVICE].forget(note_path(body.path)))


async def _reload(request: web.Request) -> web.Response:
    await parse(request, Empty)
    return _json(await request.app[keys.SERVICE].reload())


async def _events(request: web.Request) -> web.StreamResponse:
    """What the daemon does, as it happens; a comment every quarter of a minute finds the dead."""
    with request.app[keys.SERVICE].broker.subscribe() as listener:
        response = web.StreamResponse(headers=completions.STREAM_HEADERS)
        await response.prepare(request)
        await response.write(b": listening\n\n")
        async for event in listener.events():
            await response.write(b": still here\n\n" if event is None else event.frame())
        await response.write_eof()
    return response


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status,
                             dumps=lambda v: json.dumps(v, ensure_ascii=False))
