"""Books cut into documents: a poem, a dated entry, a letter, or some pages of a chapter.

A share of the documents opens with the header line that vaultgpt puts before a vault's entries,
so that the base has met its shape: `#journal | 1894-03`. Knows nothing about tokens.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator

from .books import Book
from .clean import is_verse

HEADER_SHARE = 0.2
TITLE_SHARE = 0.5  # of the documents that have a heading, keep it as "# Heading"
HARD_BREAK_SHARE = 0.35  # of the verse documents end their lines as strict Markdown does
TARGET_CHARS = (1200, 7000)

TAGS = {
    "diaries-letters": ("journal", "letter", "diary"),
    "essays": ("essay", "thoughts"),
    "poetry": ("poetry", "poem"),
    "prose-modern": ("story", "fiction"),
    "prose": ("story", "fiction"),
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_YEAR = re.compile(r"\b(1[78]\d\d|19[0-2]\d)\b")
_MONTH = re.compile(r"\b(" + "|".join(_MONTHS) + r")[a-z]*\b", re.IGNORECASE)
_DATED = re.compile(
    r"^[*_\[(]*(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day|"
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december)\b)",
    re.IGNORECASE,
)


def split_book(book: Book, blocks: Iterable[str], rng: random.Random) -> Iterator[str]:
    """Documents of a book in order, cut at headings, dates and lengths that vary."""
    title, body = "", list[str]()
    limit = rng.randint(*TARGET_CHARS)
    for block in blocks:
        heading = is_heading(block)
        length = sum(map(len, body))
        dated = bool(_DATED.match(block)) and length > 600
        if body and (heading or dated or length > limit):
            yield render(book, title, body, rng)
            title, body = "", []
            limit = rng.randint(*TARGET_CHARS)
        if heading:
            title = block.strip()
        else:
            body.append(block)
    if body:
        yield render(book, title, body, rng)


def is_heading(block: str) -> bool:
    """A short line of its own without a full stop: a chapter's or a poem's title."""
    line = block.strip()
    if "\n" in line or len(line) > 70 or len(line) < 2 or not any(map(str.isalpha, line)):
        return False
    if line.endswith((",", ":", ";", "—")):  # a salutation or the start of a list
        return False
    return line.upper() == line or (line.istitle() and not line.endswith((".", "!")))


def render(book: Book, title: str, body: list[str], rng: random.Random) -> str:
    """One document as text: maybe a header line, maybe a heading, then the prose or verse."""
    text = "\n\n".join(body)
    verse = sum(len(block) for block in body if is_verse(block)) > 0.6 * len(text)
    if verse and rng.random() < HARD_BREAK_SHARE:
        text = re.sub(r"(?<=\S)\n(?=\S)", "  \n", text)
    numeral = re.fullmatch(r"[\W\dIVXLC]+|chapter .{1,8}", title, re.IGNORECASE)
    if title and not numeral and rng.random() < TITLE_SHARE:
        shown = title.title() if title.isupper() and rng.random() < 0.7 else title
        text = f"# {shown}\n{text}"
    if rng.random() < HEADER_SHARE:
        line = header(book, "poetry" if verse else book.category, title + "\n" + text, rng)
        text = f"{line}\n{text}" if line else text
    return text


def header(book: Book, category: str, text: str, rng: random.Random) -> str:
    """`#tag #tag | YYYY-MM` with parts left out at random; "" when nothing is left."""
    tags = [f"#{rng.choice(TAGS[category])}"] if rng.random() < 0.75 else []
    if category == "diaries-letters" and rng.random() < 0.15:
        tags.append("#" + rng.choice(("books", "family", "work")))
        rng.shuffle(tags)
    when = ""
    year = _YEAR.search(text[:400])
    if year and rng.random() < 0.6:
        month = _MONTH.search(text[:200])
        when = year.group(1)
        if month and rng.random() < 0.4:
            when += f"-{_MONTHS.index(month.group(1).lower()) + 1:02d}"
    return " | ".join(part for part in (" ".join(tags), when) if part)


class Deduplicator:
    """Drops paragraphs seen before in any book, and any that share a run with a shielded text."""

    RUN_WORDS = 12

    def __init__(self, shielded: Iterable[str] = ()) -> None:
        self._seen: set[bytes] = set()
        self._runs: set[int] = set()
        for text in shielded:
            self._runs.update(self._hashes(text))

    def admits(self, block: str) -> bool:
        key = hashlib.blake2b(" ".join(words_of(block)).encode(), digest_size=10).digest()
        if len(block) >= 80:
            if key in self._seen:
                return False
            self._seen.add(key)
        return not self._runs or self._runs.isdisjoint(self._hashes(block))

    def _hashes(self, text: str) -> Iterator[int]:
        words = words_of(text)
        for start in range(len(words) - self.RUN_WORDS + 1):
            yield hash(tuple(words[start : start + self.RUN_WORDS]))


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
