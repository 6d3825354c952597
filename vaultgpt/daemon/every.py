"""Every known vault served, each by a daemon process of its own that is started anew when it fails.

Beside them one engine, in which all their voices write. Knows nothing about what these do. Its log
names state folders, never vaults.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vaultgpt.children import PAUSE_S, command, environment, fails_again, own_code, spawn_options
from vaultgpt.daemon.serving import WITH_PARENT, ending_signals
from vaultgpt.daemon.telling import log, start_log, stop_log
from vaultgpt.errors import Conflict
from vaultgpt.files import locked, make_private_dir
from vaultgpt.state import known_vaults, state_root
from vaultgpt.workers.mirror import SHARED
from vaultgpt.workers.process import HALTED_S, Stillness

_LOOK_S = 0.5  # between two looks at what runs or was upgraded; else nothing wakes us
_KNOWN_S = 5.0  # a vault that `init` or `remove` changed is noticed within
_UPGRADE_S = 60.0  # after a failure: for so long an upgrade may be the reason
_ALONE_S = 3600.0  # a daemon that fails again and again is left alone: somebody may mend it
_NEVER = float("-inf")
_LEAVE_S = 8.0  # for the daemons, once they were told to stop
_DEAF_S = 10.0  # an engine that takes nobody up and does nothing else for so long is ended
_PLACE = "vaultgpt-engine-"
_SOCKET = "engine"


class _SocketFolder:
    """A private folder with the engine's socket, locked while we live: what a killed one left is
    known by that, and the system's own clearing of old files passes over it."""

    def __init__(self) -> None:
        """OSError where there can be none."""
        root = _runtime_root()
        _sweep(root)
        # A socket's name must be short, which that of a state folder need not be. Mode 0700.
        for _ in range(5):
            self._folder = tempfile.mkdtemp(prefix=_PLACE, dir=root)
            if (held := _hold(self._folder)) is not None:
                self._held, self.socket = held, os.path.join(self._folder, _SOCKET)
                return
            with contextlib.suppress(OSError):  # one that sweeps was quicker, or there are no locks
                os.rmdir(self._folder)
        raise OSError

    def leave(self) -> None:
        """Remove it."""
        _remove(self._folder, self._held)


def _runtime_root() -> str:
    """The user's own runtime folder where there is one, else that of temporary files."""
    place = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        status = os.stat(place)
        if os.path.isabs(place) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
            return place
    return tempfile.gettempdir()


def _hold(folder: str) -> int | None:
    """A descriptor that has it locked; None where it is not ours, is held, or has gone.

    Through no link: in a folder of temporary files another user may put anything under any name."""
    import fcntl

    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if (own := os.fstat(held)).st_uid == os.getuid():
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(own, os.lstat(folder)):
                return held
    os.close(held)
    return None


