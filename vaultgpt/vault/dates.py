"""Dates as people write them, in file names, headings and properties, to "2021-03-14".

Knows nothing about files: their times are no date of an entry (a sync makes every file new).
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

_MONTHS = """january jan januar janvier enero gennaio januari janeiro jänner janv ene genn
february feb februar février febrero febbraio februari fevereiro févr fevrier febr fev
march mar märz mars marzo maart março mär mrz marco mrt
april apr avril abril aprile avr abr
may mai mayo maggio mei maio mag
june jun juni juin junio giugno junho giu
july jul juli juillet julio luglio julho juil lug
august aug août agosto augustus aout ago
september sep sept septembre septiembre settembre setembro set
october oct oktober octobre octubre ottobre outubro okt ott out
november nov novembre noviembre novembro
december dec dezember décembre diciembre dicembre dezembro dez déc decembre dic"""
MONTHS = {
    name: number for number, line in enumerate(_MONTHS.split("\n"), 1) for name in line.split()
}
WEEKDAYS = frozenset(
    str.split("""
    monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs fri
    sat sun montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag lundi mardi
    mercredi jeudi vendredi samedi dimanche lunes martes miércoles jueves viernes sábado domingo
    lunedì martedì mercoledì giovedì venerdì sabato domenica maandag dinsdag woensdag donderdag
    vrijdag zaterdag zondag""")
)

_NUMERIC = re.compile(r"([12]\d{3})([-/._])(\d{1,2})\2(\d{1,2})(?!\d)")
_COMPACT = re.compile(r"([12]\d{3})(\d\d)(\d\d)(?:\d{4}|\d{6})?(?!\d)")
_MONTH = re.compile(r"([12]\d{3})[-/](\d\d)(?![-/._\d])")
_WEEK = re.compile(r"([12]\d{3})-?W(\d{1,2})(?!\d)")
_LAST = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2([12]\d{3})(?!\d)")
_DAY_MONTH = re.compile(
    r"(\d{1,2})(?:st|nd|rd|th|\.|er)?(?:\s+(?:of|de))?[\s-]+([^\W\d_]{3,10})\.?,?"
    r"(?:\s+(?:of|de))?[\s-]+([12]\d{3})(?!\d)"
)
_MONTH_DAY = re.compile(r"([^\W\d_]{3,10})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+([12]\d{3})(?!\d)")
_MONTH_YEAR = re.compile(r"([^\W\d_]{3,10})\.?,?\s+([12]\d{3})(?!\d)")
_YEAR = re.compile(r"[12]\d{3}(?!\d)")
_WEEKDAY = re.compile(r"\s*[(,]?\s*([^\W\d_]{3,10})\.?[,)]?\s*")
_TIME = re.compile(
    r"(?:[T\s,]\s*\d{1,2}[:.h]\d{2}\S{0,20}(?:\s*[AaPp]\.?[Mm]\.?)?(?:\s\S{1,6})?)?\Z"
)
_LINK = re.compile(r"\[\[([^\]|#]{1,200})(?:#[^\]|]*)?(?:\|[^\]]*)?\]\]")
_LONGEST = 120  # characters; nobody writes a longer date


@dataclass(frozen=True)
class Found:
    """A date that was written; `date` is None when there is no such day, month or year."""

    date: str | None
    rest: str  # what follows it
    day: bool  # it names a day, not only a month or a year


def calendar_date(year: int, month: int, day: int) -> str | None:
    """ISO date; None for the thirtieth of February and for years outside 1000 to 2999."""
    if not 1000 <= year <= 2999:
        return None
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        return None


def week_month(year: int, week: int) -> str | None:
    """The month ("2021-03") that an ISO week's Thursday lies in; None for no such week."""
    try:
        return datetime.date.fromisocalendar(year, week, 4).strftime("%Y-%m")
    except ValueError:
        return None


def leading_date(text: str) -> Found | None:
    """A date in figures at the very start: a day, a month, a week, or a run of digits."""
    if m := _NUMERIC.match(text):
        found = calendar_date(int(m[1]), int(m[3]), int(m[4]))
        return Found(found, text[m.end() :], True)
    if m := _WEEK.match(text):
        return Found(week_month(int(m[1]), int(m[2])), text[m.end() :], False)
    if (m := _MONTH.match(text)) and 1 <= int(m[2]) <= 12:
        return Found(f"{m[1]}-{m[2]}", text[m.end() :], False)
    if m := _COMPACT.match(text):
        found = calendar_date(int(m[1]), int(m[2]), int(m[3]))
        return Found(found, text[m.end() :], True) if found else None
    return None


def _worded(text: str) -> Found | None:
    """ "14 March 2021", "March 14, 2021", "14.3.2021", "March 2021"."""
    if (m := _DAY_MONTH.match(text)) and m[2].lower() in MONTHS:
        found = calendar_date(int(m[3]), MONTHS[m[2].lower()], int(m[1]))
        return Found(found, text[m.end() :], True)
    if (m := _MONTH_DAY.match(text)) and m[1].lower() in MONTHS:
        found = calendar_date(int(m[3]), MONTHS[m[1].lower()], int(m[2]))
        return Found(found, text[m.end() :], True)
    if m := _LAST.match(text):
        first, second, year = int(m[1]), int(m[3]), int(m[4])
        if m[2] == "." or first > 12 or first == second:
            return Found(calendar_date(year, second, first), text[m.end() :], True)
        if second > 12:
            return Found(calendar_date(year, first, second), text[m.end() :], True)
        return None  # 3/4/2021 is March in one country and April in another
    if (m := _MONTH_YEAR.match(text)) and m[1].lower() in MONTHS:
        return Found(f"{m[2]}-{MONTHS[m[1].lower()]:02d}", text[m.end() :], False)
    return None


def _plain(text: str) -> str:
    """Without link brackets, emphasis and a weekday in front."""
    text = text.strip()[:_LONGEST].strip("*_:= \t")
    if m := _LINK.match(text):
        text = m[1].rsplit("/", 1)[-1].removesuffix(".md") + text[m.end() :]
    if (m := _WEEKDAY.match(text)) and m[1].lower() in WEEKDAYS:
        text = text[m.end() :]
    return text


def _after(rest: str) -> str:
    """What follows a date, without a weekday and a time."""
    if (m := _WEEKDAY.match(rest)) and m[1].lower() in WEEKDAYS:
        rest = rest[m.end() :]
    return "" if _TIME.match(rest) else rest.strip(" \t-–—:,.")


def parse_date(text: str) -> Found | None:
    """A text that is a date and nothing else (a weekday and a time may stand by it)."""
    plain = _plain(text)
    found = leading_date(plain) or _worded(plain)
    if found is None and (m := _YEAR.match(plain)):
        found = Found(m[0], plain[m.end() :], False)
    return found if found is not None and not _after(found.rest) else None


def heading_date(text: str) -> Found | None:
    """A heading that is a day or a month, alone or (a day in figures) followed by a title."""
    plain = _plain(text)
    found = leading_date(plain) or _worded(plain)
    if found is None:
        return None
    rest = _after(found.rest)
    titled = found.day and plain[:1].isdigit() and _NUMERIC.match(plain) is not None
    return Found(found.date, rest, found.day) if not rest or titled else None
