"""Prepared documents to token parts, and token parts to training rows.

    python -m scripts.pebble.pack --work DIR

WORK/tokens/ holds parts of at most 24 MB (compressed uint16) and documents.npz; the same parts
are all that a run on another machine needs. An epoch draws every document by its weight, in an
order fixed by the seed and the epoch, and cuts the stream into rows of 1,024 tokens.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

ROW_TOKENS = 1024
PART_TOKENS = 11_500_000  # x 2 bytes, before compression: never over 24 MB
END_ID = 0
SEED = 22
Tokens = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Packed:
    """All documents on end. starts: (documents + 1,); each begins with the end-of-text token."""

    tokens: Tokens
    starts: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    byte_count: int

    def epoch(self, number: int) -> Tokens:
        """The epoch's rows, shuffled: (rows, ROW_TOKENS)."""
        rng = np.random.default_rng([SEED, number])
        whole = np.floor(self.weights)
        extra = rng.random(len(self.weights)) < self.weights - whole
        copies = (whole + extra).astype(np.int64)
        order = rng.permutation(np.repeat(np.arange(len(copies)), copies))
        stream = np.concatenate([self.tokens[self.starts[i] : self.starts[i + 1]] for i in order])
        rows = len(stream) // ROW_TOKENS
        table = stream[: rows * ROW_TOKENS].reshape(rows, ROW_TOKENS)
        return np.ascontiguousarray(table[rng.permutation(rows)])


def write_parts(tokens: Tokens, folder: Path, part_tokens: int = PART_TOKENS) -> list[Path]:
    """Compressed parts tokens-00.z, tokens-01.z ... in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, start in enumerate(range(0, len(tokens), part_tokens)):
        path = folder / f"tokens-{number:02d}.z"
        path.write_bytes(zlib.compress(tokens[start : start + part_tokens].tobytes(), 6))
        paths.append(path)
    return paths


def read_parts(folder: Path) -> Tokens:
    parts = [zlib.decompress(path.read_bytes()) for path in sorted(folder.glob("tokens-*.z"))]
    if not parts:
        raise SystemExit(f"No token parts in {folder}: run pack.py first.")
    return np.frombuffer(b"".join(parts), dtype=np.uint16)


def load(folder: Path) -> Packed:
    with np.load(folder / "documents.npz") as index:
        return Packed(
            read_parts(folder), index["starts"], index["weights"], int(index["byte_count"])
        )


def pack(rows: Iterator[dict[str, object]], tokenizer: Tokenizer, folder: Path) -> Packed:
    """Tokenise and write. Rows carry "text" and "weight"."""
    pieces, lengths, weights, byte_count = list[Tokens](), list[int](), list[float](), 0
    for batch in _batches(rows, 2000):
        texts = [str(row["text"]) for row in batch]
        weights += [float(str(row["weight"])) for row in batch]
        byte_count += sum(len(text.encode()) for text in texts)
        for encoded in tokenizer.encode_batch(texts, add_special_tokens=False):
            piece = np.array([END_ID, *encoded.ids], dtype=np.uint16)
            pieces.append(piece)
            lengths.append(len(piece))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.concatenate(pieces)
    write_parts(tokens, folder)
    np.savez(
        folder / "documents.npz",
        starts=starts,
        byte_count=byte_count,
        weights=np.array(weights, dtype=np.float32),
    )
    return Packed(tokens, starts, np.array(weights, dtype=np.float32), byte_count)


def read_rows(path: Path) -> Iterator[dict[str, object]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _batches(rows: Iterator[dict[str, object]], size: int) -> Iterator[list[dict[str, object]]]:
    batch: list[dict[str, object]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
    for name, folder in (("train", "tokens"), ("heldout", "heldout-tokens")):
        packed = pack(read_rows(work / f"{name}.jsonl"), tokenizer, work / folder)
        drawn = float((np.diff(packed.starts) * packed.weights).sum())
        text_tokens = len(packed.tokens) - len(packed.weights)
        print(
            f"{name}: {len(packed.weights)} documents, {len(packed.tokens)} tokens, "
            f"{packed.byte_count / text_tokens:.3f} bytes a token, one epoch {drawn:.0f} tokens"
        )


if __name__ == "__main__":
    main()
