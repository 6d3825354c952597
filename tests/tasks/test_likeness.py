"""Which sentences of a note are the author's, and how much less each surprises the voice."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from vaultgpt.settings import Rules
from vaultgpt.tasks.likeness import LikenessAnswer, LikenessRequest, _passages, judged
from vaultgpt.vault.at_cursor import EditorProse, from_utf16, read_prose
from vaultgpt.wire import Prompt, TokenChance

Scored = tuple[Sequence[TokenChance], str | None]
MINE = "I swam past the clock and the café."
ALSO = "Nobody blew a whistle that night!"


def prose_of(text: str, path: str | None = "Notes/Some thoughts.md") -> EditorProse:
    return read_prose(Path("/nowhere"), Rules(), path, text)


def said(text: str, path: str | None = "Notes/Some thoughts.md") -> list[str]:
    """The sentences, each as it stands in the note."""
    found = [one for passage in _passages(prose_of(text, path)) for one in passage.sentences]
    return [text[one.start : one.end] for one in found]


# What the plugin's own reader once took for the author's prose


@pytest.mark.parametrize(
    "hidden",
    [
        "%%\nwhat follows here is only for myself\nand is not shown to anybody at all\n%%",
        "<!-- a remark that\nruns over several lines of the note\nand says nothing of mine -->",
        "$$\nthe energy of this is equal to\nthe mass times the speed of light\n$$",
        "````md\nsome text in a fence of four\n```\nand a fence within it as well\n```\n````",
        "```\ncode is no sentence of mine here\n```",
        "> A quote of somebody else's words here.",
        "> [!note] A callout\n> that has these many words in it",
        "| a | table's row of many words here |\n| --- | --- |\n| one | two and three and four |",
        "## A heading of quite a few words",
        "A heading of quite a few words\n---",
        "#one #two #three #four #five #six",
        "![[a picture of all the baths in town.png]]",
    ],
)
def test_only_the_authors_prose_is_a_sentence(hidden: str) -> None:
    for line_end in ("\n", "\r\n"):
        text = (
            f"{MINE} {ALSO} Too short.\n\n{hidden}\n\n- [ ] Gerald folded the last of the towels\n"
        )
        text = text.replace("\n", line_end)
        assert said(text) == [MINE, ALSO, "Gerald folded the last of the towels"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_front_matter_is_none_however_its_lines_end(line_end: str) -> None:
    front = "---\ntitle: a title of quite a few words\ntags:\n- dream\n---\n"
    text = f"{front}{MINE}\n".replace("\n", line_end)
    assert said(text) == [MINE]
    (passage,) = _passages(prose_of(text))
    assert (passage.voice.tags, passage.text) == (("dream",), MINE)


def test_what_is_no_prose_within_a_sentence_is_read_and_not_judged_and_ends_it_nowhere() -> None:
    text = "I pressed `Stop. Now` and see https://example.org/a.b for more %% or not %% of it."
    assert said(text) == [text]
    (passage,) = _passages(prose_of(text))
    assert passage.text == text.replace("%% or not %%", "")
    own = "".join(passage.text[a:b] for a, b, _ in passage.own)
    assert own == "I pressed  and see  for more  of it."
    tokens = [TokenChance(word, -1.0, {}) for word in passage.text.replace(" ", "\0 ").split("\0")]
    assert passage.nats(tokens) == [9.0], "not those in the code and in the address"


def test_each_day_of_a_note_has_its_own_voice_and_no_passage_runs_over_two() -> None:
    text = f"# 2019-03-14 #dream\n\n{MINE}\n\n# 2020-05-01\n\n{ALSO}\n"
    found = _passages(prose_of(text))
    assert [(one.voice.tags, one.voice.date, one.text) for one in found] == [
        (("dream",), "2019-03", MINE),
        ((), "2020-05", ALSO),
    ]


def test_passages_keep_sentences_whole_and_a_long_note_is_looked_at_from_its_end() -> None:
    numbered = [f"This is sentence number {n} of a long note." for n in range(3_000)]
    found = _passages(prose_of(" ".join(numbered)))
    assert len(found) == 32 and max(len(one.text) for one in found) <= 1_700
    assert " ".join(one.text for one in found).split(". ") == " ".join(
        numbered[-sum(len(one.sentences) for one in found) :]
    ).split(". ")


def test_no_passage_is_longer_than_a_base_reads() -> None:
    endless = " ".join(["and on it went"] * 1_000)
    assert said(f"{MINE}\n\n{endless}.\n\n{ALSO}") == [MINE, ALSO]


def test_a_sentence_of_which_nothing_was_scored_is_not_said_to_be_neither() -> None:
    asked = LikenessRequest.model_validate({"text": f"{MINE} {ALSO}"})

    async def score(prompt: Prompt) -> Scored:
        kept = prompt.text[prompt.text.index(ALSO) - 1 :]  # the rest was cut off
        return [TokenChance(c, -1.0, {}) for c in kept], "g000001"

    prose = prose_of(asked.text)
    found = asyncio.run(judged(asked, prose.judgement, _passages(prose), True, score))
    assert [asked.text[one["start"] : one["end"]] for one in found["sentences"]] == [ALSO]


def answer(
    text: str, voice: float = 1.0, base: float = 2.0, learned: bool = True, **more: object
) -> tuple[LikenessAnswer, list[Prompt]]:
    """By models to which every letter costs so many nats, and the 1st sentence the voice twice."""
    asked = LikenessRequest.model_validate({"text": text, **more})
    prompts: list[Prompt] = []

    async def score(prompt: Prompt) -> Scored:
        prompts.append(prompt)
        each = voice if prompt.model == "mirror" else base
        first = prompt.text.find("café")
        return [
            TokenChance(c, -each * (2 if prompt.model == "mirror" and at <= first else 1), {})
            for at, c in enumerate(prompt.text)
        ], "g000001"

    prose = prose_of(text, asked.path)
    found = _passages(prose)
    return asyncio.run(judged(asked, prose.judgement, found, learned, score)), prompts


def test_a_gain_is_the_share_and_its_place_is_counted_as_the_editor_counts() -> None:
    text = f"😀 {MINE} {ALSO}"
    found, prompts = answer(text, path="A.md")
    assert [prompt.model for prompt in prompts] == ["mirror", "base"]
    assert found["refused"] is None
    places = [
        (from_utf16(text, s["start"]), from_utf16(text, s["end"])) for s in found["sentences"]
    ]
    assert [text[a:b] for a, b in places] == [f"😀 {MINE}", ALSO]
    gains = [one["gain"] for one in found["sentences"]]
    assert math.isclose(gains[1], 0.5) and gains[0] < 0.1


def test_a_request_may_say_under_which_tags_and_date_it_is_read() -> None:
    text = f"---\ntags: [dream]\ndate: 2019-03-14\n---\n{MINE}"
    _, own = answer(text)
    assert [(p.tags, p.date) for p in own] == [(("dream",), "2019-03")] * 2
    _, other = answer(text, tags=["walk"], date=None)
    assert [(p.tags, p.date) for p in other] == [(("walk",), None)] * 2


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        (f"---\nvaultgpt: false\n---\n{MINE}", "A.md", "vaultgpt: false"),
        (f"---\nsource: https://example.org\n---\n{MINE}", "A.md", "clipping"),
        (f"# One\n\n{MINE}\n\n# 2019-03-14\n\nSo it was. #private\n", "A.md", "tag"),
        (MINE, "A (conflicted copy 2019-03-14).md", "conflict copy"),
    ],
)
def test_a_note_that_the_rules_leave_out_is_refused_with_its_reason(
    text: str, path: str, code: str
) -> None:
    found, prompts = answer(text, path=path)
    assert found["refused"] is not None and found["refused"]["code"] == code
    assert found["refused"]["why"] and not (found["sentences"] or prompts)


def test_before_anything_is_learned_there_is_nothing_to_compare_with() -> None:
    found, prompts = answer(MINE, learned=False)
    assert found["refused"] is not None and found["refused"]["code"] == "nothing learned"
    assert not prompts


@pytest.mark.parametrize("after", range(4))
def test_one_answer_is_of_one_voice_though_another_takes_its_place_meanwhile(after: int) -> None:
    """1. A note of two passages is compared. 2. After some of four scorings another voice writes.

    Result: every gain is the second voice's, or all the first one's where it came too late.
    """
    days = f"# 2019-03-14\n\n{MINE}\n\n# 2020-05-01\n\n{ALSO}\n"
    asked = LikenessRequest.model_validate({"text": days})
    scored = 0

    async def score(prompt: Prompt) -> Scored:
        nonlocal scored
        scored += 1
        voice = "g000001" if scored <= after else "g000002"
        each = (1.0 if voice == "g000001" else 3.0) if prompt.model == "mirror" else 4.0
        return [TokenChance(c, -each, {}) for c in prompt.text], voice

    prose = prose_of(days)
    found = asyncio.run(judged(asked, prose.judgement, _passages(prose), True, score))
    assert [one["gain"] for one in found["sentences"]] == pytest.approx([0.25, 0.25])


def test_where_the_base_takes_over_meanwhile_there_is_nothing_to_compare_with() -> None:
    asked = LikenessRequest.model_validate({"text": MINE})

    async def score(prompt: Prompt) -> Scored:
        voice = "g000001" if prompt.model == "mirror" else None
        return [TokenChance(c, -1.0, {}) for c in prompt.text], voice

    prose = prose_of(MINE)
    found = asyncio.run(judged(asked, prose.judgement, _passages(prose), True, score))
    assert found["refused"] is not None and found["refused"]["code"] == "nothing learned"


def test_a_note_that_ends_in_code_is_compared_all_the_same() -> None:
    found, _ = answer(f"{MINE}\n\n```\ncode\n")
    assert found["refused"] is None and len(found["sentences"]) == 1
