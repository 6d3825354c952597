"""What the ledger keeps takes few bytes, and comes out as it went in."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.vaults import NOW, Vault
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.compact import (
    as_unpacked,
    lower_bits,
    pack_runs,
    pack_shingles,
    unpack_runs,
    unpack_shingles,
)
from vaultgpt.ledger.entries import _held
from vaultgpt.settings import Rules


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 15, 16, 38, 63, 64, 127, 128, 300, 40_000])
def test_shingles_come_out_by_twelve_bits_or_few_by_eleven_as_they_went_in(count: int) -> None:
    hashes = np.random.default_rng(count).integers(0, 2**64, count, dtype=np.uint64)
    raw, few = pack_shingles(hashes), 16 <= count < 64
    kept = (hashes >> np.uint64(53)) + np.uint64(4096) if few else hashes >> np.uint64(52)
    assert unpack_shingles(raw).dtype == np.uint16
    assert unpack_shingles(raw).tolist() == np.unique(kept).tolist()
    assert set(unpack_shingles(raw).tolist()) <= set(as_unpacked(hashes).tolist())
    assert len(raw) <= 2 + (8.7 if few else 9.5) * len(np.unique(kept)) / 8 or count < 30


def test_the_lower_bits_of_many_entries_are_those_of_each() -> None:
    rng = np.random.default_rng(1)
    counts = [0, 0, 1, 7, 39, 40, 41, 42, 300, 300, 2_000]
    runs = [np.sort(rng.integers(0, 2**64, count, dtype=np.uint64)) for count in counts]
    for some in (runs, runs[:6], runs[6:], []):
        packed = [pack_runs(own) for own in some]
        lower, found = lower_bits(packed)
        assert [*map(len, packed)] == sorted(map(len, packed))
        assert found.tolist() == [*map(len, some)]
        wanted = [unpack_runs(raw) >> np.uint64(24) & np.uint64(2**32 - 1) for raw in packed]
        assert lower.tolist() == [int(run) for own in wanted for run in own]
    other, ranked = (np.sort(lower_bits([pack_runs(own)])[0]) for own in runs[8:10])
    both = np.concatenate([other, ranked[::3]])
    assert _held(both, ranked).tolist() == np.isin(both, ranked).tolist()
    assert not _held(both, ranked[:0]).any()


def test_few_shingles_by_twelve_bits_are_read_still() -> None:
    """As they were kept until 30 November 2026: 16 of them, the multiples of 256."""
    hashes = np.arange(16, dtype=np.uint64) << np.uint64(60)
    raw = bytes([16]) + bytes.fromhex("924924924924000000000000000000000000000000")
    assert unpack_shingles(raw).tolist() == list(range(0, 4096, 256))
    assert set(unpack_shingles(raw).tolist()) <= set(as_unpacked(hashes).tolist())


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
