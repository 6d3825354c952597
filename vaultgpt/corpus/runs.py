"""Keyed hashes of words and of runs of them, and a persistent index of those.

The copy guard (runs of 10), the copying figures and provenance (runs of 8) share it. Knows no
ledger, notes or models.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from vaultgpt.corpus import np
from vaultgpt.corpus.words import norms
from vaultgpt.errors import StateError
from vaultgpt.files import atomic_writer, fsync_dir, make_private_dir

if TYPE_CHECKING:
    import numpy.typing as npt

Hashes: TypeAlias = "npt.NDArray[np.uint64]"
GUARD_WORDS = 10
COPY_WORDS = 8
_LOST_BITS = 24  # of a hash that is kept: of 10 million runs one check in 100,000 errs
_GROWTH = 2  # a segment is merged into the one before while that is less than so many times as long
_BLOCK = 1 << 18  # hashes that are held at once, of a segment or of texts
_KEPT_WORDS = 50_000  # hashes of words that WordHashes remembers
_HEADER_BYTES = 128  # of a .npy file of one dimension
_NO_SEGMENT = (ValueError, EOFError, SyntaxError, OverflowError, MemoryError, AttributeError)
_U64 = (1 << 64) - 1
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # splitmix64


def _factor(n: int, key: bytes) -> int:
    seed = hashlib.blake2b(n.to_bytes(4, "little"), key=key[:64], digest_size=8, person=b"runs")
    return int.from_bytes(seed.digest(), "little") | 1


class WordHashes(dict[str, int]):
    """Keyed hashes of single words, each made when it is first asked for and kept a while."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self.key = key

    def __missing__(self, word: str) -> int:
        if len(self) >= _KEPT_WORDS:
            self.clear()
        body = word.encode("utf-8", "surrogatepass")
        made = hashlib.blake2b(body, key=self.key[:64], digest_size=8)
        found = self[word] = int.from_bytes(made.digest(), "little")
        return found

    def of(self, words: Sequence[str]) -> Hashes:
        """uint64 [len(words)]."""
        return np.fromiter(map(self.__getitem__, words), dtype=np.uint64, count=len(words))


def run_hashes(words: Sequence[str], n: int, key: bytes) -> Hashes:
    """uint64 [max(0, len(words) - n + 1)]: one keyed hash for every run of `n` words, in order."""
    return runs_of(WordHashes(key).of(words), n, key)


def runs_of(words: Hashes, n: int, key: bytes) -> Hashes:
    """run_hashes of words by their own hashes."""
    count = max(0, len(words) - n + 1)
    factor, total = np.uint64(_factor(n, key)), words[:count].copy()
    with np.errstate(over="ignore"):
        for offset in range(1, n):  # Horner over the run, modulo 2^64
            total *= factor
            total += words[offset : offset + count]
        for shift, multiplier in _MIX:
            total ^= total >> np.uint64(shift)
            total *= np.uint64(multiplier)
    total ^= total >> np.uint64(31)
    return total


class _RunHasher:
    """run_hashes for one run at a time: 5 us where numpy takes 45."""

    def __init__(self, n: int, key: bytes) -> None:
        self.key = key
        self.factor = _factor(n, key)
        self._known = WordHashes(key)

    def __call__(self, words: Sequence[str]) -> int:
        """run_hashes(words, len(words), key)[0]."""
        known, total = self._known, 0
        for word in words:
            total = (total * self.factor + known[word]) & _U64
        for shift, multiplier in _MIX:
            total = ((total ^ (total >> shift)) * multiplier) & _U64
        return total ^ (total >> 31)


