"""The append-only file of what can't be rebuilt from the vault, one JSON line each.

A line carries a number, a checksum and that of the line before, so that a changed, missing or
foreign line is noticed; a torn last line is cut off. Knows nothing about SQLite.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import Hashes
from vaultgpt.files import PRIVATE_FILE, atomic_writer, fsync_dir


def pack(hashes: Hashes) -> str:
    """Hashes as base64, for a line."""
    return base64.b64encode(np.ascontiguousarray(hashes, dtype="<u8").tobytes()).decode("ascii")


def unpack(text: str) -> Hashes:
    """The inverse of pack."""
    return np.frombuffer(base64.b64decode(text), dtype="<u8").astype(np.uint64)


class RememberedEntry(TypedDict):
    """An entry in a line: what it can be found again by."""

    entry: str
    place: str  # keyed hash
    words: int
    paragraphs: list[str]  # keyed digests
    runs: NotRequired[str]  # of a forgotten one, packed
    held: NotRequired[list[str]]  # digests held out of a long one


class Line(TypedDict):
    """One line: what all have, then what some kinds have."""

    n: int
    kind: str
    time: float
    prev: NotRequired[str]  # sum of the line before
    sum: str
    entries: NotRequired[list[RememberedEntry]]  # "forget", "held_out"
    generation: NotRequired[str | None]  # "active"
    check: NotRequired[str]  # "key"
    round: NotRequired[int]  # "scores"
    rows: NotRequired[list[list[Any]]]  # entry, nats, bytes, base_nats
    hashes: NotRequired[str]  # "emitted", packed
    length: NotRequired[int]
    emitted: NotRequired[float]
    accepted: NotRequired[bool]


Restated = tuple[str, float, Mapping[str, object]]  # kind, time, fields of a line


class MemoryFile:
    """memory.jsonl. `last` is the number of the last good line, 0 when there is none.

    Nothing but `append` and `rewrite` changes it, with the ledger's write lock held."""

    def __init__(self, path: Path, known: tuple[str, int, str] | None = None) -> None:
        """`known`: digest, number and sum of the last line as the tables have them. A file of those
        very bytes is not read line by line: of 3,000 lines that took 65 ms at each opening."""
        self.path, self._known = path, known
        self.damaged = 0  # lines that could not be trusted, or are missing before another one
        self.last = 0
        self.sum = ""  # of the last good line
        self._body = hashlib.blake2b(digest_size=16)
        self._stamp: tuple[int, ...] | None = None
        self.refresh()

    @property
    def digest(self) -> str:
        """Of all bytes of the file as they were last read or written."""
        return self._body.hexdigest()

    def refresh(self) -> None:
        """Notice what another process appended, or what befell the file."""
        if self._stat() != self._stamp and not self._is_known():
            self.read()

    def _is_known(self) -> bool:
        stamp = self._stat()
        if self._known is None or not stamp:
            return False
        body = hashlib.blake2b(self.path.read_bytes(), digest_size=16)
        if body.hexdigest() != self._known[0]:
            return False
        self._stamp, self._body, self.damaged = stamp, body, 0
        _, self.last, self.sum = self._known
        return True

    def _stat(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return ()
        return status.st_size, status.st_mtime_ns, status.st_ino

    def read(self, after: int = 0) -> list[Line]:
        """Every good line whose number is above `after`, in order."""
        self._stamp = self._stat()
        raw = self.path.read_bytes() if self._stamp else b""
        self._body = hashlib.blake2b(raw, digest_size=16)
        self.damaged, self.last, self.sum = 0, 0, ""
        good: list[Line] = []
        texts = raw.split(b"\n")
        for at, text in enumerate(texts):
            line = _parse(text) if text else None
            if line is not None:
                if line["n"] != self.last + 1 or line.get("prev", self.sum) != self.sum:
                    self.damaged += 1  # lines are missing before this one, or it is another file's
                self.last, self.sum = line["n"], line["sum"]
                good.append(line)
            elif text and at < len(texts) - 1:
                self.damaged += 1  # not merely the torn end of a last append
        return [line for line in good if line["n"] > after]

    def append(self, kind: str, now: float, **fields: Any) -> int:
        """Write one line in full and fsync it; its number. A kill leaves it whole or cut off.

        OSError when there is no room: then nothing of it stands."""
        number, body, checksum = self._line(kind, now, fields)
        made = not self.path.exists()
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
        try:
            size = os.fstat(fd).st_size
            if size and not self._ends_whole(size):
                body = b"\n" + body  # seal off a torn line
            _write_whole(fd, body, size)
        finally:
            os.close(fd)
        if made:
            fsync_dir(self.path.parent)
        self._body.update(body)
        self.last, self.sum, self._stamp = number, checksum, self._stat()
        return number

    def mark(self) -> int:
        """The file's size now, to be cut back to when what was appended must not stand."""
        return self._stamp[0] if self._stamp else 0

    def cut_back(self, mark: int) -> None:
        """Take away what was appended since `mark`. Needs no room on the disk. OSError."""
        if self._stamp and self._stamp[0] > mark:
            with open(self.path, "rb+") as stream:
                stream.truncate(mark)
                os.fsync(stream.fileno())
            self.read()

    def rewrite(self, lines: Iterable[Restated]) -> None:
        """A new file of these (kind, time, fields); the old one is set aside."""
        if self._stat():
            os.replace(self.path, self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}"))
        self.last, self.sum = 0, ""
        with atomic_writer(self.path) as stream:
            for kind, when, fields in lines:
                self.last, body, self.sum = self._line(kind, when, fields)
                stream.write(body)
        self.read()

    def _line(self, kind: str, now: float, fields: Mapping[str, object]) -> tuple[int, bytes, str]:
        line = {"n": self.last + 1, "kind": kind, "time": now, **fields, "prev": self.sum}
        checksum = _sum(line)
        body = json.dumps({**line, "sum": checksum}, ensure_ascii=True) + "\n"
        return self.last + 1, body.encode("ascii"), checksum

    def _ends_whole(self, size: int) -> bool:
        with open(self.path, "rb") as stream:
            stream.seek(size - 1)
            return stream.read(1) == b"\n"


def _write_whole(fd: int, body: bytes, size: int) -> None:
    """All of `body` after the first `size` bytes, on the disk for good; or nothing of it."""
    try:
        at = 0
        while at < len(body):
            at += os.write(fd, body[at:])
        os.fsync(fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
        raise


def _sum(line: Mapping[str, object]) -> str:
    body = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(body.encode("ascii")).hexdigest()[:16]


def _parse(text: bytes) -> Line | None:
    """The line with its sum, or None when it can't be trusted."""
    try:
        line = dict(json.loads(text))
        given = line.pop("sum")
        good = given == _sum(line) and isinstance(line["n"], int)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return cast(Line, {**line, "sum": given}) if good else None
