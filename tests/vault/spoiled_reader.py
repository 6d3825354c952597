"""The reader's process with faults that a note asks for: one that never ends, one that kills it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vaultgpt.vault import reading
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import Note
from vaultgpt.vault.note import read_note as _read
from vaultgpt.vault.note import read_text as _read_text

_ROOT = str(Path(__file__).parent.parent.parent)
COMMAND = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {_ROOT!r}); import runpy; "
    "runpy.run_module('tests.vault.spoiled_reader', run_name='__main__')",
)


def read_note(path: str, data: bytes, daily: DailyFormat) -> Note:
    """As the real one, but for two sentences."""
    while b"for ever" in data:
        pass
    if b"at once" in data:
        os._exit(3)
    return _read(path, data, daily)


def read_text(path: str, text: str, daily: DailyFormat) -> Note:
    """An editor's text, likewise."""
    read_note(path, text.encode(), daily)
    return _read_text(path, text, daily)


if __name__ == "__main__":
    vars(reading).update(read_note=read_note, read_text=read_text)
    reading.main()
