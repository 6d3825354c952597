"""A hint that the vault changed, and in which folders: watchdog's events, quietened, as one call.

Events get lost (8,000 files written at once gave 2,682), so what it says is where to look first;
reconcile.py finds out, and looks everywhere now and then. Knows nothing about notes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path, PurePath

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from vaultgpt.vault.walk import is_markdown

_CHANGES = frozenset({"created", "modified", "deleted", "moved", "closed"})
# The system is asked for nothing else. Events of our own reading overran its queue in a vault of
# 100,000 notes, and watchdog, which then opens every folder anew, span for ever on those it made.
_ASKED: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
_OF_FOLDERS: list[type[FileSystemEvent]] = [DirCreatedEvent, DirDeletedEvent, DirMovedEvent]
_MOST_FOLDERS, _MOST_EVENTS = 64, 1_000  # of which one call tells the places
UNWATCHED = "The vault can't be watched"
_LIMITS = {  # of Linux, by the error of who reaches them
    errno.EMFILE: "instances",  # one a watcher
    errno.ENOSPC: "watches",  # one a folder
}


class _Debouncer:
    """When to speak: after `quiet_s` without events, and at the latest `cap_s` after the first.

    Times are seconds of any one clock. watchdog's own has no cap: steady typing starves it."""

    def __init__(self, quiet_s: float, cap_s: float) -> None:
        self.quiet_s, self.cap_s = quiet_s, max(cap_s, quiet_s)
        self.first: float | None = None
        self.last = 0.0

    def event(self, now: float) -> None:
        """Something happened at `now`."""
        self.first = now if self.first is None else self.first
        self.last = now

    def due(self) -> float | None:
        """When to speak; None while nothing happened."""
        if self.first is None:
            return None
        return min(self.last + self.quiet_s, self.first + self.cap_s)

    def fire(self, now: float) -> bool:
        """Whether it is time; if so, start over."""
        due = self.due()
        if due is None or now < due:
            return False
        self.first = None
        return True


def _folders_of(event: FileSystemEvent, vault: str) -> set[str] | None:
    """The folders, by their paths in the vault, in which an event may concern a note: none for one
    of reading, or in a hidden folder. None where a folder itself came, went or moved."""
    found: set[str] = set()
    if event.event_type not in _CHANGES:
        return found
    for raw in (os.fsdecode(event.src_path), os.fsdecode(event.dest_path or "")):
        parts = PurePath(os.path.relpath(raw, vault)).parts if raw else ()
        if not parts or any(part.startswith(".") and part != "." for part in parts[:-1]):
            continue
        if event.is_directory:
            if event.event_type != "modified" and not parts[-1].startswith("."):
                return None
        elif is_markdown(parts[-1]):
            found.add(os.sep.join(parts[:-1]))
    return found


def _refused(error: OSError) -> str:
    """Why the system watches nothing, and what to raise where a limit was reached."""
    limit = _LIMITS.get(error.errno or 0) if sys.platform == "linux" else None
    if limit is None:
        return f"{UNWATCHED} ({type(error).__name__}, {error.errno})."
    key = f"fs.inotify.max_user_{limit}"
    return f"{UNWATCHED}: no more inotify {limit} are given. `sudo sysctl {key}=N` sets a higher N."


class _VaultEvents(FileSystemEventHandler):
    def __init__(self, vault: Path, tell: Callable[[set[str] | None], None]) -> None:
        self._vault, self._tell = str(vault), tell

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._tell(_folders_of(event, self._vault))


class _OwnFolder(FileSystemEventHandler):
    """Hears that the vault's own folder came, went or moved, or that another took its place."""

    def __init__(self, vault: Path, tell: Callable[[set[str] | None], None]) -> None:
        self._vault, self._tell = str(vault), tell

    def on_any_event(self, event: FileSystemEvent) -> None:
        if self._vault in (os.fsdecode(event.src_path), os.fsdecode(event.dest_path or "")):
            self._tell(None)


