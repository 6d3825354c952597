"""Entries to token documents with a header and a loss mask, and documents packed into blocks.

A document is start token, header line of tags and date, title, text, end token. Knows nothing about
models; the tokenizer is a `tokenizers.Tokenizer`.
"""

from __future__ import annotations

import bisect
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tokenizers import Encoding, Tokenizer

from vaultgpt.corpus import np
from vaultgpt.corpus.secrets import Range, merge_ranges, secret_ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Dropout makes unconditional text and classifier-free guidance possible. With 15 % of
# the headers and a quarter of the tags dropped, fewer pages were likeliest under their own tag.
_DROP_HEADER = 0.10
_DROP_TAG = 0.10
_DROP_DATE = 0.50
_YEAR_ONLY = 0.60  # of the dates that stay; the rest keep their month
_TITLE = 0.50

_DATE = re.compile(r"\d{4}(?:-\d{2})?")


def _header_text(tags: Sequence[str], date: str | None) -> str:
    """`#dream #poetry | 2019-03` and a newline; "" when there is nothing to say.

    A day in `date` is dropped: a full date is a key that retrieves one entry. Without tags the
    line is `| 2019-03`."""
    words = [f"#{word}" for tag in tags if (word := "-".join(tag.lstrip("#").split()))]
    if date is not None and (kept := _DATE.match(date)):
        words += ["|", kept.group()]
    return " ".join(words) + "\n" if words else ""


def title_text(title: str | None) -> str:
    """The title as a first-level heading and an empty line; "" for none."""
    line = " ".join((title or "").split())
    return f"# {line}\n\n" if line else ""


def opening(tags: Sequence[str], date: str | None, title: str | None) -> str:
    """All that stands between end-of-text and the prose: the mirror's prompt begins with it."""
    return _header_text(tags, date) + title_text(title)


def draw_header(
    rng: random.Random, tags: Sequence[str], date: str | None, title: str | None
) -> tuple[str, str]:
    """One training draw of (header, title), each part left out by its chance.

    The number of values taken from `rng` does not depend on what is dropped, only on the entry."""
    no_header = rng.random() < _DROP_HEADER
    kept = [tag for tag in tags if rng.random() >= _DROP_TAG]
    rng.shuffle(kept)
    drop_date = rng.random() < _DROP_DATE
    digits = 4 if rng.random() < _YEAR_ONLY else 7
    shown = title_text(title) if rng.random() < _TITLE else ""
    if no_header:
        return "", shown
    return _header_text(kept, None if drop_date or date is None else date[:digits]), shown


_MIN_ROOM = 16  # tokens of text that must fit beside a header; a longer header is dropped
# Where a long entry may be cut, best first: after a blank line, a line, a sentence, a word.
_CUTS = [re.compile(p) for p in (r"\n[ \t]*\n\s*", r"\n", r"[.!?…][\"'”’)\]]*\s+", r"\s+")]


class _MaskedText(Protocol):
    """What is needed of an entry (training.round.Item has it)."""

    @property
    def text(self) -> str: ...
    @property
    def masked(self) -> tuple[Range, ...]: ...


@dataclass(frozen=True)
class Text:
    """An entry's text, trimmed, and the character ranges that carry no loss, secrets included."""

    text: str
    masked: tuple[Range, ...]
    offset: int  # characters trimmed from the start


@dataclass(frozen=True)
class Document:
    """One entry, or a part of a long one, as tokens. All arrays are [T]."""

    token_ids: NDArray[np.int32]
    loss_mask: NDArray[np.bool_]  # True where the token is a target that carries loss
    byte_counts: NDArray[np.int32]  # UTF-8 bytes of the entry's text that the token adds
    span: Range  # the characters of the text it holds

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True)
class Block:
    """Whole documents side by side. All arrays are [T], T <= the block's capacity."""

    token_ids: NDArray[np.int32]
    position_ids: NDArray[np.int32]  # restart at 0 with every document
    loss_mask: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.token_ids)


def prepare(source: _MaskedText) -> Text:
    """Trim blank lines before and white space after; add secrets to the masked ranges.

    Indentation of the first line stays: it is the author's."""
    text = source.text
    end = len(text.rstrip())
    start = min(re.match(r"(?:[ \t]*(?:\r\n|\r|\n))*", text).end(), end)  # type: ignore[union-attr]
    masked = merge_ranges([*((int(s), int(e)) for s, e in source.masked), *secret_ranges(text)])
    inside = ((max(s, start) - start, min(e, end) - start) for s, e in masked)
    return Text(text[start:end], tuple((s, e) for s, e in inside if e > s), start)


