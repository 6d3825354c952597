"""One file's bytes to a Note: entries, tags, dates, titles, and which characters are prose.

Never raises on any bytes. Knows nothing about disks or rules.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import PurePosixPath

from vaultgpt.corpus.words import count_words
from vaultgpt.vault import headings
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.dates import FoundDate, named_date, parse_date, property_date
from vaultgpt.vault.entry import (
    LEFT_OUT,
    Entry,
    Kind,
    Mark,
    Note,
    Span,
    names_verse,
    property_tags,
    unique,
    unreadable,
)
from vaultgpt.vault.keys import CREATED_KEYS, DATE_KEYS, wish, with_rules
from vaultgpt.vault.markup import blank_lines
from vaultgpt.vault.properties import Properties, read_properties
from vaultgpt.vault.spans import Heading, Markup, scan

_TEMPLATE_WORDS = 20  # fewer below unfilled front matter: nobody wrote here yet
_WORDS_A_PLACEHOLDER = 40  # more prose for each than that, and somebody wrote here after all
_OPENING_KINDS = LEFT_OUT | {"embed", "html"}  # may stand above a title


_LONE_RETURN = re.compile(r"\r(?!\n)")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_EXPORT = ("![rw-book-cover]", "](kindle://book", "\n## Highlights first synced")


@dataclass(frozen=True)
class _Decoded:
    """The text of a file, or None for one that is not text, and what was odd about it."""

    text: str | None
    problem: str | None


def _decode(data: bytes) -> _Decoded:
    """UTF-8, UTF-16 or UTF-32 by byte-order mark, else UTF-8, else Latin-1. Never raises."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    problem = None
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding in ("utf-16", "utf-32"):
            text = data.decode(encoding, errors="replace")
            problem = f"a part is not valid {encoding.upper()}"
        else:
            text = data.removeprefix(codecs.BOM_UTF8).decode("latin-1")
            problem = "it is not UTF-8 and was read as Latin-1"
    if "\0" in text:
        return _Decoded(None, "it holds NUL bytes, so it is not text")
    return _Decoded(_line_ends(text), problem)


def _line_ends(text: str) -> str:
    """With "\\n" for a lone "\\r", as editors show it; offsets stay as they were."""
    return _LONE_RETURN.sub("\n", text) if "\r" in text else text


def read_note(path: str, data: bytes, daily: DailyFormat) -> Note:
    """Read one file. `path` is POSIX, relative to the vault, NFC. A `problem` says what was odd."""
    decoded = _decode(data)
    if decoded.text is None:
        return unreadable(path, decoded.problem or "it is not text")
    return read_text(path, decoded.text, daily, decoded.problem)


def read_text(path: str, text: str, daily: DailyFormat, problem: str | None = None) -> Note:
    """Read a note whose text is at hand, as in an editor; `problem` is one known already."""
    return _NoteParser(path, _line_ends(text), problem, daily).read()


