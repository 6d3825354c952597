"""The append-only file of what can't be rebuilt from the vault, one checksummed JSON line each.

Each line carries a number and a checksum; a torn last line is cut off, a gap is noticed. Knows
nothing about SQLite.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from vaultgpt.files import PRIVATE_FILE


def _sum(line: dict[str, Any]) -> str:
    body = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(body.encode("ascii")).hexdigest()[:16]


class Memory:
    """memory.jsonl. `last` is the number of the last good line, 0 when there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0  # lines that could not be trusted
        self.last = 0
        self._size = -1
        self.refresh()

    def refresh(self) -> None:
        """Notice what another process appended. Called with the ledger's write lock held."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self._size:
            lines = self.read()
            self.last, self._size = (int(lines[-1]["n"]) if lines else 0), size

    def read(self, after: int = 0) -> list[dict[str, Any]]:
        """Every good line whose number is above `after`, in order."""
        self.damaged = 0
        if not self.path.exists():
            return []
        good: list[dict[str, Any]] = []
        raw = self.path.read_bytes().split(b"\n")
        for at, text in enumerate(raw):
            line = _parse(text) if text else None
            if line is not None:
                if line["n"] > (good[-1]["n"] if good else 0) + 1:
                    self.damaged += 1  # lines are missing before this one
                good.append(line)
            elif text and at < len(raw) - 1:
                self.damaged += 1  # not merely the torn end of a last append
        return [line for line in good if line["n"] > after]

    def append(self, kind: str, now: float, **fields: Any) -> int:
        """Write one line and fsync it; its number. A kill leaves it whole or cut off."""
        line = {"n": self.last + 1, "kind": kind, "time": now, **fields}
        body = json.dumps({**line, "sum": _sum(line)}, ensure_ascii=True) + "\n"
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
        try:
            size = os.fstat(fd).st_size
            if size and not self._ends_whole(size):
                body = "\n" + body  # seal off a torn line
            os.write(fd, body.encode("ascii"))
            os.fsync(fd)
            self._size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        self.last += 1
        return self.last

    def _ends_whole(self, size: int) -> bool:
        with open(self.path, "rb") as stream:
            stream.seek(size - 1)
            return stream.read(1) == b"\n"


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
        given = line.pop("sum")
        good = given == _sum(line) and isinstance(line["n"], int)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(line) if good else None
