"""The daemon's log: what happened and to which id, an exception by its class alone.

Knows nothing about the daemon. No prose and no titles: foreign messages are not written down.
"""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from vaultgpt.files import PRIVATE_FILE, make_private_dir

MAX_BYTES = 1 << 20
BACKUPS = 3
log = logging.getLogger("vaultgpt.daemon")


class PrivateFile(RotatingFileHandler):
    """A rotating file that only its owner reads."""

    def _open(self) -> IO[str]:  # type: ignore[override]
        fd = os.open(self.baseFilename, os.O_APPEND | os.O_CREAT | os.O_WRONLY, PRIVATE_FILE)
        return os.fdopen(fd, "a", encoding="utf-8")


class NamesOnly(logging.Formatter):
    """Our own messages as they are; of other libraries' only logger, level and exception class."""

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.split(".")[0] == "vaultgpt"
        kind = record.exc_info[0] if record.exc_info else None
        text = record.getMessage() if ours else ""
        head = f"{self.formatTime(record)} {record.levelname} {record.name}"
        return " ".join(filter(None, [head, text, kind.__name__ if kind else ""]))


def start_log(folder: Path) -> logging.Handler:
    """Write to daemon.log in `folder`, and what others log too, without its words."""
    make_private_dir(folder)
    handler = PrivateFile(folder / "daemon.log", maxBytes=MAX_BYTES, backupCount=BACKUPS,
                          encoding="utf-8", delay=True)
    handler.setFormatter(NamesOnly())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("vaultgpt").setLevel(logging.INFO)
    return handler


def stop_log(handler: logging.Handler) -> None:
    """Close what start_log opened."""
    logging.getLogger().removeHandler(handler)
    handler.close()
