"""What a base's files are known to hold: SHA-256 remembered by size, time and inode, and checked.

The one place where a base's bytes are hashed. Knows nothing about what the files mean.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from vaultgpt.bases.catalogue import PEBBLE
from vaultgpt.bases.model import Base
from vaultgpt.errors import BaseModelError
from vaultgpt.files import read_json, sha256_file, write_json
from vaultgpt.state import state_root

RECORD = "vaultgpt-base.json"  # in the folder of a model that we brought: where it is from


class Record(TypedDict):
    """What is noted beside a model that we brought."""

    revision: str
    sha256: dict[str, str]
    name: NotRequired[str]  # on the hub
    names: NotRequired[list[str]]  # of an unpacked file, whatever it was called
    source: NotRequired[dict[str, str | int]]  # that file, its hash and its bytes
    lost: NotRequired[str]  # a sentence on what its packing cost
    chat: NotRequired[bool]


class HashCache:
    """Hashes remembered under the state root; a mere cache, written by `save`."""

    def __init__(self) -> None:
        self._path, self._changed = state_root() / "hashes.json", False
        try:
            self._known: dict[str, object] = dict(read_json(self._path))
        except (OSError, ValueError, TypeError):
            self._known = {}

    def knows(self, file: Path) -> bool:
        """Whether the file was hashed and its size, time and inode are those of then."""
        found = self._known.get(str(file))
        return isinstance(found, list) and file.is_file() and found[:-1] == _stamp(file)

    def sha256(self, file: Path) -> str:
        """The file's hash, from memory while nothing about it has changed. OSError."""
        if not self.knows(file):
            self._known[str(file)] = [*_stamp(file), sha256_file(file)]
            self._changed = True
        found = self._known[str(file)]
        assert isinstance(found, list)
        return str(found[-1])

    def forget(self, file: Path) -> None:
        """Hash it anew the next time."""
        self._changed |= self._known.pop(str(file), None) is not None

    def forget_below(self, folder: Path) -> None:
        """Nothing is kept of the files in a folder: it is to leave no trace."""
        kept = {f: found for f, found in self._known.items() if not Path(f).is_relative_to(folder)}
        self._changed |= len(kept) < len(self._known)
        self._known = kept

    def save(self) -> None:
        if self._changed and self._path.parent.is_dir():
            with contextlib.suppress(OSError):  # the next call hashes again
                write_json(self._path, self._known)
            self._changed = False


def read_record(folder: Path, name: str) -> Record:
    """What was noted when the model came. BaseModelError."""
    try:
        record = cast(Record, dict(read_json(folder / RECORD)))
        revision, sha256 = str(record["revision"]), dict(record["sha256"])
        return {**record, "revision": revision, "sha256": sha256}
    except (OSError, ValueError, KeyError, TypeError):
        raise BaseModelError(
            f"The record of {name} is damaged.", f"Delete {folder} and run `vaultgpt base {name}`."
        ) from None


def check_recorded(folder: Path, name: str, recorded: Mapping[str, str]) -> None:
    """BaseModelError naming the first file that is not what was recorded when it came.

    Only what changed on disk since the last look is read, so that this may stand before each use.
    """
    hashes = HashCache()
    try:
        bad = next((f for f, h in recorded.items() if hashes.sha256(folder / f) != h), None)
    except OSError as error:
        missing = Path(str(error.filename or folder)).name
        raise _damaged(missing, name, folder) from None
    hashes.save()
    if bad is not None:
        raise _damaged(bad, name, folder)


def verify(base: Base) -> None:
    """Read every file again; BaseModelError naming the first that is not what was recorded."""
    hashes = HashCache()
    for file in base.sha256:
        hashes.forget(base.folder / file)
    hashes.save()
    check_recorded(base.folder, base.name, base.sha256)


def _damaged(file: str, name: str, folder: Path) -> BaseModelError:
    """For a file of a base that is not as it was."""
    mend = f"Delete {folder} and run `vaultgpt base {name}`."
    if name == PEBBLE:
        mend = "Install vaultgpt again."
    elif name == str(folder):
        mend = f"Bring it back, or take the folder as it is now with `vaultgpt base {name}`."
    return BaseModelError(f"{file} of {name} is damaged or missing.", mend)


def _stamp(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
