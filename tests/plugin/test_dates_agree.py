"""The plugin and the daemon read dates and names alike: both suites take this one table.

The plugin reads what is typed and not yet saved; tests/unit/voice.test.ts is its half.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vaultgpt.vault.dates import heading_date, parse_date
from vaultgpt.vault.titles import title_of_name

TABLE = json.loads((Path(__file__).parent / "dates.json").read_text("utf-8"))


@pytest.mark.parametrize(("written", "date"), TABLE["values"].items())
def test_a_property_is_dated_as_the_table_says(written: str, date: str | None) -> None:
    found = parse_date(written)
    assert (found.date[:7] if found and found.date else None) == date


@pytest.mark.parametrize(("written", "expected"), TABLE["headings"].items())
def test_a_heading_is_dated_as_the_table_says(written: str, expected: list[str] | None) -> None:
    found = heading_date(written)
    assert (found and [found.date and found.date[:7], found.rest]) == expected


@pytest.mark.parametrize(("path", "title"), TABLE["names"].items())
def test_a_name_is_titled_as_the_table_says(path: str, title: str | None) -> None:
    assert title_of_name(path, ()) == title
