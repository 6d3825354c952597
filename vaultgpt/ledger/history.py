"""Rounds, generations, what each learned, and which one is active: one row.

Knows nothing about the vault's text. Verdict, learned text and active change in one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from vaultgpt.errors import Conflict, NotFound
from vaultgpt.ledger.core import Core
from vaultgpt.ledger.rows import GenerationRow, RoundRow

Learned = tuple[str, str, int]  # entry id, paragraph digest, words


class History(Core):
    """The part of the ledger about rounds and generations."""

    def active(self) -> str | None:
        """The id of the generation that writes; None is the base."""
        rows = self._read("SELECT generation FROM active WHERE one=1")
        return rows[0]["generation"] if rows else None

    def set_active(self, generation: str | None, now: float) -> None:
        """Make a kept generation the active one. NotFound; Conflict for one that learned what was
        forgotten."""
        with self._write() as db:
            if generation is not None:
                row = self.generation(generation)
                if row.status != "kept":
                    raise NotFound(f"{generation} is no longer kept.",
                                   "`vaultgpt generations` lists what is.")
                if generation in self.barred():
                    raise Conflict(f"{generation} learned a note that was forgotten.",
                                   "A fresh round makes one without it: `vaultgpt train`.")
            self.memory.append("active", now, generation=generation)
            db.execute("INSERT OR REPLACE INTO active VALUES (1, ?, ?)", (generation, now))

    def generation(self, generation: str) -> GenerationRow:
        """One generation's row. NotFound."""
        rows = self._read("SELECT * FROM generations WHERE id=?", (generation,))
        if not rows:
            raise NotFound(f"There is no generation {generation}.",
                           "`vaultgpt generations` lists them.")
        return _generation(rows[0])

    def generations(self, kept: bool = True) -> list[GenerationRow]:
        """Generations by age, only those whose folder is kept unless told otherwise."""
        where = "WHERE status='kept'" if kept else ""
        rows = self._read(f"SELECT * FROM generations {where} ORDER BY id")
        return [_generation(r) for r in rows]

    def lineage(self, generation: str | None) -> list[GenerationRow]:
        """The generation and those it continued, back to its fresh one; [] for the base."""
        known = {g.id: g for g in self.generations(kept=False)}
        chain: list[GenerationRow] = []
        while generation in known and known[generation] not in chain:
            chain.append(known[generation])
            generation = known[generation].parent if known[generation].kind != "fresh" else None
        return chain

    def last_fresh(self) -> str | None:
        """The fresh generation that the active one continues, or itself; None for the base."""
        chain = self.lineage(self.active())
        return chain[-1].id if chain else None

    def learned(self, generation: str | None) -> set[str]:
        """Digests of all paragraphs that the generation and its forebears learned."""
        found: set[str] = set()
        for one in self.lineage(generation):
            rows = self._read("SELECT digest FROM learned WHERE generation=?", (one.id,))
            found |= {r["digest"] for r in rows}
        return found

    def learned_rows(self, generation: str | None) -> list[Learned]:
        """(entry, digest, words) of all that the generation and its forebears learned."""
        return [(r["entry"], r["digest"], r["words"]) for one in self.lineage(generation)
                for r in self._read("SELECT * FROM learned WHERE generation=?", (one.id,))]

    def barred(self) -> set[str]:
        """Ids of generations that learned what was forgotten since, they or their forebears."""
        direct = {r["generation"] for r in self._read(
            "SELECT DISTINCT generation FROM learned "
            "WHERE digest IN (SELECT digest FROM forgotten) "
            "OR entry IN (SELECT id FROM entries WHERE forgotten)")}
        return {g.id for g in self.generations(kept=False)
                if direct & {one.id for one in self.lineage(g.id)}}

    def set_status(self, generation: str, status: str) -> None:
        """Note that a generation's folder is "kept", "erased" or "missing"."""
        with self._write() as db:
            db.execute("UPDATE generations SET status=? WHERE id=?", (status, generation))

    def open_round(self, number: int, kind: str, why: str, now: float, *, plan_digest: str,
                   cause: str = "", sampled: bool = False, pending_words: int = 0) -> None:
        """A round starts; one of the same number that never ended is taken up again."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO rounds (number, kind, why, cause, started, "
                       "plan_digest, sampled, pending_words) VALUES (?,?,?,?,?,?,?,?)",
                       (number, kind, why, cause, now, plan_digest, sampled, pending_words))

    def close_round(self, number: int, now: float, *, promoted: bool, verdict: str,
                    report: dict[str, Any] | None, checks: Sequence[dict[str, Any]] = (),
                    generation: GenerationRow | None = None, learned: Iterable[Learned] = (),
                    waited: Iterable[str] = (), sampled: bool = False) -> None:
        """Commit verdict, scores, learned text and active together, or nothing of them.

        `waited` are paragraphs held out of this round only: the next one learns them. `sampled`: it
        turned out that only part of the vault was learned.
        """
        with self._write() as db:
            self._scores(number, now, report)
            short = {k: v for k, v in (report or {}).items() if k != "segments"}
            db.execute("UPDATE rounds SET ended=?, promoted=?, verdict=?, report=?, segments=?, "
                       "checks=?, generation=?, sampled=MAX(sampled, ?) WHERE number=?",
                       (now, promoted, verdict, json.dumps(short) if report is not None else None,
                        json.dumps((report or {}).get("segments", {})), json.dumps(list(checks)),
                        generation.id if generation else None, sampled, number))
            db.executemany("UPDATE texts SET waited=1 WHERE digest=?", [(d,) for d in waited])
            if generation is not None:
                self.add_generation(generation, learned)
                if promoted:
                    self.set_active(generation.id, now)

    def _scores(self, number: int, now: float, report: dict[str, Any] | None) -> None:
        """Prequential scores: how well this new text was foretold before it was learned."""
        rows = [[str(s["id"]), s.get("nats"), s.get("bytes"), s.get("base_nats")]
                for s in (report or {}).get("prequential", ())]
        if rows:
            self.memory.append("scores", now, round=number, rows=rows)
            self.db.executemany("INSERT OR REPLACE INTO scores VALUES (?,?,?,?,?)",
                                [(number, *row) for row in rows])

    def add_generation(self, row: GenerationRow, learned: Iterable[Learned]) -> None:
        """Enter a published generation with what it learned by itself."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO generations VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                       (row.id, row.round, row.kind, row.parent, row.base,
                        json.dumps(row.base_sha256), row.created, row.promoted, row.status,
                        row.rank_setting, row.embedding_setting, row.words))
            db.executemany("INSERT OR REPLACE INTO learned VALUES (?,?,?,?)",
                           [(row.id, *one) for one in learned])

    def mark_promoted(self, number: int, promoted: bool) -> None:
        """Say of a closed round whether it was promoted, without changing what is active."""
        with self._write() as db:
            db.execute("UPDATE rounds SET promoted=? WHERE number=?", (promoted, number))

    def abandon_round(self, number: int, now: float, why: str) -> None:
        """Close a round that was never judged."""
        self.close_round(number, now, promoted=False, verdict=why, report=None)

    def rounds(self, limit: int | None = None) -> list[RoundRow]:
        """Rounds, newest first; their reports are without the figures of single segments."""
        tail = "" if limit is None else f" LIMIT {int(limit)}"
        return [_round(r) for r in self._read(f"SELECT * FROM rounds ORDER BY number DESC{tail}")]

    def interrupted(self) -> RoundRow | None:
        """The round that was begun and never closed."""
        rows = self._read("SELECT * FROM rounds WHERE ended IS NULL ORDER BY number DESC LIMIT 1")
        return _round(rows[0]) if rows else None

    def last_judged(self) -> RoundRow | None:
        """The newest round with a report."""
        rows = self._read("SELECT * FROM rounds WHERE report IS NOT NULL "
                          "ORDER BY number DESC LIMIT 1")
        return _round(rows[0]) if rows else None

    def report_of(self, generation: str | None) -> dict[str, Any] | None:
        """The report of the round that made a generation, without single segments' figures."""
        rows = self._read("SELECT report FROM rounds WHERE generation=? AND report IS NOT NULL",
                          (generation,))
        return dict(json.loads(rows[0]["report"])) if rows else None

    def segments_of(self, generation: str | None) -> dict[str, Any]:
        """The figures of single segments of the round that made a generation, by set."""
        rows = self._read("SELECT segments FROM rounds WHERE generation=? AND segments IS NOT NULL",
                          (generation,))
        return dict(json.loads(rows[0]["segments"])) if rows else {}

    def next_round(self) -> int:
        """The number of the next round: one above any ever used."""
        rows = self._read("SELECT MAX(COALESCE((SELECT MAX(number) FROM rounds), 0), "
                          "COALESCE((SELECT MAX(round) FROM generations), 0)) + 1 AS n")
        return int(rows[0]["n"])

    def scores(self) -> list[dict[str, Any]]:
        """Prequential scores, oldest round first: round, entry, nats, bytes, base_nats."""
        return [dict(r) for r in self._read("SELECT * FROM scores ORDER BY round, entry")]


def _generation(row: sqlite3.Row) -> GenerationRow:
    fields = dict(row)
    fields["base_sha256"] = json.loads(fields["base_sha256"])
    fields["promoted"] = bool(fields["promoted"])
    fields["embedding_setting"] = bool(fields["embedding_setting"])
    return GenerationRow(**fields)


def _round(row: sqlite3.Row) -> RoundRow:
    fields = dict(row)
    del fields["segments"]
    fields["report"] = json.loads(fields["report"]) if fields["report"] else None
    fields["checks"] = json.loads(fields["checks"])
    fields["promoted"] = None if fields["promoted"] is None else bool(fields["promoted"])
    fields["sampled"] = bool(fields["sampled"])
    return RoundRow(**fields)
