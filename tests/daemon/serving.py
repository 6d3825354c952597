"""A real daemon in a process of its own, and clients that speak to it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from vaultgpt.files import read_json
from vaultgpt.state import VaultState
from vaultgpt.tasks.client import DaemonClient

# CONTRACT's, of `status` and of the daemon's.
STATUS_KEYS = frozenset(
    [
        "notes",
        "words",
        "pending_notes",
        "active",
        "training",
        "next_training",
        "last_verdict",
        "base",
        "device",
        "version",
        "api",
    ]
)
ROOT = Path(__file__).resolve().parents[2]
SERVE = """
import sys
from pathlib import Path
from vaultgpt.settings import load_settings
from vaultgpt.daemon.serving import serve
from vaultgpt.errors import VaultGPTError
from vaultgpt.state import find_state
state = find_state(Path(sys.argv[1]))
try:
    serve(state, load_settings(state.config), 0)
except VaultGPTError as error:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(error.exit_status)
"""


def spawn(state: VaultState) -> subprocess.Popen[str]:
    """The daemon's process, just started."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, str(state.vault)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def wait_for(condition: Callable[[], Any], limit_s: float = 20.0) -> Any:
    """Poll a state, at most so long; what it was."""
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)
    return value


class Serving:
    """A daemon that listens, until the block ends."""

    def __init__(self, state: VaultState) -> None:
        self.state = state
        self.process = spawn(state)

    def __enter__(self) -> Serving:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        self.line = self.process.stdout.readline() if ready else ""
        assert self.line, self.process.communicate(timeout=5)
        runtime = read_json(self.state.runtime)
        self.client = DaemonClient(runtime["port"], runtime["token"], runtime["pid"], 120)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def status(self) -> dict[str, Any]:
        """GET /v1/status."""
        return dict(self.client.get("/v1/status"))

    def scanned(self) -> dict[str, Any]:
        """The status once the vault has been read."""
        return dict(wait_for(lambda: (s := self.status())["notes"] and s))

    def ask(self, **body: Any) -> dict[str, Any]:
        """POST /v1/completions."""
        return dict(self.client.post("/v1/completions", body))

    def workers(self) -> list[psutil.Process]:
        """Its living children."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Send a signal; exit status, and seconds until the process had gone."""
        began = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(15)
        return status, time.monotonic() - began

    def connect(self, body: dict[str, Any]) -> socket.socket:
        """A raw TCP client that has just asked for a completion."""
        data = json.dumps(body).encode()
        client = socket.create_connection(("127.0.0.1", self.client.port), timeout=60)
        client.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
            + self.client.token.encode()
            + b"\r\nContent-Type: application/json\r\nContent-Length: "
            + str(len(data)).encode()
            + b"\r\n\r\n"
            + data
        )
        return client
