"""Where answers end: sentences, paragraphs, pages, stop strings, suffixes, whole words."""

from __future__ import annotations

import pytest

from vaultgpt.mirror.stopping import StoppingCriteria, sentence_ends
from vaultgpt.wire import Length


def grown(
    text: str,
    length: Length,
    *,
    suffix: str = "",
    stop: tuple[str, ...] = (),
    max_tokens: int = 1000,
) -> str | None:
    """The answer as it ends while `text` arrives character by character; None if it does not."""
    criteria = StoppingCriteria(length, max_tokens, stop, suffix, False)
    for end in range(1, len(text) + 1):
        ending = criteria.find(text[:end], end // 4)
        if ending:
            return text[: ending.at]
    return None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" sea was calm. Then it", " sea was calm."),
        (' "Come!" he said. And', ' "Come!"'),
        (" Mr. Thoreau and Dr. Channing came. They", " Mr. Thoreau and Dr. Channing came."),
        (" J. S. Mill wrote it. So", " J. S. Mill wrote it."),
        (" so did I. Then", " so did I."),
        (" it cost 3.50 in all. We", " it cost 3.50 in all."),
        (" wait... no! Yes", " wait..."),
        ("\n\nA new day\nbegins", "\n\nA new day"),
        (" the moon,\nover the hill. Then", " the moon,\nover the hill."),
        (" “Why?” I asked", " “Why?”"),
        ("今日は。明日", "今日は。"),
        (" no end here", None),
    ],
)
def test_a_sentence_ends_with_its_mark_or_line(text: str, wanted: str | None) -> None:
    assert grown(text, "sentence") == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" sea, and then", " sea,"),
        (' "Come!" he said', ' "Come!"'),
        (" 3,500 of them; more", " 3,500 of them;"),
        (" sea\nand", " sea"),
        (" – the sea – and", " – the sea –"),
        ("海、空", "海、"),
        (" well-known house", None),
    ],
)
def test_a_clause_ends_with_its_mark_or_line(text: str, wanted: str | None) -> None:
    assert grown(text, "clause") == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" sea. It rose.\n\nNext", " sea. It rose."),
        (" sea. It rose.\nStill here.\n \nNext", " sea. It rose.\nStill here."),
        ("\n\nHeading\n\nA sentence.\n\nMore", "\n\nHeading\n\nA sentence."),
        ("a line\nand another\n\nthen", "a line\nand another"),
    ],
)
def test_a_paragraph_ends_at_a_blank_line_after_a_sentence(text: str, wanted: str) -> None:
    assert grown(text, "paragraph") == wanted


def test_a_page_ends_after_three_hundred_words() -> None:
    paragraph = "We went to the sea and came back again in the evening. " * 12
    page = grown("\n\n".join([paragraph] * 6), "page")
    assert page is not None and 300 <= len(page.split()) <= 400 and page.rstrip().endswith(".")
    endless = grown("word " * 600, "page")
    assert endless is not None and 300 <= len(endless.split()) <= 401
    one = grown("We went to the sea. " * 120, "page")
    assert one is not None and 340 <= len(one.split()) <= 400


def test_stop_strings_and_what_is_held_back_for_them() -> None:
    assert grown(" one two END three", "tokens", stop=("END", "")) == " one two "
    criteria = StoppingCriteria("tokens", 100, ("END", "\n\n"), "", False)
    assert (
        criteria.held("one EN") == 4 and criteria.held("one\n") == 3 and criteria.held("one") == 3
    )
    assert criteria.held("one E") == 4


@pytest.mark.parametrize("suffix", ["\n\nAnd then we went home.", " And then we  went home."])
def test_the_suffix_is_not_repeated(suffix: str) -> None:
    assert grown(" the sea. And then we went home.", "tokens", suffix=suffix) == " the sea. "
    assert grown(" the sea.\nAnd then\nwe went home.", "tokens", suffix=suffix) == " the sea.\n"
    assert grown(" the sea. And then I", "tokens", suffix=suffix) is None


def test_half_a_suffix_at_the_end_is_cut() -> None:
    criteria = StoppingCriteria("tokens", 100, (), "And then we went", False)
    assert criteria.close(" the sea. And then") == len(" the sea.")
    assert criteria.close(" the sea.  ") == len(" the sea.")


def test_near_the_limit_the_next_sentence_end_will_do() -> None:
    text = " We went. " + "and on " * 30 + "home. Then" + " more" * 40
    answer = grown(text, "paragraph", max_tokens=60)
    assert answer is not None and answer.endswith("home.")


def test_sentence_ends_at_the_very_end_count_when_nothing_follows() -> None:
    assert sentence_ends("It rose.", 0) == []
    assert sentence_ends("It rose.", 0, final=True) == [8]
    assert sentence_ends('It rose." ', 0, final=True) == [9]
