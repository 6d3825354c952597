"""From a Prompt to token ids: opening, left context cut to fit, the end-of-text before it.

Knows nothing about models; only how many tokens they take.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vaultgpt.corpus.documents import opening, title_text
from vaultgpt.errors import UsageError
from vaultgpt.mirror.healing import Cut, cut_tail
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.wire import Prompt

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

    cut: Cut
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
    and is cut alike with the header and without it.
    """
    full, bare, kept = conditioned(vocabulary, prompt, room, text)
    top = full if header else bare
    spent = len(vocabulary.encode(top)) + 1
    whole = top + kept
    ids = vocabulary.encode(whole)
    cut = cut_tail(vocabulary, whole, ids) if heal else Cut(ids, b"", ((),))
    return Encoded(Cut([vocabulary.start, *cut.ids], cut.tail, cut.paths), spent)


def conditioned(
    vocabulary: Vocabulary, prompt: Prompt, room: int, text: str | None = None
) -> tuple[str, str, str]:
    """(opening with header, without it, the end of the text) in at most `room` tokens."""
    text = prompt.text if text is None else text
    full, bare = opening(prompt.tags, prompt.date, prompt.title), title_text(prompt.title)
    if len(vocabulary.encode(full)) > room // 2:
        full = bare = ""
    return full, bare, fit(vocabulary, text, room - len(vocabulary.encode(full)) - 1)


def fit(vocabulary: Vocabulary, text: str, room: int) -> str:
    """The end of `text` in at most `room` tokens, from a paragraph's or sentence's start.

    It is cut in steps of a quarter of `room`, counted from the text's start: while the author
    types on, the cut stays where it is and the KV cache stays good.
    """
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
