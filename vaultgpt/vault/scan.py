"""The folder against what is known of it: stat first, read what changed, judge what was read.

Knows nothing about the ledger. The watcher is a hint; this is the truth.
"""

from __future__ import annotations

import errno
import hashlib
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vaultgpt.config import Rules
from vaultgpt.errors import NotFound, UsageError
from vaultgpt.vault import walk as walking
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import Judgement, Note
from vaultgpt.vault.note import read_note, unreadable
from vaultgpt.vault.rules import RuleSet
from vaultgpt.vault.walk import FileStamp, Found

__all__ = ["FileStamp", "Scan", "ScannedNote", "find_one", "read_one", "read_vault"]

_UNTOUCHED = {
    "symlink": Judgement(False, "symlink", "It is a symbolic link, which is not followed."),
    "placeholder": Judgement(False, "placeholder", "It lies in the cloud, not on this machine."),
}
_NEVER_OPENED = frozenset({*_UNTOUCHED, "conflict copy"})


@dataclass(frozen=True)
class ScannedNote:
    """One file as it was found: its note, whether it is used, its stamp and its content's hash.

    Links, conflict copies and files in the cloud are not opened: an empty note, the digest "".
    """

    note: Note
    judgement: Judgement
    stamp: FileStamp
    digest: str  # SHA-256 of the bytes, hex


@dataclass(frozen=True)
class Scan:
    """The vault now, against the stamps that were known before."""

    stamps: dict[str, FileStamp]  # every note there is, and those in folders that can't be listed
    read: list[ScannedNote]  # new or changed
    unchanged: list[str]
    gone: list[str]
    rules: str = ""  # fingerprint of the rules; when it changes, unchanged notes need a new scan


def read_vault(vault: Path, rules: Rules, known: Mapping[str, FileStamp] = {}) -> Scan:
    """Read the notes whose stamp differs from `known`; all when it is empty.

    Unchanged notes are not judged anew: when `Scan.rules` is not what it was, pass no `known`.
    VaultError when the vault itself is not there, so that a missing drive deletes nothing.
    """
    reader = _Reader(vault, rules)
    tree = walking.walk(vault)
    stamps = {path: found.stamp for path, found in tree.files.items()}
    hidden = (
        {
            path: stamp
            for path, stamp in known.items()
            if path not in stamps and path.startswith(tuple(tree.closed))
        }
        if tree.closed
        else {}
    )
    read: list[ScannedNote] = []
    unchanged = list(hidden)
    for path, found in tree.files.items():
        if known.get(path) == found.stamp:
            unchanged.append(path)
        elif (scanned := reader.read(found)) is None:
            del stamps[path]  # it vanished after it was listed
        else:
            read.append(scanned)
    gone = [path for path in known if path not in stamps and path not in hidden]
    return Scan({**stamps, **hidden}, read, unchanged, gone, reader.fingerprint())


def fingerprint(vault: Path, rules: Rules) -> str:
    """What `Scan.rules` would be now, without reading a note."""
    return _Reader(vault, rules).fingerprint()


def read_one(vault: Path, rules: Rules, path: str) -> ScannedNote:
    """Read one note by its path in the vault.

    UsageError for a path that leads outside or through a link, NotFound for no such note.
    """
    scanned = _Reader(vault, rules).read(find_one(vault, path))
    if scanned is None:
        raise NotFound("There is no such note in the vault.", "It vanished just now.")
    return scanned


def find_one(vault: Path, path: str) -> Found:
    """Where one note lies, without opening it. Errors as `read_one`."""
    inside = _inside(vault, path)
    place = str(vault)
    for place in walking.resolve(vault, inside):
        if os.path.islink(place):
            raise UsageError("That path goes through a symbolic link.", "Links are not followed.")
    real = Path(os.path.realpath(place))
    if Path(os.path.realpath(vault)) not in real.parents:
        raise UsageError("That path lies outside the vault.", "Give a note of this vault.")
    if not os.path.isfile(place) or not walking.is_markdown(PurePosixPath(inside).name):
        raise NotFound("There is no such note in the vault.", "Give its path inside the vault.")
    index_path = unicodedata.normalize("NFC", Path(place).relative_to(vault).as_posix())
    status = os.stat(place, follow_symlinks=False)
    code = "placeholder" if walking.is_dataless(status) else ""
    return Found(index_path, place, walking.stamp_of(status), code)


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


class _Reader:
    """Reads and judges single files of one vault under one rule set."""

    def __init__(self, vault: Path, rules: Rules) -> None:
        self.rules = RuleSet.load(vault, rules)
        self.daily = DailyFormat.load(vault)

    def fingerprint(self) -> str:
        """Hash of everything but the notes themselves that decides what is read from them."""
        return hashlib.sha256(repr((self.rules.sources(), self.daily)).encode()).hexdigest()

    def read(self, found: Found) -> ScannedNote | None:
        """The file's note; None when it is gone."""
        barred = _UNTOUCHED.get(found.code) or self.rules.judge_path(found.path)
        if barred.code in _NEVER_OPENED:
            return ScannedNote(Note(found.path, "", (), {}, (), None, 0), barred, found.stamp, "")
        try:
            data = walking.read_bytes(found.place)
        except FileNotFoundError:
            return None
        except OSError as error:
            note = unreadable(found.path, _reason(error))
            return ScannedNote(note, self.rules.judge(note), found.stamp, "")
        note = read_note(found.path, data, self.daily)
        return ScannedNote(
            note, self.rules.judge(note), found.stamp, hashlib.sha256(data).hexdigest()
        )


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "you may not read it"
    if error.errno == errno.EFBIG:
        return "it is longer than 16 MB"
    return f"the disk says {type(error).__name__}, {error.errno}"
