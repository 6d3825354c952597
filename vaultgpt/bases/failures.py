"""What the hub, the network and the disk say, as one clear line and its mend each.

Knows nothing about files or models.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any, cast

from vaultgpt.bases.catalogue import meant
from vaultgpt.bases.names import models_root
from vaultgpt.errors import BaseModelError

_AGAIN = "Run the command again: it goes on where it stopped."
_PUBLIC = "https://huggingface.co"


def endpoint() -> str:
    """HF_ENDPOINT, else the public hub."""
    return (os.environ.get("HF_ENDPOINT") or _PUBLIC).rstrip("/")


def megabytes(size: int) -> str:
    """ "1.2 GB" or "14 MB", decimal, as shops and systems count."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size, 0) / 1e6:,.0f} MB"


def no_room(repo: str, missing: int, free: int) -> BaseModelError:
    """For a disk with `free` bytes where `missing` more are to come."""
    return BaseModelError(
        f"There is no room for {repo}: {megabytes(missing)} are to come and {megabytes(free)} are "
        f"free in {models_root()}.",
        "Free some space, or set VAULTGPT_HOME to a larger disk.",
    )


class Unreachable(BaseModelError):
    """The hub can't be asked now: no network, or it answers with an error of its own."""


@contextlib.contextmanager
def plainly(name: str) -> Iterator[None]:
    """Turn the exceptions of huggingface_hub and the disk into BaseModelError; keep it quiet."""
    from huggingface_hub import errors

    # The base class of its HTTP client's errors, whichever client this version has.
    transport = cast(
        "type[Exception]",
        next(c for c in errors.HfHubHTTPError.__mro__ if c.__name__ == "HTTPError"),
    )
    host = endpoint().split("://", 1)[-1]
    try:
        with _quiet():
            yield
    except errors.OfflineModeIsEnabled:
        raise BaseModelError(
            f"{name} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it.",
            "Unset HF_HUB_OFFLINE for this command.",
        ) from None
    except errors.HFValidationError:
        raise BaseModelError(f"There is no base called {name!r}.", meant(name)) from None
    except errors.HfHubHTTPError as error:
        raise _answer(name, host, error) from None
    except OSError as error:
        raise _disk(name, host, error) from None
    except transport as error:
        raise Unreachable(
            f"{host} can't be reached ({type(error).__name__}).",
            f"Check the network and HF_ENDPOINT. {_AGAIN}",
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and warnings of huggingface_hub's own."""
    from huggingface_hub import utils

    tools, group = cast(Any, utils), "huggingface_hub.http_get"
    before = tools.logging.get_verbosity()
    shown = not tools.are_progress_bars_disabled(group)
    tools.logging.set_verbosity_error()
    tools.disable_progress_bars(group)
    try:
        yield
    finally:
        tools.logging.set_verbosity(before)
        if shown:
            tools.enable_progress_bars(group)


def _answer(name: str, host: str, error: Any) -> BaseModelError:
    """For an HTTP status that is not success. `error` is a HfHubHTTPError."""
    from huggingface_hub import errors

    page = f"{endpoint()}/{name.split('@', 1)[0]}"
    status = error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        return BaseModelError(
            f"{name} is gated: its owner wants you to agree to terms first.",
            f"Agree at {page}, then set HF_TOKEN to a token of yours.",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return BaseModelError(
            f"There is no model {name} on {host}, or it is private.",
            meant(name) or "Check the spelling; a private one needs HF_TOKEN.",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return BaseModelError(
            f"{name}: there is no such revision.", "Leave out what comes after the @."
        )
    if status == 401:
        return BaseModelError(
            f"{host} does not accept your token.", "Set HF_TOKEN to a valid one, or unset it."
        )
    if status == 403:
        return BaseModelError(
            f"You may not fetch {name}.",
            f"Ask for access at {page}, then set HF_TOKEN to a token of yours.",
        )
    if status == 404:
        return BaseModelError(f"A file of {name} is missing on {host}.", "Choose another base.")
    reason = "asks to wait" if status == 429 else f"answers with error {status}"
    return Unreachable(f"{host} {reason}.", f"Try later. {_AGAIN}")


def _disk(name: str, host: str, error: OSError) -> BaseModelError:
    if error.errno == errno.ENOSPC:
        return BaseModelError(
            f"The disk is full; {name} is not whole yet.", f"Free some space. {_AGAIN}"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BaseModelError(f"{models_root()} can't be written.", "Mend its permissions.")
    return BaseModelError(f"The transfer from {host} broke off ({type(error).__name__}).", _AGAIN)
