"""The Markdown files of a vault and their stamps; opening one without being led outside.

Symlinks are not followed, hidden folders not entered, files in the cloud not touched.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vaultgpt.errors import VaultError
from vaultgpt.vault.rules import PLACEHOLDER

MAX_NOTE_BYTES = 16 << 20
_SF_DATALESS = 0x40000000  # macOS, sys/stat.h
_SUFFIXES = (".md", ".markdown")


@dataclass(frozen=True)
class FileStamp:
    """What says, without reading, that a file is as it was."""

    mtime_ns: int
    size: int
    inode: int


@dataclass(frozen=True)
class Found:
    """A file of the vault: its path in the index, its place on the disk, and its state."""

    path: str  # POSIX, relative, NFC
    place: str
    stamp: FileStamp
    code: str  # "", "symlink" or "placeholder": the latter two are never opened


@dataclass
class Walk:
    """One pass over the folder tree."""

    files: dict[str, Found]
    closed: list[str]  # folders that could not be listed: nothing is known of what lies there


def stamp_of(status: os.stat_result) -> FileStamp:
    """The stamp of a file's status."""
    return FileStamp(status.st_mtime_ns, status.st_size, status.st_ino)


def is_dataless(status: os.stat_result) -> bool:
    """Whether macOS holds only the file's name here: reading it would download it."""
    return bool(getattr(status, "st_flags", 0) & _SF_DATALESS)


def is_markdown(name: str) -> bool:
    """Whether a name is one of the notes Obsidian shows."""
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def walk(vault: Path) -> Walk:
    """List every note. VaultError when the vault itself is gone or can't be listed."""
    found = Walk({}, [])
    waiting = [("", str(vault))]
    while waiting:
        folder, place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                listed = sorted(entries, key=_order)
        except OSError as error:
            if not folder:
                raise VaultError(
                    "The vault's folder can't be read.",
                    "Is its drive mounted, and may you open it?",
                ) from error
            if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
                found.closed.append(folder)
            continue
        for entry in listed:
            _take(entry, folder, found, waiting)
    return found


def _order(entry: os.DirEntry[str]) -> tuple[bool, str]:
    """Names in NFC first: they keep their path when another form of the same name lies beside."""
    return not unicodedata.is_normalized("NFC", entry.name), entry.name


def _take(
    entry: os.DirEntry[str], folder: str, found: Walk, waiting: list[tuple[str, str]]
) -> None:
    """File one directory entry: a note into `found`, a folder into `waiting`."""
    name = unicodedata.normalize("NFC", entry.name)
    cloud = PLACEHOLDER.match(name)
    path = folder + (cloud[1] if cloud else name)
    try:
        if entry.is_dir(follow_symlinks=False):
            if not name.startswith(".") and not _is_junction(entry):
                waiting.append((path + "/", entry.path))
            return
        if not cloud and not is_markdown(name):
            return
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return  # it vanished while we looked
    if stat.S_ISLNK(status.st_mode):
        code = "symlink"
    elif not stat.S_ISREG(status.st_mode):
        return
    else:
        code = "placeholder" if cloud or is_dataless(status) else ""
    if path in found.files:  # two names that differ only in Unicode form
        path = folder + entry.name
    found.files.setdefault(path, Found(path, entry.path, stamp_of(status), code))


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Windows' own kind of link (Python 3.12 has the call)."""
    check = getattr(entry, "is_junction", None)
    return bool(check and check())


def read_bytes(place: str) -> bytes:
    """A note's bytes. OSError when it can't be read, is a link, or is longer than 16 MB."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    fd = os.open(place, flags | getattr(os, "O_BINARY", 0))
    with os.fdopen(fd, "rb") as stream:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        if status.st_size > MAX_NOTE_BYTES:
            raise OSError(errno.EFBIG, "too large")
        return stream.read(MAX_NOTE_BYTES + 1)


def resolve(vault: Path, path: str) -> Iterator[str]:
    """Names on the disk for an index path, part by part, whatever their Unicode form and case."""
    place = str(vault)
    for part in path.split("/"):
        exact = os.path.join(place, part)
        place = exact if os.path.lexists(exact) else os.path.join(place, _similar(place, part))
        yield place


def _similar(place: str, part: str) -> str:
    """The name in `place` that means `part`; `part` itself when there is none."""
    wanted = unicodedata.normalize("NFC", part)
    try:
        names = sorted(os.listdir(place))
    except OSError:
        return part
    for name in names:
        if unicodedata.normalize("NFC", name) == wanted:
            return name
    same = [n for n in names if unicodedata.normalize("NFC", n).casefold() == wanted.casefold()]
    return same[0] if len(same) == 1 else part
