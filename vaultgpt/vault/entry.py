"""The nouns of a vault: tag, Span, Entry, Note. Knows nothing about parsing, disks or training.

A tag is what Obsidian counts as one; spans.py keeps it out of code, links and headings.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from vaultgpt.corpus.words import count_words

# What each stretch of a note is. Only "prose" is learned. "context" kinds stay in the text that the
# model reads but carry no loss; "left out" kinds never reach it.
Kind = Literal[
    "prose",
    # context: read, not learned
    "quote",
    "code",
    "url",
    "embed",
    "template",
    "html",
    "secret",
    "callout",
    # left out
    "front_matter",
    "dataview",
    "comment",
    "tags",
    "title",
    "date_heading",
    "math",
]
LEFT_OUT: frozenset[str] = frozenset(
    {"front_matter", "dataview", "comment", "tags", "title", "date_heading"}
)


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of an entry's text and what they are."""

    start: int
    end: int
    kind: Kind


Mark = tuple[int, int, Kind]  # a Span, of the whole text


@dataclass(frozen=True)
class Entry:
    """One note, or one dated section of it. Offsets are characters of the decoded file."""

    path: str  # POSIX, relative to the vault, NFC
    heading: str | None  # the date heading that opens the section; None for a whole note
    title: str | None  # None where the title is only a date
    date: str | None  # "2019", "2019-03" or "2019-03-14"; None is undated
    tags: tuple[str, ...]  # lower-case, without "#", in order of appearance, "a/b" for nested ones
    text: str  # exactly the file's characters from `start` on
    start: int
    spans: tuple[Span, ...]  # cover `text` without gap or overlap, in order
    id: str = ""  # random, given by the ledger

    @property
    def prose(self) -> str:
        """The author's own words: all prose spans, joined."""
        return "".join(self.text[s.start : s.end] for s in self.spans if s.kind == "prose")

    def document(self) -> tuple[str, list[tuple[int, int]]]:
        """The text the model reads (no left-out kinds), and its [start, end) unlearned parts."""
        parts: list[str] = []
        masked: list[tuple[int, int]] = []
        at = 0
        for span in self.spans:
            if span.kind in LEFT_OUT:
                continue
            piece = self.text[span.start : span.end]
            if span.kind != "prose":
                masked.append((at, at + len(piece)))
            parts.append(piece)
            at += len(piece)
        return "".join(parts), masked


@dataclass(frozen=True)
class Note:
    """One file as it was read: its entries, and what the rules need to judge it."""

    path: str
    text: str  # decoded, nothing lost; "" when unreadable
    entries: tuple[Entry, ...]
    properties: dict[str, object]  # the few scalar front matter keys that rules read, lower-cased
    tags: tuple[str, ...]  # of the whole note
    problem: str | None  # a sentence without prose, e.g. "front matter is not valid YAML"
    head: int = 0  # characters before the body: front matter, whether it could be read or not
    opened: int | None = None  # where a fence begins that is never closed

    @cached_property
    def words(self) -> int:
        """Words of prose, counted when first asked for."""
        return sum(count_words(entry.prose) for entry in self.entries)

    def __getstate__(self) -> dict[str, object]:
        """For a pipe, without what the entries say together: of a journal of days all of it."""
        state = dict(vars(self))
        if "".join(entry.text for entry in self.entries) == self.text:
            del state["text"]
        return state

    def __setstate__(self, state: Mapping[str, object]) -> None:
        vars(self).update(state)
        if "text" not in state:
            vars(self)["text"] = "".join(entry.text for entry in self.entries)


TOO_LONG = "reading it takes too long"
CRASHED = "reading it ends the reader"


def unreadable(path: str, problem: str) -> Note:
    """A note whose text can't be had."""
    return Note(path, "", (), {}, (), problem)


@dataclass(frozen=True)
class Judgement:
    """Whether the rules let a note be used, and why, as a short code and as a sentence."""

    used: bool
    code: str  # "" when used; else e.g. "folder", "pattern", "tag", "template", "clipping"
    why: str


class NoteFacts(NamedTuple):
    """What a scan found of one note, in short."""

    path: str
    used: bool
    code: str  # of the rule that leaves it out
    words: int  # of prose
    problem: bool
    times: int = 1  # so many notes alike, told together

    @property
    def troubled(self) -> bool:
        """Whether its problem changes what is learned: not that of one that a rule leaves out."""
        return self.problem and (self.used or self.code in ("unreadable", "quarantined"))


# Obsidian's own definition: everything but white space and punctuation, save "_", "-" and "/".
_TAG_CHARS = r"[^\u2000-\u206F\u2E00-\u2E7F'!\"#$%&()*+,.:;<=>?@^`{|}~\[\]\\\s]"
INLINE = re.compile(rf"#({_TAG_CHARS}+)")
_GAP = "[ \t,;\u00a0\u3000]*"
TAG_LINE = re.compile(rf"[ \t]*(?:[Tt]ags?[ \t]*::?[ \t]*)?(#{_TAG_CHARS}+{_GAP})+(?=\r?\n|\Z)")
_SPLIT = re.compile(r"[\s,;]+")
_SIGNS = re.compile(
    "[\u3001-\u3003\u3008-\u3020\uff01-\uff0c\uff0e\uff1a-\uff20\uff3b-\uff3d\uff5b-\uff65"
    "\u060c\u061b\u061f\u06d4\u0964\u0965\u00a1-\u00bf]+"
)
_MOST = 2_000  # values of one note that are looked at
_NOTHING = frozenset({"", "null", "~"})
# Under these names people keep verse: as a tag, a folder or the language of a fenced block.
_VERSE = frozenset(
    ["poem", "poems", "poetry", "verse", "lyrics", "gedicht", "gedichte", "poésie", "poesía"]
)


def clean_tag(name: str) -> str | None:
    """Lower-case, without "#", quotes and a trailing "/"; None when nothing is left."""
    name = name.strip("\"'[](){}").lstrip("#").strip("/").lower()
    name = name if name.isascii() else unicodedata.normalize("NFC", name)
    return None if name in _NOTHING else name


def inline_tag(name: str) -> str | None:
    """The tag of `#name` in the text; None for `#1`, which Obsidian takes for a number."""
    tag = clean_tag(name)
    return tag if tag and not tag.isdigit() else None


def unique(tags: Iterable[str]) -> tuple[str, ...]:
    """Each tag once, in order of appearance."""
    return tuple(dict.fromkeys(tags))


def property_tags(value: object) -> tuple[str, ...]:
    """Tags of a front matter value: a list, nested lists, or a string with commas or spaces."""
    found: list[str] = []
    waiting: list[object] = [value]
    for _ in range(_MOST):
        if not waiting:
            break
        item = waiting.pop(0)
        if isinstance(item, (list, tuple)):
            waiting[:0] = item
        elif isinstance(item, str):
            found += [tag for part in _SPLIT.split(item) if (tag := clean_tag(part))]
    return unique(found)


def below(tag: str, parent: str) -> bool:
    """Whether `tag` is `parent` or nested under it."""
    return tag == parent or tag.startswith(parent + "/")


def parts(tag: str) -> list[str]:
    """A tag, and what it holds between signs of East Asia and the like, which Obsidian lets stand
    in it: "private。今天" was meant as "private"."""
    return [tag] if tag.isascii() else [tag, *filter(None, _SIGNS.split(tag))]


def names_verse(name: str) -> bool:
    """Whether a tag (with or without its "#"; "poetry/2019" too) or a folder's name says so."""
    return name.lstrip("#").split("/")[0].lower() in _VERSE
