"""Openings, and the left context cut at a paragraph or sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny
from vaultgpt.mirror.prompting import _fit, budget, encode
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.wire import Prompt


@pytest.fixture
def vocabulary(tiny_llama: Path) -> Vocabulary:
    return Vocabulary.load(tiny_llama)


def test_a_prompt_opens_as_training_did(vocabulary: Vocabulary) -> None:
    prompt = Prompt(text="We saw", tags=("dream",), date="2019-03", title="The Sea")
    encoded = encode(vocabulary, prompt, 200, header=True, heal=False)
    written = vocabulary.bytes_of(encoded.cut.ids).decode()
    assert encoded.cut.ids[0] == 0 and written == "#dream | 2019-03\n# The Sea\n\nWe saw"
    bare = encode(vocabulary, prompt, 200, header=False, heal=False)
    assert vocabulary.bytes_of(bare.cut.ids).decode() == "# The Sea\n\nWe saw"


@pytest.mark.parametrize("room", [40, 100, 230])
def test_a_long_text_is_cut_where_a_paragraph_or_sentence_begins(
    vocabulary: Vocabulary, room: int
) -> None:
    text = tiny.prose(3000, 1)
    for end in range(len(text) - 400, len(text), 37):
        kept = _fit(vocabulary, text[:end], room)
        assert text[:end].endswith(kept) and len(vocabulary.encode(kept)) <= room
        assert len(vocabulary.encode(kept)) >= room // 4
        before = text[: end - len(kept)]
        assert not before or before.rstrip()[-1] in ".!?" or before.endswith((" ", "\n"))


def test_the_cut_moves_in_coarse_steps(vocabulary: Vocabulary) -> None:
    text = tiny.prose(3000, 1)
    starts = {
        end - len(_fit(vocabulary, text[:end], 200)) for end in range(len(text) - 300, len(text))
    }
    assert len(starts) <= 4


def test_a_text_without_any_break_is_cut_too(vocabulary: Vocabulary) -> None:
    assert len(vocabulary.encode(_fit(vocabulary, "x" * 5000, 64))) <= 64


def test_an_opening_longer_than_half_the_room_is_left_out(vocabulary: Vocabulary) -> None:
    prompt = Prompt(text="We saw", title="word " * 200)
    encoded = encode(vocabulary, prompt, 60, header=True, heal=False)
    assert vocabulary.bytes_of(encoded.cut.ids) == b"We saw"


def test_prompt_and_answer_share_the_context() -> None:
    room, answer = budget(1024, 200)
    assert answer == 200 and room + answer < 1024
    room, answer = budget(256, 1000)
    assert answer == 128 and room + answer < 256
