"""A fault at seeded writes of scan, train, save, publish, forget and activate: the quick part.

`make soak` does every write. The sentence of each is what `faulty.check` looks for.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import faulty
from tests.ledger.vaults import HOUR, NOW
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.mend import repair

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")


@pytest.mark.parametrize(("fault", "points"), [("kill", 5), ("ENOSPC", 3), ("EIO", 2)])
def test_a_fault_at_any_write_loses_nothing_that_was_told(
    tmp_path: Path, fault: faulty.Fault, points: int
) -> None:
    """1. A vault is scanned, trained, a note forgotten, text accepted, another generation made
    active. 2. At one of its writes the process is killed, or the disk refuses. 3. It starts again.
    Result: what was told as done stands, what writes is sound, nothing forgotten is learned, and
    the next round passes. A few seeded writes of some 130 here.
    """
    for at in random.Random(f"22 {fault}").sample(range(1, 131), points):
        vault = faulty.made(tmp_path / f"v{at}")
        done, _, odd = faulty.live(vault, at, fault)
        assert not odd, (at, odd)
        assert not (wrong := faulty.check(vault, done)), (at, done, wrong)


HARMS: dict[str, Callable[[Path], object]] = {
    "flip": lambda path: _flip(path),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    if data:
        at = random.Random(str(path.name)).randrange(len(data))
        data[at] ^= 1 << (at % 8)
        path.write_bytes(data)


def test_every_file_of_the_state_harmed_in_turn(tmp_path: Path) -> None:
    """1. A state with everything in it. 2. One of its files loses a bit, its end, or everything. 3.
    It starts again. Result: it opens, what writes is sound or the base, learning goes on or waits
    with a sentence, and no forgotten note is learned. Each file in turn.
    """
    from vaultgpt.errors import VaultGPTError

    first = faulty.made(tmp_path / "first")
    done, writes, odd = faulty.live(first, 0, "kill")
    assert done == list(faulty.STEPS) and writes > 100 and not odd
    names = sorted(
        str(p.relative_to(first.state.folder))
        for p in first.state.folder.rglob("*")
        if p.is_file() and not p.name.endswith((".lock", "-wal", "-shm"))
    )
    assert len(names) >= 12
    kept = tmp_path / "kept"
    shutil.copytree(first.state.folder, kept)
    for name, harm in zip(names, itertools.cycle(HARMS), strict=False):
        shutil.rmtree(first.state.folder)
        shutil.copytree(kept, first.state.folder)
        HARMS[harm](first.state.folder / name)
        try:
            with Ledger.open(first.state) as ledger:
                repair(first.state, ledger, NOW)
                ledger.guard.mend()
                first.record(ledger, NOW + HOUR)
                waits = ledger.paused()
                gone = {e.path for e in ledger.entries.all() if e.forgotten}
                assert waits or "note004.md" in gone, name
            if not waits:
                assert not (wrong := faulty.check(first, [])), (name, harm, wrong)
        except VaultGPTError as error:
            assert error.mend, (name, error)
