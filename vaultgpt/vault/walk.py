"""The Markdown files of a vault and their stamps; opening one without being led outside.

Symlinks are not followed, hidden folders not entered, files in the cloud not touched. Each folder
is opened from the vault's on, part by part, so that none can be exchanged for a link meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import marshal
import os
import re
import stat
import time
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vaultgpt.errors import VaultError

PLACEHOLDER = re.compile(r"^\.(.+\.(?:md|markdown))\.icloud$", re.IGNORECASE)
_MAX_NOTE_BYTES = 16 << 20
# A disk that keeps whole milliseconds or seconds (FAT two) may have one time for two savings.
_COARSE_NS, _COARSE_S = 1_000_000, 2.1
_SF_DATALESS = 0x40000000  # macOS, sys/stat.h
_FLAGS = hasattr(os.stat_result, "st_flags")
_SUFFIXES = (".md", ".markdown")
_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.scandir in os.supports_fd
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class FileStamp(NamedTuple):
    """What says, without reading, that a file is as it was."""

    mtime_ns: int
    size: int
    inode: int  # xor when anything of the file changed last: what is written and then given its
    # old time back (`touch -r`) differs in that alone. Windows tells when it was made instead.


class FoundFile(NamedTuple):
    """A file of the vault: its path in the index, its place on the disk, and its state."""

    path: str  # POSIX, relative, NFC
    place: str
    stamp: FileStamp
    code: str  # "", "symlink" or "placeholder": the latter two are never opened


@dataclass
class _Walk:
    """One pass over the folder tree."""

    files: dict[str, FoundFile]
    closed: list[str]  # folders that could not be listed: nothing is known of what lies there


class Listing:
    """The notes of one folder. Of 100,000 notes few changed, as a rule: a stamp is a plain tuple as
    FileStamp's, and where a note lies is put together when somebody asks."""

    __slots__ = ("_odd", "folder", "folders", "place", "stamps")

    def __init__(self, folder: str, place: str) -> None:
        self.folder, self.place = folder, place  # path in the index with its "/", place
        self.stamps: dict[str, tuple[int, int, int]] = {}  # by path
        self.folders: dict[str, str] = {}  # those in it: path in the index -> place
        self._odd: dict[str, tuple[str, str]] = {}  # path -> name and code, where not as usual

    def add(self, path: str, name: str, code: str, status: os.stat_result) -> None:
        """Enter a note."""
        mtime_ns, size, inode = stamp_of(status, code)
        self.stamps[path] = mtime_ns, size, inode
        if code or path != self.folder + name:
            self._odd[path] = (name, code)

    def changed(self, known: Mapping[str, tuple[int, int, int]]) -> Listing:
        """The same with those of its notes alone whose stamp is another than the known one."""
        found = Listing(self.folder, self.place)
        found.stamps = {path: s for path, s in self.stamps.items() if known.get(path) != s}
        found._odd = {path: odd for path, odd in self._odd.items() if path in found.stamps}
        return found

    def found(self, path: str) -> FoundFile:
        """One of its notes."""
        name, code = self._odd.get(path) or (path[len(self.folder) :], "")
        return FoundFile(path, f"{self.place}{os.sep}{name}", FileStamp(*self.stamps[path]), code)


class FoundFiles:
    """Files that were found, folder by folder, in a tenth of the room that FoundFile takes: of a
    first scan these are all there are."""

    def __init__(self, listings: Iterable[Listing] = ()) -> None:
        self.count = self.size = 0  # of files; bytes in them
        self._packed: list[bytes] = []
        self.add(listings)

    def add(self, listings: Iterable[Listing]) -> None:
        """Some more, a few hundred at once."""
        some = [one for one in listings if one.stamps]
        for one in some:
            self.count += len(one.stamps)
            self.size += sum(size for _, size, _ in one.stamps.values())
        if some:
            told = [(one.folder, one.place, one.stamps, one._odd) for one in some]
            self._packed.append(zlib.compress(marshal.dumps(told), 1))

    def __iter__(self) -> Iterator[FoundFile]:
        """One by one, those of a folder by their names."""
        for packed in self._packed:
            for folder, place, stamps, odd in marshal.loads(zlib.decompress(packed)):
                one = Listing(folder, place)
                one.stamps, one._odd = stamps, odd
                yield from map(one.found, sorted(stamps))


