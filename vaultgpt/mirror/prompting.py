"""From a Prompt to token ids: opening, left context cut to fit, the end-of-text before it.

And healing at the cursor: what the prompt gives back of its end is written again. Knows nothing
about models; only how many tokens they take.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vaultgpt.corpus.documents import opening, title_text
from vaultgpt.errors import UsageError
from vaultgpt.mirror.sampling import log_softmax
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.wire import Prompt

if TYPE_CHECKING:
    from vaultgpt.mirror.sampling import Logits  # needs torch, which cutting text does not

MOST_ALTERNATIVES = 16
_SPARE = 24  # tokens kept free: healing, and the word that may finish beyond max_tokens
LONGEST = 4096  # tokens of context used at most, whatever the base could take
_CHARS = 12  # of a token, at most, when a very long text is cut before it is tokenised
_PARAGRAPH, _SENTENCE, _WORD = (
    re.compile(p) for p in (r"\n[ \t]*\n+", r"[.!?…][\"'”’»)\]]*\s+|\n", r"\s+")
)


@dataclass(frozen=True)
class Encoded:
    """Tokens of one header variant: what the model reads first, and the tail to be healed."""

    cut: _Cut
    head: int  # tokens before the author's text (end-of-text and opening)


def check_alternatives(prompt: Prompt) -> None:
    """UsageError where it asks for none, or for too many."""
    if not 1 <= prompt.n <= MOST_ALTERNATIVES:
        raise UsageError(f"n must lie between 1 and {MOST_ALTERNATIVES}.")


def budget(context: int, max_tokens: int) -> tuple[int, int]:
    """(tokens for the prompt, tokens for the answer) within a model's context."""
    room = min(context, LONGEST)
    answer = max(1, min(max_tokens, room // 2))
    return max(8, room - answer - _SPARE), answer


def encode(
    vocabulary: Vocabulary,
    prompt: Prompt,
    room: int,
    *,
    header: bool,
    heal: bool,
    text: str | None = None,
) -> Encoded:
    """The prompt under its header, or without it, in at most `room` tokens.

    The opening shrinks before the text does, to half of `room`. `text` replaces the prompt's own,
    and is cut alike with the header and without it."""
    full, bare, kept = conditioned(vocabulary, prompt, room, text)
    top = full if header else bare
    spent = len(vocabulary.encode(top)) + 1
    whole = top + kept
    ids = vocabulary.encode(whole)
    cut = _cut_tail(vocabulary, whole, ids) if heal else _Cut(ids, b"", ((),))
    return Encoded(_Cut([vocabulary.start, *cut.ids], cut.tail, cut.paths), spent)


def conditioned(
    vocabulary: Vocabulary, prompt: Prompt, room: int, text: str | None = None
) -> tuple[str, str, str]:
    """(opening with header, without it, the end of the text) in at most `room` tokens."""
    text = prompt.text if text is None else text
    full, bare = opening(prompt.tags, prompt.date, prompt.title), title_text(prompt.title)
    if len(vocabulary.encode(full)) > room // 2:
        full = bare = ""
    return full, bare, _fit(vocabulary, text, room - len(vocabulary.encode(full)) - 1)


def _fit(vocabulary: Vocabulary, text: str, room: int) -> str:
    """The end of `text` in at most `room` tokens, from a paragraph's or sentence's start.

    It is cut in steps of a quarter of `room`, counted from the text's start: while the author
    types on, the cut stays where it is and the KV cache stays good."""
    step_chars = room * _CHARS
    if len(text) > 2 * step_chars:
        text = text[(len(text) - step_chars) // step_chars * step_chars :]
    spans = vocabulary.offsets(text)
    excess = len(spans) - room
    if excess <= 0:
        return text
    step = max(1, room // 4)
    at = spans[min(len(spans) - 1, -(-excess // step) * step)][0]
    cut = _boundary(text, at, spans[min(len(spans) - 1, len(spans) - 1 - room // 4)][0])
    while len(spans := vocabulary.offsets(text[cut:])) > room:  # retokenised, it may grow
        cut = max(cut + 1, cut + spans[len(spans) - room][0])
    return text[cut:]


def _boundary(text: str, at: int, last: int) -> int:
    """The first paragraph at or after `at`, else sentence, else word, but not beyond `last`."""
    for pattern, reach in ((_PARAGRAPH, last), (_SENTENCE, last), (_WORD, len(text))):
        match = pattern.search(text, max(0, at - 1), max(at, reach))
        if match and match.end() < len(text):
            return match.end()
    return at


# Healing ------------------------------------------------------------------------------------------

# The prompt gives back its last partial word or its white space. What was given back is written
# again by tokens whose bytes agree with it, so that the model sees the tokens it was trained on
# ("\n" "\n" "I" rather than "\n\n" "I", " seaside" rather than " sea" "side"). Only bytes beyond
# the cursor are new.

# The white space at the end, or the word there with one space or newline before it.
_TAIL = re.compile(r"\s+\Z|\s?[^\W_]+(?:['’\-][^\W_]+)*['’\-]?\Z")
_LOOK = 96  # characters of the end that are looked at
_MOST_TOKENS, _MOST_BYTES = 16, 64  # beyond (a line of CJK, a hash) only the last tokens go back
_PROBES = ("", "a", "\n")  # what may come next: enough to see how the tokenizer then cuts the tail


@dataclass(frozen=True)
class _Cut:
    """The prompt's tokens without its tail, and the tail's bytes (b"" when nothing goes back)."""

    ids: list[int]
    tail: bytes
    paths: tuple[tuple[int, ...], ...]  # ways to begin writing the tail, each within it; () first


@dataclass(frozen=True)
class _Respelling:
    """One way to write the tail again: tokens within it, then one that reaches its end."""

    path: tuple[int, ...]
    last: int


def _cut_tail(vocabulary: Vocabulary, text: str, ids: list[int]) -> _Cut:
    """Take the tail off `ids`, the tokens of `text`: one token at least, if there is one."""
    if not ids:
        return _Cut([], b"", ((),))
    match = _TAIL.search(text[-_LOOK:])
    wanted = len(match.group().encode("utf-8", "replace")) if match else 1
    count, size = 0, 0
    while count < len(ids) and size < wanted:
        count += 1
        size += len(vocabulary.written[ids[-count]])
    if count > _MOST_TOKENS or size > _MOST_BYTES:
        count = min(3, len(ids))
    tail = vocabulary.bytes_of(ids[-count:])
    kept = ids[:-count]
    return _Cut(kept, tail, _paths(vocabulary, text, tail, tuple(ids[-count:])))


def _paths(
    vocabulary: Vocabulary, text: str, tail: bytes, natural: tuple[int, ...]
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
    token that agrees (" a" for " appl") weighs only as much as what must follow it allows."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        cut: _Cut,
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

    def way(self, index: int) -> _Respelling:
        """The way whose weight is weights[index]."""
        for path, lasts in zip(self._paths, self._lasts, strict=True):
            if index < len(lasts):
                return _Respelling(path, int(lasts[index]))
            index -= len(lasts)
        raise IndexError(index)