def run_hashes_of(texts: Sequence[Hashes], n: int, key: bytes) -> list[Hashes]:
    """The `coarse` run_hashes of each of many texts, by their words' hashes, ascending, each once.

    Many in one pass, for numpy's calls cost more than it: a text's number stands above its hashes'
    bits, so that one sort does for all of them (24 bits, for 16 million texts)."""
    out: list[Hashes] = []
    some: list[Hashes] = []
    count = 0
    for text in texts:
        some.append(text)
        if (count := count + len(text)) >= _BLOCK:
            out += _run_hashes_of(some, n, key)
            some, count = [], 0
    return out + (_run_hashes_of(some, n, key) if some else [])


def _run_hashes_of(texts: Sequence[Hashes], n: int, key: bytes) -> list[Hashes]:
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    every = runs_of(np.concatenate(texts), n, key)
    inside = np.ones(len(every), dtype=np.bool_)
    past = np.cumsum(lengths)[:, None] - np.arange(1, n)  # where a run begins that leaves its text
    inside[past[(past >= 0) & (past < len(every))]] = False
    ranked = every[inside] >> np.uint64(_LOST_BITS)
    numbers = np.arange(len(texts), dtype=np.uint64) << np.uint64(64 - _LOST_BITS)
    ranked |= np.repeat(numbers, np.maximum(lengths - n + 1, 0))
    ranked = ascending(ranked)
    ends = np.searchsorted(ranked, numbers[1:])
    ranked <<= np.uint64(_LOST_BITS)
    return np.split(ranked, ends)


def coarse(hashes: Hashes) -> Hashes:
    """Hashes by the 40 bits that are kept and compared."""
    return hashes & ~np.uint64((1 << _LOST_BITS) - 1)


def ascending(hashes: Hashes) -> Hashes:
    """Sorted, each once; np.unique takes five times as long for a few."""
    hashes = np.sort(hashes)
    first = np.ones(len(hashes), dtype=np.bool_)
    first[1:] = hashes[1:] != hashes[:-1]
    return hashes if first.all() else hashes[first]


def among(hashes: Hashes, segment: Hashes) -> npt.NDArray[np.bool_]:
    """bool [len(hashes)]: which of them, by their `coarse` bits, stand in the ascending segment."""
    if not len(segment):
        return np.zeros(len(hashes), dtype=np.bool_)
    wanted = coarse(hashes)
    at = np.minimum(np.searchsorted(segment, wanted), len(segment) - 1)
    found: npt.NDArray[np.bool_] = coarse(segment[at]) == wanted
    return found


def _digest(segment: Hashes) -> str:
    return hashlib.blake2b(segment.astype("<u8").tobytes(), digest_size=8).hexdigest()


def _read_segment(path: Path) -> Hashes:
    """The hashes in a segment file. StateError when it is not what its name says; OSError."""
    body = path.read_bytes()
    try:
        segment = np.load(io.BytesIO(body), allow_pickle=False)
        good = segment.dtype == np.uint64 and segment.ndim == 1
        ascending = good and bool((segment[1:] > segment[:-1]).all())
        whole = ascending and path.stem.split("-")[2:] == [_digest(segment)]
    except _NO_SEGMENT:
        whole = False
    if not whole:
        raise _damaged()
    found: Hashes = segment
    return found