def _remove(folder: str, held: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(_SOCKET, dir_fd=held)
    with contextlib.suppress(OSError):
        os.rmdir(folder)
    os.close(held)


def _sweep(root: str) -> None:
    """Remove what supervisors that were killed left there."""
    with contextlib.suppress(OSError):
        for name in os.listdir(root):
            folder = os.path.join(root, name)
            if name.startswith(_PLACE) and (held := _hold(folder)) is not None:
                _remove(folder, held)


class _Pulse:
    """Whether a process is halted, or lets callers wait and does nothing else."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener, self._still, self._since = listener, Stillness(), -1.0

    def stopped(self, pid: int, now: float) -> bool:
        """To be asked every moment; true once it has been so for too long."""
        still = self._still.of(pid)
        if still == "gone":
            return False
        halted = still == "halted"
        called = bool(select.select([self._listener], [], [], 0)[0])
        if not halted and not (called and still == "asleep"):
            self._since = -1.0
            return False
        self._since = now if self._since < 0 else self._since
        return now - self._since >= (HALTED_S if halted else _DEAF_S)


@dataclass
class _VaultDaemon:
    """One vault's daemon: its process, and when it ended badly."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    failures: deque[float] = field(default_factory=deque)
    not_before: float = 0.0  # of the next start; never, where it was told to end


class _SharedEngine:
    """Where the voices of all vaults write: a process that is there while anybody needs it.

    We hold the socket and start it for the first who connects, one that ended again for the next;
    one that is halted or deaf is ended. Its input tells it of our end. Without such a socket, as on
    Windows, `place` is "": every vault has an engine of its own."""

    def __init__(self) -> None:
        self.place = ""
        self._folder: _SocketFolder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._failures: deque[float] = deque()
        self._not_before = 0.0
        if os.name != "posix":
            return
        self._listener = socket.socket(socket.AF_UNIX)
        self._pulse = _Pulse(self._listener)
        with contextlib.suppress(OSError):  # a full disk, or a name that is too long
            self._folder = _SocketFolder()
            self._listener.bind(self._folder.socket)
            self._listener.listen(128)
            self.place = self._folder.socket

    @property
    def failed_at(self) -> float:
        """When it last ended badly, as time.monotonic tells; _NEVER before."""
        return self._failures[-1] if self._failures else _NEVER

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process else None

    def wait(
        self, stop: threading.Event, limit_s: float = _LOOK_S, bell: int | None = None
    ) -> None:
        """Wait at most `limit_s`, a moment where it runs, for a caller, to start it, or `bell`."""
        now = time.monotonic()
        free = bool(self.place) and self._process is None and now >= self._not_before
        limit_s = limit_s if self._process is None else min(limit_s, _LOOK_S)
        places: list[Any] = [*[self._listener] * free, *([] if bell is None else [bell])]
        ready = select.select(places, [], [], limit_s)[0] if places else []
        if not places:
            stop.wait(min(limit_s, _LOOK_S))
        if bell in ready and bell:
            os.read(bell, 4096)
        if not free:
            self._look(time.monotonic())
        elif self._listener in ready and not stop.is_set():
            try:
                self._start()
            except OSError as error:  # no memory for one more: who waits has a process of its own
                log.error("the engine can't be started: %s", type(error).__name__)
                stop.wait(_LOOK_S)

    def _look(self, now: float) -> None:
        """Note that it has ended, end it when it is halted."""
        if self._process is None:
            return
        if self._process.poll() is None and self._pulse.stopped(self._process.pid, now):
            log.warning("the engine of all vaults does not answer and is ended")
            self._process.kill()
            self._process.wait()
        if (status := self._process.poll()) is not None:
            log.info("the engine of all vaults ended with status %d", status)
            self._process = None
            if status and fails_again(self._failures, now):  # who waits has one of its own
                self._not_before = now + PAUSE_S

    def _start(self) -> None:
        descriptor = self._listener.fileno()
        self._pulse = _Pulse(self._listener)
        self._process = subprocess.Popen(
            command("vaultgpt.mirror.sharing", str(descriptor)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(descriptor,),
            env=environment(MALLOC_ARENA_MAX="2"),  # a thread a vault, and no memory for each
            **spawn_options(),
        )
        log.info("started the engine of all vaults as process %d", self._process.pid)

    def stop(self) -> None:
        """End it, once nobody needs it any more."""
        if self._folder is not None:
            self._listener.close()
            self._folder.leave()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class _Every:
    """The daemons of all known vaults."""

    def __init__(
        self,
        say: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
        shared: str = "",
    ) -> None:
        """`shared` is the place of their engine; "" lets each have its own."""
        self._say, self._now, self._shared = say, now, shared
        self.children: dict[Path, _VaultDaemon] = {}

    def look(self) -> None:
        """Start what is due, end what is no vault any more."""
        known = {vault: folder for vault, folder in known_vaults().items() if os.path.isdir(vault)}
        for vault in [v for v in self.children if v not in known]:
            self._end([self.children.pop(vault)])
        for vault, folder in known.items():
            child = self.children.setdefault(vault, _VaultDaemon(folder.name))
            self._ended(child)
            if child.process is None and self._now() >= child.not_before:
                if _is_served(folder):  # by one from a terminal: ours comes once that has ended
                    child.not_before = self._now() + _KNOWN_S
                else:
                    self._start(vault, child)

    @property
    def failed_at(self) -> float:
        """When a daemon last ended badly."""
        return max((c.failures[-1] for c in self.children.values() if c.failures), default=_NEVER)

    @property
    def gave_up(self) -> bool:
        """Whether a daemon fails again and again and is left alone."""
        soon = self._now() + PAUSE_S
        return any(c.failures and c.not_before > soon for c in self.children.values())

    def _start(self, vault: Path, child: _VaultDaemon) -> None:
        child.process = subprocess.Popen(
            command("vaultgpt", "serve", str(vault)),
            stdin=subprocess.PIPE,
            env=environment(offline=False, **{SHARED: self._shared, WITH_PARENT: "1"}),
            **spawn_options(),
        )
        log.info("started %s as process %d", child.name, child.process.pid)

    def _ended(self, child: _VaultDaemon) -> None:
        """Take note of a daemon that has ended: it comes again, five times in ten minutes."""
        if child.process is None or (status := child.process.poll()) is None:
            return
        child.process = None
        log.warning("%s ended with status %d", child.name, status)
        if status == 0:
            child.not_before = float("inf")  # it was told to
            return
        now = self._now()
        alone = fails_again(child.failures, now)
        child.not_before = now + (_ALONE_S if alone else PAUSE_S)
        if alone:
            log.error("%s fails again and again and is left alone", child.name)
            self._say(f"The daemon of {child.name} fails again and again: `vaultgpt doctor`.")

    def stop(self) -> None:
        """End all daemons as Ctrl-C does."""
        self._end(list(self.children.values()))

    def _end(self, children: list[_VaultDaemon]) -> None:
        running = [child.process for child in children if child.process is not None]
        for process in running:
            with contextlib.suppress(OSError):
                process.terminate()
        end = time.monotonic() + _LEAVE_S
        for process in running:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in children:
            child.process = None


def _is_served(folder: Path) -> bool:
    busy = Conflict("A daemon runs for this vault already.")
    try:
        with locked(folder / "daemon.lock", busy):
            return False
    except Conflict:
        return True
    except OSError:
        return False  # the daemon will say what is wrong there


def serve_all(logs: Path, say: Callable[[str], None]) -> None:
    """Serve every known vault until SIGINT or SIGTERM. `logs` is the folder of its own log.

    Conflict when another one does. Each daemon follows an upgrade by itself; where what we start
    fails after one, this process begins anew too."""
    own_code()
    busy = Conflict("`vaultgpt serve --all` runs already.", "Stop that one first, or use it.")
    with locked(make_private_dir(state_root(), parents=True) / "service.lock", busy):
        upgraded = _serve_all(logs, say)
    if upgraded:
        line = command("vaultgpt", "serve", "--all")
        os.execv(line[0], line)


def _serve_all(logs: Path, say: Callable[[str], None]) -> bool:
    """Until told to stop, or (true) until another vaultgpt takes the place of this one."""
    handler = start_log(logs, "service.log")
    stop = threading.Event()
    for number in ending_signals():
        signal.signal(number, lambda *_: stop.set())
    engine = _SharedEngine()
    every = _Every(say, shared=engine.place)
    say(f"vaultgpt serves every known vault (process {os.getpid()}); Ctrl-C ends it.")
    looked, upgraded, bell = 0.0, False, _bell()
    try:
        while not (stop.is_set() or upgraded):
            ended = any(c.process and c.process.poll() is not None for c in every.children.values())
            if ended or time.monotonic() - looked >= _KNOWN_S:
                looked = time.monotonic()
                every.look()
            lately = time.monotonic() - max(every.failed_at, engine.failed_at) < _UPGRADE_S
            rest_s = max(0.0, looked + _KNOWN_S - time.monotonic())
            engine.wait(stop, min(rest_s, _LOOK_S) if lately else rest_s, bell)
            upgraded = os.name == "posix" and (lately or every.gave_up) and _replaced()
    finally:
        every.stop()
        engine.stop()
        log.info("stopped")
        stop_log(handler)
        sys.stdout.flush()
    return upgraded and not stop.is_set()


def _bell() -> int | None:
    """A descriptor that a signal makes readable, that of a child's end too, while this process
    lives: until one comes nothing need wake us. None where signals wake nobody."""
    if os.name != "posix":
        return None
    bell, rope = os.pipe()
    os.set_blocking(rope, False)
    signal.set_wakeup_fd(rope, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return bell


def _replaced() -> bool:
    if own_code().replaced():
        log.warning("vaultgpt was upgraded, and this process begins anew")
        return True
    return False
