"""Dates as people write them, in file names, headings and properties, to "2021-03-14".

Month and weekday names are those of every locale of moment.js. Knows nothing about files: their
times are no date of an entry (a sync makes every file new).
"""

from __future__ import annotations

import datetime
import functools
import json
import re
import unicodedata
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, TypedDict

# Beside moment's own: other spellings, by number.
_MORE_MONTHS = """jänner genn
febr fevrier fevr febbr
maerz mrz marz
avr
mag
giugn
lugl
aout ago
sept set setembre
okt ottob
novem
dez décembre decembre dic"""
_SHORT = frozenset(str.split("mon tue tues wed thu thur thurs fri sat sun"))
_MORE_WEEKDAYS = "\ntues\n\nthu thur thurs\n\nsonnabend\n"

_YEAR_AND = r"([12]\d{3})"
_NUMERIC = re.compile(  # "2021. 3. 14." too, and "2021 03 14"
    rf"{_YEAR_AND}(?:\s?([-/._])\s?(\d{{1,2}})\s?\2\s?(\d{{1,2}})|\x20(\d\d)\x20(\d\d))(?!\d)"
)
_COMPACT = re.compile(rf"{_YEAR_AND}(\d\d)(\d\d)(?:\d{{4}}|\d{{6}})?(?!\d)")
_MONTH = re.compile(rf"{_YEAR_AND}[-/](\d\d)(?![-/._\d])")
_WEEK = re.compile(rf"{_YEAR_AND}-?W(\d{{1,2}})(?!\d)")
_QUARTER = re.compile(rf"{_YEAR_AND}-?Q[1-4](?!\d)", re.IGNORECASE)
_TO = r"(?:\.?[ \t]*[-–—][ \t]*\d{1,2})?"  # "14-16 March": the first of them
_LAST = re.compile(rf"(\d{{1,2}}){_TO}\s?([/._–-])\s?(\d{{1,2}})\s?\2\s?{_YEAR_AND}(?!\d)")
_SHORT_YEAR = re.compile(r"(?:(\d{1,2})(/)(\d{1,2})/|(\d\d)([.-])(\d\d)\5)(\d\d)(?![\d./-])")
_EAST = re.compile(rf"{_YEAR_AND}\s?[年년]\s?(\d{{1,2}})\s?[月월](?:\s?(\d{{1,2}})\s?[日일号號])?")
_MONTH_NAME = r"([^\W\d_][^\d\s,/]{1,18}?)"
_DAY_MONTH = re.compile(
    rf"(\d{{1,2}}){_TO}(?:st|nd|rd|th|\.|er|ª|º|-?[aeй])?(?:\s+(?:of|de|d'))?[\s-]*{_MONTH_NAME}\.?,?"
    rf"(?:\s+(?:of|de|del))?[\s-]*{_YEAR_AND}(?!\d)"
)
_MONTH_DAY = re.compile(
    rf"{_MONTH_NAME}\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?(?:\s*[-–—]\s*\d{{1,2}}(?:st|nd|rd|th)?)?"
    rf",?\s+{_YEAR_AND}(?!\d)"
)
_YEAR_MONTH_DAY = re.compile(rf"{_YEAR_AND}[.,]?[\s-]+{_MONTH_NAME}\.?[\s-]+(\d{{1,2}})\.?(?!\d)")
_VIETNAMESE = re.compile(
    rf"(?:ngày\s+)?(\d{{1,2}})\s+tháng\s+(\d{{1,2}}),?\s+(?:năm\s+)?{_YEAR_AND}", re.IGNORECASE
)
_NO_YEAR = re.compile(  # the first day of a range whose year stands at its end
    rf"(?:(\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+|de\s+)?{_MONTH_NAME}"
    rf"|{_MONTH_NAME}\s+(\d{{1,2}})(?:st|nd|rd|th)?)\.?(?=\s*(?:[-–—→~]|\.\.|to\s|until\s|bis\s|au\s))"
)
_MONTH_YEAR = re.compile(rf"{_MONTH_NAME}\.?,?(?:\s+de)?\s+{_YEAR_AND}(?!\d)")
_YEAR = re.compile(r"[12]\d{3}(?!\d)")
_WEEKDAY = re.compile(r"\s*[(,]?\s*([^\W\d_][^\W\d_.-]{0,15}(?:-feira)?)\.?[,)]?[\s_–—-]*")
_TIME = re.compile(
    r"(?:(?:[T\s,_]|\s(?:at|um|à|alle|om|às|kl\.?|в)\s)\s*\d{1,2}[:.h]\d{2}\S{0,20}(?:\s*[AaPp]\.?[Mm]\.?)?"
    r"(?:\s(?:(?:GMT|UTC)[+-]\d{4}(?:\s\([^()]{1,40}\))?|\S{1,6}))?)?\Z"
)
_OPENING = re.compile(  # signs and small words that stand before a date
    r"(?:[\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\ufe0f]+\s*)?"
    r"(?:(?:le|el|il|am|den|the|on|op|dne|ngày|день|date|day|datum|fecha|дата|日付|日期)[:：]?\s+(?=\d))?",
    re.IGNORECASE,
)
_YEAR_WORD = re.compile(r"\s?(?:г\.|года?|р\.|року|г)(?!\w)")
_HYPHENS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2212", "-"))
_LINK = re.compile(r"\[\[([^\]|#]{1,200})(?:#[^\]|]*)?(?:\|[^\]]*)?\]\]")
_RANGE = re.compile(r"\s*(?:[-–—/→~]|\.\.+|(?:to|until|till|bis|au|al|tot)(?=\s))\s*")
_ALSO = re.compile(r"\s*(?:[,;&+]|(?:and|und|et|y|e|и)(?=\s))\s*")
_EPOCH = re.compile(r"\d{10}(?:\.\d{1,9})?|\d{13}")
_LONGEST = 120  # characters; nobody writes a longer date


