"""Drafts as notes of a vault: front matter, a name of their own, and each of them once.

Nothing is ever written over; what was imported before is known by `imported` in its front matter,
wherever in the vault it lies now. Knows nothing about formats.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from vaultgpt.errors import UsageError, VaultError
from vaultgpt.importing.source import Draft
from vaultgpt.vault.walk import walk

_KEY = "imported"
_HEAD_BYTES = 1 << 16
_SEEN = re.compile(rb"^imported: [\"']?([^\s\"']+)", re.MULTILINE)
_BARRED = re.compile(r'[\\/:*?"<>|#^\[\]\x00-\x1f\x7f]+')
_DATE = re.compile(r"\d{4}(?:-\d\d(?:-\d\d(?:T\d\d:\d\d:\d\d)?)?)?")
_LONGEST_NAME = 80  # characters
_HALF = ".vaultgpt-"  # begins the name of a note that is half written
_WRITING_S = 600.0  # a living import needs seconds for one


@dataclass(frozen=True)
class Preview:
    """What an import would write: each path, relative to the vault, with its text."""

    folder: Path  # in the vault
    notes: tuple[tuple[Path, str], ...]
    known: int  # were imported before


def preview(vault: Path, into: str, drafts: Iterable[Draft]) -> Preview:
    """Which of the drafts are new to the vault, and as which files. UsageError, VaultError."""
    vault = Path(os.path.realpath(vault))
    folder = Path(os.path.realpath(vault / into))
    if not folder.is_relative_to(vault):
        raise UsageError(f"{folder} lies outside the vault.", "Give a folder inside it.")
    if any(part.startswith(".") for part in folder.relative_to(vault).parts):
        raise UsageError(f"{folder} is hidden: no note is read there.", "Give another folder.")
    if folder.exists() and not folder.is_dir():
        raise VaultError(f"{folder} is a file.", "Give a folder.")
    seen, taken = _imported(vault), {p.name.casefold() for p in _files(folder)}
    notes, known = [], 0
    for draft in map(_plain, drafts):
        if draft.key in seen:
            known += 1
            continue
        seen.add(draft.key)
        name = _free_name(draft, taken)
        taken.add(name.casefold())
        notes.append((folder.relative_to(vault) / name, _note(draft)))
    return Preview(folder, tuple(notes), known)


def _plain(draft: Draft) -> Draft:
    """With a key and a date that can only be that, whatever an export says."""
    date = draft.date if _DATE.fullmatch(draft.date) else ""
    return replace(draft, key=re.sub(r"[^\w/.-]+", "-", draft.key)[:120], date=date)


def write(vault: Path, planned: Preview) -> int:
    """Write what was planned; how many notes. What stands there by now is left as it is.

    VaultError where the vault's disk takes no more."""
    written = 0
    try:
        planned.folder.mkdir(parents=True, exist_ok=True)
        _sweep(planned.folder, time.time())
        for path, text in planned.notes:
            written += _write_new(vault / path, text)
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise VaultError(
            f"{planned.folder} takes no more ({why}): {written:,} of {len(planned.notes):,} notes "
            "are written.",
            "Make room there or mend it, and import again: what is there is not written twice.",
        ) from None
    return written


def _sweep(folder: Path, now: float) -> None:
    """Remove what imports that were killed left half written."""
    for half in folder.glob(f"{_HALF}*.tmp"):
        with contextlib.suppress(OSError):
            if now - half.stat().st_mtime > _WRITING_S:
                half.unlink()


def _write_new(path: Path, text: str) -> bool:
    """A whole note under its name, or nothing; False where something has that name already."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=_HALF, suffix=".tmp")
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)  # as any other note of the author's
        try:
            os.link(name, path)
        except FileExistsError:
            return False
        except OSError:  # a disk without links
            if path.exists():
                return False
            os.rename(name, path)
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _imported(vault: Path) -> set[str]:
    """Keys of all notes that were imported before, those in the cloud too. VaultError."""
    found: set[str] = set()
    for note in walk(vault).files.values():
        with contextlib.suppress(OSError), open(note.place, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
            if head.startswith(b"---"):
                found |= {m.decode("utf-8", "replace") for m in _SEEN.findall(head)}
    return found


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _free_name(draft: Draft, taken: set[str]) -> str:
    stem = _BARRED.sub(" ", unicodedata.normalize("NFC", f"{draft.date[:10]} {draft.title}"))
    stem = " ".join(stem.split())[:_LONGEST_NAME].strip(" .") or f"Note {draft.key[-8:]}"
    number, name = 1, f"{stem}.md"
    while name.casefold() in taken:
        number += 1
        name = f"{stem} {number}.md"
    return name


def _note(draft: Draft) -> str:
    """Front matter that Obsidian and our reader understand, and the text."""
    lines = [f"date: {draft.date}"] if draft.date else []
    if draft.title:
        lines.append(f"title: {json.dumps(draft.title, ensure_ascii=False)}")
    if tags := list(dict.fromkeys(t for tag in draft.tags if (t := _tag(tag)))):
        lines += ["tags:", *(f"  - {json.dumps(tag, ensure_ascii=False)}" for tag in tags)]
    lines.append(f"{_KEY}: {draft.key}")
    more = {k: v for k, v in draft.more.items() if k not in (_KEY, "date", "title", "tags")}
    if more:
        lines += yaml.safe_dump(more, allow_unicode=True, sort_keys=False).rstrip().split("\n")
    return "---\n" + "\n".join(lines) + f"\n---\n{draft.text.strip()}\n"


def _tag(text: str) -> str:
    """A tag as Obsidian takes it: no spaces, no marks but "/", "-" and "_"."""
    return re.sub(r"[^\w/-]+", "-", unicodedata.normalize("NFC", text.strip())).strip("-/")
