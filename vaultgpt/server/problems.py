"""From bytes and query strings to checked values, what is refused, and an error's shape.

Knows nothing about routes. A message never repeats the prompt: it names the field.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_args

from aiohttp import web
from pydantic import BaseModel, ValidationError
from typing_extensions import TypedDict

from vaultgpt.errors import Unavailable, VaultGPTError
from vaultgpt.tasks.request import Nothing

_M = TypeVar("_M", bound=BaseModel)
_BODY_S = 10.0
_PACKED_OTHERWISE = "The body can't be read: is it packed as its Content-Encoding says?"
_ESCAPED_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")
_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")  # no sentence: a name may be the caller's own text
_MOST_NAMED = 5
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
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


class _TooLarge(VaultGPTError):
    """The body is longer than `server.max_body_kb`."""

    code = "body_too_large"
    http_status = 413


class _TooSlow(VaultGPTError):
    """A body that does not come."""

    code = "body_too_slow"
    http_status = 408


class _ErrorFields(TypedDict):
    """OpenAI's error."""

    message: str
    type: str
    code: str
    param: str | None


class ErrorBody(TypedDict):
    """The body of every refusal."""

    error: _ErrorFields


def _status_of(error: VaultGPTError) -> int:
    """The HTTP status of an expected failure; what is our own state's fault reads 503."""
    return 503 if error.http_status >= 500 else error.http_status


def body_of(error: VaultGPTError) -> ErrorBody:
    """OpenAI's error object."""
    return {
        "error": {
            "message": str(error),
            "type": _TYPES.get(_status_of(error), "api_error"),
            "code": error.code,
            "param": getattr(error, "param", None),
        }
    }


def response_of(error: VaultGPTError) -> web.Response:
    """The whole answer to an expected failure, with Retry-After or WWW-Authenticate where due."""
    status = _status_of(error)
    headers = {}
    if status in (429, 503):
        wait_s = error.retry_after_s if isinstance(error, Unavailable) else 30.0
        headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response(body_of(error), status=status, headers=headers)


def response_of_http(error: web.HTTPException) -> web.Response:
    """aiohttp's own refusals (404 and 405 of the router, 413 of the reader) in our shape."""
    messages = {
        404: "There is no such route.",
        405: "The route does not take this method.",
        413: "The body is too large.",
    }
    body = {
        "error": {
            "message": messages.get(error.status, "The request can't be served."),
            "type": _TYPES.get(error.status, "invalid_request_error"),
            "code": {404: "not_found", 405: "method_not_allowed", 413: _TooLarge.code}.get(
                error.status, "invalid_request"
            ),
            "param": None,
        }
    }
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return web.json_response(body, status=error.status, headers=headers)


async def parse(request: web.Request, model: type[_M]) -> _M:
    """The body as `model`. BadRequest, TooLarge. An empty body is an empty object.

    Where the route's path has fields, they are all that is asked: the body says nothing."""
    try:
        async with asyncio.timeout(_BODY_S):
            data = await request.read()
    except TimeoutError:
        raise _TooSlow("The body did not come in time.") from None
    except web.HTTPRequestEntityTooLarge:
        raise _TooLarge("The body is too large.", "`server.max_body_kb` sets the limit.") from None
    except web.RequestPayloadError:
        raise BadRequest(_PACKED_OTHERWISE) from None
    if not data and request.content_length:  # so it is where the packing is cut short
        raise BadRequest(_PACKED_OTHERWISE)
    data = data or b"{}"
    try:
        if request.match_info:
            Nothing.model_validate_json(data)
            return model.model_validate(dict(request.match_info))
        return model.model_validate_json(_mended(data))
    except ValidationError as error:
        raise _refusal(error, model) from None


def _mended(data: bytes) -> bytes:
    """The body with each half of a surrogate pair, which no text holds, as U+FFFD.

    A client that cuts its text after so many UTF-16 units sends one where an emoji stood. The
    length in such units stays, so that a cursor means the same place; at the ends of a prompt and
    of what follows it nothing stands for it."""
    if not _ESCAPED_HALF.search(data):
        return data
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data  # pydantic says what is wrong with it
    if isinstance(value, dict):
        ends = {name: value[name] for name in ("prompt", "suffix") if name in value}
        value |= {name: _each_text(one, _less_end_halves) for name, one in ends.items()}
    return json.dumps(_each_text(value, lambda text: _HALF.sub("\ufffd", text))).encode()


def _less_end_halves(text: str) -> str:
    return re.sub(r"\A[\ud800-\udfff]+|[\ud800-\udfff]+\Z", "", text)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(one, change) for one in value]
    if isinstance(value, dict):
        return {change(key): _each_text(one, change) for key, one in value.items()}
    return value


def parse_query(request: web.Request, model: type[_M]) -> _M:
    """The query's fields that `model` names; others mean nothing. BadRequest."""
    given: dict[str, str] = {}
    for name in model.model_fields:
        values = request.query.getall(name, [])
        if len(values) > 1:
            raise BadRequest(f"Give one {name}.", name)
        if values:
            given[name] = values[0]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _refusal(error, model) from None


def _refusal(error: ValidationError, model: type[BaseModel]) -> BadRequest:
    every = error.errors(include_url=False, include_input=False, include_context=False)
    first = every[0]
    if first["type"] == "json_invalid":
        return BadRequest("The body is not valid JSON.")
    # Deeper parts of a location may be the caller's own keys or the arms of a union.
    keys = [str(part) for part in first["loc"][: 2 if first["loc"][:1] == ("vaultgpt",) else 1]]
    keys = [key if _KEY.fullmatch(key) else "?" for key in keys]
    if first["type"] == "extra_forbidden":
        unknown = [one["loc"] for one in every if one["type"] == "extra_forbidden"]
        said = [_no_field(model, *map(str, place)) for place in unknown[:_MOST_NAMED]]
        return BadRequest(" ".join(dict.fromkeys(said)), ".".join(keys[:-1]) or None)
    message = first["msg"].removeprefix("Value error, ")
    where = ".".join(keys)
    text = f"{where}: {message}." if where else f"{message[:1].upper()}{message[1:]}."
    return BadRequest(text, where or None)


def _no_field(model: type[BaseModel], *place: str) -> str:
    """One sentence about a field of a request that there is not, and the one that may be meant."""
    if not all(map(_KEY.fullmatch, place)):
        return "There is a field that we do not know."
    from difflib import get_close_matches  # which hardly a daemon ever needs

    *inside, name = place
    known = [*_fields(model)]
    near = get_close_matches(name.lower(), [field[-1] for field in known], 1)
    meant = [field for field in known if field[-1] in near]
    meant.sort(key=lambda field: field[:-1] != inside)
    asked = f" Did you mean {'.'.join(meant[0])}?" if meant else ""
    return f"There is no field {'.'.join(place)}.{asked}"


def _fields(model: type[BaseModel], *inside: str) -> Iterator[list[str]]:
    """Where each field stands that a request may have."""
    for name, field in model.model_fields.items():
        yield [*inside, name]
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _fields(kind, *inside, name)
