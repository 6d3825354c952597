"""What the author wants forgotten: barred for ever, wherever it stands.

Knows nothing about scans or rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import Hashes, ascending
from vaultgpt.errors import NotFound
from vaultgpt.ledger.compact import pack_runs, unpack_runs
from vaultgpt.ledger.database import Database
from vaultgpt.ledger.entries import Entries
from vaultgpt.ledger.guard import Guard
from vaultgpt.ledger.memory_file import Line, RememberedEntry, Restated, pack, unpack
from vaultgpt.ledger.schema import given_id, kept_id, kept_text

SHORTEST = 4  # words of a paragraph that is barred by itself; "Yes." stays free


class Forgotten:
    """The part of the ledger about forgotten text."""

    def __init__(self, db: Database, entries: Entries, guard: Guard) -> None:
        self._db, self._entries, self._guard = db, entries, guard

    def add(self, target: str, now: float) -> list[str]:
        """Bar an entry, or all entries of a note, for ever; the ids. NotFound when none is known.

        `target` is an entry id or a path in the vault. Its 10-word runs stay in the copy guard and
        its paragraphs are never learned again wherever they stand. Generations that learned it are
        barred from now on, and a fresh round is due at once. Doing it twice changes nothing."""
        with self._db.write() as sql:
            rows = sql.execute("SELECT id FROM entries WHERE id=?", (kept_id(target),)).fetchall()
            rows = (
                rows
                or sql.execute(
                    "SELECT e.id FROM entries e JOIN notes n ON n.n = e.note WHERE n.path=? "
                    "ORDER BY e.id",
                    (kept_text(target),),
                ).fetchall()
            )
            if not rows:
                raise NotFound(
                    "The ledger knows no such note.",
                    "Give its path in the vault; `vaultgpt scan` reads the vault first.",
                )
            ids = [given_id(row["id"]) for row in rows]
            lines = [self._line(entry) for entry in ids]
            self._add_runs(lines)
            self._db.remember("forget", now, entries=lines)
            for line in lines:
                self._bar_entry(line["entry"], line["paragraphs"])
            self._db.set_meta("forgot_at", str(now))
        return ids

    def _line(self, entry: str) -> RememberedEntry:
        line = self._entries.remembered(entry)
        sql = self._db.sql
        there = {digest for digest, words in self._entries.digests_of(entry) if words >= SHORTEST}
        once = sql.execute(
            "SELECT DISTINCT digest FROM learned WHERE entry=? AND words >= ?",
            (kept_id(entry), SHORTEST),
        ).fetchall()
        return {
            **line,
            "paragraphs": sorted(there | {given_id(r["digest"]) for r in once}),
            "runs": pack(unpack_runs(self._runs_of(entry))),
        }

    def _runs_of(self, entry: str) -> bytes:
        rows = self._db.read(
            "SELECT r.ten FROM entries e JOIN runs r ON r.entry = e.n WHERE e.id=?",
            (kept_id(entry),),
        )
        return bytes(rows[0]["ten"]) if rows else b""

    def _add_runs(self, lines: Sequence[RememberedEntry]) -> None:
        """Their runs into the copy guard's index; adding hashes takes no key."""
        if lines:
            runs = np.concatenate([unpack(line["runs"]) for line in lines])
            self._guard.add(runs)

    def _bar_entry(self, entry: str, digests: Sequence[str]) -> None:
        sql = self._db.sql
        sql.execute("UPDATE entries SET forgotten=1 WHERE id=?", (kept_id(entry),))
        for digest in map(kept_id, digests):
            sql.execute("INSERT OR IGNORE INTO forgotten VALUES (?)", (digest,))
            sql.execute("UPDATE texts SET shingles=x'' WHERE digest=?", (digest,))
        rows = sql.execute("SELECT n FROM entries WHERE id=?", (kept_id(entry),)).fetchall()
        self._entries.touch_copies([row["n"] for row in rows])

    def restate(self, now: float) -> Iterator[Restated]:
        """All that is forgotten as a line of memory.jsonl."""
        rows = self._db.read("SELECT id FROM entries WHERE forgotten ORDER BY id")
        ids = [given_id(row["id"]) for row in rows]
        if lines := [self._line(entry) for entry in ids]:
            named = {digest for line in lines for digest in line["paragraphs"]}
            lines[0]["paragraphs"] = sorted({*lines[0]["paragraphs"], *(self.digests() - named)})
            yield "forget", now, {"entries": lines}

    def replay(self, line: Line) -> None:
        """Do again what a line of memory.jsonl says; twice changes nothing."""
        for one in line["entries"]:
            self._entries.ghost(one, line["time"])
            self._bar_entry(one["entry"], one["paragraphs"])
            runs = unpack(one["runs"])
            if not self._runs_of(one["entry"]):
                self._db.sql.execute(
                    "INSERT OR REPLACE INTO runs SELECT n, ? FROM entries WHERE id=?",
                    (pack_runs(ascending(runs)), kept_id(one["entry"])),
                )
        self._add_runs(line["entries"])

    def bar(self, digests: Sequence[str]) -> None:
        """Paragraphs that hold a run of a forgotten note: they are never learned either."""
        if digests:
            with self._db.write() as sql:
                sql.executemany(
                    "INSERT OR IGNORE INTO forgotten VALUES (?)", [(kept_id(d),) for d in digests]
                )

    def digests(self) -> set[str]:
        """Digests of paragraphs that are barred everywhere."""
        return {given_id(r["digest"]) for r in self._db.read("SELECT digest FROM forgotten")}

    def runs(self) -> Hashes:
        """uint64: the 10-word runs of all forgotten entries, sorted, as runs.coarse gives them."""
        rows = self._db.read(
            "SELECT r.ten FROM entries e JOIN runs r ON r.entry = e.n WHERE e.forgotten"
        )
        parts = [unpack_runs(row["ten"]) for row in rows]
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.uint64)
