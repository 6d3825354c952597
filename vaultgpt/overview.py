"""`status` and `report` of a vault, from its daemon when one runs, else from the ledger.

Knows nothing about terminals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vaultgpt.client import find_daemon
from vaultgpt.config import load_settings
from vaultgpt.daemon.status import figures
from vaultgpt.history import report_of_active
from vaultgpt.ledger import Ledger
from vaultgpt.rounds import what_is_due
from vaultgpt.state import VaultState
from vaultgpt.vault.scan import read_vault
from vaultgpt.voice.measure import measure_voice


def overview(state: VaultState) -> dict[str, Any]:
    """CONTRACT's `status`. Without a daemon the vault is read first, so the figures are of now."""
    if daemon := find_daemon(state):
        return {**daemon.get("/v1/status"), "daemon": {"pid": daemon.pid, "port": daemon.port}}
    settings, now = load_settings(state.config), time.time()
    with Ledger.open(state) as ledger:
        percent = settings.schedule.vanished_percent
        ledger.record(read_vault(state.vault, settings.rules), now, percent)
        due = what_is_due(state, settings, ledger, now)
        answer = figures(state, settings, ledger, now)
    return {
        **answer,
        "next_training": {"when": None, "why": due.why},
        "device": settings.mirror.device,
        "daemon": None,
        "problems": [],
    }


def last_report(state: VaultState) -> dict[str, Any]:
    """The report of the active generation; NotFound before the first round."""
    if daemon := find_daemon(state):
        return dict(daemon.get("/v1/report"))
    with Ledger.open(state) as ledger:
        return report_of_active(ledger, load_settings(state.config).mirror.sampling())


def measured_report(
    state: VaultState, on_progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The report once its voice has been measured, which takes about a minute.

    Conflict while a round runs. A daemon measures by itself and tells nothing on the way.
    """
    if daemon := find_daemon(state):
        return dict(daemon.get("/v1/report?measure=1"))
    measure_voice(state, load_settings(state.config), now=time.time, on_progress=on_progress)
    return last_report(state)
