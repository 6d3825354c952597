"""One daemon a vault: the lock, and runtime.json by which the others find it.

Knows nothing about what the daemon does.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import filelock
import psutil

from vaultgpt import __version__
from vaultgpt.errors import Conflict
from vaultgpt.files import read_json, write_json
from vaultgpt.state import VaultState

API_VERSION = 1


def lock(state: VaultState) -> filelock.BaseFileLock:
    """Take the vault's daemon lock. Conflict, naming pid and port, when another daemon has it.

    The system frees it when its process ends, however it ends.
    """
    held = filelock.FileLock(state.lock, mode=0o600)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        other = read(state) or {}
        where = f" (process {other['pid']}, port {other['port']})" if other else ""
        raise Conflict(f"A daemon runs for this vault already{where}.",
                       "Stop that one first, or use it.") from None
    with contextlib.suppress(FileNotFoundError):
        state.runtime.unlink()  # left by one that was killed
    return held


def read(state: VaultState) -> dict[str, Any] | None:
    """runtime.json of a process that lives; None when there is none."""
    try:
        value = read_json(state.runtime)
        alive = psutil.pid_exists(int(value["pid"]))
        return {**value, "port": int(value["port"])} if alive else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(state: VaultState, port: int, started: float | None = None) -> None:
    """Say where we listen: {pid, port, token, version, api, started}, mode 0600."""
    write_json(state.runtime, {
        "pid": os.getpid(), "port": port, "token": state.token(), "version": __version__,
        "api": API_VERSION, "started": time.time() if started is None else started})


def remove(state: VaultState) -> None:
    """Take our own runtime.json away; another process's is left alone."""
    try:
        ours = int(read_json(state.runtime)["pid"]) == os.getpid()
    except (OSError, ValueError, KeyError, TypeError):
        return
    if ours:
        state.runtime.unlink(missing_ok=True)
