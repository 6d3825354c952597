"""Who may speak to the API: Host, Origin, bearer token, content type, in this order.

Knows nothing about what is asked.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from vaultgpt.server.problems import Forbidden, Unauthorized, WrongType

OPEN_PATHS = frozenset({"/health"})
_HOST = re.compile(r"(?:127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?", re.IGNORECASE)


Signal = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def check_host(request: web.Request) -> None:
    """Forbidden unless the one Host header names this machine's loopback (DNS rebinding)."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise Forbidden("Only 127.0.0.1, [::1] and localhost are served.", "host_not_allowed")


def check_origin(request: web.Request, allowed: tuple[str, ...]) -> str | None:
    """The Origin when it is exactly allowed; None when there is none; Forbidden otherwise."""
    origins = request.headers.getall("Origin", [])
    if not origins:
        return None
    if len(origins) != 1 or origins[0] not in allowed:
        raise Forbidden("This Origin is not allowed.", "origin_not_allowed",
                        "Add it with `vaultgpt config VAULT server.origins`.")
    return origins[0]


def check_token(request: web.Request, token: str) -> None:
    """Unauthorized unless the bearer token is ours; the comparison takes constant time."""
    headers = request.headers.getall("Authorization", [])
    scheme, _, given = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    if scheme.lower() != "bearer" or not same or not token:
        raise Unauthorized("The bearer token is missing or wrong.",
                           "It stands in runtime.json of the vault's state folder.")


def check_content_type(request: web.Request) -> None:
    """WrongType unless a POST says application/json (a form of a web page can't)."""
    if request.method != "POST":
        return
    charset = (request.charset or "utf-8").lower().replace("-", "")
    if request.content_type != "application/json" or charset != "utf8":
        raise WrongType("POST takes Content-Type: application/json in UTF-8.")


def preflight(request: web.Request) -> web.Response:
    """The answer to a browser's question whether an allowed page may ask."""
    headers = {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "authorization, content-type",
        "Access-Control-Max-Age": "600",
    }
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return web.Response(status=204, headers=headers)


def gate(token: Callable[[], str], origins: Callable[[], tuple[str, ...]]) -> Middleware:
    """The middleware that lets through what may speak; both callables are read on every request."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        check_host(request)
        origin = check_origin(request, origins())
        if origin is not None and request.method == "OPTIONS":
            return preflight(request)
        if request.path not in OPEN_PATHS:
            check_token(request, token())
            check_content_type(request)
        return await handler(request)

    return middleware


def cors(origins: Callable[[], tuple[str, ...]]) -> Signal:
    """Lets the allowed page read the answer; runs for streams and errors too."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get("Origin")
        if origin in origins():
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")

    return add
