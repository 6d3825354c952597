"""Why one note is used or not: the answer of `why NOTE` and of GET /v1/notes.

Knows nothing about terminals or HTTP.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaultgpt.config import Rules, load_settings
from vaultgpt.errors import NotFound
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import Judgement
from vaultgpt.vault.rules import RuleSet
from vaultgpt.vault.scan import find_one, read_one


def explain(state: VaultState, path: str, ledger: Ledger | None = None) -> dict[str, Any]:
    """CONTRACT's `why` of the note at `path` (POSIX, in the vault). NotFound, VaultError.

    Span offsets are characters of the decoded file. `held_out` is true when any of the note's
    entries is, null when the note has not been recorded yet. `path_date` is what the path alone
    means, by the vault's daily and periodic notes.
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
        "path_date": DailyFormat.load(state.vault).date_of(note.path),
        "tags": list(note.tags),
        "words": note.words,
        "prose": "".join(entry.prose for entry in note.entries),
        "spans": spans,
        "problem": note.problem,
        "text": note.text,
    }


def unread(state: VaultState, path: str) -> dict[str, Any]:
    """The same of a note that no scan has seen: what its path alone says, without opening it.

    NotFound when there is no such note on the disk, UsageError for a path that leads outside.
    """
    found = find_one(state.vault, path)
    judgement = RuleSet.load(state.vault, load_settings(state.config).rules).judge_path(found.path)
    date = DailyFormat.load(state.vault).date_of(found.path)
    return {
        "path": found.path,
        "used": False,
        "why": "It has not been read yet." if judgement.used else judgement.why,
        "code": "unread" if judgement.used else judgement.code,
        "held_out": None,
        "date": date,
        "dates": [date] if date else [],
        "path_date": date,
        "tags": [],
        "words": 0,
        "prose": "",
        "spans": [],
        "problem": None,
        "text": "",
    }


def judged(vault: Path, rules: Rules, path: str) -> tuple[Judgement, str | None]:
    """Whether the rules take the note at `path`, and its date where it has one.

    A note of many days has as many; one that is not on the disk goes by its path. UsageError for a
    path that leads outside.
    """
    try:
        scanned = read_one(vault, rules, path)
    except NotFound:
        date = DailyFormat.load(vault).date_of(path)
        return RuleSet.load(vault, rules).judge_path(path), date
    entries = scanned.note.entries
    return scanned.judgement, entries[0].date if len(entries) == 1 else None


def _held_out(state: VaultState, path: str, ledger: Ledger | None) -> bool | None:
    if ledger is None:
        if not state.ledger.exists():
            return None
        with Ledger.open(state) as opened:
            return _held_out(state, path, opened)
    rows = [row for row in ledger.entries() if row.path == path]
    return any(row.held_out for row in rows) if rows else None
