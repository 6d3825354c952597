"""Why one note is used or not, and what of it is learned.

Whoever asks at a terminal has the note read anew; the API opens only what its index has. Knows
nothing about terminals or HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from typing_extensions import TypedDict

from vaultgpt.errors import Forbidden, NotFound, UsageError
from vaultgpt.ledger import Ledger
from vaultgpt.settings import Rules
from vaultgpt.tasks.forget import less_forgotten
from vaultgpt.tasks.request import Question
from vaultgpt.tasks.schemas import NotePath
from vaultgpt.tasks.vault_service import Desk, Here, Task
from vaultgpt.vault.at_cursor import WRITABLE
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import Judgement, below
from vaultgpt.vault.reconcile import find_one, read_one
from vaultgpt.vault.rules import RuleSet
from vaultgpt.wire import Hear


class WhyRequest(Question):
    """One note."""

    path: NotePath


class _WhySpan(TypedDict):
    """Characters [start, end) of the decoded file and what they are; forgotten prose says so."""

    start: int
    end: int
    kind: str


class Why(TypedDict):
    """CONTRACT's `why`.

    `held_out` is true when any of the note's entries is, null when the note has not been recorded
    yet; `kept_aside` says whether that is "all" of it or "part", such as some days of a file that
    holds many; null where none is. `path_date` is what the path alone means, by the vault's daily
    and periodic notes."""

    path: str
    used: bool
    why: str
    code: str
    held_out: bool | None
    kept_aside: Literal["all", "part"] | None
    date: str | None
    dates: list[str]
    path_date: str | None
    tags: list[str]
    words: int
    prose: str
    spans: list[_WhySpan]
    problem: str | None
    text: str


def _explained(vault: Path, rules: Rules, path: str, ledger: Ledger | None) -> Why:
    """Of a note that is read for it. NotFound, VaultError, UsageError for a path that leads out."""
    scanned = read_one(vault, rules, path)
    note = scanned.note
    learned = scanned if ledger is None else less_forgotten(ledger)(scanned)
    judgement, kept = learned.judgement, learned.note.entries
    dates = [entry.date for entry in note.entries if entry.date]
    aside = _aside(note.path, ledger)
    return Why(
        path=note.path,
        used=judgement.used,
        why=judgement.why,
        code=judgement.code,
        held_out=None if aside is None else any(aside),
        kept_aside=_how_much(aside or []),
        date=dates[0] if dates else None,
        dates=dates,
        path_date=DailyFormat.load(vault).date_of(note.path),
        tags=list(note.tags),
        words=learned.note.words,
        prose="".join(entry.prose for entry in kept),
        spans=[
            _WhySpan(
                start=entry.start + s.start,
                end=entry.start + s.end,
                kind="forgotten" if s.kind == "prose" and entry not in kept else s.kind,
            )
            for entry in note.entries
            for s in entry.spans
        ],
        problem=note.problem,
        text=note.text,
    )


def _unread(vault: Path, rules: Rules, path: str) -> Why:
    """Of a note that no scan has seen: what its path alone says, without opening it."""
    found = find_one(vault, path)
    judgement = RuleSet.load(vault, rules).judge_path(found.path)
    date = DailyFormat.load(vault).date_of(found.path)
    return Why(
        path=found.path,
        used=False,
        why="It has not been read yet." if judgement.used else judgement.why,
        code="unread" if judgement.used else judgement.code,
        held_out=None,
        kept_aside=None,
        date=date,
        dates=[date] if date else [],
        path_date=date,
        tags=[],
        words=0,
        prose="",
        spans=[],
        problem=None,
        text="",
    )


def _aside(path: str, ledger: Ledger | None) -> list[int] | None:
    """`held_out` of each of a note's entries; None for one that is not recorded."""
    rows = [row for row in ledger.entries.all() if row.path == path] if ledger else []
    return [row.held_out for row in rows if row.words] if rows else None


def _how_much(aside: Sequence[int]) -> Literal["all", "part"] | None:
    if not any(aside):
        return None
    return "all" if all(held == 1 for held in aside) else "part"


def _of_index(desk: Desk, asked: WhyRequest) -> Why:
    vault, rules = desk.state.vault, desk.settings.rules
    try:
        if asked.path not in desk.ledger.notes.stamps():
            return _unread(vault, rules, asked.path)
        return _explained(vault, rules, asked.path, desk.ledger)
    except UsageError as error:
        raise Forbidden(error.message, "path_not_allowed", error.mend, "path") from None


def _of_file(service: Here, asked: WhyRequest, _hear: Hear) -> Why:
    vault, rules = service.state.vault, service.settings.rules
    if not service.state.ledger.exists():
        return _explained(vault, rules, asked.path, None)
    return service.with_desk(lambda desk: _explained(vault, rules, asked.path, desk.ledger))


def check_tags(rules: Rules, tags: Sequence[str], param: str = "vaultgpt.tags") -> None:
    """Forbidden for a tag whose notes the rules leave out: nothing is written under it either."""
    out = [tag.lower().lstrip("#") for tag in rules.exclude_tags]
    if any(below(tag, barred) for tag in tags for barred in out):
        raise Forbidden("The rules leave out notes with this tag.", "tag", param=param)


def check_path(vault: Path, rules: Rules, path: str) -> str | None:
    """The date of the note at `path`. Forbidden when the rules leave it out, or it leads outside.

    What only keeps a note from being learned, that there is too little of it, is no reason."""
    try:
        judgement, date = _judged(vault, rules, path)
    except UsageError as error:
        raise Forbidden(error.message, "path_not_allowed", error.mend, "vaultgpt.path") from None
    if not judgement.used and judgement.code not in WRITABLE:
        why = f"The rules leave this note out. {judgement.why}"
        raise Forbidden(why, judgement.code, param="vaultgpt.path")
    return date


def _judged(vault: Path, rules: Rules, path: str) -> tuple[Judgement, str | None]:
    """Whether the rules take a note, and its date: a note of many days has none.

    One that is not on the disk goes by its path. UsageError for a path that leads outside."""
    try:
        scanned = read_one(vault, rules, path)
    except NotFound:
        date = DailyFormat.load(vault).date_of(path)
        return RuleSet.load(vault, rules).judge_path(path), date
    entries = scanned.note.entries
    return scanned.judgement, entries[0].date if len(entries) == 1 else None


WHY = Task(
    "GET",
    "/v1/notes",
    "Why one note is used or not",
    WhyRequest,
    Why,
    work=_of_index,
    here=_of_file,
)