def _whole_hashes(body: bytes) -> Hashes:
    """What there is of a damaged segment: a flipped bit spoils one hash, a cut loses the end."""
    return np.unique(np.frombuffer(body[: len(body) // 8 * 8], dtype="<u8").astype(np.uint64))


class RunIndex:
    """Sorted, immutable segment files `n10-000001-DIGEST.npy` of keyed run hashes in `folder`.

    A segment appears whole (temporary name, fsync, rename) or not at all, so any process may load
    while another adds; its name says what it must hold. One writer at a time."""

    def __init__(self, folder: Path, key: bytes, n: int = GUARD_WORDS) -> None:
        self.folder, self.key, self.n = folder, key, n
        self._segments: dict[str, Hashes] = {}
        self._lock = threading.Lock()
        self._hasher = _RunHasher(n, key)

    def names(self) -> list[str]:
        """The segment files there are, oldest first."""
        return sorted(p.name for p in self.folder.glob(f"n{self.n}-*.npy"))

    def load(self) -> RunIndex:
        """Read what is on the disk now; segments already in memory are not read again.

        StateError for a damaged one: a guard that misses runs would let them be copied."""
        for _ in range(5):
            try:
                with self._lock:
                    self._segments = {
                        name: self._segments[name]
                        if name in self._segments
                        else _read_segment(self.folder / name)
                        for name in self.names()
                    }
                return self
            except FileNotFoundError:  # a writer merged segments meanwhile: look again
                continue
        return self

    def salvage(self) -> bool:
        """Load, and write anew what can be read of damaged segments; whether there were any."""
        try:
            self.load()
            return False
        except StateError:
            damaged = [name for name in self.names() if not self.sound(name)]
        for name in damaged:
            left = _whole_hashes((self.folder / name).read_bytes()[_HEADER_BYTES:])
            (self.folder / name).replace(self.folder / f"damaged-{name}")
            self._segments.pop(name, None)
            if len(left):
                self._write([np.unique(coarse(left))])
            (self.folder / f"damaged-{name}").unlink()
        self.load()
        return True

    def sound(self, name: str) -> bool:
        """Whether a segment is what its name says; a block at a time. OSError."""
        try:
            for _ in _blocks(self.folder / name):
                pass
        except (StateError, *_NO_SEGMENT):
            return False
        return name.count("-") == 2

    def __len__(self) -> int:
        return sum(len(s) for s in self._segments.values())

    def contains(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """bool [len(hashes)]: which of these runs are in the index."""
        found = np.zeros(len(hashes), dtype=np.bool_)
        for segment in tuple(self._segments.values()):
            found |= among(hashes, segment)
        return found

    def has(self, words: Sequence[str]) -> bool:
        """Whether any run of `n` of these normalised words is in the index."""
        if len(words) != self.n:
            return bool(self.contains(run_hashes(words, self.n, self.key)).any())
        return bool(self.contains(np.array([self._hasher(words)], dtype=np.uint64))[0])

    def add(self, texts: Iterable[str]) -> int:
        """Add every run of these texts; the number of runs that were new. One segment is written if
        there are any."""
        self.load()
        parts = [run_hashes(norms(text), self.n, self.key) for text in texts]
        fresh = ascending(coarse(np.concatenate([np.zeros(0, dtype=np.uint64), *parts])))
        fresh = fresh[~self.contains(fresh)]
        self.append(fresh)
        self.load()
        return len(fresh)

    def on_disk(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """As `contains`, but what is in the files, which are neither read whole nor checked; all
        where one can't be opened."""
        found = np.zeros(len(hashes), dtype=np.bool_)
        for name in self.names():
            try:
                for at in range(0, len(hashes), _BLOCK):
                    some = slice(at, at + _BLOCK)
                    found[some] |= _among_file(hashes[some], self.folder / name)
            except (OSError, StateError, *_NO_SEGMENT):
                found[:] = True
        return found

    def append(self, hashes: Hashes) -> None:
        """Add hashes of runs without reading those that are there: they may stand twice."""
        if not len(hashes):
            return
        self._write([ascending(coarse(hashes))])
        while len(names := self.names()) > 1:
            older, newer = (self.folder / name for name in names[-2:])
            if older.stat().st_size >= _GROWTH * newer.stat().st_size:
                return
            self._write(_merged(_blocks(older), _blocks(newer)))
            for path in (older, newer):  # a kill here leaves the same runs twice: harmless
                path.unlink(missing_ok=True)

    def _write(self, blocks: Iterable[Hashes]) -> None:
        """A segment of ascending blocks; its name is known once all is written."""
        make_private_dir(self.folder)
        numbers = [int(name.split("-")[1].split(".")[0]) for name in self.names()]
        stem = f"n{self.n}-{max(numbers, default=0) + 1:06d}"
        digest, count = hashlib.blake2b(digest_size=8), 0
        with atomic_writer(self.folder / f".{stem}") as stream:
            stream.write(bytes(_HEADER_BYTES))
            for block in blocks:
                raw = block.astype("<u8").tobytes()
                digest.update(raw)
                stream.write(raw)
                count += len(block)
            stream.seek(0)
            header = {"descr": "<u8", "fortran_order": False, "shape": (count,)}
            np.lib.format.write_array_header_1_0(stream, header)
        (self.folder / f".{stem}").replace(self.folder / f"{stem}-{digest.hexdigest()}.npy")
        fsync_dir(self.folder)


def _among_file(hashes: Hashes, path: Path) -> npt.NDArray[np.bool_]:
    """`among` a segment file, of which one block at a time is mapped: what is mapped and looked at
    counts as memory, and so much is asked that this was all of it, 75 MB at 100,000 notes.
    StateError when it is no segment; OSError."""
    found = np.zeros(len(hashes), dtype=np.bool_)
    with open(path, "rb") as stream:
        size = _length(stream)
        edges = np.array([_hash_at(stream, at) for at in range(0, size, _BLOCK)], dtype=np.uint64)
    blocks = np.searchsorted(coarse(edges), coarse(hashes), "right") - 1
    for block in np.unique(blocks[blocks >= 0]).tolist():
        at, asked = block * _BLOCK, blocks == block
        place, count = _HEADER_BYTES + 8 * at, min(_BLOCK, size - at)
        found[asked] = among(hashes[asked], np.memmap(path, "<u8", "r", place, (count,)))
    return found


def _hash_at(stream: IO[bytes], at: int) -> int:
    stream.seek(_HEADER_BYTES + 8 * at)
    return int.from_bytes(stream.read(8), "little")


def _blocks(path: Path) -> Iterator[Hashes]:
    """A segment file's hashes, some at a time. StateError when it is not what its name says."""
    digest, last = hashlib.blake2b(digest_size=8), np.zeros(0, dtype=np.uint64)
    with open(path, "rb") as stream:
        left = _length(stream)
        while len(block := np.fromfile(stream, dtype="<u8", count=min(_BLOCK, left))):
            left -= len(block)
            digest.update(block.tobytes())
            both = np.concatenate([last, block])
            if not (both[1:] > both[:-1]).all():
                raise _damaged()
            last = block[-1:]
            yield block.astype(np.uint64)
    if left or path.stem.split("-")[2:] not in ([], [digest.hexdigest()]):
        raise _damaged()


def _length(stream: IO[bytes]) -> int:
    """How many hashes a segment file says it has; the stream stands before the first."""
    try:
        np.lib.format.read_magic(stream)
        (count,), _, kind = np.lib.format.read_array_header_1_0(stream)
    except ValueError:
        raise _damaged() from None
    if kind != np.uint64:
        raise _damaged()
    return int(count)


def _merged(one: Iterator[Hashes], other: Iterator[Hashes]) -> Iterator[Hashes]:
    """Two ascending streams of blocks as one, each hash once."""
    none = np.zeros(0, dtype=np.uint64)
    a, b = next(one, none), next(other, none)
    while len(a) and len(b):
        upto = min(a[-1], b[-1])
        cut_a, cut_b = np.searchsorted(a, upto, "right"), np.searchsorted(b, upto, "right")
        yield ascending(np.concatenate([a[:cut_a], b[:cut_b]]))
        a, b = a[cut_a:], b[cut_b:]
        a, b = a if len(a) else next(one, none), b if len(b) else next(other, none)
    while len(rest := a if len(a) else b):
        yield rest
        a, b = next(one, none), next(other, none)


def _damaged() -> StateError:
    return StateError(
        "The copy guard's index is damaged.", "`vaultgpt doctor` makes it anew; ask again then."
    )
