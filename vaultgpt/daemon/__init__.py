"""`vaultgpt serve`: one vault's watch, schedule, rounds and HTTP, in a process without torch."""

from __future__ import annotations

from vaultgpt.config import Settings
from vaultgpt.state import VaultState


def serve(
    state: VaultState, settings: Settings, port: int | None = None, as_json: bool = False
) -> None:
    """Run the daemon of one vault until SIGINT or SIGTERM. Conflict when another one runs.

    `port` None takes the setting; 0 any free one.
    """
    from vaultgpt.daemon.serving import run  # the HTTP stack costs 0.3 s that `status` need not pay

    run(state, settings, port, as_json)


__all__ = ["serve"]
