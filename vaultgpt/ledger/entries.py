"""Entries as the ledger knows them: rows, paragraphs, copies of each other, counts.

Knows nothing about rounds. No row holds a word of the author's text.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import Hashes, among, coarse
from vaultgpt.ledger.compact import lower_bits, pack_runs, unpack_runs
from vaultgpt.ledger.database import Database, in_parts
from vaultgpt.ledger.memory_file import RememberedEntry
from vaultgpt.ledger.paragraphs import place_of
from vaultgpt.ledger.rows import WAITING, EntryRow, Paragraph
from vaultgpt.ledger.schema import given_id, given_text, kept_id

if TYPE_CHECKING:
    import numpy.typing as npt

    _Lower = npt.NDArray[np.uint32]
    _Counts = npt.NDArray[np.int64]

TEMPLATE_ENTRIES = 5  # a paragraph in so many entries is a template's, not the author's voice
_RECENT_TEXTS = 1_000
SAME_RUNS = 0.75  # of 10 words: a changed word spoils ten of them, a quarter more than of 8 words
_COLUMNS = (
    "e.id, n.path, e.heading, e.place, e.date, e.tags, e.words, e.held_out, e.held_digests, "
    "e.first_seen, e.changed, e.used, e.forgotten, e.absent_since"
)
LIVE = "e.used AND NOT e.forgotten AND e.absent_since IS NULL"
_TO_LEARN = f"{LIVE} AND e.words AND e.held_out != 1 AND e.copy_of IS NULL"
_LIVE_RUNS = (
    f"SELECT e.n, r.ten FROM entries e JOIN runs r ON r.entry = e.n WHERE {LIVE} AND e.words"
)
_SCATTERED = "((e.n * 2654435761 % 4294967296) >> 8)"  # whatever comes every so many notes
_FIRST_TAG = "COALESCE(json_extract(e.tags, '$[0]'), '')"
# Set while copy_of tells which entries say the same: {row: its runs that others have too}.
COPIES = "copies_shared"


class Entries:
    """The part of the ledger about entries and their paragraphs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self, absent: bool = False) -> list[EntryRow]:
        """Entries that are in the vault now; with `absent` those that left it too."""
        return self.where("1" if absent else "e.absent_since IS NULL")

    def where(self, condition: str, values: Sequence[Any] = ()) -> list[EntryRow]:
        """Entries that an SQL condition on the tables entries e and notes n holds for, by path."""
        return [
            _entry(row)
            for row in self._db.read(
                f"SELECT {_COLUMNS} FROM entries e LEFT JOIN notes n ON n.n = e.note "
                f"WHERE {condition} ORDER BY COALESCE(n.path, ''), e.id",
                values,
            )
        ]

    def named(self, ids: Iterable[str]) -> dict[str, EntryRow]:
        """Entry id -> its row, of those that there are."""
        found: dict[str, EntryRow] = {}
        for some in in_parts([kept_id(name) for name in ids]):
            found |= {row.id: row for row in self.where(f"e.id IN ({some.marks})", some)}
        return found

    def paragraphs(self, ids: Iterable[str] | None = None) -> dict[str, list[Paragraph]]:
        """Entry id -> its paragraphs in order, of the entries in the vault now, or of `ids`."""
        if ids is None:
            return self._paragraphs("", ())
        out: dict[str, list[Paragraph]] = {}
        for some in in_parts([kept_id(name) for name in ids]):
            out |= self._paragraphs(f"AND e.id IN ({some.marks})", some)
        return out

    def _paragraphs(self, condition: str, values: Sequence[Any]) -> dict[str, list[Paragraph]]:
        out: dict[str, list[Paragraph]] = {}
        for r in self._db.read(
            "SELECT e.id, t.digest, p.position, p.words, s.time, t.waited FROM paragraphs p "
            "JOIN entries e ON e.n = p.entry JOIN texts t ON t.n = p.text "
            f"JOIN sightings s ON s.n = t.seen WHERE e.absent_since IS NULL {condition} "
            "ORDER BY p.entry, p.position",
            values,
        ):
            entry, digest = given_id(r["id"]), given_id(r["digest"])
            found = Paragraph(
                entry, digest, r["position"], r["words"], r["time"], bool(r["waited"])
            )
            out.setdefault(entry, []).append(found)
        return out

    def digests_of(self, entry: str) -> tuple[tuple[str, int], ...]:
        """(digest, words) of an entry's paragraphs, in order."""
        rows = self._db.read(
            "SELECT t.digest, p.words FROM entries e JOIN paragraphs p ON p.entry = e.n "
            "JOIN texts t ON t.n = p.text WHERE e.id=? ORDER BY p.position",
            (kept_id(entry),),
        )
        return tuple((given_id(r["digest"]), r["words"]) for r in rows)

    def usable_words(self, copies: bool = True, most: int = 2**62) -> int:
        """Words of prose that the rules allow, in the vault now; what stands twice once, unless
        told otherwise and nobody else writes just now. Of one entry no more than `most` count."""
        which = LIVE if copies else f"{LIVE} AND e.copy_of IS NULL"
        summed = f"SELECT COALESCE(SUM(MIN(e.words, {most})), 0) AS n FROM entries e WHERE {which}"

        def add_up() -> int:
            return int(self._db.read(summed)[0]["n"])

        find = () if copies else (self.find_copies,)
        return self._db.kept(f"words {copies} {most}", add_up, *find)

    def templates(self) -> set[str]:
        """Digests of paragraphs that stand in five entries or more: they carry no loss."""
        return {
            given_id(r["digest"])
            for r in self._db.read(
                "SELECT t.digest FROM texts t JOIN (SELECT p.text, COUNT(DISTINCT p.entry) AS n "
                "FROM paragraphs p JOIN entries e ON e.n = p.entry "
                "WHERE e.used AND e.absent_since IS NULL GROUP BY p.text) f ON f.text = t.n "
                "WHERE f.n >= ?",
                (TEMPLATE_ENTRIES,),
            )
        }

    def forget_copies(self) -> None:
        """Which entries say the same is to be found anew, when it is asked."""
        self._db.set_meta(COPIES, None)

    def touch_copies(self, rows: Sequence[int], lengths: Mapping[int, int] = {}) -> None:
        """These rows changed: what is known of copies goes where one of them is or has a copy, or
        where one of these lengths, of rows in runs, leaves little but what others have too."""
        shared = self._db.found(COPIES) if lengths else {}
        if shared is None or any(shared.get(str(n), 0) > SAME_RUNS * lengths[n] for n in lengths):
            return self.forget_copies()
        for some in in_parts(rows):
            if self._db.read(
                f"SELECT 1 FROM entries WHERE copy_of IS NOT NULL AND (n IN ({some.marks}) "
                f"OR copy_of IN ({some.marks})) LIMIT 1",
                some + some,
            ):
                return self.forget_copies()

    def with_only(self, runs: Hashes) -> bool:
        """Whether an entry of one to three runs has none but some of these, which ascend."""
        if not len(runs):
            return False
        rows = self._db.read("SELECT ten FROM runs WHERE length(ten) BETWEEN 5 AND 15")
        return any(among(unpack_runs(row["ten"]), coarse(runs)).all() for row in rows)

    def may_copy(self, runs: Hashes) -> bool:
        """Whether an entry may say the same as another, now that these runs, which ascend, stand in
        several; where none may, how many of them each has is kept. A pass over all runs."""
        if (shared := self._db.found(COPIES)) is None:
            return True
        wanted = np.sort(lower_bits([pack_runs(runs)])[0])
        for rows, lower, counts in self._runs("SELECT entry, ten FROM runs WHERE length(ten) > 0"):
            held = np.flatnonzero(_held(lower, wanted))
            owners = np.searchsorted(np.cumsum(counts), held, "right")
            for at, count in Counter(owners.tolist()).items():
                name = str(rows[at][0])
                shared[name] = min(shared.get(name, 0) + count, int(counts[at]))
                if shared[name] > SAME_RUNS * counts[at]:
                    return True
        self._db.keep(COPIES, shared)
        return False

    def find_copies(self) -> None:
        """Have copy_of say of each entry which other one says the same, where it is not known."""
        if self._db.meta(COPIES) is not None:
            return
        with self._db.write(touch=False) as sql:
            sharing = self._sharing()
            found = _near_duplicates(sharing, self._paragraphs_of)
            sql.execute("UPDATE entries SET copy_of=NULL WHERE copy_of IS NOT NULL")
            sql.executemany(
                "UPDATE entries SET copy_of=? WHERE n=?", [(s, n) for n, s in found.items()]
            )
            shared = {n: len(runs) for n, _, runs in sharing if len(runs) and n not in found}
            self._db.keep(COPIES, shared)

    def _sharing(self) -> list[tuple[int, int, Hashes]]:
        """(row, how many runs it has, those that others may have too) of entries that may share
        some or have none; those that stay before those that may be dropped."""
        shared = np.concatenate([self._shared(quarter) for quarter in range(4)])
        found = {}
        for rows, lower, counts in self._runs(_LIVE_RUNS):
            held, ends = _held(lower, shared), np.cumsum(counts)
            sharing = set(np.searchsorted(ends, np.flatnonzero(held), "right").tolist())
            for at, (n, ten) in enumerate(rows):
                if at in sharing or not ten:
                    own = unpack_runs(ten)
                    found[n] = (len(own), own[held[ends[at] - len(own) : ends[at]]])
        order = self._db.read(
            f"SELECT e.n FROM entries e WHERE {LIVE} AND e.words "
            "ORDER BY e.held_out != 1, -e.words, e.first_seen, e.id"
        )
        return [(row["n"], *found[row["n"]]) for row in order if row["n"] in found]

    def _runs(self, sql: str) -> Iterator[tuple[list[tuple[int, bytes]], _Lower, _Counts]]:
        """Rows and packed runs, some at a time: lower bits of all of these, how many each has."""
        for some in self._db.batches(sql):
            rows = sorted(map(tuple, some), key=lambda row: len(row[1]))
            yield rows, *lower_bits([ten for _, ten in rows])

    def _shared(self, quarter: int) -> npt.NDArray[np.uint32]:
        """Lower bits, of that quarter of all values, that two entries or more have: a quarter at a
        time, for 10 million take 40 MB and more to sort."""
        parts = [np.zeros(0, dtype=np.uint32)]
        for _, lower, _ in self._runs(_LIVE_RUNS):
            parts.append(lower[lower >> np.uint32(30) == quarter])
        every = np.sort(np.concatenate(parts))
        found: npt.NDArray[np.uint32] = every[1:][every[1:] == every[:-1]]
        return found

    def _paragraphs_of(self, entry: int) -> tuple[int, ...]:
        sql = "SELECT text FROM paragraphs WHERE entry=? ORDER BY position"
        return tuple(row["text"] for row in self._db.read(sql, (entry,)))

    def live(self) -> set[str]:
        """The ids of entries that are in the vault, to be used, and not emptied; with those of
        notes that can't be opened just now, of which nothing says that they went."""
        marks = ",".join("?" * len(WAITING))
        rows = self._db.read(
            "SELECT e.id FROM entries e LEFT JOIN notes n ON n.n = e.note WHERE e.words "
            f"AND NOT e.forgotten AND e.absent_since IS NULL AND (e.used OR n.code IN ({marks}))",
            WAITING,
        )
        return {given_id(row["id"]) for row in rows}

    def held(self) -> list[EntryRow]:
        """Entries that are held out, whole or in part, without those that say what others do."""
        self.find_copies()
        return self.where(f"{LIVE} AND e.held_out AND e.copy_of IS NULL")

    def to_learn(self) -> list[EntryRow]:
        """Entries that a fresh round learns from."""
        self.find_copies()
        return self.where(_TO_LEARN)

    def some_to_learn(self, first_tags: Collection[str], most: int, seed: int) -> list[EntryRow]:
        """Those of them whose first tag is given ("" for none), about `most` where there are
        more: any of so many, which ones by `seed`."""
        self.find_copies()
        marks = ",".join("?" * len(first_tags))
        which = f"{_TO_LEARN} AND {_FIRST_TAG} IN ({marks})"
        found = self._db.read(f"SELECT COUNT(*) AS n FROM entries e WHERE {which}", [*first_tags])
        step = max(1, found[0]["n"] // most)
        return self.where(f"{which} AND {_SCATTERED} % ? = ?", [*first_tags, step, seed % step])

    def words_by_first_tag(self) -> dict[str, int]:
        """Words of what `to_learn` gives, by first tag; those without any under ""."""
        self.find_copies()
        summed = f"SELECT {_FIRST_TAG} AS tag, SUM(e.words) FROM entries e WHERE {_TO_LEARN}"
        return dict(self._db.tuples(f"{summed} GROUP BY tag ORDER BY tag"))

    def paths_since(self, when: float) -> list[str]:
        """The notes with a paragraph that was first seen at that time or later."""
        rows = self._db.read(
            "SELECT DISTINCT n.path FROM sightings s JOIN texts t ON t.seen = s.n "
            "JOIN paragraphs p ON p.text = t.n JOIN entries e ON e.n = p.entry "
            "JOIN notes n ON n.n = e.note WHERE s.time >= ? AND e.used AND e.absent_since IS NULL",
            (when,),
        )
        return sorted(given_text(row["path"]) for row in rows)

    def census(self) -> tuple[Counter[str], Counter[str]]:
        """Entries in use by tag, and by year."""
        tags, years = Counter[str](), Counter[str]()
        for row in self._db.read(
            f"SELECT e.tags, substr(e.date, 1, 4) AS year, COUNT(*) AS n FROM entries e "
            f"WHERE {LIVE} AND e.words GROUP BY e.tags, year"
        ):
            tags.update(dict.fromkeys(json.loads(row["tags"]), row["n"]))
            years.update({row["year"]: row["n"]} if row["year"] else {})
        return tags, years

    def fit(self, key: bytes) -> bool:
        """Whether the places of what is known were hashed with this key; True of an empty ledger.

        An entry's place tells which of several equal headings it stands under, the first as a rule.
        """
        rows = self._db.read(
            "SELECT n.path, e.heading, e.place FROM entries e JOIN notes n ON n.n = e.note LIMIT 20"
        )
        return not rows or any(
            kept_id(place_of(given_text(r["path"]), heading, nth, key)) == r["place"]
            for r in rows
            for heading in [r["heading"] and given_text(r["heading"])]
            for nth in range(3)
        )

    @staticmethod
    def drop_texts(sql: sqlite3.Connection, texts: Iterable[int]) -> None:
        """Take out those that stand nowhere any more and nobody learned: an hour's typing was kept
        in 240 forms. A first form stays where others are slight changes of it, or may be."""
        gone, first = sorted(texts), set[int]()
        for some in in_parts(gone):
            query = (
                f"SELECT DISTINCT same_as FROM texts WHERE n IN ({some.marks}) AND same_as NOTNULL"
            )
            first |= {row[0] for row in sql.execute(query, some)}
        newest = sql.execute("SELECT COALESCE(MAX(n), 0) FROM texts").fetchone()[0]
        for some in chain(in_parts(gone), in_parts(sorted(first))):
            sql.execute(
                f"DELETE FROM texts WHERE n IN ({some.marks}) AND seen IS NOT NULL AND NOT EXISTS "
                "(SELECT 1 FROM paragraphs p WHERE p.text = texts.n) AND NOT EXISTS "
                "(SELECT 1 FROM learned l WHERE l.digest = texts.digest) AND NOT EXISTS "
                "(SELECT 1 FROM forgotten f WHERE f.digest = texts.digest) AND (same_as NOTNULL OR "
                "(n > ? AND NOT EXISTS (SELECT 1 FROM texts o WHERE o.n > texts.n "
                "AND o.same_as = texts.n)))",
                [*some, newest - _RECENT_TEXTS],
            )

    def remembered(self, entry: str) -> RememberedEntry:
        """What memory.jsonl keeps of an entry, by which it can be found again."""
        row = self._db.read("SELECT place, words FROM entries WHERE id=?", (kept_id(entry),))[0]
        digests = [digest for digest, _ in self.digests_of(entry)]
        place = given_id(row["place"])
        return {"entry": entry, "place": place, "words": row["words"], "paragraphs": digests}

    def ghost(self, one: RememberedEntry, seen: float) -> None:
        """A row for an entry that only memory.jsonl knows, so that a scan can find it again."""
        sql, name = self._db.sql, kept_id(one["entry"])
        if sql.execute("SELECT 1 FROM entries WHERE id=?", (name,)).fetchone():
            return
        made = sql.execute(
            "INSERT INTO entries (id, place, tags, words, first_seen, changed, absent_since) "
            "VALUES (?,?,'[]',?,?,?,?)",
            (name, kept_id(one["place"]), one["words"], seen, seen, seen),
        )
        digests = [kept_id(digest) for digest in one["paragraphs"]]
        sql.executemany(
            "INSERT OR IGNORE INTO texts (digest, shingles) VALUES (?, x'')",
            [(d,) for d in digests],
        )
        sql.executemany(
            "INSERT INTO paragraphs SELECT ?, ?, n, 1 FROM texts WHERE digest=?",
            [(made.lastrowid, at, digest) for at, digest in enumerate(digests)],
        )


def _entry(row: sqlite3.Row) -> EntryRow:
    fields = dict(row)
    fields["id"], fields["place"] = given_id(fields["id"]), given_id(fields["place"])
    fields["path"] = given_text(fields["path"] or "")
    fields["heading"] = fields["heading"] and given_text(fields["heading"])
    fields["tags"] = tuple(json.loads(fields["tags"]))
    fields["held_digests"] = tuple(json.loads(fields["held_digests"] or "[]"))
    fields["used"], fields["forgotten"] = bool(fields["used"]), bool(fields["forgotten"])
    return EntryRow(**fields)


def _held(values: _Lower, ranked: _Lower) -> npt.NDArray[np.bool_]:
    """bool [len(values)]: which of them stand in the ascending `ranked`, whose upper half first."""
    half, begun = np.uint32(16), np.zeros(1 << 16, dtype=np.bool_)
    begun[ranked >> half] = True
    found: npt.NDArray[np.bool_] = begun[values >> half]
    some = np.flatnonzero(found)
    at = np.searchsorted(ranked, values[some])
    found[some] = ranked[np.minimum(at, len(ranked) - 1)] == values[some]
    return found


def _near_duplicates(
    entries: Sequence[tuple[int, int, Hashes]], paragraphs: Callable[[int], tuple[int, ...]]
) -> dict[int, int]:
    """Entry to drop -> entry that stays, the first of each group.

    Each entry is (row, how many runs it has, those of them that others may have too). A run
    belongs to the first entry that has it, so one pass is enough."""
    owner: dict[int, int] = {}
    whole: dict[tuple[int, ...], int] = {}
    dropped: dict[int, int] = {}
    for at, (name, size, shared) in enumerate(entries):
        digests = paragraphs(name)
        if digests and digests in whole:
            dropped[name] = whole[digests]
            continue
        own = shared.tolist()
        owners = Counter(owner[run] for run in own if run in owner)
        first, count = max(owners.items(), key=lambda o: (o[1], -o[0]), default=(0, 0))
        if count > SAME_RUNS * size:
            dropped[name] = entries[first][0]
            continue
        owner |= {run: at for run in own if run not in owner}
        whole[digests] = name
    return dropped
