"""Every route of the application against every wrong caller, and bodies made from its schemas."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.conftest import ORIGIN, TOKEN, Api
from vaultgpt.server.openapi import document
from vaultgpt.server.routes import ROUTES

ROUTE_IDS = [f"{row.method} {row.path}" for row in ROUTES]
HOSTS = {"127.0.0.1": True, "localhost:1": True, "evil.example": False, "127.0.0.1.evil": False}
ORIGINS = {None: True, ORIGIN: True, "null": False, "https://evil.example": False}
TOKENS = {TOKEN: True, TOKEN[:-1] + "6": False, None: False}
TYPES = {"application/json": True, "text/plain": False, "multipart/form-data": False, None: False}
CANARY = "the orchard behind the mill"


def wanted(row: Any, host: bool, origin: bool, token: bool, kind: bool) -> tuple[int, str] | None:
    """What the order of the checks answers; None where the caller is let in."""
    if not host:
        return 403, "host_not_allowed"
    if not origin:
        return 403, "origin_not_allowed"
    if row.path == "/health":
        return None
    if not token:
        return 401, "invalid_token"
    return (415, "unsupported_media_type") if row.method == "POST" and not kind else None


@pytest.mark.parametrize("row", ROUTES, ids=ROUTE_IDS)
async def test_every_route_against_host_origin_token_and_content_type(api: Api, row: Any) -> None:
    """1. Each of 192 callers asks the route. Result: who is wrong in anything is refused for the
    first thing that is wrong, hears nothing of what was asked, and no work is begun.
    """
    path = row.path.replace("{id}", "g000001")
    for host, origin, token, kind in itertools.product(HOSTS, ORIGINS, TOKENS, TYPES):
        expected = wanted(row, HOSTS[host], ORIGINS[origin], TOKENS[token], TYPES[kind])
        if expected is None:
            continue
        given = {"Host": host, "Origin": origin, "Content-Type": kind}
        headers = {k: v for k, v in given.items() if v is not None}
        skip = ["Content-Type"] if kind is None else None
        status, body, answered = await api._ask(
            row.method,
            path,
            headers=headers,
            token=token,
            data=json.dumps({"prompt": CANARY, "text": CANARY}) if row.method == "POST" else None,
            skip_auto_headers=skip,
        )
        assert (status, body["error"]["code"]) == expected, (host, origin, token, kind)
        assert "orchard" not in str(body)
        allowed = answered.get("Access-Control-Allow-Origin")
        assert allowed is None or allowed == ORIGIN
    assert not api.service.prompts and not api.service.accepted


def values(schema: dict[str, Any], whole: dict[str, Any], deep: int = 0) -> st.SearchStrategy[Any]:
    """JSON that mostly keeps to the schema, and sometimes does not at all."""
    return st.one_of(_fitting(schema, whole, deep), ANYTHING)


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def _fitting(schema: dict[str, Any], whole: dict[str, Any], deep: int) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        schema = whole[schema["$ref"].rsplit("/", 1)[1]]
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if "anyOf" in schema:
        return st.one_of([_fitting(one, whole, deep) for one in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "object" and deep < 4:
        fields = schema.get("properties", {})
        needed = {k: values(v, whole, deep + 1) for k, v in fields.items() if k in _needed(schema)}
        other = {k: values(v, whole, deep + 1) for k, v in fields.items() if k not in needed}
        return st.fixed_dictionaries(needed, optional=other)
    if kind == "array":
        return st.lists(_fitting(schema.get("items", {}), whole, deep + 1), max_size=4)
    if kind == "string":
        return st.text(max_size=30) | st.just(CANARY)
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", -5), schema.get("maximum", 5000)
        return st.integers(int(low) - 1, int(high) + 1) if kind == "integer" else st.floats(-9, 9)
    return st.booleans() if kind == "boolean" else ANYTHING


def _needed(schema: dict[str, Any]) -> list[str]:
    return list(schema.get("required", []))


POSTS = [row for row in ROUTES if row.method == "POST"]


@pytest.mark.parametrize("row", POSTS, ids=[f"{row.method} {row.path}" for row in POSTS])
async def test_bodies_from_the_served_schema_are_answered_as_it_says(api: Api, row: Any) -> None:
    """1. 25 bodies that keep to the route's schema, more or less, are sent. Result: a status that
    the description names, or a refusal of its shape; never a 500, never the text again.
    """
    served = (await api.get("/openapi.json"))[1]
    operation = served["paths"][row.path]["post"]
    schema = (
        {}
        if "requestBody" not in operation
        else (operation["requestBody"]["content"]["application/json"]["schema"])
    )
    bodies: list[Any] = []

    @settings(
        max_examples=25,
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(values(schema, served["components"]["schemas"]))
    def collect(body: Any) -> None:
        bodies.append(body)

    collect()
    for body in bodies:
        try:
            data = json.dumps(body, allow_nan=True).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            continue
        status, answer, _ = await api.post(
            row.path.replace("{id}", "g000001"),
            data=data,
            headers={"Content-Type": "application/json"},
        )
        api.service.training = False
        assert status != 500, (body, answer)
        if status != row.status:
            assert set(answer["error"]) == {"message", "type", "code", "param"}, answer
            assert "orchard" not in str(answer), answer


QUERIES = [row for row in ROUTES if row.method == "GET" and row.request.model_fields]


@pytest.mark.parametrize("row", QUERIES, ids=[row.path for row in QUERIES])
async def test_queries_are_refused_in_shape(api: Api, row: Any) -> None:
    """1. Each field of a query holds what it must not. Result: 4xx in shape, nothing repeated."""
    path = row.path.replace("{id}", "../x")
    for name in row.request.model_fields:
        for value in (CANARY, "", "\0", "../../etc/passwd", "a" * 7000, "\ud800", "%00", "[]"):
            sent = value.encode("utf-8", "surrogatepass")
            quoted = "".join(f"%{byte:02x}" for byte in sent)
            if f"{{{name}}}" in row.path:
                continue
            status, answer, _ = await api.get(f"{path}?{name}={quoted}")
            assert status in (200, 400, 403, 404, 414), answer
            assert "orchard" not in str(answer)


def test_the_description_names_every_route_and_an_answer_for_each() -> None:
    served = document(ROUTES)
    for row in ROUTES:
        answers = served["paths"][row.path][row.method.lower()]["responses"]
        assert str(row.status) in answers and "default" in answers
        streams = row.answer is None
        assert streams or "content" in answers[str(row.status)]


@pytest.mark.parametrize(
    "sent",
    [
        b"the orchard behind the mill\r\n\r\n",
        b"GET /v1/the orchard HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nthe orchard\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: orchard\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"orchard" * 3000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00orchard\r\n\r\n",
    ],
    ids=range(7),
)
async def test_what_is_no_http_is_refused_without_repeating_it(sent: bytes) -> None:
    """1. Bytes that are no request come over the daemon's own socket. Result: nothing of it comes
    back.
    """
    import asyncio
    import socket

    from tests.server.conftest import FakeService
    from vaultgpt.server.api import make_runner
    from vaultgpt.server.connections import listen

    runner = make_runner(FakeService())
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    listening = await listen(runner, sock)
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(5):
        answer = await reader.read(65536)
    assert b"orchard" not in answer and b" 200 " not in answer
    writer.close()
    listening.close()
    await runner.cleanup()


def test_the_page_on_trust_names_tests_that_there_are() -> None:
    import re
    from pathlib import Path

    root = Path(__file__).parents[2]
    page = (root / "docs" / "security.md").read_text(encoding="utf-8")
    for line in page.splitlines():
        folder = ""
        for name in re.findall(r"`((?:tests/\w+/)?test_\w+\.py)`", line):
            folder = name.rpartition("/")[0] or folder
            assert (root / folder / name.rpartition("/")[2]).is_file(), name
