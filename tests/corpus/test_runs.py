"""Words, keyed runs of words, and the index that the copy guard lives on."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np

from vaultgpt.corpus.runs import RunIndex, _RunHasher, run_hashes

KEY = b"k" * 32
TEN = "one two three four five six seven eight nine ten"


def test_a_run_has_the_same_hash_wherever_it_stands_and_another_key_gives_another() -> None:
    words = TEN.split()
    here = run_hashes(["x", "y", *words, "z"], 10, KEY)
    assert here[2] == run_hashes(words, 10, KEY)[0]
    assert len(np.unique(here)) == len(here) == 4
    assert run_hashes(words, 10, b"other" * 6)[0] != here[2]
    assert run_hashes(words, 8, KEY)[0] != run_hashes(words[:8], 7, KEY)[0]
    assert len(run_hashes(words[:9], 10, KEY)) == 0


def test_one_run_hashes_as_many_do() -> None:
    rng = random.Random(3)
    words = [rng.choice(["sea", "Straße", "日", "e\u0301", "\ud800"]) for _ in range(60)]
    for n in (8, 10):
        hasher = _RunHasher(n, KEY)
        assert [hasher(words[i : i + n]) for i in range(60 - n + 1)] == run_hashes(
            words, n, KEY
        ).tolist()


def test_the_index_finds_what_was_added_and_nothing_else(tmp_path: Path) -> None:
    index = RunIndex(tmp_path, KEY)
    assert index.add([f"before it {TEN} and after"]) == 5
    assert index.has(TEN.upper().lower().split())
    assert not index.has([*TEN.split()[:9], "eleven"])
    assert not index.has(TEN.split()[:9])
    assert RunIndex(tmp_path, KEY).load().has(TEN.split())
    assert not RunIndex(tmp_path, b"q" * 32).load().has(TEN.split())
    assert index.add([TEN]) == 0


def test_many_additions_are_merged_and_private_and_readers_may_load_meanwhile(
    tmp_path: Path,
) -> None:
    index, reader = RunIndex(tmp_path / "runs", KEY), RunIndex(tmp_path / "runs", KEY)
    for i in range(24):
        index.add([f"{TEN} number {i}"])
        assert reader.load().has(f"three four five six seven eight nine ten number {i}".split())
    files = list((tmp_path / "runs").iterdir())
    assert len(files) <= 6
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in files)
    assert len(reader.load()) == len(index)


def test_both_lengths_live_in_one_folder(tmp_path: Path) -> None:
    RunIndex(tmp_path, KEY, 8).add([TEN])
    RunIndex(tmp_path, KEY, 10).add([TEN])
    assert len(RunIndex(tmp_path, KEY, 8).load()) == 3
    assert len(RunIndex(tmp_path, KEY, 10).load()) == 1


def test_half_a_million_words_are_indexed_in_a_few_seconds(tmp_path: Path) -> None:
    rng = random.Random(1)
    words = [f"word{i}" for i in range(30_000)]
    text = " ".join(rng.choices(words, k=500_000))
    started = time.process_time()
    RunIndex(tmp_path, KEY).add([text])
    assert time.process_time() - started < 6.0
