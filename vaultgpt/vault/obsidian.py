"""What Obsidian and its plugins have set in a vault: JSON files that anybody may have written.

Only plain files of a few MB are opened, and patterns found there are matched with a limit of time.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

_MOST_BYTES = 4 << 20
_MATCH_S = 0.05  # for one name; a pattern that needs more is one that never ends
_MOST_LATE = 20  # such searches, one second of them; then it is not tried again


def settings(vault: Path, *place: str) -> dict[str, object]:
    """An object of .obsidian; {} where there is none, or none that can be read."""
    return settings_or_problem(vault, *place)[0]


def settings_or_problem(vault: Path, *place: str) -> tuple[dict[str, object], str | None]:
    """The same, and what is wrong with a file that is there."""
    name = "/".join((".obsidian", *place))
    try:
        data = _read(os.path.join(vault, ".obsidian", *place))
        value = json.loads(data.decode("utf-8-sig"))
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError, RecursionError):
        return {}, f"{name} can't be read"
    return (value, None) if isinstance(value, dict) else ({}, f"{name} can't be read")


def _read(place: str) -> bytes:
    """A plain file's bytes; a link to one is followed. OSError, ValueError for anything else."""
    if not stat.S_ISREG(os.stat(place).st_mode):  # a device is not even opened
        raise ValueError("not a plain file")
    fd = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(fd, "rb") as stream:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise ValueError("not a plain file, or too large")
        return stream.read(_MOST_BYTES)


class Pattern:
    """A regular expression whose every search ends: it raises TimeoutError after 50 ms."""

    def __init__(
        self, source: str, lists: dict[str, list[str]] | None = None, any_case: bool = True
    ) -> None:
        """ValueError for one that can't be read."""
        import regex  # 2 MB and 20 ms: most vaults have no pattern of their own

        try:
            self._compiled = regex.compile(
                source, regex.IGNORECASE if any_case else 0, **(lists or {})
            )
        except (regex.error, RecursionError, OverflowError, MemoryError) as error:
            raise ValueError("not a pattern") from error
        self.pattern = source
        self.late = 0  # searches that took too long

    def __repr__(self) -> str:
        return f"Pattern({self.pattern!r})"

    def search(self, text: str) -> Any:
        """The match anywhere in `text`, or None."""
        return self._timed(self._compiled.search, text)

    def fullmatch(self, text: str) -> Any:
        """The match of the whole of `text`, or None."""
        return self._timed(self._compiled.fullmatch, text)

    def _timed(self, find: Any, text: str) -> Any:
        if self.late > _MOST_LATE:
            raise TimeoutError
        try:
            return find(text, timeout=_MATCH_S)
        except TimeoutError:
            self.late += 1
            raise
