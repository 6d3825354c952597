"""One file's bytes to a Note: entries, tags, dates, titles, and which characters are prose.

Never raises on any bytes. Knows nothing about disks or rules.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import PurePosixPath

from vaultgpt.vault import sections, titles
from vaultgpt.vault.blocks import blank_lines
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.dates import Found, leading_date, parse_date
from vaultgpt.vault.decode import decode
from vaultgpt.vault.entry import LEFT_OUT, Entry, Kind, Note
from vaultgpt.vault.properties import Properties, read_properties
from vaultgpt.vault.spans import Heading, Mark, Scan, fill, scan
from vaultgpt.vault.tags import property_tags, unique
from vaultgpt.verse import names_verse

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\W_]+(?:['’\u2010-][^\W_]+)*"
)
_TEMPLATE_WORDS = 20  # fewer below unfilled front matter: nobody wrote here yet
_OPENING_KINDS = LEFT_OUT | {"embed", "html"}  # may stand above a title


def count_words(text: str) -> int:
    """Words of `text`; each Chinese, Japanese or Korean character counts as one."""
    return sum(1 for _ in _WORD.finditer(text))


def read_note(path: str, data: bytes, daily: DailyFormat) -> Note:
    """Read one file. `path` is POSIX, relative to the vault, NFC. A `problem` says what was odd."""
    decoded = decode(data)
    if decoded.text is None:
        return unreadable(path, decoded.problem or "it is not text")
    return _Reader(path, decoded.text, decoded.problem, daily).read()


def unreadable(path: str, problem: str) -> Note:
    """A note whose text can't be had."""
    return Note(path, "", (), {}, (), problem, 0)


