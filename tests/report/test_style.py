"""Burrows' delta on authors whose habits are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.report.texts import ORNATE, PLAIN, text
from vaultgpt.report.study import _cut
from vaultgpt.report.style import (
    _TOGETHER,
    _distances,
    _make_profile,
    _percentile,
    _z_scores,
    page_words,
    style,
)


def pages(count: int, seed: int, habits: dict[str, float] = PLAIN, words: int = 200) -> list[str]:
    return _cut([text(count * words, seed, habits)], words)


def judged(mirror: list[str]) -> Any:
    return style(pages(150, 1), pages(60, 2), mirror, [1.0] * len(mirror), 200)


def test_pages_of_the_author_stand_near_the_middle_of_the_author_s_own() -> None:
    found = judged(pages(80, 3))
    assert 30 < found["percentile"] < 70
    assert found["low"] < found["percentile"] < found["high"]
    assert (found["own_pages"], found["mirror_pages"], found["why"]) == (60, 80, None)


def test_the_interval_holds_the_figure_where_the_author_has_far_fewer_pages() -> None:
    for seed in range(3, 9):
        mirror = pages(78, 10 + seed)
        found: Any = style(pages(150, 1), pages(24, seed), mirror, [1.0] * len(mirror), 200)
        assert found["low"] < found["percentile"] < found["high"], seed


def test_pages_of_another_author_are_farther_than_all_own_ones() -> None:
    found = judged(pages(80, 3, ORNATE))
    assert found["percentile"] < 1 and found["high"] < 2


def test_one_page_in_ten_by_a_stranger_is_seen() -> None:
    mixed = pages(72, 4) + pages(8, 5, ORNATE)
    assert 1 < judged(mixed)["percentile"] < judged(pages(80, 3))["percentile"]


def test_a_slightly_other_habit_is_seen_in_pages_taken_together() -> None:
    habits = {
        word: weight * (1.5 if word in ("the", "it", "had") else 1.0)
        for word, weight in PLAIN.items()
    }
    assert judged(pages(80, 6, habits))["percentile"] < 20


def test_weights_decide_which_pages_count() -> None:
    own, stranger = pages(20, 6), pages(20, 7, ORNATE)
    found: Any = style(pages(150, 1), pages(60, 2), own + stranger, [1.0] * 20 + [0.0] * 20, 200)
    assert found["percentile"] > 20
    even: Any = style(pages(150, 1), pages(60, 2), own + stranger, [1.0] * 40, 200)
    assert even["percentile"] < 10


def test_too_little_text_gives_a_sentence_and_no_number() -> None:
    assert page_words(100_000, 1_900) is None and page_words(2_000, 100_000) is None
    assert (page_words(100_000, 2_000), page_words(100_000, 6_000)) == (100, 300)
    for few in (
        style([], [], [], [], None),
        style(pages(150, 1), pages(60, 2), pages(3, 3), [1.0] * 3, 200),
        style(pages(150, 1), pages(60, 2), pages(30, 3), [0.0] * 30, 200),
    ):
        assert few["percentile"] is None and few["low"] is None
        assert few["why"] is not None and few["why"].endswith(".")


def test_the_percentile_counts_own_distances_that_are_larger_and_halves_ties() -> None:
    own = np.array([1.0, 2.0, 3.0, 4.0])
    assert _percentile(own, np.array([2.5])) == 50.0
    assert _percentile(own, np.array([0.5, 9.0])) == 50.0
    assert _percentile(own, np.array([2.0])) == 62.5


def test_z_scores_are_in_the_author_s_own_deviations() -> None:
    profile = _make_profile(["a b", "a a", "b b"])
    assert profile.words == ("a", "b") and np.allclose(profile.mean, 0.5)
    assert np.allclose(_z_scores(profile, ["a b"]), 0.0)
    assert np.allclose(np.abs(_z_scores(profile, ["a a a"])), 0.5 / np.std([0.5, 1.0, 0.0]))


def test_pages_are_drawn_by_weight_and_each_once() -> None:
    scores = np.diag(np.arange(1.0, 9.0))  # 8 pages, each strong in one word
    weights = np.array([1.0] * _TOGETHER + [0.0] * 3)
    found = _distances(scores, weights, np.random.default_rng(1))
    assert np.allclose(found, sum(range(1, _TOGETHER + 1)) / _TOGETHER / 8)
