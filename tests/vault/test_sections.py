"""A file that keeps many days under date headings is many entries."""

from __future__ import annotations

import pickle

import pytest

from tests.vault.helpers import covered, entry_of, kinds, note_of

DIARY = """---
tags: journal
title: Summer
---
# Summer

#sea

A word before it all.

## 2021-07-01

Swam. #swimming

## Friday, 2 July 2021

Did not swim.

### Evening

Still did not.

## [[2021-07-03]]

Rain.
"""


def test_each_day_is_an_entry_with_its_date_tags_and_own_text() -> None:
    note = note_of(DIARY, "Summer 2021.md")
    covered(note)
    assert [e.date for e in note.entries] == [None, "2021-07-01", "2021-07-02", "2021-07-03"]
    assert [e.prose.strip() for e in note.entries] == [
        "A word before it all.",
        "Swam. #swimming",
        "Did not swim.\n\n### Evening\n\nStill did not.",
        "Rain.",
    ]
    assert note.entries[1].tags == ("journal", "sea", "swimming")
    assert note.entries[2].tags == ("journal", "sea")
    assert [e.heading for e in note.entries] == [
        None,
        "2021-07-01",
        "Friday, 2 July 2021",
        "[[2021-07-03]]",
    ]
    assert [e.title for e in note.entries] == ["Summer", None, None, None]


def test_without_words_before_the_first_day_there_is_no_entry_for_them() -> None:
    note = note_of("---\ntags: x\n---\n# Diary\n\n## 2021-07-01\nA\n## 2021-07-02\nB\n")
    covered(note)
    assert [(e.date, e.prose) for e in note.entries] == [
        ("2021-07-01", "A\n"),
        ("2021-07-02", "B\n"),
    ]


@pytest.mark.parametrize(
    "headings",
    [
        ("2021-07-01", "2021-07-02"),
        ("1 July 2021", "2 July 2021"),
        ("July 1, 2021", "July 2, 2021"),
        ("[[2021-07-01]]", "[[2021-07-02]]"),
        ("2021-07-01 Thu", "2021-07-02 Fri"),
        ("Thursday, 1 July 2021", "Friday, 2 July 2021"),
        ("1. Juli 2021", "2. Juli 2021"),
        ("2021-07-01: ferry", "2021-07-02 - gulls"),
        ("July 2021", "August 2021"),
    ],
)
def test_every_way_to_head_a_day(headings: tuple[str, str]) -> None:
    for mark in ("#", "##", "####"):
        note = note_of("".join(f"{mark} {h}\n\nText of it.\n\n" for h in headings))
        covered(note)
        assert len(note.entries) == 2 and note.entries[0].date is not None
        assert note.entries[1].prose == "Text of it.\n\n"


def test_year_and_month_headings_above_days_are_no_prose() -> None:
    text = "# 2021\n\n## July 2021\n\n### 2021-07-01\nA\n### 2021-07-02\nB\n"
    text += "## August 2021\n\n### 2021-08-01\nC\n"
    note = note_of(text)
    covered(note)
    assert [e.prose for e in note.entries] == ["A\n", "B\n", "C\n"]


def test_one_date_heading_is_the_date_of_the_note() -> None:
    entry = entry_of("# 2021-07-01\n\nA\n", "Walk.md")
    assert (entry.date, entry.heading, entry.prose) == ("2021-07-01", None, "A\n")


def test_headings_that_are_no_dates_or_of_other_levels_do_not_cut() -> None:
    assert len(note_of("## Morning\nA\n## Evening\nB\n").entries) == 1
    assert len(note_of("## 2021-07-01\nA\n### 2021-07-02\nB\n").entries) == 1
    assert len(note_of("```\n## 2021-07-01\n## 2021-07-02\n```\n").entries) == 1
    assert len(note_of("%%\n## 2021-07-01\n## 2021-07-02\n%%\n").entries) == 1


