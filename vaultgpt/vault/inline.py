"""Constructs within a line: code, links, URLs, HTML, templates, maths. Patterns and limits.

Every pattern is bounded, so that a megabyte of any one character stays linear.
"""

from __future__ import annotations

import bisect
import re

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
SCHEMES = frozenset(
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
INLINE_FIELD = re.compile(r"\[[^\W\d_][\w /-]{0,40}::[^\]\n]{0,300}\]")
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
    return at if text[at:colon].lower() in SCHEMES else None


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
