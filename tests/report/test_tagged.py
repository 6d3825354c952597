"""The tag classifier on tags whose texts differ by design, or not at all."""

from __future__ import annotations

from typing import Any

from tests.report.texts import NOUNS, ORNATE, PLAIN, text
from vaultgpt.report.study import _cut, _label_notes
from vaultgpt.report.tagged import FOLDS, PIECE_WORDS, judge

SEA = ["tide", "gull", "sail", "reef", "foam", "keel"]


def pieces(
    count: int, seed: int, habits: dict[str, float] = PLAIN, nouns: list[str] = NOUNS
) -> list[str]:
    return _cut([text(count * PIECE_WORDS, seed, habits, nouns)], PIECE_WORDS)


def folds(
    count: int, seed: int, habits: dict[str, float] = PLAIN, nouns: list[str] = NOUNS
) -> list[list[str]]:
    return [pieces(count // FOLDS, seed * 10 + n, habits, nouns) for n in range(FOLDS)]


def test_pieces_are_read_under_the_tag_they_were_written_for() -> None:
    real = {"dream": folds(60, 1, nouns=SEA), "journal": folds(100, 2)}
    made = {"dream": pieces(20, 3, nouns=SEA), "journal": pieces(20, 4)}
    found: Any = judge(real, made, {"dream": 60, "journal": 100, "rare": 7})
    assert found["real"] > 0.95 and found["generated"] > 0.95 and found["why"] is None
    row = found["tags"]["dream"]
    assert (row["real_pieces"], row["generated_pieces"]) == (60, 20)
    rare = found["tags"]["rare"]
    assert rare == {"real_pieces": 7, "generated_pieces": 0, "real": None, "generated": None}


def test_a_mirror_that_ignores_the_tag_is_found_out() -> None:
    real = {"dream": folds(60, 1, ORNATE), "journal": folds(60, 2)}
    found: Any = judge(real, {"dream": pieces(20, 3), "journal": pieces(20, 4)}, {})
    assert found["real"] > 0.95
    assert found["tags"]["dream"]["generated"] < 0.1 < 0.9 < found["tags"]["journal"]["generated"]


def test_tags_that_do_not_differ_are_told_apart_by_chance_only() -> None:
    found: Any = judge({"a": folds(75, 1), "b": folds(75, 2)}, {}, {})
    assert 0.25 < found["real"] < 0.75 and found["generated"] is None


def test_a_common_tag_does_not_swallow_a_rare_one() -> None:
    found: Any = judge({"dream": folds(40, 1, nouns=SEA), "journal": folds(150, 2)}, {}, {})
    assert found["tags"]["dream"]["real"] > 0.9


def test_one_tag_or_too_few_pieces_are_reported_and_not_judged() -> None:
    for real in ({"dream": folds(60, 1)}, {"dream": folds(60, 1), "rare": folds(35, 2)}, {}):
        found: Any = judge(real, {"dream": pieces(20, 3)}, {})
        assert found["real"] is None and found["generated"] is None and found["why"]
        assert all(row["generated"] is None for row in found["tags"].values())


def test_a_note_stands_for_its_rarest_tag_that_has_enough_text() -> None:
    words = {f"n{i}": 500 for i in range(20)}
    tags = {f"n{i}": ["journal", "dream"] if i < 8 else ["journal"] for i in range(20)}
    tags["n0"] = ["journal", "dream", "once"]
    found = _label_notes(tags, words, 100, 40, 8)
    assert found["n0"] == found["n7"] == "dream" and found["n8"] == "journal"
    assert set(_label_notes(tags, words, 100, 41, 8).values()) == {"journal"}
    assert set(_label_notes(tags, words, 100, 40, 1).values()) == {"journal"}
    assert _label_notes({"n0": []}, words, 100, 40, 8) == {}


def test_pieces_have_exactly_so_many_words_and_keep_their_marks() -> None:
    assert _cut(["One, two!\nThree", "four five - six."], 2) == [
        "One, two!",
        "Three\n\nfour",
        "five - six.",
    ]
    assert _cut(["only three words"], 4) == [] and _cut([], 4) == []