def test_a_day_that_does_not_exist_is_an_undated_entry_and_a_problem() -> None:
    note = note_of("## 2021-02-28\nA\n## 2021-02-30\nB\n")
    assert [e.date for e in note.entries] == ["2021-02-28", None] and note.problem


def test_the_same_day_twice_is_two_entries() -> None:
    note = note_of("## 2021-07-01\nA\n## 2021-07-01\nB\n")
    assert [(e.heading, e.start) for e in note.entries] == [("2021-07-01", 0), ("2021-07-01", 16)]


def test_the_first_heading_is_the_title_when_nothing_of_prose_stands_above() -> None:
    assert entry_of("# *The* [[a|ferry]]\n\nText\n", "x.md").title == "The ferry"
    assert kinds("# T\n\nText\n") == [("title", "# T\n\n")]
    assert entry_of("Text\n\n# Later\n\nMore\n", "Walk.md").title == "Walk"
    assert entry_of("#poetry\n\n# T\n\nText\n").title == "T"
    assert entry_of("---\ntitle: From property\n---\nText\n", "x.md").title == "From property"


def test_parts_of_a_day_are_no_title() -> None:
    entry = entry_of("# Morning\n\nA\n\n# Evening\n\nB\n", "2021-07-01.md")
    assert entry.title is None and entry.prose.startswith("# Morning")


def dates(headings: list[str], name: str = "x.md", head: str = "") -> list[str | None]:
    text = head + "".join(f"## {h}\n\nText of it.\n\n" for h in headings)
    note = note_of(text, name)
    covered(note)
    return [entry.date for entry in note.entries]


@pytest.mark.parametrize(
    ("headings", "expected"),
    [
        # the weekday decides
        (
            ["31-03-2021, Wednesday", "01-04-2021, Thursday", "02-04-2021, Friday"],
            ["2021-03-31", "2021-04-01", "2021-04-02"],
        ),
        (["Thursday 01/04/2021", "Saturday 03/04/2021"], ["2021-04-01", "2021-04-03"]),
        (["1/4/2021 (Monday)", "3/4/2021 (Thursday)"], ["2021-01-04", "2021-03-04"]),
        (["1/4/2021 lundi", "1/5/2021"], ["2021-01-04", "2021-01-05"]),
        (["01-04-2021, четверг", "02-04-2021"], ["2021-04-01", "2021-04-02"]),
        # a day past the twelfth decides for the file
        (["3/31/2021", "4/1/2021", "4/2/2021"], ["2021-03-31", "2021-04-01", "2021-04-02"]),
        (["31/3/2021", "1/4/2021", "2/4/2021"], ["2021-03-31", "2021-04-01", "2021-04-02"]),
        (["1/4/2021", "2/4/2021", "13/4/2021"], ["2021-04-01", "2021-04-02", "2021-04-13"]),
        # the neighbours decide
        (["3/4/2021", "3/5/2021", "3/6/2021"], ["2021-03-04", "2021-03-05", "2021-03-06"]),
        (["3/4/2021", "4/4/2021", "5/4/2021"], ["2021-04-03", "2021-04-04", "2021-04-05"]),
        (["5/3/2021", "4/3/2021"], ["2021-03-05", "2021-03-04"]),
        (["1.4.2021", "2.4.2021"], ["2021-04-01", "2021-04-02"]),
        (["2021-03-31", "1/4/2021", "2021-04-02"], ["2021-03-31", "2021-04-01", "2021-04-02"]),
        (["3/3/2021", "4/4/2021"], ["2021-03-03", "2021-04-04"]),
        # nothing decides: the year is certain
        (["3/4/2021", "4/3/2021"], ["2021", "2021"]),
    ],
)
def test_days_in_figures_are_read_in_the_files_own_order(
    headings: list[str], expected: list[str]
) -> None:
    assert dates(headings) == expected


