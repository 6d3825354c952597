"""Asking something of a vault: its running daemon when there is one, else this process.

That is decided in `vault_service` and nowhere else. A task says where it stands in the API and how
it is done; the daemon does the same tasks in its threads. Knows nothing about any one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict

from vaultgpt.errors import VaultGPTError
from vaultgpt.state import VaultState
from vaultgpt.wire import Hear, ProgressEvent

if TYPE_CHECKING:
    from vaultgpt.ledger import Ledger
    from vaultgpt.settings import Settings
    from vaultgpt.tasks.client import DaemonClient

_Q = TypeVar("_Q", bound=BaseModel)
_A = TypeVar("_A")


class Question(BaseModel):
    """A request that takes the fields it names and no other."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Nothing(Question):
    """A request that says nothing."""


NOTHING = Nothing()


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
    request: type[_Q]
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
    fields = request.model_dump(exclude_unset=True, mode="json")
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
    are not rebuilt for it. A daemon that runs beside it is told afterwards.
    """
    from vaultgpt.tasks.client import find_daemon  # 20 ms for HTTP, which `scan` never speaks

    daemon = find_daemon(state)
    if daemon is None or changes or here:
        return Here(state, changes, daemon)
    return ByDaemon(state, daemon)
