"""The constructs of Obsidian's Markdown: those that own lines, and those within a line.

Each function looks at one place and says where the construct ends; spans.py walks. Every pattern
is bounded, so that a megabyte of any one character stays linear.
"""

from __future__ import annotations

import bisect
import re
import unicodedata

from vaultgpt.corpus.words import count_words
from vaultgpt.vault.entry import INLINE, TAG_LINE, Kind, inline_tag, names_verse, property_tags

_QUERIES = frozenset(
    ["dataview", "dataviewjs", "tasks", "query", "mermaid", "base", "button", "meta-bind"]
)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^\n]*)")
_HEADING = re.compile(r"[ ]{0,3}(#{1,6})[ \t]+(?=\S)([^\n]*)")
PICTURE = r"[\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\ufe0f\u200d]"
_FIELD = re.compile(
    rf"[ \t]*(?:[-*+][ \t]+)?(?:\*\*|__|_|\*)?(?:[^\W_]|{PICTURE})(?:[\w /-]|{PICTURE}){{0,40}}"
    r"(?:\*\*|__|_|\*)?"
    r"::(?=[ \t\r\n]|\Z)[ \t]*"
)
_REFERENCE = re.compile(r"[ ]{0,3}\[(?!\^)[^\]\n]{1,200}\]:[ \t]+\S+[^\n]{0,500}(?=\n|\Z)")
_CALLOUT = re.compile(r"[ \t]*>[ \t]*\[!")
_QUOTE_MARKS = re.compile(r"[ \t]*>[ \t>]*")
# What begins an item of a list.
ITEM = r"(?:[-*+]|\d{1,9}[.)])"
_QUOTED_ITEM = re.compile(rf"[ \t]*(?:{ITEM}[ \t]+)+(?:\[.\][ \t]+)?(?=>)")
_ITEM = re.compile(rf"[ \t]*{ITEM}(?:[ \t]|\r?$)")
# Lines that no paragraph goes on through: headings, fences, rules, maths, comments, HTML, anchors.
_BREAKS = re.compile(
    r"[ \t]{0,3}(?:#{1,6}[ \t]|`{3}|~{3}|%%|\$\$|<!--|</?[A-Za-z][^>\n]{0,200}>[ \t\r]*$|>|\|"
    r"|(?:-[ \t]*){3,}\r?$|(?:\*[ \t]*){3,}\r?$|(?:_[ \t]*){3,}\r?$|={3,}[ \t]*\r?$"
    r"|\^[A-Za-z0-9-]+[ \t]*\r?$)"
)
_UNDERLINE = re.compile(r"(=+|-+)[ \t]*(?:\r?\n|\Z)")
_BLANK_LINE = re.compile(r"\n[ \t\r]*(?=\n)")
_HTML_BLOCK = re.compile(
    r"[ ]{0,3}(?:</?(?:address|article|aside|blockquote|body|caption|center|col|colgroup|dd|details"
    r"|dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|h[1-6]|head|header|hr|html"
    r"|iframe|legend|li|link|main|menu|nav|ol|optgroup|option|p|param|section|summary|table|tbody"
    r"|td|tfoot|th|thead|title|tr|track|ul)(?=[\s>]|/>|\Z)"
    r"|(?P<alone></?[A-Za-z][A-Za-z0-9-]*(?:[ \t][^<>\n]{0,300})?/?>[ \t]*(?=\r?\n|\Z)))",
    re.IGNORECASE,
)
_RAW_BLOCK = re.compile(r"[ ]{0,3}<(?:pre|script|style|textarea)(?=[\s>]|\Z)", re.IGNORECASE)
_RAW_END = re.compile(r"</(?:pre|script|style|textarea)>", re.IGNORECASE)
_CODEY_END = ("{", "}", ");", "];", "};", "):", "=>", "/>")  # a ";" alone ends verses too
_CODEY = re.compile(
    r"[ \t]*(?:def |class \w+[(:]|import [\w.]+$|from [\w.]+ import|(?:var|let|const) \w+ ?="
    r"|#include|return [\w.]+;$|[\w.]+ ?= ?[^;]{1,200};$|"
    r"\$ \w|sudo |git |npm |pip |curl |</?\w+[ >]|//|\w+\([^)]{0,80}\)$|[\w.]+ ?[+-]?= ?\S+$)"
)


