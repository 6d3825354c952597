"""The connection, its one writer, and keeping memory.jsonl in step with it.
Knows nothing about the vault, about rounds, or what the rows mean.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from zlib import crc32

from vaultgpt import __version__
from vaultgpt.ledger.memory_file import Line, MemoryFile, Restated
from vaultgpt.ledger.schema import BUSY_MS

Key = Callable[[], bytes]  # of the keyed hashes; StateError when it is not the ledger's
_T = TypeVar("_T")
_Replay = Callable[[Line], None]
_BATCH_ROWS = 5_000
_AT_ONCE = 500  # values in one query
_CLOCK_S = 60.0  # by which the clocks of two processes, or one that is set, may differ
_STAMPS = (
    ("notes", "gone_since"),
    ("entries", "first_seen"),
    ("entries", "changed"),
    ("entries", "absent_since"),
    ("sightings", "time"),
    ("emitted", "time"),
    ("rounds", "started"),
    ("rounds", "ended"),
    ("active", "since"),
)


class _Values(list[Any]):
    """Some values for a query."""

    @property
    def marks(self) -> str:
        """A question mark for each."""
        return ",".join("?" * len(self))


def in_parts(values: Sequence[Any]) -> Iterator[_Values]:
    """Values, for as many queries as they need."""
    for at in range(0, len(values), _AT_ONCE):
        yield _Values(values[at : at + _AT_ONCE])


class Database:
    """A ledger's connection, shared by its parts. They change rows inside `write` only."""

    def __init__(self, sql: sqlite3.Connection, memory: MemoryFile) -> None:
        self.sql, self.memory = sql, memory
        # Set by the ledger: who does a kind of line again, and all lines from the tables.
        self.replays: Mapping[str, _Replay] = {}
        self.restate: Callable[[], Iterator[Restated]] = lambda: iter(())
        self._lock = threading.RLock()
        self._depth = 0

    @staticmethod
    def known_memory(sql: sqlite3.Connection) -> tuple[str, int, str] | None:
        """What the tables have of memory.jsonl: its digest, its last line's number and sum."""
        found = dict(map(tuple, sql.execute("SELECT * FROM meta WHERE key LIKE 'memory_%'")))
        try:
            return found["memory_digest"], int(found["memory_line"]), found["memory_sum"]
        except (KeyError, ValueError):
            return None

    @contextlib.contextmanager
    def write(self, *, touch: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction; nested calls join it. On any exception nothing of it stands.

        `touch`: what is computed from entries and generations must be computed anew."""
        with self._lock:
            if self._depth:
                yield self.sql
                return
            self.sql.execute("BEGIN IMMEDIATE")
            self._depth = 1
            mark = None
            try:
                replayed = self._agree()
                mark = self.memory.mark()
                yield self.sql
                if touch or replayed:
                    self.set_meta("version", os.urandom(8).hex())
                self.sql.execute("COMMIT")
            except BaseException:
                if mark is not None:
                    with contextlib.suppress(OSError):
                        self.memory.cut_back(mark)  # while the lock is still ours
                with contextlib.suppress(sqlite3.Error):
                    self.sql.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._lock:
            return self.sql.execute(sql, values).fetchall()

    def tuples(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The same as plain tuples, for very many."""
        with self._lock:
            cursor = self.sql.cursor()
            cursor.row_factory = None
            return cursor.execute(sql, values).fetchall()

    def rows(self, sql: str) -> Iterator[sqlite3.Row]:
        """All rows of a query, one at a time."""
        for some in self.batches(sql):
            yield from some

    def batches(self, sql: str) -> Iterator[list[sqlite3.Row]]:
        """All rows of a query, some at a time."""
        found = self.sql.execute(sql)
        while rows := found.fetchmany(_BATCH_ROWS):
            yield rows

    def meta(self, key: str) -> str | None:
        """A value kept under a name; None when there is none."""
        rows = self.read("SELECT value FROM meta WHERE key=?", (key,))
        return rows[0]["value"] if rows else None

    def set_meta(self, key: str, value: str | None) -> None:
        """Keep a value under a name; None removes it."""
        with self._lock:
            if value is None:
                self.sql.execute("DELETE FROM meta WHERE key=?", (key,))
            else:
                self.sql.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value))

    def count(self, key: str) -> int:
        """A whole number that is kept under a name; 0 where there is none."""
        said = self.meta(key) or ""
        return int(said) if said.isdecimal() else 0

    def keep(self, key: str, value: object) -> None:
        """The same as `note`, as JSON holds it, for what is made again where it is not `found`."""
        text = json.dumps(value)
        self.note(key, f"{crc32(text.encode()):08x} {text}")

    def found(self, key: str) -> Any:
        """What `keep` was given; None where nothing was, or what stands there is something else."""
        said, _, text = (self.meta(key) or "").partition(" ")
        return json.loads(text) if said == f"{crc32(text.encode()):08x}" else None

    def note(self, key: str, value: str) -> None:
        """Keep a value that nothing else is computed from, in a transaction of its own."""
        if self.meta(key) != value:
            with self.write(touch=False):
                self.set_meta(key, value)

    def tried(self, work: Callable[[], object]) -> bool:
        """Whether it could be done: not where another process writes just now, or a disk is full.

        It waits for nobody, so it is for what can be made again."""
        with self._lock:
            self.sql.execute("PRAGMA busy_timeout=0")
            try:
                work()
            except sqlite3.OperationalError:
                return False
            finally:
                self.sql.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            return True

    def kept(
        self, key: str, make: Callable[[], _T], first: Callable[[], object] = lambda: None
    ) -> _T:
        """What `make` computes of the rows, as JSON holds it; again only when one has changed.

        `first` marks rows for it; where that can't be tried, it computes of them as they are."""
        with self._lock:
            if self._depth:  # they change just now
                first()
                return make()
            of: object = [__version__, self.meta("version")]
            if (found := self.found(key)) and found["of"] == of:
                known: _T = found["value"]
                return known
            marked, value = self.tried(first), make()
            if marked:
                self.tried(lambda: self.keep(key, {"of": of, "value": value}))
            return value

    def remember(self, kind: str, now: float, **fields: Any) -> None:
        """Write a line into memory.jsonl, inside `write`; after a kill it stands without the rows,
        which are then made from it."""
        self.memory.append(kind, now, **fields)
        self._note_memory()

    def catch_up(self) -> None:
        """Bring memory.jsonl and the tables together where they differ, at every opening.

        Lines that the tables lack are applied: after a crash, or after the tables' loss. A file
        that was cut, changed or lost is set aside and written anew from the tables."""
        self.memory.refresh()
        if self.memory.digest != self.meta("memory_digest"):
            with self.write():
                pass

    def _agree(self) -> bool:
        """Whether the tables lacked anything of memory.jsonl, as `catch_up` says."""
        self.memory.refresh()
        if self.memory.digest == self.meta("memory_digest"):
            return False
        done, known = self.count("memory_line"), self.meta("memory_sum")
        lines = self.memory.read()
        whole = not self.memory.damaged and self.memory.last >= done
        for line in lines:
            if line["n"] == done and known is not None:
                whole = whole and line["sum"] == known
            elif line["n"] > done and (replay := self.replays.get(line["kind"])) is not None:
                replay(line)
        if not whole:
            self.memory.rewrite(self.restate())
            self.set_meta("memory_repaired", str(self.count("memory_repaired") + 1))
        self._note_memory()
        return True

    def _note_memory(self) -> None:
        self.set_meta("memory_line", str(self.memory.last))
        self.set_meta("memory_sum", self.memory.sum)
        self.set_meta("memory_digest", self.memory.digest)

    def tell_time(self, now: float) -> None:
        """Stamps in the future come from a clock that was wrong: the latest of them counts as now.

        The others stay as long before it as they were, so that what waits goes on waiting as long
        as it must, and what was emitted before a text was seen stays before it."""
        latest = self.read(
            "SELECT MAX(?, "
            "COALESCE((SELECT MAX(time) FROM emitted), 0), "
            "COALESCE((SELECT MAX(MAX(started, COALESCE(ended, 0))) FROM rounds), 0), "
            "COALESCE((SELECT CAST(value AS REAL) FROM meta WHERE key='told_time'), 0)) AS t",
            (self.kept("last_change", self._last_change),),
        )[0]["t"]
        if latest <= now + _CLOCK_S:
            return
        with self.write() as sql:
            for table, column in _STAMPS:
                sql.execute(
                    f"UPDATE OR REPLACE {table} SET {column} = {column} - ? WHERE {column} > ?",
                    (latest - now, now),
                )
            self.set_meta("told_time", str(now))

    def _last_change(self) -> float:
        found = self.read("SELECT COALESCE(MAX(changed), 0) AS t FROM entries")
        return float(found[0]["t"])

    def empty(self) -> None:
        """Delete every row. What others computed of them is void."""
        with self.write():
            version = self.meta("version")
            tables = self.sql.execute("SELECT name FROM sqlite_master WHERE type='table'")
            for table in [row["name"] for row in tables]:
                self.sql.execute(f"DELETE FROM {table}")
            self.set_meta("version", version)

    def pack(self) -> None:
        """Give back the room that is left in the file's pages, where the disk has room for that."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self.sql.execute("VACUUM")
            self.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rest(self) -> None:
        """Give back the pages that are held for the next query: 2 MB a connection."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self.sql.execute("PRAGMA shrink_memory")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self.sql.close()
