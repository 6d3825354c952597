"""Small ways to write a vault and to read one text. Knows nothing about what is tested."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import Entry, Note
from vaultgpt.vault.note import read_note


def note_of(text: str | bytes, path: str = "A walk.md") -> Note:
    data = text.encode("utf-8") if isinstance(text, str) else text
    return read_note(path, data, DailyFormat())


def entry_of(text: str | bytes, path: str = "A walk.md") -> Entry:
    (entry,) = note_of(text, path).entries
    return entry


def kinds(text: str, path: str = "A walk.md") -> list[tuple[str, str]]:
    """(kind, characters) of everything that is not prose."""
    return [
        (span.kind, entry.text[span.start : span.end])
        for entry in note_of(text, path).entries
        for span in entry.spans
        if span.kind != "prose"
    ]


def prose(text: str | bytes, path: str = "A walk.md") -> str:
    return "".join(entry.prose for entry in note_of(text, path).entries)


def write(vault: Path, path: str, text: str = "I walked to the river today.\n") -> Path:
    place = vault / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text.encode("utf-8"))
    return place


def covered(note: Note) -> None:
    """Entries partition the text; spans cover each entry without gap or overlap."""
    at = 0
    for entry in note.entries:
        assert entry.start == at
        assert entry.text == note.text[at : at + len(entry.text)]
        at += len(entry.text)
        edge = 0
        for span in entry.spans:
            assert span.start == edge and span.end > span.start
            edge = span.end
        assert edge == len(entry.text)
    assert at == len(note.text)


def close_folder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The folder of this name can't be opened: tests may run as root, whom no mode stops."""
    opening = os.open

    def refuse(place: Any, *rest: Any, **more: Any) -> int:
        if str(place).endswith(name):
            raise PermissionError(13, "denied")
        return opening(place, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
