"""What the ledger says of a vault, as `status` shows it. Blocks.

Knows nothing about the running daemon.
"""

from __future__ import annotations

from typing import Any

from vaultgpt import __version__
from vaultgpt.config import Settings
from vaultgpt.daemon.runtime import API_VERSION
from vaultgpt.history import verdict_of
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState


def figures(state: VaultState, settings: Settings, ledger: Ledger, now: float) -> dict[str, Any]:
    """CONTRACT's `status` as far as the ledger knows it; what only a daemon knows is null."""
    totals, pending = ledger.totals(), ledger.pending(now, settings.schedule.quiet_s)
    last = next((r for r in ledger.rounds() if r.promoted is not None and r.verdict), None)
    return {
        "notes": totals["notes"],
        "words": totals["words"],
        "pending_notes": pending.notes,
        "active": ledger.active(),
        "training": None,
        "next_training": None,
        "last_verdict": None if last is None else verdict_of(last),
        "base": settings.base,
        "device": None,
        "version": __version__,
        "api": API_VERSION,
        "vault": str(state.vault),
        "used": totals["used"],
        "pending_words": pending.words,
        "ready_words": pending.ready_words,
        "paused": ledger.paused() or ("training.pause is set" if settings.training.pause else None),
    }
