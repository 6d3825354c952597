"""The date that a path means: daily-note and periodic-note formats, or a date in the name.

Reads .obsidian's settings; knows nothing about what the notes hold.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vaultgpt.files import read_json
from vaultgpt.vault.dates import MONTHS, calendar_date, leading_date, week_month

_DEFAULTS = {
    "daily": "YYYY-MM-DD",
    "weekly": "gggg-[W]ww",
    "monthly": "YYYY-MM",
    "quarterly": "YYYY-[Q]Q",
    "yearly": "YYYY",
}
_TOKEN = re.compile(
    r"\[([^\]]*)\]|YYYY|YY|Y|MMMM|MMM|MM|Mo|M|DDDD|DDD|DD|Do|D|dddd|ddd|dd|do|d|gggg|gg|GGGG|GG|"
    r"wo|ww|w|Wo|WW|W|Qo|Q|E|e|HH|H|hh|h|kk|k|mm|m|ss|s|A|a|x|X|."
)
_WORD = r"[^\W\d_]+\.?"
_PARTS = {
    "YYYY": r"(?P<year>\d{4})",
    "Y": r"(?P<year>\d{4})",
    "YY": r"(?P<short>\d\d)",
    "gggg": r"(?P<year>\d{4})",
    "GGGG": r"(?P<year>\d{4})",
    "gg": r"(?P<short>\d\d)",
    "GG": r"(?P<short>\d\d)",
    "MMMM": rf"(?P<name>{_WORD})",
    "MMM": rf"(?P<name>{_WORD})",
    "MM": r"(?P<month>\d\d)",
    "M": r"(?P<month>\d\d?)",
    "Mo": r"(?P<month>\d\d?)[a-z]{2}",
    "DD": r"(?P<day>\d\d)",
    "D": r"(?P<day>\d\d?)",
    "Do": r"(?P<day>\d\d?)(?:[a-z]{2}|\.|º)?",
    "ww": r"(?P<week>\d\d)",
    "w": r"(?P<week>\d\d?)",
    "WW": r"(?P<week>\d\d)",
    "W": r"(?P<week>\d\d?)",
    "wo": r"(?P<week>\d\d?)[a-z]{2}",
    "Wo": r"(?P<week>\d\d?)[a-z]{2}",
    "DDDD": r"(?P<yearday>\d{3})",
    "DDD": r"(?P<yearday>\d{1,3})",
    "dddd": _WORD,
    "ddd": _WORD,
    "dd": _WORD,
    "d": r"\d",
    "do": r"\d[a-z]{2}",
    "E": r"\d",
    "e": r"\d",
    "Q": r"[1-4]",
    "Qo": r"[1-4][a-z]{2}",
    "A": "[AP]M",
    "a": "[ap]m",
    "x": r"\d+",
    "X": r"\d+",
    **dict.fromkeys(["HH", "H", "hh", "h", "kk", "k", "mm", "m", "ss", "s"], r"\d\d?"),
}


def format_pattern(moment: str) -> re.Pattern[str]:
    """A moment.js format as a pattern over a whole path; a part that comes twice must agree."""
    out, seen = [], set()
    for m in _TOKEN.finditer(moment):
        literal, part = m[1], _PARTS.get(m[0])
        if literal is not None or part is None:
            out.append(re.escape(m[0] if literal is None else literal))
            continue
        name = re.search(r"\?P<(\w+)>", part)
        if name and name[1] in seen:
            part = part.replace(f"(?P<{name[1]}>", "(?:")
        elif name:
            seen.add(name[1])
        out.append(part)
    return re.compile("".join(out), re.IGNORECASE)


@dataclass(frozen=True)
class _Kind:
    """One kind of periodic note: where it lies, and how its path is written below that."""

    folder: str
    pattern: re.Pattern[str]
    template: str


def _stem(path: str) -> str:
    """A path without its Markdown suffix, in NFC."""
    return re.sub(r"\.(md|markdown)\Z", "", unicodedata.normalize("NFC", path), flags=re.IGNORECASE)


def _date(parts: dict[str, str | None]) -> str | None:
    """The date of a matched path; None for an impossible one and one without a year."""
    short = parts.get("short")
    year = int(parts.get("year") or 0)
    if short and not year:
        year = int(short) + (1900 if int(short) > 68 else 2000)
    name = (parts.get("name") or "").lower().rstrip(".")
    month = int(parts.get("month") or MONTHS.get(name, 0))
    if not year or (name and not month):
        return None
    if yearday := int(parts.get("yearday") or 0):
        first = calendar_date(year, 1, 1)
        return _plus_days(first, yearday - 1) if first else None
    if day := int(parts.get("day") or 0):
        return calendar_date(year, month, day)
    if week := int(parts.get("week") or 0):
        return week_month(year, week)
    if month:
        return f"{year}-{month:02d}" if month <= 12 else None
    return str(year) if 1000 <= year <= 2999 else None


def _plus_days(iso: str, days: int) -> str | None:
    moved = datetime.date.fromisoformat(iso) + datetime.timedelta(days=days)
    return moved.isoformat() if moved.isoformat()[:4] == iso[:4] else None


@dataclass(frozen=True)
class DailyFormat:
    """How this vault names its periodic notes."""

    kinds: tuple[_Kind, ...] = ()

    @staticmethod
    def load(vault: Path) -> DailyFormat:
        """From .obsidian; a missing or damaged file means Obsidian's defaults."""
        found: list[_Kind] = []
        _add(found, "daily", _settings(vault / ".obsidian" / "daily-notes.json"))
        periodic = _settings(vault / ".obsidian" / "plugins" / "periodic-notes" / "data.json")
        for name in _DEFAULTS:
            part = periodic.get(name)
            if isinstance(part, dict) and part.get("enabled", True):
                _add(found, name, part)
        return DailyFormat(tuple(found))

    def date_of(self, path: str) -> str | None:
        """The date a note's path means, as "2021-03-14", "2021-03" or "2021"; None for none."""
        stem = _stem(path)
        for kind in self.kinds:
            inside = stem[len(kind.folder) :]
            if not stem.lower().startswith(kind.folder.lower()):
                continue
            if (m := kind.pattern.fullmatch(inside)) and (date := _date(m.groupdict())):
                return date
        found = leading_date(PurePosixPath(stem).name)
        return found.date if found else None

    @property
    def templates(self) -> tuple[str, ...]:
        """Vault paths of the templates that periodic notes begin from, without suffix."""
        return tuple(kind.template for kind in self.kinds if kind.template)


def _settings(path: Path) -> dict[str, object]:
    try:
        value = read_json(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return unicodedata.normalize("NFC", value.strip()) if isinstance(value, str) else ""


def _add(found: list[_Kind], name: str, part: dict[str, object]) -> None:
    folder = _text(part.get("folder")).strip("/")
    moment = _text(part.get("format"))[:200] or _DEFAULTS[name]
    template = _text(part.get("template")).strip("/").removesuffix(".md")
    found.append(_Kind(folder + "/" if folder else "", format_pattern(moment), template))