def note_id(path: str) -> str:
    """A name for a note where its own must not stand, as in `status`: eight hex digits."""
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def stamp_of(status: os.stat_result, code: str = "") -> FileStamp:
    """The stamp of a file's status; another while it lies in the cloud, for macOS changes nothing
    of its time, size and inode when it brings a file, and while the disk's clock would not tell one
    more saving from the last: then the file is read again later."""
    inode = 0 if code == "placeholder" else status.st_ino ^ status.st_ctime_ns
    if status.st_ctime_ns % _COARSE_NS == 0:
        changed = max(status.st_mtime, status.st_ctime)  # the latter is when it was made on Windows
        inode ^= abs(time.time() - changed) < _COARSE_S
    return FileStamp(status.st_mtime_ns, status.st_size, inode)


def is_dataless(status: os.stat_result) -> bool:
    """Whether macOS holds only the file's name here: reading it would download it."""
    return _FLAGS and bool(getattr(status, "st_flags", 0) & _SF_DATALESS)


def is_markdown(name: str) -> bool:
    """Whether a name is one of the notes Obsidian shows."""
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def walk(vault: Path) -> _Walk:
    """List every note. VaultError when the vault itself is gone or can't be listed."""
    found = _Walk({}, [])
    for listing in walk_folders(vault, found.closed):
        found.files |= {path: listing.found(path) for path in listing.stamps}
    return found


def walk_folders(vault: Path, closed: list[str]) -> Iterator[Listing]:
    """The notes of each folder that has any. Folders that can't be listed go into `closed`.
    VaultError as `walk`."""
    return (listing for listing in _listings(vault, closed) if listing.stamps)


def walk_some(vault: Path, folders: Iterable[str]) -> list[Listing] | None:
    """Folders of the vault, by their paths as the disk has them, and those above them; None where
    one is not found by that very name, is barred, or can't be listed. VaultError as `walk`."""
    wanted = {str(vault)}
    for folder in folders:
        place = str(vault)
        for part in filter(None, folder.split(os.sep)):
            place = f"{place}{os.sep}{part}"
            wanted.add(place)
    closed: list[str] = []
    found = [*_listings(vault, closed, wanted)]
    return found if not closed and {one.place for one in found} == wanted else None


def _listings(
    vault: Path, closed: list[str], wanted: Collection[str] | None = None
) -> Iterator[Listing]:
    """Every folder; with `wanted` those whose places are among them."""
    waiting = [("", str(vault))]
    with Way(vault) as way:
        while waiting:
            folder, place = waiting.pop()
            found = Listing(folder, place)
            try:
                with os.scandir(way.folder(place)) as entries:
                    _fill(found, _ordered(entries))
            except OSError as error:
                if not folder:
                    raise VaultError(
                        "The vault's folder can't be read.",
                        "Is its drive mounted, and may you open it?",
                    ) from error
                if not _is_gone(error):
                    closed.append(folder)
                continue
            waiting += [
                (path + "/", own)
                for path, own in sorted(found.folders.items(), reverse=True)
                if wanted is None or own in wanted
            ]
            yield found


