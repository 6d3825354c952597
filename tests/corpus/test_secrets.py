"""What counts as a secret and what does not."""

from __future__ import annotations

import pytest

from vaultgpt.corpus.secrets import merge_ranges, secret_ranges


@pytest.mark.parametrize(
    "secret",
    [
        "ann.lee+diary@mail.example.co.uk",
        "+49 170 5550 1234",
        "(555) 010-4477",
        "555-0147",
        "0151 23456789",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "DE89 3704 0044 0532 0130 00",
        "sk-9fQ2xLmP8vTzR4kWbY7nJ3",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    ],
)
def test_numbers_addresses_and_keys_are_found_whole(secret: str) -> None:
    text = f"I wrote down {secret} and forgot it."
    found = [text[s:e] for s, e in secret_ranges(text)]
    assert found == [secret]


def test_named_passwords_are_found() -> None:
    text = "The wifi password: Tr0ub4dor, and the PIN is 4471."
    assert [text[s:e] for s, e in secret_ranges(text)] == ["Tr0ub4dor,", "4471."]


@pytest.mark.parametrize(
    "text",
    [
        "On 2019-03-14 we left; in 1851-1853 he walked.",
        "14.03.2019 was a Thursday.",
        "It cost 1,250.50, about 100 000 in all.",
        "Psalm 119 verse 105",
        "at 7.30 and 18:45",
        "counterrevolutionaries and internationalisation",
        "see notes-2019-03-walks",
        "The secret is out, and the token is lost.",
        "a river-and-garden-wall-photograph",
    ],
)
def test_ordinary_writing_is_left_alone(text: str) -> None:
    assert secret_ranges(text) == []


def test_ranges_merge() -> None:
    assert merge_ranges([(5, 9), (0, 2), (1, 4), (7, 7)]) == [(0, 4), (5, 9)]