def line_end(text: str, at: int) -> int:
    """Past the line's "\\n", or the end of the text."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def blank_lines(text: str, at: int) -> int:
    """Past the blank lines that begin at `at` (a line start)."""
    while at < len(text):
        end = line_end(text, at)
        if text[at:end].strip():
            return at
        at = end
    return at


def heading(text: str, at: int) -> tuple[int, str] | None:
    """Level and text of an ATX heading that begins at `at`."""
    m = _HEADING.match(text, at)
    return (len(m[1]), m[2].strip().rstrip("#").strip()) if m else None


def quote(text: str, at: int) -> tuple[int, Kind]:
    """A run of lines that begin with ">", and the lazy ones that go on its last paragraph."""
    kind: Kind = "callout" if _CALLOUT.match(text, at) else "quote"
    end, open_paragraph, fenced = at, False, False
    while end < len(text):
        after = line_end(text, end)
        line = text[end : min(after, end + 400)]
        if marks := _QUOTE_MARKS.match(line):
            inner = line[marks.end() :].strip()
            fence = inner.startswith(("```", "~~~"))
            fenced = fenced != fence
            open_paragraph = bool(inner) and not (fence or fenced or _BREAKS.match(inner))
        elif not open_paragraph or not line.strip() or _BREAKS.match(line) or _ITEM.match(line):
            break
        end = after
    return end, kind


def setext(text: str, at: int) -> tuple[int, int, str] | None:
    """End, level and text of a heading of one line that is underlined by "=" or "-"."""
    end = line_end(text, at)
    under = _UNDERLINE.match(text, end)
    line = text[at:end].strip()
    if not under or not line or len(line) > 400 or _BREAKS.match(line) or _ITEM.match(line):
        return None
    return under.end(), 1 if under[1][0] == "=" else 2, line


def begins(text: str, at: int) -> bool:
    """Whether nothing but a quote's marks stands before it in its line."""
    near = text[max(0, at - 200) : at]  # a line of a megabyte is not looked through each time
    return (at <= 200 or "\n" in near) and not near.rpartition("\n")[2].strip(" \t>")


def same_paragraph(text: str, at: int, end: int) -> bool:
    """Whether no blank line stands between two places."""
    return _BLANK_LINE.search(text, at, end) is None


def html_block(text: str, at: int, after_blank: bool) -> int | None:
    """End of the HTML block that begins at `at`, as CommonMark: through the next blank line.

    `<pre>` and its like end where they are closed; a tag alone in its line begins one only below a
    blank line, here of any name."""
    if m := _RAW_BLOCK.match(text, at):
        closing = _RAW_END.search(text, m.end())
        return line_end(text, closing.end()) if closing else len(text)
    m = _HTML_BLOCK.match(text, at)
    if not m or (m["alone"] and not after_blank):
        return None
    blank = _BLANK_LINE.search(text, m.end())
    return blank.start() if blank else len(text)


def quoted_item(text: str, at: int) -> int | None:
    """Where the quote begins that a list item holds, as in "- > said"."""
    m = _QUOTED_ITEM.match(text, at)
    return m.end() if m else None


class Fences:
    """Fenced blocks of one text. A fence that is never closed is one odd line, not the rest."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.opened: int | None = None  # the first fence without an end
        self._unclosed: dict[str, int] = {}  # mark -> shortest fence known to have no end below

    def match(self, at: int) -> list[tuple[int, int, Kind]]:
        """Marks of the fenced block whose fence begins at the line start `at`; [] for none."""
        m = _FENCE.match(self.text, at)
        if not m or (m[1][0] == "`" and "`" in m[2]):
            return []
        opened = line_end(self.text, at)
        closing = self._closing(m[1], opened)
        words = m[2].strip().strip("{}").lower().split()
        info = words[0] if words else ""
        if closing is None:
            self.opened = at if self.opened is None else self.opened
            return [(at, opened, "code")]
        end = line_end(self.text, closing)
        if names_verse(info):
            return [(at, opened, "code"), (closing, end, "code")]
        if info.startswith("ad-"):
            return [(at, end, "callout")]
        return [(at, end, "dataview" if info in _QUERIES else "code")]

    def _closing(self, fence: str, at: int) -> int | None:
        """Line start of the fence that closes `fence`, at or after `at`."""
        mark, size = fence[0], len(fence)
        if size >= self._unclosed.get(mark, size + 1):
            return None
        while at < len(self.text):
            end = line_end(self.text, at)
            line = self.text[at:end].strip()
            if line.startswith(fence) and not line.strip(mark):
                return at
            at = end
        self._unclosed[mark] = size
        return None


def tag_line(text: str, at: int) -> int | None:
    """End of a line that holds tags only."""
    m = TAG_LINE.match(text, at)
    return line_end(text, m.end()) if m else None


def field(text: str, at: int) -> tuple[int, bool] | None:
    """End of Dataview's `key::`, and whether the whole line is data (a value of few words)."""
    m = _FIELD.match(text, at)
    if not m:
        return None
    end = line_end(text, m.end())
    short = count_words(text[m.end() : min(end, m.end() + 2000)]) < 6
    return (end, True) if short else (m.end(), False)


