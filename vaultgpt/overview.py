"""`status` and `report` of a vault, from its daemon when one runs, else from the ledger.

Knows nothing about terminals.
"""

from __future__ import annotations

import time
from typing import Any

from vaultgpt import API_VERSION, __version__
from vaultgpt.client import find_daemon
from vaultgpt.config import load_settings
from vaultgpt.errors import NotFound
from vaultgpt.history import report_answer, verdict_answer
from vaultgpt.ledger import Ledger
from vaultgpt.rounds import what_is_due
from vaultgpt.state import VaultState
from vaultgpt.vault.scan import read_vault


def overview(state: VaultState) -> dict[str, Any]:
    """CONTRACT's `status`. Without a daemon the vault is read first, so the figures are of now."""
    if daemon := find_daemon(state):
        return {**daemon.get("/v1/status"), "daemon": {"pid": daemon.pid, "port": daemon.port}}
    settings, now = load_settings(state.config), time.time()
    with Ledger.open(state) as ledger:
        percent = settings.schedule.vanished_percent
        ledger.record(read_vault(state.vault, settings.rules), now, percent)
        live = [entry for entry in ledger.entries() if entry.live]
        due = what_is_due(state, settings, ledger, now)
        return {
            "notes": len({entry.path for entry in live}),
            "words": sum(entry.words for entry in live),
            "pending_notes": ledger.pending(now, settings.schedule.quiet_s).notes,
            "active": ledger.active(),
            "training": None,
            "next_training": {"when": None, "why": due.why},
            "last_verdict": verdict_answer(ledger),
            "base": settings.base,
            "device": settings.mirror.device,
            "version": __version__,
            "api": API_VERSION,
            "daemon": None,
            "problems": [f"Learning is paused: {why}"] if (why := ledger.paused()) else [],
        }


def last_report(state: VaultState) -> dict[str, Any]:
    """The report of the active generation; NotFound before the first round."""
    with Ledger.open(state) as ledger:
        answer = report_answer(ledger)
    if answer is None:
        raise NotFound("Nothing has been learned yet.", "Run `vaultgpt train` first.")
    return answer
