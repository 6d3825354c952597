"""Dates from properties, daily-note formats and names; undated stays undated."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.vault.helpers import entry_of, note_of, write
from vaultgpt.config import Rules
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.dates import heading_date, parse_date
from vaultgpt.vault.scan import read_vault


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
        ("Sunday, 14 March 2021.md", None, None),
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
        ("DD.MM.YYYY", "Daily", "Other/14.03.2021.md", None),
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
