"""One walk over a note's body: which characters are not the author's prose, and why.

Linear in the text; knows nothing about front matter, dates or files. What it does not
recognise is prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vaultgpt.vault import markup, others
from vaultgpt.vault.dates import day_or_month
from vaultgpt.vault.entry import INLINE, Kind, Mark
from vaultgpt.vault.markup import ITEM, InlineTags

_STOP = re.compile(r"[\n\\`%<$!\[\]({#^:]|www\.")
_LIST = re.compile(rf"[ \t]*{ITEM}(?:[ \t]|\r?\n|\Z)")
_TICKS = re.compile(r"`+")
_LONGEST_DAY = 60  # characters of a line that is a day
_YEAR = re.compile(r"\d{4}|\d[/.-]\d\d?[/.-]\d\d")


@dataclass(frozen=True)
class Heading:
    """A heading: characters [start, end) with its line end, its level, and its bare text."""

    start: int
    end: int
    level: int
    text: str


@dataclass
class Markup:
    """What a walk found; positions are characters of the whole text."""

    marks: list[Mark] = field(default_factory=list)  # in order, without overlap
    headings: list[Heading] = field(default_factory=list)
    tags: list[tuple[int, str]] = field(default_factory=list)
    day_lines: list[Heading] = field(default_factory=list)  # a date alone, in bold or plain
    opened: int | None = None  # where a fence begins that is never closed
    problem: str | None = None  # what was odd
    barring: list[str] = field(default_factory=list)  # tags in comments: only the rules heed them


def scan(text: str, start: int = 0, verse: bool = False) -> Markup:
    """Walk `text` from `start` (a line start). In `verse` indentation never means code."""
    return _SpanScanner(text, start, verse).run()


class _SpanScanner:
    def __init__(self, text: str, start: int, verse: bool) -> None:
        self.text, self.at, self.verse = text, start, verse
        self.found = Markup()
        self.fences = markup.Fences(text)
        self.ticks: markup.Ticks | None = None
        self.org_end, self.drawer_end = map(text.lower().rfind, ("#+end_", ":end:"))  # the last
        self.missing: dict[str, int] = {}  # closing mark -> from here on there is none
        self.in_list = False
        self.after_blank = True
        self.prose_until = start  # indented lines up to here were judged: verse
        self.tags = InlineTags(text, start)
        self.theirs = (-1, -1)  # the other side of a conflict
        self.highlights = others.has_highlights(text)
        self.answers = others.answers(text)[::-1]
        self.foreign = self.highlights or bool(self.answers)  # look for it at every line
        self.handlers = {
            "\\": self._escape,
            "`": self._code,
            "%": self._comment,
            "<": self._angle,
            "$": self._dollar,
            "!": self._embed,
            "[": self._bracket,
            "(": self._parenthesis,
            "]": self._link,
            "{": self._braces,
            "#": self._tag,
            "^": self._block_id,
            ":": self._url,
            "w": self._www,
        }

    def run(self) -> Markup:
        size = len(self.text)
        self._lines()
        while self.at < size:
            m = _STOP.search(self.text, self.at)
            if not m:
                break
            self.at = m.start()
            if m[0] == "\n":
                self.at += 1
                self._lines()
            else:
                self.at = self.handlers[m[0][0]](self.at)
        self.found.opened = self.fences.opened
        self.found.tags, self.found.barring = self.tags.found, self.tags.barring
        return self.found

    def _mark(self, start: int, end: int, kind: Kind) -> int:
        self.found.marks.append((start, end, kind))
        return end

    def _find(self, closing: str, at: int) -> int:
        """Like str.find, but a mark that is known to be missing is not looked for again."""
        if at >= self.missing.get(closing, len(self.text) + 1):
            return -1
        found = self.text.find(closing, at)
        if found < 0:
            self.missing[closing] = at
        return found

    # Whole lines

    def _lines(self) -> None:
        """At a line start: consume line constructs until a line needs the inline walk."""
        while self.at < len(self.text) and (end := self._block(self.at)) is not None:
            self.at = end

    def _block(self, at: int) -> int | None:
        """End of the line construct at `at`, or None when the line is for the inline walk."""
        text = self.text
        end = markup.line_end(text, at)
        first = text[at : at + 400].lstrip(" \t")[:1]
        if first in ("", "\r", "\n"):
            self.after_blank = True
            return end
        after_blank, self.after_blank = self.after_blank, False
        item = _LIST.match(text, at) is not None
        if item:
            self.in_list = True
        elif text[at] not in " \t":
            self.in_list = False
        if first in "`~" and (marks := self.fences.match(at)):
            self.found.marks += marks
            return marks[-1][1]
        if (self.foreign or first in "<:#") and (
            stop := self._others(at, first, after_blank or item)
        ) is not None:
            return stop
        begin = at if first == ">" else markup.quoted_item(text, at) if item else None
        if begin is not None:
            end, kind = markup.quote(text, begin)
            return self._quoted(begin, end, kind)
        if first == "#":
            return self._hash_line(at, end, after_blank)
        if first == "[" and (stop := markup.reference(text, at)):
            return self._mark(at, stop, "url")
        if first in "tT" and (stop := markup.tag_line(text, at)):
            return self._tags_line(at, stop, after_blank)
        if (
            first == "<"
            and at >= self.tags.none_until
            and (stop := markup.html_block(text, at, after_blank))
        ):
            self.tags.none_until = stop
        underlined = after_blank and text.startswith(("=", "-"), end)
        if underlined and (line := markup.setext(text, at)):
            self.found.headings.append(Heading(at, *line))
        if after_blank and not item:
            self._day_line(at, end)
        if first == "%" and self._never_closed(at):
            return self._hidden(at, len(text))
        return self._data_or_code(at, after_blank)

    def _day_line(self, at: int, end: int) -> None:
        """A day alone in its line, in bold or plain, heads what it stands above in many diaries."""
        if end - at > _LONGEST_DAY or not _YEAR.search(self.text, at, end):
            return
        line = self.text[at:end].strip()
        if (found := day_or_month(line)) and found.day and not found.rest:
            self.found.day_lines.append(Heading(at, end, 7, line.strip("*_")))

    def _others(self, at: int, first: str, begins: bool) -> int | None:
        """End of what somebody else wrote, or a tool: an answer, a highlight, a conflict, a log."""
        text = self.text
        while self.answers and self.answers[-1][0] < at:
            self.answers.pop()
        if self.answers and self.answers[-1][0] == at:
            return self._quoted(at, self.answers[-1][1], "quote")
        reads = begins and self.highlights
        if reads and (stop := others.clipping(text, at) or others.highlight(text, at)):
            return self._quoted(at, stop, "quote")
        if at == self.theirs[0]:
            return self._hidden(at, self.theirs[1])
        if first == "<" and text.startswith("<<<<<<<", at) and at > self.theirs[1]:
            found = others.conflict(text, at)
            self.theirs, self.foreign = found[1:] if found else (-1, len(text)), True
            if found:
                self.found.problem = "it holds a conflict of git that is not resolved"
                return self._mark(at, found[0], "comment")
        if first == ":" and (stop := others.drawer(text, at)):
            end = None if stop > self.drawer_end else others.drawer_end(text, stop)
            return self._mark(at, end or stop, "comment")
        if first == "#" and text.startswith("#+", text.index("#", at)):
            return self._org(at)
        return None

    def _org(self, at: int) -> int | None:
        found = others.org_block(self.text, at) if at < self.org_end else None
        return self._quoted(at, *found) if found else None

    def _quoted(self, at: int, end: int, kind: Kind) -> int:
        self.tags.within(at, end)
        return self._mark(at, end, kind)

    def _never_closed(self, at: int) -> bool:
        """Whether a line begins with a "%%" that nothing closes: Obsidian shows nothing below it.

        So says rumdl of Obsidian's comments (its rule MD086). Within a line one alone is text."""
        begin = at + len(self.text[at : at + 400]) - len(self.text[at : at + 400].lstrip(" \t"))
        return self.text.startswith("%%", begin) and self._find("%%", begin + 2) < 0

    def _data_or_code(self, at: int, after_blank: bool) -> int | None:
        text = self.text
        if found := markup.field(text, at):
            self._field(at, found[0])
            if found[1]:
                return found[0]
            self.at = found[0]
            return None
        if (
            after_blank
            and not self.verse
            and not self.in_list
            and at >= self.prose_until
            and text.startswith(("    ", "\t"), at)
        ):
            self.prose_until, code = markup.indented(text, at)
            if code:
                return self._mark(at, self.prose_until, "code")
        return None

    def _hidden(self, at: int, end: int) -> int:
        self.tags.hidden(at, end)
        return self._mark(at, end, "comment")

    def _hash_line(self, at: int, end: int, after_blank: bool) -> int | None:
        """A line that begins with "#": a heading, a line of tags, or a tag in a sentence."""
        if found := markup.heading(self.text, at):
            self.found.headings.append(Heading(at, end, *found))
            self.at = at + len(self.text[at : at + 10].split("#", 1)[0]) + found[0]
            return None
        if stop := markup.tag_line(self.text, at):
            return self._tags_line(at, stop, after_blank)
        return None

    def _tags_line(self, at: int, end: int, after_blank: bool) -> int | None:
        before = len(self.tags.found)
        self.tags.within(at, end, ",;")
        if len(self.tags.found) == before:
            return None  # "#1 #2" are no tags
        if after_blank:
            end = markup.blank_lines(self.text, end)
            self.after_blank = True
        return self._mark(at, end, "tags")

    def _field(self, at: int, end: int) -> int:
        self.tags.field(at, end)
        return self._mark(at, end, "dataview")

    def _escape(self, at: int) -> int:
        return at + (2 if self.text[at + 1 : at + 2] not in ("\n", "\r", "") else 1)

    def _code(self, at: int) -> int:
        size = len(_TICKS.match(self.text, at)[0])  # type: ignore[index]
        if self.ticks is None:
            self.ticks = markup.Ticks(self.text)
        closing = self.ticks.closing(at, size)
        if closing is None:
            return at + size
        if size == 1 and markup.old_quotes(self.text[at + 1 : closing]):
            return at + 1
        inner = self.text[at + size : at + size + 20].lstrip()
        kind: Kind = "dataview" if inner.startswith(("= ", "=this", "$=")) else "code"
        return self._mark(at, closing + size, kind)

    def _between(self, at: int, opening: str, closing: str, kind: Kind) -> int:
        """Mark from `at` through the next `closing`, wherever it is; else skip the opening."""
        found = self._find(closing, at + len(opening))
        return self._mark(at, found + len(closing), kind) if found >= 0 else at + len(opening)

    def _comment(self, at: int) -> int:
        if not self.text.startswith("%%", at):
            return at + 1
        if (end := self._find("%%", at + 2) + 2) < 2:
            return at + 2
        if markup.begins(self.text, at):
            return self._hidden(at, end)
        self.tags.within(at, end, "%")  # within a line Obsidian's cache reads them
        return self._mark(at, end, "comment")

    def _angle(self, at: int) -> int:
        if self.text.startswith("<!--", at):
            return self._between(at, "<!--", "-->", "comment")
        if self.text.startswith("<%", at):
            found = self._find("%>", at + 2)
            return self._quoted(at, found + 2, "template") if found >= 0 else at + 2
        if m := markup.AUTOLINK.match(self.text, at):
            return self._mark(at, m.end(), "url")
        m = markup.HTML_TAG.match(self.text, at)
        if not m or (name := m[1].lower()) not in markup.HTML_TAGS:
            return at + 1
        whole = name in markup.RAW_TAGS or name in markup.CODE_TAGS
        if whole and m[0][1] != "/" and not m[0].endswith("/>"):
            closing = self._find(f"</{m[1]}>", m.end())
            if closing >= 0:
                kind: Kind = "html" if name in markup.RAW_TAGS else "code"
                return self._mark(at, closing + len(name) + 3, kind)
        self.tags.html_end = m.end()
        return self._mark(at, m.end(), "html")

    def _dollar(self, at: int) -> int:
        if self.text.startswith("$$", at):
            return self._formula(at)
        m = markup.INLINE_MATH.match(self.text, at)
        if m and (len(m[1]) == 1 or markup.MATHS.search(m[1])):
            return self._mark(at, m.end(), "math")
        self.tags.none_until = max(self.tags.none_until, m.end() if m else 0)
        return at + 1

    def _formula(self, at: int) -> int:
        """Within a line it ends in its paragraph: two "$$" far apart are money."""
        found = self._find("$$", at + 2)
        if found < 0 or not (
            markup.begins(self.text, at) or markup.same_paragraph(self.text, at, found)
        ):
            return at + 2
        return self._mark(at, found + 2, "math")

    def _in_line(self, closing: str, at: int) -> int:
        """Position of `closing` in this line, within a link's limit; -1 for none."""
        found = self.text.find(closing, at, at + markup.LINK_LIMIT)
        return -1 if found < 0 or self.text.find("\n", at, found) >= 0 else found

    def _embed(self, at: int) -> int:
        if self.text.startswith("![[", at):
            closing = self._in_line("]]", at + 3)
            return self._mark(at, closing + 2, "embed") if closing >= 0 else at + 3
        if self.text.startswith("![", at):
            closing = self._in_line("](", at + 2)
            if closing >= 0 and (m := markup.LINK_TARGET.match(self.text, closing)):
                return self._mark(at, m.end(), "embed")
        return at + 1

    def _bracket(self, at: int) -> int:
        if self.text.startswith("[[", at):
            closing = self._in_line("]]", at + 2)
            return closing + 2 if closing >= 0 else at + 2
        if m := markup.INLINE_FIELD.match(self.text, at):
            return self._field(at, m.end())
        return at + 1

    def _parenthesis(self, at: int) -> int:
        if m := markup.INLINE_FIELD.match(self.text, at):
            return self._field(at, m.end())
        if m := markup.BLOCK_REFERENCE.match(self.text, at):
            return self._mark(at, m.end(), "embed")
        return at + 1

    def _link(self, at: int) -> int:
        m = markup.LINK_TARGET.match(self.text, at)
        return self._mark(at, m.end(), "url") if m else at + 1

    def _braces(self, at: int) -> int:
        if not self.text.startswith("{{", at) or markup.CLOZE.match(self.text, at):
            return at + 1
        closing = self._in_line("}}", at + 2)
        return self._quoted(at, closing + 2, "template") if closing >= 0 else at + 2

    def _tag(self, at: int) -> int:
        m = INLINE.match(self.text, at)
        if not m:
            return at + 1
        self.tags.note(m)
        return m.end()

    def _block_id(self, at: int) -> int:
        m = markup.BLOCK_ID.match(self.text, at)
        if m and (at == 0 or self.text[at - 1] in " \t\n"):
            return self._mark(at, m.end(), "comment")
        return at + 1

    def _url(self, at: int) -> int:
        if not self.text.startswith("://", at):
            return at + 1
        floor = self.found.marks[-1][1] if self.found.marks else 0
        begin = markup.scheme_start(self.text, at, floor)
        if begin is None or (end := markup.url_end(self.text, at + 3)) == at + 3:
            return at + 3
        return self._mark(begin, end, "url")

    def _www(self, at: int) -> int:
        if at and self.text[at - 1].isalnum():
            return at + 4
        end = markup.url_end(self.text, at + 4)
        return self._mark(at, end, "url") if end > at + 4 else end
