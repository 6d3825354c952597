"""A phone, by the name of the author's own HTTPS proxy: off until it is named, and then no more."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from tests.server.conftest import ORIGIN, PHONE_TOKEN, TOKEN, Api
from tests.server.test_page import let_in
from vaultgpt.errors import UsageError
from vaultgpt.options import with_option
from vaultgpt.server.routes import ROUTES
from vaultgpt.server.visits import _PHONE_MAY_ASK
from vaultgpt.settings import Settings, save_option

NAME = "desk.tail1234.ts.net"
ROUTE_IDS = [f"{row.method} {row.path}" for row in ROUTES]


@pytest.fixture
def named(api: Api) -> Api:
    api.service.settings = with_option(api.service.settings, "server.phone", NAME)
    return api


async def asked(api: Api, row: Any, token: str | None, **headers: str) -> tuple[int, str | None]:
    """Status and code of a route asked by the phone's name."""
    path = row.path.replace("{id}", "g000001")
    kwargs: Any = {} if row.method == "GET" else {"json": {}}
    given = {"Host": NAME, **headers}
    status, body, _ = await api._ask(row.method, path, headers=given, token=token, **kwargs)
    api.service.training = False
    return status, body["error"]["code"] if status >= 400 else None


async def test_no_phone_is_let_in_before_it_is_named(api: Api) -> None:
    """Nor is the default of the setting a name that anybody could have."""
    for host in (NAME, ""):
        status, body, _ = await api.get("/health", headers={"Host": host}, token=PHONE_TOKEN)
        assert (status, body["error"]["code"]) == (403, "host_not_allowed")
    status, _, _ = await api.get("/v1/status", token=PHONE_TOKEN)
    assert status == 401


@pytest.mark.parametrize("row", ROUTES, ids=ROUTE_IDS)
async def test_what_may_be_asked_by_that_name(named: Api, row: Any) -> None:
    """1. Each route is asked with the phone's token, the home's, none, from a page, from the open
    internet. Result: what the plugin needs is answered to the phone's token alone; all else is not.
    """
    route = f"{row.method} {row.path}"
    if row.path != "/health":
        for token in (TOKEN, None, PHONE_TOKEN[:-1] + "8"):
            assert await asked(named, row, token) == (401, "invalid_token")
    status, code = await asked(named, row, PHONE_TOKEN)
    if route in _PHONE_MAY_ASK:
        assert status not in (401, 403)
    else:
        assert (status, code) == (403, "not_for_a_phone")
    public = {"Tailscale-Funnel-Request": "?1"}
    assert await asked(named, row, PHONE_TOKEN, **public) == (403, "funnel_not_allowed")
    for origin in (f"http://{NAME}", f"https://{NAME}", "null"):
        assert await asked(named, row, PHONE_TOKEN, Origin=origin) == (403, "origin_not_allowed")


async def test_a_phone_may_read_the_report_and_have_nothing_measured(named: Api) -> None:
    for query, expected in (("", 404), ("?measure=0", 404), ("?measure=1", 403)):
        path, host = f"/v1/report{query}", {"Host": NAME}
        status, _, _ = await named.get(path, headers=host, token=PHONE_TOKEN)
        assert status == expected, query
    assert (await named.get("/v1/report?measure=1"))[0] == 200


async def test_the_name_is_exact_and_the_phones_token_is_good_there_alone(named: Api) -> None:
    for host in (NAME, NAME.upper()):
        assert (await named.get("/v1/status", headers={"Host": host}, token=PHONE_TOKEN))[0] == 200
    wrong = ("", "ts.net", f"{NAME}.", f"{NAME}:443", f"x{NAME}", f"{NAME}.evil", f"{NAME}@evil")
    for host in wrong:
        status, body, _ = await named.get("/v1/status", headers={"Host": host}, token=PHONE_TOKEN)
        assert (status, body["error"]["code"]) == (403, "host_not_allowed"), host
    twice = f"GET /v1/status HTTP/1.1\r\nHost: {NAME}\r\nHost: {NAME}\r\n\r\n"
    assert b"200 OK" not in await named.raw(twice.encode())
    assert (await named.get("/v1/status", token=PHONE_TOKEN))[0] == 401


async def test_the_page_is_not_shown_there_nor_does_its_cookie_count(named: Api) -> None:
    page = await let_in(named)
    for path in ("/", "/open?key=1", "/v1/page", "/v1/status"):
        status, _, _ = await named.get(path, headers={**page, "Host": NAME}, token=None)
        assert status == 401, path
        status, _, _ = await named.get(path, headers={**page, "Host": NAME}, token=PHONE_TOKEN)
        assert status == (200 if path == "/v1/status" else 403), path


async def test_a_challenge_is_answered_with_the_phones_token_and_the_name(named: Api) -> None:
    """What is proved at the phone's name proves nothing at the port, and the other way about."""
    challenge = "ab" * 32
    path = f"/health?challenge={challenge}"
    by_name = (await named.get(path, headers={"Host": NAME.upper()}, token=None))[1]["proof"]
    by_port = (await named.get(path, token=None))[1]["proof"]

    def proof(token: str, place: str) -> str:
        message = f"vaultgpt health 1\n{place}\n".encode() + bytes.fromhex(challenge)
        return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()

    assert by_name == proof(PHONE_TOKEN, NAME)
    assert by_port == proof(TOKEN, str(named.port))


async def test_an_allowed_origin_is_allowed_there_too(named: Api) -> None:
    status, _, headers = await named.get(
        "/v1/status", headers={"Host": NAME, "Origin": ORIGIN}, token=PHONE_TOKEN
    )
    assert status == 200 and headers["Access-Control-Allow-Origin"] == ORIGIN


def test_the_name_is_a_hosts_and_is_not_set_over_http(tmp_path: Any) -> None:
    for name in (NAME, f"{NAME}:8443", "Home.Example", ""):
        assert with_option(Settings(), "server.phone", name).server.phone == name
    for name in ("https://a.example", "a.example/", "desk", "127.0.0.1", "a..example", "*.ts.net"):
        with pytest.raises(UsageError):
            with_option(Settings(), "server.phone", name)
    assert save_option(tmp_path / "config.toml", "server.phone", NAME).server.phone == NAME
