"""Which entries are in lines, and what their lines say of the next one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vaultgpt.corpus.lines import _BIN, Lines, _measure, by_tag, of_generation, save, usual

POEM = "One green light.\nOne hum.\nRain on the yard,\nthe usual amount.\n\nSomebody is up.\n"
HARD = "Monday she said she would be  \nas long as it took.\n\nShe has put up  \none shelf\n"
WRAPPED = "\n".join(["I walked as far as the lock today and the water was so low that I saw"] * 6)
PROSE = "A short day.\n\nRain.\n\nMore rain, and then the bus.\n\nNothing else.\n\nBed."


@pytest.mark.parametrize(
    ("text", "in_lines"),
    [(POEM, 1), (HARD, 1), (WRAPPED, 0), (PROSE, 0), ("", 0), ("One.\nTwo.", 0), ("- a\n" * 6, 1)],
)
def test_verse_is_told_from_prose_wrapped_prose_and_short_paragraphs(
    text: str, in_lines: int
) -> None:
    assert _measure(text).in_lines == in_lines
    assert _measure(text).entries == 1


def test_the_lines_of_a_poem_are_counted_by_length_and_break() -> None:
    found = _measure(POEM)
    assert (sum(found.lengths), found.breaks, found.blanks) == (5, 4, 1)
    assert found.longest == 18  # "Rain on the yard," has 17 characters
    chances = [found.ends(column) for column in range(0, 18, _BIN)]
    assert chances == sorted(chances) and chances[0] < 0.1 < 0.5 < chances[-1]


def test_a_tag_is_in_lines_when_most_of_its_entries_are() -> None:
    known = by_tag([(("poetry", "rain"), POEM)] * 3 + [(("rain",), PROSE)] * 3 + [((), POEM)])
    assert usual(["rain", "#Poetry/sonnet"], known) == known["poetry"]
    assert usual(["rain", "unknown"], known) is None and usual([], known) is None
    assert usual(["poetry"], by_tag([(("poetry",), POEM)] * 2)) is None  # too few to say
    assert by_tag([(("rain",), PROSE)] * 2, known)["rain"].entries == 8


def test_they_travel_in_a_generations_folder_and_nothing_else_breaks(tmp_path: Path) -> None:
    known = by_tag([(("poetry",), POEM), (("journal",), PROSE)])
    save(tmp_path, known)
    assert of_generation(tmp_path) == known
    text = (tmp_path / "lines.json").read_text()
    lines = json.loads(text)
    counts = {"words": 13, "figures": 0, "strays": 0, "circles": 0, "marks": 0, "questions": 0}
    habits = {**counts, "scripts": ["LATIN"]}
    assert lines["journal"] == {"entries": 1, "habits": habits}
    strange = '{"a": {"habits": {"scripts": 5}}}'
    for value in ("[]", "{", '{"a": {"x": 1}}', '{"a": {"lengths": [1, 2]}}', strange):
        (tmp_path / "lines.json").write_text(value)
        assert of_generation(tmp_path) == {}
    (tmp_path / "lines.json").unlink()
    manifest = tmp_path / "manifest.json"
    assert of_generation(tmp_path) == {}
    for value in (
        "[]",
        "{}",
        '{"report": {"learning": {"lines": {"a": {"x": 1}}}}}',
        "{",
        '{"report": {"learning": {"lines": {"a": {"lengths": [1, 2]}}}}}',
        '{"report": {"learning": {"lines": {"a": {"breaks": "many"}}}}}',
    ):
        manifest.write_text(value)
        assert of_generation(tmp_path) == {}
    manifest.write_text(json.dumps({"report": {"learning": {"lines": lines}}}))
    assert of_generation(tmp_path) == known
    assert isinstance(known["poetry"], Lines)
