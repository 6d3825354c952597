"""Where a cursor stands in a note, and so what a continuation may do there, or why it may not.

Looks at the spans that the reader found and at the cursor's own line, and puts new text into the
form that its place asks for. Knows nothing about voices, rules or prompts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from vaultgpt.vault.entry import Entry, Note
from vaultgpt.vault.markup import ITEM, heading, setext

_QUOTED = re.compile(r"[ \t]*>[ \t]?")
_NEW_ITEM = re.compile(rf"([ \t]*){ITEM}[ \t]")
_OPENS = re.compile(  # what must begin its line: new text before or within it would undo it
    rf"[ \t]*(?:>(?:[ \t]*\[![^\]\n]*\][+-]?)?|{ITEM}[ \t]+(?:\[.\][ \t]+)?"
    r"|```|~~~|\$\$|\|)"
)
_TAGS_LINE = re.compile(r"[ \t]*(?:#[^\s#]+[ \t]*)+")
_UNDECIDED = re.compile(r"[ \t]*(?:>[ \t]*)?(?:[-*+]|\d{0,9}[.)]?)")  # may yet begin an item
_CLASHES = re.compile(r"[^\W_]|[“‘«„\"'(\[*_]")  # would run into the full stop before it


NOWHERE = {
    "front_matter": "the note's properties; put it into the text",
    "code": "code, where the mirror does not write",
    "math": "a formula, where the mirror does not write",
    "comment": "a comment, which is never read",
    "dataview": "Dataview's field or query, which is never read",
    "template": "a template's command",
    "html": "an HTML tag",
    "url": "a link's address",
    "embed": "an embed",
    "tags": "a line of tags; put it at its end or into the text",
    "title": "a heading; put it at its end or into the text",
    "mark": "front of a mark that must begin its line; put it into the text",
    "underline": "a heading above its line of === or ---; put it at the end of that line",
}
_QUOTE = re.compile(r"(?:[ \t]*>)+[ \t]?")
_CALLOUT = re.compile(r"\[![^\]\n]*\][+-]?[ \t]*")
_RULE = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|\$\$)[ \t]*")
_BLOCK_ID = re.compile(r"(?:^|[ \t])\^[A-Za-z0-9-]{2,60}[ \t]*\Z")
_ITEM = re.compile(rf"([ \t]*)({ITEM})[ \t]")
_CELL = re.compile(r"[ \t]*:?-+:?[ \t]*")
_CLAUSE = re.compile(r"[^\W\d_][.!?…,;][\"'”’»)\]*_]*\Z")
_PROSE = frozenset({"prose", "secret", "quote", "callout"})
_LINES = frozenset({"title", "date_heading", "tags"})  # with the blank lines below
_FENCES = ("```", "~~~")
_MOST_QUOTED = 1_000  # lines above the cursor, within one quote
_LOOK_LINES = 50  # above the cursor, for the list or the table that its line belongs to


@dataclass(frozen=True)
class Place:
    """What stands around new text at one place of a note; the default changes nothing."""

    lead: str = ""  # put first; " " only where the text would else run into what stands before
    quote: str = ""  # "> ", at the start of every new line
    indent: str = ""  # after it: the white space that keeps a line within its list item
    item: str | None = None  # the same of a line that begins an item; None where no list is
    one_line: bool = False  # no line break and no "|", as in a table's cell
    skip: int = 0  # the text stands so many characters further on, as below a heading's underline

    @property
    def flows(self) -> bool:
        """Whether new text goes on with the cursor's own line, as prose: a list's item too."""
        return self.lead.strip(" ") == "" and not self.quote and not self.one_line

    @property
    def line_prefix(self) -> str:
        """What every new line of prose begins with."""
        return self.quote + self.indent


class Insertion:
    """The text of one alternative, as it comes, in the form that its place asks for."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._plain = place == Place()
        self._begun = self._over = False
        self._fresh = False  # at the start of a line
        self._held = ""  # the start of a line, until it is known whether it begins an item

    def add(self, text: str, last: bool = False) -> str:
        """What is to be inserted now that `text` has come; all of it when it was the `last`."""
        if self._plain:
            return text
        self._held += text
        out: list[str] = []
        if not self._begun and self._held.strip():
            out.append(self._opening())
        while self._begun and self._held and not self._over:
            line, newline, rest = self._held.partition("\n")
            if self._fresh and not newline and not last and _UNDECIDED.fullmatch(line):
                break
            out.append(self._line(line, newline))
            self._fresh, self._held = bool(newline), rest
        return "".join(out)

    def _opening(self) -> str:
        self._begun = True
        lead = self.place.lead
        if lead == " ":
            return lead if _CLASHES.match(self._held) else ""
        self._held = self._held.lstrip() if lead else self._held
        return lead

    def _line(self, line: str, newline: str) -> str:
        if self.place.one_line:
            self._over = bool(newline) or "|" in line
            return line.partition("|")[0].rstrip() if self._over else line
        return (self._prefixed(line) if self._fresh else line) + newline

    def _prefixed(self, line: str) -> str:
        place = self.place
        if place.quote:
            line = _QUOTED.sub("", line, count=1)
        if not line.strip():
            return place.line_prefix.rstrip()
        if place.item is None:
            return place.line_prefix + line
        if item := _NEW_ITEM.match(line):
            return place.quote + place.item + line[min(len(item[1]), len(place.item)) :]
        return place.line_prefix + line.lstrip(" \t")


