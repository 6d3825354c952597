"""A note at the cursor: its voice, the prompt cut from it, or why nothing is written there."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.vault.helpers import note_of
from vaultgpt.settings import Rules
from vaultgpt.vault.at_cursor import (
    _MOST_BEFORE,
    AtCursor,
    EditorNote,
    _read_at_cursor,
    from_utf16,
    read_editor,
)
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.note import read_text
from vaultgpt.vault.rules import RuleSet

TABLE = json.loads((Path(__file__).parent / "dates.json").read_text("utf-8"))
PATH = "Notes/Some thoughts.md"


def read(marked: str, path: str | None = PATH, **rules: object) -> AtCursor:
    """`¦` marks the cursor; without one it is at the end."""
    at = marked.index("¦") if "¦" in marked else len(marked)
    note = EditorNote(path, marked.replace("¦", ""), at)
    return read_editor(Path("/nowhere"), Rules(**rules), note)  # type: ignore[arg-type]


def refused(marked: str, **rules: Any) -> str:
    found = read(marked, **rules)
    assert (
        not found.judgement.used
        and found.judgement.code
        and (found.text, found.suffix)
        == (
            "",
            "",
        )
    )
    return found.judgement.why


# What the plugin's own reader and training once disagreed on


def test_a_tag_in_a_heading_is_one_for_writing_and_for_learning_alike() -> None:
    text = "# A walk #dream\n\nI went"
    assert read(text).tags == note_of(text).tags == ("dream",)
    assert read(text).title == "A walk"


@pytest.mark.parametrize(
    "above", ["![[baths.png]]\n", "<!-- draft -->\n", "%% draft %%\n", "#sea\n", "<br>\n"]
)
def test_what_is_no_prose_above_the_first_heading_does_not_change_the_title(above: str) -> None:
    found = read(f"{above}\n# The baths\n\nIt stood")
    assert found.title == "The baths" and found.text.endswith("It stood")
    assert "The baths" not in found.text


def test_dataview_comments_and_block_ids_never_reach_the_prompt() -> None:
    found = read(
        "mood:: calm\nOne [weather:: rain] two. ^id-1\n\n```dataview\nLIST\n```\n<!-- hidden\nmore "
        "-->Three %%inner%% four `= this.file.name`.\n\nAnd"
    )
    assert found.text == "One  two. \n\nThree  four .\n\nAnd"


@pytest.mark.parametrize(
    "line", ["created: {{date}}x", "links: [[a]], [[b]]", "who: @x", "half: [open", "a: b: c"]
)
def test_front_matter_that_is_not_yaml_is_never_sent_as_prose(line: str) -> None:
    body = (
        "Body, and twenty words more, so that it is no template but what I thought that day. " * 2
    )
    found = read(f"---\nmine: secret-word\n{line}\n---\n{body}")
    assert found.judgement.used and found.text.startswith("Body")
    long = found.text
    assert "properties" in refused(f"---\nmine: x\n{line}¦\n---\n{long}")


def test_the_mark_of_utf_8_that_an_editor_keeps_hides_no_front_matter() -> None:
    text = "\ufeff---\ntags: [dream]\ndate: 2019-03-04\n---\nI fell."
    found = read(text)
    assert (found.tags, found.date, found.text) == (("dream",), "2019-03", "I fell.")


def test_an_unsaved_refusal_is_obeyed_also_in_front_matter_that_is_not_yaml() -> None:
    for block in ("vaultgpt: false", "vaultgpt: no\nhalf: [open", "tags: [private", "tag: private"):
        assert refused(f"---\n{block}\n---\nMine.")
    assert "vaultgpt: false" in refused("---\nvaultgpt: false\n---\nMine.")


def test_front_matter_that_is_being_typed_is_neither_prose_nor_written_in() -> None:
    assert "properties" in refused("---\ntags: dream\nmood: ca¦")
    assert "properties" in refused("---\ntags: dream\n¦")
    found = read("---\ntags: dream\nlist:\n  - a\n\nLast night¦")
    assert (found.text, found.judgement.used) == ("Last night", True)


# Tags


def test_tags_come_from_front_matter_and_text_just_typed_or_not() -> None:
    text = "---\ntags: [Dream, a/b]\ntag: '#x, y'\n---\nI #flew over #1 `#code`\n#sea"
    assert read(text).tags == ("dream", "a/b", "x", "y", "flew", "sea")
    assert read("tags #z").tags == ("z",)


def test_tags_are_not_read_from_code_blocks_links_and_words() -> None:
    assert read("```\n#no\n```\n# Heading\n[a](b#c) word#no #yes").tags == ("yes",)


# Front matter


def test_front_matter_is_not_sent_and_a_rule_at_the_top_is_none() -> None:
    assert read("---\ntags: a\n---\nBody").text == "Body"
    assert "A diary" in read("---\n\nA diary that opens with a rule.\n\n---\n\nMore").text


@pytest.mark.parametrize(
    "text",
    ["---", "---\n", "---\n---", "---\n{\n---\nx", "---\ntags: {a: 1}\nvaultgpt: [1]\ndate: 2021-13"
     "-45\n---\n", f"---\n{'[' * 5000}\n---\n", "", "\n", "#", "> ", "- ", "|", "```", "%%", "$$"],
)  # fmt: skip
def test_no_text_makes_it_fail_wherever_the_cursor_is(text: str) -> None:
    for at in range(min(len(text), 40) + 2):
        read_editor(Path("/nowhere"), Rules(), EditorNote("x.md", text, at))


def test_front_matter_overrides_the_note_s_voice() -> None:
    own = read(
        "---\ntags: [a]\ndate: 2020-05-01\nvaultgpt: {tags: [dream], date: 2014, length: page, "
        "temperature: 0.5}\n---\nx"
    )
    assert (own.tags, own.date, own.length, own.temperature) == (("dream",), "2014", "page", 0.5)
    odd = read("---\nvaultgpt: {length: novel, temperature: 99}\n---\nx")
    assert (odd.length, odd.temperature, odd.judgement.used) == (None, None, True)
    assert "#private" in refused("---\nvaultgpt: {tags: [private]}\n---\nx")


def test_the_cursor_in_front_matter_is_refused_with_the_reason() -> None:
    assert "properties" in refused("---\ntags: a¦\n---\nBody")
    assert "properties" in refused("---\ntags: a\n---¦")
    for text in ("---\ntags: a\n---\n¦Body", "¦Body", "---", "---\ntags: a\n---\n\n¦\nBody"):
        assert read(text).judgement.used


# The date


@pytest.mark.parametrize(
    ("text", "path", "date"),
    [
        ("---\ndate: 2019-03-14\n---\n", "x.md", "2019-03"),
        ("---\ndate: 2014\n---\n", "2021-03-14.md", "2014"),
        ("", "2021-03-14.md", "2021-03"),
        ("---\ncreated: 2018-01-02T10:00\n---\n", "x.md", "2018-01"),
        ("---\ncreated: 2018-01-02T10:00\n---\n", "2021-03-14.md", "2021-03"),
        ("# 14 March 2021\n\nx", "x.md", "2021-03"),
        ("# 14 March 2021\n\nx", "2020-01.md", "2020-01"),
        ("## 2022-07-01\n\nx\n\n## 2022-08-02\n\ny", "2020-01.md", "2022-08"),
        ("", "x.md", None),
    ],
)
def test_the_date_is_the_property_the_path_s_or_the_heading_s(
    text: str, path: str, date: str | None
) -> None:
    assert read(text, path).date == date


def test_a_daily_note_in_the_vault_s_own_format_has_its_date(tmp_path: Path) -> None:
    settings = tmp_path / ".obsidian" / "plugins" / "periodic-notes"
    settings.mkdir(parents=True)
    (settings / "data.json").write_text(
        '{"monthly": {"enabled": true, "folder": "Months", "format": "[Log of] MMMM YYYY"}}'
    )
    note = EditorNote("Months/Log of March 2019.md", "It rained.", 10)
    assert read_editor(tmp_path, Rules(), note).date == "2019-03"


@pytest.mark.parametrize(("written", "date"), TABLE["values"].items())
def test_a_property_is_dated_as_the_table_says(written: str, date: str | None) -> None:
    assert read(f"---\ndate: {json.dumps(written)}\n---\nx").date == date


@pytest.mark.parametrize(("written", "expected"), TABLE["headings"].items())
def test_a_day_of_many_is_dated_and_titled_as_the_table_says(
    written: str, expected: list[str] | None
) -> None:
    found = read(f"## {written}\n\nx\n\n## {written}\n\ny")
    name = "Some thoughts"
    assert (found.date, found.title or "") == tuple(expected or [None, name])


@pytest.mark.parametrize(("path", "title"), TABLE["names"].items())
def test_a_name_is_titled_as_the_table_says(path: str, title: str | None) -> None:
    assert read("x", path).title == title


# The title


def test_the_title_is_the_first_heading_or_the_name_and_is_not_sent_as_prose() -> None:
    house = read("# My father's house\n\nIt stood")
    assert (house.title, house.text) == ("My father's house", "It stood")
    assert read("#a #b\n# A *house*\n\nIt stood").text == "It stood"
    named = read("It stood")
    assert (named.title, named.text) == ("Some thoughts", "It stood")
    late = read("Prose.\n\n# Later\n\nMore")
    assert (late.title, late.text) == ("Some thoughts", "Prose.\n\n# Later\n\nMore")


def test_the_title_is_no_date_and_not_untitled() -> None:
    assert read("x", "2021-03-14.md").title is None
    assert read("# 14 March 2021\n\nx", "Untitled 3.md").title is None
    assert read("---\ntitle: 2021-03-14\n---\nx", "2021-06-19 Lanes.md").title == "Lanes"
    assert read("# The _old_ [baths](Baths.md) of [[Town]]\n\nx").title == "The old baths of Town"


def test_the_title_of_a_daily_note_is_none_of_its_parts() -> None:
    parts = "# Morning\n\nRain.\n\n# Evening\n\nMore"
    daily = read(parts, "2021-03-14.md")
    assert (daily.title, daily.text) == (None, parts)
    assert read(parts, "Weather.md").title == "Morning"


# The prompt


def test_the_prompt_ends_exactly_at_the_cursor_and_the_suffix_begins_there() -> None:
    found = read("One two ¦three")
    assert (found.text, found.suffix) == ("One two ", "three")


def test_in_a_file_of_many_days_it_is_the_day_that_is_being_written() -> None:
    found = read(
        "---\ntags: log\n---\n## 2022-07-01\n\nFirst #sun\n\n## 2022-08-02 Rain\n\nSecond¦ #rain\n"
        "\n## 2022-08-03\n\nThird #late"
    )
    assert (found.text, found.date, found.title) == ("Second", "2022-08", "Rain")
    assert found.tags == ("log", "rain") and found.suffix == " #rain\n\n"


def test_it_has_no_comments_and_no_lines_of_tags() -> None:
    text = "#a #b\nOne %%hidden%%two\ntags: #c\nThree"
    assert read(text).text == "One two\nThree"


LONG = "\n\n".join(f"Paragraph {n} has some words in it, and then some more." for n in range(400))


def test_a_long_note_is_cut_at_a_paragraph_and_the_cut_rests_while_one_types_on() -> None:
    now = read(LONG).text
    assert _MOST_BEFORE // 2 < len(now) <= _MOST_BEFORE
    assert now.startswith("Paragraph") and LONG.endswith(now)
    starts = {read(LONG + " word" * n).text[:40] for n in range(0, 4000, 40)}
    assert len(starts) <= 1 + -(-4000 * 5 // 4000), "the cut moved more than once in 4,000"
    assert read(f"{LONG} And on.").text == f"{now} And on."


def test_the_document_of_an_entry_is_what_training_reads_up_to_the_cursor() -> None:
    text = (
        "---\ntags: a\n---\n# T\n\nOne %%x%% two.\n\n> said\n\n```py\ncode\n```\n\n- a\n- b\n\nEnd."
    )
    (entry,) = note_of(text + "\n").entries
    assert read(text).text == entry.document()[0].strip()


# Rules


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("---\nsource: http://example.org\n---\nTheir words.", "clipping"),
        ("# {{title}}\n\n{{date}}", "template"),
        ("My #private/thing", "tag"),
        ("---\ntags: [vaultgpt/off]\n---\nx", "tag"),
    ],
)
def test_what_is_not_learned_is_not_continued(text: str, code: str) -> None:
    assert read(text).judgement.code == code and read(text).text == ""


def test_the_path_s_rules_hold_and_a_short_or_empty_note_is_written_in() -> None:
    assert read("x", "Work/a.md", exclude=("Work/",)).judgement.code == "folder"
    assert read("x", None, exclude=("Work/",)).judgement.used, "a canvas's card is no note"
    assert read("", "New.md").judgement.used and read("I", "New.md", min_words=100).judgement.used


# The cursor and time


def test_offsets_of_javascript_are_turned_into_characters_and_a_pair_is_never_cut() -> None:
    text = "a😀b😀é"
    for at in range(len(text) + 1):
        units = len(text[:at].encode("utf-16-le")) // 2
        assert from_utf16(text, units) == at
    assert from_utf16(text, 2) == 1, "between the halves of a pair: before it"
    assert from_utf16(text, 99) == len(text) and from_utf16("abc", 99) == 3
    assert from_utf16("\ud83d x", 2) == 2, "a lone half is a character of its own"


_READ_MS = 10.0  # of a processor, at most
_PACE_MS = 6.6  # of this, on the machine that the bound was set on


def pace(text: str) -> float:
    """Seconds that a fixed piece of like work takes: matching and slicing in Python."""
    began = time.process_time()
    for match in re.finditer(r"[^\W\d_]+|\S", text):
        _ = text[match.start() : match.end()].lower()
    return time.process_time() - began


def test_a_note_of_100_kb_is_read_in_10_ms(vault: Path) -> None:
    """1. It is read. 2. Each time a fixed piece of like work is timed beside it.

    Result: by a processor's own time it takes 10 ms, and on a slower or busier machine that much
    more than the like work does.
    """
    pages = "\n\n".join(path.read_text("utf-8") for path in sorted(vault.rglob("*.md")))
    text = (pages * (100_000 // len(pages) + 1))[:100_000]
    rules, daily = RuleSet.load(vault, Rules()), DailyFormat.load(vault)
    note = EditorNote("Long.md", text, 60_000)
    reading, slower = [], []
    for _ in range(25):
        slower.append(max(1.0, pace(text) * 1_000 / _PACE_MS))
        began = time.thread_time()
        assert _read_at_cursor(note, rules, daily).text  # the reader is a process of its own
        here = time.thread_time() - began
        began = time.process_time()
        read_text("Long.md", text, daily)
        reading.append((here + time.process_time() - began) * 1_000)
    assert min(r / s for r, s in zip(reading, slower, strict=True)) < _READ_MS


def test_across_the_gap_of_a_very_long_note_no_day_and_no_prose_is_taken() -> None:
    head = "---\ntags: log\n---\n# Years\n\n## 2022-07-01\n\nFirst.\n\n"
    found = _read_at_cursor(
        EditorNote(PATH, f"{head}Somewhen, later", len(head) + 9, len(head)),
        RuleSet.load(Path("/nowhere"), Rules()),
        DailyFormat(),
    )
    assert (found.text, found.tags, found.title) == ("Somewhen,", ("log",), "Years")
    days = f"{head}Somewhen\n\n## 2022-08-02\n\nLater¦"
    note = EditorNote(PATH, days.replace("¦", ""), days.index("Some") + 8, len(head))
    lost = _read_at_cursor(note, RuleSet.load(Path("/nowhere"), Rules()), DailyFormat())
    assert (lost.text, lost.date, lost.title) == ("Somewhen", None, None)
