"""The ledger itself: opening, recording scans, what is pending.

A damaged database is set aside and rebuilt from memory.jsonl and the vault; when both are lost
while generations exist, learning pauses until the author says go.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from vaultgpt.corpus.runs import COPY_WORDS, GUARD_WORDS, RunIndex
from vaultgpt.errors import StateError
from vaultgpt.ledger import held_out, texts
from vaultgpt.ledger.alike import near_duplicates
from vaultgpt.ledger.history import History
from vaultgpt.ledger.memory import Memory
from vaultgpt.ledger.own import OwnWords
from vaultgpt.ledger.record import Recorded, Recorder
from vaultgpt.ledger.rows import EntryRow, Paragraph, Pending
from vaultgpt.ledger.schema import connect
from vaultgpt.state import VaultState
from vaultgpt.vault.walk import FileStamp

if TYPE_CHECKING:
    from vaultgpt.vault.scan import Scan

LEAST_WORDS = 2_000  # usable words under which nothing is trained or held out
TEMPLATE_ENTRIES = 5  # a paragraph in so many entries is a template's, not the author's voice
LEAST_GONE = 3  # notes that must vanish at once before that is taken for an accident
PAUSES = {
    "lost": ("The ledger and its memory file are both gone, so forgotten notes could be relearned. "
             "Forget them again, then say `vaultgpt train --fresh`."),
    "vanished": ("Much of the vault vanished at once. Learning waits until it is back, or until "
                 "you say `vaultgpt train --fresh`."),
}


class Ledger(OwnWords, History):
    """One vault's ledger. Any process may open it; writers take turns. Use as a context manager."""

    @staticmethod
    def open(state: VaultState) -> Ledger:
        """Open or make the ledger. StateError when it can't be."""
        missing = not state.ledger.exists()
        try:
            db = connect(state.ledger)
        except sqlite3.OperationalError as error:
            raise StateError(f"The ledger can't be opened ({type(error).__name__}).",
                             "See that the state folder is writable and has room.") from None
        except sqlite3.DatabaseError:
            _set_aside(state)
            db, missing = connect(state.ledger), True
        ledger = Ledger(state, db, Memory(state.memory))
        if missing:
            ledger._begin()
        elif ledger.memory.last > int(ledger.meta("memory_line") or 0):
            with ledger._write():
                pass  # catches up with what a crash left
        return ledger

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _begin(self) -> None:
        """A new database: take over memory.jsonl, or stop when there must have been one."""
        folder = self.state.generations
        generations = folder.is_dir() and any(p.name.startswith("g") for p in folder.iterdir())
        with self._write():
            self.set_meta("rebuilt", "1" if generations or self.memory.last else None)
            if generations and (self.memory.last == 0 or self.memory.damaged):
                self.set_meta("paused", "lost")

    def paused(self) -> str | None:
        """Why learning waits for the author's word, in a sentence; None when it does not."""
        return PAUSES.get(self.meta("paused") or "")

    def resume(self) -> None:
        """The author says go: learning is no longer paused."""
        with self._write():
            self.set_meta("paused", None)

    def stamps(self) -> dict[str, FileStamp]:
        """The stamp of every note as it was last recorded, for vault.scan.read_vault."""
        return {r["path"]: FileStamp(r["mtime_ns"], r["size"], r["inode"])
                for r in self._read("SELECT * FROM notes WHERE gone_since IS NULL")}

    def record(self, scan: Scan, now: float, vanished_percent: int = 10) -> Recorded:
        """Write a scan into the ledger: entries, paragraphs, absences, held-out choice.

        New text goes into the copy guard before this returns. More than `vanished_percent` of the
        words gone at once pauses learning; their return ends the pause.
        """
        with self._write() as db:
            done = Recorder(db, self.key, now).run(scan)
            self._hold_out(now)
            if done.runs:
                self._match_emitted(np.concatenate([r[0] for r in done.runs]), now)
            self._vanished(done, vanished_percent)
            self._guard(done)
        return done

    def _guard(self, done: Recorded) -> None:
        """Add new text's runs to the guard's and the copying index; all when an index was lost."""
        for n, column in ((COPY_WORDS, 0), (GUARD_WORDS, 1)):
            index = RunIndex(self.state.runs, self.key, n).load()
            parts = [r[column] for r in done.runs]
            if not len(index):
                rows = self._read(f"SELECT runs{n} AS runs FROM entries")
                parts += [np.frombuffer(r["runs"], dtype=np.uint64) for r in rows]
            if parts:
                index.add_hashes(np.concatenate(parts))

    def _vanished(self, done: Recorded, percent: int) -> None:
        if (done.gone_notes >= LEAST_GONE
                and done.gone_words * 100 > percent * max(1, done.words_before)):
            self.set_meta("paused", self.meta("paused") or "vanished")
            self.set_meta("words_before_vanishing", str(done.words_before))
        elif self.meta("paused") == "vanished":
            before = int(self.meta("words_before_vanishing") or 0)
            if self.usable_words() * 100 >= (100 - percent) * before:
                self.set_meta("paused", None)

    def _hold_out(self, now: float) -> None:
        """Choose held-out entries among those first seen, once there is enough text."""
        total = self.usable_words()
        first = self.meta("held_out_chosen") is None
        new = self._entries("WHERE NOT decided AND used AND NOT forgotten AND absent_since IS NULL")
        if not new or (first and total < LEAST_WORDS):
            return
        candidates = [held_out.Candidate(e.id, e.words, e.tags, texts.chance(e.place, self.key),
                                         self._digests_of(e)) for e in new]
        if first:
            choices = held_out.choose(candidates, total, self._held_words())
        else:
            choices = self._keep_choosing(candidates, total)
        self.db.executemany("UPDATE entries SET decided=1 WHERE id=?", [(e.id,) for e in new])
        for choice in choices:
            self.db.execute("UPDATE entries SET held_out=?, held_digests=? WHERE id=?",
                            (2 if choice.digests else 1, json.dumps(choice.digests), choice.id))
        if choices:
            self.memory.append("held_out", now, entries=[
                {**self._remembered(c.id), "held": list(c.digests)} for c in choices])
        self.set_meta("held_out_chosen", "1")

    def _digests_of(self, entry: EntryRow) -> tuple[tuple[str, int], ...]:
        rows = self.db.execute("SELECT digest, words FROM paragraphs WHERE entry=? "
                               "ORDER BY position", (entry.id,))
        return tuple((r["digest"], r["words"]) for r in rows)

    def _keep_choosing(self, candidates: list[held_out.Candidate], total: int
                       ) -> list[held_out.Choice]:
        entries = [e for e in self.entries() if e.live]
        counts = Counter(tag for e in entries for tag in set(e.tags))
        covered = {tag for e in entries if e.held_out for tag in e.tags}
        held, choices = self._held_words(), []
        for one in sorted(candidates, key=lambda c: c.draw):
            lacks = any(counts[t] >= held_out.TAG_ENTRIES and t not in covered for t in one.tags)
            if choice := held_out.keep_choosing(one, total, held, lacks):
                choices.append(choice)
                held += choice.words
                covered.update(one.tags)
        return choices

    def _held_texts(self) -> set[str]:
        """Digests of held-out paragraphs of four words or more: no copy of them is ever learned."""
        paragraphs = self.paragraphs()
        return {p.digest for e in self.entries() if e.held_out and e.live
                for p in paragraphs.get(e.id, ()) if p.words >= held_out.COPY_LEAST
                and (e.held_out == 1 or p.digest in e.held_digests)}

    def _held_words(self) -> int:
        words = 0
        for entry in self._entries("WHERE held_out AND used AND NOT forgotten "
                                   "AND absent_since IS NULL"):
            count = entry.words
            if entry.held_out == 2:
                held = set(entry.held_digests)
                count = sum(w for d, w in self._digests_of(entry) if d in held)
            words += min(count, held_out.ENTRY_WORDS)
        return words

    def usable_words(self) -> int:
        """Words of prose that the rules allow, in the vault now."""
        return int(self._read("SELECT COALESCE(SUM(words), 0) AS n FROM entries WHERE used "
                              "AND NOT forgotten AND absent_since IS NULL")[0]["n"])

    def _entries(self, where: str) -> list[EntryRow]:
        columns = ("id, path, heading, place, date, tags, words, held_out, held_digests, "
                   "first_seen, changed, used, forgotten, absent_since")
        out = []
        for row in self._read(f"SELECT {columns} FROM entries {where} ORDER BY path, id"):
            fields = dict(row)
            fields["tags"] = tuple(json.loads(fields["tags"]))
            fields["held_digests"] = tuple(json.loads(fields["held_digests"]))
            fields["used"], fields["forgotten"] = bool(fields["used"]), bool(fields["forgotten"])
            out.append(EntryRow(**fields))
        return out

    def entries(self, absent: bool = False) -> list[EntryRow]:
        """Entries that are in the vault now; with `absent` those that left it too."""
        return self._entries("" if absent else "WHERE absent_since IS NULL")

    def paragraphs(self) -> dict[str, list[Paragraph]]:
        """Entry id -> its paragraphs in order, of the entries in the vault now."""
        if (kept := self._cached("paragraphs")) is not None:
            return dict(kept)
        out: dict[str, list[Paragraph]] = {}
        for r in self._read("SELECT p.*, t.first_seen, t.waited FROM paragraphs p "
                            "JOIN entries e ON e.id = p.entry AND e.absent_since IS NULL "
                            "JOIN texts t ON t.digest = p.digest ORDER BY p.entry, p.position"):
            out.setdefault(r["entry"], []).append(Paragraph(
                r["entry"], r["digest"], r["position"], r["words"], r["first_seen"],
                bool(r["waited"])))
        self._cache["paragraphs"] = out
        return dict(out)

    def same_as(self) -> dict[str, str]:
        """Digest of a slightly edited paragraph -> digest of its first form."""
        return {r["digest"]: r["same_as"] for r in self._read(
            "SELECT digest, same_as FROM texts WHERE same_as IS NOT NULL")}

    def templates(self) -> set[str]:
        """Digests of paragraphs that stand in five entries or more: they carry no loss."""
        return {r["digest"] for r in self._read(
            "SELECT p.digest FROM paragraphs p JOIN entries e ON e.id = p.entry "
            "WHERE e.used AND e.absent_since IS NULL GROUP BY p.digest "
            "HAVING COUNT(DISTINCT p.entry) >= ?", (TEMPLATE_ENTRIES,))}

    def duplicates(self) -> dict[str, str]:
        """Entry that is left out of training -> the entry that says the same.

        Of entries sharing over 80 % of their 8-word runs one stays: a held-out one first, then the
        longest. Entries of under eight words count when all their paragraphs are equal.
        """
        if (kept := self._cached("duplicates")) is not None:
            return dict(kept)
        live = [e for e in self.entries() if e.live and e.words]
        paragraphs = self.paragraphs()
        runs = {r["id"]: np.frombuffer(r["runs8"], dtype=np.uint64)
                for r in self._read("SELECT id, runs8 FROM entries WHERE absent_since IS NULL")}
        live.sort(key=lambda e: (e.held_out != 1, -e.words, e.first_seen, e.id))
        found = near_duplicates([(e.id, runs[e.id],
                                  tuple(p.digest for p in paragraphs.get(e.id, ()))) for e in live])
        self._cache["duplicates"] = found
        return dict(found)

    def pending(self, now: float, quiet_s: float = 3600.0) -> Pending:
        """Text that the active generation has not learned, and how much of it is ready.

        Held-out, forgotten, duplicate and template text is never pending. Equal paragraphs count
        once, slightly edited ones not at all.
        """
        words = notes = ready_words = 0
        ready: dict[str, tuple[str, ...]] = {}
        for entry, changed, count, digests in self._unlearned():
            words, notes = words + count, notes + 1
            if now - changed >= quiet_s:
                ready_words += count
                ready[entry] = digests
        return Pending(words, notes, ready_words, len(ready), ready)

    def _unlearned(self) -> list[tuple[str, float, int, tuple[str, ...]]]:
        """(entry, last change, new words, new digests) of entries with text not learned yet."""
        if (kept := self._cached("unlearned")) is not None:
            return list(kept)
        learned, same = self.learned(self.active()), self.same_as()
        barred = self.forgotten()[1] | self.templates() | self._held_texts()
        dropped, paragraphs = self.duplicates(), self.paragraphs()
        counted: set[str] = set()
        out = []
        for entry in self.entries():
            if not entry.live or entry.held_out == 1 or entry.id in dropped:
                continue
            held = set(entry.held_digests)
            new = [p for p in paragraphs.get(entry.id, ()) if p.words and p.digest not in held
                   and p.digest not in learned and same.get(p.digest) not in learned
                   and p.digest not in barred and p.digest not in counted]
            if new:
                counted |= {p.digest for p in new}
                out.append((entry.id, entry.changed, sum(p.words for p in new),
                            tuple(dict.fromkeys(p.digest for p in new))))
        self._cache["unlearned"] = out
        return list(out)

    def totals(self) -> dict[str, int]:
        """Counts for status: notes, used notes, words of their prose as `scan` counts them."""
        row = self._read("SELECT COUNT(*) AS notes, COALESCE(SUM(used), 0) AS used, "
                         "COALESCE(SUM(used * words), 0) AS words FROM notes "
                         "WHERE gone_since IS NULL")[0]
        return {"notes": row["notes"], "used": row["used"], "words": row["words"]}

    def census(self) -> dict[str, Any]:
        """{"tags": {tag: entries}, "years": {year: entries}} of the entries in use."""
        live = [e for e in self.entries() if e.live and e.words]
        tags = Counter(tag for e in live for tag in e.tags)
        years = Counter(e.year for e in live if e.year)
        return {"tags": dict(tags.most_common()), "years": dict(sorted(years.items()))}


def _set_aside(state: VaultState) -> None:
    """Move a damaged database away, so that nothing of it is lost."""
    mark = f".damaged-{int(time.time())}"
    for suffix in ("", "-wal", "-shm"):
        path = state.ledger.with_name(state.ledger.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            path.replace(path.with_name(path.name + mark))
