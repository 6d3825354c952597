"""A file that keeps many days under date headings, cut into its days.

Works on the headings that spans.py found; knows nothing about tags or files.
"""

from __future__ import annotations

from dataclasses import dataclass

from vaultgpt.vault.dates import Found, heading_date, parse_date
from vaultgpt.vault.spans import Heading


@dataclass(frozen=True)
class Section:
    """Characters [start, end) of a note; `heading` and `found` are None before the first day."""

    start: int
    end: int
    heading: Heading | None
    found: Found | None


def day_headings(headings: list[Heading]) -> list[tuple[Heading, Found]]:
    """The date headings of the level that has most of them (at least two), in order."""
    levels: dict[int, list[tuple[Heading, Found]]] = {}
    for heading in headings:
        if found := heading_date(heading.text):
            levels.setdefault(heading.level, []).append((heading, found))
    best = max(levels.values(), key=lambda days: (len(days), -days[0][0].level), default=[])
    return best if len(best) >= 2 else []


def cut(days: list[tuple[Heading, Found]], end: int, preamble: bool) -> list[Section]:
    """Sections that cover [0, end) of the text. Without `preamble` the first day begins at 0."""
    starts = [heading.start for heading, _ in days]
    ends = [*starts[1:], end]
    out = [
        Section(start, stop, heading, found)
        for (heading, found), start, stop in zip(days, starts, ends, strict=True)
    ]
    if preamble:
        return [Section(0, starts[0], None, None), *out]
    return [Section(0, out[0].end, out[0].heading, out[0].found), *out[1:]]


def above_days(headings: list[Heading], level: int) -> list[Heading]:
    """Headings over the days that only say a year or a month ("# 2021", "## March 2021")."""
    return [h for h in headings if h.level < level and parse_date(h.text)]
