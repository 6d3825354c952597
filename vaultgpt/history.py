"""Generations as a person asks about them: the list, the way back, and unlearning a note.

Knows nothing about terminals or HTTP; the command line and the daemon both answer with this.
"""

from __future__ import annotations

import time
from typing import Any

from vaultgpt.config import load_settings
from vaultgpt.errors import NotFound
from vaultgpt.generations import verify
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.rows import RoundRow
from vaultgpt.state import VaultState
from vaultgpt.vault.scan import read_vault
from vaultgpt.voice import store
from vaultgpt.wire import Sampling
from vaultgpt.wording import report_sentences


def history(ledger: Ledger) -> list[dict[str, Any]]:
    """Kept generations, newest first, each with its figures and what the gate said."""
    active, barred = ledger.active(), ledger.barred()
    rounds = {r.generation: r for r in ledger.rounds() if r.generation}
    rows = []
    for generation in reversed(ledger.generations()):
        done = rounds.get(generation.id)
        bits = ((done.report or {}).get("bits_per_byte") or {}) if done else {}
        rows.append(
            {
                "id": generation.id,
                "created": generation.created,
                "kind": generation.kind,
                "base": generation.base,
                "parent": generation.parent,
                "words": generation.words,
                "active": generation.id == active,
                "barred": generation.id in barred,
                "promoted": generation.promoted,
                "why": (done.verdict or "") if done else "",
                "held_out": bits.get("held_out"),
                "held_out_base": bits.get("held_out_base"),
            }
        )
    return rows


def previous_generation(ledger: Ledger) -> str | None:
    """The newest usable generation older than the active one; None when there is none."""
    active, barred = ledger.active(), ledger.barred()
    older = [
        g.id
        for g in ledger.generations()
        if active is not None and g.id < active and g.promoted and g.id not in barred
    ]
    return older[-1] if older else None


def activate_generation(state: VaultState, ledger: Ledger, generation: str) -> None:
    """Write with `generation` ("base" for none) from now on.

    NotFound, Conflict for a barred one, GenerationError for damaged files.
    """
    if generation == "base":
        ledger.set_active(None, time.time())
        return
    ledger.generation(generation)
    verify(state.generations / generation)
    ledger.set_active(generation, time.time())


def forget_note(state: VaultState, path: str, ledger: Ledger | None = None) -> dict[str, Any]:
    """Unlearn the note at `path` (POSIX, in the vault): its ids and the generations now barred."""
    if ledger is None:
        with Ledger.open(state) as opened:
            return forget_note(state, path, opened)
    before = ledger.barred()
    if not any(row.path == path for row in ledger.entries()):
        scan = read_vault(state.vault, load_settings(state.config).rules, ledger.stamps())
        ledger.record(scan, time.time())
    ids = ledger.forget(path, time.time())
    return {"path": path, "entries": len(ids), "generations": sorted(ledger.barred() - before)}


def verdict_of(row: RoundRow) -> dict[str, Any]:
    """What the gate said of a round."""
    return {
        "round": row.number,
        "kind": row.kind,
        "promoted": bool(row.promoted),
        "why": row.verdict or "",
        "generation": row.generation,
        "at": row.ended,
        "checks": row.checks,
    }


def report_of_active(ledger: Ledger, sampling: Sampling) -> dict[str, Any]:
    """The figures of the active generation (else of the last round), without per-segment arrays.

    "voice" is what was measured of it as it writes with `sampling`, or None; "sentences" says it
    all. NotFound before the first round.
    """
    rounds = [r for r in ledger.rounds() if r.report is not None]
    active = ledger.active()
    row = next((r for r in rounds if active is not None and r.generation == active), None)
    row = row or next(iter(rounds), None)
    if row is None:
        raise NotFound("Nothing has been learned yet.", "Run `vaultgpt train` first.")
    hidden = ("segments", "losses", "prequential")
    kept = {k: v for k, v in (row.report or {}).items() if k not in hidden}
    voice = None
    if active is not None and row.generation == active:
        voice = store.stored(ledger.state, active, store.fingerprint(ledger, sampling))
    answer = {"generation": row.generation, "verdict": verdict_of(row), **kept, "voice": voice}
    return {**answer, "sentences": report_sentences(answer)}
