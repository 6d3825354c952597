"""Generations, what each learned, and which one is active: one row.

Knows nothing about the vault's text or about their folders.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from vaultgpt.errors import Conflict, NotFound
from vaultgpt.ledger.database import Database, in_parts
from vaultgpt.ledger.entries import LIVE
from vaultgpt.ledger.memory_file import Line, Restated
from vaultgpt.ledger.rows import GenerationRow, LearnedParagraph
from vaultgpt.ledger.schema import given_id, kept_id

KNOWN_OF = "known_of"  # the active generation that texts.known tells of


class Generations:
    """The part of the ledger about generations."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def active(self) -> str | None:
        """The id of the generation that writes; None is the base."""
        rows = self._db.read("SELECT generation FROM active WHERE one=1")
        return rows[0]["generation"] if rows else None

    def writing(self) -> str | None:
        """The id of the one that may write: the active one, unless it learned what was forgotten.

        Then it is the newest that was promoted and did not; None is the base."""
        active = self.active()
        return self._newest() if active in self.barred() else active

    def earlier(self) -> str | None:
        """The newest older than the active one, or of all where the base is, that may write."""
        return self._newest(self.active())

    def _newest(self, before: str | None = None) -> str | None:
        names = (g.id for g in self.all_usable())
        return max((name for name in names if before is None or name < before), default=None)

    def all_usable(self) -> list[GenerationRow]:
        """Those kept that were promoted and learned nothing that was forgotten, old ones first."""
        barred = self.barred()
        return [g for g in self.all() if g.promoted and g.id not in barred]

    def usable(self, generation: str) -> GenerationRow:
        """The row of one that may write. NotFound; Conflict where it learned what was forgotten."""
        row = self.get(generation)
        if generation in self.barred():
            raise Conflict(
                f"{generation} learned a note that was forgotten.",
                "A fresh round makes one without it: `vaultgpt train`.",
            )
        if row.status != "kept":
            raise NotFound(
                f"{generation} is not kept any more: it is {row.status}.",
                "`vaultgpt generations` lists what is.",
            )
        return row

    def base(self, chosen: str) -> str:
        """The name of the base that writes: `chosen`, the settings', does once it has learned."""
        writing = self.writing()
        return chosen if writing is None else self.get(writing).base

    def activate(self, generation: str | None, now: float) -> None:
        """Make a generation the active one; None is the base. NotFound and Conflict as `usable`."""
        with self._db.write() as sql:
            if generation is not None:
                self.usable(generation)
            self._db.remember("active", now, generation=generation)
            sql.execute("INSERT OR REPLACE INTO active VALUES (1, ?, ?)", (generation, now))

    def get(self, generation: str) -> GenerationRow:
        """One generation's row. NotFound."""
        rows = self._db.read("SELECT * FROM generations WHERE id=?", (generation,))
        if not rows:
            raise NotFound(f"There is no voice {generation}.", "`vaultgpt generations` lists them.")
        return _generation(rows[0])

    def all(self, kept: bool = True) -> list[GenerationRow]:
        """Generations by age, only those whose folder is kept unless told otherwise."""
        where = "WHERE status='kept'" if kept else ""
        rows = self._db.read(f"SELECT * FROM generations {where} ORDER BY id")
        return [_generation(r) for r in rows]

    def restate(self, now: float) -> Iterator[Restated]:
        """What is active, or was when the table was lost, as a line of memory.jsonl."""
        if (active := self.active() or self._db.meta("remembered_active")) is not None:
            yield "active", now, {"generation": active}

    def replay(self, line: Line) -> None:
        """A line of memory.jsonl about activation: remembered, for when the table is lost."""
        self._db.set_meta("remembered_active", line["generation"])

    def lineage(self, generation: str | None) -> list[GenerationRow]:
        """The generation and those it continued, back to its fresh one; [] for the base."""
        return _chain(generation, {g.id: g for g in self.all(kept=False)})

    def last_fresh(self) -> str | None:
        """The fresh generation that the active one continues, or itself; None for the base."""
        chain = self.lineage(self.active())
        return chain[-1].id if chain else None

    def learned(self, generation: str | None) -> set[str]:
        """Digests of all paragraphs that the generation and its forebears learned."""
        found: set[str] = set()
        for one in self.lineage(generation):
            rows = self._db.read("SELECT digest FROM learned WHERE generation=?", (one.id,))
            found |= {given_id(r["digest"]) for r in rows}
        return found

    def words_gone(self, generation: str | None, before: float) -> int:
        """Words that the generation and its forebears learned of entries that left the vault before
        that time, and that stand nowhere in it now."""
        chain = [one.id for one in self.lineage(generation)]
        marks = ",".join("?" * len(chain))
        rows = self._db.read(
            f"SELECT COALESCE(SUM(l.words), 0) AS n FROM learned l WHERE l.generation IN ({marks}) "
            "AND l.entry IN (SELECT id FROM entries WHERE absent_since <= ? AND NOT forgotten) "
            "AND NOT EXISTS (SELECT 1 FROM texts t JOIN paragraphs p ON p.text = t.n "
            f"JOIN entries e ON e.n = p.entry WHERE t.digest = l.digest AND {LIVE})",
            [*chain, before],
        )
        return int(rows[0]["n"])

    def barred(self) -> set[str]:
        """Ids of generations that learned what was forgotten since, they or their forebears."""
        if not self._db.read("SELECT 1 FROM entries WHERE forgotten LIMIT 1") and not self._db.read(
            "SELECT 1 FROM forgotten LIMIT 1"
        ):
            return set()
        direct = {
            r["generation"]
            for r in self._db.read(
                "SELECT generation FROM learned WHERE digest IN (SELECT digest FROM forgotten) "
                "UNION SELECT generation FROM learned "
                "WHERE entry IN (SELECT id FROM entries WHERE forgotten)"
            )
        }
        known = {g.id: g for g in self.all(kept=False)}
        return {name for name in known if direct & {one.id for one in _chain(name, known)}}

    def set_status(self, generation: str, status: str) -> None:
        """Note that a generation's folder is "kept", "erased", "missing" or "damaged"."""
        with self._db.write() as sql:
            sql.execute("UPDATE generations SET status=? WHERE id=?", (status, generation))

    def fold(self) -> None:
        """What erased generations learned, whom none that is left continues, as one list of it.

        Forgetting asks for every paragraph that an entry ever had, not for who learned it."""
        known = {g.id: g for g in self.all(kept=False)}
        left = [g.id for g in known.values() if g.status != "erased"]
        wanted = {one.id for name in left for one in _chain(name, known)}
        with self._db.write(touch=False) as sql:
            for some in in_parts(sorted(known.keys() - wanted)):
                these = f"generation IN ({some.marks})"
                sql.execute(f"UPDATE OR REPLACE learned SET generation='' WHERE {these}", some)
                sql.execute(
                    f"UPDATE rounds SET segments='{{}}' WHERE {these} AND segments IS NOT '{{}}'",
                    some,
                )

    def add(self, row: GenerationRow, learned: Iterable[LearnedParagraph]) -> None:
        """Enter a published generation with what it learned by itself."""
        with self._db.write() as sql:
            sql.execute(
                "INSERT OR REPLACE INTO generations VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    row.id,
                    row.round,
                    row.kind,
                    row.parent,
                    row.base,
                    json.dumps(row.base_sha256),
                    row.created,
                    row.promoted,
                    row.status,
                    row.rank_setting,
                    row.embedding_setting,
                    row.words,
                ),
            )
            sql.executemany(
                "INSERT OR REPLACE INTO learned VALUES (?,?,?,?)",
                [(kept_id(digest), kept_id(entry), row.id, n) for entry, digest, n in learned],
            )
            if self._db.meta(KNOWN_OF) == row.id:
                self._db.set_meta(KNOWN_OF, None)


def _chain(generation: str | None, known: Mapping[str, GenerationRow]) -> list[GenerationRow]:
    chain: list[GenerationRow] = []
    row = known.get(generation or "")
    while row is not None and row not in chain:
        chain.append(row)
        row = known.get(row.parent or "") if row.kind != "fresh" else None
    return chain


def _generation(row: sqlite3.Row) -> GenerationRow:
    fields = dict(row)
    fields["base_sha256"] = json.loads(fields["base_sha256"])
    fields["promoted"] = bool(fields["promoted"])
    fields["embedding_setting"] = bool(fields["embedding_setting"])
    return GenerationRow(**fields)
