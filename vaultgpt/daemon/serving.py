"""A daemon's life in four acts: lock, listen, serve until told to stop, leave nothing behind.

Knows nothing about what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import filelock

from vaultgpt.children import command, no_core, own_code
from vaultgpt.daemon.supervisor import Daemon
from vaultgpt.daemon.telling import log, start_log, stop_log, tell
from vaultgpt.daemon.threads import in_thread
from vaultgpt.errors import Conflict, StateError, UsageError
from vaultgpt.files import close_to_others, keep_ballast, sweep_unfinished
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState
from vaultgpt.tasks.vault_service import read_runtime, remove_runtime, write_runtime

_ARENA_MAX = -8  # of mallopt(3)

_PLACES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # where OpenSSL looks for them


@contextlib.contextmanager
def _without_certificates() -> Iterator[None]:
    """For the first import of aiohttp, whose client reads the system's certificates then: 2.5 MB,
    which nobody asks for here."""
    before = {name: os.environ.get(name) for name in _PLACES}
    os.environ.update(dict.fromkeys(_PLACES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


with _without_certificates():
    from vaultgpt.server.api import make_runner
    from vaultgpt.server.connections import listen

_STOP_S = 5.0  # then the process ends whatever still hangs
_LOOK_S = 2.0  # between two looks at our own code on the disk, while anybody asks for anything
_MOMENT_S = 0.05
_PATIENCE_S = 5.0  # for a moment without a request; then who comes waits for those under way
_LISTENS = "VAULTGPT_LISTENS"  # the descriptor that the daemon before the upgrade listened on
_ANEW = "this daemon begins anew: ask again in a moment"
WITH_PARENT = "VAULTGPT_WITH_PARENT"  # set where our standard input ends with who started us
_LISTENING = {
    errno.EADDRINUSE: "is in use by another program",
    errno.EACCES: "is one that only an administrator may listen on",
}
_SWITCH_S = 0.0005  # a scan in a thread hands the interpreter to the loop; Python's own is 5 ms


def serve(
    state: VaultState, settings: Settings, port: int | None = None, as_json: bool = False
) -> None:
    """Serve until SIGINT or SIGTERM. Conflict where another daemon does, UsageError for a port that
    is taken; None takes the setting's, 0 any free one.

    Where it listens is printed once, `as_json` in one line; then what happens, as it does. After an
    upgrade this process begins anew as `vaultgpt serve`, and listens on where it did."""
    no_core()
    _one_heap()
    own_code()
    listening = _handed_on()
    held = _lock(state, listening is not None)
    _tidy(state)
    with contextlib.suppress(OSError):  # a full disk: the old one goes on
        if listening is None:
            state.renew_token()  # who listened on a killed daemon's port may have seen the old one
    handler = start_log(state.logs)
    sys.setswitchinterval(_SWITCH_S)
    anew = None
    try:
        wanted = settings.server.port if port is None else port
        anew = asyncio.run(_serve(state, settings, listening or wanted, as_json))
    finally:
        if anew is None:
            remove_runtime(state)
        stop_log(handler)
        held.release()
    if anew is not None:
        anew()


def _tidy(state: VaultState) -> None:
    """What a backup opened to others is closed, what a kill left half written is removed."""
    sweep_unfinished(state.folder, time.time())
    with contextlib.suppress(OSError):
        keep_ballast(state.folder)
    try:
        close_to_others(state.folder)
    except OSError as error:
        raise StateError(
            f"{state.folder} is open to others and can't be closed ({type(error).__name__}).",
            "Give its files back to yourself (chown -R), or set VAULTGPT_HOME.",
        ) from None


def _lock(state: VaultState, again: bool = False) -> filelock.BaseFileLock:
    """Take the vault's daemon lock. Conflict, naming pid and port, when another daemon has it.

    `again` leaves runtime.json, which is our own.

    The system frees it when its process ends, however it ends."""
    held = filelock.FileLock(state.lock, mode=0o600)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        where = ""
        with contextlib.suppress(StateError):
            if other := read_runtime(state):
                where = f" (process {other.pid}, port {other.port})"
        raise Conflict(
            f"A daemon runs for this vault already{where}.",
            "Use that one, or stop it first: Ctrl-C where it runs.",
        ) from None
    if not again:
        state.runtime.unlink(missing_ok=True)  # left by one that was killed
    return held


async def _serve(
    state: VaultState, settings: Settings, place: int | socket.socket, as_json: bool
) -> Callable[[], None] | None:
    """Serve at a port, or on a socket that listens already. None once told to stop; what makes this
    process anew after an upgrade."""

    def say(line: str, *, first: bool = False) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or it is full
            print(line, file=sys.stdout if first or not as_json else sys.stderr, flush=True)

    telling: asyncio.Task[None] | None = None
    again = isinstance(place, socket.socket)
    listening = place if isinstance(place, socket.socket) else _listen(settings.server.host, place)
    kept, anew = listening.dup(), None
    stop, guard = asyncio.Event(), None
    whose = f"{state.vault.name}: " if WITH_PARENT in os.environ else ""  # of several on a terminal
    daemon = Daemon(state, settings)
    runner = make_runner(daemon)
    with _signals(stop):
        try:
            await runner.setup()
            guard = await listen(runner, listening)
            daemon.port = int(listening.getsockname()[1])
            write_runtime(state, daemon.port)
            daemon.start()
            telling = asyncio.create_task(tell(daemon.broker, say, whose))
            host = f"[{settings.server.host}]" if ":" in settings.server.host else "127.0.0.1"
            url = f"http://{host}:{daemon.port}"
            facts = {"vault": str(state.vault), "url": url, "port": daemon.port, "pid": os.getpid()}
            if not (again and as_json):  # one object, whatever comes
                said = f"vaultgpt serves {state.vault} on {url} until Ctrl-C"
                say(json.dumps(facts) if as_json else said, first=True)
            log.info("listening")
            parent = _leave_with_parent(stop)
            following = asyncio.create_task(
                _follow_upgrades(daemon, guard.finish, guard.answering, stop)
            )
            await stop.wait()
            if following.done():
                say(f"{time.strftime('%H:%M')} {whose}vaultgpt was upgraded; it begins anew.")
                line = ["serve", str(state.vault), *["--json"] * as_json]
                anew = partial(_begin_anew, line, kept, parent)
            following.cancel()
        finally:
            if anew is None:
                kept.close()
                remove_runtime(state)
            last_resort = threading.Timer(_STOP_S, anew or partial(os._exit, 0))
            last_resort.daemon = True
            last_resort.start()
            if guard is not None:
                guard.close()
            await asyncio.gather(runner.cleanup(), daemon.stop(), return_exceptions=True)
            if telling is not None:
                telling.cancel()
            daemon.close()
            listening.close()
            log.info("stopped")
            last_resort.cancel()
    return anew


async def _follow_upgrades(
    daemon: Daemon, finish: Callable[[], None], answering: Callable[[], int], stop: asyncio.Event
) -> None:
    """Set `stop` once another vaultgpt that starts lies on the disk, nobody learns, and what was
    asked before `finish` is answered; until then say what becomes of us."""

    def free() -> bool:  # but for streams of events, which our own terminal hears too
        return answering() < len(daemon.broker)

    code, writing, noticed = own_code(), daemon.writing, False
    while not (writing.upgrade == _ANEW and await in_thread(code.replaced)):
        if noticed:
            await asyncio.sleep(_LOOK_S)
        else:
            await writing.asked.wait()  # an idle daemon is not woken for it
        writing.asked.clear()
        if not await in_thread(code.changed):
            writing.upgrade, writing.needs_upgrade, noticed = "", False, False
            await asyncio.sleep(_LOOK_S)
            continue
        if not noticed:
            noticed = True
            log.warning("vaultgpt was upgraded")
        learning = daemon.rounds.running or daemon.measuring.running
        if os.name != "posix" or code.broken:
            writing.upgrade = "restart `vaultgpt serve`"
        elif learning and not writing.needs_upgrade:
            writing.upgrade = "this daemon begins anew when the round has ended"
        else:
            writing.upgrade = _ANEW
    await _until(free, _PATIENCE_S)
    finish()
    await _until(free)
    stop.set()


async def _until(rests: Callable[[], bool], limit_s: float | None = None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await asyncio.sleep(_MOMENT_S)
            while not rests():
                await asyncio.sleep(_MOMENT_S)


def _begin_anew(line: list[str], listening: socket.socket, parent: int | None) -> None:
    """Become the vaultgpt that lies on the disk. Who connects meanwhile waits and is answered."""
    listening.set_inheritable(True)
    environment = {**os.environ, _LISTENS: str(listening.fileno())}
    if parent is not None:
        os.dup2(parent, 0)
        environment[WITH_PARENT] = "1"
    program = command("vaultgpt", *line)
    os.execve(program[0], program, environment)


def _handed_on() -> socket.socket | None:
    """The socket that we listened on before an upgrade made us anew; None at a first start."""
    given = os.environ.pop(_LISTENS, "")
    if not given:
        return None
    listening = socket.socket(fileno=int(given))
    listening.set_inheritable(False)
    listening.setblocking(False)
    return listening


def _leave_with_parent(stop: asyncio.Event) -> int | None:
    """Set `stop` when `serve --all`, which started us, has gone: the next one serves this vault.

    The descriptor that tells of it comes back; None where nobody started us so."""
    if not os.environ.pop(WITH_PARENT, ""):
        return None
    loop, line = asyncio.get_running_loop(), os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # no child of ours waits on it

    def wait() -> None:
        while os.read(line, 64):  # not through a buffer, whose lock would hold up our end
            pass
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="parent", daemon=True).start()
    return line


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket on the loopback. UsageError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows this option would let others take the port over
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(("127.0.0.1" if host == "localhost" else host, port))
        opened.listen(128)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise UsageError(
            f"Port {port} {_LISTENING.get(error.errno or 0, 'can not be listened on')}.",
            "Give another with --port; 0 takes any free one.",
        ) from None
    return opened


def ending_signals() -> list[signal.Signals]:
    """Those that end a daemon; SIGHUP does not where nohup started it."""
    names = ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"]
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if (hangup := getattr(signal, "SIGHUP", None)) and signal.getsignal(hangup) == signal.SIG_IGN:
        numbers.remove(hangup)
    return numbers


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP sets `stop`; the next one ends the process at once."""
    loop, numbers = asyncio.get_running_loop(), ending_signals()

    def told() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    before: dict[int, object] = {}
    for number in numbers:
        if sys.platform == "win32":  # it has no add_signal_handler; untested there
            before[number] = signal.signal(number, _relay(loop, told))
        else:
            loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        for number in numbers:
            if sys.platform == "win32":
                signal.signal(number, before[number])
            else:
                loop.remove_signal_handler(number)


def _relay(loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> Callable[..., None]:
    def handle(*_: object) -> None:
        loop.call_soon_threadsafe(told)

    return handle


def _one_heap() -> None:
    """Have glibc's threads share one heap; each had one of its own, full of holes: 2 MB in the
    daemon, whose threads take turns anyway."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_ARENA_MAX, 1)
