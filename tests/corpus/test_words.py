"""One definition of a word, by Unicode's rules, for counts and for runs."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultgpt.corpus.words import count_words, norms, split_words

DECOMPOSED = unicodedata.normalize("NFD", "À la forêt, l’été était déjà passé.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("मैं हिन्दी में लिखता हूँ और पढ़ता हूँ।", 8),
        ("நான் தமிழில் எழுதுகிறேன்", 3),
        ("الْحَمْدُ لِلَّهِ رَبِّ الْعَالَمِينَ", 4),
        ("בְּרֵאשִׁית בָּרָא אֱלֹהִים", 3),
        ("می\u200cخواهم بروم", 2),
        (DECOMPOSED, 8),
        (unicodedata.normalize("NFC", DECOMPOSED), 8),
        ("한국어 문장 입니다", 3),
        ("東京へ行った。人々がいた", 11),
        ("ภาษา", 4),
        ("Don't, she said: 3.5 km_h", 8),
        ("\u0301 ... \u200d --- 🙂", 0),
        ("", 0),
    ],
)
def test_words_are_counted_by_unicode_s_rules(text: str, words: int) -> None:
    assert count_words(text) == len(split_words(text)) == len(norms(text)) == words


def test_words_are_letters_and_digits_after_nfkc_and_casefold() -> None:
    text = "Don't STOP_at the ﬁne Straße, 3rd ＡＢＣ!"
    assert norms(text) == ["don", "t", "stop", "at", "the", "fine", "strasse", "3rd", "abc"]


def test_each_cjk_character_is_a_word() -> None:
    assert norms("日本語とtext") == ["日", "本", "語", "と", "text"]


def test_decomposed_text_gives_the_same_words() -> None:
    text = "Café naïve Ångström"
    assert norms(unicodedata.normalize("NFD", text)) == norms(text)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_words_lie_in_order_inside_the_text_and_match_their_norms(text: str) -> None:
    words = split_words(text)
    assert [w.norm for w in words] == norms(text)
    at = 0
    for word in words:
        assert at <= word.start < word.end <= len(text)
        at = word.end
