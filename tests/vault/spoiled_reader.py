"""The reader's process with faults that a note asks for: one that never ends, one that kills it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vaultgpt.vault import reading
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import Note

_read = reading._read
_ROOT = str(Path(__file__).parent.parent.parent)
COMMAND = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {_ROOT!r}); import runpy; "
    "runpy.run_module('tests.vault.spoiled_reader', run_name='__main__')",
)


def read(path: str, data: bytes | str, daily: DailyFormat) -> Note:
    """As the real one, but for two sentences."""
    said = data if isinstance(data, str) else data.decode()
    while "for ever" in said:
        pass
    if "at once" in said:
        os._exit(3)
    return _read(path, data, daily)


if __name__ == "__main__":
    vars(reading).update(_read=read)
    reading.main()
