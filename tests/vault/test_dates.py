"""Dates from properties, daily-note formats and names; undated stays undated."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vault.helpers import entry_of, note_of, write
from vaultgpt.settings import Rules
from vaultgpt.vault.daily import DailyFormat, _PeriodicNote
from vaultgpt.vault.dates import heading_date, parse_date
from vaultgpt.vault.reconcile import read_vault


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("2021-03-14", "2021-03-14"),
        ("2021-3-4", "2021-03-04"),
        ("2021/03/14", "2021-03-14"),
        ("2021.03.14", "2021-03-14"),
        ("20210314", "2021-03-14"),
        ("2021-03", "2021-03"),
        ("2019", "2019"),
        ("2021-03-14T08:30:00+02:00", "2021-03-14"),
        ("2021-03-14 08:30", "2021-03-14"),
        ("2021-03-14, 8:30 PM", "2021-03-14"),
        ("14 March 2021", "2021-03-14"),
        ("14th of March, 2021", "2021-03-14"),
        ("March 14, 2021", "2021-03-14"),
        ("Mar 14th 2021", "2021-03-14"),
        ("Sunday, 14 March 2021", "2021-03-14"),
        ("2021-03-14 Sunday", "2021-03-14"),
        ("[[2021-03-14]]", "2021-03-14"),
        ("[[Daily/2021-03-14|that day]]", "2021-03-14"),
        ("14. März 2021", "2021-03-14"),
        ("14 mars 2021", "2021-03-14"),
        ("14 de marzo de 2021", "2021-03-14"),
        ("14.3.2021", "2021-03-14"),
        ("14/03/2021", "2021-03-14"),
        ("03/14/2021", "2021-03-14"),
        ("March 2021", "2021-03"),
        ("1000-01-01", "1000-01-01"),
        ("2999-12-31", "2999-12-31"),
        ("2021-W10", "2021-03"),
    ],
)
def test_dates_as_people_write_them(written: str, date: str) -> None:
    found = parse_date(written)
    assert found is not None and found.date == date


@pytest.mark.parametrize(
    "written",
    [
        "",
        "soon",
        "3/4/2021",
        "0999-01-01",
        "3021-01-01",
        "12345",
        "2021-03-14 and after",
        "1615731000000",
        "may",
        "14 Foo 2021",
    ],
)
def test_what_is_no_date(written: str) -> None:
    assert parse_date(written) is None


@pytest.mark.parametrize("written", ["2021-02-30", "30 February 2021", "2021-13-01", "31.4.2021"])
def test_a_day_that_does_not_exist_leaves_the_note_undated_with_a_problem(written: str) -> None:
    note = note_of(f"---\ndate: {written}\n---\nText\n")
    assert note.entries[0].date is None
    assert note.problem == "its `date` is a day that does not exist"


def test_an_impossible_name_is_a_problem_too() -> None:
    note = note_of("Text\n", "2021-02-30.md")
    assert note.entries[0].date is None and note.entries[0].title is None
    assert note.problem == "its name is a day that does not exist"


def test_a_files_times_are_never_its_date(tmp_path: Path) -> None:
    os.utime(write(tmp_path, "Walk.md"), (1_000_000_000, 1_000_000_000))
    (scanned,) = read_vault(tmp_path, Rules()).read
    assert scanned.note.entries[0].date is None


def test_the_property_beats_the_name_and_the_name_beats_created() -> None:
    text = "---\n{}: 2020-01-02\n---\nText\n"
    assert entry_of(text.format("date"), "2021-03-14.md").date == "2020-01-02"
    assert entry_of(text.format("day"), "Walk.md").date == "2020-01-02"
    assert entry_of(text.format("created"), "2021-03-14.md").date == "2021-03-14"
    assert entry_of(text.format("created"), "Walk.md").date == "2020-01-02"
    assert entry_of(text.format("creation date"), "Walk.md").date == "2020-01-02"


@pytest.mark.parametrize(
    ("name", "date", "title"),
    [
        ("2021-03-14.md", "2021-03-14", None),
        ("1850-07-16 (6).md", "1850-07-16", None),
        ("1878-01-01 A Dream of Disembodiment.md", "1878-01-01", "A Dream of Disembodiment"),
        ("2021-03-14 - Gulls.md", "2021-03-14", "Gulls"),
        ("2021-03.md", "2021-03", None),
        ("20210314 Gulls.md", "2021-03-14", "Gulls"),
        ("202103141230.md", "2021-03-14", None),
        ("Untitled.md", None, None),
        ("Untitled 3.md", None, None),
        ("1984.md", None, None),
        ("2023 Japan Trip.md", None, "2023 Japan Trip"),
        ("Sonnet 18.md", None, "Sonnet 18"),
        ("Poetry/poetry 433.md", None, None),
        ("my_file_name.md", None, "my_file_name"),
        ("Sunday, 14 March 2021.md", "2021-03-14", None),
        ("March 14th, 2021.md", "2021-03-14", None),
        ("14.03.2021.md", "2021-03-14", None),
        ("14. März 2021.md", "2021-03-14", None),
        ("14 марта 2021.md", "2021-03-14", None),
        ("2021年3月14日.md", "2021-03-14", None),
        ("2021年3月14日 散歩.md", "2021-03-14", "散歩"),
        ("2021년 3월 14일.md", "2021-03-14", None),
        ("14 March 2021 - Gulls.md", "2021-03-14", "Gulls"),
        ("2021-03-14 - 2021-03-16.md", "2021-03-14", None),
        ("2021-03-14 to 2021-03-16 Rome.md", "2021-03-14", "Rome"),
        ("14-16 March 2021.md", "2021-03-14", None),
        ("March 14-16, 2021.md", "2021-03-14", None),
        ("14.-16.03.2021.md", "2021-03-14", None),
        ("3-4-2021.md", "2021", None),
        ("Mon.md", None, None),
        ("Sonntag.md", None, None),
        ("W24.md", None, None),
        ("2021-W24.md", "2021-06", None),
        ("2021-Q2.md", "2021", None),
        ("March 2021 was cold.md", None, "March 2021 was cold"),
        ("2021-03-14 We went.md", "2021-03-14", "We went"),
        ("2021-03-14-Sunday.md", "2021-03-14", None),
        ("2021-03-14_Sun.md", "2021-03-14", None),
        ("March 14, 2021 - domingo.md", "2021-03-14", None),
        ("Sun-2021-03-14.md", "2021-03-14", None),
        ("2021-03-14 - Sunday lunch.md", "2021-03-14", "Sunday lunch"),
        ("2021-03-14 W10.md", "2021-03-14", None),
        ("Q2 2021.md", None, None),
        ("Week 24, 2021.md", None, None),
        ("Week 24 at sea.md", None, "Week 24 at sea"),
        ("14_03_2021.md", "2021-03-14", None),
        ("14.03.21.md", "2021-03-14", None),
        ("2021 03 14.md", "2021-03-14", None),
        ("2021-Mar-14.md", "2021-03-14", None),
        ("14Mar2021.md", "2021-03-14", None),
        ("2021. m\u00e1rcius 14..md", "2021-03-14", None),
        ("14. maaliskuuta 2021.md", "2021-03-14", None),
        ("14 \u05d1\u05de\u05e8\u05e5 2021.md", "2021-03-14", None),
        ("ng\u00e0y 14 th\u00e1ng 3 2021.md", "2021-03-14", None),
        ("14 March \u2013 2 April 2021.md", "2021-03-14", None),
        ("March 14 - April 2, 2021 Rome.md", "2021-03-14", "Rome"),
        ("Semaine 24.md", None, None),
        ("\u7b2c24\u5468.md", None, None),
        ("2021-03-14 So it rained.md", "2021-03-14", "So it rained"),
    ],
)
def test_dates_and_titles_of_file_names(name: str, date: str | None, title: str | None) -> None:
    entry = entry_of("Some text\n", name)
    assert (entry.date, entry.title) == (date, title)


@pytest.mark.parametrize(
    ("moment", "folder", "path", "date"),
    [
        ("YYYY-MM-DD", "Daily", "Daily/2021-03-14.md", "2021-03-14"),
        ("DD.MM.YYYY", "", "14.03.2021.md", "2021-03-14"),
        ("YYYY/MM-MMMM/YYYY-MM-DD-dddd", "J", "J/2021/03-March/2021-03-14-Sunday.md", "2021-03-14"),
        ("dddd, MMMM Do YYYY", "", "Sunday, March 14th 2021.md", "2021-03-14"),
        ("[Day of] D MMM YY", "", "Day of 4 Mar 21.md", "2021-03-04"),
        ("YYYY-DDDD", "", "2021-073.md", "2021-03-14"),
        ("", "", "2021-03-14.md", "2021-03-14"),
        ("DD-MM", "", "14-03.md", None),
        ("DD.MM.YYYY", "", "30.02.2021.md", None),
        ("DD.MM.YYYY", "Daily", "Other/14.03.2021.md", "2021-03-14"),
        ("DD.MM.YYYY", "Daily", "Other/14.03.md", None),
        ("GGGG-[W]WW-E", "", "2021-W10-7.md", "2021-03-14"),
        ("YYYY/MM/DD/ddd", "J", "J/2021/03/14/Sun.md", "2021-03-14"),
        ("D MMMM YYYY", "", "14 марта 2021.md", "2021-03-14"),
        ("D MMMM YYYY", "", "١٤ مارس ٢٠٢١.md", "2021-03-14"),
        ("DD.MM.yyyy", "", "14.03.2021.md", "2021-03-14"),
        ("[\\d]D MMM YYYY", "", "\\d14 Mar 2021.md", "2021-03-14"),
    ],
)
def test_daily_note_formats(
    tmp_path: Path, moment: str, folder: str, path: str, date: str | None
) -> None:
    settings = json.dumps({"format": moment, "folder": folder})
    write(tmp_path, ".obsidian/daily-notes.json", settings)
    assert DailyFormat.load(tmp_path).date_of(path) == date


def test_periodic_notes_give_weeks_months_quarters_and_years(tmp_path: Path) -> None:
    kinds = {
        "daily": {"enabled": True, "format": "D MMMM YYYY", "folder": ""},
        "weekly": {"enabled": True, "format": "gggg-[W]ww", "folder": "W"},
        "monthly": {"enabled": True, "format": "MMMM YYYY", "folder": "M"},
        "quarterly": {"enabled": True, "format": "", "folder": "Q"},
        "yearly": {"enabled": True, "format": "", "folder": "Y"},
    }
    write(tmp_path, ".obsidian/plugins/periodic-notes/data.json", json.dumps(kinds))
    daily = DailyFormat.load(tmp_path)
    assert daily.date_of("14 March 2021.md") == "2021-03-14"
    assert daily.date_of("W/2021-W10.md") == "2021-03"
    assert daily.date_of("M/März 2021.md") == "2021-03"
    assert daily.date_of("Q/2021-Q2.md") == "2021"
    assert daily.date_of("Y/2021.md") == "2021"
    assert daily.date_of("2021.md") is None


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", '{"format": 3, "folder": []}', "\0"])
def test_damaged_settings_mean_the_defaults(tmp_path: Path, damaged: str) -> None:
    write(tmp_path, ".obsidian/daily-notes.json", damaged)
    write(tmp_path, ".obsidian/plugins/periodic-notes/data.json", damaged)
    assert DailyFormat.load(tmp_path).date_of("2021-03-14.md") == "2021-03-14"


def test_headings_may_carry_a_title_after_a_day_in_figures() -> None:
    found = heading_date("2021-03-14: the ferry")
    assert found is not None and (found.date, found.rest) == ("2021-03-14", "the ferry")
    assert heading_date("March 2021 was cold") is None
    assert heading_date("2019") is None


@pytest.mark.parametrize(
    ("line", "date"),
    [
        ("created_at: 2020-01-02", "2020-01-02"),
        ("createdAt: 2020-01-02T10:00:00Z", "2020-01-02"),
        ("created: 1577923200000", "2020-01-02"),
        ("date: 1577923200", "2020-01-02"),
        ("date: 2 January 2020", "2020-01-02"),
        ("date: '2020-01-02 - 2020-01-05'", "2020-01-02"),
        ("date: 2020-01-02/2020-01-05", "2020-01-02"),
        ("date: 2020-01-02 to 2020-01-05", "2020-01-02"),
        ("date: Thursday, January 2nd 2020, 8:30:00 am", "2020-01-02"),
        ('date: "[[2020-01-02]]"', "2020-01-02"),
        ("date: [[2020-01-02]]", "2020-01-02"),
        ("date: 2 января 2020", "2020-01-02"),
        (
            "created: Thu Jan 02 2020 10:00:00 GMT+0100 (Central European Standard Time)",
            "2020-01-02",
        ),
        ("date: 3/4/2020 - 20/4/2020", "2020-04-03"),
        ("date: 2020-01-02, 2020-01-03", "2020-01-02"),
        ("date: January 2, 2020 at 10:30 AM", "2020-01-02"),
        ("created: 1577923200.5", "2020-01-02"),
        ("createdTime: 2020-01-02", "2020-01-02"),
        ("fecha: 2 de enero de 2020", "2020-01-02"),
        ("date: 3/4/2020", None),
        ("date: 12345", None),
    ],
)
def test_dates_of_properties(line: str, date: str | None) -> None:
    assert entry_of(f"---\n{line}\n---\nText\n").date == date


@pytest.mark.parametrize("title", ["Mon", "W24", "2021-Q2", "Sonntag", "Week 24"])
def test_a_title_that_is_only_the_format_is_none(title: str) -> None:
    assert entry_of(f"---\ntitle: {title}\n---\nText\n", "Untitled.md").title is None
    entry = entry_of(f"# {title}\n\nText\n", "The ferry.md")
    assert entry.title == "The ferry" and entry.prose == "Text\n"


def _moment_names() -> dict[str, dict[str, dict[str, str]]]:
    place = Path(__file__).parent / "moment_names.json"
    names: dict[str, dict[str, dict[str, str]]] = json.loads(place.read_text(encoding="utf-8"))
    return names


@pytest.mark.parametrize("form", sorted(_moment_names()))
def test_names_as_moment_makes_them_in_every_locale(form: str) -> None:
    """What moment's own format() gave for two days in 138 locales (scripts/moment_locales.mjs)."""
    kind = DailyFormat((_kind(form),))
    wrong, unknown = [], []
    for locale, days in _moment_names()[form].items():
        for day, name in days.items():
            told = replace(kind, locales=(locale,)).date_of(f"{name}.md")
            if told != day:
                wrong.append((locale, name, told))
            alone = None if "L" in form else kind.date_of(f"{name}.md")
            if alone not in (day, None):
                unknown.append((locale, name, alone))
    assert not wrong, wrong
    assert not unknown, unknown


