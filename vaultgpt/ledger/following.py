"""The ledger brought in step with the folder: the whole of it, or those folders that the watcher
names. Opens no note itself. Knows nothing about what is recorded of one.
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vaultgpt.errors import StateError
from vaultgpt.ledger.database import Database
from vaultgpt.ledger.notes import Notes
from vaultgpt.ledger.recording import Recording
from vaultgpt.settings import Rules
from vaultgpt.state import VaultState
from vaultgpt.vault.walk import FileStamp

if TYPE_CHECKING:
    from vaultgpt.vault.reconcile import Changes, ScannedNote

RULES, COMPARED = "daemon_rules", "compared"
_Heard = Callable[[int, int], None]


@dataclass
class Followed:
    """What a comparison of the folder with the ledger found."""

    read: int  # notes that are new or changed
    gone: int
    said: list[str]  # what the author should know of the vault as a whole
    closed: tuple[str, ...] = ()  # folders that can't be listed
    recorded: bool = True  # False without the right secret: the ledger is as it was
    saved: float = 0.0  # when the last of those read was written, seconds since the epoch


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
        known = self._db.meta(COMPARED)
        if known is None or self._recording.unfinished():
            return None
        at, said = json.loads(known)
        return float(at), list(said)

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
        stamps = self._notes.some_stamps if same and not anew else _unknown
        changes = Changes(self._state.vault, rules, stamps)
        gone: list[str] = []
        if not same or changes.known < known:
            gone = changes.gone(self._notes.paths())
        done = Followed(len(changes.files), len(gone), changes.said(), changes.closed())
        if self._key_trouble():
            return replace(done, recorded=False)
        if not same:  # while some notes are judged by other rules, none are known
            self._db.note(RULES, "")
        if changes.files or gone or self._recording.unfinished() or self.compared() is None:
            parts = _told(changes, heard, done)
            empty = changes.count == 0
            self._recording.record(gone, parts, now, vanished_percent, empty=empty)
        self._db.note(RULES, mark)
        self._db.note(COMPARED, json.dumps([now, done.said]))
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
        done = Followed(len(changes.files), len(changes.left), compared[1])
        if changes.files or changes.left:
            parts = _told(changes, heard, done)
            self._recording.record(changes.left, parts, now, vanished_percent, empty=False)
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
    total, read = sum(file.stamp.size for file in changes.files), 0
    for part in changes.parts():
        yield part
        read += sum(note.stamp.size for note in part)
        done.saved = max([done.saved, *(note.stamp.mtime_ns / 1e9 for note in part)])
        heard(read, total)
