"""Words by Unicode's rules, in a note as everywhere."""

from __future__ import annotations

import pytest

from tests.vault.helpers import note_of
from vaultgpt.corpus.words import count_words, norms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("मैं नदी के किनारे चला", 5),
        ("நான் ஆற்றின் கரையில் நடந்தேன்", 4),
        ("ذَهَبْتُ إِلَى النَّهْرِ", 3),
        ("l'e\u0301te\u0301 e\u0301tait long", 4),
        ("l'\u00e9t\u00e9 \u00e9tait long", 4),
        ("می‌خواهم بروم", 2),
        ("昨天我在河边", 6),
        ("어제 나는 걸었다", 3),
        ("snake_case and well-known", 5),
        ("", 0),
    ],
)
def test_a_word_is_counted_once_in_every_script_and_form(text: str, words: int) -> None:
    assert count_words(text) == words == len(norms(text)) == note_of(text + "\n").words
