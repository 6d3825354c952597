"""How a process of ours is started: apart from where it was called, and never dumped to the disk.

The current folder may be a vault, which lends no code: neither it nor PYTHON* variables change what
a child imports. Knows nothing about what the child does.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import threading
import time
from collections import deque
from functools import cache
from pathlib import Path
from typing import IO, TypedDict

from vaultgpt import __version__

# -E no PYTHON* variables, -P not the current folder, -s not the user's packages unless we use them.
_FLAGS = ("-E", "-P", "-X", "utf8", *(() if site.ENABLE_USER_SITE else ("-s",)))
# This very package comes from where we are, whatever else is installed; all else from our places.
_BOOT = (
    "import runpy, sys; places = sys.argv.pop(1).split('\\n'); "
    "sys.path[:] = places[:1]; import vaultgpt; sys.path[:] = places[1:]; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# A process of ours that ends is started again so often within so many seconds, each time after a
# pause; then it is left to the author. Of the service and of the vaults that it serves alike.
RESTARTS, WITHIN_S, PAUSE_S = 5, 600, 10
_CLASS_NAME = re.compile(rb"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt))\b", re.MULTILINE)
_MEMORY = (b"MemoryError", b"OutOfMemoryError", b"bad_alloc", b"allocate memory")
_SET_DUMPABLE = 4  # of prctl(2)
try:
    _STARTED_IN = os.getcwd()
except OSError:  # it is gone
    _STARTED_IN = ""
_RESTS_S = 2.0  # that an upgrade must lie there unchanged: it is written file by file
_BEGINNING = ("vaultgpt", "serve", "--check")  # of a daemon, whatever its modules are called
_BEGIN_S = 60.0  # for it


class _Code:
    """Our own modules as they lay on the disk when this was made, and what has become of them."""

    def __init__(self, package: Path) -> None:
        self._package = package
        self._stamps = self._look()
        self._digest = self._read()
        self._another = self._starts = self._tried = False
        self._since = 0.0  # when it was last seen to change
        self.version = f"{__version__} ({self._digest[:8]})"  # a number may stand for many codes

    @property
    def broken(self) -> bool:
        """Whether another one lies there that does not start."""
        return self._another and self._tried and not self._starts

    def changed(self) -> bool:
        """Whether another one lies there: an upgrade, or a part of it. Takes 1 ms."""
        if (stamps := self._look()) != self._stamps:
            self._stamps, self._tried, self._since = stamps, False, time.monotonic()
            self._another = self._read() != self._digest
        return self._another

    def replaced(self) -> bool:
        """Whether another one lies there whole: it has rested for a moment, and it starts. Blocks
        for a second where that is tried, once for each."""
        if not self.changed() or time.monotonic() - self._since < _RESTS_S:
            return False
        if not self._tried:
            self._starts, self._tried = _ends_well(*_BEGINNING), True
        return self._starts

    def _look(self) -> dict[str, tuple[int, int]]:
        found = {}
        for folder, _, names in os.walk(self._package):
            for name in names:
                if name.endswith(".py"):
                    path = os.path.join(folder, name)
                    with contextlib.suppress(OSError):
                        status = os.stat(path)
                        found[path] = (status.st_mtime_ns, status.st_size)
        return found

    def _read(self) -> str:
        digest = hashlib.sha256()
        for path in sorted(self._stamps):
            digest.update(os.path.relpath(path, self._package).encode())
            with contextlib.suppress(OSError):  # it was replaced meanwhile: the next look tells
                digest.update(Path(path).read_bytes())
        return digest.hexdigest()


@cache
def own_code() -> _Code:
    """Our own code as it was when this process first asked."""
    return _Code(Path(__file__).resolve().parent)


def _ends_well(*line: str) -> bool:
    """Whether what is started so ends with status 0."""
    try:
        return not subprocess.run(
            command(*line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_BEGIN_S,
            env=environment(),
            **spawn_options(),
        ).returncode
    except (OSError, subprocess.SubprocessError):
        return False


def command(module: str, *arguments: str) -> list[str]:
    """The arguments that start `module` with the places that we ourselves import from."""
    return [sys.executable, *_FLAGS, "-c", _BOOT, "\n".join(_places()), module, *arguments]


def _places() -> list[str]:
    """Our own, then sys.path without the current folder, which `python -m vaultgpt` puts there."""
    own = str(Path(__file__).resolve().parent.parent)
    return [own, *(p for p in sys.path if os.path.isabs(p) and p != _STARTED_IN)]


def environment(*, offline: bool = True, **more: str) -> dict[str, str]:
    """Our own environment without what changes Python's imports; no model is fetched."""
    plain = {k: v for k, v in os.environ.items() if not k.upper().startswith("PYTHON")}
    return {**plain, **(_OFFLINE if offline else {}), **more}


