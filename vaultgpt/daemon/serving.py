"""A daemon's life in four acts: lock, listen, serve until told to stop, leave nothing behind.

Knows nothing about what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from aiohttp import web

from vaultgpt.config import Settings
from vaultgpt.daemon import logs, runtime
from vaultgpt.daemon.core import Daemon
from vaultgpt.errors import UsageError
from vaultgpt.server.api import make_runner
from vaultgpt.state import VaultState

STOP_S = 5.0  # then the process ends whatever still hangs
SWITCH_S = 0.0005  # a scan in a thread hands the interpreter to the loop; Python's own is 5 ms


def run(state: VaultState, settings: Settings, port: int | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Conflict, UsageError for a port that is taken."""
    held = runtime.lock(state)
    handler = logs.start_log(state.logs)
    sys.setswitchinterval(SWITCH_S)
    try:
        asyncio.run(_serve(state, settings, settings.server.port if port is None else port))
    finally:
        runtime.remove(state)
        logs.stop_log(handler)
        held.release()


async def _serve(state: VaultState, settings: Settings, port: int) -> None:
    listening = _listen(settings.server.host, port)
    stop = asyncio.Event()
    daemon = Daemon(state, settings)
    runner = make_runner(daemon)
    with _signals(stop):
        try:
            await runner.setup()
            await web.SockSite(runner, listening).start()
            daemon.port = int(listening.getsockname()[1])
            runtime.write(state, daemon.port)
            daemon.start()
            host = f"[{settings.server.host}]" if ":" in settings.server.host else "127.0.0.1"
            print(f"vaultgpt serves {state.vault} on http://{host}:{daemon.port}", flush=True)
            logs.log.info("listening")
            await stop.wait()
        finally:
            runtime.remove(state)
            last_resort = threading.Timer(STOP_S, os._exit, [0])
            last_resort.daemon = True
            last_resort.start()
            await asyncio.gather(runner.cleanup(), daemon.stop(), return_exceptions=True)
            daemon.close()
            listening.close()
            logs.log.info("stopped")
            last_resort.cancel()


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
        raise UsageError(f"Port {port} can't be listened on ({type(error).__name__}).",
                         "Give another with --port; 0 takes any free one.") from None
    return opened


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP sets `stop`; the next one ends the process at once."""
    loop = asyncio.get_running_loop()
    names = ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"]
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if (hangup := getattr(signal, "SIGHUP", None)) and signal.getsignal(hangup) == signal.SIG_IGN:
        numbers.remove(hangup)  # started by nohup

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