@pytest.mark.parametrize(
    "headings",
    [
        ("31/03/21", "01/04/21", "02/04/21"),
        ("3/31/21", "4/1/21", "4/2/21"),
        ("31.03.21", "01.04.21", "02.04.21"),
        ("3/31/2021: the ferry", "4/1/2021: gulls", "4/2/2021: rain"),
        ("31 March 2021 - the ferry", "1 April 2021 - gulls", "2 April 2021 - rain"),
        (
            "2021\u5e743\u670831\u65e5(\u6c34)",
            "2021\u5e744\u67081\u65e5(\u6728)",
            "2021\u5e744\u67082\u65e5(\u91d1)",
        ),
        ("le 31 mars 2021", "le 1er avril 2021", "le 2 avril 2021"),
        (
            "31 \u043c\u0430\u0440\u0442\u0430 2021 \u0433.",
            "1 \u0430\u043f\u0440\u0435\u043b\u044f 2021 \u0433.",
            "2 \u0430\u043f\u0440\u0435\u043b\u044f 2021 \u0433.",
        ),
        ("2021. 3. 31.", "2021. 4. 1.", "2021. 4. 2."),
        ("31\u201303\u20132021", "01\u201304\u20132021", "02\u201304\u20132021"),
        ("31 / 03 / 2021", "01 / 04 / 2021", "02 / 04 / 2021"),
        ("\U0001f4c5 2021-03-31", "\U0001f4c5 2021-04-01", "\U0001f4c5 2021-04-02"),
        ("Day: 3/31/2021", "Day: 4/1/2021", "Day: 4/2/2021"),
        ("31-Mar-2021", "01-Apr-2021", "02-Apr-2021"),
    ],
)
def test_days_in_the_forms_of_many_countries(headings: tuple[str, ...]) -> None:
    assert dates(list(headings)) == ["2021-03-31", "2021-04-01", "2021-04-02"]


@pytest.mark.parametrize("form", ["{}\n", "**{}**\n\n", "{}\r\n\r\n"])
def test_days_alone_in_their_lines_head_entries_too(form: str) -> None:
    days = ("31-03-2021, Wednesday", "Thursday 01-04-2021", "02-04-2021")
    note = note_of("".join(form.format(day) + "I swam.\n\n" for day in days), "Swims.md")
    covered(note)
    assert [e.date for e in note.entries] == ["2021-03-31", "2021-04-01", "2021-04-02"]
    assert [e.prose.strip() for e in note.entries] == ["I swam."] * 3


def test_dates_at_the_end_of_letters_begin_nothing() -> None:
    text = "Dear Ann, it rained.\n\n14 March 2021\n\nDear Bo, it rained.\n\n20 March 2021\n"
    assert len(note_of(text).entries) == 1 and note_of(text).entries[0].prose == text


def test_one_date_in_a_line_is_prose() -> None:
    text = "14 March 2021\n\nDear Ann,\n\nit rained.\n"
    assert len(note_of(text).entries) == 1 and note_of(text).entries[0].prose == text


def test_another_date_of_the_file_decides_the_order() -> None:
    assert dates(["4/3/2021", "4/5/2021"], "2021-04.md") == ["2021-04-03", "2021-04-05"]
    assert dates(["4/3/2021", "4/5/2021"], "2021-03.md") == ["2021-03-04", "2021-05-04"]
    head = "---\ndate: 2021-03\n---\n"
    assert dates(["4/3/2021", "4/5/2021"], head=head) == ["2021-03-04", "2021-05-04"]


def test_a_journal_goes_through_a_pipe_once() -> None:
    days = "".join(
        f"## 2021-03-{day:02d}\n\nOn day {day} it rained.\n" * 20 for day in range(1, 31)
    )
    for text in (days, f"---\ntags: [sea]\n---\n{days}", f"Before it all.\n\n{days}", "One day."):
        note = note_of(text)
        sent = pickle.dumps(note, protocol=5)
        assert pickle.loads(sent) == note and note.text == text
        twice = {**vars(note), "text": note.text + " "}
        assert len(note.entries) == 1 or len(sent) < len(pickle.dumps(twice)) - 0.9 * len(text)
