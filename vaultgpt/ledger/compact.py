"""Hashes in the few bytes that the ledger keeps of each. Knows nothing about rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import Hashes, ascending

if TYPE_CHECKING:
    import numpy.typing as npt

_LOST_BITS = 24  # runs.coarse drops them
_PLAIN_RUNS = 40  # of an entry; so many take five bytes each, more take less
_PLAIN_BYTES = 5 * _PLAIN_RUNS
_BY_ELEVEN = range(16, 64)  # shingles; by eleven bits one in 32 at most is there by chance
_ELEVEN = 192  # in the first byte, where their number is below 64; 4,096 of twelve bits come to 144


def pack_runs(hashes: Hashes) -> bytes:
    """Ascending hashes for a row of the ledger: their 40 bits; of many the lower 32 and, as the
    upper 8 ascend from 0 to 255, a bit for each and one for each step."""
    kept, count = hashes >> np.uint64(_LOST_BITS), len(hashes)
    if count <= _PLAIN_RUNS:
        return kept.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :5].tobytes()
    steps = np.ones(256 + count, dtype=np.bool_)
    ends = np.searchsorted(kept, np.arange(1, 257, dtype=np.uint64) << np.uint64(32))
    steps[ends + np.arange(256)] = False
    return kept.astype("<u4").tobytes() + np.packbits(steps).tobytes()


def unpack_runs(raw: bytes) -> Hashes:
    """The inverse of pack_runs, as `coarse` gives them."""
    count = len(raw) // 5 if len(raw) <= _PLAIN_BYTES else _many(len(raw))
    if count <= _PLAIN_RUNS:
        plain = np.zeros((count, 8), dtype=np.uint8)
        plain[:, :5] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 5)
        kept = plain.view("<u8").reshape(-1).astype(np.uint64)
    else:
        bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8, offset=4 * count))
        upper = np.flatnonzero(bits)[:count] - np.arange(count)
        lower = np.frombuffer(raw, dtype="<u4", count=count).astype(np.uint64)
        kept = (upper.astype(np.uint64) << np.uint64(32)) | lower
    found: Hashes = kept << np.uint64(_LOST_BITS)
    return found


def _many(size: Any) -> Any:
    """How many hashes pack_runs packed into so many bytes, of one entry or several."""
    return (size - 32) * 8 // 33


def lower_bits(
    raws: Sequence[bytes],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """uint32: the lower bits that pack_runs kept, of all of these together, which ascend by their
    length; and how many each has. Quick, for there are ten million in a large vault."""
    sizes = np.fromiter(map(len, raws), dtype=np.int64, count=len(raws))
    few = int(np.searchsorted(sizes, _PLAIN_BYTES, "right"))
    counts = np.concatenate([sizes[:few] // 5, _many(sizes[few:])])
    plain = np.frombuffer(b"".join(raws[:few]), dtype=np.uint8).reshape(-1, 5)[:, :4]
    ends = (4 * counts[few:]).tolist()
    many = b"".join([raw[:end] for raw, end in zip(raws[few:], ends, strict=True)])
    short = np.ascontiguousarray(plain).view("<u4").reshape(-1)
    return np.concatenate([short, np.frombuffer(many, dtype="<u4")]), counts


def pack_shingles(hashes: Hashes) -> bytes:
    """Hashes that are compared within one entry only, ascending, by twelve bits, or eleven where
    few stand so far apart: their number, as many upper bits as count to it by a bit for each and
    one for each step, then the lower bits.

    Eight or nine bits of each where forty are. Never in threes of bytes, which an older form came
    in; another one had twelve bits of all."""
    width = 11 if len(hashes) in _BY_ELEVEN else 12
    kept = ascending(hashes >> np.uint64(64 - width)).astype(np.int64)
    if not (count := len(kept)):
        return b""
    upper = min(width, count.bit_length())
    lower = width - upper
    bits = np.zeros((1 << upper) + count * (1 + lower), dtype=np.bool_)
    bits[(kept >> lower) + np.arange(count)] = True
    bits[(1 << upper) + count :] = (kept[:, None] >> np.arange(lower) & 1).reshape(-1)
    plain = [count] if count < 128 else [128 | count >> 8, count & 255]
    raw = bytes([_ELEVEN | count] if width == 11 else plain) + np.packbits(bits).tobytes()
    return raw if len(raw) % 3 else raw + b"\0"


def unpack_shingles(raw: bytes) -> npt.NDArray[np.uint16]:
    """uint16, ascending: what pack_shingles kept, those by eleven bits with 4,096 added."""
    if len(raw) % 3 == 0:
        return _in_threes(raw)
    count, width, at = raw[0], 12, 1
    if count >= _ELEVEN:
        count, width = count - _ELEVEN, 11
    elif count >= 128:
        count, at = (count & 127) << 8 | raw[1], 2
    upper = min(width, count.bit_length())
    lower, steps = width - upper, (1 << upper) + count
    bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8, offset=at))
    above = np.flatnonzero(bits[:steps]) - np.arange(count)
    below = bits[steps : steps + count * lower].reshape(count, lower) @ (1 << np.arange(lower))
    return ((above << lower | below) + (0 if width == 12 else 4096)).astype(np.uint16)


def as_unpacked(hashes: Hashes) -> npt.NDArray[np.uint16]:
    """uint16 [2 len(hashes)]: what unpack_shingles gives of each, by twelve bits and by eleven."""
    kept = (hashes >> np.uint64(52)).astype(np.uint16)
    return np.concatenate([kept, 4096 + (kept >> np.uint16(1))]).astype(np.uint16)


def _in_threes(raw: bytes) -> npt.NDArray[np.uint16]:
    """Three bytes for two, as before November 2026; of an odd number the last one twice."""
    pairs = np.zeros((len(raw) // 3, 4), dtype=np.uint8)
    pairs[:, :3] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 3)
    both = pairs.view("<u4").reshape(-1)
    kept = np.stack([both & 0xFFF, both >> 12], axis=1).reshape(-1).astype(np.uint16)
    return kept[:-1] if len(kept) > 1 and kept[-1] == kept[-2] else kept
