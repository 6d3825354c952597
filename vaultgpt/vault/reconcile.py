"""The folder against what is known of it: stat first, read what changed, judge what was read.

Knows nothing about the ledger. The watcher is a hint; this is the truth.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import marshal
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vaultgpt.errors import NotFound, UsageError
from vaultgpt.settings import Rules
from vaultgpt.vault import walk as walking
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import Judgement, Note, unreadable
from vaultgpt.vault.reading import READER
from vaultgpt.vault.rules import RuleSet
from vaultgpt.vault.walk import FileStamp, FoundFile, FoundFiles

__all__ = [
    "Changes",
    "FileStamp",
    "Scan",
    "ScannedNote",
    "find_one",
    "fingerprint",
    "read_one",
    "read_vault",
]

_UNTOUCHED = {
    "symlink": Judgement(False, "symlink", "It is a symbolic link, which is not followed."),
    "placeholder": Judgement(False, "placeholder", "It lies in the cloud, not on this machine."),
}
_READER = 4  # counted up when a note is read otherwise than before: then all are read anew
_HALF = re.compile("[\ud800-\udfff]")
_SOME_NOTES = 500  # whose stamps are compared at once
_PART_BYTES = 1 << 20
_NEVER_OPENED = frozenset({*_UNTOUCHED, "conflict copy"})


@dataclass(frozen=True)
class ScannedNote:
    """One file as it was found: its note, whether it is used, its stamp and its content's hash.

    Links, conflict copies and files in the cloud are not opened: an empty note, the digest ""."""

    note: Note
    judgement: Judgement
    stamp: FileStamp
    digest: str  # SHA-256 of the bytes, hex
    read_by: str = ""  # how they were read; what was read otherwise may say otherwise


@dataclass(frozen=True)
class Scan:
    """The vault now, against the stamps that were known before."""

    stamps: dict[str, FileStamp]  # every note there is, and those in folders that can't be listed
    read: list[ScannedNote]  # new or changed
    gone: list[str]
    rules: str = ""  # fingerprint of the rules; when it changes, unchanged notes need a new scan
    closed: tuple[str, ...] = ()  # folders that can't be listed
    problems: tuple[str, ...] = ()  # sentences about the rules

    def said(self) -> list[str]:
        """What the author should know of the vault as a whole: folders, rules."""
        return _said(self.closed, self.problems)


def read_vault(vault: Path, rules: Rules, known: Mapping[str, FileStamp] = {}) -> Scan:
    """Read the notes whose stamp differs from `known`; all when it is empty.

    Unchanged notes are not judged anew: when `Scan.rules` is not what it was, pass no `known`.
    VaultError when the vault itself is not there, so that a missing drive deletes nothing."""
    changes = Changes(vault, rules, lambda paths: {p: known[p] for p in paths if p in known})
    read = [scanned for part in changes.parts() for scanned in part]
    other = {*changes.gone(known), *(file.path for file in changes.files)}
    unchanged = [path for path in known if path not in other]
    stamps = {path: known[path] for path in unchanged}
    stamps |= {scanned.note.path: scanned.stamp for scanned in read}  # without what just vanished
    gone = [path for path in known if path not in stamps]
    return Scan(stamps, read, gone, changes.rules(), changes.closed(), changes.problems())


class Changes:
    """What differs between the folder and what is known of it, found by stat alone.

    `known` is asked for the stamps of some paths at a time, so that a large vault takes no memory;
    not of those of which one of the `marks` of an earlier comparison says that they are as it knew
    them. VaultError as `read_vault`."""

    def __init__(
        self,
        vault: Path,
        rules: Rules,
        known: Callable[[Sequence[str]], Mapping[str, tuple[int, int, int]]],
        marks: Collection[str] = (),
    ) -> None:
        self._reader = _VaultReader(vault, rules)
        self._closed: list[str] = []
        self.count = self.known = 0  # notes that are here, and how many of them were known
        # Of notes beside each other by the first one's folder; "" where one is not as it was known.
        self.marks: dict[str, str] = {}
        self.files = FoundFiles()  # new and changed ones
        for some in _some(walking.walk_folders(vault, self._closed)):
            mark = _mark(some)
            if mark in marks:
                count = sum(len(one.stamps) for one in some)
                self.count, self.known = self.count + count, self.known + count
                self.marks[some[0].folder] = mark
                continue
            there: dict[str, tuple[int, int, int]] = {}
            for one in some:
                there |= one.stamps
            before = known([*there])
            self.known += len(before)
            self.count += len(there)
            if before == there:
                self.marks[some[0].folder] = mark
                continue
            self.marks[some[0].folder] = ""
            self.files.add(one.changed(before) for one in some)

    def gone(self, known: Iterable[str]) -> list[str]:
        """Which of all known paths are no longer here; what lies in a closed folder is. The folder
        is listed again: the paths of 100,000 notes, held where none is gone, took 20 MB."""
        there: set[str] = set()
        for listing in walking.walk_folders(self._reader.vault, self._closed):
            there |= listing.stamps.keys()
        closed = tuple(self._closed)
        return [p for p in known if p not in there and not (closed and p.startswith(closed))]

    def parts(self) -> Iterator[list[ScannedNote]]:
        """New and changed notes, some at a time, read meanwhile."""
        return self._reader.parts(self.files)

    def rules(self) -> str:
        """The fingerprint of the rules that the notes are judged by."""
        return self._reader.fingerprint()

    def closed(self) -> tuple[str, ...]:
        """Folders that can't be listed."""
        return tuple(folder.rstrip("/") for folder in sorted(set(self._closed)))

    def problems(self) -> tuple[str, ...]:
        """Sentences about the rules."""
        return self._reader.rules.problems

    def said(self) -> list[str]:
        """What the author should know of the vault as a whole: folders, rules."""
        return _said(self.closed(), self.problems())


