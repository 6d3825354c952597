"""A folder, a zip or a tar as one kind of thing: names, texts, and where a photo of it lies.

Nothing is unpacked: a photo in an archive is linked as the archive. Knows nothing about formats.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import quote

from vaultgpt.errors import UsageError

_MOST_BYTES = 64 << 20  # of one text; more is no page, or a bomb


@dataclass(frozen=True)
class Draft:
    """One note to be. `key` tells it from every other one, now and at the next import."""

    key: str  # "dayone/5A3F..."
    text: str  # Markdown, without front matter
    title: str = ""
    date: str = ""  # "2019-03-04" or "2019-03-04T18:30:00", where it was written
    tags: tuple[str, ...] = ()
    more: dict[str, object] = field(default_factory=dict)  # other front matter, as it is to stand


class Source:
    """What was exported. `names` are POSIX and sorted; what is hidden is left out."""

    def __init__(self, path: Path, file_dates: bool = False) -> None:
        self.file_dates = file_dates  # a file's time counts where nothing else tells a date
        self.path = Path(os.path.realpath(path))
        self.is_folder = self.path.is_dir()
        self._zip = self._tar = None
        self._members: dict[str, tarfile.TarInfo] = {}  # of a tar, by name
        try:
            if not self.is_folder and zipfile.is_zipfile(self.path):
                self._zip = _innermost(zipfile.ZipFile(self.path))
            elif not self.is_folder and self.path.suffix in (".jex", ".tar"):
                self._tar = tarfile.open(self.path)  # noqa: SIM115 - held as long as it is read
                files = [m for m in self._tar.getmembers() if m.isfile()]
                self._members = {m.name.removeprefix("./"): m for m in reversed(files)}
        except (OSError, RuntimeError, zipfile.BadZipFile, tarfile.TarError):
            raise _damaged(self.path) from None
        self.names = tuple(sorted(filter(_shown, self._all())))
        self._there = frozenset(self.names)

    def _all(self) -> Iterator[str]:
        if self._zip is not None:
            yield from (i.filename for i in self._zip.infolist() if not i.is_dir())
        elif self._tar is not None:
            yield from self._members
        elif self.is_folder:
            for place, folders, files in os.walk(self.path):
                folders[:] = [name for name in folders if not name.startswith(".")]
                inner = Path(place).relative_to(self.path)
                yield from ((inner / name).as_posix() for name in files)
        else:
            yield self.path.name

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """One of `names` as a stream. UsageError where it is locked or damaged."""
        try:
            if self._zip is not None:
                stream: IO[bytes] = self._zip.open(name)
            elif self._tar is not None:
                stream = self._tar.extractfile(self._members[name]) or io.BytesIO()
            else:
                stream = self.place(name).open("rb")
            with stream:
                yield stream
        except (OSError, RuntimeError, zlib.error, zipfile.BadZipFile, tarfile.TarError, EOFError):
            raise _damaged(self.path) from None

    def read(self, name: str) -> bytes:
        """The bytes of one of `names`. UsageError where they are too many for a text."""
        with self.open(name) as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UsageError(f"A text in {self.path} is larger than 64 MB.", "Export less at once.")
        return data

    def text(self, name: str) -> str:
        """A text: UTF-8, UTF-16 with its mark, else Windows' Latin; lines end as in Unix."""
        data = self.read(name)
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            text = data.decode("utf-16", "replace")
        else:
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError:
                text = data.decode("cp1252", "replace")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def place(self, name: str) -> Path:
        """Where a file of a folder lies."""
        return self.path / name if self.is_folder else self.path

    def time(self, name: str) -> str:
        """When a file of a folder was last changed, where that is to count; else ""."""
        if not (self.file_dates and self.is_folder):
            return ""
        changed = datetime.datetime.fromtimestamp(self.place(name).stat().st_mtime)
        return changed.replace(microsecond=0).isoformat()

    def link(self, name: str, image: bool = True) -> str:
        """Markdown that shows a file where it lies, or leads to the archive that holds it."""
        label = PurePosixPath(name).name.replace("[", "(").replace("]", ")")
        if self.is_folder:
            return f"{'!' if image else ''}[{label}]({_url(self.path / name)})"
        return f"[{label}]({_url(self.path)})"

    def near(self, name: str, target: str) -> str | None:
        """The one of `names` that a link `target` in `name` means; None for none."""
        parts: list[str] = []
        for part in [*PurePosixPath(name).parent.parts, *target.split("/")]:
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        found = "/".join(parts)
        return found if found in self._there else None

    def named(self, wanted: str) -> str | None:
        """The first of `names` that is `wanted`, in whatever folder; None for none."""
        same = self._by_last_part.get(wanted.rpartition("/")[2], ())
        return next((name for name in same if f"/{name}".endswith(f"/{wanted}")), None)

    @cached_property
    def _by_last_part(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(name.rpartition("/")[2], []).append(name)
        return found

    def close(self) -> None:
        """Let go of the archive."""
        for archive in (self._zip, self._tar):
            if archive is not None:
                archive.close()


def _innermost(archive: zipfile.ZipFile) -> zipfile.ZipFile:
    """Notion packs its zip into another."""
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) == 1 and names[0].lower().endswith(".zip"):
        return zipfile.ZipFile(archive.open(names[0]))
    return archive


def _shown(name: str) -> bool:
    return not name.startswith("__MACOSX/") and not PurePosixPath(name).name.startswith(".")


def _damaged(path: Path) -> UsageError:
    return UsageError(
        f"{path} can't be read: it is damaged, or locked with a password.", "Export it again."
    )


def _url(path: Path) -> str:
    return "file://" + quote(path.as_posix(), safe="/:")


def wall_clock(moment: datetime.datetime, zone: datetime.tzinfo | None = None) -> str:
    """An aware moment as the clock showed it in `zone`, or here, to the second."""
    return moment.astimezone(zone).replace(tzinfo=None, microsecond=0).isoformat()


def digest(*parts: str) -> str:
    """A key for what has none of its own: the same words at the same time are the same note."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
