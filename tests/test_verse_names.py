"""One list says what verse is called, for reading notes and for writing under a tag."""

from __future__ import annotations

import pytest

from vaultgpt.verse import names_verse


@pytest.mark.parametrize("name", ["poetry", "#Poem", "poetry/2019", "Gedichte", "poésie", "lyrics"])
def test_names_of_verse(name: str) -> None:
    assert names_verse(name)


@pytest.mark.parametrize("name", ["", "#", "journal", "poetics", "reverse", "journal/poetry"])
def test_other_names(name: str) -> None:
    assert not names_verse(name)
