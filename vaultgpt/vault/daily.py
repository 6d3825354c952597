"""The date that a path means: daily-note and periodic-note formats, or a date in the name.

A format of moment.js is matched in every locale that moment has. Knows nothing about what the
notes hold.
"""

from __future__ import annotations

import datetime
import functools
import os
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from vaultgpt.vault.dates import (
    ascii_figures,
    calendar_date,
    date_words,
    moment,
    months_named,
    named_date,
    week_month,
    weekdays_named,
)
from vaultgpt.vault.obsidian import Pattern, settings

_DEFAULTS = {
    "daily": "YYYY-MM-DD",
    "weekly": "gggg-[W]ww",
    "monthly": "YYYY-MM",
    "quarterly": "YYYY-[Q]Q",
    "yearly": "YYYY",
}
_SETS = {
    "day": "daily",
    "week": "weekly",
    "month": "monthly",
    "quarter": "quarterly",
    "year": "yearly",
}
_TOKEN = re.compile(
    r"\[([^\]]*)\]|\\(.)|YYYYYY|YYYYY|YYYY|YY|Y|y{1,4}|MMMM|MMM|MM|Mo|M|DDDD|DDDo|DDD|DD|Do|D|"
    r"dddd|ddd|dd|do|d|gggg|gg|GGGG|GG|wo|ww|w|Wo|WW|W|Qo|Q|E|e|HH|H|hh|h|kk|k|Hmmss|Hmm|hmmss|hmm|"
    r"mm|m|ss|s|S{1,9}|A|a|x|X|ZZ|Z|zz|z|N{1,5}|."
)
_LONG = re.compile(r"\[[^\]]*\]|\\.|LTS|LT|LL?L?L?|l{1,4}")  # what moment expands first
_ORDINAL = r"[^\d/,]{0,8}?"  # "14th", "14.", "ke-14", "14 වැනි": what a locale puts around it
_PARTS = {
    **dict.fromkeys(["YYYYYY", "YYYYY", "YYYY", "Y", "yyyy", "yyy", "yy", "y"], r"(?P<year>\d{4})"),
    **dict.fromkeys(["gggg", "GGGG"], r"(?P<year>\d{4})"),
    **dict.fromkeys(["YY", "gg", "GG"], r"(?P<short>\d\d)"),
    **dict.fromkeys(["MMMM", "MMM"], r"(?P<name>\L<months>)"),
    "MM": r"(?P<month>\d\d)",
    "M": r"(?P<month>\d\d?)",
    "Mo": rf"{_ORDINAL}(?P<month>\d\d?){_ORDINAL}",
    "DD": r"(?P<day>\d\d)",
    "D": r"(?P<day>\d\d?)",
    "Do": rf"{_ORDINAL}(?P<day>\d\d?){_ORDINAL}",
    **dict.fromkeys(["ww", "WW"], r"(?P<week>\d\d)"),
    **dict.fromkeys(["w", "W"], r"(?P<week>\d\d?)"),
    **dict.fromkeys(["wo", "Wo"], rf"{_ORDINAL}(?P<week>\d\d?){_ORDINAL}"),
    "DDDD": r"(?P<yearday>\d{3})",
    "DDD": r"(?P<yearday>\d{1,3})",
    "DDDo": rf"{_ORDINAL}(?P<yearday>\d{{1,3}}){_ORDINAL}",
    **dict.fromkeys(["dddd", "ddd", "dd"], r"(?P<weekday>\L<weekdays>)"),
    **dict.fromkeys(["d", "e"], r"\d"),
    "E": r"(?P<isoday>[1-7])",
    "do": rf"{_ORDINAL}\d{_ORDINAL}",
    "Q": r"[1-4]",
    "Qo": rf"{_ORDINAL}[1-4]{_ORDINAL}",
    **dict.fromkeys(["A", "a"], r"[^\d/]{1,16}?"),
    **dict.fromkeys(["x", "X"], r"\d{10,13}"),
    **dict.fromkeys(["HH", "H", "hh", "h", "kk", "k", "mm", "m", "ss", "s"], r"\d\d?"),
    **dict.fromkeys(["Hmm", "hmm", "Hmmss", "hmmss"], r"\d{3,6}"),
    **{"S" * n: rf"\d{{{n}}}" for n in range(1, 10)},
    **dict.fromkeys(["Z", "ZZ"], r"[+-]\d\d:?\d\d"),
    **dict.fromkeys(["z", "zz", "N", "NN", "NNN", "NNNN", "NNNNN"], r"[^\d/]{0,16}?"),
    ",": "[,،]",
}
_MOST_NAMES = 400  # of a folder, by which its locale is told


