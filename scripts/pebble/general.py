"""The two general-English files beside the weights: a held-out set and a replay source.

    python -m scripts.pebble.general --data DIR --work DIR --out FOLDER

general_heldout.jsonl.gz comes from books pebble never saw, general_replay.jsonl.gz from books it
did; a line is {"source": "Title, Author", "text": ...}. The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

from .books import Book, corpus_folder, list_books
from .clean import is_verse, paragraphs
from .documents import is_heading
from .sources import HELD_OUT_SOURCES, REPLAY_SOURCES

SEED = 25
HELD_OUT_WORDS = (280, 320)
REPLAY_WORDS = (200, 800)
HELD_OUT_A_BOOK = 11
REPLAY_A_BOOK = {"diaries-letters": 20, "essays": 48, "poetry": 20, "prose-modern": 12, "prose": 12}
LIMIT_BYTES = 2_000_000  # both files


def chosen(books: list[Book], sources: dict[str, str]) -> Iterator[tuple[Book, str]]:
    """Each named source's book, exactly one."""
    for prefix, name in sources.items():
        matching = [book for book in books if book.key.startswith(prefix)]
        if len(matching) != 1:
            raise SystemExit(f"{prefix} names {len(matching)} books.")
        yield matching[0], name


def passages(book: Book, count: int, words: tuple[int, int], rng: random.Random) -> list[str]:
    """Evenly spread passages of whole paragraphs, each `words` long as nearly as they allow."""
    blocks = [b for b in paragraphs(book.read()) if not is_heading(b) and _is_plain(book, b)]
    blocks = blocks[len(blocks) // 25 :]  # prefaces and dedications
    found = list[str]()
    for number in range(count):
        place = int((number + 0.8 * rng.random()) * len(blocks) / count)
        passage = _passage(blocks[place:], rng.randint(*words), words)
        if passage and not any(passage[:80] in earlier for earlier in found):
            found.append(passage)
    return found


def _passage(blocks: list[str], wanted: int, words: tuple[int, int]) -> str:
    """Whole paragraphs until `wanted` words are reached; "" if no cut falls within bounds."""
    kept, length = list[str](), 0
    for block in blocks:
        size = len(block.split())
        if length + size > words[1] * 1.1:
            break
        kept.append(block)
        length += size
        if length >= wanted:
            break
    return "\n\n".join(kept) if length >= words[0] * 0.7 else ""


def _is_plain(book: Book, block: str) -> bool:
    verse = is_verse(block)
    return (verse or len(block) > 40) and (book.category == "poetry" or not verse)


def rows(
    books: list[Book], sources: dict[str, str], words: tuple[int, int]
) -> list[dict[str, str]]:
    made = []
    for book, name in chosen(books, sources):
        rng = random.Random(f"{SEED}/{book.key}")
        count = HELD_OUT_A_BOOK if book.held_out else REPLAY_A_BOOK[book.category]
        bounds = (120, words[1]) if book.category == "poetry" else words
        made += [{"source": name, "text": text} for text in passages(book, count, bounds, rng)]
    random.Random(SEED).shuffle(made)
    return made


def write(made: list[dict[str, str]], path: Path) -> int:
    """Gzip without a time stamp or name; returns the bytes written."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))
    temporary.replace(path)
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    books = list_books(corpus_folder(args.data, args.work))
    total = 0
    for name, sources, words in (
        ("general_heldout", HELD_OUT_SOURCES, HELD_OUT_WORDS),
        ("general_replay", REPLAY_SOURCES, REPLAY_WORDS),
    ):
        made = rows(books, sources, words)
        size = write(made, args.out / f"{name}.jsonl.gz")
        total += size
        count = sum(len(row["text"].split()) for row in made)
        print(f"{name}: {len(made)} passages, {count} words, {size} bytes, {len(sources)} sources")
    if total > LIMIT_BYTES:
        raise SystemExit(f"{total} bytes together, over {LIMIT_BYTES}.")


if __name__ == "__main__":
    main()
