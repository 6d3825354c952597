"""Notes that were read into rows: which entry is which, its paragraphs, who is no longer there.

Knows the vault's nouns, no notes on the disk and nothing of transactions.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import GUARD_WORDS, Hashes, WordHashes, run_hashes_of
from vaultgpt.ledger.compact import pack_runs, pack_shingles, unpack_runs
from vaultgpt.ledger.database import in_parts
from vaultgpt.ledger.entries import Entries
from vaultgpt.ledger.notes import Notes
from vaultgpt.ledger.paragraphs import OlderTexts, Read, entry_places, read_entry, shingles_of
from vaultgpt.ledger.rows import WAITING, Recorded
from vaultgpt.ledger.schema import kept_id, kept_text

if TYPE_CHECKING:
    from vaultgpt.vault.reconcile import ScannedNote

_COMMON = 50  # entries; a paragraph that stands in more, as a template's, tells none from another
_SIGHTINGS = 500  # after two hours' typing all texts are looked through for those they need
_SAME_ENTRY = 0.5  # share of words in common paragraphs that makes two entries the same


class Recorder:
    """One scan going into the ledger, part by part."""

    def __init__(
        self, db: sqlite3.Connection, key: bytes, now: float, gone: Sequence[str], words_before: int
    ) -> None:
        self.db, self.key, self.now = db, key, now
        self.done = Recorded(words_before=words_before)
        self.touched: set[int] = set()  # entries that changed, came or went in the last part
        self.fresh: list[Read] = []  # those of the last part with new or other text
        self.runs: list[tuple[Hashes, Hashes]] = []  # their runs of 10 words, and those before
        self.repeated = False  # a short entry of the last part is all known, or one came back
        self._words = WordHashes(key)
        self._taken: set[int] = set()  # entries that were found again
        self._common: dict[int, bool] = {}  # text -> whether it stands in many entries
        self._passed: dict[tuple[int, int], int] = {}  # as _with_common is asked -> all until there
        paths = [kept_text(path) for path in sorted(gone)]
        self.first = not db.execute("SELECT 1 FROM entries LIMIT 1").fetchone()
        rows = self._rows("SELECT n FROM notes WHERE gone_since IS NULL AND path IN", paths)
        self._gone = [row["n"] for row in rows]
        self.done.gone_notes = len(self._gone)
        self._leaving = self._present(self._gone)
        self._of_gone = set(self._leaving)

    def part(self, notes: Sequence[ScannedNote]) -> None:
        """Record some notes."""
        self.touched, self.repeated, self._common = set(), False, {}
        changed = Notes.enter(self.db, notes, self.key)
        self.done.notes += len(changed)
        reads = self._reads(changed)
        texts = self._texts_of(reads)
        self._match_places(reads)
        self._match_content(reads, texts)
        self._write(reads, texts)
        self._mark_absent(self._leaving - self._of_gone)

    def leave(self) -> None:
        """Mark notes and entries that are no longer there, once all parts are recorded."""
        self.db.executemany(
            "UPDATE notes SET gone_since=? WHERE n=?", [(self.now, n) for n in self._gone]
        )
        for row in self._rows(
            "SELECT words FROM entries WHERE used AND NOT forgotten AND n IN",
            sorted(self._leaving & self._of_gone),
        ):
            self.done.gone_words += row["words"]
        self._mark_absent(self._leaving)

    def _mark_absent(self, entries: set[int]) -> None:
        """In the part in which their note is recorded, for after a stop it is not read again; those
        that stand in another note come back with a later part."""
        self.db.executemany(
            "UPDATE entries SET absent_since=? WHERE n=? AND absent_since IS NULL",
            [(self.now, n) for n in sorted(entries)],
        )
        self.touched |= entries

    def lengths(self) -> dict[int, int]:
        """Of the last part's entries with other text than before, how many runs they have now."""
        both = zip(self.fresh, self.runs, strict=True)
        return {read.row: len(now) for read, (now, before) in both if len(before)}

    def _rows(self, sql: str, values: Sequence[Any], after: str = "") -> Iterator[sqlite3.Row]:
        """Rows of a query that ends in IN, for any number of values."""
        for some in in_parts(values):
            yield from self.db.execute(f"{sql} ({some.marks}) {after}", some)

    def _present(self, notes: Sequence[int]) -> set[int]:
        """The entries in the vault that these rows of notes have."""
        found = self._rows("SELECT n FROM entries WHERE absent_since IS NULL AND note IN", notes)
        return {row["n"] for row in found}

    def _reads(self, notes: Sequence[tuple[int, ScannedNote]]) -> list[Read]:
        """The entries of used notes; those that were there before may leave."""
        unused = [(n,) for n, scanned in notes if not scanned.judgement.used]
        self.db.executemany("UPDATE entries SET used=0 WHERE note=?", unused)
        self._leaving |= self._present(
            [n for n, scanned in notes if scanned.judgement.code not in WAITING]
        )
        out = []
        self.touched |= self._present([n for n, scanned in notes if not scanned.judgement.used])
        there = self._rows(
            "SELECT t.digest FROM entries e JOIN paragraphs p ON p.entry = e.n "
            "JOIN texts t ON t.n = p.text WHERE e.note IN",
            [n for n, _ in notes],
        )
        known = {row["digest"] for row in there}
        for n, scanned in notes:
            if not scanned.judgement.used:
                continue
            note, mtime = scanned.note, min(self.now, scanned.stamp.mtime_ns / 1e9)
            places = entry_places(note.entries, self.key)
            for entry, place in zip(note.entries, places, strict=True):
                out.append(read_entry(n, entry, kept_id(place), mtime, self._words, known))
        return out

    def _texts_of(self, reads: Iterable[Read]) -> dict[bytes | str, sqlite3.Row]:
        """Digest -> row of the paragraphs that are known; memory.jsonl's have no first sight."""
        digests = list({digest for read in reads for digest in read.digests})
        rows = self._rows("SELECT n, digest, seen FROM texts WHERE digest IN", digests)
        return {row["digest"]: row for row in rows}

    def _match_places(self, reads: Sequence[Read]) -> None:
        at: dict[bytes | str, list[tuple[bool, float, int, bool]]] = {}
        columns = "SELECT n, place, absent_since, used FROM entries WHERE note"
        known = self._rows(f"{columns} IN", sorted({read.note for read in reads}))
        # Those that memory.jsonl alone knows are of no note yet.
        for row in chain(known, self.db.execute(f"{columns} IS NULL")):
            gone = row["absent_since"]
            found = gone is not None, -(gone or 0.0), row["n"], bool(row["used"])
            at.setdefault(row["place"], []).append(found)
        for read in reads:
            for gone, _, n, used in sorted(at.get(read.place, ())):
                if n not in self._taken:
                    self._take(read, n)
                    self.repeated = self.repeated or gone or not used
                    break

    def _take(self, read: Read, row: int) -> None:
        read.row = row
        self._taken.add(row)
        self._leaving.discard(row)

    def _match_content(
        self, reads: Sequence[Read], texts: Mapping[bytes | str, sqlite3.Row]
    ) -> None:
        """An entry that left one place and stands in another is the same entry."""
        for read in reads:
            if read.row:
                continue
            for other, share, absent in self._alike(read, texts):
                if share < _SAME_ENTRY:
                    break
                if other not in self._taken and (absent or other in self._leaving):
                    self._take(read, other)
                    self.repeated = self.repeated or absent
                    break
                read.copy_of = read.copy_of or other

    def _alike(
        self, read: Read, texts: Mapping[bytes | str, sqlite3.Row]
    ) -> list[tuple[int, float, bool]]:
        """(entry, share of the smaller one's words in common, absent), the likest first."""
        words = {
            texts[digest]["n"]: max(p.words, 1)
            for digest, p in zip(read.digests, read.paragraphs, strict=True)
            if digest in texts
        }
        rare = [text for text in words if not self._is_common(text)]
        shared = "SELECT DISTINCT entry, text FROM paragraphs WHERE text IN"
        found = [(row["entry"], row["text"]) for row in self._rows(shared, rare)]
        near = sorted({entry for entry, _ in found})
        if words and not rare:  # nothing of its own: any of those that say so will do
            text = max(words, key=lambda text: words[text])
            near = self._with_common(text, 2 * sum(words.values()))
        if often := words.keys() - set(rare):
            within = "SELECT DISTINCT entry, text FROM paragraphs WHERE entry IN"
            rows = self._rows(within, near)
            found += [(row["entry"], row["text"]) for row in rows if row["text"] in often]
        common: dict[int, int] = {}
        for entry, text in found:
            common[entry] = common.get(entry, 0) + words[text]
        total = max(1, sum({p.digest: max(p.words, 1) for p in read.paragraphs}.values()))
        out = []
        for row in self._rows(
            "SELECT n, id, words, absent_since FROM entries WHERE n IN", [*common]
        ):
            smaller = max(1, min(total, row["words"]))
            share = min(1.0, common[row["n"]] / smaller)
            out.append((-share, row["id"], row["n"], row["absent_since"] is not None))
        return [(n, -share, absent) for share, _, n, absent in sorted(out)]

    def _is_common(self, text: int) -> bool:
        """Whether a paragraph stands in so many entries that looking at each of them, for each that
        moved, would take the square of their number."""
        if text not in self._common:
            few = "SELECT 1 FROM paragraphs WHERE text=? LIMIT ?"
            rows = self.db.execute(few, (text, _COMMON + 1)).fetchall()
            self._common[text] = len(rows) > _COMMON
        return self._common[text]

    def _with_common(self, text: int, most: int) -> list[int]:
        """Some entries of at most so many words with a common paragraph that left their place, and
        one that has it at all. Those that were passed once are taken, or stay."""
        first: list[int] = []
        passed = self._passed.get((text, most), -1)
        while rows := self.db.execute(
            "SELECT DISTINCT p.entry, e.absent_since IS NOT NULL AS absent FROM paragraphs p "
            "JOIN entries e ON e.n = p.entry WHERE p.text=? AND p.entry>? AND e.words<=? "
            "ORDER BY p.entry LIMIT 1000",
            (text, passed, most),
        ).fetchall():
            first = first or [rows[0]["entry"]]
            free = [
                row["entry"]
                for row in rows
                if row["entry"] not in self._taken
                and (row["absent"] or row["entry"] in self._leaving)
            ]
            passed = self._passed[text, most] = free[0] - 1 if free else rows[-1]["entry"]
            if free:
                return sorted({*first, *free[:_COMMON]})
        return first

    def _write(self, reads: Sequence[Read], texts: Mapping[bytes | str, sqlite3.Row]) -> None:
        old: dict[int, list[tuple[int, bytes | str]]] = {}
        for row in self._rows(
            "SELECT p.entry, p.text, t.digest FROM paragraphs p JOIN texts t ON t.n = p.text "
            "WHERE p.entry IN",
            [read.row for read in reads if read.row],
            "ORDER BY p.entry, p.position",
        ):
            old.setdefault(row["entry"], []).append((row["text"], row["digest"]))
        columns = "n, note, heading, place, date, tags, words, used, absent_since"
        taken = [read.row for read in reads if read.row]
        rows = self._rows(f"SELECT {columns} FROM entries WHERE n IN", taken)
        before = {n: (*rest,) for n, *rest in rows}
        changed = []
        for read in reads:
            was = old.get(read.row, [])
            if not read.row or [digest for _, digest in was] != read.digests:
                read.hash_words(self._words)
                changed.append((read, was))
            elif before[read.row] != (*read.columns, 1, None):
                self._update(read)
        numbers = self._new_texts(changed, texts)
        self.fresh = [read for read, _ in changed]
        short = [tuple(read.digests) for read in self.fresh if len(read.hashes) < GUARD_WORDS]
        known = any(digests and set(digests) <= texts.keys() for digests in short)
        self.repeated = self.repeated or known or len(set(short)) < len(short)
        self._write_changed(self.fresh, numbers)
        Entries.drop_texts(
            self.db, {n for _, was in changed for n, _ in was} - set(numbers.values())
        )

    def _new_texts(
        self,
        changed: Sequence[tuple[Read, list[tuple[int, bytes | str]]]],
        texts: Mapping[bytes | str, sqlite3.Row],
    ) -> dict[bytes | str, int]:
        """Note each new paragraph's first sight, and whether it is an older one slightly changed;
        the rows of all texts by their digests."""
        numbers = {d: int(row["n"]) for d, row in texts.items() if row["seen"] is not None}
        new: dict[bytes | str, tuple[Hashes, list[tuple[int, bytes | str]], Read]] = {}
        for read, was in changed:
            for digest, words in zip(read.digests, read.pieces, strict=True):
                if digest not in numbers and digest not in new:
                    new[digest] = (words, was, read)
        seen = self._sighting() if new else 0
        shingles = shingles_of([words for words, _, _ in new.values()], self.key)
        older: dict[int, OlderTexts] = {}
        rows = []
        for (digest, (_, was, read)), own in zip(new.items(), shingles, strict=True):
            root = None
            if was:
                if id(read) not in older:
                    there = set(read.digests)
                    left = {n for n, d in was if d not in there}
                    older[id(read)] = OlderTexts(self._roots(left))
                root = older[id(read)].same(own)
            rows.append((digest, seen, root, root, pack_shingles(own)))
        self.db.executemany(
            "INSERT INTO texts (digest, seen, same_as, known, shingles) VALUES "
            "(?,?,?,COALESCE((SELECT known FROM texts WHERE n=?), 0),?) ON CONFLICT (digest) DO "
            "UPDATE SET seen=excluded.seen, same_as=excluded.same_as, "
            "shingles=excluded.shingles",
            rows,
        )
        found = self._rows("SELECT n, digest FROM texts WHERE digest IN", [*new])
        return numbers | {row["digest"]: row["n"] for row in found}

    def _sighting(self) -> int:
        """A row for this moment. Those of texts that are kept no more go, many at once."""
        made = self.db.execute("INSERT INTO sightings (time) VALUES (?)", (self.now,))
        seen = int(made.lastrowid or 0)
        if seen % _SIGHTINGS == 0:
            kept = "SELECT seen FROM texts WHERE seen IS NOT NULL"
            self.db.execute(f"DELETE FROM sightings WHERE n < ? AND n NOT IN ({kept})", (seen,))
        return seen

    def _roots(self, texts: Iterable[int]) -> list[tuple[int, bytes]]:
        """The first forms of these paragraphs, so that small edits can't add up to a new text."""
        rows = self._rows(
            "SELECT t.digest, r.n, r.shingles FROM texts t JOIN texts r "
            "ON r.n = COALESCE(t.same_as, t.n) WHERE t.n IN",
            sorted(texts),
        )
        found = sorted((row["digest"], row["n"], row["shingles"]) for row in rows)
        return list({n: shingles for _, n, shingles in found}.items())

    def _write_changed(self, reads: Sequence[Read], numbers: Mapping[bytes | str, int]) -> None:
        """Rows, paragraphs and runs of entries with new or other text."""
        runs = run_hashes_of([read.hashes for read in reads], GUARD_WORDS, self.key)
        self.db.executemany(
            "DELETE FROM paragraphs WHERE entry=?", [(read.row,) for read in reads if read.row]
        )
        for read in reads:
            if read.row:
                self._update(read)
                changed = int(read.mtime), read.row
                self.db.execute("UPDATE entries SET changed=? WHERE n=?", changed)
            else:
                self._insert(read)
        self.db.executemany(
            "INSERT INTO paragraphs VALUES (?,?,?,?)",
            [
                (read.row, at, numbers[digest], p.words)
                for read in reads
                for at, (digest, p) in enumerate(zip(read.digests, read.paragraphs, strict=True))
            ],
        )
        kept = self._old_runs(reads, runs)
        self.db.executemany(
            "INSERT OR REPLACE INTO runs VALUES (?,?)",
            [
                (read.row, pack_runs(np.union1d(kept[read.row], ten) if read.row in kept else ten))
                for read, ten in zip(reads, runs, strict=True)
            ],
        )
        self.done.changed += len(reads)

    def _old_runs(self, reads: Sequence[Read], runs: Sequence[Hashes]) -> dict[int, Hashes]:
        """The runs that forgotten entries had: they stay barred, whatever the note says now."""
        rows = self._rows(
            "SELECT e.n, e.forgotten, r.ten FROM entries e JOIN runs r ON r.entry = e.n "
            "WHERE e.n IN",
            [read.row for read in reads],
        )
        had = {row["n"]: (row["forgotten"], unpack_runs(row["ten"])) for row in rows}
        none = np.zeros(0, dtype=np.uint64)
        before = [had.get(read.row, (0, none))[1] for read in reads]
        self.runs = list(zip(runs, before, strict=True))
        return {n: ten for n, (forgotten, ten) in had.items() if forgotten}

    def _update(self, read: Read) -> None:
        self.touched.add(read.row)
        self.db.execute(
            "UPDATE entries SET note=?, heading=?, place=?, date=?, tags=?, words=?, used=1, "
            "absent_since=NULL WHERE n=?",
            (*read.columns, read.row),
        )

    def _insert(self, read: Read) -> None:
        made = self.db.execute(
            "INSERT INTO entries (note, heading, place, date, tags, words, id, first_seen, "
            "changed) VALUES (?,?,?,?,?,?,?,?,?)",
            (*read.columns, secrets.token_bytes(8), int(self.now), int(read.mtime)),
        )
        read.row = int(made.lastrowid or 0)
        if read.copy_of:  # a copy is held out, learned or forgotten with its original
            self.db.execute(
                "UPDATE entries SET (held_out, held_digests, decided, forgotten) = (SELECT "
                "held_out, held_digests, decided, forgotten FROM entries WHERE n=?) "
                "WHERE n=?",
                (read.copy_of, read.row),
            )
            self.touched.add(read.copy_of)