class _SpawnOptions(TypedDict):
    """Of subprocess.Popen."""

    cwd: str
    creationflags: int
    process_group: int | None


def spawn_options() -> _SpawnOptions:
    """The root as the current folder, and a process group of its own: Ctrl-C reaches us alone.

    Never a session of its own: under Linux autogroup, nice counts only within one session.
    Untested on Windows."""
    root = os.path.abspath(os.sep)
    if os.name == "nt":
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        flags |= getattr(subprocess, "CREATE_NO_WINDOW", 0)
        return {"cwd": root, "creationflags": flags, "process_group": None}
    return {"cwd": root, "creationflags": 0, "process_group": 0}


def private_stdout() -> IO[bytes]:
    """A copy of standard output for messages; descriptor 1 becomes standard error.

    What libraries print goes with the errors, never between two messages."""
    copy = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return copy


def no_core() -> None:
    """Let no crash write this process's memory to the disk: it holds prompts and the secret.

    On Linux the limit alone does not bind a handler such as systemd-coredump: what is not dumpable
    is not given to it either, nor to a debugger of another process."""
    if os.name != "posix":
        return
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def trim_heap() -> None:
    """Hand to the system what glibc keeps of a heap full of holes."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def leave_with_parent(status: int) -> None:
    """End this process, whatever it does, when its standard input closes: who started it has gone.

    It must end by os._exit: finalising aborts while the thread waits there."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(status)

    threading.Thread(target=wait, daemon=True).start()


def fails_again(failures: deque[float], now: float) -> bool:
    """Enter one more failure of a process; whether it is left alone: RESTARTS within WITHIN_S."""
    failures.append(now)
    while now - failures[0] > WITHIN_S:
        failures.popleft()
    return len(failures) >= RESTARTS


def program(name: str) -> str | None:
    """Another program's absolute path; None without one. PATH may name the current folder."""
    places = [p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(p)]
    found = shutil.which(name, path=os.pathsep.join(places))
    return found if found and os.path.dirname(found) in places else None


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    if os.name != "posix":
        import psutil  # 20 ms

        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)
    except PermissionError:
        return pid > 0
    except (ProcessLookupError, OverflowError):
        return False
    return pid > 0


def exit_meaning(status: int | None, stderr: bytes = b"") -> str:
    """What an exit status says, as the end of a sentence; of `stderr` only an exception's class."""
    if status is not None and status < 0:
        if -status == signal.SIGTERM:
            return "it was told to end"
        if os.name == "posix" and -status == signal.SIGKILL:
            return "it was killed, probably for lack of memory"
        return f"it crashed with signal {-status}{_for_memory(stderr)}"
    name = failed_with(stderr)
    reason = f" ({name})" if name else ""
    ended = f"it ended with status {'?' if status is None else status}{reason}"
    return f"{ended}{_for_memory(stderr)}"


def failed_with(stderr: bytes) -> str:
    """The class of the exception that ended a process, by its standard error; "" for none."""
    names = _CLASS_NAME.findall(stderr)
    return names[-1].decode() if names else ""


def _for_memory(stderr: bytes) -> str:
    """Libraries end a process that gets no memory in their own ways."""
    return " for lack of memory" if any(sign in stderr for sign in _MEMORY) else ""
