"""Files as the ledger knows them: stamps, verdicts, counts. Knows nothing about what they say."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultgpt.ledger.database import Database, in_parts
from vaultgpt.ledger.paragraphs import digest_of
from vaultgpt.ledger.schema import given_text, kept_id, kept_text
from vaultgpt.settings import Rules
from vaultgpt.vault.entry import NoteFacts
from vaultgpt.vault.walk import FileStamp, note_id

if TYPE_CHECKING:
    from vaultgpt.vault.reconcile import ScannedNote

# With the words of its forgotten entries, and whether another one has any.
_FACTS = (
    "SELECT o.path, o.used, o.code, o.words, o.problem, COALESCE(f.words, 0) AS less, f.left "
    "FROM notes o LEFT JOIN (SELECT note, SUM(forgotten * words) AS words, "
    "MAX(NOT forgotten AND words > 0) AS left FROM entries WHERE absent_since IS NULL AND note IN "
    "(SELECT note FROM entries WHERE forgotten) GROUP BY note) f ON f.note = o.n "
    "WHERE o.gone_since IS NULL"
)
_SOME_FORGOTTEN = "(SELECT note FROM entries WHERE forgotten AND note IS NOT NULL)"
_ALIKE = (
    "SELECT substr(path, 1, instr(path, '/')) AS folder, used, code, problem, SUM(words), COUNT(*) "
    f"FROM notes WHERE gone_since IS NULL AND n NOT IN {_SOME_FORGOTTEN} "
    "GROUP BY folder, used, code, problem"
)
_LANGUAGE, _MARKS = "language", "marks"
_SOME_NOTES = 300  # that tell the language
_GROWN = 0.2  # share of its words by which a vault changes until they are asked again
_STAMPS = "SELECT path, mtime_ns, size, inode FROM notes WHERE gone_since IS NULL"


class Notes:
    """The part of the ledger about files."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def stamps(self) -> dict[str, FileStamp]:
        """The stamp of every note as it was last recorded, for vault.scan.read_vault."""
        return dict(map(_stamp, self._db.tuples(_STAMPS)))

    def some_stamps(self, paths: Sequence[str]) -> Mapping[str, tuple[int, int, int]]:
        """The same of those of `paths` that are recorded, as plain tuples."""
        found: dict[str, tuple[int, int, int]] = {}
        for some in in_parts(paths):
            wanted = some if "".join(some).isascii() else [kept_text(path) for path in some]
            found |= _plain(self._db.tuples(f"{_STAMPS} AND path IN ({some.marks})", wanted))
        return found

    def stamps_in(self, folder: str) -> Mapping[str, tuple[int, int, int]]:
        """The same of the notes that lie in a folder itself, by its path with a "/",
        where all of their names are text."""
        inside, values = "instr(path, '/') = 0", list[Any]()
        if folder:
            inside = "path > ? AND path < ? AND instr(substr(path, ?), '/') = 0"
            values = [folder, folder[:-1] + "0", len(folder) + 1]  # "0" comes after "/"
        return _plain(self._db.tuples(f"{_STAMPS} AND {inside}", values))

    def marks(self) -> dict[str, str]:
        """Of notes beside each other that are here as they were when the folder was compared, the
        digest of them then, by the first one's folder in the order of the walk; of others ""."""
        return dict(self._db.found(_MARKS) or {})

    def mark(self, marks: Mapping[str, str]) -> None:
        """Keep what a comparison told; `unmark` takes back what no longer holds."""
        self._db.keep(_MARKS, dict(marks))

    def unmark(self, paths: Sequence[str]) -> None:
        """These notes are no longer as they were, or gone; inside `write`."""
        if marks := self.marks():
            firsts = [folder.split("/")[:-1] for folder in marks]
            wrong = {bisect_right(firsts, path.split("/")[:-1]) - 1 for path in paths}
            left = {f: "" if n in wrong else m for n, (f, m) in enumerate(marks.items())}
            self._db.keep(_MARKS, left)

    def count(self) -> int:
        """How many notes there are, used or not."""
        return int(
            self._db.read("SELECT COUNT(*) AS n FROM notes WHERE gone_since IS NULL")[0]["n"]
        )

    def paths(self) -> Iterator[str]:
        """The path of every note there is."""
        for row in self._db.rows("SELECT path FROM notes WHERE gone_since IS NULL"):
            yield given_text(row["path"])

    def quarantined(self) -> list[str]:
        """Ids of notes that could not be read in time, until they change."""
        return self._db.kept("quarantined", self._quarantined)

    def _quarantined(self) -> list[str]:
        rows = self._db.read(
            "SELECT path FROM notes WHERE code='quarantined' AND gone_since IS NULL ORDER BY path"
        )
        return [note_id(given_text(r["path"])) for r in rows]

    def left_out(self) -> dict[str, int]:
        """How many notes each rule's code leaves out, most first."""
        rows = self._db.read(
            "SELECT code, COUNT(*) AS n FROM notes WHERE NOT used AND gone_since IS NULL "
            "GROUP BY code ORDER BY n DESC, code"
        )
        return {r["code"]: int(r["n"]) for r in rows}

    def named(self, condition: str) -> list[str]:
        """Paths in order of the notes there are for which a condition on their columns holds."""
        rows = self._db.rows(f"SELECT path FROM notes WHERE gone_since IS NULL AND ({condition})")
        return sorted(given_text(row["path"]) for row in rows)

    def facts(self) -> Iterator[NoteFacts]:
        """What was found of every note there is, without its forgotten entries."""
        return self._facts(_FACTS)

    def facts_alike(self) -> Iterator[NoteFacts]:
        """The same to be counted: the notes of a top folder that are alike in all but their words
        are told as one, with the folder and a "/" for its path."""
        for folder, used, code, problem, words, count in self._db.tuples(_ALIKE):
            yield NoteFacts(given_text(folder), bool(used), code, words, bool(problem), count)
        yield from self._facts(f"{_FACTS} AND o.n IN {_SOME_FORGOTTEN}")

    def _facts(self, sql: str) -> Iterator[NoteFacts]:
        for row in self._db.rows(sql):
            words = max(0, row["words"] - row["less"])
            gone = row["used"] and row["less"] and not row["left"]
            used, code = bool(row["used"]) and not gone, "forgotten" if gone else row["code"]
            yield NoteFacts(given_text(row["path"]), used, code, words, bool(row["problem"]))

    def language(self, vault: Path, rules: Rules, words: int) -> str | None:
        """As some notes tell it, spread over a vault of so many words; kept until that has grown
        by a fifth."""
        language, then = self._db.found(_LANGUAGE) or [None, -1]
        if then < 0 or abs(words - then) > _GROWN * then:
            from vaultgpt.vault.census import census  # 0.1 s, which `status` does not need
            from vaultgpt.vault.reconcile import read_some

            paths = self.named("used")
            some = paths[:: -(-len(paths) // _SOME_NOTES) or 1]
            language = census(read_some(vault, rules, some))["language"]
            self._db.keep(_LANGUAGE, [language, words])
        known: str | None = language
        return known

    def known_language(self) -> str | None:
        """The same as it was told last; no note is opened. None before."""
        known: str | None = (self._db.found(_LANGUAGE) or [None])[0]
        return known

    @staticmethod
    def enter(
        db: sqlite3.Connection, notes: Sequence[ScannedNote], key: bytes
    ) -> list[tuple[int, ScannedNote]]:
        """Notes with other bytes, read or judged otherwise, by row; of others the stamp."""
        paths = [kept_text(scanned.note.path) for scanned in notes]
        known = {
            row["path"]: row
            for row in _rows(
                db,
                "SELECT path, digest, used, code FROM notes WHERE gone_since IS NULL AND path IN",
                paths,
            )
        }
        stamps, others = [], []
        for path, scanned in zip(paths, notes, strict=True):
            row, read = known.get(path), [scanned.digest, scanned.read_by]
            digest = kept_id(digest_of(read, key))
            verdict = (digest, scanned.judgement.used, scanned.judgement.code)
            if row and (row["digest"], bool(row["used"]), row["code"]) == verdict:
                stamps.append((*_kept_stamp(scanned.stamp), path))
            else:
                others.append((path, scanned, verdict))
        db.executemany("UPDATE notes SET mtime_ns=?, size=?, inode=? WHERE path=?", stamps)
        db.executemany(
            "INSERT INTO notes (path, mtime_ns, size, inode, digest, used, code, words, problem) "
            "VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (path) DO UPDATE SET mtime_ns=excluded."
            "mtime_ns, size=excluded.size, inode=excluded.inode, digest=excluded.digest, "
            "used=excluded.used, code=excluded.code, words=excluded.words, "
            "problem=excluded.problem, gone_since=NULL",
            [
                (path, *_kept_stamp(s.stamp), *verdict, s.note.words, s.note.problem is not None)
                for path, s, verdict in others
            ],
        )
        rows = _rows(db, "SELECT n, path FROM notes WHERE path IN", [path for path, _, _ in others])
        of_path = {row["path"]: row["n"] for row in rows}
        return [(of_path[path], scanned) for path, scanned, _ in others]

    def totals(self) -> dict[str, int]:
        """Counts for status: notes, used notes, words of their prose as `scan` counts them.

        A note all of whose words were forgotten is not in use."""
        return self._db.kept("totals", self._totals)

    def _totals(self) -> dict[str, int]:
        row = self._db.read(
            "SELECT a.notes, a.used - f.used AS used, a.words - f.words AS words FROM "
            "(SELECT COUNT(*) AS notes, COALESCE(SUM(used), 0) AS used, "
            "COALESCE(SUM(used * words), 0) AS words FROM notes WHERE gone_since IS NULL) a, "
            "(SELECT COUNT(*) AS used, COALESCE(SUM(n.words), 0) AS words FROM notes n "
            "WHERE n.n IN (SELECT note FROM entries WHERE forgotten) AND n.used "
            "AND n.gone_since IS NULL AND (SELECT MIN(e.forgotten) FROM entries e "
            "WHERE e.note = n.n AND e.absent_since IS NULL AND e.words > 0)) f"
        )[0]
        return {"notes": row["notes"], "used": row["used"], "words": row["words"]}


def _plain(rows: list[tuple[Any, ...]]) -> Mapping[str, tuple[int, int, int]]:
    if bytes in set(map(type, chain.from_iterable(rows))):  # odd names or numbers
        return dict(map(_stamp, rows))
    return {row[0]: row[1:] for row in rows}


def _stamp(row: Sequence[Any]) -> tuple[str, FileStamp]:
    path, mtime_ns, size, inode = row
    return given_text(path), FileStamp(int(mtime_ns), int(size), int(inode))


def _rows(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> Iterator[sqlite3.Row]:
    """Rows of a query that ends in IN."""
    for some in in_parts(values):
        yield from db.execute(f"{sql} ({some.marks})", some)


def _kept_stamp(stamp: FileStamp) -> tuple[int | bytes, ...]:
    return _kept_number(stamp.mtime_ns), _kept_number(stamp.size), _kept_number(stamp.inode)


def _kept_number(number: int) -> int | bytes:
    """A whole number for a column. SQLite's are below 2^63: times after 2262 and some inodes are
    not, and are kept as digits."""
    return number if -(2**63) <= number < 2**63 else b"%d" % number