@dataclass(frozen=True)
class _Shape:
    """A format as one or more locales write it."""

    pattern: Pattern
    locales: frozenset[str] | None  # None for all of them


@functools.cache
def _shapes(form: str) -> tuple[_Shape, ...]:
    """The patterns of a moment.js format over a whole path."""
    if not re.search(r"[Ll]", re.sub(r"\[[^\]]*\]", "", form)):
        return (_Shape(_pattern(form), None),)
    found: dict[str, set[str]] = {}
    for name, locale in moment().items():
        found.setdefault(_expanded(form, locale["formats"]), set()).add(name)
    return tuple(
        _Shape(_pattern(f, frozenset(names)), frozenset(names)) for f, names in found.items()
    )


def _expanded(form: str, formats: dict[str, str]) -> str:
    """With the long-date tokens of a locale in place; as moment does, five times over."""
    for _ in range(5):
        before, form = form, _LONG.sub(lambda m: formats.get(m[0], m[0]), form)
        if form == before:
            break
    return form[:400]


def _pattern(form: str, locales: frozenset[str] | None = None) -> Pattern:
    """One format as a pattern; a part that comes twice must agree."""
    out, seen = [], set()
    for m in _TOKEN.finditer(form):
        literal, part = m[1] if m[1] is not None else m[2], _PARTS.get(m[0])
        if literal is not None or part is None:
            out.append(re.escape((m[0] if literal is None else literal).lower()))
            continue
        name = re.search(r"\?P<(\w+)>", part)
        if name and name[1] in seen:  # a list takes 0.1 s to compile: the first one is enough
            again = part.replace(f"(?P<{name[1]}>", "(?:")
            part = r"[^\d/]{1,24}?" if r"\L<" in part else again
        elif name:
            seen.add(name[1])
        out.append(part)
    source = "".join(out)
    lists = {
        kind: date_words(kind, locales) for kind in ("months", "weekdays") if f"<{kind}>" in source
    }
    return Pattern(source, lists, any_case=False)


@dataclass(frozen=True)
class _PeriodicNote:
    """One kind of periodic note: where it lies, and how its path is written below that."""

    folder: str
    form: str
    template: str

    def dates(self, stem: str, only: tuple[str, ...] = ()) -> dict[str, frozenset[str]]:
        """The dates that a path may mean, each with the locales in which it does."""
        found: dict[str, frozenset[str]] = {}
        name, folder = _plain(stem), _plain(self.folder)
        if not name.startswith(folder):
            return found
        for shape in _shapes(self.form):
            if only and shape.locales is not None and not shape.locales & set(only):
                continue
            try:
                m = shape.pattern.fullmatch(name[len(folder) :])
            except TimeoutError:
                continue
            for date, locales in (_dates(m.groupdict(), shape.locales) if m else {}).items():
                found[date] = found.get(date, frozenset()) | locales
        return found


def _stem(path: str) -> str:
    """A path without its Markdown suffix, in NFC."""
    return re.sub(r"\.(md|markdown)\Z", "", unicodedata.normalize("NFC", path), flags=re.IGNORECASE)


def _plain(stem: str) -> str:
    """As patterns are matched: in lower case, with ASCII figures, whatever the script."""
    return ascii_figures(stem).lower()


def _dates(
    parts: dict[str, str | None], locales: frozenset[str] | None
) -> dict[str, frozenset[str]]:
    """The dates of a matched path, each with the locales in which it is one."""
    short = parts.get("short")
    year = int(parts.get("year") or 0)
    if short and not year:
        year = int(short) + (1900 if int(short) > 68 else 2000)
    months: dict[int, frozenset[str]] = {int(parts.get("month") or 0): frozenset()}
    if name := parts.get("name"):
        months = months_named(name)
    found: dict[str, frozenset[str]] = {}
    for month, named in months.items():
        if year and (date := _date(year, month, parts)):
            both = named if locales is None else named & locales if named else locales
            if weekday := parts.get("weekday"):
                both = _with_weekday(date, weekday, both)
            found[date] = both
    sure = {date: where for date, where in found.items() if where}
    return sure or found


def _with_weekday(date: str, name: str, locales: frozenset[str]) -> frozenset[str]:
    """The locales in which this name is the weekday of a day; a month has none."""
    if len(date) != 10:
        return locales
    own = weekdays_named(name).get(datetime.date.fromisoformat(date).weekday(), frozenset())
    return own & locales if locales else own


