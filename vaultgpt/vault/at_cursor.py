"""A note in an editor, at its cursor: what is written on from, in whose voice, and what may follow.

For the plugin and for `continue --note` alike, by the reader and the rules that training uses. The
text is the editor's own, saved or not; no note is opened. Knows nothing about models or the wire.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from vaultgpt.errors import NotFound
from vaultgpt.settings import Rules
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.dates import parse_date
from vaultgpt.vault.entry import LEFT_OUT, Entry, Judgement, Note, Span
from vaultgpt.vault.markup import ITEM, heading, setext
from vaultgpt.vault.place import NOWHERE, Place, place_at, without_quote
from vaultgpt.vault.reading import EDITOR_READER
from vaultgpt.vault.reconcile import read_one
from vaultgpt.vault.rules import USED, RuleSet, not_read

# What keeps a note from being learned but not from being written on: there is too little of it yet.
WRITABLE = frozenset({"few words", "empty"})
_MOST_BEFORE = 12_000  # characters kept before the cursor
_STEP = 4_000  # in which the cut moves while the author types on: the cached prompt stays good
_MOST_AFTER = 1_000
_MOST_TAGS = 16
_LENGTHS: dict[str, Literal["sentence", "paragraph", "page"]] = {
    "sentence": "sentence",
    "paragraph": "paragraph",
    "page": "page",
}
_BOUNDARY = re.compile(r"\n[ \t]*\n\s*|[.!?…][\"'”’)\]]*\s+|\n")
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_WIDE = re.compile("[\U00010000-\U0010ffff]")
_BLANK = re.compile(r"(?:[ \t]*\r?\n)+")
_LINE = re.compile(r"[^\n]+")
_ITEM = re.compile(rf"[ \t]*{ITEM}[ \t]+(?:\[.\][ \t]+)?")


@dataclass(frozen=True)
class EditorNote:
    """A note as it stands in an editor."""

    path: str | None  # POSIX, in the vault; None for a text that is no note
    text: str
    at: int  # characters before the cursor
    gap: int | None = None  # where characters of a very long note were left out
    may_skip: bool = False  # the text can be put further on, where the place's `skip` says


@dataclass(frozen=True)
class AtCursor:
    """What a continuation begins from. `text` and `suffix` are "" where it is refused."""

    text: str  # before the cursor, as the model reads it
    suffix: str  # after the cursor
    tags: tuple[str, ...]
    date: str | None  # "2019-03" or "2019": a day would be a key to one entry
    title: str | None
    length: Literal["sentence", "paragraph", "page"] | None  # what the note itself asks for
    temperature: float | None
    place: Place = field(default_factory=Place)
    judgement: Judgement = USED


@dataclass(frozen=True)
class ProseLine:
    """One line that holds the author's prose, without an item's mark."""

    start: int  # of the note's characters
    text: str  # as it stands there
    own: tuple[tuple[int, int], ...]  # prose, as characters of `text`
    left_out: tuple[tuple[int, int], ...]  # what the model never reads, likewise


@dataclass(frozen=True)
class EditorProse:
    """What the author wrote of a note in an editor; nothing where the rules leave it out."""

    judgement: Judgement
    parts: tuple[tuple[AtCursor, tuple[ProseLine, ...]], ...] = ()  # each entry's voice, its lines


def read_prose(vault: Path, rules: Rules, path: str | None, text: str) -> EditorProse:
    """The prose of an editor's note by the reader and the rules that training uses. VaultError."""
    (note,) = EDITOR_READER.read(DailyFormat.load(vault), [(path or "", text)])
    if not note.entries:
        return EditorProse(not_read(note))
    ready, parts = RuleSet.load(vault, rules), []
    for entry in note.entries:
        voice = _voice(note, entry, None)
        judgement = _judge(note, voice, ready)
        if not judgement.used:
            return EditorProse(judgement)
        parts.append((voice, tuple(_prose_lines(entry))))
    return EditorProse(USED, tuple(parts))


def _prose_lines(entry: Entry) -> Iterator[ProseLine]:
    """Lines with prose in them. A heading and a row of a table are no sentences of it."""
    text = entry.text
    starts, ends = [span.start for span in entry.spans], [span.end for span in entry.spans]
    for line in _LINE.finditer(text):
        begin, end = line.span()
        item = _ITEM.match(text, begin, end)
        at = item.end() if item else begin
        spans = entry.spans[bisect_right(ends, begin) : bisect_left(starts, end)]
        own = _within(spans, at, end, frozenset({"prose"}))
        bare = text[at:end].strip()
        if own and not (bare.startswith("|") or heading(text, begin) or setext(text, begin)):
            yield ProseLine(entry.start + at, text[at:end], own, _within(spans, at, end, LEFT_OUT))


def _within(
    spans: Sequence[Span], start: int, end: int, kinds: Set[str]
) -> tuple[tuple[int, int], ...]:
    """The parts of [start, end) of these kinds, counted from `start`."""
    cut = ((max(s.start, start), min(s.end, end)) for s in spans if s.kind in kinds)
    return tuple((a - start, b - start) for a, b in cut if a < b)


