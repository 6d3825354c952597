"""Text that the active generation has not learned.

Asks for what is new alone: `known` marks the texts that were learned, and their slight changes.
Knows nothing about notes on the disk or about rounds.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from itertools import groupby

from vaultgpt.ledger.database import Database
from vaultgpt.ledger.entries import LIVE, TEMPLATE_ENTRIES, Entries
from vaultgpt.ledger.held_out import HeldOut
from vaultgpt.ledger.lineage import KNOWN_OF, Generations
from vaultgpt.ledger.rows import Pending
from vaultgpt.ledger.schema import given_id, kept_id

# New paragraphs, by entry; not those of held-out and copied entries, nor barred ones.
_NEW = (
    "SELECT e.n, e.id, e.changed, e.held_digests, p.words, p.text, t.digest FROM texts t "
    "JOIN paragraphs p ON p.text = t.n JOIN entries e ON e.n = p.entry "
    "LEFT JOIN notes o ON o.n = e.note "
    f"WHERE NOT t.known AND t.seen IS NOT NULL AND p.words AND {LIVE} AND e.held_out != 1 "
    "AND e.copy_of IS NULL AND t.digest NOT IN (SELECT digest FROM forgotten) "
    "ORDER BY o.path, e.id, p.position"
)
_COUNTS, _COUNTS_S = "pending_counts", 86_400.0
_SPREAD = (
    "SELECT COUNT(DISTINCT p.entry) AS n FROM paragraphs p JOIN entries e ON e.n = p.entry "
    "WHERE p.text=? AND e.used AND e.absent_since IS NULL"
)
# Learned by these generations, in this form or in the first one.
_LEARNED = (
    "UPDATE texts SET known = EXISTS (SELECT 1 FROM learned l WHERE l.digest = texts.digest "
    "AND l.generation IN ({marks})) OR (same_as IS NOT NULL AND EXISTS (SELECT 1 FROM learned l "
    "JOIN texts r ON r.digest = l.digest WHERE r.n = texts.same_as AND l.generation IN ({marks})))"
)

_BY_THESE = "(SELECT digest FROM learned WHERE generation IN ({marks}))"
_LEARNED_SINCE = (
    f"UPDATE texts SET known = 1 WHERE digest IN {_BY_THESE}",
    "UPDATE texts SET known = 1 WHERE same_as IN "
    f"(SELECT n FROM texts WHERE digest IN {_BY_THESE})",
)


class PendingText:
    """What waits to be learned, from the other parts of the ledger."""

    def __init__(
        self, db: Database, entries: Entries, held_out: HeldOut, generations: Generations
    ) -> None:
        self._db, self._entries, self._held_out = db, entries, held_out
        self._generations = generations

    def look(self, now: float, quiet_s: float, listed: bool = True) -> Pending:
        """What waits, and what of it has been quiet for `quiet_s` seconds at `now`; `listed`: with
        the paragraphs of each ready entry. Counts wait for nobody who writes: then they are of the
        rows as they stand."""
        if listed:
            self._mark()
        elif self._db.tried(self._mark):
            return self._counted(now, quiet_s)
        return self._found(now, quiet_s, listed)[0]

    def _mark(self) -> None:
        """Have the rows say what is a copy and what is known."""
        self._entries.find_copies()
        self._mark_known()

    def _counted(self, now: float, quiet_s: float) -> Pending:
        """The counts, kept until a row changes or an entry grows quiet: before a first voice all
        there is is new."""
        version = self._db.meta("version")
        kept = self._db.found(_COUNTS)
        if kept and kept["of"] == [version, quiet_s] and kept["at"] <= now < kept["until"]:
            return Pending(*kept["counts"])
        found, grows_quiet = self._found(now, quiet_s, listed=False)
        counts = [found.words, found.notes, found.ready_words, found.ready_notes]
        until = min(grows_quiet, now + _COUNTS_S)
        kept = {"of": [version, quiet_s], "at": now, "until": until, "counts": counts}
        self._db.tried(lambda: self._db.keep(_COUNTS, kept))
        return found

    def _found(self, now: float, quiet_s: float, listed: bool) -> tuple[Pending, float]:
        """What waits, and when the next entry is ready that is not yet."""
        grows_quiet = math.inf
        words = notes = ready_words = ready_notes = 0
        ready: dict[str, tuple[str, ...]] = {}
        for first, new in self._unlearned():
            count = sum(row["words"] for row in new)
            words, notes = words + count, notes + 1
            if now - first["changed"] < quiet_s:
                grows_quiet = min(grows_quiet, first["changed"] + quiet_s)
                continue
            ready_words, ready_notes = ready_words + count, ready_notes + 1
            if listed:
                ready[given_id(first["id"])] = tuple(
                    dict.fromkeys(given_id(row["digest"]) for row in new)
                )
        return Pending(words, notes, ready_words, ready_notes, ready), grows_quiet

    def _mark_known(self) -> None:
        """Have `known` say what the active generation and its forebears learned; of one that goes
        on from what it said last, what is new alone."""
        active, last = self._generations.active(), self._db.meta(KNOWN_OF)
        if last == str(active):
            return
        chain = [one.id for one in self._generations.lineage(active)]
        new = chain[: chain.index(last)] if last in chain else []
        with self._db.write(touch=False) as sql:
            marks = ",".join("?" * len(new or chain))
            for statement in _LEARNED_SINCE if new else [_LEARNED]:
                times = statement.count("{marks}")
                sql.execute(statement.format(marks=marks), (new or chain) * times)
            self._db.set_meta(KNOWN_OF, str(active))

    def _unlearned(self) -> Iterator[tuple[sqlite3.Row, list[sqlite3.Row]]]:
        """An entry's first row and those of its new paragraphs, entry by entry."""
        held = {kept_id(digest) for digest in self._held_out.digests()}
        counted: set[int] = set()
        templates: dict[int, bool] = {}
        for _, rows in groupby(self._db.rows(_NEW), key=lambda row: row["n"]):
            found = list(rows)
            own = {kept_id(d) for d in json.loads(found[0]["held_digests"] or "[]")}
            new = [
                row
                for row in found
                if row["text"] not in counted
                and row["digest"] not in own
                and row["digest"] not in held
                and not self._is_template(row["text"], templates)
            ]
            counted |= {row["text"] for row in new}
            if new:
                yield found[0], new

    def _is_template(self, text: int, seen: dict[int, bool]) -> bool:
        if text not in seen:
            spread = self._db.read(_SPREAD, (text,))[0]["n"]
            seen[text] = spread >= TEMPLATE_ENTRIES
        return seen[text]
