"""The order of a round's blocks: epochs with fresh header draws, and mixtures by share.

Everything follows from the seed, so a position is one number. Knows nothing about models.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from vaultgpt.corpus.documents import (
    Block,
    Document,
    Encoder,
    Text,
    draw_header,
    join,
    pack,
    prepare,
)
from vaultgpt.corpus.secrets import Range
from vaultgpt.training.round import Item

# Half of the draws cut an entry into parts of at most so many tokens, each under its header, so
# that beginnings are learned: what a hotkey in an empty note asks for. Three authors, 168,000
# words, two passes, held-out parts of 48 tokens: journal 1.667 to 1.649 bits per byte, dream 1.579
# to 1.538, poetry 1.826 to 1.813; those of 256 tokens no worse.
_SHORT_SHARE, SHORT_TOKENS = 0.5, 128


class Stream:
    """Endless blocks of some items; every epoch draws headers, packing and order anew."""

    def __init__(
        self,
        items: Sequence[Item],
        encoder: Encoder,
        *,
        block_tokens: int,
        packs: bool,
        seed: int,
        name: str,
    ) -> None:
        self.encoder, self.block_tokens, self.packs = encoder, block_tokens, packs
        self.seed, self.name = seed, name
        self._items = [(item, prepare(item)) for item in items]
        self._first: list[Block] | None = None

    def epoch(self, number: int) -> list[Block]:
        """All blocks of one pass, in order."""
        rng = random.Random(f"{self.seed}/{self.name}/{number}")
        documents: list[Document] = []
        for item, text in self._items:
            documents += self._documents(rng, item, text)
        if self.packs:
            return pack(documents, self.block_tokens, rng)
        rng.shuffle(documents)
        return [join([d]) for d in documents if d.loss_mask.any()]

    def _documents(self, rng: random.Random, item: Item, text: Text) -> list[Document]:
        header, title = draw_header(rng, item.tags, item.date, item.title)
        short = rng.random() < _SHORT_SHARE
        limit = min(SHORT_TOKENS, self.block_tokens) if short else self.block_tokens
        found = self.encoder.documents(text, header + title, limit)
        if not item.new_ranges:
            return found
        new = [(start - text.offset, end - text.offset) for start, end in item.new_ranges]
        return [d for d in found if _overlaps(d.span, new)]

    @property
    def tokens(self) -> int:
        """Tokens of the first epoch; the others differ by their headers."""
        if self._first is None:
            self._first = self.epoch(0)
        return sum(len(b) for b in self._first)

    def __iter__(self) -> Iterator[Block]:
        number = 0
        while True:
            blocks = self._first if number == 0 and self._first is not None else self.epoch(number)
            if not blocks:
                return
            yield from blocks
            number += 1


class Stored:
    """Blocks that were drawn before, in their order."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks

    @property
    def tokens(self) -> int:
        """Tokens of all of them."""
        return sum(len(b) for b in self._blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)


class Mixture:
    """Blocks of several streams in fixed shares of tokens; empty ones give theirs to the rest."""

    def __init__(self, streams: Sequence[tuple[Stream | Stored, float]]) -> None:
        self._streams = [(stream, share) for stream, share in streams if stream.tokens]
        self._sources = [iter(stream) for stream, _ in self._streams]
        self._taken = [0] * len(self._streams)
        self.position = 0  # blocks taken so far

    @property
    def empty(self) -> bool:
        return not self._streams

    def next(self) -> Block:
        """The next block: of the stream that lies furthest behind its share."""
        owed = [taken / share for taken, (_, share) in zip(self._taken, self._streams, strict=True)]
        index = owed.index(min(owed))
        block = next(self._sources[index])
        self._taken[index] += len(block)
        self.position += 1
        return block

    def skip(self, position: int) -> None:
        """Take blocks until `position`, as an earlier run did."""
        while self.position < position:
            self.next()

    def step(self, tokens: int) -> list[Block]:
        """Blocks of one optimiser step: at least one, and as many as `tokens` hold on average."""
        chosen = [self.next()]
        size = len(chosen[0])
        while size + len(chosen[-1]) // 2 < tokens:
            chosen.append(self.next())
            size += len(chosen[-1])
        return chosen


def _overlaps(span: Range, ranges: Sequence[Range]) -> bool:
    return any(start < span[1] and end > span[0] for start, end in ranges)


def read_general(path: str | None, most_chars: int = 4_000_000) -> list[str]:
    """Texts of a JSON-lines file of plain English (gzip or not); none where it is absent."""
    if path is None or not Path(path).exists():
        return []
    opener = gzip.open if path.endswith(".gz") else open
    texts: list[str] = []
    size = 0
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            text = str(json.loads(line)["text"])
            size += len(text)
            if size > most_chars:
                break
            texts.append(text)
    return texts


def split_validation(items: Sequence[Item], seed: int) -> tuple[list[Item], list[Item]]:
    """(train, validation): about 4 % of the characters, 3,000 to 40,000 of them, whole entries.

    The best step is chosen on these, so that the held-out set stays untouched for the gate. A vault
    too small to spare them (under 60,000 characters) gives none."""
    total = sum(len(item.text) for item in items)
    goal = min(40_000, max(3_000, total // 25))
    if total < 60_000:
        return list(items), []
    order = list(range(len(items)))
    random.Random(f"{seed}/validation").shuffle(order)
    chosen: set[int] = set()
    size = 0
    for index in order:
        if size >= goal:
            break
        length = len(items[index].text)
        if length <= goal:
            chosen.add(index)
            size += length
    return (
        [item for i, item in enumerate(items) if i not in chosen],
        [item for i, item in enumerate(items) if i in chosen],
    )
