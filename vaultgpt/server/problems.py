"""What the API refuses, and the shape of an error on the wire.

Knows nothing about routes. A message never repeats the prompt.
"""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from vaultgpt.errors import Unavailable, VaultGPTError

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "unavailable_error",
}


class BadRequest(VaultGPTError):
    """A body or a query that has no meaning; `param` names the field, as "vaultgpt.tags"."""

    code = "invalid_request"
    http_status = 400

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Unauthorized(VaultGPTError):
    """No bearer token, or a wrong one."""

    code = "invalid_token"
    http_status = 401


class Forbidden(VaultGPTError):
    """A Host, an Origin or a note that may not be used; `reason` is a short code."""

    http_status = 403

    def __init__(self, message: str, reason: str, mend: str = "", param: str | None = None) -> None:
        super().__init__(message, mend)
        self.code = reason
        self.param = param


class TooLarge(VaultGPTError):
    """The body is longer than `server.max_body_kb`."""

    code = "body_too_large"
    http_status = 413


class WrongType(VaultGPTError):
    """A POST that is not application/json in UTF-8."""

    code = "unsupported_media_type"
    http_status = 415


class Busy(Unavailable):
    """More requests wait for the mirror than `server.queue` allows."""

    code = "queue_full"
    http_status = 429


def status_of(error: VaultGPTError) -> int:
    """The HTTP status of an expected failure; what is our own state's fault reads 503."""
    return 503 if error.http_status >= 500 else error.http_status


def body_of(error: VaultGPTError) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": str(error), "type": TYPES.get(status_of(error), "api_error"),
                      "code": error.code, "param": getattr(error, "param", None)}}


def response_of(error: VaultGPTError) -> web.Response:
    """The whole answer to an expected failure, with Retry-After or WWW-Authenticate where due."""
    status = status_of(error)
    headers = {}
    if status in (429, 503):
        wait_s = error.retry_after_s if isinstance(error, Unavailable) else 30.0
        headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response(body_of(error), status=status, headers=headers)


def response_of_http(error: web.HTTPException) -> web.Response:
    """aiohttp's own refusals (404 and 405 of the router, 413 of the reader) in our shape."""
    messages = {404: "There is no such route.", 405: "The route does not take this method.",
                413: "The body is too large."}
    body = {"error": {"message": messages.get(error.status, "The request can't be served."),
                      "type": TYPES.get(error.status, "invalid_request_error"),
                      "code": {404: "not_found", 405: "method_not_allowed",
                               413: TooLarge.code}.get(error.status, "invalid_request"),
                      "param": None}}
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return web.json_response(body, status=error.status, headers=headers)


def internal() -> web.Response:
    """The answer to a failure nobody expected: it says nothing of what was asked."""
    body = {"error": {"message": "Something went wrong inside vaultgpt; the log names it.",
                      "type": "api_error", "code": "internal", "param": None}}
    return web.json_response(body, status=500)
