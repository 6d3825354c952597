"""Why one note is used or not: the answer of `why NOTE` and of GET /v1/notes.

Knows nothing about terminals or HTTP.
"""

from __future__ import annotations

from typing import Any

from vaultgpt.config import load_settings
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState
from vaultgpt.vault.scan import read_one


def explain(state: VaultState, path: str, ledger: Ledger | None = None) -> dict[str, Any]:
    """CONTRACT's `why` of the note at `path` (POSIX, in the vault). NotFound, VaultError.

    Span offsets are characters of the decoded file. `held_out` is true when any of the note's
    entries is, null when the note has not been recorded yet.
    """
    settings = load_settings(state.config)
    scanned = read_one(state.vault, settings.rules, path)
    note, judgement = scanned.note, scanned.judgement
    spans = [
        {"start": entry.start + s.start, "end": entry.start + s.end, "kind": s.kind}
        for entry in note.entries
        for s in entry.spans
    ]
    dates = [entry.date for entry in note.entries if entry.date]
    return {
        "path": note.path,
        "used": judgement.used,
        "why": judgement.why,
        "code": judgement.code,
        "held_out": _held_out(state, note.path, ledger),
        "date": dates[0] if dates else None,
        "dates": dates,
        "tags": list(note.tags),
        "words": note.words,
        "prose": "".join(entry.prose for entry in note.entries),
        "spans": spans,
        "problem": note.problem,
        "text": note.text,
    }


def _held_out(state: VaultState, path: str, ledger: Ledger | None) -> bool | None:
    if ledger is None:
        if not state.ledger.exists():
            return None
        with Ledger.open(state) as opened:
            return _held_out(state, path, opened)
    rows = [row for row in ledger.entries() if row.path == path]
    return any(row.held_out for row in rows) if rows else None
