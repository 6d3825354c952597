"""Paragraphs of an entry as keyed digests, and how alike two of them are.

Normal form: lower-case words without marks, so that a change of white space or quotes is no new
text. Knows nothing about SQLite.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import Hashes, WordHashes, run_hashes_of
from vaultgpt.corpus.words import norms, split_words
from vaultgpt.ledger.compact import as_unpacked, unpack_shingles
from vaultgpt.ledger.schema import kept_id, kept_text
from vaultgpt.vault.entry import Entry

_SHINGLE_WORDS = 5
_SAME_SHARE = 0.8  # of a paragraph's shingles that an older one must hold to be the same text
_BREAK = re.compile(r"(?:\r\n?|\n)(?:[ \t\f\v]*(?:\r\n?|\n))+")


@dataclass(frozen=True, slots=True)
class TextParagraph:
    """One paragraph (for verse, stanza): characters [start, end) of the document."""

    start: int
    end: int
    digest: str
    words: int  # of prose; 0 when all of it is masked


def _ranges(text: str) -> list[tuple[int, int]]:
    """[start, end) of the paragraphs of `text`: what stands between blank lines."""
    found, at = [], 0
    for gap in _BREAK.finditer(text):
        found.append((at, gap.start()))
        at = gap.end()
    found.append((at, len(text)))
    return [(s, e) for s, e in found if text[s:e].strip()]


def digest_of(words: Sequence[str], key: bytes) -> str:
    """16 hex digits of the keyed digest of normalised words."""
    body = " ".join(words).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(body, key=key[:64], digest_size=8, person=b"paragraph").hexdigest()


def split_paragraphs(
    text: str, masked: Sequence[tuple[int, int]], key: bytes
) -> list[TextParagraph]:
    """The paragraphs of a document that hold at least one word."""
    return [paragraph for paragraph, _ in _paragraphs_with_words(text, masked, key)]


def _paragraphs_with_words(
    text: str, masked: Sequence[tuple[int, int]], key: bytes
) -> Iterator[tuple[TextParagraph, list[str]]]:
    """The same one by one, each with its normalised words: of a long text they take twenty times
    its own room."""
    for start, end in _ranges(text):
        near = [(s - start, e - start) for s, e in masked if s < end and e > start]
        if near:
            words = split_words(text[start:end])
            prose = sum(not any(s <= w.start < e for s, e in near) for w in words)
            plain = [w.norm for w in words]
        else:
            plain = norms(text[start:end])
            prose = len(plain)
        if plain:
            yield TextParagraph(start, end, digest_of(plain, key), prose), plain


def shingles_of(paragraphs: Sequence[Hashes], key: bytes) -> list[Hashes]:
    """Each paragraph's sorted unique 5-word runs, from the hashes of its normalised words."""
    return run_hashes_of(paragraphs, _SHINGLE_WORDS, key)


def entry_places(entries: Sequence[Entry], key: bytes) -> list[str]:
    """A keyed hash of path, heading and rank among equal headings, one an entry."""
    seen: dict[str | None, int] = {}
    out = []
    for entry in entries:
        nth = seen.get(entry.heading, 0)
        seen[entry.heading] = nth + 1
        out.append(place_of(entry.path, entry.heading, nth, key))
    return out


def place_of(path: str, heading: str | None, nth: int, key: bytes) -> str:
    """The keyed hash of one place."""
    name = f"{path}\0{heading if heading is not None else chr(1)}\0{nth}".encode(
        "utf-8", "surrogatepass"
    )
    return hashlib.blake2b(name, key=key[:64], digest_size=8, person=b"place").hexdigest()


def chance(name: str, key: bytes, salt: str = "") -> float:
    """A number in [0, 1) that depends on the name and the key only."""
    body = f"{salt}\0{name}".encode("utf-8", "surrogatepass")
    raw = hashlib.blake2b(body, key=key[:64], digest_size=8, person=b"chance").digest()
    return int.from_bytes(raw, "big") / 2.0**64


