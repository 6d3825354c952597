"""Words, keyed hashes of word runs, and a persistent index of them.

The copy guard (runs of 10), the copying figures and provenance (runs of 8) share it. Knows nothing
about notes, models or the ledger.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vaultgpt.files import atomic_writer, make_private_dir

Hashes = npt.NDArray[np.uint64]
GUARD_WORDS = 10
COPY_WORDS = 8
MERGE_AT = 8  # segment files; above it they become one
KEPT_WORDS = 50_000  # hashes of words that a RunHasher remembers
_U64 = (1 << 64) - 1
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # splitmix64

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MARKS = "\u0300-\u036f"
# A CJK character, or letters and digits with the combining marks that decomposed text puts between.
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[^\W_])(?:[{_MARKS}]|(?![{_CJK}])[^\W_])*")
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")


class Word(NamedTuple):
    """Characters [start, end) of a text and the word's normal form (NFKC, casefold)."""

    start: int
    end: int
    norm: str


def _norm(word: str) -> str:
    if word.isascii():
        return word.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())


def split_words(text: str) -> list[Word]:
    """Words of `text` in order; each CJK character is a word, underscores and marks part them."""
    pattern = _ASCII_WORD if text.isascii() else _WORD
    return [Word(m.start(), m.end(), _norm(m.group())) for m in pattern.finditer(text)]


def norms(text: str) -> list[str]:
    """Only the normal forms, faster than split_words."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return [_norm(word) for word in _WORD.findall(text)]


def _word_hash(word: str, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), key=key[:64],
                                          digest_size=8).digest(), "little")


def _factor(n: int, key: bytes) -> int:
    seed = hashlib.blake2b(n.to_bytes(4, "little"), key=key[:64], digest_size=8, person=b"runs")
    return int.from_bytes(seed.digest(), "little") | 1


def word_hashes(words: Sequence[str], key: bytes) -> Hashes:
    """uint64 [len(words)]; each distinct word is hashed once with keyed blake2b."""
    known = {w: _word_hash(w, key) for w in set(words)}
    return np.fromiter((known[w] for w in words), dtype=np.uint64, count=len(words))


def run_hashes(words: Sequence[str], n: int, key: bytes) -> Hashes:
    """uint64 [max(0, len(words) - n + 1)]: one keyed hash for every run of `n` words, in order."""
    single = word_hashes(words, key)
    count = len(single) - n + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    factor = np.uint64(_factor(n, key))
    total = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(n):  # Horner over the run, modulo 2^64
            total = total * factor + single[offset : offset + count]
        for shift, multiplier in _MIX:
            total = (total ^ (total >> np.uint64(shift))) * np.uint64(multiplier)
    mixed: Hashes = total ^ (total >> np.uint64(31))
    return mixed


class RunHasher:
    """run_hashes for one run at a time: 5 us where numpy takes 45. Word hashes are kept."""

    def __init__(self, n: int, key: bytes) -> None:
        self.key = key
        self.factor = _factor(n, key)
        self._known: dict[str, int] = {}

    def __call__(self, words: Sequence[str]) -> int:
        """run_hashes(words, len(words), key)[0]."""
        known, total = self._known, 0
        for word in words:
            single = known.get(word)
            if single is None:
                if len(known) >= KEPT_WORDS:
                    known.clear()
                single = known[word] = _word_hash(word, self.key)
            total = (total * self.factor + single) & _U64
        for shift, multiplier in _MIX:
            total = ((total ^ (total >> shift)) * multiplier) & _U64
        return total ^ (total >> 31)


def _contains(segment: Hashes, hashes: Hashes) -> npt.NDArray[np.bool_]:
    if not len(segment):
        return np.zeros(len(hashes), dtype=np.bool_)
    at = np.minimum(np.searchsorted(segment, hashes), len(segment) - 1)
    found: npt.NDArray[np.bool_] = segment[at] == hashes
    return found


class RunIndex:
    """Sorted, immutable segment files `n10-000001.npy` of keyed run hashes in `folder`.

    A segment appears whole (temporary name, fsync, rename) or not at all, so any process may load
    while another adds. One writer at a time.
    """

    def __init__(self, folder: Path, key: bytes, n: int = GUARD_WORDS) -> None:
        self.folder, self.key, self.n = folder, key, n
        self._segments: dict[str, Hashes] = {}
        self._lock = threading.Lock()
        self._hasher = RunHasher(n, key)

    def _names(self) -> list[str]:
        return sorted(p.name for p in self.folder.glob(f"n{self.n}-*.npy"))

    def load(self) -> RunIndex:
        """Read what is on the disk now; segments already in memory are not read again."""
        for _ in range(5):
            try:
                with self._lock:
                    self._segments = {
                        name: self._segments[name] if name in self._segments
                        else np.load(self.folder / name, allow_pickle=False)
                        for name in self._names()
                    }
                return self
            except FileNotFoundError:  # a writer merged segments meanwhile: look again
                continue
        return self

    def __len__(self) -> int:
        return sum(len(s) for s in self._segments.values())

    def contains(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """bool [len(hashes)]: which of these runs are in the index."""
        found = np.zeros(len(hashes), dtype=np.bool_)
        for segment in tuple(self._segments.values()):
            found |= _contains(segment, hashes)
        return found

    def has(self, words: Sequence[str]) -> bool:
        """Whether any run of `n` of these normalised words is in the index."""
        if len(words) != self.n:
            return bool(self.contains(run_hashes(words, self.n, self.key)).any())
        return bool(self.contains(np.array([self._hasher(words)], dtype=np.uint64))[0])

    def add(self, texts: Iterable[str]) -> int:
        """Add every run of these texts; the number of runs that were new."""
        parts = [run_hashes(norms(text), self.n, self.key) for text in texts]
        return self.add_hashes(np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64))

    def add_hashes(self, hashes: Hashes) -> int:
        """Add hashes of runs; how many were new. One segment is written if there are any."""
        self.load()
        fresh = np.unique(hashes)
        fresh = fresh[~self.contains(fresh)]
        if len(fresh):
            self._write(fresh)
        if len(self._segments) > MERGE_AT:
            self._merge()
        return len(fresh)

    def _write(self, segment: Hashes) -> None:
        make_private_dir(self.folder)
        numbers = [int(name.split("-")[1].split(".")[0]) for name in self._names()]
        name = f"n{self.n}-{max(numbers, default=0) + 1:06d}.npy"
        with atomic_writer(self.folder / name) as stream:
            np.save(stream, segment, allow_pickle=False)
        with self._lock:
            self._segments[name] = segment

    def _merge(self) -> None:
        old = list(self._segments)
        self._write(np.unique(np.concatenate(list(self._segments.values()))))
        for name in old:  # a kill here leaves the same runs twice, which is harmless
            (self.folder / name).unlink(missing_ok=True)
            self._segments.pop(name, None)