class Encoder:
    """Text to documents with one tokenizer. `start` and `end` are token ids."""

    def __init__(self, tokenizer: Tokenizer, start: int, end: int) -> None:
        self.tokenizer, self.start, self.end = tokenizer, start, end
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        # "<|endoftext|>" typed by the author is text, not the end of it.
        self.tokenizer.encode_special_tokens = True

    def documents(self, text: Text, opening: str, limit: int) -> list[Document]:
        """The entry under `opening` as documents of at most `limit` tokens.

        A long entry is cut at paragraphs; every part repeats the opening and only the last ends
        with the end token. An opening that leaves less than _MIN_ROOM tokens is dropped."""
        if not text.text:
            return []
        whole = self._encode(opening + text.text)
        if len(whole.ids) + 2 <= limit:
            return [self._document(whole, opening, text, 0, len(text.text), last=True)]
        if opening and limit - 2 - len(self._encode(opening).ids) < _MIN_ROOM:
            return self.documents(text, "", limit)
        parts: list[Document] = []
        at = 0
        while at < len(text.text):
            encoding, at, upto = self._part(text.text, opening, at, limit)
            last = upto >= len(text.text)
            parts.append(self._document(encoding, opening, text, at, upto, last=last))
            at = upto
        return parts

    def _encode(self, text: str) -> Encoding:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _part(self, text: str, opening: str, at: int, limit: int) -> tuple[Encoding, int, int]:
        """The encoding of opening and text[start:upto], as much as fits, without blank lines."""
        at += len(text[at:]) - len(text[at:].lstrip("\r\n"))
        reach = min(len(text), at + 16 * limit)
        encoding = self._encode(opening + text[at:reach])
        upto = reach
        room = limit - 2
        while len(encoding.ids) > limit - 2 and upto - at > 1:
            ends = encoding.offsets[min(room, len(encoding.offsets)) - 1][1] - len(opening)
            upto = _cut(text, at, max(at + 1, min(at + ends, upto - 1)))
            encoding = self._encode(opening + text[at:upto])
            room = max(1, room - 1)
        return encoding, at, upto

    def _document(
        self, encoding: Encoding, opening: str, text: Text, start: int, upto: int, *, last: bool
    ) -> Document:
        body = text.text[start:upto]
        offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2) - len(opening)
        ends = np.maximum.accumulate(np.maximum(offsets[:, 1], 0))
        # Bytes of the text up to each character; a token adds what lies after the last token.
        added = np.diff(_bytes_before(body)[np.minimum(ends, len(body))], prepend=0)
        learn = ends > 0
        for low, high in text.masked:
            low, high = low - start, high - start
            learn &= ~((offsets[:, 0] < high) & (offsets[:, 1] > low))
        tail = [self.end] if last else []
        # The end token is learned unless the text before it is not the author's.
        ends_masked = any(high >= len(text.text) for _, high in text.masked)
        return Document(
            np.array([self.start, *encoding.ids, *tail], np.int32),
            np.concatenate([[False], learn, [not ends_masked] * len(tail)]).astype(np.bool_),
            np.concatenate([[0], added, [0] * len(tail)]).astype(np.int32),
            (start, upto),
        )


def _bytes_before(text: str) -> NDArray[np.int64]:
    """[len(text) + 1]: UTF-8 bytes before each character, and of all."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def _cut(text: str, start: int, reach: int) -> int:
    """Where text[start:] is best cut at or before `reach`: never in the first half if avoidable."""
    half = start + (reach - start) // 2
    for pattern in _CUTS:
        best = max((m.end() for m in pattern.finditer(text, half, reach)), default=0)
        if best > half:
            return best
    return reach


def pack(documents: Sequence[Document], capacity: int, rng: random.Random) -> list[Block]:
    """Best-fit-decreasing packing of whole documents into blocks of at most `capacity` tokens.

    Documents without a single loss token are left out; one longer than `capacity` is a ValueError.
    The order of the blocks, and of equally long documents, comes from `rng`."""
    order = [d for d in documents if d.loss_mask.any()]
    rng.shuffle(order)
    order.sort(key=lambda d: -len(d))
    bins: list[list[Document]] = []
    spaces: list[tuple[int, int]] = []  # (free tokens, bin), sorted
    for document in order:
        size = len(document)
        if size > capacity:
            raise ValueError(f"a document of {size} tokens does not fit into {capacity}")
        place = bisect.bisect_left(spaces, (size, -1))
        free, index = spaces.pop(place) if place < len(spaces) else (capacity, len(bins))
        if index == len(bins):
            bins.append([])
        bins[index].append(document)
        bisect.insort(spaces, (free - size, index))
    blocks = [join(chosen) for chosen in bins]
    rng.shuffle(blocks)
    return blocks


def join(documents: Sequence[Document | Block]) -> Block:
    """One block of these documents in this order."""
    return Block(
        np.concatenate([d.token_ids for d in documents]),
        np.concatenate([np.arange(len(d), dtype=np.int32) for d in documents]),
        np.concatenate([d.loss_mask for d in documents]),
    )
