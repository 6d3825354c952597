"""Whose words stand in a note, and in each month's: what the mirror wrote and the author accepted.

Edited or not. By the note as it lies on the disk and the ledger's keyed hashes of accepted text.
Knows nothing about terminals or HTTP.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Literal

from typing_extensions import TypedDict

from vaultgpt.corpus.words import split_words
from vaultgpt.errors import Forbidden, NotFound, UsageError
from vaultgpt.ledger.emitted import OFFERED_S, Emitted
from vaultgpt.tasks.request import Question
from vaultgpt.tasks.schemas import NotePath
from vaultgpt.tasks.vault_service import Desk, Task
from vaultgpt.vault.reconcile import read_one, read_some

_MOST_EDITED = 8  # words between two runs of the mirror's that were its own once, and were changed


class _ProvenanceRequest(Question):
    """One note."""

    path: NotePath


class _OwnSpan(TypedDict):
    """Characters [start, end) of the decoded file that the mirror wrote, or that were changed."""

    start: int
    end: int
    kind: Literal["mirror", "edited"]


class _Provenance(TypedDict):
    """Whose words stand in a note. `sha256` is of its text with "\\n" line ends, in UTF-8."""

    path: str
    sha256: str
    words: int
    mirror: int  # words
    edited: int  # words
    spans: list[_OwnSpan]


def _own_spans(text: str, now: float, emitted: Emitted) -> list[_OwnSpan]:
    """What was accepted at any time until now, and the few words between that were changed."""
    # So long after an offer only what was accepted counts.
    ranges = emitted.mask_ranges(text, now + OFFERED_S + 1)
    spans: list[_OwnSpan] = []
    for start, end in ranges:
        if spans and _is_edit(gap := text[spans[-1]["end"] : start]):
            lead = len(gap) - len(gap.lstrip())
            edited = _OwnSpan(start=spans[-1]["end"] + lead, end=start, kind="edited")
            spans.append(edited)
        spans.append(_OwnSpan(start=start, end=end, kind="mirror"))
    return spans


def _is_edit(gap: str) -> bool:
    return "\n\n" not in gap and len(split_words(gap)) <= _MOST_EDITED


def _words(text: str, spans: list[_OwnSpan]) -> Counter[str]:
    """Words of the spans, by kind."""
    words: Counter[str] = Counter()
    for span in spans:
        words[span["kind"]] += len(split_words(text[span["start"] : span["end"]]))
    return words


def _provenance(desk: Desk, asked: _ProvenanceRequest) -> _Provenance:
    if asked.path not in desk.ledger.notes.stamps():
        raise NotFound("There is no such note in the index.")
    try:
        text = read_one(desk.state.vault, desk.settings.rules, asked.path).note.text
    except UsageError as error:
        raise Forbidden(error.message, "path_not_allowed", error.mend, "path") from None
    spans = _own_spans(text, desk.now, desk.ledger.emitted.lookup())
    plain = text.replace("\r\n", "\n").encode("utf-8", "surrogatepass")
    words = _words(text, spans)
    return _Provenance(
        path=asked.path,
        sha256=hashlib.sha256(plain).hexdigest(),
        words=len(split_words(text)),
        mirror=words["mirror"],
        edited=words["edited"],
        spans=spans,
    )


class _Share(TypedDict):
    """Of so many words."""

    words: int
    mirror: int
    edited: int


class _Months(TypedDict):
    """By "2026-11", the month of an entry's date; "" is for entries without one."""

    months: dict[str, _Share]


def _months(desk: Desk, _: None) -> _Months:
    """Only notes with text that was first seen after something was written for the author."""
    months: dict[str, _Share] = {}
    for row in desk.ledger.entries.all():
        if row.live:
            _share(months, row.date)["words"] += row.words
    emitted = desk.ledger.emitted.lookup()
    paths = desk.ledger.entries.paths_since(emitted.since())
    for scanned in read_some(desk.state.vault, desk.settings.rules, paths):
        for entry in scanned.note.entries:
            share = _share(months, entry.date)
            words = _words(entry.text, _own_spans(entry.text, desk.now, emitted))
            share["mirror"] += words["mirror"]
            share["edited"] += words["edited"]
    return _Months(months=dict(sorted(months.items())))


def _share(months: dict[str, _Share], date: str | None) -> _Share:
    return months.setdefault((date or "")[:7], _Share(words=0, mirror=0, edited=0))


MONTHS = Task(
    "GET", "/v1/provenance", "Whose words stand in the vault, by month", None, _Months, work=_months
)

PROVENANCE = Task(
    "GET",
    "/v1/notes/provenance",
    "Whose words stand in one note: the mirror's, edited or not",
    _ProvenanceRequest,
    _Provenance,
    work=_provenance,
)
