"""The page of one's voice: who it opens for, what its cookie may ask, and what may run in it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.server.conftest import TOKEN, Api
from vaultgpt.server.routes import ROUTES
from vaultgpt.server.visits import _KEY_HEADER, _MAY_ASK, Visits

SENTENCE = "Run `vaultgpt open` to see this page"


async def path_of_a_link(api: Api) -> str:
    status, link, _ = await api.post("/v1/open")
    assert status == 200 and link["seconds"] == 60
    where = urlsplit(link["url"])
    assert where.netloc == f"127.0.0.1:{api.port}"
    return f"{where.path}?{where.query}"


async def let_in(api: Api) -> dict[str, str]:
    """The headers of a browser that opened a link."""
    status, text, headers = await api.get(await path_of_a_link(api), token=None)
    assert status == 200
    cookie = headers["Set-Cookie"].split(";")[0]
    api.session.cookie_jar.clear()
    key = re.search(r"url=/#([\w-]+)", text)
    assert key is not None
    return {"Cookie": cookie, _KEY_HEADER: key[1]}


async def test_a_link_opens_the_page_once(api: Api) -> None:
    """1. A link is opened, then opened again. Result: a strict, hidden cookie that is not the
    token; then a sentence.
    """
    path = await path_of_a_link(api)
    status, text, headers = await api.get(path, token=None)
    api.session.cookie_jar.clear()
    cookie = headers["Set-Cookie"]
    assert status == 200 and TOKEN not in cookie + text
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    status, text, headers = await api.get(path, token=None)
    assert status == 403 and "vaultgpt open" in text and "Set-Cookie" not in headers
    assert (await api.get("/open?key=", token=None))[0] == 403
    assert (await api.get("/open?key=%00%ff", token=None))[0] == 403


async def test_without_the_cookie_a_sentence_says_what_to_do(api: Api) -> None:
    for given in (
        {},
        {"Cookie": f"vaultgpt_{api.port}=wrong"},
        {"Authorization": f"Bearer {TOKEN}"},
    ):
        status, text, headers = await api.get("/", token=None, headers=given)
        assert status == 401 and SENTENCE in text and "<script" not in text
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, text, _ = await api.get("/", token=None, headers=await let_in(api))
    assert status == 200 and "Does it sound like me?" in text


def test_links_and_cookies_end() -> None:
    """A minute, a newer link, a rotated token, the ninth browser: each ends what was before."""

    class Request:
        method, host = "GET", "127.0.0.1:1"

        def __init__(self, cookie: str) -> None:
            self.cookies = {"vaultgpt_1": cookie}

    now, token = [0.0], [TOKEN]
    visits = Visits(lambda: token[0], lambda: now[0])

    def known(cookie: str) -> bool:
        request: Any = Request(cookie)
        return visits.knows(request)

    late, old = visits.link(), visits.link()
    assert visits.enter(late) is None  # a newer one was made
    now[0] = 60.0
    assert visits.enter(old) is None
    rotated = visits.link()
    first = visits.enter(visits.link())
    assert first is not None and known(first[0]) and not known(first[1])
    assert visits.enter(rotated) is None
    for _ in range(8):
        last = visits.enter(visits.link())
    assert last is not None and known(last[0]) and not known(first[0])
    waiting = visits.link()
    token[0] = "6" * 64
    assert visits.enter(waiting) is None and not known(last[0])


async def test_only_a_browser_of_the_daemons_user_is_let_in(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Another user has seen the link on a command line. Result: refused; it is still good."""
    from vaultgpt.server import visits

    path = await path_of_a_link(api)
    with monkeypatch.context() as other:
        other.setattr(visits, "_same_user", lambda request: False)
        assert (await api.get(path, token=None))[0] == 403
    assert (await api.get(path, token=None))[0] == 200