def reference(text: str, at: int) -> int | None:
    """End of a link definition, `[name]: target`."""
    m = _REFERENCE.match(text, at)
    return line_end(text, m.end()) if m else None


def indented(text: str, at: int) -> tuple[int, bool]:
    """End of a run of indented lines, and whether most of them look like code, not like verse."""
    end, lines = at, []
    while end < len(text) and text.startswith(("    ", "\t"), end):
        after = line_end(text, end)
        if line := text[end:after].strip():
            lines.append(line)
        end = after
    codey = sum(line.endswith(_CODEY_END) or bool(_CODEY.match(line[:300])) for line in lines)
    return end, bool(lines) and 2 * codey > len(lines)


# Within a line

LINK_LIMIT = 1000  # characters of a link's text or target
HTML_TAGS = frozenset(
    str.split("""
    a abbr address article aside audio b big blockquote br button caption center cite code col
    colgroup dd del details dfn div dl dt em embed figcaption figure font footer form h1 h2 h3 h4 h5
    h6 head header hr html body i iframe img input ins kbd label li link main mark meta nav object
    ol option p path pre q rp rt ruby s samp script section select small source span strike strong
    style sub summary sup svg table tbody td textarea tfoot th thead title tr track tt u ul var
    video wbr g rect circle line math""")
)
RAW_TAGS = frozenset({"script", "style", "svg", "iframe", "video", "audio", "object", "math"})
CODE_TAGS = frozenset({"pre", "code", "kbd", "samp"})
_SCHEMES = frozenset(
    str.split("""http https ftp ftps sftp file obsidian zotero app mailto message ssh git data bear
    x-devonthink-item things evernote onenote ws wss vscode""")
)

HTML_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9]{0,20})(?:\s[^<>]{0,1000}|/)?>")
AUTOLINK = re.compile(
    r"<(?:[A-Za-z][A-Za-z0-9+.-]{1,20}:[^\s<>]{1,2000}|[^\s<>@]{1,100}@[^\s<>@]{1,200})>"
)
LINK_TARGET = re.compile(
    r"\]\((?:<[^<>\n]{0,1000}>|[^\s()]{0,1500}(?:\([^\s()]{0,300}\)[^\s()]{0,300}){0,3})"
    r"(?:[ \t]{1,8}(?:\"[^\"\n]{0,300}\"|'[^'\n]{0,300}'))?\)"
)
INLINE_FIELD = re.compile(
    rf"\[(?:[^\W_]|{PICTURE})(?:[\w /-]|{PICTURE}){{0,40}}::"
    r"(?:[^\[\]\n]|\[\[[^\[\]\n]{0,200}\]\]|\[[^\[\]\n]{0,200}\]){0,300}\]"
    rf"|\((?:[^\W_]|{PICTURE})(?:[\w /-]|{PICTURE}){{0,40}}::"
    r"(?:[^()\n]|\([^()\n]{0,200}\)){0,300}\)"
)
BLOCK_REFERENCE = re.compile(r"\(\([0-9a-fA-F-]{36}\)\)")  # Logseq's
INLINE_MATH = re.compile(r"\$(?=[^\s$])([^$\n]{1,200})(?<=[^\s\\])\$(?!\d)")
MATHS = re.compile(r"[\\^_={}]")
BLOCK_ID = re.compile(r"\^[A-Za-z0-9-]{2,60}[ \t]{0,20}(?=\r?\n|\Z)")
CLOZE = re.compile(r"\{\{c\d+::")
_URL_REST = re.compile(r"[^\s<>\"`{}|\\^]{1,4000}")
_CLOSING = frozenset(".,;:!?'*_~…”’»]")

_OLD_QUOTE = re.compile(r"[\w.,!?;:]'(?=\s)")
_CODE_SIGNS = re.compile(r"[=(){}<>$\\|]")