@dataclass(frozen=True)
class FoundDate:
    """A date that was written; `date` is None when there is no such day, month or year."""

    date: str | None
    rest: str  # what follows it
    day: bool  # it names a day, not only a month or a year
    other: str | None = None  # 3/4/2021 is the third of April here, and this where months lead
    order: str = ""  # "day" or "month", where figures show which of the two leads


def ascii_figures(text: str) -> str:
    """With the figures of every script as 0 to 9."""
    return text if text.isascii() else "".join(str(unicodedata.decimal(c, c)) for c in text)


class _Locale(TypedDict):
    months: list[list[str]]  # each in its spellings
    weekdays: list[list[str]]
    formats: dict[str, str]


@functools.cache
def moment() -> dict[str, _Locale]:
    """Locales of moment.js: months, weekdays and long-date formats of each."""
    text = files("vaultgpt.vault").joinpath("moment.json").read_text(encoding="utf-8")
    locales: dict[str, _Locale] = json.loads(text)["locales"]
    return locales


@functools.cache
def _names(kind: Literal["months", "weekdays"]) -> dict[str, dict[int, frozenset[str]]]:
    """Name in lower case -> number from 0 on -> its locales, for "months" or "weekdays"."""
    more = (_MORE_MONTHS if kind == "months" else _MORE_WEEKDAYS).split("\n")
    found: dict[str, dict[int, set[str]]] = {}
    for locale, words in [
        *((n, of[kind]) for n, of in moment().items()),
        ("", map(str.split, more)),
    ]:
        for number, names in enumerate(words):
            for name in names:
                for form in {ascii_figures(name), ascii_figures(name).rstrip(".")}:
                    found.setdefault(form, {}).setdefault(number, set()).add(locale)
    return {
        name: {number: frozenset(locales) for number, locales in numbers.items()}
        for name, numbers in found.items()
    }


def months_named(name: str) -> dict[int, frozenset[str]]:
    """Months (1 to 12) that bear a name, and in which locales."""
    numbers = _names("months").get(name.lower().rstrip("."), {})
    return {number + 1: locales for number, locales in numbers.items()}


def weekdays_named(name: str) -> dict[int, frozenset[str]]:
    """Weekdays (Monday is 0) that bear a name, and in which locales."""
    return _names("weekdays").get(name.lower().rstrip("."), {})


def date_words(kind: str, locales: frozenset[str] | None = None) -> list[str]:
    """The names of "months" or "weekdays" in some locales, or in all."""
    return [
        name
        for name, numbers in _names(kind).items()
        if locales is None or any(where & locales for where in numbers.values())
    ]


def _is_weekday(name: str, alone: bool) -> bool:
    """Whether a word means a weekday where it stands: "So" and "We" are words as well."""
    known = len(name) > 4 or not name.isascii() or name.lower() in _SHORT
    return bool(weekdays_named(name)) and (alone or known)


