"""The copy guard's index beside the ledger: runs of 10 words, made anew where it is damaged.

Knows nothing about scans. The ledger remembers which files there must be.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import GUARD_WORDS, Hashes, RunIndex
from vaultgpt.errors import StateError
from vaultgpt.ledger.compact import unpack_runs
from vaultgpt.ledger.database import Database

if TYPE_CHECKING:
    import numpy.typing as npt

_FILES = "guard10"
_AT_ONCE = 5_000  # entries whose runs are added at once


class Guard:
    """The part of the ledger about the guard's index."""

    def __init__(self, db: Database, folder: Path) -> None:
        self._db, self._folder = db, folder
        self._sound: dict[str, tuple[int, int, int]] = {}  # segments that were read -> their stamps

    def add(self, runs: Hashes) -> None:
        """Put runs into the index, inside `write`; it is mended first where a file is missing."""
        index = self._index()
        if not self._complete(index):
            self._mend(index)
        try:
            index.append(runs)
        except StateError:  # a segment that was to be merged is damaged
            self._mend(index)
        self._db.set_meta(_FILES, " ".join(index.names()))

    def known(self, runs: Hashes) -> npt.NDArray[np.bool_]:
        """bool [len(runs)]: which of them some note has or had."""
        return self._index().on_disk(runs)

    def mend(self) -> bool:
        """Make whole what is damaged or missing, from the entries' runs; whether anything was."""
        index = self._index()
        if self._whole(index):
            return False
        with self._db.write(touch=False):
            if self._whole(index):  # another process had merged what it had not yet committed
                return False
            self._mend(index)
            self._db.set_meta(_FILES, " ".join(index.names()))
        return True

    def _whole(self, index: RunIndex) -> bool:
        """Nothing is missing or damaged. A segment never changes, so it is read once: 75 MB take
        0.15 s, and whoever swaps a voice waits for that."""
        try:
            found = [(name, (self._folder / name).stat()) for name in index.names()]
            stamps = {n: (s.st_mtime_ns, s.st_ctime_ns, s.st_size) for n, s in found}
            anew = [name for name in stamps if self._sound.get(name) != stamps[name]]
            if not all(map(index.sound, anew)):
                return False
        except FileNotFoundError:  # a writer merges segments
            return False
        self._sound = stamps
        return self._complete(index)

    def _index(self) -> RunIndex:
        return RunIndex(self._folder, b"", GUARD_WORDS)

    def _complete(self, index: RunIndex) -> bool:
        """Whether the files that were written are there; nothing was before the first entry."""
        if (known := self._db.meta(_FILES)) is None:
            return not self._db.read("SELECT 1 FROM runs LIMIT 1")
        return set(known.split()) <= set(index.names())

    def _mend(self, index: RunIndex) -> None:
        index.salvage()
        last = -1
        while rows := self._db.read(
            "SELECT entry, ten FROM runs WHERE entry > ? ORDER BY entry LIMIT ?", (last, _AT_ONCE)
        ):
            last = rows[-1]["entry"]
            index.append(np.concatenate([unpack_runs(row["ten"]) for row in rows]))
