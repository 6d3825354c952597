"""The watcher is a hint: quietened with a cap, deaf to its own reading, honest about its health."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileClosedNoWriteEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
)

from tests.vault.helpers import write
from vaultgpt.settings import Rules
from vaultgpt.vault.reconcile import read_vault
from vaultgpt.vault.watch import Watcher, _Debouncer, _folders_of, _VaultEvents

linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
LIMIT_S = 20.0  # of waiting for a state on a busy machine


def test_it_speaks_after_quiet() -> None:
    debouncer = _Debouncer(quiet_s=2.0, cap_s=15.0)
    assert debouncer.due() is None and not debouncer.fire(100.0)
    debouncer.event(0.0)
    debouncer.event(1.0)
    assert not debouncer.fire(2.5)
    assert debouncer.fire(3.0)
    assert not debouncer.fire(50.0)


def test_steady_typing_can_not_starve_it() -> None:
    debouncer = _Debouncer(quiet_s=2.0, cap_s=15.0)
    fired = []
    for second in range(60):
        debouncer.event(float(second))
        if debouncer.fire(float(second)):
            fired.append(second)
    assert fired == [15, 31, 47]


def test_a_cap_below_the_quiet_time_means_the_quiet_time() -> None:
    debouncer = _Debouncer(quiet_s=2.0, cap_s=0.0)
    debouncer.event(0.0)
    assert debouncer.due() == 2.0


def matters(event: FileSystemEvent, vault: str) -> bool:
    """Whether an event may concern a note."""
    return _folders_of(event, vault) != set()


def test_reading_hidden_folders_and_other_files_are_no_change() -> None:
    vault = "/v"
    assert matters(FileModifiedEvent("/v/a.md"), vault)
    assert matters(FileMovedEvent("/v/.a.md.tmp", "/v/a.md"), vault)
    assert matters(FileMovedEvent("/v/a.md", "/v/.trash/a.md"), vault)
    assert matters(DirDeletedEvent("/v/Journal"), vault)
    assert not matters(FileOpenedEvent("/v/a.md"), vault)
    assert not matters(FileClosedNoWriteEvent("/v/a.md"), vault)
    assert not matters(FileModifiedEvent("/v/.obsidian/workspace.json"), vault)
    assert not matters(FileModifiedEvent("/v/.trash/a.md"), vault)
    assert not matters(FileModifiedEvent("/v/a.png"), vault)
    assert not matters(DirModifiedEvent("/v/Journal"), vault)


def test_it_says_in_which_folders_unless_one_itself_moved() -> None:
    vault, sep = "/v", os.sep
    assert _folders_of(FileModifiedEvent("/v/a.md"), vault) == {""}
    assert _folders_of(FileModifiedEvent("/v/A/b c/a.md"), vault) == {f"A{sep}b c"}
    assert _folders_of(FileMovedEvent("/v/A/a.md", "/v/B/b.md"), vault) == {"A", "B"}
    assert _folders_of(FileMovedEvent("/v/A/.a.md.tmp", "/v/A/a.md"), vault) == {"A"}
    assert _folders_of(FileMovedEvent("/v/A/a.md", "/v/.trash/a.md"), vault) == {"A"}
    assert _folders_of(FileModifiedEvent("/v/A/a.png"), vault) == set()
    for event in (DirDeletedEvent("/v/A"), DirMovedEvent("/v/A", "/v/B"), DirCreatedEvent("/v/A")):
        assert _folders_of(event, vault) is None


def test_many_folders_or_events_at_once_mean_any_folder(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path, lambda: None, 60.0, 60.0)
    assert watcher.changed() is None, "before it watches"
    assert watcher.changed() == frozenset()
    for number in range(64):
        watcher._heard({str(number)})
    assert watcher.changed() == frozenset(str(number) for number in range(64))
    for number in range(65):
        watcher._heard({str(number)})
    assert watcher.changed() is None
    for _ in range(1_001):
        watcher._heard(set())  # attachments: what overran the system's queue may be lost
    watcher._heard({"a"})
    assert watcher.changed() is None and watcher.changed() == frozenset()
    watcher._heard(None)
    watcher._heard({"a"})
    assert watcher.changed() is None


class Watched:
    """A running watcher whose calls a test can wait for."""

    def __init__(self, vault: Path) -> None:
        self.called = threading.Event()
        self.watcher = Watcher(vault, self.called.set, debounce_s=0.01, cap_s=0.1)
        self.watcher.start()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    vault = tmp_path / "vault"
    vault.mkdir()
    running = Watched(vault)
    yield running
    running.watcher.stop()


def until(condition: threading.Event, check: object) -> bool:
    """Wait in short steps, at most LIMIT_S, until `check()` holds."""
    for _ in range(int(LIMIT_S / 0.05)):
        if check():  # type: ignore[operator]
            return True
        condition.wait(0.05)
    return False


def test_a_saved_note_is_one_call(watched: Watched) -> None:
    assert watched.watcher.healthy()
    write(watched.watcher.vault, "a.md")
    assert watched.called.wait(LIMIT_S)


def test_a_save_by_rename_is_noticed(watched: Watched) -> None:
    place = write(watched.watcher.vault, ".a.md.tmp")
    place.rename(watched.watcher.vault / "a.md")
    assert watched.called.wait(LIMIT_S)


def test_the_system_tells_of_no_reading_for_a_large_vault_would_overrun_its_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        write(tmp_path, f"{number % 5}/{number}.md")
    told: list[FileSystemEvent] = []
    monkeypatch.setattr(_VaultEvents, "dispatch", lambda self, event: told.append(event))
    watcher = Watcher(tmp_path, lambda: None, 60.0, 60.0)
    watcher.start()
    assert len(read_vault(tmp_path, Rules()).read) == 20
    (tmp_path / "0" / "0.md").unlink()  # events come in order: after it there is none of reading
    assert until(threading.Event(), lambda: told)
    watcher.stop()
    assert Path(os.fsdecode(told[0].src_path)).name == "0.md"


def test_after_the_root_is_deleted_it_says_it_is_not_healthy(watched: Watched) -> None:
    shutil.rmtree(watched.watcher.vault)
    assert until(threading.Event(), lambda: not watched.watcher.healthy())


def test_a_root_that_was_replaced_is_not_the_one_it_watches(watched: Watched) -> None:
    """1. The vault is moved away. 2. Another folder takes its place. Result: not healthy; start()
    watches the new one."""
    vault = watched.watcher.vault
    vault.rename(vault.with_name("moved"))
    vault.mkdir()
    assert not watched.watcher.healthy()
    watched.watcher.start()
    assert watched.watcher.healthy()
    watched.called.clear()
    write(vault, "a.md")
    assert watched.called.wait(LIMIT_S)


@linux
def test_that_the_vault_s_own_folder_went_and_another_came_is_told_at_once(
    watched: Watched,
) -> None:
    vault = watched.watcher.vault
    for change in (lambda: vault.rename(vault.with_name("moved")), vault.mkdir):
        watched.called.clear()
        change()
        assert watched.called.wait(LIMIT_S) and not watched.watcher.healthy()


@linux
def test_a_vault_that_is_not_there_yet_is_told_of_when_it_comes(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "vault")
    assert watched.watcher.problem and not watched.watcher.healthy()
    (tmp_path / "other").mkdir()
    assert not watched.called.wait(0.3)
    (tmp_path / "vault").mkdir()
    assert watched.called.wait(LIMIT_S) and not watched.watcher.healthy()
    watched.watcher.start()
    assert watched.watcher.healthy() and not watched.watcher.problem
    watched.watcher.stop()


def test_dead_emitters_under_a_living_observer_are_noticed(watched: Watched) -> None:
    observer = watched.watcher._observer
    assert observer is not None
    for emitter in list(observer.emitters):
        emitter.stop()
        emitter.join(LIMIT_S)
    assert observer.is_alive() and not watched.watcher.healthy()


def test_a_vault_that_can_not_be_watched_is_said_not_raised(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path / "missing", lambda: None, 0.01, 0.1)
    watcher.start()
    assert not watcher.healthy() and watcher.problem and str(tmp_path) not in watcher.problem
    watcher.stop()


@linux
@pytest.mark.parametrize(
    ("number", "limit"), [(errno.EMFILE, "instances"), (errno.ENOSPC, "watches")]
)
@pytest.mark.parametrize(
    "at", ["vaultgpt.vault.watch.Observer", "watchdog.observers.inotify_c.InotifyFD.add_callback"]
)
def test_a_limit_of_the_system_is_named_and_the_next_attempt_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, limit: str, at: str
) -> None:
    """1. The system gives no instance, or no watch. 2. It does again.

    Result: a problem that says what to raise, no exception, no thread left; then it is watched.
    """
    before = threading.active_count()

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, "limit reached")

    watcher = Watcher(tmp_path, lambda: None, 0.01, 0.1)
    with monkeypatch.context() as patched:
        patched.setattr(at, refused)
        watcher.start()
    assert not watcher.healthy() and f"fs.inotify.max_user_{limit}" in (watcher.problem or "")
    assert until(threading.Event(), lambda: threading.active_count() <= before)
    watcher.start()
    assert watcher.healthy() and not watcher.problem
    watcher.stop()


@linux
@pytest.mark.parametrize("place", ["vault", "away/vault"])
def test_a_vault_that_is_away_costs_no_thread_at_each_attempt(tmp_path: Path, place: str) -> None:
    """Whether or not the folder above it is there."""
    before = threading.active_count()
    watcher = Watcher(tmp_path / place, lambda: None, 0.01, 0.1)
    for _ in range(5):
        watcher.start()
        assert watcher.problem and not watcher.healthy()
    watcher.stop()
    assert until(threading.Event(), lambda: threading.active_count() <= before)


def test_stopping_twice_and_before_starting_is_fine(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path, lambda: None, 60.0, 60.0)
    watcher.stop()
    watcher.start()
    write(tmp_path, "a.md")
    watcher.stop()
    watcher.stop()
    assert not watcher.healthy()


def test_what_the_library_warns_of_a_new_folder_is_not_told_on_the_terminal(
    watched: Watched,
) -> None:
    """It names the vault's folders, where one was seen twice, and means nothing to a user."""
    with warnings.catch_warnings(record=True) as told:
        warnings.resetwarnings()
        watched.watcher.start()
        for name in ("watchdog.observers.inotify", "another.library"):
            warnings.warn_explicit("Callback with id", RuntimeWarning, "x.py", 1, module=name)
    assert len(told) == 1
