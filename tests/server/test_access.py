"""Who is let in: each a hole that a local HTTP server has had somewhere."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from tests.server.conftest import ORIGIN, TOKEN, Api

PROMPT = "the secret orchard"


def request(path: str, *headers: str, method: str = "GET", body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *headers, "Connection: close", "", body]
    return "\r\n".join(lines).encode()


AUTH = f"Authorization: Bearer {TOKEN}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "[::1]", "[::1]:1", "LOCALHOST"])
async def test_a_loopback_host_is_served(api: Api, host: str) -> None:
    assert b" 200 " in await api.raw(request("/v1/status", f"Host: {host}", AUTH))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:80",
        "0.0.0.0",
        "127.0.0.1@evil.example",
        "127.0.0.1:80:80",
        "localhost.",
        "127.0.0.2",
        "",
        "[::1",
        "::1",
    ],
)
@pytest.mark.parametrize("path", ["/health", "/v1/status", "/nowhere"])
async def test_any_other_host_is_refused_before_anything_else(
    api: Api, host: str, path: str
) -> None:
    answer = await api.raw(request(path, f"Host: {host}", AUTH))
    assert answer.startswith(b"HTTP/1.1 403") and b"host_not_allowed" in answer


async def test_no_host_and_two_hosts_are_refused(api: Api) -> None:
    assert b" 403 " in await api.raw(b"GET /health HTTP/1.0\r\n\r\n")
    two = await api.raw(request("/health", "Host: localhost", "Host: evil.example"))
    assert b" 403 " in two or b" 400 " in two


async def test_the_host_is_checked_before_origin_token_and_body(api: Api) -> None:
    status, body, _ = await api.post(
        "/v1/completions",
        data=b"{",
        token=None,
        headers={"Host": "evil.example", "Origin": "https://e.example"},
    )
    assert (status, body["error"]["code"]) == (403, "host_not_allowed")


async def test_health_needs_no_token_and_says_only_ok(api: Api) -> None:
    status, body, _ = await api.get("/health", token=None)
    assert (status, body) == (200, {"ok": True})


@pytest.mark.parametrize("size", [16, 32, 64])
async def test_health_proves_to_a_challenge_that_it_holds_the_token(api: Api, size: int) -> None:
    challenge = bytes(range(100, 100 + size))
    status, body, _ = await api.get(f"/health?challenge={challenge.hex()}", token=None)
    text = b"vaultgpt health 1\n" + str(api.port).encode() + b"\n" + challenge
    proof = hmac.new(TOKEN.encode(), text, hashlib.sha256).hexdigest()
    assert (status, body) == (200, {"ok": True, "proof": proof})
    again = await api.get(f"/health?challenge={challenge.hex().upper()}", token=None)
    assert again[1] == body


@pytest.mark.parametrize(
    "query",
    [
        "challenge=",
        "challenge=" + "ab" * 15,
        "challenge=" + "ab" * 65,
        "challenge=" + "a" * 33,
        "challenge=" + "zz" * 16,
        "challenge=" + "ab" * 16 + "%0a",
        "challenge=" + "ab" * 16 + "&challenge=" + "cd" * 16,
    ],
)
async def test_a_challenge_out_of_bounds_is_refused_and_not_repeated(api: Api, query: str) -> None:
    status, body, _ = await api.get(f"/health?{query}", token=None)
    assert (status, body["error"]["param"]) == (400, "challenge")
    assert "abab" not in str(body)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/status",
        "/v1/models",
        "/v1/generations",
        "/v1/report",
        "/v1/tags",
        "/v1/notes?path=a.md",
        "/metrics",
        "/openapi.json",
        "/v1/events",
        "/nowhere",
        "/health/",
        "//health",
    ],
)
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "5", "ü", "5"])
async def test_all_else_needs_the_token(api: Api, path: str, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    status, body, answered = await api.get(path, token=None, headers=headers)
    assert (status, body["error"]["code"]) == (401, "invalid_token")
    assert answered["WWW-Authenticate"] == "Bearer"


async def test_the_token_is_no_query_parameter_and_no_other_scheme(api: Api) -> None:
    assert (await api.get(f"/v1/status?token={TOKEN}", token=None))[0] == 401
    basic = {"Authorization": f"Basic {TOKEN}"}
    assert (await api.get("/v1/status", token=None, headers=basic))[0] == 401
    twice = request("/v1/status", "Host: localhost", AUTH, "Authorization: Bearer wrong")
    assert b" 401 " in await api.raw(twice)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        ORIGIN + "/",
        ORIGIN + ".evil",
        ORIGIN.upper(),
        "http://notes.example",
        "app://obsidian.md",
    ],
)
async def test_an_origin_that_is_not_exactly_allowed_is_refused(api: Api, origin: str) -> None:
    for path in ("/v1/status", "/health"):
        status, body, headers = await api.get(path, headers={"Origin": origin})
        assert (status, body["error"]["code"]) == (403, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in headers


async def test_an_allowed_origin_may_read_answers_errors_and_streams(api: Api) -> None:
    given = {"Origin": ORIGIN}
    ok = await api.get("/v1/status", headers=given)
    refused = await api.get("/v1/status", headers=given, token="wrong")
    streamed = await api.post("/v1/completions", {"prompt": "x", "stream": True}, headers=given)
    assert [ok[0], refused[0], streamed[0]] == [200, 401, 200]
    for answer in (ok, refused, streamed):
        assert answer[2]["Access-Control-Allow-Origin"] == ORIGIN
        assert answer[2]["Vary"] == "Origin"


async def test_a_preflight_is_answered_for_allowed_origins_only(api: Api) -> None:
    url = f"http://127.0.0.1:{api.port}/v1/completions"
    ask = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Private-Network": "true",
    }
    async with api.session.options(url, headers=ask) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
        assert answer.headers["Access-Control-Allow-Private-Network"] == "true"
    async with api.session.options(url, headers={**ask, "Origin": "https://e.example"}) as answer:
        assert answer.status == 403
    async with api.session.options(url) as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json5",
        "application/json; charset=latin-1",
    ],
)
async def test_a_post_that_a_web_page_could_send_unasked_is_refused(api: Api, kind: str) -> None:
    for path in ("/v1/completions", "/v1/train", "/v1/generations/g000001/activate"):
        status, body, _ = await api.post(path, data=b"{}", headers={"Content-Type": kind})
        assert (status, body["error"]["code"]) == (415, "unsupported_media_type")
    assert (
        await api.post(
            "/v1/train", data=b"", headers={"Content-Type": "application/json; charset=UTF-8"}
        )
    )[0] == 202


async def test_a_body_over_the_limit_is_413_also_when_it_is_compressed(api: Api) -> None:
    import gzip

    long = b'{"prompt":"' + b"x" * (1025 * 1024) + b'"}'
    json_type = {"Content-Type": "application/json"}
    status, body, _ = await api.post("/v1/completions", data=long, headers=json_type)
    assert (status, body["error"]["code"]) == (413, "body_too_large")
    status, _, _ = await api.post(
        "/v1/completions",
        data=gzip.compress(long),
        headers={**json_type, "Content-Encoding": "gzip"},
    )
    assert status == 413
    status, body, _ = await api.post(
        "/v1/completions", data=b'{"prompt":"x"}', headers={**json_type, "Content-Encoding": "gzip"}
    )
    assert status == 400 and "Content-Encoding" in body["error"]["message"]
    parts = ("Host: localhost", AUTH, "Content-Type: application/json", "Content-Encoding: gzip")
    pieces = request("/v1/completions", *parts, "Transfer-Encoding: chunked", method="POST")
    assert b" 400 " in await api.raw(pieces + b"2\r\n{}\r\n0\r\n\r\n")
    assert not api.service.prompts


@pytest.mark.parametrize(
    "path",
    [
        "../outside.md",
        "a/../../outside.md",
        "/etc/passwd",
        "/etc/x.md",
        "~/x.md",
        "C:/x.md",
        "..\\outside.md",
        "a\\b.md",
        "a\x00.md",
        "a\n.md",
        "%2e%2e/outside.md",
        "%2e%2e%2foutside.md",
        "..%2foutside.md",
    ],
)
async def test_no_path_leads_out_of_the_vault(api: Api, path: str) -> None:
    from urllib.parse import quote

    sent = path if "%" in path else quote(path)
    raw = await api.raw(request(f"/v1/notes?path={sent}", "Host: localhost", AUTH))
    assert raw.startswith(b"HTTP/1.1 403") and b"path_not_allowed" in raw
    if "%" not in path:
        status, _, _ = await api.post("/v1/completions", {"vaultgpt": {"path": path}})
        assert status == 403


@pytest.mark.parametrize(
    "path",
    [
        ".obsidian/app.json",
        ".obsidian/x.md",
        "a.txt",
        "a",
        "",
        "./a.md",
        "%252e%252e/outside.md",
        "a//b.md",
        "gone.md",
    ],
)
async def test_a_path_that_is_no_note_is_404(api: Api, path: str) -> None:
    raw = await api.raw(request(f"/v1/notes?path={path}", "Host: localhost", AUTH))
    assert raw.startswith(b"HTTP/1.1 404"), raw[:200]


async def test_a_note_s_path_is_normalised_as_the_index_has_it(api: Api) -> None:
    assert (await api.get("/v1/notes", params={"path": "Tra\u0308ume/a.md"}))[0] == 200
    assert (await api.get("/v1/notes"))[0] == 400


async def test_no_error_repeats_the_prompt(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    bodies = [
        {"prompt": PROMPT, "n": PROMPT},
        {"prompt": PROMPT, "max_tokens": 0},
        {"prompt": {"x": PROMPT}},
        {"prompt": [PROMPT, 5]},
        {"prompt": PROMPT, "logit_bias": {PROMPT: 1}},
        {"prompt": PROMPT, "vaultgpt": {PROMPT: 1}},
        {"prompt": PROMPT, "vaultgpt": PROMPT},
        {"prompt": PROMPT, "vaultgpt": {"tags": [PROMPT]}},
        {"prompt": PROMPT, "stop": [1]},
        {"prompt": PROMPT, "vaultgpt": {"date": PROMPT}},
        {"prompt": PROMPT, "model": PROMPT},
        {"prompt": PROMPT, "vaultgpt": {"form": PROMPT}},
        {"prompt": PROMPT, "vaultgpt": {"path": f"{PROMPT}/../x.md"}},
    ]
    for body in bodies:
        status, answer, _ = await api.post("/v1/completions", body)
        assert status in (400, 403, 404), body
        assert "orchard" not in str(answer)
    api.service.failure = RuntimeError(PROMPT)
    status, answer, _ = await api.post("/v1/completions", {"prompt": PROMPT})
    assert status == 500 and "orchard" not in str(answer)
    broken = f'{{"prompt": "{PROMPT}'.encode()
    status, answer, _ = await api.post(
        "/v1/completions", data=broken, headers={"Content-Type": "application/json"}
    )
    assert status == 400 and "orchard" not in str(answer)
    assert "orchard" not in caplog.text
