"""One vault's ledger, put together of its parts, and the ways of opening it.

A damaged database is set aside and rebuilt from memory.jsonl and the vault; when both are lost
while generations exist, learning pauses until the author says go.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from vaultgpt.errors import StateError
from vaultgpt.files import PRIVATE_FILE
from vaultgpt.ledger.database import Database
from vaultgpt.ledger.emitted import EmittedText
from vaultgpt.ledger.entries import COPIES, Entries
from vaultgpt.ledger.following import COMPARED, RULES, Followed, Following, Recording
from vaultgpt.ledger.forgotten import Forgotten
from vaultgpt.ledger.guard import Guard
from vaultgpt.ledger.held_out import HeldOut
from vaultgpt.ledger.lineage import KNOWN_OF, Generations
from vaultgpt.ledger.memory_file import Line, MemoryFile, Restated
from vaultgpt.ledger.notes import Notes
from vaultgpt.ledger.pending import PendingText
from vaultgpt.ledger.round_log import Rounds
from vaultgpt.ledger.rows import Pending, Recorded
from vaultgpt.ledger.schema import connect
from vaultgpt.settings import Rules
from vaultgpt.state import VaultState
from vaultgpt.vault.walk import walk_folders

if TYPE_CHECKING:
    from vaultgpt.vault.reconcile import Scan

_T = TypeVar("_T")
_PART = 2_000  # notes that are recorded at once
_PAUSES = {
    "lost": (
        "The ledger and its memory file are both gone, so forgotten notes could be relearned. "
        "Forget them again, then say `vaultgpt train --fresh`."
    ),
    "vanished": (
        "Much of the vault vanished at once. Learning waits until it is back, or until "
        "you say `vaultgpt train --fresh`."
    ),
}


class Ledger:
    """One vault's ledger. Any process may open it; writers take turns. Use as a context manager.

    Its parts: `notes`, `entries`, `held_out`, `emitted`, `forgotten`, `guard`,
    `generations`, `rounds`."""

    def __init__(self, state: VaultState, connection: sqlite3.Connection) -> None:
        self.state = state
        self._key: bytes | None = None
        self._db = db = Database(
            connection, MemoryFile(state.memory, Database.known_memory(connection))
        )
        self.notes = Notes(db)
        self.entries = Entries(db)
        self.held_out = HeldOut(db, self.entries, self._use_key)
        self.emitted = EmittedText(db, self._use_key)
        self.guard = Guard(db, state.runs)
        self.forgotten = Forgotten(db, self.entries, self.guard)
        self.generations = Generations(db)
        self.rounds = Rounds(db, self.generations)
        self._pending = PendingText(db, self.entries, self.held_out, self.generations)
        self._recording = Recording(
            *(db, self.notes, self.entries, self.held_out, self.emitted, self.guard),
            self._use_key,
        )
        self._following = Following(state, db, self.notes, self._recording, self._key_trouble)
        db.restate = self._restate
        db.replays = {
            "key": self._replay_key,
            "held_out": self.held_out.replay,
            "forget": self.forgotten.replay,
            "emitted": self.emitted.replay,
            "scores": self.rounds.replay,
            "active": self.generations.replay,
        }

    @staticmethod
    def open(state: VaultState) -> Ledger:
        """Open or make the ledger. StateError when it can't be."""
        with contextlib.suppress(StateError):
            state.secret()  # the first use makes one, before there is anything it could be tied to
        try:
            connection = connect(state.ledger)
        except sqlite3.OperationalError as error:
            raise StateError(
                f"The ledger can't be opened ({type(error).__name__}).",
                "See that the state folder is writable and has room.",
            ) from None
        except sqlite3.DatabaseError:
            _set_aside(state)
            connection = connect(state.ledger)
        ledger = Ledger(state, connection)
        if ledger.meta("version") is None:  # nothing was ever written: made just now, or emptied
            ledger._begin()
        else:
            ledger._db.catch_up()
        ledger._bind()
        return ledger

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def rest(self) -> None:
        """Hold no more memory than an idle process should."""
        self._db.rest()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _begin(self) -> None:
        """A new database: take over memory.jsonl, or stop when there must have been one."""
        folder, memory = self.state.generations, self._db.memory
        generations = folder.is_dir() and any(p.name.startswith("g") for p in folder.iterdir())
        used = generations or any(self.state.runs.glob("*.npy"))
        lost, remembered = bool(memory.damaged or (used and not memory.last)), memory.last > 0
        with self._db.write():
            self._db.keep(COPIES, {})  # of no entry
            self.set_meta(KNOWN_OF, "None")
            self.set_meta("rebuilt", "1" if generations or remembered else None)
            if lost:
                self.set_meta("paused", "lost")

    def _bind(self) -> None:
        """Tie ledger and memory.jsonl to the secret that keys their hashes, once."""
        if self.meta("key_check") is None:
            with contextlib.suppress(StateError):
                key = self.state.secret()
                if self.entries.fit(key):
                    with self._db.write():
                        self.set_meta("key_check", _check(key))
                        self._db.remember("key", time.time(), check=_check(key))

    def _replay_key(self, line: Line) -> None:
        if self.meta("key_check") is None:
            self.set_meta("key_check", line["check"])

    def _restate(self) -> Iterator[Restated]:
        now = time.time()
        if check := self.meta("key_check"):
            yield "key", now, {"check": check}
        for part in (self.held_out, self.forgotten, self.emitted, self.rounds, self.generations):
            yield from part.restate(now)

    @property
    def key(self) -> bytes:
        """The secret that keys the hashes of this ledger.

        StateError when it is lost, damaged, or another than the hashes were made with."""
        return self._use_key()

    def _use_key(self) -> bytes:
        check = self.meta("key_check")
        if self._key is None or _check(self._key) != check:
            self._key = self.state.secret()
            if _check(self._key) != check:
                self._key = None
                raise StateError(
                    "The file `secret` of the state folder is not the one that this vault's "
                    "hashes were made with: forgotten notes could be relearned.",
                    "Put the right one back from a backup. If it is lost, say `vaultgpt train "
                    "--fresh`: all is learned anew, and you forget notes again.",
                )
        return self._key

    def _key_trouble(self) -> StateError | None:
        try:
            self._use_key()
        except StateError as error:
            return error
        return None

    def meta(self, key: str) -> str | None:
        """A value kept under a name; None when there is none."""
        return self._db.meta(key)

    def count(self, key: str) -> int:
        """A whole number that is kept under a name; 0 where there is none."""
        return self._db.count(key)

    def set_meta(self, key: str, value: str | None) -> None:
        """Keep a value under a name; None removes it."""
        self._db.set_meta(key, value)

    def kept(self, key: str, make: Callable[[], _T]) -> _T:
        """What `make` computes of this ledger, as JSON holds it; again only when a row changed."""
        return self._db.kept(key, make)

    def paused(self) -> str | None:
        """Why learning waits for the author's word, in a sentence; None when it does not."""
        if trouble := self._key_trouble():
            return f"{trouble.message} {trouble.mend}"
        return _PAUSES.get(self.meta("paused") or "")

    def resume(self) -> None:
        """The author says go: learning is no longer paused.

        Where the secret is lost, nothing that was hashed can be used: the ledger begins anew."""
        if self._key_trouble():
            self._begin_anew()
        with self._db.write():
            self.set_meta("paused", None)

    def _begin_anew(self) -> None:
        """An empty ledger under a new secret; the old one and memory.jsonl are set aside."""
        mark = f"other-secret-{time.time_ns()}"
        aside = self.state.ledger.with_name(f"{self.state.ledger.name}.{mark}")
        aside.touch(mode=PRIVATE_FILE)
        self._db.sql.execute("VACUUM INTO ?", (str(aside),))
        with contextlib.suppress(FileNotFoundError):
            self.state.memory.replace(
                self.state.memory.with_name(f"{self.state.memory.name}.{mark}")
            )
        for path in self.state.runs.glob("*.npy"):
            path.unlink(missing_ok=True)
        key = self.state.renew_secret()
        self._db.empty()
        with self._db.write():
            self.set_meta("key_check", _check(key))
            self._db.remember("key", time.time(), check=_check(key))
            self.set_meta("rebuilt", "1")

    def record(self, scan: Scan, now: float, vanished_percent: int = 10) -> Recorded:
        """Write a scan into the ledger: entries, paragraphs, absences, held-out choice.

        New text goes into the copy guard before this returns. More than `vanished_percent` of the
        words gone at once pauses learning; their return ends the pause. Without the right secret
        nothing is written."""
        if self._key_trouble():
            return Recorded()  # hashes of another key would make all text new
        if scan.rules != (self.meta(RULES) or scan.rules):
            self._db.note(RULES, "")  # some notes are judged by other rules than the rest
        parts = [scan.read[at : at + _PART] for at in range(0, len(scan.read), _PART)]
        gone = [path for path in self.notes.paths() if path not in scan.stamps]
        empty = not scan.stamps
        done = self._recording.record(gone, parts, now, vanished_percent, empty=empty)
        self._db.keep(COMPARED, [now, scan.said()])
        return done

    def follow(
        self,
        rules: Rules,
        now: float,
        vanished_percent: int = 10,
        heard: Callable[[int, int], None] = lambda done, of: None,
        folders: Collection[str] | None = None,
        *,
        whole: bool = False,
    ) -> Followed:
        """Bring the ledger in step with the folder: what changed is read and recorded in parts.

        Nothing changed costs a stat a note, or reading it where the `whole` vault is to be. `heard`
        is told how many bytes of how many are read.
        Of `folders`, as the watcher tells them, the notes in these and in those above alone are
        compared, unless that leaves a doubt.
        VaultError when the vault is not there; without the right secret nothing is written."""
        return self._following.follow(rules, now, vanished_percent, heard, folders, whole)

    def compared(self) -> tuple[float, list[str]] | None:
        """When the whole folder was last compared with the ledger, and what was to be said of it;
        None when it never was, or a scan was stopped on its way."""
        return self._following.compared()

    def require_vault(self) -> None:
        """VaultError where the folder can't be read, or holds no note any more. It is listed as far
        as its first note alone."""
        if next(walk_folders(self.state.vault, []), None) is None:
            self._recording.require_notes(self.notes.count())

    def recall(self) -> None:
        """Bar again what memory.jsonl has as forgotten: its lines are checksummed, rows are not."""
        with self._db.write():
            self._db.memory.refresh()
            for line in self._db.memory.read():
                if line["kind"] == "forget":
                    self.forgotten.replay(line)

    def pending(self, now: float, quiet_s: float = 3600.0, *, listed: bool = True) -> Pending:
        """Text that the active generation has not learned, and how much of it is ready.

        Without `listed` only counts, not the ready paragraphs. Held-out, forgotten, duplicate and
        template text is never pending. Equal paragraphs count once, slightly edited ones not at
        all."""
        self._db.tell_time(now)
        return self._pending.look(now, quiet_s, listed)


def _check(key: bytes) -> str:
    """What tells a key from another and gives nothing of it away."""
    return hashlib.blake2b(key=key, digest_size=16, person=b"key check").hexdigest()


def _set_aside(state: VaultState) -> None:
    """Move a damaged database away, so that nothing of it is lost."""
    mark = f".damaged-{int(time.time())}"
    for suffix in ("", "-wal", "-shm"):
        path = state.ledger.with_name(state.ledger.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            path.replace(path.with_name(path.name + mark))
