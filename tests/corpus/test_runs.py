"""Words, keyed runs of words, and the index that the copy guard lives on."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vaultgpt.corpus.runs import RunIndex, _RunHasher, coarse, run_hashes

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


_ASKED = """
import re, sys
from pathlib import Path
import numpy as np
from vaultgpt.corpus.runs import RunIndex

def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

index, asked = RunIndex(Path(sys.argv[1]), b""), np.arange(0, 1 << 30, 1 << 14, dtype=np.uint64)
index.on_disk(asked[:100] << np.uint64(34))
before = peak_mb()
assert index.on_disk(asked << np.uint64(34)).all()
print(peak_mb() - before)
"""


def test_what_is_asked_of_the_files_is_what_is_in_them(tmp_path: Path) -> None:
    index, rng = RunIndex(tmp_path, KEY), np.random.default_rng(1)
    every = coarse(rng.integers(0, 2**64, 600_000, dtype=np.uint64, endpoint=False))
    index.append(every[::2])
    asked = np.concatenate([rng.permutation(every), np.array([0, 2**64 - 1], dtype=np.uint64)])
    assert (index.on_disk(asked) == index.load().contains(asked)).all()
    (name,) = index.names()
    (tmp_path / name).write_bytes(b"no header")
    assert index.on_disk(asked).all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_asking_the_files_takes_no_memory_by_their_size(tmp_path: Path) -> None:
    """1. A file of 4 million runs, 32 MB. 2. 65,000 spread over all of it are asked of it in a
    process of its own. Result: its peak grows by less than 8 MB.
    """
    RunIndex(tmp_path, b"").append(np.arange(1 << 22, dtype=np.uint64) << np.uint64(42))
    command = [sys.executable, "-c", _ASKED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 8
