"""The connection, its one writer, and keeping memory.jsonl in step with it.

Knows nothing about the vault or about rounds.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vaultgpt.corpus.runs import GUARD_WORDS, Hashes, RunIndex
from vaultgpt.ledger.memory import Memory
from vaultgpt.state import VaultState


def pack(hashes: Hashes) -> str:
    """Hashes as base64, for memory.jsonl."""
    return base64.b64encode(np.ascontiguousarray(hashes, dtype="<u8").tobytes()).decode("ascii")


def unpack(text: str) -> Hashes:
    """The inverse of pack."""
    return np.frombuffer(base64.b64decode(text), dtype="<u8").astype(np.uint64)


class Core:
    """A ledger's connection. Methods that change rows run inside `_write`."""

    def __init__(self, state: VaultState, db: sqlite3.Connection, memory: Memory) -> None:
        self.state, self.db, self.memory = state, db, memory
        self.key = state.secret()
        self._lock = threading.RLock()
        self._depth = 0
        self._cache: dict[str, Any] = {}
        self._cache_key: str | None = None

    @contextlib.contextmanager
    def _write(self, *, touch: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction; nested calls join it. On any exception nothing of it stands.

        `touch`: what is computed from entries and generations must be computed anew.
        """
        with self._lock:
            if self._depth:
                yield self.db
                return
            self.db.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                self.memory.refresh()
                self._catch_up()
                yield self.db
                if touch:
                    self.set_meta("version", str(int(self.meta("version") or 0) + 1))
                self.set_meta("memory_line", str(self.memory.last))
                self.db.execute("COMMIT")
            except BaseException:
                self._cache_key = None
                with contextlib.suppress(sqlite3.Error):
                    self.db.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self.db.execute(sql, values).fetchall()

    def meta(self, key: str) -> str | None:
        """A value kept under a name; None when there is none."""
        rows = self._read("SELECT value FROM meta WHERE key=?", (key,))
        return rows[0]["value"] if rows else None

    def set_meta(self, key: str, value: str | None) -> None:
        """Keep a value under a name; None removes it."""
        with self._lock:
            if value is None:
                self.db.execute("DELETE FROM meta WHERE key=?", (key,))
            else:
                self.db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))

    def _catch_up(self) -> None:
        """Apply lines of memory.jsonl that the tables lack: after a crash, or after their loss."""
        done = int(self.meta("memory_line") or 0)
        if self.memory.last > done:
            for line in self.memory.read(after=done):
                self._apply(line)
            self.set_meta("memory_line", str(self.memory.last))

    def _apply(self, line: dict[str, Any]) -> None:
        """Do again what a line of memory.jsonl says; applying it twice changes nothing."""
        if line["kind"] == "held_out":
            for one in line["entries"]:
                self._ghost(one, line["time"])
                self.db.execute("UPDATE entries SET held_out=?, held_digests=?, decided=1 "
                                "WHERE id=?",
                                (2 if one["held"] else 1, json.dumps(one["held"]), one["entry"]))
            self.set_meta("held_out_chosen", "1")
        elif line["kind"] == "forget":
            for one in line["entries"]:
                self._ghost(one, line["time"])
                self._forget_rows(one["entry"], one["paragraphs"])
                runs = unpack(one["runs"])
                self.db.execute("UPDATE entries SET runs10=? WHERE id=? AND runs10=x''",
                                (runs.tobytes(), one["entry"]))
                RunIndex(self.state.runs, self.key, GUARD_WORDS).add_hashes(runs)
        elif line["kind"] == "emitted":
            self._emitted_rows(unpack(line["hashes"]), line["length"], line["emitted"],
                               accepted=line["accepted"], matched=True)
        elif line["kind"] == "scores":
            self.db.executemany("INSERT OR REPLACE INTO scores VALUES (?,?,?,?,?)",
                                [(line["round"], *row) for row in line["rows"]])
        elif line["kind"] == "active":
            self.set_meta("remembered_active", line["generation"])

    def _ghost(self, one: dict[str, Any], seen: float) -> None:
        """A row for an entry that only memory.jsonl knows, so that a scan can find it again."""
        if self.db.execute("SELECT 1 FROM entries WHERE id=?", (one["entry"],)).fetchone():
            return
        self.db.execute(
            "INSERT INTO entries (id, path, place, tags, words, first_seen, changed, absent_since) "
            "VALUES (?,'',?,'[]',?,?,?,?)",
            (one["entry"], one["place"], one["words"], seen, seen, seen))
        self.db.executemany("INSERT INTO paragraphs VALUES (?,?,?,1)", [
            (one["entry"], i, digest) for i, digest in enumerate(one["paragraphs"])])

    def _remembered(self, entry: str) -> dict[str, Any]:
        """What memory.jsonl keeps of an entry, by which it can be found again."""
        row = self.db.execute("SELECT place, words FROM entries WHERE id=?", (entry,)).fetchone()
        digests = [r["digest"] for r in self.db.execute(
            "SELECT digest FROM paragraphs WHERE entry=? ORDER BY position", (entry,))]
        return {"entry": entry, "place": row["place"], "words": row["words"], "paragraphs": digests}

    def _forget_rows(self, entry: str, digests: Sequence[str]) -> None:
        self.db.execute("UPDATE entries SET forgotten=1, runs8=x'' WHERE id=?", (entry,))
        for digest in digests:
            self.db.execute("INSERT OR IGNORE INTO forgotten VALUES (?)", (digest,))
            self.db.execute("UPDATE texts SET shingles=x'' WHERE digest=?", (digest,))

    def _emitted_rows(self, hashes: Hashes, length: int, time: float, *, accepted: bool,
                      matched: bool) -> None:
        self.db.executemany(
            "INSERT INTO emitted VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE SET "
            "accepted = MAX(accepted, excluded.accepted), matched = MAX(matched, excluded.matched)",
            [(int(h), length, time, accepted, matched) for h in hashes.view(np.int64)])

    def _cached(self, name: str) -> Any:
        """A value computed from the rows as they stand, or None after a change by any process."""
        with self._lock:
            version = self.meta("version")
            if self._depth or self._cache_key != version:
                self._cache, self._cache_key = {}, version
            return self._cache.get(name)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self.db.close()