def place_at(note: Note, entry: Entry, at: int) -> Place | str:
    """What may stand at character `at` of the note, or a key of NOWHERE.

    The note's text ends with a line end, so that a construct of whole lines holds its last one."""
    span = next((s for s in entry.spans if s.start < at - entry.start < s.end), None)
    line = _line(note.text, at, span is not None and span.kind in ("quote", "callout"))
    if _in_properties(note, at):
        return "front_matter"
    if note.opened is not None and at > note.opened:
        return "code"
    if span is None or span.kind in _PROSE | _LINES:
        if _before_mark(note.text[line.start : line.end].rstrip("\r\n"), at - line.start):
            return "mark"
        if found := _underlined(note, line):
            return found
    if line.quote and _in_quoted_code(note.text, line):
        return "code"
    if span is None or span.kind in _PROSE:
        return _in_prose(note.text, line)
    if span.kind in _LINES:
        return _paragraph(line) if line.at_end else "tags" if span.kind == "tags" else "title"
    if span.kind == "front_matter" or not line.at_end or entry.start + span.end > line.end:
        return Place() if span.kind == "front_matter" else span.kind
    # The last line of a construct of whole lines ends here; indented code may still go on.
    fenced = line.text.lstrip().startswith(_FENCES)
    return span.kind if span.kind == "code" and not fenced else _paragraph(line)


def without_quote(text: str) -> str:
    """A quote's or a callout's lines as plain prose, without their marks."""
    lines = "\n".join(_QUOTE.sub("", line, count=1) for line in text.split("\n"))
    return _CALLOUT.sub("", lines, count=1) if _CALLOUT.match(lines) else lines


@dataclass(frozen=True)
class _CursorLine:
    """The cursor's line, without the marks of the quote that it is in."""

    start: int  # of the line, in the note
    end: int  # past its line end
    quote: str
    text: str
    left: str  # before the cursor

    @property
    def at_end(self) -> bool:
        return not self.text[len(self.left) :].strip()


def _line(text: str, at: int, quoted: bool) -> _CursorLine:
    start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    end = len(text) if end < 0 else end
    quote = _QUOTE.match(text, start, at) if quoted else None
    begin = quote.end() if quote else start
    return _CursorLine(start, end + 1, quote[0] if quote else "", text[begin:end], text[begin:at])


def _in_properties(note: Note, at: int) -> bool:
    """Whether the front matter is closed below the cursor, or is not closed yet."""
    above = note.text[: note.head].rstrip()
    closed = above.rpartition("\n")[2].rstrip() == "---"
    return note.head > 0 and at <= (len(above) if closed else note.head)


def _quote(line: _CursorLine) -> str:
    return f"{line.quote.rstrip()} " if line.quote else ""


def _paragraph(line: _CursorLine) -> Place:
    """A paragraph of its own, below a line in which no prose may follow; here in an empty one."""
    quote = _quote(line)
    return Place(f"\n{quote.rstrip()}\n{quote}" if line.text.strip() else "", quote)


