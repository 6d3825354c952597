"""Corpus to documents: WORK/train.jsonl, WORK/heldout.jsonl and a table of what went in.

    python -m scripts.pebble.prepare --data DIR --work DIR [--shield DIR]

--shield names a folder of notes (*.md) whose 12-word runs must not occur in training text.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from .books import Book, corpus_folder, list_books, weight
from .clean import paragraphs
from .documents import Deduplicator, split_book

SEED = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shield", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    books = list_books(corpus_folder(args.data, args.work))
    shielded = (
        [p.read_text(encoding="utf-8") for p in sorted(args.shield.rglob("*.md"))]
        if (args.shield)
        else []
    )
    counts = prepare(books, Deduplicator(shielded), args.work)
    print("\n".join(f"{name}\t{number}" for name, number in sorted(counts.items())))


def prepare(books: list[Book], dedupe: Deduplicator, work: Path) -> Counter[str]:
    """Write both files; held-out books go first so that their paragraphs win over copies."""
    counts: Counter[str] = Counter()
    ordered = sorted(books, key=lambda book: not book.held_out)
    outputs = {True: work / "heldout.jsonl", False: work / "train.jsonl"}
    for held_out, path in outputs.items():
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as out:
            for book in ordered:
                if book.held_out == held_out:
                    for row in book_rows(book, dedupe, counts):
                        out.write(json.dumps(row, ensure_ascii=False) + "\n")
        temporary.replace(path)
    return counts


def book_rows(book: Book, dedupe: Deduplicator, counts: Counter[str]) -> list[dict[str, object]]:
    """One row for each document: book, weight and text. Counts words by category."""
    rng = random.Random(f"{SEED}/{book.key}")
    blocks = paragraphs(book.read())
    kept = [block for block in blocks if dedupe.admits(block)]
    copies = weight(book, "\n\n".join(kept))
    kind = "held out" if book.held_out else f"{book.category} x{copies}"
    counts[f"books, {kind}"] += 1
    counts[f"paragraphs dropped as copies, {kind}"] += len(blocks) - len(kept)
    rows: list[dict[str, object]] = []
    for text in split_book(book, kept, rng):
        words = len(text.split())
        if words >= 20:
            counts[f"words, {kind}"] += words
            rows.append({"book": book.key, "weight": copies, "text": text})
    return rows


if __name__ == "__main__":
    main()
