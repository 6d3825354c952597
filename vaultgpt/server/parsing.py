"""From bytes and query strings to checked values; a refusal names the field, never its content.

Knows nothing about routes.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from vaultgpt.errors import NotFound
from vaultgpt.server.problems import BadRequest, Forbidden, TooLarge

M = TypeVar("M", bound=BaseModel)
_KEY = re.compile(r"[A-Za-z_]{1,40}")
_MODEL = re.compile(r"mirror|base|g[0-9]{6,}")


async def parse(request: web.Request, model: type[M]) -> M:
    """The body as `model`. BadRequest, TooLarge. An empty body is an empty object."""
    try:
        data = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge("The body is too large.", "`server.max_body_kb` sets the limit.") from None
    try:
        return model.model_validate_json(data or b"{}")
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> BadRequest:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return BadRequest("The body is not valid JSON.")
    # Deeper parts of a location may be the caller's own keys or the arms of a union.
    keys = [str(part) for part in first["loc"][: 2 if first["loc"][:1] == ("vaultgpt",) else 1]]
    keys = [key if _KEY.fullmatch(key) else "?" for key in keys]
    if first["type"] == "extra_forbidden":
        return BadRequest("There is no such field.", ".".join(keys) or None)
    message = first["msg"].removeprefix("Value error, ")
    where = ".".join(keys)
    text = f"{where}: {message}." if where else f"{message[:1].upper()}{message[1:]}."
    return BadRequest(text, where or None)


def check_model(name: str | None) -> None:
    """NotFound for a name that can't be a model."""
    if name is not None and not _MODEL.fullmatch(name):
        raise NotFound("There is no such model.", "GET /v1/models lists them.")


def note_path(path: str) -> str:
    """A note's path as the index has it (POSIX, NFC). Forbidden for a way out, else NotFound.

    The daemon resolves it again on the disk: this only refuses what never names a note.
    """
    parts = path.split("/")
    odd = any(unicodedata.category(c) in ("Cc", "Cs") for c in path) or "\\" in path
    if odd or path[:1] in ("/", "~") or re.match(r"[A-Za-z]:", path) or ".." in parts:
        raise Forbidden("That path leads out of the vault.", "path_not_allowed", param="path")
    hidden = any(part == "" or part.startswith(".") for part in parts)
    if hidden or not path.lower().endswith((".md", ".markdown")):
        raise NotFound("There is no such note in the index.")
    return unicodedata.normalize("NFC", path)
