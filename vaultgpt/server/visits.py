"""Who is let in beside the token's holder: a browser at the page of one's voice, and the phone.

A link opens the page once, a cookie after it; that is in memory alone and ends with the daemon. The
phone comes by the name of the author's own proxy, `server.phone`, and has a token of its own. Knows
nothing about what is asked, nor what the page shows: that is voice_page/ beside this file.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from aiohttp import web

from vaultgpt.errors import Forbidden
from vaultgpt.server.context import SERVICE
from vaultgpt.tasks.page import Link

PATHS = frozenset({"/", "/open"})  # they see for themselves who asks
# All that a browser with the cookie may ask. Of notes come refrains, two pages of a blind test, and
# a month's prose, in which the page looks for surprises.
_MAY_ASK = frozenset(
    {
        "GET /v1/status",
        "GET /v1/report",
        "POST /v1/report",
        "GET /v1/generations",
        "POST /v1/generations/{id}/activate",
        "GET /v1/page",
        "GET /v1/refrains",
        "GET /v1/blind",
        "GET /v1/month",
        "POST /v1/phone",
        "GET /v1/tags",
        "GET /v1/provenance",
        "GET /v1/events",
        "POST /v1/completions",
        "POST /v1/likeness",
        "POST /v1/train",
        "POST /v1/train/cancel",
    }
)
# Not the page, which is for the eyes at home; nor settings, forgetting and what else acts for good.
_PHONE_MAY_ASK = frozenset(
    {
        "GET /health",
        "GET /v1/status",
        "GET /v1/generations",
        "GET /v1/report",
        "GET /v1/tags",
        "GET /v1/notes",
        "GET /v1/notes/provenance",
        "GET /v1/provenance",
        "POST /v1/completions",
        "POST /v1/warm",
        "POST /v1/label",
        "POST /v1/likeness",
        "POST /v1/accepted",
        "POST /v1/train",
        "POST /v1/train/cancel",
        "POST /v1/generations/{id}/activate",
    }
)
_KEY_HEADER = "X-Vaultgpt-Page"
_MOST = 8  # browsers at a time: the one let in first goes
_CLOSED = "Run `vaultgpt open` to see this page: it makes a link that opens it once."
_VOID = "This link was used, or is older than a minute: run `vaultgpt open` again."
_LINK_S = 60  # a link opens the page once, and no later than this


@dataclass(frozen=True)
class _Browser:
    """What the page itself holds beside the cookie, and the token under which it was let in."""

    key: str
    token: str


class Visits:
    """Who was let in. `token` is read at each question: a rotated one ends links and cookies."""

    def __init__(
        self, token: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._token, self._clock = token, clock
        self._link: tuple[str, float, str] | None = None  # code, until when, token
        self._browsers: OrderedDict[str, _Browser] = OrderedDict()

    def link(self) -> str:
        """The code of a new link; the one made before opens nothing any more."""
        code = secrets.token_urlsafe(32)
        self._link = code, self._clock() + _LINK_S, self._token()
        return code

    def enter(self, code: str) -> tuple[str, str] | None:
        """The cookie and the key of a browser that has the link; None for a void one."""
        if self._link is None or not _same(code, self._link[0]):
            return None
        (_, until, token), self._link = self._link, None
        if self._clock() >= until or not _same(token, self._token()):
            return None
        cookie, key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._browsers[cookie] = _Browser(key, token)
        while len(self._browsers) > _MOST:
            self._browsers.popitem(last=False)
        return cookie, key

    def knows(self, request: web.Request) -> bool:
        """Whether the cookie is one of ours."""
        return self._browser(request) is not None

    def may_ask(self, request: web.Request) -> bool:
        """Whether the page asks, and for something that it needs.

        A browser sends a cookie of 127.0.0.1 to every port there, so that whoever listens on
        another one may see it: the key, which the page keeps for its own port, must come along."""
        browser, asked = self._browser(request), _asked(request)
        if browser is None:
            return False
        own = request.headers.get("Origin") == own_origin(request)
        key = request.headers.get(_KEY_HEADER, "")
        return asked in _MAY_ASK and (request.method == "GET" or own) and _same(key, browser.key)

    def _browser(self, request: web.Request) -> _Browser | None:
        given = request.cookies.get(_cookie_name(request), "")
        found = [one for cookie, one in self._browsers.items() if _same(given, cookie)]
        return found[0] if found and _same(found[0].token, self._token()) else None


VISITS: web.AppKey[Visits] = web.AppKey("visits", Visits)


def _same(given: str, ours: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), ours.encode())


def _asked(request: web.Request) -> str:
    """The route, "GET /v1/status"; "" for none of ours."""
    resource = request.match_info.route.resource
    return "" if resource is None else f"{request.method} {resource.canonical}"


def own_origin(request: web.Request) -> str:
    """The Origin of a page that this daemon served; its Host has been checked."""
    return f"http://{request.host}"


def _cookie_name(request: web.Request) -> str:
    """Of this port's daemon: cookies don't tell ports apart."""
    return f"vaultgpt_{request.host.rpartition(':')[2]}"


async def link(request: web.Request) -> web.Response:
    """A link that opens the page once, within a minute."""
    url = f"{own_origin(request)}/open?key={request.app[VISITS].link()}"
    return web.json_response(Link(url=url, seconds=_LINK_S))


async def _open(request: web.Request) -> web.Response:
    """Let the browser in: the cookie, and the key in the fragment, which no server sees.

    The page is gone on to by the document itself: after a redirect that another site began, a
    browser would keep a strict cookie back."""
    let_in = None
    if _same_user(request):
        let_in = request.app[VISITS].enter(request.query.get("key", ""))
    if let_in is None:
        return _said(403, _VOID)
    cookie, key = let_in
    answer = _html(f'<meta http-equiv="refresh" content="0;url=/#{key}">', "default-src 'none'")
    answer.set_cookie(_cookie_name(request), cookie, path="/", httponly=True, samesite="Strict")
    return answer


async def _page(request: web.Request) -> web.Response:
    if not request.app[VISITS].knows(request):
        return _said(401, _CLOSED)
    return _html(*_document())


PAGES = [web.get("/", _page, allow_head=False), web.get("/open", _open, allow_head=False)]


def _said(status: int, sentence: str) -> web.Response:
    words = "<!doctype html><html lang=en><title>vaultgpt</title><p>" + sentence
    return _html(words, "default-src 'none'", status)


def _html(text: str, policy: str, status: int = 200) -> web.Response:
    answer = web.Response(text=text, content_type="text/html", charset="utf-8", status=status)
    ends = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    answer.headers.update(
        {
            "Content-Security-Policy": f"{policy}; {ends}",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
    )
    return answer


@cache
def _document() -> tuple[str, str]:
    """The page with its style and script in it, and the policy that lets these two run alone.

    library.js is bundled by the plugin's build: what draws the phone's code, and how the plugin
    tells how like its author a sentence is."""
    folder = files("vaultgpt.server") / "voice_page"
    html, style, library, own = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "library.js", "page.js")
    )
    script = f"{library}\n{own}"
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return html.replace("/*style*/", style).replace("/*script*/", script), policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _same_user(request: web.Request) -> bool:
    """Whether the other end is a process of the daemon's user, or root's.

    On Linux every user sees the command line that a link was opened with, and could be faster.
    Elsewhere the link alone must do."""
    if not sys.platform.startswith("linux") or request.transport is None:
        return True
    host, port = request.transport.get_extra_info("peername")[:2]
    try:
        table = Path("/proc/net/tcp6" if ":" in host else "/proc/net/tcp").read_text("ascii")
    except OSError:
        return True  # then nobody sees command lines either
    users = _users(table, port)
    return bool(users) and users <= {os.getuid(), 0}


def _users(table: str, port: int) -> set[int]:
    """Whose the open connections from a port are, by the kernel's table of connections."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {int(row[7]) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}


def by_phone(request: web.Request) -> bool:
    """Whether the one Host header is, whole, the name that `server.phone` gives."""
    name = request.app[SERVICE].settings.server.phone
    hosts = request.headers.getall("Host", [])
    return bool(name) and len(hosts) == 1 and hosts[0].lower() == name.lower()


def check_not_public(request: web.Request) -> None:
    """Forbidden for what came from the open internet, as Tailscale tells."""
    if "Tailscale-Funnel-Request" in request.headers:
        raise Forbidden(
            "The daemon does not answer the open internet.",
            "funnel_not_allowed",
            "Use `tailscale serve`, and turn `tailscale funnel` off.",
        )


def check_may_ask(request: web.Request, route: str = "") -> None:
    """Forbidden for what a phone has no need of: the request's own route, or what it comes to."""
    if (route or _asked(request)) not in _PHONE_MAY_ASK:
        raise Forbidden(
            "A phone may not ask this.", "not_for_a_phone", "Do it on the computer at home."
        )
