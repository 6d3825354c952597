"""The mirror asks the author: several openings of a question in one batch, the true ones kept.

A new paragraph after the author's text begins with each stem; while a candidate is written, every
token that would end it without a question mark is barred. Knows nothing about models or requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vaultgpt.corpus.words import language_of, norms
from vaultgpt.mirror.sampling import Logits
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.wire import Prompt

_STEMS = {
    "en": (
        "What do you",
        "Why did you",
        "How did you",
        "Do you remember",
        "When did you",
        "What would you",
        "Who was with you",
        "Where were you",
    ),
    "de": (
        "Was hast du",
        "Warum hast du",
        "Wie hast du",
        "Erinnerst du dich",
        "Wann hast du",
        "Was würdest du",
        "Wer war bei dir",
        "Wo warst du",
    ),
}
_LEAST_WORDS, _MOST_WORDS = 5, 30
_FAIR_WORDS = 8  # a shorter question asks about little
_KNOWN_BONUS = 0.4  # nats a token, for each word it takes up from the note; at most three count
_FORBIDDEN = re.compile(rb"[.!\n;:\xe2]")  # also the dash and the ellipsis, which wander off
_TRUE = re.compile(r"[^\W\d_].*\?\Z", re.DOTALL)


@dataclass(frozen=True)
class Stems:
    """The text that all candidates share, each one's own first tokens, and what is barred."""

    text: str
    tails: list[list[int]]
    barred: Logits
    joined: list[int]  # tokens that would write on in a stem's last word


@dataclass(frozen=True)
class ScoredText:
    """A candidate: its text, whether it came to an end, and the mean nats of a token of it."""

    text: str
    whole: bool
    nats: float


def _stems_of(text: str) -> tuple[str, ...]:
    """In the text's own language; English where that has none here or can't be told."""
    return _STEMS.get(language_of(text, 1, 1) or "en", _STEMS["en"])


def _paragraph(prompt: Prompt) -> str:
    body = prompt.text.rstrip()
    return f"{body}\n\n" if body else ""


def make_stems(vocabulary: Vocabulary, prompt: Prompt, size: int) -> Stems:
    """Stems for n candidates; `size` is the model's vocabulary."""
    known = _stems_of(prompt.text)
    shift = (prompt.seed or 0) % len(known)
    text = _paragraph(prompt)
    # Tokenised in place, since "\n\n" before a word is cut otherwise than at a text's end.
    bare = vocabulary.encode(text)
    wholes = [vocabulary.encode(text + known[(shift + i) % len(known)]) for i in range(prompt.n)]
    common = 0
    while all(common < len(w) and common < len(bare) and w[common] == bare[common] for w in wholes):
        common += 1
    return Stems(
        vocabulary.bytes_of(bare[:common]).decode("utf-8", "ignore"),
        [w[common:] for w in wholes],
        *_barring(vocabulary, size),
    )


@lru_cache(maxsize=1)
def _barring(vocabulary: Vocabulary, size: int) -> tuple[Logits, list[int]]:
    """`barred` and `joined` of all Stems; kept, since a look at all 8,192 takes 6 ms."""
    barred = np.zeros(size, dtype=np.float32)
    for i, written in enumerate(vocabulary.written[:size]):
        if i in vocabulary.ends or _FORBIDDEN.search(written):
            barred[i] = -np.inf
    return barred, [
        i for i, w in enumerate(vocabulary.written[:size]) if w[:1].isalnum() or w[:1] >= b"\x80"
    ]


def _is_question(text: str, before: str) -> bool:
    """Whether `text` is one whole question that does not stand in `before` already."""
    words = norms(text)
    if not _TRUE.fullmatch(text) or not _LEAST_WORDS <= len(words) <= _MOST_WORDS:
        return False
    if not text[0].isupper() or text.count("?") != 1 or text.count('"') % 2:
        return False
    if len(set(words)) < 0.6 * len(words):
        return False
    return " ".join(words) not in " ".join(norms(before))


def best(candidates: Iterable[ScoredText], before: str, found: Sequence[str]) -> list[str]:
    """The true questions among `candidates` that are not among `found`, the best one first."""
    kept: list[str] = []
    for candidate in sorted(candidates, key=lambda d: -_rank(d, before)):
        text = candidate.text.strip()
        if candidate.whole and _is_question(text, before) and text not in (*found, *kept):
            kept.append(text)
    return kept


def _rank(candidate: ScoredText, before: str) -> float:
    """Fluent, about the note, and not too short: mean nats a drawn token, and bonuses."""
    words = norms(candidate.text)
    taken = len({w for w in words if len(w) > 3} & set(norms(before[-1500:])))
    short = max(0, _FAIR_WORDS - len(words))
    return candidate.nats + _KNOWN_BONUS * min(3, taken) - 0.2 * short
