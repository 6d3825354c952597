"""Token healing at the cursor: the prompt gives back its last partial word or its white space.

What was given back is written again by tokens whose bytes agree with it, so that the model sees
the tokens it was trained on ("\\n" "\\n" "I" rather than "\\n\\n" "I", " seaside" rather than
" sea" "side"). Only bytes beyond the cursor are new. Knows nothing about models.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vaultgpt.mirror.chances import log_softmax
from vaultgpt.mirror.vocabulary import Vocabulary

if TYPE_CHECKING:
    from vaultgpt.mirror.sampling import Logits  # needs torch, which cutting text does not

# The white space at the end, or the word there with one space or newline before it.
_TAIL = re.compile(r"\s+\Z|\s?[^\W_]+(?:['’\-][^\W_]+)*['’\-]?\Z")
_LOOK = 96  # characters of the end that are looked at
MOST_TOKENS, MOST_BYTES = 16, 64  # beyond (a line of CJK, a hash) only the last tokens go back
_PROBES = ("", "a", "\n")  # what may come next: enough to see how the tokenizer then cuts the tail


@dataclass(frozen=True)
class Cut:
    """The prompt's tokens without its tail, and the tail's bytes (b"" when nothing goes back)."""

    ids: list[int]
    tail: bytes
    paths: tuple[tuple[int, ...], ...]  # ways to begin writing the tail, each within it; () first


@dataclass(frozen=True)
class Way:
    """One way to write the tail again: tokens within it, then one that reaches its end."""

    path: tuple[int, ...]
    last: int


def cut_tail(vocabulary: Vocabulary, text: str, ids: list[int]) -> Cut:
    """Take the tail off `ids`, the tokens of `text`: one token at least, if there is one."""
    if not ids:
        return Cut([], b"", ((),))
    match = _TAIL.search(text[-_LOOK:])
    wanted = len(match.group().encode("utf-8", "replace")) if match else 1
    count, size = 0, 0
    while count < len(ids) and size < wanted:
        count += 1
        size += len(vocabulary.written[ids[-count]])
    if count > MOST_TOKENS or size > MOST_BYTES:
        count = min(3, len(ids))
    tail = vocabulary.bytes_of(ids[-count:])
    kept = ids[:-count]
    return Cut(kept, tail, _paths(vocabulary, text, kept, tail, tuple(ids[-count:])))


def _paths(
    vocabulary: Vocabulary, text: str, kept: list[int], tail: bytes, natural: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Beginnings of the tail as the tokenizer cuts it, alone and before what may follow."""
    found: dict[tuple[int, ...], None] = {(): None}
    start = max(0, len(text) - _LOOK)
    for probe in _PROBES:
        tokens = natural
        if probe:
            whole = vocabulary.encode(text[start:] + probe)
            # Align from the end: the probe's text follows the tail.
            written = len(tail) + len(probe.encode())
            size, count = 0, 0
            while count < len(whole) and size < written:
                count += 1
                size += len(vocabulary.written[whole[-count]])
            if size != written:
                continue
            tokens = tuple(whole[-count:])
        size = 0
        for i, token in enumerate(tokens):
            size += len(vocabulary.written[token])
            if size >= len(tail) or not vocabulary.written[token]:
                break
            found[tokens[: i + 1]] = None
    return tuple(found)


class Healing:
    """All ways to write the tail, each with its log probability given the prompt's tokens.

    A way's weight is the model's probability of its path times that of its last token, so a short
    token that agrees (" a" for " appl") weighs only as much as what must follow it allows.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        cut: Cut,
        look: Callable[[list[int]], list[Logits]],
        barred: Logits,
    ) -> None:
        """`look(path)` gives logits after the prompt and after each token of the path."""
        self.tail = cut.tail
        self._paths: list[tuple[int, ...]] = []
        self._lasts: list[npt.NDArray[np.int64]] = []
        parts: list[Logits] = []
        seen: dict[tuple[int, ...], Logits] = {}
        # Longest first: its forward pass gives the logits of its beginnings as well.
        for path in sorted(cut.paths, key=len, reverse=True):
            if path not in seen:
                for i, row in enumerate(look(list(path))):
                    seen.setdefault(path[:i], log_softmax(row + barred))
        for path in cut.paths:
            rest = cut.tail[len(vocabulary.bytes_of(list(path))) :]
            lasts = vocabulary.starting_with(rest)
            weight = sum(float(seen[path[:i]][token]) for i, token in enumerate(path))
            self._paths.append(path)
            self._lasts.append(lasts)
            parts.append(seen[path][lasts] + np.float32(weight))
        self.weights: Logits = np.concatenate(parts).astype(np.float32)

    def __len__(self) -> int:
        return len(self.weights)

    def way(self, index: int) -> Way:
        """The way whose weight is weights[index]."""
        for path, lasts in zip(self._paths, self._lasts, strict=True):
            if index < len(lasts):
                return Way(path, int(lasts[index]))
            index -= len(lasts)
        raise IndexError(index)