class OlderTexts:
    """Older paragraphs, asked for the one that a new paragraph is a slight change of.

    One sorted table of all their shingles, by the bits that the ledger keeps: comparing each new
    paragraph with each older one took 13 s for 800 edited paragraphs."""

    def __init__(self, texts: Sequence[tuple[int, bytes]]) -> None:
        self._names = [name for name, _ in texts]
        shingles = [np.zeros(0, np.uint16), *(unpack_shingles(raw) for _, raw in texts)]
        values = np.concatenate(shingles)
        owners = np.repeat(np.arange(-1, len(texts)), [len(one) for one in shingles])
        order = np.argsort(values, kind="stable")
        self._values, self._owners = values[order], owners[order]

    def same(self, shingles: Hashes) -> int | None:
        """The first text that holds at least 80 % of these unique 5-word shingles; None."""
        wanted = as_unpacked(shingles)  # of each text those of one width alone
        left = np.searchsorted(self._values, wanted, "left")
        sizes = np.searchsorted(self._values, wanted, "right") - left
        if not sizes.any():
            return None
        starts = left - np.concatenate([[0], np.cumsum(sizes)[:-1]])
        at = np.repeat(starts, sizes) + np.arange(sizes.sum())  # every place of every shingle
        held = np.bincount(self._owners[at], minlength=len(self._names))
        first = int(np.argmax(held >= _SAME_SHARE * len(shingles)))
        return self._names[first] if held[first] >= _SAME_SHARE * len(shingles) else None


@dataclass
class Read:
    """One entry of a note that was read, on its way into the ledger."""

    note: int  # its row
    entry: Entry
    place: bytes | str
    paragraphs: list[TextParagraph]
    hashes: Hashes  # of all its normalised words; none before `hash_words`
    lengths: list[int]  # in such words, of each paragraph
    mtime: float
    row: int = 0  # of the entry; 0 for a new one
    copy_of: int = 0  # an entry in the vault with the same text

    @property
    def words(self) -> int:
        return sum(p.words for p in self.paragraphs)

    @property
    def columns(self) -> tuple[Any, ...]:
        """note, heading, place, date, tags and words as its row has them."""
        entry = self.entry
        heading = None if entry.heading is None else kept_text(entry.heading)
        tags = json.dumps(list(entry.tags))  # in ASCII: a tag may hold half a surrogate
        return self.note, heading, self.place, entry.date, tags, self.words

    @property
    def pieces(self) -> list[Hashes]:
        """The hashes of each paragraph's words."""
        return np.split(self.hashes, np.cumsum(self.lengths)[:-1]) if self.lengths else []

    @property
    def digests(self) -> list[bytes | str]:
        return [kept_id(p.digest) for p in self.paragraphs]

    def hash_words(self, words: WordHashes) -> None:
        """Have the hashes of its words, and not these themselves."""
        if self.lengths:
            return
        self.paragraphs, hashes = [], [self.hashes]
        for paragraph, plain in _paragraphs_with_words(*self.entry.document(), words.key):
            self.paragraphs.append(paragraph)
            hashes.append(words.of(plain))
        self.lengths = [len(each) for each in hashes[1:]]
        self.hashes = np.concatenate(hashes)


def read_entry(
    note: int,
    entry: Entry,
    place: bytes | str,
    mtime: float,
    words: WordHashes,
    known: Collection[bytes | str],
) -> Read:
    """An entry as it is recorded; its words are not hashed yet where all paragraphs are `known`,
    and it may be just as it was: of a journal in one file one day is new."""
    read = Read(note, entry, place, [], np.zeros(0, dtype=np.uint64), [], mtime)
    if known:
        read.paragraphs = split_paragraphs(*entry.document(), words.key)
    if not known or not all(digest in known for digest in read.digests):
        read.hash_words(words)
    return read
