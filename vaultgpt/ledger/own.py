"""What the mirror itself emitted, and what the author wants forgotten.

Knows nothing about scans or rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vaultgpt.corpus.provenance import OFFERED_S, counts, emitted_runs
from vaultgpt.corpus.runs import COPY_WORDS, GUARD_WORDS, Hashes, RunIndex
from vaultgpt.errors import NotFound
from vaultgpt.ledger.core import Core, pack

SHORTEST_FORGOTTEN = 4  # words of a paragraph that is barred by itself; "Yes." stays free


class Emitted:
    """A snapshot of what was emitted, for provenance.mask_ranges."""

    def __init__(self, rows: list[tuple[int, int, float, bool]], key: bytes) -> None:
        self.key = key
        self._times: dict[int, list[tuple[float, bool]]] = {}
        lengths = set()
        for value, length, time, accepted in rows:
            self._times.setdefault(value, []).append((time, accepted))
            lengths.add(length)
        self._lengths = tuple(sorted(lengths))
        self._hashes: Hashes = np.array(sorted(self._times), dtype=np.int64).view(np.uint64)
        self._hashes = np.sort(self._hashes)

    def lengths(self) -> tuple[int, ...]:
        """Run lengths that occur, ascending."""
        return self._lengths

    def matches(self, hashes: Hashes, first_seen: float) -> npt.NDArray[np.bool_]:
        """bool [len(hashes)]: emitted before a text first seen then, and still counting."""
        found: npt.NDArray[np.bool_] = np.isin(hashes, self._hashes)
        for at in np.flatnonzero(found):
            value = int(hashes[at : at + 1].view(np.int64)[0])
            found[at] = any(counts(t, a, first_seen) for t, a in self._times[value])
        return found


class OwnWords(Core):
    """The part of the ledger about emitted, accepted and forgotten text."""

    def note_emitted(self, text: str, now: float, path: str | None = None) -> None:
        """The mirror offered this. Its hashes are kept for 24 hours, or for good once matched."""
        with self._write(touch=False):
            for length, hashes in emitted_runs(text, self.key, accepted=False).items():
                self._emitted_rows(hashes, length, now, accepted=False, matched=False)

    def note_accepted(self, text: str, now: float, path: str | None = None) -> None:
        """The author took this text: it never carries loss. Kept for ever, in memory.jsonl too."""
        with self._write(touch=False):
            for length, hashes in emitted_runs(text, self.key, accepted=True).items():
                self.memory.append("emitted", now, emitted=now, length=length, accepted=True,
                                   hashes=pack(hashes))
                self._emitted_rows(hashes, length, now, accepted=True, matched=True)

    def emitted(self) -> Emitted:
        """All that was emitted and still counts."""
        rows = self._read("SELECT hash, length, time, accepted FROM emitted")
        return Emitted([(r["hash"], r["length"], r["time"], bool(r["accepted"])) for r in rows],
                       self.key)

    def _match_emitted(self, runs8: Hashes, now: float) -> None:
        """Keep what was offered and now stands in new text; let older offers go."""
        rows = self.db.execute("SELECT DISTINCT hash FROM emitted WHERE NOT matched AND length=? "
                               "AND time >= ?", (COPY_WORDS, now - OFFERED_S)).fetchall()
        offered: Hashes = np.array([r["hash"] for r in rows], dtype=np.int64).view(np.uint64)
        found = offered[np.isin(offered, runs8)]
        if len(found):
            self.memory.append("emitted", now, emitted=now, length=COPY_WORDS, accepted=False,
                               hashes=pack(found))
            self.db.executemany("UPDATE emitted SET matched=1 WHERE hash=? AND time >= ?",
                                [(int(h), now - OFFERED_S) for h in found.view(np.int64)])
        self.db.execute("DELETE FROM emitted WHERE NOT accepted AND NOT matched AND time < ?",
                        (now - OFFERED_S,))

    def forget(self, target: str, now: float) -> list[str]:
        """Bar an entry, or all entries of a note, for ever; the ids. NotFound when none is known.

        `target` is an entry id or a path in the vault. Its 10-word runs stay in the copy guard and
        its paragraphs are never learned again wherever they stand. Generations that learned it are
        barred from now on, and a fresh round is due at once. Doing it twice changes nothing.
        """
        with self._write() as db:
            rows = db.execute("SELECT id FROM entries WHERE id=?", (target,)).fetchall()
            rows = rows or db.execute("SELECT id FROM entries WHERE path=?", (target,)).fetchall()
            if not rows:
                raise NotFound("The ledger knows no such note.",
                               "Give its path in the vault; `vaultgpt scan` reads the vault first.")
            ids = [row["id"] for row in rows]
            lines = [self._forget_line(entry) for entry in ids]
            self.memory.append("forget", now, entries=lines)
            for line in lines:
                self._forget_rows(line["entry"], line["paragraphs"])
            self.set_meta("forgot_at", str(now))
        return ids

    def _forget_line(self, entry: str) -> dict[str, Any]:
        line = self._remembered(entry)
        now_there = self.db.execute("SELECT digest FROM paragraphs WHERE entry=? AND words >= ?",
                                    (entry, SHORTEST_FORGOTTEN)).fetchall()
        once = self.db.execute("SELECT DISTINCT digest FROM learned WHERE entry=? AND words >= ?",
                               (entry, SHORTEST_FORGOTTEN)).fetchall()
        row = self.db.execute("SELECT runs10 FROM entries WHERE id=?", (entry,)).fetchone()
        runs = np.frombuffer(row["runs10"], dtype=np.uint64)
        RunIndex(self.state.runs, self.key, GUARD_WORDS).add_hashes(runs)
        return {**line, "paragraphs": sorted({r["digest"] for r in [*now_there, *once]}),
                "runs": pack(runs)}

    def bar(self, digests: Sequence[str]) -> None:
        """Paragraphs that hold a run of a forgotten note: they are never learned either."""
        if digests:
            with self._write() as db:
                db.executemany("INSERT OR IGNORE INTO forgotten VALUES (?)",
                               [(d,) for d in digests])

    def forgotten(self) -> tuple[set[str], set[str]]:
        """(ids of forgotten entries, digests of paragraphs that are barred everywhere)."""
        ids = {r["id"] for r in self._read("SELECT id FROM entries WHERE forgotten")}
        return ids, {r["digest"] for r in self._read("SELECT digest FROM forgotten")}

    def forgotten_runs(self) -> Hashes:
        """uint64: the 10-word runs of all forgotten entries, sorted."""
        rows = self._read("SELECT runs10 FROM entries WHERE forgotten")
        parts = [np.frombuffer(r["runs10"], dtype=np.uint64) for r in rows]
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.uint64)
