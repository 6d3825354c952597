"""Figures, stray quotes and circles are found where a reader sees them, and nowhere else."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from vaultgpt.corpus.habits import (
    Circles,
    Habits,
    figures,
    looped,
    marks,
    marks_begun,
    measure,
    strays,
)

CHANT = "I went to the river. " * 5


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("died.” 25", [5]),
        ("“No,” she said. He died.”", [24]),
        ('He said "no" and "yes".', []),
        ('It was 5 foot 3" tall', [15]),
        ("“One paragraph\n\nand another.” And", [28]),
        ("„Ja“, sagte er. „Nein“", []),
        ("«Oui», dit-il. Non»", [18]),
        ("»Ja«, sagte er.", []),
        ("He came (“so to speak”) late.", []),
        ("Don’t say ‘never’", []),
    ],
)
def test_a_quote_that_closes_nothing_is_stray(text: str, places: list[int]) -> None:
    assert strays(text) == places


def test_a_figure_is_counted_once() -> None:
    assert figures("517 seize at 5.30, on 12/3 and 1,000") == [0, 13, 22, 31]
    assert figures("517 seize at 5", 1) == [13]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("It rained.\n\n* * *\n\nThen", [12]),
        ("_ _ _\n_ _ _\n", [0, 6]),
        ("---\n\nA", [0]),
        ("- \n- milk\n-\n", [0, 10]),
        ("So * *\nit **was**\nand * is\n", [3]),
        ("- [ ] \n- [ ] milk\n", [0]),
        ("#\nA", [0]),
        ("_" * 100, [0, 40, 80]),
        ("A **bold** word, *one* - and two -- or three--four\n- milk\n> said\n# One", []),
        ("- - milk\n", []),
    ],
)
def test_markup_without_a_word_is_found_a_line_at_a_time(text: str, places: list[int]) -> None:
    assert [at for at, _ in marks(text)] == places


def test_what_may_yet_become_bare_markup_waits() -> None:
    for end in ("*", "* ", "* *", "- ", "- [", "- [ ] ", "--"):
        assert marks_begun(f"It rained.\n{end}") == 11, end
    for text in ("It rained.\n", "- m", "well-", "a *", "* * *\n"):
        assert marks_begun(text) == len(text) - (text == "a *"), text


def test_what_an_older_version_did_not_count_is_not_known() -> None:
    old = Habits.kept({"words": 10_000, "figures": 20})
    assert old.marks is None and (old + Habits(1)).marks is None and old.allows("marks", 50, 10)
    assert old.scripts is None and (measure("Rain") + old).scripts is None
    assert Habits.kept(asdict(Habits(5, marks=2))) == Habits(5, marks=2)
    both = measure("Rain, 5 times") + measure("Дождь — ночь")
    assert both.scripts == ("CYRILLIC", "LATIN") and Habits.kept(asdict(both)) == both


@pytest.mark.parametrize(
    ("word", "loop"),
    [
        ("practractractract", True),
        ("a hahahahaha", True),
        ("Nooooooooo", True),
        ("hahaha", False),
        ("lalalala", False),
        ("Mississippi", False),
        ("Noooo", False),
        ("banana", False),
        ("1000000000000", False),
        ("assesses possesses", False),
    ],
)
def test_a_word_may_go_in_a_loop(word: str, loop: bool) -> None:
    start = len(word) - len(word.split()[-1])
    assert looped(word) == (start if loop else None)


def test_circles_are_what_is_said_too_often_nearby() -> None:
    circles = Circles()
    said = [circles.add(word) for word in CHANT.lower().replace(".", "").split()]
    assert said.index(True) == 8  # four words, said once already
    circles.cut(8)
    assert circles.add("the") and not circles.add("sea")
    far = Circles()
    words = ["a", "b", "c", "d", "e", "f", *(f"w{i}" for i in range(300)), *"abcdef"]
    assert not any(map(far.add, words))


def test_a_text_without_spaces_is_measured_in_words_not_in_characters() -> None:
    assert (
        measure("今日は雨が降りました。明日も雨が降りました。昨日も雨が降りました。").circles == 0
    )
    assert measure("雨が降りましたと言いました。" * 6).circles > 0


def test_measured_and_allowed_as_often_as_the_author_does() -> None:
    found = measure("On 12 May 1998 he said “no”. Why?\n\n* * *\n\n" + CHANT)
    assert (found.words, found.figures, found.strays) == (33, 2, 0) and found.circles > 5
    assert (found.marks, found.questions) == (1, 1)
    rare = Habits(10_000, 20, 0, 0)
    assert not rare.allows("figures", 0, 0) and rare.allows("figures", 0, 120)
    assert not rare.allows("figures", 1, 120) and not rare.allows("strays", 0, 1000)
    often = Habits(10_000, 500, 40, 100) + Habits(10_000, 500, 0, 0)
    assert often.allows("figures", 2, 10) and not often.allows("figures", 6, 10)
    assert not Habits().allows("circles", 0, 500)