def _before_mark(line: str, column: int) -> bool:
    """Whether a line's first mark, or the whole of a rule or of a line of tags, ends further on."""
    if mark := _OPENS.match(line):
        return column < mark.end()
    whole = _RULE.fullmatch(line) or _TAGS_LINE.fullmatch(line)
    return bool(whole) and not line[:column].strip()


def _underlined(note: Note, line: _CursorLine) -> Place | str | None:
    """In either line of a heading that is underlined; None elsewhere. New text may begin at the
    underline's end alone: at the end of the line above it, `skip` leads there."""
    if line.quote or not line.text.strip() or "|" in line.text:
        return None
    above = _start_above(note.text, line.start)
    for start in (line.start, above):
        before = note.text[_start_above(note.text, start) : start]
        opens = not before.strip("-=\r\n\t ")  # a blank line, or the front matter's last
        if opens and (found := setext(note.text, start)) and line.start < found[0]:
            if not line.at_end:
                return "title"
            if start != line.start:
                return _paragraph(line)
            until = len(note.text[: found[0]].rstrip("\r\n"))
            return replace(_paragraph(line), skip=until - line.start - len(line.left))
    return None


def _start_above(text: str, start: int) -> int:
    return text.rfind("\n", 0, max(0, start - 1)) + 1


def _in_prose(text: str, line: _CursorLine) -> Place | str:
    quote, written = _quote(line), line.text.rstrip()
    if quote and (header := _CALLOUT.match(line.text)) and header.end() <= len(line.left):
        return Place(f"\n{quote}" if line.at_end else "", quote, one_line=not line.at_end)
    if heading(line.text, 0) and not line.at_end:
        return "title"
    if heading(line.text, 0) or (line.at_end and _RULE.fullmatch(written)):
        return _paragraph(line)
    if line.at_end and _BLOCK_ID.search(written):
        return _paragraph(line)
    if not line.text.strip() and not quote and _goes_on(text, line):
        return Place("\n")
    lead = " " if _CLAUSE.search(line.left) and line.left.count('"') % 2 == 0 else ""
    if _in_table(text, line):
        return Place(lead, one_line=True)
    item, indent = _list(text, line)
    return Place(lead, quote, indent, item)


def _goes_on(text: str, line: _CursorLine) -> bool:
    """Whether a quote or a table above would take in what an empty line is filled with."""
    above = text[_start_above(text, line.start) : line.start] if line.start else ""
    return bool(_QUOTE.match(above) or above.lstrip().startswith("|"))


def _in_quoted_code(text: str, line: _CursorLine) -> bool:
    """Whether a fence is open in the quote above, or the cursor's own line is one."""
    if line.text.lstrip().startswith(_FENCES):
        return True
    fences, start = 0, line.start
    for _ in range(_MOST_QUOTED):
        above = _start_above(text, start)
        mark = _QUOTE.match(text, above, start) if start else None
        if mark is None:
            break
        fences += text[mark.end() : start].lstrip().startswith(_FENCES)
        start = above
    return fences % 2 == 1


def _in_table(text: str, line: _CursorLine) -> bool:
    if "|" not in line.text:
        return False
    if line.text.lstrip().startswith("|") and "|" in line.left:
        return True
    rows = [*_above(text, line), *text[line.end :].split("\n", 1)[:1]]
    for row in rows:
        if not row.strip():
            return False
        cells = row.strip().strip("|").split("|")
        if "|" in row and all(_CELL.fullmatch(cell) for cell in cells):
            return True
    return False


def _list(text: str, line: _CursorLine) -> tuple[str | None, str]:
    """The indentation of the list item that the cursor is in, and of what belongs to it."""
    if item := _ITEM.match(line.left):
        return item[1], item[1] + " " * (len(item[2]) + 1)
    own = line.text[: len(line.text) - len(line.text.lstrip(" \t"))]
    for row in _above(text, line) if own else ():
        if (item := _ITEM.match(row)) and len(item[1]) < len(own):
            return item[1], own
        if row.strip() and row[0] not in " \t":
            break
    return None, ""


def _above(text: str, line: _CursorLine) -> list[str]:
    """The lines above the cursor's, the nearest first, without as much as its quote's marks."""
    rows: list[str] = []
    end = line.start
    while end and len(rows) < _LOOK_LINES:
        start = _start_above(text, end)
        rows.append(text[start : end - 1].rstrip("\r")[len(line.quote) :])
        end = start
    return rows