class SomeChanges(Changes):
    """The same of some folders alone, and of those above them; `gone` is known at once.

    `known` is asked for the stamps of the notes in one folder, by its path with a "/". Not `sure`:
    nothing is to be said, for the folders are not there as they were told."""

    def __init__(
        self,
        vault: Path,
        rules: Rules,
        folders: Iterable[str],
        known: Callable[[str], Mapping[str, tuple[int, int, int]]],
    ) -> None:
        self._reader = _VaultReader(vault, rules)
        self._closed = []
        self.files, self.left = FoundFiles(), list[str]()
        listings = walking.walk_some(vault, folders)
        self.sure = listings is not None and all(map(_is_text, listings))
        for one in listings if listings and self.sure else ():
            before = known(one.folder)
            self.files.add([one.changed(before)])
            self.left += before.keys() - one.stamps.keys()


def _is_text(listing: walking.Listing) -> bool:
    """Whether no name in a folder, nor its own, holds half a surrogate, as one that is no UTF-8."""
    return not _HALF.search("".join([listing.folder, *listing.stamps]))


def _some(listings: Iterable[walking.Listing]) -> Iterator[list[walking.Listing]]:
    """Folders together until they hold a few hundred notes."""
    some: list[walking.Listing] = []
    count = 0
    for listing in listings:
        some.append(listing)
        count += len(listing.stamps)
        if count >= _SOME_NOTES:
            yield some
            some, count = [], 0
    if some:
        yield some


def _mark(some: Sequence[walking.Listing]) -> str:
    """A digest of these notes' paths and stamps: a fifth of what asking for the known ones takes.
    marshal's second form has no references, so that equal stamps give equal bytes."""
    body = marshal.dumps([one.stamps for one in some], 2)
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def _said(closed: Sequence[str], problems: Sequence[str]) -> list[str]:
    return [*map(closed_folders, [closed] if closed else []), *problems]


def closed_folders(folders: Sequence[str]) -> str:
    """One sentence about folders that can't be opened."""
    names = ", ".join(folders[:3]) + (f" and {len(folders) - 3} more" if len(folders) > 3 else "")
    what = "A folder" if len(folders) == 1 else f"{len(folders)} folders"
    return f"{what} can't be opened, so the notes there are not read: {names}."


def fingerprint(vault: Path, rules: Rules) -> str:
    """What `Scan.rules` would be now, without reading a note."""
    return _VaultReader(vault, rules).fingerprint()


def read_one(vault: Path, rules: Rules, path: str) -> ScannedNote:
    """Read one note by its path in the vault.

    UsageError for a path that leads outside or through a link, NotFound for no such note."""
    scanned = _VaultReader(vault, rules).read([find_one(vault, path)])
    if not scanned:
        raise NotFound("There is no such note in the vault.", "It vanished just now.")
    return scanned[0]


def read_some(vault: Path, rules: Rules, paths: Iterable[str]) -> Iterator[ScannedNote]:
    """Read notes by their paths, in order, without those that `read_one` would refuse."""
    found = []
    for path in paths:
        with contextlib.suppress(NotFound, UsageError):
            found.append(find_one(vault, path))
    for part in _VaultReader(vault, rules).parts(found):
        yield from part


def find_one(vault: Path, path: str) -> FoundFile:
    """Where one note lies, without opening it. Errors as `read_one`."""
    inside = _inside(vault, path)
    place = str(vault)
    parts = []
    for place, part in walking.resolve(vault, inside):
        parts.append(part)
        if os.path.islink(place):
            raise UsageError("That path goes through a symbolic link.", "Links are not followed.")
    real = Path(os.path.realpath(place))
    if Path(os.path.realpath(vault)) not in real.parents:
        raise UsageError("That path lies outside the vault.", "Give a note of this vault.")
    if not os.path.isfile(place) or not walking.is_markdown(PurePosixPath(inside).name):
        raise NotFound("There is no such note in the vault.", "Give its path inside the vault.")
    index_path = "/".join(parts)
    status = os.stat(place, follow_symlinks=False)
    code = "placeholder" if walking.is_dataless(status) else ""
    return FoundFile(index_path, place, walking.stamp_of(status, code), code)