def read_editor(vault: Path, rules: Rules, note: EditorNote) -> AtCursor:
    """Read with the rules and the daily notes of the vault as .obsidian has them now.

    Where a part of the note was left out, what lies on the disk must be one to write in as well."""
    found = _read_at_cursor(note, RuleSet.load(vault, rules), DailyFormat.load(vault))
    if note.gap is None or note.path is None or not found.judgement.used:
        return found
    try:
        saved = read_one(vault, rules, note.path).judgement
    except NotFound:
        return found
    bare = replace(found, text="", suffix="", judgement=saved)
    return found if saved.used or saved.code in WRITABLE else bare


def _read_at_cursor(given: EditorNote, rules: RuleSet, daily: DailyFormat) -> AtCursor:
    """Read a note for a continuation at its cursor, or say in `judgement` why there is none.

    In a process of its own, with a budget of time: VaultError when that does not start."""
    text = given.text if given.text.endswith("\n") else given.text + "\n"
    (note,) = EDITOR_READER.read(daily, [(given.path or "", text)])
    if not note.entries:
        return AtCursor("", "", (), None, None, None, None, judgement=not_read(note))
    at = max(0, min(given.at, len(given.text)))
    entry = next((e for e in reversed(note.entries) if e.start < at), note.entries[0])
    voice = _voice(note, entry, given.gap)
    judgement = _judge(note, voice, rules)
    if not judgement.used:
        return replace(voice, judgement=judgement)
    place = place_at(note, entry, at)
    if isinstance(place, Place) and place.skip and not given.may_skip:
        place = "underline"
    if isinstance(place, str):
        why = f"The cursor is in {NOWHERE[place]}."
        return replace(voice, judgement=Judgement(False, f"cursor in {place}", why))
    at += place.skip
    since = max(note.head, given.gap or 0) - entry.start
    before = _before(entry, at - entry.start, max(0, since))
    if "\n" in place.lead:
        before = before.rstrip() + ("\n\n" if before.strip() else "")
    until = min(at + _MOST_AFTER, entry.start + len(entry.text), len(given.text))
    return replace(voice, text=before, suffix=given.text[at:until], place=place)


def from_utf16(text: str, units: int) -> int:
    """Characters before the offset that JavaScript counts as `units`; a pair is never cut."""
    pairs = 0
    for wide in () if text.isascii() else _WIDE.finditer(text):
        if wide.start() + pairs + 1 >= units:
            return min(wide.start(), units - pairs)
        pairs += 1
    return min(units - pairs, len(text))


def to_utf16(text: str, places: Sequence[int]) -> list[int]:
    """Places, in order, as JavaScript counts them: the inverse of from_utf16."""
    if text.isascii():
        return list(places)
    wide = [m.start() for m in _WIDE.finditer(text)]
    return [at + bisect_left(wide, at) for at in places]


def _judge(note: Note, voice: AtCursor, rules: RuleSet) -> Judgement:
    judgement = rules.judge_path(note.path) if note.path else USED
    judgement = rules.judge_kind(note) if judgement.used else judgement
    return rules.judge_tags(voice.tags) if judgement.used else judgement


def _voice(note: Note, entry: Entry, gap: int | None) -> AtCursor:
    """Tags, date and title, or what the note's own `vaultgpt:` asks for in their place."""
    own = note.properties.get("vaultgpt")
    wishes: dict[str, object] = own if isinstance(own, dict) else {}
    # The day under which a very long note is written on may be among what was left out.
    lost = gap is not None and entry.start < gap and len(note.entries) > 1
    wished = parse_date(str(wishes.get("date", "")))
    date = wished.date if wished and wished.date else None if lost else entry.date
    tags = wishes.get("tags", entry.tags)
    return AtCursor(
        text="",
        suffix="",
        tags=tuple(tags)[:_MOST_TAGS] if isinstance(tags, tuple) else (),
        date=date[:7] if date else None,
        title=None if lost else entry.title,
        length=_LENGTHS.get(str(wishes.get("length"))),
        temperature=_temperature(wishes.get("temperature")),
    )


def _temperature(value: object) -> float | None:
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if 0 <= found <= 5 else None


def _before(entry: Entry, at: int, since: int) -> str:
    """The entry's text from `since` to `at` as the model reads it; a quote at its end is bare."""
    parts: list[str] = []
    for span in entry.spans:
        piece = entry.text[max(span.start, since) : min(span.end, at)]
        if span.start < at and piece and span.kind not in LEFT_OUT:
            ends = span.start < at < span.end and span.kind in ("quote", "callout")
            parts.append(without_quote(piece) if ends else piece)
    text = "".join(parts)
    blank = _BLANK.match(text)
    return _cut(text[blank.end() if blank else 0 :])


def _cut(text: str) -> str:
    """The end of a long text, from a paragraph's start; the cut rests while one types on."""
    if len(text) <= _MOST_BEFORE:
        return text
    at = -(-(len(text) - _MOST_BEFORE) // _STEP) * _STEP
    window = text[at : at + _STEP // 2]
    found = _PARAGRAPH.search(window) or _BOUNDARY.search(window)
    return text[at + found.end() if found else at :]