@dataclass
class _NoteParser:
    path: str
    text: str
    problem: str | None
    daily: DailyFormat

    def read(self) -> Note:
        head = read_properties(self.text)
        self._complain(head.problem)
        own = property_tags([head.values.get("tags"), head.values.get("tag")])
        found = self._scan(head, own)
        entries = self._entries(head, own, found)
        properties = dict(head.values)
        self._complain(found.problem)
        if properties.get("vaultgpt") is not False and self._forbidden(found):
            properties["vaultgpt"] = False
            self._complain("`vaultgpt: false` stands outside its front matter")
        if found.barring:
            properties = with_rules(properties, {"rule_tags": unique(found.barring)})
        if self._is_template(head, found, entries):
            properties["template"] = True
        if _is_export(self.text):
            properties["highlights"] = True
        tags = unique([*own, *(tag for _, tag in found.tags)])
        return Note(
            self.path, self.text, entries, properties, tags, self.problem, head.above, found.opened
        )

    def _complain(self, problem: str | None) -> None:
        if problem and problem not in (self.problem or ""):
            self.problem = f"{self.problem}; {problem}" if self.problem else problem

    def _scan(self, head: Properties, own: tuple[str, ...]) -> Markup:
        """Marks of the whole text, front matter first. A broken block stays prose, untouched."""
        begin = max(head.end, head.broken)
        found = self._walk(head, own, begin)
        if head.end:
            found.marks.insert(0, (0, head.end, "front_matter"))
        return found

    def _forbidden(self, found: Markup) -> bool:
        """Whether `vaultgpt: false` stands anywhere but in code."""
        at = wish(self.text)
        while at is not None:
            before = found.marks[: bisect_left(found.marks, (at + 1,))]
            if not (before and before[-1][1] > at and before[-1][2] == "code"):
                return True
            at = wish(self.text, at + 1)
        return False

    def _walk(self, head: Properties, own: tuple[str, ...], begin: int) -> Markup:
        """The body's marks; a drawing has no prose, and verse no indented code."""
        if "excalidraw-plugin" in head.values or self.path.lower().endswith(".excalidraw.md"):
            return Markup(marks=[(begin, len(self.text), "embed")])
        verse = any(map(names_verse, own))
        verse = verse or names_verse(PurePosixPath(self.path).parent.name)
        found = scan(self.text, begin, verse)
        if not verse and any(names_verse(tag) for _, tag in found.tags):
            found = scan(self.text, begin, True)
        return found

    def _is_template(self, head: Properties, found: Markup, entries: tuple[Entry, ...]) -> bool:
        """Placeholders, outside code, that a template plugin would have filled in.

        A page of prose whose front matter was never filled in is still a page of prose."""
        unfilled = sum(
            kind == "template" and _PLACEHOLDER.match(self.text, start, end) is not None
            for start, end, kind in found.marks
        )
        if unfilled:
            return not _written(entries, _WORDS_A_PLACEHOLDER * unfilled)
        if not _PLACEHOLDER.search(self.text[: max(head.broken, head.end)]):
            return False
        return not _written(entries, _TEMPLATE_WORDS + count_words(self.text[: head.broken]))

    # Entries

    def _entries(self, head: Properties, own: tuple[str, ...], found: Markup) -> tuple[Entry, ...]:
        lines = found.day_lines if self._opens_days(found) else []
        days = headings.day_headings(found.headings + lines, self._known_date(head))
        title, heading = self._title_heading(found, bool(days))
        self._mark_headings(found, heading, days)
        date = self._date(head, heading)
        name = (
            title
            or _property_title(head)
            or self._name_title([*own, *(tag for _, tag in found.tags)])
        )
        if not days:
            return (
                self._entry(
                    headings.Section(0, len(self.text), None, None), name, date, found, own
                ),
            )
        first = days[0][0].start
        spans = _fill(found.marks, 0, first)
        preamble = any(s.kind == "prose" and self.text[s.start : s.end].strip() for s in spans)
        shared = unique([*own, *(tag for at, tag in found.tags if at < first)])
        parts = headings.cut(days, len(self.text), preamble)
        return tuple(
            self._entry(part, None if part.heading else name, date, found, shared) for part in parts
        )

    def _entry(
        self,
        part: headings.Section,
        title: str | None,
        date: str | None,
        found: Markup,
        shared: tuple[str, ...],
    ) -> Entry:
        if part.found is not None:
            date = part.found.date
            title = headings.clean_title(part.found.rest)
            if date is None:
                self._complain("a date heading names a day that does not exist")
        first, after = (bisect_left(found.tags, (at,)) for at in (part.start, part.end))
        return Entry(
            path=self.path,
            heading=part.heading.text if part.heading else None,
            title=title,
            date=date,
            tags=unique([*shared, *(tag for _, tag in found.tags[first:after])]),
            text=self.text[part.start : part.end],
            start=part.start,
            spans=_fill(_slice(found.marks, part.start, part.end), part.start, part.end),
        )

    def _opens_days(self, found: Markup) -> bool:
        """Whether text follows the last day that stands alone in its line: under a letter it is
        written at the end."""
        return bool(found.day_lines) and bool(self.text[found.day_lines[-1].end :].strip())

    def _title_heading(self, found: Markup, many: bool) -> tuple[str | None, Heading | None]:
        """The first heading when it is of level 1 and nothing of prose stands above it."""
        top = found.headings[0] if found.headings else None
        if top is None or top.level != 1:
            return None, None
        above = _fill(found.marks, 0, top.start)
        if any(s.kind not in _OPENING_KINDS and self.text[s.start : s.end].strip() for s in above):
            return None, None
        if headings.is_format(top.text):
            return None, top
        level_one = sum(h.level == 1 for h in found.headings)
        if level_one > 1 and (many or self.daily.date_of(self.path)):
            return None, None  # "# Morning" and "# Evening" are parts of a day, not its title
        return headings.clean_title(top.text), top

    def _mark_headings(
        self, found: Markup, title: Heading | None, days: list[tuple[Heading, FoundDate]]
    ) -> None:
        """Mark the title and the date headings, with the blank lines below them."""
        dated = [h for h, _ in days]
        if days:
            dated += _above_days(found.headings, days[0][0].level)
        kinds: dict[Heading, Kind] = dict.fromkeys(dated, "date_heading")
        if title is not None and title not in kinds:
            kinds[title] = "date_heading" if headings.is_format(title.text) else "title"
        marks = [(h.start, blank_lines(self.text, h.end), kind) for h, kind in kinds.items()]
        found.marks[:] = sorted(found.marks + marks)  # fill() lets the heading's mark win

    def _name_title(self, tags: list[str]) -> str | None:
        if self.daily.format_date(self.path):
            return None
        return headings.title_of_name(self.path, tags)

    def _known_date(self, head: Properties) -> str | None:
        """A date of the file besides its headings', which says nothing of each of them."""
        value = next((head.values[key] for key in DATE_KEYS if head.values.get(key)), "")
        found = property_date(value) if isinstance(value, str) else None
        return found.date if found else self.daily.date_of(self.path)

    def _date(self, head: Properties, title: Heading | None) -> str | None:
        """The day a note is about: `date`, then its name, then `created`, then a heading.

        Times of files are never asked."""
        for key in DATE_KEYS:
            if date := self._property_date(head, key):
                return date
        if date := self.daily.date_of(self.path):
            return date
        named = named_date(PurePosixPath(self.path).stem)
        if named is not None and named.date is None:
            self._complain("its name is a day that does not exist")
        for key in CREATED_KEYS:
            if date := self._property_date(head, key):
                return date
        found = parse_date(title.text) if title else None
        return found.date if found else None

    def _property_date(self, head: Properties, key: str) -> str | None:
        value = head.values.get(key)
        found = property_date(value) if isinstance(value, str) and value else None
        if found is not None and found.date is None:
            self._complain(f"its `{key}` is a day that does not exist")
        return found.date if found else None