@dataclass
class _Reader:
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
        if warned := unique([*property_tags(head.values.get("rule_tags")), *found.heading_tags]):
            properties["rule_tags"] = warned
        if self._is_template(head, entries):
            properties["template"] = True
        tags = unique([*own, *(tag for _, tag in found.tags)])
        words = sum(count_words(entry.prose) for entry in entries)
        return Note(self.path, self.text, entries, properties, tags, self.problem, words)

    def _complain(self, problem: str | None) -> None:
        if problem and problem not in (self.problem or ""):
            self.problem = f"{self.problem}; {problem}" if self.problem else problem

    def _scan(self, head: Properties, own: tuple[str, ...]) -> Scan:
        """Marks of the whole text, front matter first. A broken block stays prose, untouched."""
        begin = max(head.end, head.broken)
        found = self._walk(head, own, begin)
        if head.end:
            found.marks.insert(0, (0, head.end, "front_matter"))
        return found

    def _walk(self, head: Properties, own: tuple[str, ...], begin: int) -> Scan:
        """The body's marks; a drawing has no prose, and verse no indented code."""
        if "excalidraw-plugin" in head.values or self.path.lower().endswith(".excalidraw.md"):
            return Scan(marks=[(begin, len(self.text), "embed")])
        verse = any(map(names_verse, own))
        verse = verse or names_verse(PurePosixPath(self.path).parent.name)
        found = scan(self.text, begin, verse)
        if not verse and any(names_verse(tag) for _, tag in found.tags):
            found = scan(self.text, begin, True)
        return found

    def _is_template(self, head: Properties, entries: tuple[Entry, ...]) -> bool:
        """Placeholders, outside code, that a template plugin would have filled in.

        A page of prose whose front matter was never filled in is still a page of prose.
        """
        if any(
            _PLACEHOLDER.search(entry.text[span.start : span.end])
            for entry in entries
            for span in entry.spans
            if span.kind == "template"
        ):
            return True
        if not _PLACEHOLDER.search(self.text[: max(head.broken, head.end)]):
            return False
        below = sum(count_words(entry.prose) for entry in entries)
        return below - count_words(self.text[: head.broken]) < _TEMPLATE_WORDS

    # Entries

    def _entries(self, head: Properties, own: tuple[str, ...], found: Scan) -> tuple[Entry, ...]:
        days = sections.day_headings(found.headings)
        title, heading = self._title_heading(head, found, bool(days))
        self._mark_headings(found, heading, days)
        date = self._date(head, heading)
        name = (
            title
            or _property_title(head)
            or titles.title_of_name(self.path, [*own, *(tag for _, tag in found.tags)])
        )
        if not days:
            return (
                self._entry(
                    0, sections.Section(0, len(self.text), None, None), name, date, found, own
                ),
            )
        first = days[0][0].start
        spans = fill(found.marks, 0, first)
        preamble = any(s.kind == "prose" and self.text[s.start : s.end].strip() for s in spans)
        shared = unique([*own, *(tag for at, tag in found.tags if at < first)])
        parts = sections.cut(days, len(self.text), preamble)
        return tuple(
            self._entry(n, part, None if part.heading else name, date, found, shared)
            for n, part in enumerate(parts)
        )

    def _entry(
        self,
        ordinal: int,
        part: sections.Section,
        title: str | None,
        date: str | None,
        found: Scan,
        shared: tuple[str, ...],
    ) -> Entry:
        if part.found is not None:
            date = part.found.date
            title = titles.clean_title(part.found.rest)
            if date is None:
                self._complain("a date heading names a day that does not exist")
        first, after = (bisect_left(found.tags, (at,)) for at in (part.start, part.end))
        return Entry(
            path=self.path,
            heading=part.heading.text if part.heading else None,
            ordinal=ordinal,
            title=title,
            date=date,
            tags=unique([*shared, *(tag for _, tag in found.tags[first:after])]),
            text=self.text[part.start : part.end],
            start=part.start,
            spans=fill(_slice(found.marks, part.start, part.end), part.start, part.end),
        )

    def _title_heading(
        self, head: Properties, found: Scan, many: bool
    ) -> tuple[str | None, Heading | None]:
        """The first heading when it is of level 1 and nothing of prose stands above it."""
        top = found.headings[0] if found.headings else None
        if top is None or top.level != 1:
            return None, None
        above = fill(found.marks, 0, top.start)
        if any(s.kind not in _OPENING_KINDS and self.text[s.start : s.end].strip() for s in above):
            return None, None
        if parse_date(top.text):
            return None, top
        level_one = sum(h.level == 1 for h in found.headings)
        if level_one > 1 and (many or self.daily.date_of(self.path)):
            return None, None  # "# Morning" and "# Evening" are parts of a day, not its title
        return titles.clean_title(top.text), top

    def _mark_headings(
        self, found: Scan, title: Heading | None, days: list[tuple[Heading, Found]]
    ) -> None:
        """Mark the title and the date headings, with the blank lines below them."""
        dated = [h for h, _ in days]
        if days:
            dated += sections.above_days(found.headings, days[0][0].level)
        kinds: dict[Heading, Kind] = dict.fromkeys(dated, "date_heading")
        if title is not None and title not in kinds:
            kinds[title] = "date_heading" if parse_date(title.text) else "title"
        marks = [(h.start, blank_lines(self.text, h.end), kind) for h, kind in kinds.items()]
        found.marks[:] = sorted(found.marks + marks)  # fill() lets the heading's mark win

    def _date(self, head: Properties, title: Heading | None) -> str | None:
        """The day a note is about: `date`, then its name, then `created`, then a heading.

        Times of files are never asked.
        """
        for key in ("date", "day"):
            if date := self._property_date(head, key):
                return date
        if date := self.daily.date_of(self.path):
            return date
        named = leading_date(PurePosixPath(self.path).name)
        if named is not None and named.date is None:
            self._complain("its name is a day that does not exist")
        for key in ("created", "creation-date", "date-created"):
            if date := self._property_date(head, key):
                return date
        found = parse_date(title.text) if title else None
        return found.date if found else None

    def _property_date(self, head: Properties, key: str) -> str | None:
        value = head.values.get(key)
        found = parse_date(value) if isinstance(value, str) and value else None
        if found is not None and found.date is None:
            self._complain(f"its `{key}` is a day that does not exist")
        return found.date if found else None


_PLACEHOLDER = re.compile(
    r"\{\{ *(?:date|time|title|value|name|tags?|yesterday|tomorrow|week|month|year|day)\b"
    r"|<%[-_*+~]{0,2} *(?:await +)?tp\.",
    re.IGNORECASE,
)


def _slice(marks: list[Mark], start: int, end: int) -> list[Mark]:
    """The marks that may touch [start, end), and one before."""
    return marks[max(0, bisect_left(marks, (start,)) - 1) : bisect_left(marks, (end,))]


def _property_title(head: Properties) -> str | None:
    value = head.values.get("title")
    if not isinstance(value, str) or parse_date(value):
        return None
    return titles.clean_title(value)
