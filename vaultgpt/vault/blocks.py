"""Constructs that own whole lines: fences, quotes, headings, tag lines, fields, indented code.

Each function looks at one line start and says where the construct ends; spans.py walks.
"""

from __future__ import annotations

import re

from vaultgpt.vault.entry import Kind
from vaultgpt.vault.tags import TAG_LINE
from vaultgpt.verse import names_verse

_QUERIES = frozenset(
    ["dataview", "dataviewjs", "tasks", "query", "mermaid", "base", "button", "meta-bind"]
)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^\n]*)")
_HEADING = re.compile(r"[ ]{0,3}(#{1,6})[ \t]+(?=\S)([^\n]*)")
_FIELD = re.compile(
    r"[ \t]*(?:[-*+][ \t]+)?(?:\*\*|__|_)?[^\W\d_][\w /-]{0,40}(?:\*\*|__|_)?"
    r"::(?=[ \t\r\n]|\Z)[ \t]*"
)
_REFERENCE = re.compile(r"[ ]{0,3}\[(?!\^)[^\]\n]{1,200}\]:[ \t]+\S+[^\n]{0,500}(?=\n|\Z)")
_CALLOUT = re.compile(r"[ \t]*>[ \t]*\[!")
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
    """A run of lines that begin with ">"."""
    kind: Kind = "callout" if _CALLOUT.match(text, at) else "quote"
    end = at
    while end < len(text) and text[end : end + 400].lstrip(" \t").startswith(">"):
        end = line_end(text, end)
    return end, kind


class Fences:
    """Fenced blocks of one text. A fence that is never closed is one odd line, not the rest."""

    def __init__(self, text: str) -> None:
        self.text = text
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
    short = len(text[m.end() : min(end, m.end() + 2000)].split()) < 6
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