def _month(name: str) -> int:
    """The month of a name that has only one; else 0."""
    found = months_named(name) or months_named(name.removesuffix("ta").removeprefix("ב"))
    return next(iter(found)) if len(found) == 1 else 0


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


def leading_date(text: str) -> FoundDate | None:
    """A date in figures at the very start: a day, a month, a week, a quarter, a run of digits."""
    if m := _NUMERIC.match(text):
        found = calendar_date(int(m[1]), int(m[3] or m[5]), int(m[4] or m[6]))
        return FoundDate(found, text[m.end() :], True)
    if m := _WEEK.match(text):
        return FoundDate(week_month(int(m[1]), int(m[2])), text[m.end() :], False)
    if m := _QUARTER.match(text):
        return FoundDate(m[1], text[m.end() :], False)
    if (m := _MONTH.match(text)) and 1 <= int(m[2]) <= 12:
        return FoundDate(f"{m[1]}-{m[2]}", text[m.end() :], False)
    if m := _COMPACT.match(text):
        found = calendar_date(int(m[1]), int(m[2]), int(m[3]))
        return FoundDate(found, text[m.end() :], True) if found else None
    return None


def _worded(text: str) -> FoundDate | None:
    """ "14 March 2021", "March 14, 2021", "14.3.2021", "March 2021", in any language."""
    if m := _LAST.match(text):
        return _ordered(int(m[1]), m[2], int(m[3]), int(m[4]), text[m.end() :])
    if m := _SHORT_YEAR.match(text):
        year = int(m[7]) + (1900 if int(m[7]) > 68 else 2000)
        return _ordered(int(m[1] or m[4]), m[2] or m[5], int(m[3] or m[6]), year, text[m.end() :])
    if m := _VIETNAMESE.match(text):
        return FoundDate(calendar_date(int(m[3]), int(m[2]), int(m[1])), text[m.end() :], True)
    if m := _EAST.match(text):
        year, month, rest = int(m[1]), int(m[2]), text[m.end() :]
        if m[3]:
            return FoundDate(calendar_date(year, month, int(m[3])), rest, True)
        return FoundDate(f"{year}-{month:02d}" if month <= 12 else None, rest, False)
    if (m := _DAY_MONTH.match(text)) and (month := _month(m[2])):
        return FoundDate(calendar_date(int(m[3]), month, int(m[1])), text[m.end() :], True)
    if (m := _MONTH_DAY.match(text)) and (month := _month(m[1])):
        return FoundDate(calendar_date(int(m[3]), month, int(m[2])), text[m.end() :], True)
    if (m := _YEAR_MONTH_DAY.match(text)) and (month := _month(m[2])):
        return FoundDate(calendar_date(int(m[1]), month, int(m[3])), text[m.end() :], True)
    if (m := _NO_YEAR.match(text)) and (month := _month(m[2] or m[3])):
        return _with_the_ends_year(text[m.end() :], month, int(m[1] or m[4]))
    if (m := _MONTH_YEAR.match(text)) and (month := _month(m[1])):
        return FoundDate(f"{m[2]}-{month:02d}", text[m.end() :], False)
    return None


def _with_the_ends_year(rest: str, month: int, day: int) -> FoundDate | None:
    """ "14 March" before "- 2 April 2021"."""
    range_ = _RANGE.match(rest)
    end = _worded(rest[range_.end() :]) if range_ else None
    if end is None or not end.day or end.date is None:
        return None
    return FoundDate(calendar_date(int(end.date[:4]), month, day), end.rest, True)


def _ordered(first: int, mark: str, second: int, year: int, rest: str) -> FoundDate:
    """Figures that end in the year: 3/4/2021 is March in one country and April in another."""
    day_leads, month_leads = calendar_date(year, second, first), calendar_date(year, first, second)
    if mark == "." or first > 12 or first == second:
        return FoundDate(day_leads, rest, True, order="day" if first != second else "")
    if second > 12:
        return FoundDate(month_leads, rest, True, order="month")
    return FoundDate(day_leads, rest, True, month_leads)


def _plain(text: str) -> tuple[str, str]:
    """Without link brackets, emphasis and a weekday in front, which comes second; figures ASCII."""
    text = text.strip()[:_LONGEST].strip("*_:= \t")
    if not text.isascii():
        text = ascii_figures(unicodedata.normalize("NFC", text)).translate(_HYPHENS)
    if m := _OPENING.match(text):
        text = text[m.end() :]
    if m := _LINK.match(text):
        text = m[1].rsplit("/", 1)[-1].removesuffix(".md") + text[m.end() :]
    m = _WEEKDAY.match(text)
    if m and m.end() < len(text) and _is_weekday(m[1], text[m.end(1)] in ".,"):
        return text[m.end() :], m[1]
    return text, ""


