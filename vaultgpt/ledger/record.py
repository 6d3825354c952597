"""A scan into rows: identity, paragraphs, absences, held-out choice.

Runs inside the caller's transaction. Knows the vault's nouns, no files and no training.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vaultgpt.corpus.runs import Hashes
from vaultgpt.ledger import texts
from vaultgpt.vault.entry import Entry

if TYPE_CHECKING:
    from vaultgpt.vault.scan import Scan, ScannedNote

SAME_ENTRY = 0.5  # share of words in common paragraphs that makes two entries the same
WAITING = frozenset({"placeholder", "unreadable"})  # not here now, but not gone either


@dataclass
class Read:
    """One entry of a note that was read, on its way into the ledger."""

    entry: Entry
    place: str
    document: str
    pieces: list[texts.Piece]
    mtime: float
    id: str = ""
    copy_of: str = ""  # an entry in the vault with the same text

    @property
    def words(self) -> int:
        return sum(p.words for p in self.pieces)


@dataclass
class Recorded:
    """What a scan changed."""

    changed: list[str] = field(default_factory=list)  # ids of entries with new or other text
    runs: list[tuple[Hashes, Hashes]] = field(default_factory=list)  # 8 and 10 words, of those
    gone_notes: int = 0
    gone_words: int = 0  # of usable entries that are nowhere in the vault any more
    words_before: int = 0


class Recorder:
    """One scan going into one transaction."""

    def __init__(self, db: sqlite3.Connection, key: bytes, now: float) -> None:
        self.db, self.key, self.now = db, key, now
        self.done = Recorded()
        self.vanished: set[str] = set()  # entries of files that are gone

    def run(self, scan: Scan) -> Recorded:
        """Write everything the scan says."""
        self.done.words_before = self.db.execute(
            "SELECT COALESCE(SUM(words), 0) FROM entries WHERE used AND NOT forgotten "
            "AND absent_since IS NULL").fetchone()[0]
        leaving = self._gone(scan)
        reads: list[Read] = []
        for note in scan.read:
            if self._same(note):
                continue
            reads += self._note(note, leaving)
        self._match_places(reads, leaving)
        self._match_content(reads, leaving)
        for read in reads:
            self._write(read)
        self._leave(leaving)
        return self.done

    def _gone(self, scan: Scan) -> set[str]:
        """Mark notes that are no longer there; the ids of their entries."""
        rows = self.db.execute("SELECT path FROM notes WHERE gone_since IS NULL")
        gone = sorted({r["path"] for r in rows} - set(scan.stamps))
        self.done.gone_notes = len(gone)
        leaving: set[str] = set()
        for path in gone:
            self.db.execute("UPDATE notes SET gone_since=? WHERE path=?", (self.now, path))
            leaving |= self._present(path)
        self.vanished = set(leaving)
        return leaving

    def _present(self, path: str) -> set[str]:
        rows = self.db.execute("SELECT id FROM entries WHERE path=? AND absent_since IS NULL",
                               (path,))
        return {r["id"] for r in rows}

    def _same(self, note: ScannedNote) -> bool:
        """True, and the stamp refreshed, when neither bytes nor judgement changed."""
        row = self.db.execute("SELECT digest, used, code, gone_since FROM notes WHERE path=?",
                              (note.note.path,)).fetchone()
        same = (row is not None and row["gone_since"] is None
                and row["digest"] == texts.digest_of([note.digest], self.key)
                and bool(row["used"]) == note.judgement.used and row["code"] == note.judgement.code)
        if same:
            stamp = note.stamp
            self.db.execute("UPDATE notes SET mtime_ns=?, size=?, inode=? WHERE path=?",
                            (stamp.mtime_ns, stamp.size, _signed(stamp.inode), note.note.path))
        return same

    def _note(self, scanned: ScannedNote, leaving: set[str]) -> list[Read]:
        note, judgement, stamp = scanned.note, scanned.judgement, scanned.stamp
        self.db.execute(
            "INSERT OR REPLACE INTO notes VALUES (?,?,?,?,?,?,?,?,?,NULL)",
            (note.path, stamp.mtime_ns, stamp.size, _signed(stamp.inode),
             texts.digest_of([scanned.digest], self.key), judgement.used, judgement.code,
             note.words, note.problem is not None))
        if not judgement.used:
            self.db.execute("UPDATE entries SET used=0 WHERE path=?", (note.path,))
            if judgement.code not in WAITING:
                leaving |= self._present(note.path)
            return []
        leaving |= self._present(note.path)
        mtime = min(self.now, stamp.mtime_ns / 1e9)
        out = []
        for entry, place in zip(note.entries, texts.places(note.entries, self.key), strict=True):
            document, masked = entry.document()
            pieces = texts.pieces(document, masked, self.key)
            out.append(Read(entry, place, document, pieces, mtime))
        return out

    def _match_places(self, reads: Iterable[Read], leaving: set[str]) -> None:
        taken: set[str] = set()
        for read in reads:
            rows = self.db.execute("SELECT id FROM entries WHERE place=? "
                                   "ORDER BY absent_since IS NOT NULL, absent_since DESC",
                                   (read.place,)).fetchall()
            for row in rows:
                if row["id"] not in taken:
                    read.id = row["id"]
                    taken.add(read.id)
                    leaving.discard(read.id)
                    break

    def _match_content(self, reads: Sequence[Read], leaving: set[str]) -> None:
        """An entry that left one place and stands in another is the same entry."""
        taken = {r.id for r in reads if r.id}
        for read in reads:
            if read.id:
                continue
            for other, share, absent in self._alike(read):
                if share < SAME_ENTRY:
                    break
                if other not in taken and (absent or other in leaving):
                    read.id = other
                    taken.add(other)
                    leaving.discard(other)
                    break
                read.copy_of = read.copy_of or other

    def _alike(self, read: Read) -> list[tuple[str, float, bool]]:
        """(entry, share of the smaller one's words in common, absent), the likest first."""
        words = {p.digest: max(p.words, 1) for p in read.pieces}
        common: dict[str, int] = {}
        for digest, count in words.items():
            for row in self.db.execute("SELECT DISTINCT entry FROM paragraphs WHERE digest=?",
                                       (digest,)):
                common[row["entry"]] = common.get(row["entry"], 0) + count
        out = []
        total = max(1, sum(words.values()))
        for entry, count in common.items():
            row = self.db.execute("SELECT words, absent_since FROM entries WHERE id=?",
                                  (entry,)).fetchone()
            if row is not None:
                smaller = max(1, min(total, row["words"]))
                out.append((entry, min(1.0, count / smaller), row["absent_since"] is not None))
        return sorted(out, key=lambda x: (-x[1], x[0]))

    def _write(self, read: Read) -> None:
        old = [r["digest"] for r in self.db.execute(
            "SELECT digest FROM paragraphs WHERE entry=? ORDER BY position", (read.id,))]
        new = [p.digest for p in read.pieces]
        self._texts(read.pieces, old)
        runs = texts.entry_runs(read.document, self.key)
        if new != old:
            self.db.execute("DELETE FROM paragraphs WHERE entry=?", (read.id,))
        self._row(read, runs, changed=new != old)
        if new != old:
            self.db.executemany("INSERT INTO paragraphs VALUES (?,?,?,?)", [
                (read.id, i, p.digest, p.words) for i, p in enumerate(read.pieces)])
            self.done.changed.append(read.id)
            self.done.runs.append(runs)

    def _row(self, read: Read, runs: tuple[Hashes, Hashes], changed: bool) -> None:
        entry = read.entry
        common = (entry.path, entry.heading, read.place, entry.date,
                  json.dumps(list(entry.tags), ensure_ascii=False), read.words,
                  runs[0].tobytes(), runs[1].tobytes())
        if read.id:
            was = self.db.execute("SELECT runs10 FROM entries WHERE id=? AND forgotten",
                                  (read.id,)).fetchone()
            if was is not None:  # what was forgotten stays barred, whatever the note says now
                old = np.frombuffer(was["runs10"], dtype=np.uint64)
                common = (*common[:-1], np.union1d(old, runs[1]).tobytes())
            self.db.execute(
                "UPDATE entries SET path=?, heading=?, place=?, date=?, tags=?, words=?, runs8=?, "
                "runs10=?, used=1, absent_since=NULL WHERE id=?", (*common, read.id))
            if changed:
                self.db.execute("UPDATE entries SET changed=? WHERE id=?", (read.mtime, read.id))
            return
        read.id = secrets.token_hex(8)
        self.db.execute(
            "INSERT INTO entries (path, heading, place, date, tags, words, runs8, runs10, id, "
            "first_seen, changed) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (*common, read.id, self.now, read.mtime))
        if read.copy_of:  # a copy of a held-out or forgotten entry is held out or forgotten too
            self.db.execute(
                "UPDATE entries SET (held_out, held_digests, decided, forgotten) = (SELECT "
                "held_out, held_digests, held_out > 0, forgotten FROM entries WHERE id=?) "
                "WHERE id=?",
                (read.copy_of, read.id))

    def _texts(self, pieces: Sequence[texts.Piece], old: Sequence[str]) -> None:
        """Note each paragraph's first sight, and whether it is an older one slightly changed."""
        roots: list[tuple[str, Hashes]] | None = None
        for piece in pieces:
            if self.db.execute("SELECT 1 FROM texts WHERE digest=?", (piece.digest,)).fetchone():
                continue
            if roots is None:
                roots = self._roots(set(old) - {p.digest for p in pieces})
            same = next((d for d, old_shingles in roots
                         if texts.same_text(piece.shingles, old_shingles)), None)
            self.db.execute("INSERT INTO texts VALUES (?,?,?,?,0)",
                            (piece.digest, self.now, same, piece.shingles.tobytes()))

    def _roots(self, digests: Iterable[str]) -> list[tuple[str, Hashes]]:
        """The first forms of these paragraphs, so that small edits can't add up to a new text."""
        out = {}
        for digest in sorted(digests):
            row = self.db.execute(
                "SELECT r.digest, r.shingles FROM texts t JOIN texts r "
                "ON r.digest = COALESCE(t.same_as, t.digest) WHERE t.digest=?",
                (digest,)).fetchone()
            if row is not None:
                out[row["digest"]] = np.frombuffer(row["shingles"], dtype=np.uint64)
        return list(out.items())

    def _leave(self, leaving: set[str]) -> None:
        for entry in sorted(leaving):
            row = self.db.execute("SELECT words FROM entries WHERE id=? AND used AND NOT forgotten",
                                  (entry,)).fetchone()
            if row is not None and entry in self.vanished:
                self.done.gone_words += row["words"]
            self.db.execute("UPDATE entries SET absent_since=? WHERE id=? AND absent_since IS NULL",
                            (self.now, entry))


def _signed(number: int) -> int:
    """SQLite's integers are signed; some file systems' inodes are not."""
    return int(np.uint64(number & (2**64 - 1)).astype(np.int64))
