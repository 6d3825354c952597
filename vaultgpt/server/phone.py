"""The author's phone, which comes through the author's own HTTPS proxy, by the name of that.

Off until `server.phone` gives the name. The phone has a token of its own, good under that name
alone, and may ask what the plugin needs to write. Knows nothing about what is asked.
"""

from __future__ import annotations

from aiohttp import web

from vaultgpt.errors import Forbidden
from vaultgpt.server.context import SERVICE

# Not the page, which is for the eyes at home; nor settings, forgetting and what else acts for good.
PHONE_MAY_ASK = frozenset(
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


def check_may_ask(request: web.Request) -> None:
    """Forbidden for what a phone has no need of."""
    resource = request.match_info.route.resource
    if resource is None or f"{request.method} {resource.canonical}" not in PHONE_MAY_ASK:
        raise Forbidden(
            "A phone may not ask this.", "not_for_a_phone", "Do it on the computer at home."
        )