def _after(rest: str, day: bool) -> tuple[str, str]:
    """What follows a date, without a range's end, a weekday, which comes second, and a time."""
    if m := _YEAR_WORD.match(rest):
        rest = rest[m.end() :]
    if (m := _RANGE.match(rest) or _ALSO.match(rest)) and (end := _plain(rest[m.end() :])[0]):
        until = leading_date(end) or _worded(end)
        if until is not None and until.day:
            rest = until.rest
        elif day and re.fullmatch(r"\d{1,2}", end):
            rest = ""
    weekday = ""
    if m := _WEEKDAY.fullmatch(rest.lstrip(" \t-–—_")):  # "2021-03-14-Sunday"
        rest = m[0]
    if (m := _WEEKDAY.match(rest)) and _is_weekday(m[1], m.end() == len(rest)):
        weekday, rest = m[1], rest[m.end() :]
    return "" if _TIME.match(rest) else rest.strip(" \t-–—:,."), weekday


def _on_weekday(found: FoundDate, weekday: str) -> FoundDate:
    """Of two dates the one that falls on the weekday beside it, where only one does."""
    if found.other is None or found.date is None or not weekday:
        return found
    days = weekdays_named(weekday)
    fits = [datetime.date.fromisoformat(d).weekday() in days for d in (found.date, found.other)]
    if fits[0] == fits[1]:
        return found
    date, order = (found.date, "day") if fits[0] else (found.other, "month")
    return FoundDate(date, found.rest, True, order=order)


def _in_the_ends_order(found: FoundDate, rest: str) -> FoundDate:
    """Of two dates the one that is written as the end of its range is, "3/4/2021 - 20/4/2021"."""
    m = _RANGE.match(rest)
    end = _worded(_plain(rest[m.end() :])[0]) if found.other is not None and m else None
    if end is None or not end.order:
        return found
    return FoundDate(found.date if end.order == "day" else found.other, found.rest, True)


def _read(text: str) -> tuple[FoundDate | None, bool]:
    """A date at the start with what follows it, and whether it may have a title beside it."""
    plain, before = _plain(text)
    found = leading_date(plain) or _worded(plain)
    if found is None:
        return None, False
    rest, behind = _after(found.rest, found.day)
    found = _in_the_ends_order(_on_weekday(found, before or behind), found.rest)
    figures = plain[:1].isdigit() and (_NUMERIC.match(plain) or _LAST.match(plain))
    titled = found.day and (bool(figures) or found.rest.lstrip()[:1] in tuple(":：-–—|"))
    return FoundDate(found.date, rest, found.day, found.other, found.order), titled


def parse_date(text: str) -> FoundDate | None:
    """A text that is a date and nothing else (a weekday and a time may stand by it)."""
    found, _ = _read(text)
    if found is None and (m := _YEAR.match(plain := _plain(text)[0])):
        rest, _ = _after(plain[m.end() :], False)
        found = FoundDate(m[0], rest, False)
    return found if found is not None and not found.rest and found.other is None else None


def property_date(text: str) -> FoundDate | None:
    """A property's date: seconds or milliseconds since 1970, in UTC, are one too."""
    if not _EPOCH.fullmatch(text.strip()):
        return parse_date(text)
    seconds = int(text.strip()[:10])
    day = datetime.datetime.fromtimestamp(seconds, datetime.UTC).date()
    return FoundDate(day.isoformat(), "", True)


def heading_date(text: str) -> FoundDate | None:
    """A heading that is a day or a month, alone or (a day in figures) followed by a title."""
    found = day_or_month(text)
    return found if found is not None and found.other is None else None


def day_or_month(text: str) -> FoundDate | None:
    """The same, one that can be read in two ways too."""
    found, titled = _read(text)
    return found if found is not None and (not found.rest or titled) else None


def named_date(stem: str) -> FoundDate | None:
    """The date that a file's name is or begins with: a day, or a month or a year by itself."""
    found, _ = _read(stem)
    if found is None:
        return None
    if found.other is not None:
        return FoundDate(found.other[:4], found.rest, True)  # of 3-4-2021 the year is certain
    plain = leading_date(stem)
    return found if found.day or not found.rest or plain is not None else None