def old_quotes(inner: str) -> bool:
    """Whether two single backticks are the opening quotes of a person who writes `so' and `so'."""
    if inner[-1:].isspace() and not inner[:1].isspace():
        return True
    return bool(_OLD_QUOTE.search(inner)) and not _CODE_SIGNS.search(inner)


def url_end(text: str, at: int) -> int:
    """End of the URL whose part after the scheme begins at `at`, without closing punctuation."""
    m = _URL_REST.match(text, at)
    if not m:
        return at
    end = m.end()
    unopened = m[0].count(")") - m[0].count("(")
    while end > at:
        if text[end - 1] == ")" and unopened > 0:
            unopened -= 1
        elif text[end - 1] not in _CLOSING:
            break
        end -= 1
    return end


def scheme_start(text: str, colon: int, floor: int) -> int | None:
    """Where the scheme before "://" begins, not before `floor`; None for no known scheme."""
    at = colon
    while at > max(floor, colon - 24) and (text[at - 1].isalnum() or text[at - 1] in "+.-"):
        at -= 1
    return at if text[at:colon].lower() in _SCHEMES else None


class Ticks:
    """Runs of backticks in one text, to pair the two that hold inline code."""

    def __init__(self, text: str) -> None:
        self._starts: dict[int, list[int]] = {}
        for m in re.finditer(r"`+", text):
            self._starts.setdefault(len(m[0]), []).append(m.start())
        self._breaks = [m.start() for m in re.finditer(r"\n[ \t\r]*(?=\n)", text)]

    def closing(self, at: int, size: int) -> int | None:
        """Start of the next run of exactly `size` ticks in the same paragraph, after `at`."""
        starts = self._starts.get(size, [])
        found = bisect.bisect_right(starts, at)
        if found == len(starts):
            return None
        gap = bisect.bisect_left(self._breaks, at)
        if gap < len(self._breaks) and self._breaks[gap] < starts[found]:
            return None
        return starts[found]


# Tags ---------------------------------------------------------------------------------------------

_BEFORE = frozenset("*|")  # besides white space and what nobody sees: emphasis, a table's cell
_TAGS_FIELD = re.compile(r"[ \t]*(?:[-*+][ \t]+)?[*_\[(]{0,2}tags?[*_]{0,2}::", re.IGNORECASE)


class InlineTags:
    """Collects the tags of one text, front to back; positions are characters of it.

    Those that Obsidian sees, and those that only the rules heed: these err on the side of leaving
    out. spans.py walks and says where it stands."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.found: list[tuple[int, str]] = []
        self.barring: list[str] = []  # no tags of the text, but they may keep the note out
        self.none_until = start  # up to here nothing is a tag: HTML, a formula
        self.html_end = -1  # of inline HTML, after which a tag may follow at once
        self._end = -1  # of the last tag, to which another may be joined

    def within(self, at: int, end: int, before: str = ">") -> None:
        """Every tag in [at, end), also one that stands after a character of `before`."""
        for m in INLINE.finditer(self.text, at, end):
            self.note(m, before)

    def note(self, m: re.Match[str], before: str = "") -> None:
        """As in Obsidian: after white space, or joined to another; "(#x)" and "_#x_" are none.

        What it does within a highlight is not written down, so that such a tag counts."""
        at = m.start()
        last = self.text[at - 1] if at else " "
        if last == "_" and at >= self.none_until and (tag := inline_tag(m[1].rstrip("_"))):
            self.barring.append(tag)  # Obsidian 1.13 lists it; the older ones that we know did not
        if at < self.none_until or not (
            last.isspace()
            or last in _BEFORE
            or last in before
            or at in (self._end, self.html_end)
            or self.text[max(0, at - 2) : at] in ("==", "~~")
            or unicodedata.category(last) == "Cf"  # a mark of direction, a joiner
        ):
            return
        self._end = m.end()
        if tag := inline_tag(m[1]):
            self.found.append((at, tag))

    def hidden(self, at: int, end: int) -> None:
        """In a comment or a conflict's other side."""
        for m in INLINE.finditer(self.text, at, end):
            before = self.text[m.start() - 1 : m.start()]
            if (not before or before.isspace() or before == "%") and (tag := inline_tag(m[1])):
                self.barring.append(tag)

    def field(self, at: int, end: int) -> None:
        """In Dataview's and Logseq's data: what stands under `tags::` counts for the rules."""
        if m := _TAGS_FIELD.match(self.text, at):
            self.barring += property_tags(self.text[m.end() : end])
        self.within(at, end)