def _date(year: int, month: int, parts: dict[str, str | None]) -> str | None:
    """One date of a path's parts; None for an impossible one."""
    if yearday := int(parts.get("yearday") or 0):
        first = calendar_date(year, 1, 1)
        return _plus_days(first, yearday - 1) if first else None
    if day := int(parts.get("day") or 0):
        return calendar_date(year, month, day)
    if week := int(parts.get("week") or 0):
        if isoday := int(parts.get("isoday") or 0):
            return _week_day(year, week, isoday)
        return week_month(year, week)
    if month:
        return f"{year}-{month:02d}" if month <= 12 else None
    return str(year) if 1000 <= year <= 2999 else None


def _week_day(year: int, week: int, isoday: int) -> str | None:
    try:
        return datetime.date.fromisocalendar(year, week, isoday).isoformat()
    except ValueError:
        return None


def _plus_days(iso: str, days: int) -> str | None:
    moved = datetime.date.fromisoformat(iso) + datetime.timedelta(days=days)
    return moved.isoformat() if moved.isoformat()[:4] == iso[:4] else None


@dataclass(frozen=True)
class DailyFormat:
    """How this vault names its periodic notes."""

    kinds: tuple[_PeriodicNote, ...] = ()
    locales: tuple[str, ...] = ()  # in which its names are dates, where not all of them are

    @staticmethod
    def load(vault: Path) -> DailyFormat:
        """From .obsidian; a missing or damaged file means Obsidian's defaults."""
        found: list[_PeriodicNote] = []
        _add(found, "daily", settings(vault, "daily-notes.json"))
        periodic = settings(vault, "plugins", "periodic-notes", "data.json")
        sets = periodic.get("calendarSets")
        for part in [periodic, *(sets if isinstance(sets, list) else [])][:50]:
            for name, of in part.items() if isinstance(part, dict) else ():
                kind = _SETS.get(name, name)
                if kind in _DEFAULTS and isinstance(of, dict) and of.get("enabled", True):
                    _add(found, kind, of)
        made = DailyFormat(tuple(dict.fromkeys(found)))
        own = settings(vault, "plugins", "calendar", "data.json").get("localeOverride")
        if isinstance(own, str) and own in moment():
            return replace(made, locales=(own,))
        return replace(made, locales=made._locales(vault))

    def _locales(self, vault: Path) -> tuple[str, ...]:
        """The locales in which most names of the folders are dates, where names leave a choice."""
        votes: dict[str, int] = {}
        for kind in self.kinds:
            if kind.form in _DEFAULTS.values() or not _has_words(kind.form):
                continue
            for stem in _names_below(vault, kind.folder):
                for locales in kind.dates(stem).values():
                    votes.update({name: votes.get(name, 0) + 1 for name in locales})
        most = max(votes.values(), default=0)
        return tuple(sorted(name for name, count in votes.items() if count == most and most > 1))

    def format_date(self, path: str) -> str | None:
        """The date of a path that a periodic format makes: such a name is no title."""
        stem = _stem(path)
        for kind in self.kinds:
            found = kind.dates(stem, self.locales) or kind.dates(stem)
            if len(found) > 1:
                found = {d: names for d, names in found.items() if names & set(self.locales)}
            if len(found) == 1:
                return next(iter(found))
        return None

    def date_of(self, path: str) -> str | None:
        """The date a note's path means, as "2021-03-14", "2021-03" or "2021"; None for none."""
        if date := self.format_date(path):
            return date
        found = named_date(PurePosixPath(_stem(path)).name)
        return found.date if found else None

    @property
    def templates(self) -> tuple[str, ...]:
        """Vault paths of the templates that periodic notes begin from, without suffix."""
        return tuple(kind.template for kind in self.kinds if kind.template)


def _has_words(form: str) -> bool:
    """Whether a format is written otherwise in another locale."""
    return re.search(r"MMM|dd|[Ll]", re.sub(r"\[[^\]]*\]", "", form)) is not None


def _names_below(vault: Path, folder: str) -> list[str]:
    """Some paths of notes below a folder, without suffix, in the order in which they sort."""
    found: list[str] = []
    root = os.path.join(vault, folder)
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(place, vault).replace(os.sep, "/")
        for name in sorted(names):
            if name.lower().endswith(".md"):
                found.append(_stem(name if below == "." else f"{below}/{name}"))
        if len(found) >= _MOST_NAMES:
            break
    return found[:_MOST_NAMES]


def _text(value: object) -> str:
    return unicodedata.normalize("NFC", value.strip()) if isinstance(value, str) else ""


def _add(found: list[_PeriodicNote], name: str, part: dict[str, object]) -> None:
    folder = _text(part.get("folder")).strip("/")
    form = _text(part.get("format"))[:200] or _DEFAULTS[name]
    template = _text(part.get("templatePath") or part.get("template")).strip("/")
    found.append(_PeriodicNote(folder + "/" if folder else "", form, template.removesuffix(".md")))
