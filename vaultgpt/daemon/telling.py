"""What the daemon says of itself while it runs: on its terminal in sentences, in its log in words.

Knows nothing about how rounds are run. The log holds no sentence of the gate's: it may name a tag.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from vaultgpt.daemon.logs import log
from vaultgpt.server.events import Broker, Event


async def tell(broker: Broker, say: Callable[[str], None]) -> None:
    """Say and log what is published, until cancelled or the broker closes."""
    with broker.subscribe() as listener:
        async for event in listener.events():
            if event is not None and (said := sentences(event)) is not None:
                logged, line = said
                log.info(logged)
                say(f"{time.strftime('%H:%M')} {line}")


def sentences(event: Event) -> tuple[str, str] | None:
    """(for the log, for the terminal); None for what is not worth a line."""
    data = event.data
    if event.name == "started":
        return "round started", f"A round starts. {data['why']}"
    if event.name == "verdict":
        return _verdict(data.get("generation"), data["kind"], data["verdict"])
    if event.name == "error":
        waits = data.get("code") == "conflict"
        said = "waits for another one" if waits else "failed"
        return f"round {said}", f"The round {said}: {data['message']}"
    if event.name == "swap":
        who = data["active"] or "the bare base"
        return f"swapped to {who}", f"From now on {who} writes."
    return None


def _verdict(generation: str | None, kind: str, verdict: Mapping[str, Any]) -> tuple[str, str]:
    why = verdict["why"]
    if kind == "none":
        return "round had nothing to learn", f"Nothing was learned: {why}"
    if verdict["promoted"]:
        return f"round learned {generation}", f"Learned {generation}: {why}"
    return "round refused", f"The old voice stays: {why}"
