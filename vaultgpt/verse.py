"""The names under which people keep verse: as a tag, a folder or the language of a fenced block."""

from __future__ import annotations

NAMES = frozenset(
    ["poem", "poems", "poetry", "verse", "lyrics", "gedicht", "gedichte", "poésie", "poesía"]
)


def names_verse(name: str) -> bool:
    """Whether a tag (with or without its "#"; "poetry/2019" too) or a folder's name says so."""
    return name.lstrip("#").split("/")[0].lower() in NAMES
