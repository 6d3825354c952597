"""The tree of expected failures: each carries one sentence and the mend.

Knows nothing about where it is shown. A message never holds prose or titles of notes.
"""

from __future__ import annotations

import errno
import importlib.util
import shlex
import sqlite3
import sys
from typing import Literal, NotRequired

from typing_extensions import TypedDict

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EIO, errno.EROFS)
# SQLITE_FULL; SQLITE_READONLY and SQLITE_IOERR; SQLITE_BUSY and SQLITE_LOCKED.
_SQLITE_FULL, _SQLITE_REFUSED, _SQLITE_BUSY = 13, (8, 10), (5, 6)


class VaultGPTError(Exception):
    """An expected failure. `message` is one sentence, `mend` what the user can do (may be "")."""

    code = "error"
    http_status = 500
    exit_status = 1

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()

    def answer(self) -> ErrorAnswer:
        """The message that says it; error_of is the inverse."""
        code, status = self.code, self.http_status
        return ErrorAnswer(
            event="error", code=code, message=self.message, mend=self.mend, status=status
        )


class ErrorAnswer(TypedDict):
    """From any worker: a VaultGPTError."""

    event: Literal["error"]
    id: NotRequired[int]  # of the request that it answers
    code: str
    message: str
    mend: str
    status: NotRequired[int]


class UsageError(VaultGPTError):
    """The caller asked for something that has no meaning (a bad value, an unknown key)."""

    code = "invalid_request"
    http_status = 400
    exit_status = 2


class UnknownOption(UsageError):
    """There is no option of this name; `near` are the keys that may have been meant."""

    def __init__(self, message: str, mend: str = "", near: tuple[str, ...] = ()) -> None:
        super().__init__(message, mend)
        self.near = near


class Forbidden(VaultGPTError):
    """What may not be used: a note that the rules leave out, a path that leads out of the vault.

    `reason` is a short code; `param` names the field of a request that asked for it."""

    http_status = 403

    def __init__(self, message: str, reason: str, mend: str = "", param: str | None = None) -> None:
        super().__init__(message, mend)
        self.code = reason
        self.param = param


class NotFound(VaultGPTError):
    """A vault, note, generation or base that does not exist."""

    code = "not_found"
    http_status = 404


class Conflict(VaultGPTError):
    """The state forbids it now: a lock held, a round under way, a forbidden generation."""

    code = "conflict"
    http_status = 409


class Unavailable(VaultGPTError):
    """It would work later: no worker, loading, busy. `retry_after_s` says when to ask again."""

    code = "unavailable"
    http_status = 503

    def __init__(self, message: str, mend: str = "", retry_after_s: float = 2.0) -> None:
        super().__init__(message, mend)
        self.retry_after_s = retry_after_s


class StateError(VaultGPTError):
    """The state folder is damaged, in the wrong place or not private."""

    code = "state"


class VaultError(VaultGPTError):
    """The vault can't be read as a folder of Markdown."""

    code = "vault"


class BaseModelError(VaultGPTError):
    """The base model is missing, gated, asks for remote code, or can't be loaded."""

    code = "base_model"


class GenerationError(VaultGPTError):
    """A generation's files do not match its manifest, or it may not be used."""

    code = "generation"


class TrainingError(VaultGPTError):
    """A round could not be run to its end."""

    code = "training"


class OutOfMemory(TrainingError):
    """Neither the device nor the CPU could hold the smallest batch."""

    code = "out_of_memory"


class WorkerDied(Unavailable):
    """A worker process ended before it answered."""

    code = "worker_died"


class DiskFull(StateError):
    """There is no room left where the state lies."""

    code = "disk_full"

    def __init__(
        self,
        message: str = "The disk that holds vaultgpt's state is full.",
        mend: str = "Free some room there (`vaultgpt doctor` shows where), then try again.",
    ) -> None:
        super().__init__(message, mend)


def _classes(root: type[VaultGPTError]) -> dict[str, type[VaultGPTError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        if child.__module__ == __name__:
            found = _classes(child) | found
    return found


def error_of(answer: ErrorAnswer) -> VaultGPTError:
    """What a worker's message says: as the class of its code, where there is one."""
    code = answer.get("code") or "error"
    kind = _classes(VaultGPTError).get(code, VaultGPTError)
    error = kind(answer.get("message") or "The worker failed.", answer.get("mend") or "")
    error.code = code
    error.http_status = answer.get("status") or error.http_status
    return error


def require_package(name: str, doing: str, kind: type[VaultGPTError]) -> None:
    """Raise `kind` with the command that brings a missing package to this very Python."""
    if importlib.util.find_spec(name) is None:
        raise kind(
            f"{doing} needs the package {name}.",
            f"Install it with `{shlex.quote(sys.executable)} -m pip install {name}`.",
        )


def expected(error: BaseException) -> VaultGPTError | None:
    """The failure that a disk's or the database's own error stands for; None for a bug of ours."""
    if isinstance(error, VaultGPTError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    sqlite = getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.Error) else 0
    if number in _FULL or sqlite == _SQLITE_FULL:
        return DiskFull()
    if number in _REFUSED or sqlite in _SQLITE_REFUSED:
        return StateError(
            f"The disk that holds vaultgpt's state refuses to be used ({type(error).__name__}).",
            "See that it is mounted, writable and sound, then try again.",
        )
    if sqlite in _SQLITE_BUSY:
        return Unavailable("Another process writes in this vault's ledger.", "Try again later.")
    return None


def is_memory(error: BaseException | None) -> bool:
    """Whether it, or what it came of, says that memory ran out.

    torch has a kind for every device, and code in C that gets none may leave a SystemError."""
    if error is None:
        return False
    said = str(error).lower()
    signs = ("out of memory", "allocate memory", "not enough memory", "failed to allocate")
    named = "OutOfMemory" in type(error).__name__ or isinstance(error, MemoryError | SystemError)
    told = named or (isinstance(error, RuntimeError) and any(sign in said for sign in signs))
    return told or is_memory(error.__cause__ or error.__context__)
