"""Tags: what Obsidian counts as one, in front matter and in the text.

Knows nothing about where a tag stands; spans.py keeps it out of code, links and headings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Obsidian's own definition: everything but white space and punctuation, save "_", "-" and "/".
TAG_CHARS = r"[^\u2000-\u206F\u2E00-\u2E7F'!\"#$%&()*+,.:;<=>?@^`{|}~\[\]\\\s]"
INLINE = re.compile(rf"#({TAG_CHARS}+)")
TAG_LINE = re.compile(rf"[ \t]*(?:[Tt]ags?[ \t]*::?[ \t]*)?(#{TAG_CHARS}+[ \t,;]*)+(?=\r?\n|\Z)")
_SPLIT = re.compile(r"[\s,;]+")
_NOTHING = frozenset({"", "null", "~"})


def clean_tag(name: str) -> str | None:
    """Lower-case, without "#", quotes and a trailing "/"; None when nothing is left."""
    name = name.strip("\"'[](){}").lstrip("#").strip("/").lower()
    return None if name in _NOTHING else name


def inline_tag(name: str) -> str | None:
    """The tag of `#name` in the text; None for `#1`, which Obsidian takes for a number."""
    tag = clean_tag(name)
    return tag if tag and not tag.replace("/", "").isdigit() else None


def unique(tags: Iterable[str]) -> tuple[str, ...]:
    """Each tag once, in order of appearance."""
    return tuple(dict.fromkeys(tags))


def property_tags(value: object) -> tuple[str, ...]:
    """Tags of a front matter value: a list, nested lists, or a string with commas or spaces."""
    found: list[str] = []
    waiting: list[object] = [value]
    while waiting and len(found) < 500:
        item = waiting.pop(0)
        if isinstance(item, (list, tuple)):
            waiting[:0] = item
        elif isinstance(item, str):
            found += [tag for part in _SPLIT.split(item) if (tag := clean_tag(part))]
    return unique(found)


def below(tag: str, parent: str) -> bool:
    """Whether `tag` is `parent` or nested under it."""
    return tag == parent or tag.startswith(parent + "/")