def _inside(vault: Path, path: str) -> str:
    """A path relative to the vault, POSIX, without ".." or hidden parts; UsageError otherwise."""
    if "\0" in path:
        raise UsageError("A path holds no NUL.")
    given = Path(path).expanduser() if path.startswith("~") else Path(path)
    if given.is_absolute():
        for root in (vault, Path(os.path.realpath(vault))):
            if given.is_relative_to(root):
                given = given.relative_to(root)
                break
    parts = PurePosixPath(given.as_posix()).parts
    if given.is_absolute() or ".." in parts or not parts or given.drive:
        raise UsageError("That path lies outside the vault.", "Give a note of this vault.")
    if any(part.startswith(".") for part in parts):
        raise NotFound("There is no such note in the vault.", "Hidden folders are not read.")
    return "/".join(parts)


@dataclass(frozen=True)
class _Opened:
    """A file whose bytes are on their way to the reader, and their SHA-256."""

    found: FoundFile
    digest: str


class _VaultReader:
    """Reads and judges single files of one vault under one rule set."""

    def __init__(self, vault: Path, rules: Rules) -> None:
        self.vault = vault
        self.rules = RuleSet.load(vault, rules)
        self.daily = DailyFormat.load(vault)
        self._read_by = repr((_READER, self.daily))

    def fingerprint(self) -> str:
        """Hash of everything but the notes themselves that decides what is read from them."""
        made_from = repr((self._read_by, self.rules.sources()))
        return hashlib.sha256(made_from.encode()).hexdigest()

    def read(self, files: Sequence[FoundFile]) -> list[ScannedNote]:
        """The notes of these files in order, without those that are gone.

        While one part is read by the reader's process, the next is taken from the disk."""
        return [note for part in self.parts(files) for note in part]

    def parts(self, files: Iterable[FoundFile]) -> Iterator[list[ScannedNote]]:
        """The same, part by part."""
        asked: tuple[list[ScannedNote | _Opened], Future[list[Note]]] | None = None
        with ThreadPoolExecutor(1) as pool:
            for part in _parts(files):
                texts: list[tuple[str, bytes]] = []
                taken = self._take(part, texts)
                reading = pool.submit(READER.read, self.daily, texts)
                del texts  # the reader's alone: of one long note it is 16 MB
                if asked:
                    yield self._judged(*asked)
                asked = taken, reading
            if asked:
                yield self._judged(*asked)

    def _take(
        self, files: Sequence[FoundFile], texts: list[tuple[str, bytes]]
    ) -> list[ScannedNote | _Opened]:
        """The files' bytes, into `texts`; what needs no reading, or can't be opened, is judged
        already."""
        out: list[ScannedNote | _Opened] = []
        with walking.Way(self.vault) as way:
            for found in files:
                untouched, barred = _UNTOUCHED.get(found.code), self.rules.judge_path(found.path)
                by_rules = not barred.used and barred.code not in _NEVER_OPENED
                if untouched and (found.code == "symlink" or not by_rules):
                    barred = untouched  # of one that the rules leave out nothing is waited for
                if untouched or barred.code in _NEVER_OPENED:
                    empty = Note(found.path, "", (), {}, (), None)
                    out.append(ScannedNote(empty, barred, found.stamp, ""))
                    continue
                try:
                    data = walking.read_bytes(way, found.place)
                    texts.append((found.path, data))
                    out.append(_Opened(found, hashlib.sha256(data).hexdigest()))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    note = unreadable(found.path, _reason(error))
                    out.append(ScannedNote(note, self.rules.judge(note), found.stamp, ""))
        return out

    def _judged(
        self, taken: list[ScannedNote | _Opened], reading: Future[list[Note]]
    ) -> list[ScannedNote]:
        notes = iter(reading.result())
        out: list[ScannedNote] = []
        for one in taken:
            if isinstance(one, ScannedNote):
                out.append(one)
                continue
            note = next(notes)
            judged = self.rules.judge(note)
            out.append(ScannedNote(note, judged, one.found.stamp, one.digest, self._read_by))
        return out


def _parts(files: Iterable[FoundFile]) -> Iterator[list[FoundFile]]:
    """Parts of some files that are read at once: 1 MB, or one file."""
    part: list[FoundFile] = []
    size = 0
    for found in files:
        if part and size + found.stamp.size > _PART_BYTES:
            yield part
            part, size = [], 0
        part.append(found)
        size += found.stamp.size
    if part:
        yield part


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "you may not read it"
    if error.errno == errno.EFBIG:
        return "it is longer than 16 MB"
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a link took its place or its folder's"
    return f"the disk says {type(error).__name__}, {error.errno}"