def test_whose_a_connection_is_stands_in_the_kernels_table() -> None:
    from vaultgpt.server.visits import _users

    def row(local: str, state: str, user: int) -> str:
        return (
            f"   1: {local} 0100007F:1F90 {state} 00000000:00000000 00:0 00000000 {user:>5} 0 7 1"
        )

    rows = [
        "  sl  local_address rem_address   st",
        row("0100007F:C350", "01", 1000),
        row("0200007F:C350", "01", 1001),  # another user, from the same port of another address
        row("0100007F:C351", "01", 1002),
        row("0100007F:C352", "06", 1003),  # closed already
    ]
    table = "\n".join(rows)
    assert _users(table, 0xC350) == {1000, 1001} and _users(table, 0xC351) == {1002}
    assert _users(table, 0xC352) == _users(table, 1) == set()


ORIGINS = ["own", None, "null", "http://127.0.0.1:1", "https://evil.example"]


@pytest.mark.parametrize("row", ROUTES, ids=[f"{row.method} {row.path}" for row in ROUTES])
async def test_what_the_cookie_may_ask(api: Api, row: Any) -> None:
    """1. Each route is asked with the cookie and its key, or one of them, from each Origin. Result:
    what the page needs is answered from the page alone; all else needs the token still.
    """
    page = await let_in(api)
    asked, path = f"{row.method} {row.path}", row.path.replace("{id}", "g000001")
    for origin in ORIGINS:
        own = f"http://127.0.0.1:{api.port}"
        said = {} if origin is None else {"Origin": own if origin == "own" else origin}
        for missing in (None, "Cookie", _KEY_HEADER):
            if asked in ("GET /health", "GET /v1/events") and not missing:
                continue  # open to all; never ends
            given = {k: v for k, v in page.items() if k != missing} | said
            kwargs: Any = {} if row.method == "GET" else {"json": {}}
            status, body, _ = await api._ask(row.method, path, headers=given, token=None, **kwargs)
            api.service.training = False
            right = asked in _MAY_ASK and missing is None
            right &= origin == "own" or (row.method == "GET" and origin is None)
            if asked == "GET /health" and origin in ("own", None):
                assert status == 200
            elif right:
                assert status not in (401, 403, 415), body
            else:
                wanted = 401 if origin in ("own", None) else 403
                assert status == wanted, (origin, missing, body)
    if row.method == "POST":  # as a form of a page would
        form = {**page, "Origin": f"http://127.0.0.1:{api.port}", "Content-Type": "text/plain"}
        status, _, _ = await api._ask("POST", path, headers=form, token=None, data="{}")
        assert status == (415 if asked in _MAY_ASK else 401)


def test_all_that_the_page_may_ask_is_a_route() -> None:
    assert {f"{row.method} {row.path}" for row in ROUTES} >= _MAY_ASK


async def test_the_application_has_no_other_routes(api: Api) -> None:
    """The matrix goes through the table; beside it there are the page and its link."""
    routes = [r for r in api.runner.app.router.routes() if r.resource and r.method != "HEAD"]
    there = {(r.method, r.resource.canonical) for r in routes if r.resource}
    assert there - {(row.method, row.path) for row in ROUTES} == {("GET", "/"), ("GET", "/open")}
    assert (await api._ask("HEAD", await path_of_a_link(api), token=None))[0] == 405


async def test_nothing_but_its_own_script_runs_in_the_page(api: Api) -> None:
    """1. The page is read. Result: a policy with two hashes, which are those of the script and the
    style in it; no handler in the markup, no address of anywhere else, no way to frame or refer.
    """
    import base64
    import hashlib

    _, text, headers = await api.get("/", token=None, headers=await let_in(api))
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == policy["trusted-types"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[name] == f"'sha256-{digest}'"
    assert not re.search(r"\son\w+\s*=\s*[\"']", text) and "innerHTML" not in text
    assert not re.search(r"(?:src|href)=\"(?!#|data:,)", text)
    assert set(re.findall(r"https?://[\w./]+", text)) == {"http://www.w3.org/2000/svg"}
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
