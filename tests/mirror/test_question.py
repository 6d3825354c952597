"""`form: question`: only true questions come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny
from tests.mirror.conftest import engine_of, write
from vaultgpt.mirror.question import _is_question, _stems_of, make_stems
from vaultgpt.wire import Prompt


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("What do you remember of the old garden?", True),
        ("what do you remember of the garden?", False),
        ("What do you remember of the old garden.", False),
        ("Why?", False),
        ("What do you see? And what do you hear?", False),
        ("Why did you walk along the river?", False),  # stands in the note
        ("What what what what what what?", False),
    ],
)
def test_a_true_question_is_one_whole_new_sentence(text: str, true: bool) -> None:
    assert _is_question(text, "Monday. Why did you walk along the river? I forgot.") is true


def test_stems_follow_the_language_of_the_note() -> None:
    german = _stems_of("Ich war mit dem Hund am Fluss und es war nicht kalt")
    assert german[0] == "Was hast du"
    for text in ("I was at the river with my dog and it was not cold", "", "J'étais au bord de la"):
        assert _stems_of(text)[0] == "What do you"


def test_only_true_questions_come_back(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    for seed in range(3):
        texts, pieces, usage = write(
            engine, Prompt(text=tiny.prose(60, 4), form="question", n=2, seed=seed)
        )
        assert len(texts) == 2 and [p.finish for p in pieces] == ["stop", "stop"]
        assert usage.tokens > 0
        for text in texts:
            assert text == "" or _is_question(text, tiny.prose(60, 4))


def test_candidates_share_the_note_and_differ_in_their_stems(tiny_llama: Path) -> None:
    engine = engine_of(tiny_llama)
    vocabulary = engine.vocabulary
    stems = make_stems(vocabulary, Prompt(text="We saw the sea. ", n=6), 512)
    texts = [stems.text + vocabulary.bytes_of(tail).decode() for tail in stems.tails]
    assert all(text.startswith("We saw the sea.\n\n") for text in texts) and len(set(texts)) == 6
    for text, tail in zip(texts, stems.tails, strict=True):
        assert vocabulary.encode(text)[-len(tail) :] == tail
