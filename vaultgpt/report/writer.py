"""The generation writes pages under the author's tags, as it does at the cursor.

A text begins at its header alone, as in an empty note, and the copy guard is off. Knows nothing
about what is measured.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vaultgpt.corpus.words import split_words
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.prompting import MOST_ALTERNATIVES
from vaultgpt.wire import Prompt, Sampling, Usage

Opening = tuple[tuple[str, ...], str | None]  # the tags and the year of one of the author's notes
_LEAST_ROWS = 8
_MARGIN = 1.1  # tokens beyond what the author's own words take


@dataclass
class Wanted:
    """One kind of page to be written: under which headers, how many words, and what there is."""

    label: str  # the tag it stands for; "" for notes without one
    openings: tuple[Opening, ...]
    words: int
    least: int  # words, below which nothing can be said of them
    share: float  # of the author's held-out words
    texts: list[str] = field(default_factory=list)
    written: int = 0  # words

    @property
    def left(self) -> int:
        """Words still wanted."""
        return max(0, self.words - self.written)


class Writer:
    """Writes texts of about `row_words` words with the engine's active generation."""

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        row_words: int,
        tokens_a_word: float,
        seed: int,
    ) -> None:
        self.engine, self.sampling, self.row_words = engine, sampling, row_words
        self.row_tokens = max(8, math.ceil(row_words * tokens_a_word * _MARGIN))
        self.rng, self.seed = random.Random(seed), seed
        self.tokens, self.seconds = 0, 0.0

    def write(
        self,
        wanted: Sequence[Wanted],
        limit_s: float,
        most_s: float,
        on_part: Callable[[float], None],
    ) -> None:
        """Fill `texts` of each, in turns and the emptiest first, until all or the time is spent.

        The time is `limit_s`, and up to `most_s` while any has less than its least. A batch under
        way at the end of it is cut and what stands is kept.
        """
        began = time.monotonic()
        while open_ := [w for w in wanted if w.left and w.openings]:
            spent_s = time.monotonic() - began
            lacking = any(w.written < w.least for w in open_)
            if spent_s >= (most_s if lacking else limit_s):
                break
            fresh = sum(not w.texts for w in open_)
            one = max(open_, key=lambda w: (w.written < w.least, w.left / w.words))
            texts = self.batch(one, (most_s - spent_s) / max(1, fresh))
            one.texts += texts
            one.written += sum(len(split_words(text)) for text in texts)
            if not any(texts):
                one.words = one.least = one.written  # it ends every page at once
            done = sum(w.written for w in wanted) / max(1, sum(w.words for w in wanted))
            on_part(min(1.0, max(done, (time.monotonic() - began) / most_s)))
        self.seconds = time.monotonic() - began

    def batch(self, one: Wanted, limit_s: float) -> list[str]:
        """Texts under one header; those that did not end by themselves lose their last word."""
        tags, date = self.rng.choice(one.openings)
        needed = math.ceil(one.left / self.row_words * _MARGIN)
        self.seed += 1
        prompt = Prompt(
            text="",
            tags=tags,
            date=date,
            length="tokens",
            max_tokens=self.row_tokens,
            n=min(MOST_ALTERNATIVES, max(_LEAST_ROWS, needed)),
            seed=self.seed,
            sampling=self.sampling,
        )
        texts, ended = [""] * prompt.n, [False] * prompt.n
        until = time.monotonic() + limit_s
        for piece in self.engine.generate(prompt, lambda: time.monotonic() >= until):
            if isinstance(piece, Usage):
                self.tokens += piece.tokens
                continue
            texts[piece.index] += piece.text
            ended[piece.index] |= piece.finish == "stop"
        return [_whole(*each) for each in zip(texts, ended, strict=True)]


def _whole(text: str, ended: bool) -> str:
    if not ended:
        words = split_words(text)
        text = text[: words[-1].start] if words else ""
    return text.strip("\n").rstrip()
