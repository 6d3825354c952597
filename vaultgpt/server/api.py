"""The aiohttp application: who may speak to it, and one place where failures are answered.

Host, Origin, bearer token (or the page's cookie) and content type are checked in this order; of a
phone also what it asks. Knows nothing about what is asked, and the daemon only as a Service.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from vaultgpt.errors import Forbidden, VaultGPTError, expected
from vaultgpt.server import problems, visits
from vaultgpt.server.connections import answering
from vaultgpt.server.context import METRICS, NEWEST, SERVICE, WRITING, Metrics, Service
from vaultgpt.server.routes import ROUTES
from vaultgpt.server.visits import VISITS, Visits, own_origin

_KEEP_S = 75.0  # an idle connection's life; aiohttp's own is an hour
_SHUTDOWN_S = 0.5  # for answers under way; generations are cancelled at once
_log = logging.getLogger("vaultgpt.server")
_OPEN_PATHS = visits.PATHS | {"/health"}
_HOST = re.compile(r"(?:127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?", re.IGNORECASE)

_Signal = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def _make_app(service: Service) -> web.Application:
    """The application; `max_body_kb` is read once, the token and the Origins on every request."""

    def origins() -> tuple[str, ...]:
        return service.settings.server.origins

    app = web.Application(
        middlewares=[_answers, _gate(service, origins)],
        client_max_size=service.settings.server.max_body_kb * 1024,
    )
    app[SERVICE] = service
    app[METRICS] = Metrics()
    app[WRITING] = set()
    app[NEWEST] = {}
    app[VISITS] = Visits(service.token)
    app.add_routes(visits.PAGES)
    app.add_routes([web.route(row.method, row.path, row.handler) for row in ROUTES])
    app.on_response_prepare.append(_cors(origins))
    app.on_shutdown.append(_end_streams)
    return app


def make_runner(service: Service) -> web.AppRunner:
    """A runner as the daemon uses it: a client that leaves cancels its handler; no access log.

    aiohttp's default leaves handler_cancellation off, and a generation then runs on; its access log
    would hold the paths of notes."""
    return web.AppRunner(
        _make_app(service),
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        keepalive_timeout=_KEEP_S,
    )


@web.middleware
async def _answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as an error object; the only broad except of the API."""
    with answering(request):
        return await _answered(request, handler)


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except VaultGPTError as error:
        response = problems.response_of(error)
    except web.HTTPException as error:
        response = problems.response_of_http(error)
    except ConnectionResetError:
        raise  # the client left while we wrote: there is nobody to answer
    except Exception as error:
        _log.error("request failed: %s", type(error).__name__)
        known = request.app[SERVICE].gone() or expected(error)
        response = problems.response_of(known) if known else _internal()
    resource = request.match_info.route.resource
    request.app[METRICS].request(resource.canonical if resource else "?", response.status)
    return response


async def _end_streams(app: web.Application) -> None:
    """The daemon stops: end the event streams and the generations under way."""
    app[SERVICE].broker.close()
    writing: set[asyncio.Task[Any]] = app[WRITING]
    for task in tuple(writing):
        task.cancel()


def _check_host(request: web.Request) -> None:
    """Forbidden unless the one Host header names this machine's loopback (DNS rebinding)."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise Forbidden("Only 127.0.0.1, [::1] and localhost are served.", "host_not_allowed")


def _check_origin(request: web.Request, allowed: tuple[str, ...]) -> str | None:
    """The Origin, exactly one of those allowed; None for none; Forbidden otherwise."""
    origins = request.headers.getall("Origin", [])
    if not origins:
        return None
    if len(origins) != 1 or origins[0] not in allowed:
        raise Forbidden(
            "This Origin is not allowed.",
            "origin_not_allowed",
            "Add it with `vaultgpt config VAULT server.origins`.",
        )
    return origins[0]


def _check_token(request: web.Request, token: str) -> None:
    """Unauthorized unless the bearer token is ours; the comparison takes constant time."""
    headers = request.headers.getall("Authorization", [])
    scheme, _, given = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    if scheme.lower() != "bearer" or not same or not token:
        raise _Unauthorized(
            "The bearer token is missing or wrong.",
            "It stands in runtime.json of the vault's state folder.",
        )


def _check_content_type(request: web.Request) -> None:
    """WrongType unless a POST says application/json (a form of a web page can't)."""
    if request.method != "POST":
        return
    charset = (request.charset or "utf-8").lower().replace("-", "")
    if request.content_type != "application/json" or charset != "utf8":
        raise _WrongType("POST takes Content-Type: application/json in UTF-8.")


def _preflight(request: web.Request) -> web.Response:
    """The answer to a browser's question whether an allowed page may ask."""
    headers = {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "authorization, content-type",
        "Access-Control-Max-Age": "600",
    }
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return web.Response(status=204, headers=headers)


def _gate(service: Service, origins: Callable[[], tuple[str, ...]]) -> Middleware:
    """The middleware that lets through what may speak; settings and tokens are read each time."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if visits.by_phone(request):
            _check_phone(request, service.phone_token(), origins())
            return await handler(request)
        _check_host(request)
        origin = _check_origin(request, (*origins(), own_origin(request)))
        if origin in origins() and request.method == "OPTIONS":
            return _preflight(request)
        if request.path not in _OPEN_PATHS:
            if not request.app[VISITS].may_ask(request):
                _check_token(request, service.token())
            _check_content_type(request)
        return await handler(request)

    return middleware


def _check_phone(request: web.Request, token: str, origins: tuple[str, ...]) -> None:
    """What has come by the phone's name: no cookie counts there, and no token but the phone's."""
    visits.check_not_public(request)
    _check_origin(request, origins)
    if request.path != "/health":
        _check_token(request, token)
        _check_content_type(request)
    visits.check_may_ask(request)


def _cors(origins: Callable[[], tuple[str, ...]]) -> _Signal:
    """Lets the allowed page read the answer; runs for streams and errors too."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get("Origin")
        if origin in origins():
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")

    return add


class _Unauthorized(VaultGPTError):
    """No bearer token, or a wrong one."""

    code = "invalid_token"
    http_status = 401


class _WrongType(VaultGPTError):
    """A POST that is not application/json in UTF-8."""

    code = "unsupported_media_type"
    http_status = 415


def _internal() -> web.Response:
    """The answer to a failure nobody expected: it says nothing of what was asked."""
    body = {
        "error": {
            "message": "Something went wrong inside vaultgpt; the log names it.",
            "type": "api_error",
            "code": "internal",
            "param": None,
        }
    }
    return web.json_response(body, status=500)
