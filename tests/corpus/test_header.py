"""The header line, the title, and their dropout."""

from __future__ import annotations

import random
from collections import Counter

from vaultgpt.corpus.documents import _header_text, draw_header, opening, title_text


def test_header_is_tags_then_date_without_the_day() -> None:
    assert _header_text(("dream", "poetry"), "2019-03-14") == "#dream #poetry | 2019-03\n"
    assert _header_text(("a/b",), None) == "#a/b\n"
    assert _header_text((), "2014") == "| 2014\n"
    assert _header_text((), None) == ""
    assert _header_text(("#dream",), "someday") == "#dream\n"


def test_opening_joins_header_and_title_on_lines_of_their_own() -> None:
    assert opening(("dream",), "2019", "My father's\nhouse") == (
        "#dream | 2019\n# My father's house\n\n"
    )
    assert opening((), None, None) == ""
    assert title_text("  ") == ""


def test_each_part_of_a_header_is_dropped_as_often_as_it_should_be() -> None:
    rng = random.Random(5)
    draws = [draw_header(rng, ("aa", "bb"), "2019-03-14", "T") for _ in range(20000)]
    seen: Counter[str] = Counter()
    for header, title in draws:
        seen["title"] += title == "# T\n\n"
        seen["empty"] += header == ""
        seen["aa"] += "#aa" in header
        seen["date"] += "2019" in header
        seen["month"] += "2019-03" in header
        seen["reversed"] += "#bb #aa" in header
        assert "2019-03-14" not in header
    share = {name: count / len(draws) for name, count in seen.items()}
    assert abs(share["title"] - 0.5) < 0.02
    assert abs(share["empty"] - (0.1 + 0.9 * 0.1**2 * 0.5)) < 0.02
    assert abs(share["aa"] - 0.9 * 0.9) < 0.02
    assert abs(share["date"] - 0.9 * 0.5) < 0.02
    assert abs(share["month"] - 0.9 * 0.5 * 0.4) < 0.02
    assert abs(share["reversed"] - 0.9 * 0.9**2 / 2) < 0.02


def test_the_same_seed_draws_the_same_headers() -> None:
    first, second = random.Random(1), random.Random(1)
    for _ in range(50):
        assert draw_header(first, ("x", "y"), "2020-01", None) == draw_header(
            second, ("x", "y"), "2020-01", None
        )
