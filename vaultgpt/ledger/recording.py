"""A scan into rows: identity, paragraphs, absences, held-out choice, the guard's index.

In parts, each a transaction, so that memory stays the same however many notes there are and a stop
loses one part. Knows the vault's nouns, no notes on the disk and no training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import (
    COPY_WORDS,
    Hashes,
    among,
    ascending,
    run_hashes,
)
from vaultgpt.errors import VaultError
from vaultgpt.ledger.database import Database, Key
from vaultgpt.ledger.emitted import EmittedText
from vaultgpt.ledger.entries import SAME_RUNS, Entries
from vaultgpt.ledger.guard import Guard
from vaultgpt.ledger.held_out import HeldOut
from vaultgpt.ledger.paragraphs import Read, words_in
from vaultgpt.ledger.recorder import Recorder
from vaultgpt.ledger.rows import Recorded

if TYPE_CHECKING:
    from vaultgpt.vault.reconcile import ScannedNote

_LEAST_GONE = 3  # notes that must vanish at once before that is taken for an accident
_UNFINISHED = "scan_unfinished"  # set while some parts of a scan are recorded and others not yet
_COPIED_RUNS = 4  # of others in an entry, from which on it may be a copy, or have one


class Recording:
    """Writes scans into the ledger."""

    def __init__(
        self,
        db: Database,
        entries: Entries,
        held_out: HeldOut,
        emitted: EmittedText,
        guard: Guard,
        key: Key,
    ) -> None:
        self._db, self._entries, self._held_out, self._emitted = db, entries, held_out, emitted
        self._guard, self._key = guard, key

    def unfinished(self) -> bool:
        """Whether a scan was stopped between two of its parts."""
        return self._db.meta(_UNFINISHED) is not None

    def record(
        self,
        gone: Sequence[str],
        parts: Iterable[Sequence[ScannedNote]],
        now: float,
        vanished_percent: int,
        *,
        empty: bool,
    ) -> Recorded:
        """One scan; see Ledger.record. `empty`: the folder holds no note now."""
        if empty:
            self.require_notes(len(gone))
        recorder: Recorder | None = None
        for part, last in _marked(parts):
            with self._db.write() as sql:
                if recorder is None:
                    self._db.tell_time(now)
                    self._db.set_meta("told_time", str(now))
                    words = self._entries.usable_words()
                    recorder = Recorder(sql, self._key(), now, gone, words)
                recorder.part(part)
                self._enter(recorder, now)
                if last:
                    recorder.leave()
                    self._held_out.decide(now)
                    self._vanished(recorder.done, vanished_percent)
                self._entries.touch_copies(sorted(recorder.touched), recorder.lengths())
                self._db.set_meta(_UNFINISHED, None if last else "1")
        assert recorder is not None
        if recorder.first:
            self._db.pack()  # rows that came in no order leave a quarter of their pages empty
        return recorder.done

    def require_notes(self, gone: int) -> None:
        """VaultError where none is left of so many: so the mount point of a drive looks."""
        if gone >= _LEAST_GONE:
            raise VaultError(
                f"The vault holds no note any more, where there were {gone}; nothing is taken "
                "for deleted.",
                "Is its drive mounted? If they are deleted, `vaultgpt remove` erases what was "
                "learned of them.",
            )

    def _enter(self, recorder: Recorder, now: float) -> None:
        """The text of the last part: against what the mirror said, the other entries, the guard."""
        if reads := recorder.fresh:
            self._emitted.match(lambda: _eight(reads, self._key()), now)
        every = np.sort(_together([now for now, _ in recorder.runs]))
        again = every[1:][every[1:] == every[:-1]]  # that several of these entries have
        shared = ascending(np.concatenate([again, every[self._guard.known(every)]]))
        if recorder.repeated or self._copied(recorder.runs, shared):
            self._entries.forget_copies()
        self._guard.add(every)

    def _copied(self, runs: Sequence[tuple[Hashes, Hashes]], shared: Hashes) -> bool:
        """Whether one of these entries, by its runs now and before, may be a copy now or have one.
        `shared`: the runs that another one has or had."""
        if not len(shared):
            return False
        few: list[Hashes] = []
        held = among(_together([now for now, _ in runs]), shared)
        ends = np.cumsum([len(now) for now, _ in runs])
        for at in np.unique(np.searchsorted(ends, np.flatnonzero(held), "right")):
            now, before = runs[at]
            found = now[among(now, shared) & ~among(now, before)]
            if len(found) > SAME_RUNS * len(now) or (len(found) and len(now) <= _COPIED_RUNS):
                return True
            few.append(found)
        both: Hashes = np.sort(_together(few))
        if any(len(found) >= _COPIED_RUNS for found in few):
            return self._entries.may_copy(both)
        return self._entries.with_only(both)

    def _vanished(self, done: Recorded, percent: int) -> None:
        db = self._db
        if done.gone_notes >= _LEAST_GONE and done.gone_words * 100 > percent * max(
            1, done.words_before
        ):
            db.set_meta("paused", db.meta("paused") or "vanished")
            db.set_meta("words_before_vanishing", str(done.words_before))
        elif db.meta("paused") == "vanished":
            before = int(db.meta("words_before_vanishing") or 0)
            if self._entries.usable_words() * 100 >= (100 - percent) * before:
                db.set_meta("paused", None)


def _marked(
    parts: Iterable[Sequence[ScannedNote]],
) -> Iterator[tuple[Sequence[ScannedNote], bool]]:
    """The parts, at least one, each with whether it is the last."""
    waiting: Sequence[ScannedNote] | None = None
    for part in parts:
        if waiting is not None:
            yield waiting, False
        waiting = part
    yield waiting or [], True


def _eight(reads: Sequence[Read], key: bytes) -> Hashes:
    """All 8-word runs of entries."""
    return _together([run_hashes(words_in(read), COPY_WORDS, key) for read in reads])


def _together(hashes: Sequence[Hashes]) -> Hashes:
    return np.concatenate([np.zeros(0, dtype=np.uint64), *hashes])
