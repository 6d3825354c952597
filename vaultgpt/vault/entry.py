"""The nouns of a vault: Span, Entry, Note. Knows nothing about parsing, disks or training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class Entry:
    """One note, or one dated section of it. Offsets are characters of the decoded file."""

    path: str  # POSIX, relative to the vault, NFC
    heading: str | None  # the date heading that opens the section; None for a whole note
    ordinal: int  # 0 for the first entry of the file, and so on
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
    words: int  # of prose


@dataclass(frozen=True)
class Judgement:
    """Whether the rules let a note be used, and why, as a short code and as a sentence."""

    used: bool
    code: str  # "" when used; else e.g. "folder", "pattern", "tag", "template", "clipping"
    why: str