def _is_gone(error: OSError) -> bool:
    """Whether a folder vanished, or became a file or a link, after it was listed."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Way(contextlib.AbstractContextManager["Way"]):
    """The folders from the vault's own down to one, each opened from the one above and kept open:
    the next one asked for stands near it, as a rule."""

    def __init__(self, vault: Path) -> None:
        self._root = str(vault)
        self._open: list[tuple[str, int]] = []  # place and os.sep, descriptor; the vault first

    def folder(self, place: str) -> int | str:
        """A folder below the vault; where the system has no such call, its path, which is checked
        to lie in the vault. OSError."""
        if not _BY_DESCRIPTOR:
            if not _lies_in(place, self._root):
                raise OSError(errno.ELOOP, "outside the vault")
            return place
        wanted = place + os.sep
        while self._open and not wanted.startswith(self._open[-1][0]):
            os.close(self._open.pop()[1])
        if not self._open:
            opened = os.open(self._root, os.O_RDONLY)
            self._open.append((self._root.rstrip(os.sep) + os.sep, opened))
        above, opened = self._open[-1]
        for part in filter(None, wanted[len(above) :].split(os.sep)):
            opened = os.open(part, _FOLDER, dir_fd=opened)
            above = f"{above}{part}{os.sep}"
            self._open.append((above, opened))
        return opened

    def note(self, place: str) -> int:
        """A descriptor of a note. OSError."""
        folder, name = os.path.split(place)
        opened = self.folder(folder)
        if isinstance(opened, int):
            return os.open(name, _FILE, dir_fd=opened)
        return os.open(place, _FILE | getattr(os, "O_BINARY", 0))

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.pop()[1])


def _lies_in(place: str, root: str) -> bool:
    real, home = os.path.realpath(place), os.path.realpath(root)
    return real == home or real.startswith(home.rstrip(os.sep) + os.sep)


def _ordered(entries: Iterable[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    """To be taken from the end, names in NFC first: they keep their path when another form of the
    same name lies beside."""
    found = list(entries)
    if not "".join([entry.name for entry in found]).isascii():
        found.sort(key=lambda e: (not unicodedata.is_normalized("NFC", e.name), e.name))
    found.reverse()
    return found


def _fill(found: Listing, entries: list[os.DirEntry[str]]) -> None:
    """File a folder's entries, notes and folders, from the end. Each is let go of then: one that
    was asked for its status keeps that, 600 bytes."""
    folder, stamps = found.folder, found.stamps
    while entries:
        entry = entries.pop()
        name = entry.name
        try:
            if (
                name.endswith(".md")  # what nearly all are, in a third of the time
                and name[0] != "."
                and name.isascii()
                and not entry.is_dir(follow_symlinks=False)
            ):
                status = entry.stat(follow_symlinks=False)
                changed_ns = status.st_ctime_ns
                if (
                    stat.S_ISREG(status.st_mode)
                    and changed_ns % _COARSE_NS
                    and not is_dataless(status)
                ):
                    inode = status.st_ino ^ changed_ns
                    stamps[folder + name] = (status.st_mtime_ns, status.st_size, inode)
                    continue
            _take(entry, found)
        except OSError:  # it vanished while we looked
            continue


def _take(entry: os.DirEntry[str], found: Listing) -> None:
    """File any entry. OSError."""
    name = entry.name if entry.name.isascii() else unicodedata.normalize("NFC", entry.name)
    cloud = PLACEHOLDER.match(name)
    path = found.folder + (cloud[1] if cloud else name)
    if entry.is_dir(follow_symlinks=False):
        if not name.startswith(".") and not _is_junction(entry):
            path = found.folder + entry.name if path in found.folders else path
            found.folders[path] = f"{found.place}{os.sep}{entry.name}"
        return
    if not cloud and not is_markdown(name):
        return
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        code = "symlink"
    elif not stat.S_ISREG(status.st_mode):
        return
    else:
        code = "placeholder" if cloud or is_dataless(status) else ""
    if path in found.stamps:  # two names that differ only in Unicode form
        path = found.folder + entry.name
    if path not in found.stamps:
        found.add(path, entry.name, code, status)


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Windows' own kind of link (Python 3.12 has the call)."""
    check = getattr(entry, "is_junction", None)
    return bool(check and check())


def read_bytes(way: Way, place: str) -> bytes:
    """A note's bytes. OSError when it can't be read, a link is on its way, or it exceeds 16 MB."""
    fd = way.note(place)
    with os.fdopen(fd, "rb") as stream:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        if status.st_size > _MAX_NOTE_BYTES:
            raise OSError(errno.EFBIG, "too large")
        return stream.read(_MAX_NOTE_BYTES + 1)


def resolve(vault: Path, path: str) -> Iterator[tuple[str, str]]:
    """An index path part by part, whatever its Unicode form and case: (place, part of the index).

    The latter is the name in NFC, or as it is where its NFC form lies beside it."""
    place = str(vault)
    for part in path.split("/"):
        exact = os.path.join(place, part)
        name = part if os.path.lexists(exact) else _similar(place, part)
        normal = unicodedata.normalize("NFC", name)
        if normal != name and normal in _names(place):
            normal = name
        place = os.path.join(place, name)
        yield place, normal


def _names(place: str) -> list[str]:
    try:
        return sorted(os.listdir(place))
    except OSError:
        return []


def _similar(place: str, part: str) -> str:
    """The name in `place` that means `part`; `part` itself when there is none."""
    wanted = unicodedata.normalize("NFC", part)
    names = _names(place)
    for name in names:
        if unicodedata.normalize("NFC", name) == wanted:
            return name
    same = [n for n in names if unicodedata.normalize("NFC", n).casefold() == wanted.casefold()]
    return same[0] if len(same) == 1 else part
