"""The tags in a note's text: where Obsidian sees one, and where only the rules heed one.

spans.py walks and says where it stands; a privacy rule errs on the side of leaving out. Knows
nothing about what is prose.
"""

from __future__ import annotations

import re
import unicodedata

from vaultgpt.vault.entry import INLINE, inline_tag, property_tags

_BEFORE = frozenset("*|")  # besides white space and what nobody sees: emphasis, a table's cell
_FIELD = re.compile(r"[ \t]*(?:[-*+][ \t]+)?[*_\[(]{0,2}tags?[*_]{0,2}::", re.IGNORECASE)


class InlineTags:
    """Collects the tags of one text, front to back; positions are characters of it."""

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

        What it does within a highlight is not written down, so that such a tag counts.
        """
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
        if m := _FIELD.match(self.text, at):
            self.barring += property_tags(self.text[m.end() : end])
        self.within(at, end)
