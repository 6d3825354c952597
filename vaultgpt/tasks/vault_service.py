"""Asking something of a vault: its running daemon when there is one, else this process.

That is decided in `vault_service` and nowhere else. A task says where it stands in the API and how
it is done; the daemon does the same tasks in its threads. Knows nothing about any one of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import quote, urlencode

from vaultgpt import __version__
from vaultgpt.children import lives
from vaultgpt.errors import StateError, VaultGPTError
from vaultgpt.files import read_json, write_json
from vaultgpt.state import VaultState
from vaultgpt.wire import Hear, ProgressEvent

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vaultgpt.ledger import Ledger
    from vaultgpt.settings import Settings
    from vaultgpt.tasks.client import DaemonClient

# A pydantic model, which who asks nothing need not load: 40 ms.
_Q = TypeVar("_Q", bound="BaseModel | None")
_A = TypeVar("_A")
API_VERSION = 1


@dataclass(frozen=True)
class Desk:
    """What a task works with."""

    state: VaultState
    settings: Settings
    ledger: Ledger
    now: float  # seconds since the epoch


@dataclass(frozen=True, eq=False)
class Task(Generic[_Q, _A]):
    """Something that can be asked of a vault. `path` may hold fields of the request, as "{id}"."""

    method: Literal["GET", "POST"]
    path: str
    sentence: str  # what it does, for the API's description
    request: type[_Q] | None  # None: nothing is asked
    answer: Any  # the type A, a TypedDict or dict[...]
    work: Callable[[Desk, _Q], _A] | None = None  # None: only the daemon's loops can answer
    writes: Literal["", "ledger", "voice"] = ""  # "voice": what writes next may be another
    here: Callable[[Here, _Q, Hear], _A] | None = None  # in place of `work`, in this process
    by_daemon: Callable[[DaemonClient, _Q, Hear], _A] | None = None  # in place of one HTTP request
    status: int = 200  # of the HTTP answer


class VaultService(Protocol):
    """Answers what is asked of one vault. `ask` raises any VaultGPTError of the task."""

    state: VaultState

    def ask(self, task: Task[_Q, _A], request: _Q, hear: Hear = ...) -> _A:
        """The task's answer; `hear` is told what happens meanwhile."""


def _deaf(event: ProgressEvent) -> None:
    """For tasks that have nothing to tell on the way."""


class Here:
    """Done in this process. `changes` are settings of this call alone."""

    def __init__(
        self, state: VaultState, changes: Sequence[str] = (), daemon: DaemonClient | None = None
    ) -> None:
        from vaultgpt.settings import load_settings

        self.state, self.settings = state, load_settings(state.config, changes)
        self._daemon = daemon

    def ask(self, task: Task[_Q, _A], request: _Q, hear: Hear = _deaf) -> _A:
        """The answer, from the ledger and workers of our own."""
        if task.here is not None:
            answer = task.here(self, request, hear)
        elif (work := task.work) is not None:
            answer = self.with_desk(lambda desk: work(desk, request))
        else:
            raise VaultGPTError("Only a running daemon can do this.", "Start `vaultgpt serve`.")
        if task.writes and self._daemon is not None:
            with suppress(VaultGPTError):  # it finds out by itself within minutes
                self._daemon.post("/v1/reload", {})
        return answer

    def with_desk(self, work: Callable[[Desk], _A]) -> _A:
        """The result of `work`, the ledger open meanwhile."""
        from vaultgpt.ledger import Ledger  # numpy and more, which who asks the daemon never needs

        with Ledger.open(self.state) as ledger:
            return work(Desk(self.state, self.settings, ledger, time.time()))


class ByDaemon:
    """Asked of the running daemon over HTTP."""

    def __init__(self, state: VaultState, daemon: DaemonClient) -> None:
        self.state, self.daemon = state, daemon

    def ask(self, task: Task[_Q, _A], request: _Q, hear: Hear = _deaf) -> _A:
        """The daemon's answer."""
        if task.by_daemon is not None:
            return task.by_daemon(self.daemon, request, hear)
        return _request_of(self.daemon, task, request)


def _request_of(daemon: DaemonClient, task: Task[_Q, _A], request: _Q) -> _A:
    """One HTTP request: fields in the path, then in the query of a GET or the body of a POST."""
    fields = request.model_dump(exclude_unset=True, mode="json") if request is not None else {}
    path = task.path
    for name in [n for n in fields if f"{{{n}}}" in path]:
        path = path.replace(f"{{{name}}}", quote(str(fields.pop(name)), safe=""))
    if task.method == "POST":
        answer: _A = daemon.post(path, fields)
    else:
        answer = daemon.get(f"{path}?{urlencode(fields)}" if fields else path)
    return answer


def vault_service(
    state: VaultState, changes: Sequence[str] = (), *, here: bool = False
) -> VaultService:
    """The vault's daemon when one runs, else this process.

    With settings of its own, or when told so (`here`), a call is done here: the daemon's workers
    are not rebuilt for it. A daemon that runs beside it is told afterwards."""
    daemon = find_daemon(state)
    if daemon is None or changes or here:
        return Here(state, changes, daemon)
    return ByDaemon(state, daemon)


@dataclass(frozen=True)
class _Runtime:
    """Where a daemon says that it listens: runtime.json without the token."""

    pid: int
    port: int


def read_runtime(state: VaultState) -> _Runtime | None:
    """runtime.json of a process that lives, or None. StateError for a damaged one."""
    try:
        value = read_json(state.runtime)
        found = _Runtime(int(value["pid"]), int(value["port"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise StateError(f"{state.runtime} is damaged.", "Delete it and restart `serve`.") from None
    return found if lives(found.pid) else None


def write_runtime(state: VaultState, port: int) -> None:
    """Say where we listen: {pid, port, token, version, api, started}, mode 0600."""
    write_json(
        state.runtime,
        {
            "pid": os.getpid(),
            "port": port,
            "token": state.token(),
            "version": __version__,
            "api": API_VERSION,
            "started": time.time(),
        },
    )


def remove_runtime(state: VaultState) -> None:
    """Take our own runtime.json away; another process's is left alone."""
    try:
        ours = int(read_json(state.runtime)["pid"]) == os.getpid()
    except (OSError, ValueError, KeyError, TypeError):
        return
    if ours:
        state.runtime.unlink(missing_ok=True)


def find_daemon(state: VaultState) -> DaemonClient | None:
    """The client of the daemon that runs for this vault; None when none does.

    Costs one request to /health. The token comes from its own file: runtime.json of a daemon that
    has not been asked since `token --rotate` still holds the old one."""
    runtime = read_runtime(state)
    if runtime is None:
        return None
    from vaultgpt.tasks.client import DaemonClient  # 10 ms for HTTP and TLS

    client = DaemonClient(runtime.port, state.token(), runtime.pid)
    return client if client.is_ours() else None
