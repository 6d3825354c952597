"""What the ledger says of a vault, as `status` and `report` show it. Blocks.

Knows nothing about the running daemon.
"""

from __future__ import annotations

from typing import Any

from vaultgpt import __version__
from vaultgpt.config import Settings
from vaultgpt.daemon.runtime import API_VERSION
from vaultgpt.errors import NotFound
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.rows import RoundRow
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
        "last_verdict": None if last is None else _verdict(last),
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


def report(ledger: Ledger) -> dict[str, Any]:
    """The last judged round: {round, kind, generation, verdict, report, ended}. NotFound."""
    last = ledger.last_judged()
    if last is None:
        raise NotFound("No round has been judged yet.", "The first one makes a report.")
    shown = {k: v for k, v in (last.report or {}).items() if k not in ("segments", "losses")}
    return {"round": last.number, "kind": last.kind, "generation": last.generation,
            "verdict": _verdict(last), "report": shown, "ended": last.ended}


def _verdict(row: RoundRow) -> dict[str, Any]:
    return {"round": row.number, "promoted": row.promoted, "why": row.verdict, "at": row.ended,
            "checks": row.checks}