class Watcher:
    """Calls `on_change` from its own thread some time after the vault changed."""

    def __init__(
        self,
        vault: Path,
        on_change: Callable[[], None],
        debounce_s: float,
        cap_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.vault = Path(os.path.realpath(vault))  # events name real paths
        self.problem: str | None = None  # why it does not watch; the reconcile scan goes on
        self._on_change, self._now = on_change, now
        self._debouncer = _Debouncer(debounce_s, cap_s)
        self._folders: set[str] | None = None  # in which something happened; None: in any
        self._events = 0  # since that was asked
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._observer: BaseObserver | None = None
        self._root: tuple[int, int] | None = None

    def start(self) -> None:
        """Begin to watch. Where the system refuses, `problem` says why and healthy() is False."""
        self.stop()
        self._stopping, self.problem, self._folders = False, None, None
        # It tells on the terminal, with the folder's path, that a new folder was seen twice.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")
        observer: BaseObserver | None = None
        try:
            status = os.stat(self.vault)
            observer = Observer()
            handler = _VaultEvents(self.vault, self._heard)
            observer.schedule(handler, str(self.vault), recursive=True, event_filter=_ASKED)
            observer.start()
            self._root = status.st_dev, status.st_ino
        except OSError as error:
            self.problem = _refused(error)
            if observer is not None:
                observer.stop()  # a thread of it runs as soon as it is made
                observer = None
            with contextlib.suppress(OSError):
                observer = Observer()
        if observer is None:
            return
        if not self._watch_above(observer) and self.problem:
            observer.stop()
            return
        self._observer = observer
        self._thread = threading.Thread(target=self._run, name="vault-watch", daemon=True)
        self._thread.start()

    def _watch_above(self, observer: BaseObserver) -> bool:
        """Watch the folder above for the vault's own, whether or not that is there; whether it can
        be. A folder's own watch says nothing of its move. Only inotify does it for one folder."""
        if sys.platform != "linux" or self.vault == self.vault.parent:
            return False
        with contextlib.suppress(OSError):
            if not observer.is_alive():
                observer.start()
            handler = _OwnFolder(self.vault, self._heard)
            observer.schedule(handler, str(self.vault.parent), event_filter=_OF_FOLDERS)
            return True
        return False

    def stop(self) -> None:
        """Stop both threads; safe to call twice."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        observer, thread = self._observer, self._thread
        self._observer = self._thread = self._root = None
        if observer is not None:
            observer.stop()
            observer.join(5.0)
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    def healthy(self) -> bool:
        """Whether events can still come. An observer is_alive() over dead emitters."""
        observer, thread = self._observer, self._thread
        if observer is None or thread is None or not (observer.is_alive() and thread.is_alive()):
            return False
        if self._root is None:
            return False
        emitters = list(observer.emitters)
        if not emitters or not all(emitter.is_alive() for emitter in emitters):
            return False
        try:
            status = os.stat(self.vault)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._root

    def changed(self) -> frozenset[str] | None:
        """The folders, by their paths in the vault, in which notes may have changed since this was
        last asked; None where that is not sure: a folder came, went or moved, or so much happened
        that some of it may have been lost."""
        with self._wake:
            told, self._folders, self._events = self._folders, set(), 0
        return None if told is None else frozenset(told)

    def _heard(self, folders: set[str] | None) -> None:
        with self._wake:
            self._events += 1
            known = self._folders
            if folders is None or known is None or self._events > _MOST_EVENTS:
                self._folders = None
            else:
                known |= folders
                self._folders = known if len(known) <= _MOST_FOLDERS else None
            if folders != set():
                self._debouncer.event(self._now())
                self._wake.notify_all()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._stopping:
                    return
                if not self._debouncer.fire(self._now()):
                    due = self._debouncer.due()
                    self._wake.wait(None if due is None else max(0.0, due - self._now()))
                    continue
            self._on_change()
