"""Paragraphs of an entry as keyed digests, and how alike two of them are.

Normal form: lower-case words without marks, so that a change of white space or quotes is no new
text. Knows nothing about SQLite.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vaultgpt.corpus.runs import (
    COPY_WORDS,
    GUARD_WORDS,
    Hashes,
    norms,
    run_hashes,
    split_words,
)
from vaultgpt.vault.entry import Entry

SHINGLE_WORDS = 5
SAME_SHARE = 0.8  # of a paragraph's shingles that an older one must hold to be the same text
_BREAK = re.compile(r"(?:\r\n?|\n)(?:[ \t\f\v]*(?:\r\n?|\n))+")


@dataclass(frozen=True)
class Piece:
    """One paragraph (for verse, stanza): characters [start, end) of the document."""

    start: int
    end: int
    digest: str
    words: int  # of prose; 0 when all of it is masked
    shingles: Hashes


def ranges(text: str) -> list[tuple[int, int]]:
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


def pieces(text: str, masked: Sequence[tuple[int, int]], key: bytes) -> list[Piece]:
    """The paragraphs of a document that hold at least one word."""
    out = []
    for start, end in ranges(text):
        words = split_words(text[start:end])
        if not words:
            continue
        near = [(s - start, e - start) for s, e in masked if s < end and e > start]
        prose = len(words) if not near else sum(
            not any(s <= w.start < e for s, e in near) for w in words)
        plain = [w.norm for w in words]
        out.append(Piece(start, end, digest_of(plain, key), prose,
                         np.unique(run_hashes(plain, SHINGLE_WORDS, key))))
    return out


def entry_runs(text: str, key: bytes) -> tuple[Hashes, Hashes]:
    """Sorted unique hashes of a text's 8-word and 10-word runs."""
    words = norms(text)
    return (np.unique(run_hashes(words, COPY_WORDS, key)),
            np.unique(run_hashes(words, GUARD_WORDS, key)))


def places(entries: Sequence[Entry], key: bytes) -> list[str]:
    """A keyed hash of path, heading and rank among equal headings, one an entry."""
    seen: dict[str | None, int] = {}
    out = []
    for entry in entries:
        nth = seen.get(entry.heading, 0)
        seen[entry.heading] = nth + 1
        name = f"{entry.path}\0{entry.heading if entry.heading is not None else chr(1)}\0{nth}"
        out.append(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), key=key[:64],
                                   digest_size=8, person=b"place").hexdigest())
    return out


def chance(name: str, key: bytes, salt: str = "") -> float:
    """A number in [0, 1) that depends on the name and the key only."""
    body = f"{salt}\0{name}".encode("utf-8", "surrogatepass")
    raw = hashlib.blake2b(body, key=key[:64], digest_size=8, person=b"chance").digest()
    return int.from_bytes(raw, "big") / 2.0**64


def same_text(new: Hashes, old: Hashes) -> bool:
    """Whether at least 80 % of the new paragraph's 5-word shingles stand in the old one."""
    return bool(len(new)) and float(np.isin(new, old).mean()) >= SAME_SHARE
