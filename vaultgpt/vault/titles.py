"""The title of a note: its first heading, its property, or its file's name.

Knows nothing about the prose; a date is no title, nor is "Untitled 3".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath

from vaultgpt.vault.dates import heading_date, leading_date, parse_date
from vaultgpt.vault.tags import INLINE

_NAMELESS = re.compile(
    r"(?:untitled|unbenannt|sans titre|sin título|senza titolo|naamloos|sem título|new note|"
    r"neue notiz|drawing|pasted|note)?[ _-]*[\d.,() _-]*|[0-9a-f-]{16,}",
    re.IGNORECASE,
)
_SERIAL = re.compile(r"([^\W\d]+)[ _-]*\d+")
_LINK = re.compile(r"\[\[(?:[^\]|]{0,300}\|)?([^\]|]{0,300})\]\]|\[([^\]]{0,300})\]\([^)]{0,500}\)")
_EMPHASIS = re.compile(r"\*{1,3}|`|==|~~|(?<!\w)_{1,3}(?=\w)|(?<=[\w.!?])_{1,3}(?!\w)")
_LONGEST = 200  # characters


def clean_title(text: str) -> str | None:
    """A heading or property as plain words, on one line; None when nothing is left."""
    text = _LINK.sub(lambda m: m[1] or m[2] or "", text[:1000])
    text = INLINE.sub("", text)
    text = _EMPHASIS.sub("", text)
    return " ".join(text.split())[:_LONGEST].strip() or None


def title_of_name(path: str, tags: Collection[str]) -> str | None:
    """The file's name as a title; None for a date, "Untitled 3", or "poetry 433" in Poetry/."""
    pure = PurePosixPath(path)
    stem = re.sub(r"\.(md|markdown)\Z", "", pure.name, flags=re.IGNORECASE).strip()
    if parse_date(stem):
        return None
    found = leading_date(stem) or heading_date(stem)
    if found and (found.day or found.rest.strip()[:1] in "-–—_"):
        stem = found.rest.strip(" \t-–—_:,.")
    if _NAMELESS.fullmatch(stem):
        return None
    kinds = {part.lower() for part in (*pure.parts[-2:-1], *tags)}
    if (m := _SERIAL.fullmatch(stem)) and {m[1].lower(), m[1].lower() + "s"} & kinds:
        return None
    return stem[:_LONGEST] or None