_PLACEHOLDER = re.compile(
    r"\{\{ *(?:date|time|title|value|name|tags?|yesterday|tomorrow|week|month|year|day)\b"
    r"|<%(?!\+)[-_*~]{0,2} *(?:await +)?tp\.",  # "<%+" stays in a note, to be filled in each time
    re.IGNORECASE,
)


def _written(entries: tuple[Entry, ...], words: int) -> bool:
    """Whether there are that many words of prose; no more of it is looked at than that takes."""
    for entry in entries:
        prose = entry.prose
        for at in range(0, len(prose), 1_000):
            words -= count_words(prose[at : at + 1_000])
            if words <= 0:
                return True
    return words <= 0


def _slice(marks: list[Mark], start: int, end: int) -> list[Mark]:
    """The marks that may touch [start, end), and one before."""
    return marks[max(0, bisect_left(marks, (start,)) - 1) : bisect_left(marks, (end,))]


def _property_title(head: Properties) -> str | None:
    value = head.values.get("title")
    if not isinstance(value, str) or headings.is_format(value):
        return None
    return headings.clean_title(value)


def _above_days(headings: list[Heading], level: int) -> list[Heading]:
    """Headings over the days that only say a year or a month ("# 2021", "## March 2021")."""
    return [h for h in headings if h.level < level and parse_date(h.text)]


def _is_export(text: str) -> bool:
    """Whether a note is what Readwise or a Kindle plugin makes of a book."""
    return any(mark in text for mark in _EXPORT)


def _fill(marks: list[Mark], start: int, end: int) -> tuple[Span, ...]:
    """Spans that cover [start, end) exactly, relative to `start`: the marks, and prose between."""
    spans: list[Span] = []

    def add(to: int, kind: Kind) -> None:
        at = spans[-1].end if spans else 0
        if to <= at:
            return
        if spans and spans[-1].kind == kind:
            spans[-1] = Span(spans[-1].start, to, kind)
        else:
            spans.append(Span(at, to, kind))

    for mark_start, mark_end, kind in marks:
        if mark_end <= start or mark_start >= end:
            continue
        add(max(mark_start, start) - start, "prose")
        add(min(mark_end, end) - start, kind)
    add(end - start, "prose")
    return tuple(spans)
