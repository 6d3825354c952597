"""Rounds: opened, closed with their verdict, and the scores of new text before it was learned.

Knows nothing about the vault's text. Verdict, learned text and active change in one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from vaultgpt.ledger.database import Database
from vaultgpt.ledger.lineage import Generations
from vaultgpt.ledger.memory_file import Line, Restated
from vaultgpt.ledger.rows import GIVEN_UP, GenerationRow, LearnedParagraph, RoundRow, ScoreRow
from vaultgpt.ledger.schema import kept_id
from vaultgpt.wire import CheckRow, ReportRow, SegmentsRow

_COLUMNS = ", ".join(f.name for f in fields(RoundRow))  # not the figures of single segments
FORGOTTEN = "A note that it learned was forgotten meanwhile."


class Rounds:
    """The part of the ledger about rounds."""

    def __init__(self, db: Database, generations: Generations) -> None:
        self._db, self._generations = db, generations

    def open(
        self,
        number: int,
        kind: str,
        why: str,
        now: float,
        *,
        plan_digest: str,
        cause: str = "",
        sampled: bool = False,
        pending_words: int = 0,
    ) -> None:
        """A round starts; one of the same number that never ended is taken up again."""
        with self._db.write() as sql:
            sql.execute(
                "INSERT OR REPLACE INTO rounds (number, kind, why, cause, started, "
                "plan_digest, sampled, pending_words) VALUES (?,?,?,?,?,?,?,?)",
                (number, kind, why, cause, now, plan_digest, sampled, pending_words),
            )

    def close(
        self,
        number: int,
        now: float,
        *,
        promoted: bool,
        verdict: str,
        report: ReportRow | None,
        checks: Sequence[CheckRow] = (),
        generation: GenerationRow | None = None,
        learned: Iterable[LearnedParagraph] = (),
        waited: Iterable[str] = (),
        sampled: bool = False,
    ) -> None:
        """Commit verdict, scores, learned text and active together, or nothing of them.

        `waited` are paragraphs held out of this round only: the next one learns them. `sampled`: it
        turned out that only part of the vault was learned. A generation that learned what has been
        forgotten meanwhile is entered and not promoted."""
        with self._db.write() as sql:
            if generation is not None:
                self._generations.add(generation, learned)
                if promoted and generation.id in self._generations.barred():
                    promoted, verdict = False, FORGOTTEN
            self._keep_scores(number, now, report)
            short = {k: v for k, v in (report or {}).items() if k != "segments"}
            sql.execute(
                "UPDATE rounds SET ended=?, promoted=?, verdict=?, report=?, segments=?, "
                "checks=?, generation=?, sampled=MAX(sampled, ?) WHERE number=?",
                (
                    now,
                    promoted,
                    verdict,
                    json.dumps(short) if report is not None else None,
                    json.dumps((report or {}).get("segments", {}) if generation else {}),
                    json.dumps(list(checks)),
                    generation.id if generation else None,
                    sampled,
                    number,
                ),
            )
            sql.executemany(
                "UPDATE texts SET waited=1 WHERE digest=?", [(kept_id(d),) for d in waited]
            )
            if generation is not None and promoted:
                self._generations.activate(generation.id, now)

    def _keep_scores(self, number: int, now: float, report: ReportRow | None) -> None:
        """Prequential scores: how well this new text was foretold before it was learned."""
        rows = [
            [str(s["id"]), s.get("nats"), s.get("bytes"), s.get("base_nats")]
            for s in (report or {}).get("prequential", ())
        ]
        if rows:
            self._db.remember("scores", now, round=number, rows=rows)
            self._enter_scores(number, rows)

    def restate(self, now: float) -> Iterator[Restated]:
        """All scores as lines of memory.jsonl, one a round."""
        rounds: dict[int, list[list[Any]]] = {}
        for r in self.scores():
            rounds.setdefault(r.round, []).append([r.entry, r.nats, r.bytes, r.base_nats])
        for number, rows in rounds.items():
            yield "scores", now, {"round": number, "rows": rows}

    def replay(self, line: Line) -> None:
        """Do again what a line of memory.jsonl says of scores; twice changes nothing."""
        self._enter_scores(line["round"], line["rows"])

    def _enter_scores(self, number: int, rows: Iterable[Sequence[Any]]) -> None:
        self._db.sql.executemany(
            "INSERT OR REPLACE INTO scores VALUES (?,?,?,?,?)", [(number, *row) for row in rows]
        )

    def mark_promoted(self, number: int, promoted: bool) -> None:
        """Say of a closed round whether it was promoted, without changing what is active."""
        with self._db.write() as sql:
            sql.execute("UPDATE rounds SET promoted=? WHERE number=?", (promoted, number))

    def abandon(self, number: int, now: float, why: str, *, by_hand: bool = False) -> None:
        """Close a round that was never judged; `by_hand`, since a person did not want it."""
        checks = [CheckRow(name=GIVEN_UP, passed=False, figure=None, bound=None)] * by_hand
        self.close(number, now, promoted=False, verdict=why, report=None, checks=checks)

    def all(self, limit: int | None = None) -> list[RoundRow]:
        """Rounds, newest first; their reports are without the figures of single segments."""
        tail = "" if limit is None else f" LIMIT {int(limit)}"
        found = self._db.read(f"SELECT {_COLUMNS} FROM rounds ORDER BY number DESC{tail}")
        return [_round(r) for r in found]

    def interrupted(self) -> RoundRow | None:
        """The round that was begun and never closed."""
        rows = self._db.read(
            f"SELECT {_COLUMNS} FROM rounds WHERE ended IS NULL ORDER BY number DESC LIMIT 1"
        )
        return _round(rows[0]) if rows else None

    def segments_of(self, generation: str | None) -> dict[str, SegmentsRow]:
        """The figures of single segments of the round that made a generation, by set."""
        rows = self._db.read(
            "SELECT segments FROM rounds WHERE generation=? AND segments IS NOT NULL", (generation,)
        )
        return dict(json.loads(rows[0]["segments"])) if rows else {}

    def next_number(self) -> int:
        """The number of the next round: one above any ever used."""
        rows = self._db.read(
            "SELECT MAX(COALESCE((SELECT MAX(number) FROM rounds), 0), "
            "COALESCE((SELECT MAX(round) FROM generations), 0)) + 1 AS n"
        )
        return int(rows[0]["n"])

    def scores(self) -> list[ScoreRow]:
        """Prequential scores, oldest round first."""
        rows = self._db.read("SELECT * FROM scores ORDER BY round, entry")
        return [ScoreRow(**dict(row)) for row in rows]


def _round(row: sqlite3.Row) -> RoundRow:
    made = dict(row)
    made["report"] = json.loads(made["report"]) if made["report"] else None
    made["checks"] = json.loads(made["checks"])
    made["promoted"] = None if made["promoted"] is None else bool(made["promoted"])
    made["sampled"] = bool(made["sampled"])
    return RoundRow(**made)
