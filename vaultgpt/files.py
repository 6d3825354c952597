"""Private, atomic files: temporary name, fsync, rename; modes 0600 and 0700.

Knows nothing about what the files mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from vaultgpt.errors import DiskFull

# A JSON object as another program or version wrote it: nothing of it is known before it is read.
Json = Mapping[str, Any]
PRIVATE_FILE = 0o600
PRIVATE_DIR = 0o700
_LEAST_ROOM_BYTES = 1 << 20  # below it the state is taken for full
_BALLAST, _BALLAST_BYTES, _PLENTY_BYTES = "ballast", 4 << 20, 256 << 20
_UNFINISHED = ".tmp"
_WRITING_S = 600.0
MAKING_S = 10.0  # at most, while another process makes a secret or token


def make_private_dir(path: Path, *, parents: bool = False) -> Path:
    """Make `path`, its missing parents if asked, readable by their owner only; return it.

    A parent that is gone may lie on a disk that was unmounted: FileNotFoundError.
    """
    if parents and not path.parent.exists():
        make_private_dir(path.parent, parents=True)
    path.mkdir(mode=PRIVATE_DIR, exist_ok=True)
    with contextlib.suppress(OSError):
        path.chmod(PRIVATE_DIR)
    return path


def open_to_others(folder: Path) -> Iterator[Path]:
    """What in a private folder, itself among it, others may read or write. POSIX only."""
    if os.name == "posix":
        for path in [folder, *folder.rglob("*")]:
            with contextlib.suppress(FileNotFoundError):
                if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077:
                    yield path


def close_to_others(folder: Path) -> int:
    """Make a folder and all in it its owner's alone; how many were not. OSError."""
    found = list(open_to_others(folder))
    for path in found:
        path.chmod(PRIVATE_DIR if path.is_dir() else PRIVATE_FILE)
    return len(found)


def free_bytes(folder: Path) -> int:
    """What is free where `folder` lies, or would lie."""
    place = next(p for p in (folder, *folder.parents) if p.exists())
    return shutil.disk_usage(place).free


def require_room(folder: Path) -> None:
    """DiskFull unless there is some room where `folder` lies."""
    if shutil.disk_usage(folder).free < _LEAST_ROOM_BYTES:
        raise DiskFull


def keep_ballast(folder: Path) -> None:
    """Hold some room while there is plenty, and give it up when there is none: enough for what a
    start must write on a full disk."""
    ballast, free = folder / _BALLAST, shutil.disk_usage(folder).free
    if free < _LEAST_ROOM_BYTES:
        ballast.unlink(missing_ok=True)
    elif free > _PLENTY_BYTES and not ballast.exists():
        with contextlib.suppress(OSError):
            write_atomic(ballast, bytes(_BALLAST_BYTES))


def sweep_unfinished(folder: Path, now: float) -> None:
    """Remove what writers that were killed left half written; a living one needs seconds."""
    for path in folder.rglob(f".*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            if not 0 <= now - path.stat().st_mtime < _WRITING_S:
                path.unlink()


@contextlib.contextmanager
def locked(path: Path, busy: Exception) -> Iterator[None]:
    """Hold the lock file at `path` meanwhile; raise `busy` at once when somebody else does."""
    from filelock import FileLock, Timeout  # 25 ms, which a command that only asks does not need

    os.stat(path.parent)  # FileLock would make a state folder anew whose disk was unmounted
    lock = FileLock(path, timeout=0, mode=PRIVATE_FILE)
    try:
        lock.acquire()
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def atomic_writer(path: Path, mode: int = PRIVATE_FILE) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on a clean exit fsync it and rename it into place."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
    try:
        with os.fdopen(fd, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
        fsync_dir(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # so that it is told which disk is full
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def appending(path: Path) -> IO[bytes]:
    """Open `path` to append to it, its owner's alone."""
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, PRIVATE_FILE))


def write_atomic(path: Path, data: bytes | str, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` whole: a reader sees the old bytes or the new ones, never a part."""
    with atomic_writer(path, mode) as stream:
        stream.write(data.encode("utf-8") if isinstance(data, str) else data)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, atomically."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`; OSError or ValueError when there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def fsync_dir(path: Path) -> None:
    """Make renames in `path` last. Windows has no such call and needs none."""
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_file(path: Path) -> None:
    """Flush an already written file to the disk (safetensors and peft do not)."""
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def put_folder(part: Path, target: Path) -> None:
    """Rename a folder of files that is whole now into place: its owner's alone, and on the disk for
    good. OSError where `target` is there and not empty."""
    close_to_others(part)
    for file in part.iterdir():
        fsync_file(file)
    fsync_dir(part)
    if target.exists():
        target.rmdir()
    part.rename(target)
    fsync_dir(target.parent)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of the file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def made_once(
    path: Path, good: Callable[[str], bool], may_make: Callable[[], None] = lambda: None
) -> str:
    """The text of a file of 32 random bytes in hex, made by whoever comes first.

    Where it is not `good`, `may_make` raises if what was there can't be made anew."""
    if good(text := ascii_text(path)):
        return text
    from filelock import FileLock

    os.stat(path.parent)
    with FileLock(path.with_name("making.lock"), timeout=MAKING_S, mode=PRIVATE_FILE):
        if good(text := ascii_text(path)):
            return text
        may_make()
        write_atomic(path, secrets.token_hex(32))
        return ascii_text(path)


def ascii_text(path: Path) -> str:
    """Its text, "" when it is missing or no text. Other errors of the disk are the caller's."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
