"""One long entry, every paragraph of which is edited at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from tests.ledger.vaults import DAY, NOW, Vault, prose, slight_changes
from vaultgpt.corpus.runs import WordHashes
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.compact import pack_shingles
from vaultgpt.ledger.paragraphs import OlderTexts, _paragraphs_with_words, shingles_of


def edited_in(vault: Vault, ledger: Ledger, name: str, paragraphs: int) -> float:
    """Seconds that recording takes after a word was changed in each paragraph of a new note."""
    texts = [prose(f"{name}{i}", 40) for i in range(paragraphs)]
    vault.write(name, "\n\n".join(texts))
    vault.record(ledger, NOW)
    vault.write(name, "\n\n".join(f"changed {text}" for text in texts), age_s=0)
    began = time.perf_counter()
    vault.record(ledger, NOW + DAY)
    return time.perf_counter() - began


def test_editing_every_paragraph_costs_as_much_as_there_is(tmp_path: Path) -> None:
    """1. A note of 200 paragraphs, and one of 800, each changed by a word. 2. They are recorded.
    Result: slight changes are known as such, and four times the text takes less than ten times as
    long (comparing each with each: sixteen, and 13 s in a write transaction).
    """
    vault = Vault(tmp_path)
    with Ledger.open(vault.state) as ledger:
        few = edited_in(vault, ledger, "few.md", 200)
        many = edited_in(vault, ledger, "many.md", 800)
        assert slight_changes(ledger) == 1000
    assert many < 10 * few + 1.0


def test_a_slight_change_is_told_from_another_text() -> None:
    key = b"k" * 32

    def one(text: str) -> np.ndarray:
        ((_, words),) = _paragraphs_with_words(text, (), key)
        return shingles_of([WordHashes(key).of(words)], key)[0]

    texts = [one(prose(i, 40)) for i in range(50)]
    older = OlderTexts([(i, pack_shingles(shingles)) for i, shingles in enumerate(texts)])
    assert older.same(one(f"changed {prose(7, 40)}")) == 7
    assert older.same(one(prose(7, 40) + " " + prose("other", 40))) is None
    assert older.same(one(prose("new", 40))) is None
    assert older.same(np.zeros(0, np.uint64)) is None
    assert OlderTexts([]).same(texts[0]) is None
