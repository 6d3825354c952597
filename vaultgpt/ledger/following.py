"""The ledger brought in step with the folder, the whole of it or what the watcher names.

It is recorded in parts, each a transaction, so that memory stays the same however many notes there
are and a stop loses one part. Opens no note itself; knows nothing about training.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import COPY_WORDS, Hashes, among, ascending, runs_of
from vaultgpt.errors import StateError, VaultError
from vaultgpt.ledger.database import Database, Key
from vaultgpt.ledger.emitted import EmittedText
from vaultgpt.ledger.entries import SAME_RUNS, Entries
from vaultgpt.ledger.guard import Guard
from vaultgpt.ledger.held_out import HeldOut
from vaultgpt.ledger.notes import Notes
from vaultgpt.ledger.paragraphs import Read
from vaultgpt.ledger.recorder import Recorder
from vaultgpt.ledger.rows import Recorded
from vaultgpt.settings import Rules
from vaultgpt.state import VaultState
from vaultgpt.vault.walk import FileStamp

if TYPE_CHECKING:
    from vaultgpt.vault.reconcile import Changes, ScannedNote

_LEAST_GONE = 3  # notes that must vanish at once before that is taken for an accident
_UNFINISHED = "scan_unfinished"  # set while some parts of a scan are recorded and others not yet
_COPIED_RUNS = 4  # of others in an entry, from which on it may be a copy, or have one
RULES, COMPARED = "daemon_rules", "compared"
_Heard = Callable[[int, int], None]


class Recording:
    """Writes scans into the ledger."""

    def __init__(
        self,
        db: Database,
        notes: Notes,
        entries: Entries,
        held_out: HeldOut,
        emitted: EmittedText,
        guard: Guard,
        key: Key,
    ) -> None:
        self._db, self._notes, self._entries = db, notes, entries
        self._held_out, self._emitted, self._guard, self._key = held_out, emitted, guard, key

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
                    some = len(gone) >= _LEAST_GONE  # else nobody asks: a pass over all entries
                    words = self._entries.usable_words() if some else 0
                    recorder = Recorder(sql, self._key(), now, gone, words)
                recorder.part(part)
                self._notes.unmark([scanned.note.path for scanned in part])
                self._enter(recorder, now)
                if last:
                    recorder.leave()
                    self._notes.unmark(gone)
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
            before = db.count("words_before_vanishing")
            if self._entries.usable_words() * 100 >= (100 - percent) * before:
                db.set_meta("paused", None)


def _marked(parts: Iterable[Sequence[ScannedNote]]) -> Iterator[tuple[Sequence[ScannedNote], bool]]:
    """The parts, at least one, each with whether it is the last."""
    waiting: Sequence[ScannedNote] | None = None
    for part in parts:
        if waiting is not None:
            yield waiting, False
        waiting = part
    yield waiting or [], True


def _eight(reads: Sequence[Read], key: bytes) -> Hashes:
    """All 8-word runs of entries."""
    return _together([runs_of(read.hashes, COPY_WORDS, key) for read in reads])


def _together(hashes: Sequence[Hashes]) -> Hashes:
    return np.concatenate([np.zeros(0, dtype=np.uint64), *hashes])


@dataclass
class Followed:
    """What a comparison of the folder with the ledger found."""

    read: int  # notes that were opened
    gone: int
    said: list[str]  # what the author should know of the vault as a whole
    closed: tuple[str, ...] = ()  # folders that can't be listed
    recorded: bool = True  # False without the right secret: the ledger is as it was
    saved: float = 0.0  # when the last of those read was written, seconds since the epoch
    changed: int = 0  # of those read, what is new, or was read or judged otherwise than before


class Following:
    """Compares, has what changed read, and records it."""

    def __init__(
        self,
        state: VaultState,
        db: Database,
        notes: Notes,
        recording: Recording,
        key_trouble: Callable[[], StateError | None],
    ) -> None:
        self._state, self._db, self._notes, self._recording = state, db, notes, recording
        self._key_trouble = key_trouble

    def compared(self) -> tuple[float, list[str]] | None:
        """See Ledger.compared."""
        known = self._db.found(COMPARED)
        if known is None or self._recording.unfinished():
            return None
        return float(known[0]), list(known[1])

    def follow(
        self,
        rules: Rules,
        now: float,
        vanished_percent: int,
        heard: _Heard,
        folders: Collection[str] | None,
        whole: bool,
    ) -> Followed:
        """See Ledger.follow."""
        with _uncollected():
            if folders is not None:
                found = self._some(rules, now, vanished_percent, heard, folders)
                if found is not None:
                    return found
            return self._whole(rules, now, vanished_percent, heard, anew=whole)

    def _whole(
        self, rules: Rules, now: float, vanished_percent: int, heard: _Heard, anew: bool
    ) -> Followed:
        from vaultgpt.vault.reconcile import (  # 0.1 s, which `status` does not need
            Changes,
            fingerprint,
        )

        mark = fingerprint(self._state.vault, rules)
        known = self._notes.count()
        if not known:  # so that a first scan that is stopped goes on where it was
            self._db.note(RULES, mark)
        same = self._db.meta(RULES) == mark
        version = self._db.meta("version")
        if same and not anew:
            marks = frozenset(self._notes.marks().values())
            changes = Changes(self._state.vault, rules, self._notes.some_stamps, marks)
        else:
            changes = Changes(self._state.vault, rules, _unknown)
        gone: list[str] = []
        if not same or changes.known < known:
            gone = changes.gone(self._notes.paths())
        done = Followed(changes.files.count, len(gone), changes.said(), changes.closed())
        if self._key_trouble():
            return replace(done, recorded=False)
        if not same:  # while some notes are judged by other rules, none are known
            self._db.note(RULES, "")
        elif not anew and self._db.meta("version") == version:  # nobody else recorded meanwhile
            self._notes.mark(changes.marks)
        if changes.files.count or gone or self._recording.unfinished() or self.compared() is None:
            parts = _told(changes, heard, done)
            empty = changes.count == 0
            found = self._recording.record(gone, parts, now, vanished_percent, empty=empty)
            done.changed = found.notes
        self._db.note(RULES, mark)
        self._db.keep(COMPARED, [now, done.said])
        return done

    def _some(
        self,
        rules: Rules,
        now: float,
        vanished_percent: int,
        heard: _Heard,
        folders: Collection[str],
    ) -> Followed | None:
        """By these folders alone; None where only the whole is sure: other rules, a scan that was
        stopped, folders that are not there, no note left."""
        from vaultgpt.vault.reconcile import SomeChanges

        compared = self.compared()
        if compared is None or self._key_trouble():
            return None
        changes = SomeChanges(self._state.vault, rules, folders, self._notes.stamps_in)
        if not changes.sure or changes.rules() != self._db.meta(RULES):
            return None
        if len(changes.left) >= self._notes.count():
            return None
        done = Followed(changes.files.count, len(changes.left), compared[1])
        if changes.files.count or changes.left:
            parts = _told(changes, heard, done)
            found = self._recording.record(changes.left, parts, now, vanished_percent, empty=False)
            done.changed = found.notes
        return done


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for cycles, of which reading makes none: it looked at every path that
    is held each time, an eighth of a first scan."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _unknown(paths: Sequence[str]) -> dict[str, FileStamp]:
    """Nothing is known where the rules changed: all is read."""
    return {}


def _told(changes: Changes, heard: _Heard, done: Followed) -> Iterator[list[ScannedNote]]:
    """The parts of a scan, each told of when it is read."""
    total, read = changes.files.size, 0
    for part in changes.parts():
        yield part
        read += sum(note.stamp.size for note in part)
        done.saved = max([done.saved, *(note.stamp.mtime_ns / 1e9 for note in part)])
        heard(read, total)
