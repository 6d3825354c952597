"""The tree of expected failures: each carries one sentence and the mend.

Knows nothing about where it is shown. A message never holds prose or titles of notes.
"""

from __future__ import annotations


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


class UsageError(VaultGPTError):
    """The caller asked for something that has no meaning (a bad value, an unknown key)."""

    code = "invalid_request"
    http_status = 400
    exit_status = 2


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
