"""Bytes of a file to text, with nothing lost. Knows nothing about Markdown.

Line ends stay as they are: offsets into a note are characters of this text.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Decoded:
    """The text of a file, or None for one that is not text, and what was odd about it."""

    text: str | None
    problem: str | None


def decode(data: bytes) -> Decoded:
    """UTF-8, UTF-16 or UTF-32 by byte-order mark, else UTF-8, else Latin-1. Never raises."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    problem = None
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding in ("utf-16", "utf-32"):
            text = data.decode(encoding, errors="replace")
            problem = f"a part is not valid {encoding.upper()}"
        else:
            text = data.removeprefix(codecs.BOM_UTF8).decode("latin-1")
            problem = "it is not UTF-8 and was read as Latin-1"
    if "\0" in text:
        return Decoded(None, "it holds NUL bytes, so it is not text")
    return Decoded(text, problem)
