"""What the ledger keeps takes few bytes, and comes out as it went in."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.vaults import NOW, Vault
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.compact import pack_shingles, unpack_shingles
from vaultgpt.settings import Rules


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 38, 127, 128, 300, 5_000, 40_000])
def test_shingles_come_out_by_twelve_bits_as_they_went_in(count: int) -> None:
    hashes = np.random.default_rng(count).integers(0, 2**64, count, dtype=np.uint64)
    raw = pack_shingles(hashes)
    wanted = np.unique(hashes >> np.uint64(52)).astype(np.uint16)
    assert unpack_shingles(raw).dtype == np.uint16
    assert unpack_shingles(raw).tolist() == wanted.tolist()
    assert len(raw) <= 2 + 9.5 * len(wanted) / 8 or count < 30


def test_shingles_in_threes_of_bytes_are_read_still() -> None:
    raw = bytes([0x01, 0x20, 0x00, 0x03, 0x30, 0x00])  # 1, 2, 3 and the last one twice
    assert unpack_shingles(raw).tolist() == [1, 2, 3]
    assert all(
        len(pack_shingles(np.arange(n, dtype=np.uint64) << np.uint64(52))) % 3 for n in range(1, 99)
    )


def test_a_first_scan_leaves_no_half_empty_pages(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.fill(150, paragraphs=2, words=40)
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
    db = sqlite3.connect(vault.state.ledger)
    before = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute("VACUUM")
    assert db.execute("PRAGMA page_count").fetchone()[0] == before
    db.close()


@pytest.mark.parametrize("which", ["held_out", "NOT decided", "copy_of IS NOT NULL", "forgotten"])
def test_the_few_entries_that_stand_out_are_found_by_an_index(tmp_path: Path, which: str) -> None:
    with Ledger.open(Vault(tmp_path).state) as ledger:
        plan = ledger._db.read(f"EXPLAIN QUERY PLAN SELECT n FROM entries WHERE {which}")
    assert "INDEX entries_" in plan[0]["detail"]