def _kind(form: str) -> _PeriodicNote:
    return _PeriodicNote("", form, "")


def test_the_locale_is_told_by_the_names_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path, ".obsidian/daily-notes.json", '{"format": "L", "folder": "D"}')
    for day in (13, 14, 15):
        write(tmp_path, f"D/{day}/03/2021.md")
    assert DailyFormat.load(tmp_path).date_of("D/03/04/2021.md") == "2021-04-03"
    write(tmp_path, ".obsidian/daily-notes.json", '{"format": "D MMMM YYYY", "folder": "P"}')
    assert DailyFormat.load(tmp_path).date_of("P/3 listopad 2021.md") is None
    for month in ("grudnia", "stycznia"):
        write(tmp_path, f"P/1 {month} 2021.md")
    assert DailyFormat.load(tmp_path).date_of("P/3 listopada 2021.md") == "2021-11-03"


def test_a_calendar_set_and_the_calendars_locale(tmp_path: Path) -> None:
    sets = {"calendarSets": [{"id": "D", "day": {"enabled": True, "format": "LL", "folder": "D"}}]}
    write(tmp_path, ".obsidian/plugins/periodic-notes/data.json", json.dumps(sets))
    write(tmp_path, ".obsidian/plugins/calendar/data.json", '{"localeOverride": "de"}')
    daily = DailyFormat.load(tmp_path)
    assert daily.date_of("D/14. März 2021.md") == "2021-03-14" and daily.locales == ("de",)
    assert note_of("Text\n", "D/14. März 2021.md").entries[0].title is None
