"""What headings and names say: the days that a file is cut into, and the title of a note.

Works on the headings that spans.py found; a date is no title, nor is "Untitled 3". Knows nothing
about the prose.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath

from vaultgpt.vault.dates import (
    FoundDate,
    day_or_month,
    leading_date,
    named_date,
    parse_date,
    weekdays_named,
)
from vaultgpt.vault.entry import INLINE
from vaultgpt.vault.spans import Heading


@dataclass(frozen=True)
class Section:
    """Characters [start, end) of a note; `heading` and `found` are None before the first day."""

    start: int
    end: int
    heading: Heading | None
    found: FoundDate | None


def day_headings(
    headings: list[Heading], known: str | None = None
) -> list[tuple[Heading, FoundDate]]:
    """The date headings of the level that has most of them (at least two), in order.

    `known` is a date that the file has besides, which may tell in what order figures stand."""
    levels: dict[int, list[tuple[Heading, FoundDate]]] = {}
    for heading in headings:
        if found := day_or_month(heading.text):
            levels.setdefault(heading.level, []).append((heading, found))
    best = max(levels.values(), key=lambda days: (len(days), -days[0][0].level), default=[])
    if len(best) < 2:
        return []
    days = _in_one_order([found for _, found in best], known)
    return [(heading, day) for (heading, _), day in zip(best, days, strict=True)]


def _in_one_order(days: list[FoundDate], known: str | None) -> list[FoundDate]:
    """Dates such as 3/4/2021 read as the rest of the file is: by the days that have only one
    reading, by another date of the file, or so that neighbours are nearest. Else the year alone."""
    if all(day.other is None for day in days):
        return days
    orders = [day.order for day in days if day.order]
    by_day = [day.date for day in days]
    by_month = [day.other or day.date for day in days]
    votes = orders.count("day") - orders.count("month")
    if not votes and known:
        votes = _near(by_day, known) - _near(by_month, known)
    if not votes:
        votes = _gaps(by_month) - _gaps(by_day)
    if votes:
        return [
            replace(d, date=a if votes > 0 else b, other=None)
            for d, a, b in zip(days, by_day, by_month, strict=True)
        ]
    return [d if d.other is None else replace(d, date=d.other[:4], other=None) for d in days]


def _near(dates: list[str | None], known: str) -> int:
    return sum(date is not None and date.startswith(known[:7]) for date in dates)


def _gaps(dates: list[str | None]) -> int:
    """Days between neighbours, summed."""
    days = [datetime.date.fromisoformat(d).toordinal() for d in dates if d and len(d) == 10]
    return sum(abs(b - a) for a, b in pairwise(days))


def cut(days: list[tuple[Heading, FoundDate]], end: int, preamble: bool) -> list[Section]:
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


_NAMELESS = re.compile(
    r"(?:untitled|unbenannt|sans titre|sin título|senza titolo|naamloos|sem título|new note|"
    r"neue notiz|drawing|pasted|note)?[ _-]*[\d.,() _-]*|[0-9a-f-]{16,}",
    re.IGNORECASE,
)
_ONLY_FORMAT = re.compile(  # W24, 2021-Q2, Q2 2021, Week 24
    r"(?:\d{2,4}[-_. ]?)?(?:[WQKS]|KW|wk|week|woche|semaine|semana|settimana|vecka|uge|неделя|第)"
    r"[-_. ]?\d{1,2}[周週]?(?:[-_., ]{1,2}\d{4})?",
    re.IGNORECASE,
)
_SERIAL = re.compile(r"([^\W\d]+)[ _-]*\d+")
_LINK = re.compile(r"\[\[(?:[^\]|]{0,300}\|)?([^\]|]{0,300})\]\]|\[([^\]]{0,300})\]\([^)]{0,500}\)")
_EMPHASIS = re.compile(r"\*{1,3}|`|==|~~|(?<!\w)_{1,3}(?=\w)|(?<=[\w.!?])_{1,3}(?!\w)")
_LONGEST = 200  # characters


def clean_title(text: str) -> str | None:
    """A heading or property as plain words, on one line; None when nothing is left."""
    text = _LINK.sub(lambda m: m[1] or m[2] or "", text[:1000])
    text = INLINE.sub("", text)
    text = _EMPHASIS.sub("", text)
    return " ".join(text.split())[:_LONGEST].strip() or None


def is_format(text: str) -> bool:
    """Whether a title says no more than when: "Mon", "W24", "2021-Q2", a date."""
    plain = text.strip()
    named = len(plain) > 1 and weekdays_named(plain)
    return bool(parse_date(plain) or _ONLY_FORMAT.fullmatch(plain) or named)


def title_of_name(path: str, tags: Collection[str]) -> str | None:
    """The file's name as a title; None for a date, "Untitled 3", or "poetry 433" in Poetry/."""
    pure = PurePosixPath(path)
    stem = re.sub(r"\.(md|markdown)\Z", "", pure.name, flags=re.IGNORECASE).strip()
    if is_format(stem):
        return None
    found, figures = named_date(stem), leading_date(stem)
    if found and (found.day or (figures and figures.rest.strip()[:1] in "-–—_")):
        stem = found.rest.strip(" \t-–—_:,.")
    if _NAMELESS.fullmatch(stem) or _ONLY_FORMAT.fullmatch(stem):
        return None
    kinds = {part.lower() for part in (*pure.parts[-2:-1], *tags)}
    if (m := _SERIAL.fullmatch(stem)) and {m[1].lower(), m[1].lower() + "s"} & kinds:
        return None
    return stem[:_LONGEST] or None
