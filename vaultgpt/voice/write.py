"""The generation writes pages under the author's tags, many at once, without the copy guard.

A row begins at the header alone, as an empty note does. Knows nothing about what is measured.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from vaultgpt.corpus.lines import Lines
from vaultgpt.corpus.runs import split_words
from vaultgpt.mirror.verse import Breaks, Verse
from vaultgpt.training.base import BaseModel
from vaultgpt.training.memory import is_out_of_memory

SMALL_PARAMS = 50_000_000
ROWS, FEW_ROWS = 48, 16  # of one batch, on a small base and on a larger one
LEAST_ROWS = 8
MARGIN = 1.1  # tokens beyond what the author's own words take


@dataclass
class Wanted:
    """One kind of page to be written: under which headers, how many words, and what there is."""

    label: str  # the tag it stands for; "" for notes without one
    headers: tuple[str, ...]
    words: int
    least: int  # words, below which nothing can be said of them
    share: float  # of the author's held-out words
    lines: Lines | None = None  # how they run where pages of this kind are in lines
    texts: list[str] = field(default_factory=list)
    written: int = 0  # words

    @property
    def left(self) -> int:
        """Words still wanted."""
        return max(0, self.words - self.written)


class Writer:
    """Writes rows of about `row_words` words with the product's sampling settings."""

    def __init__(
        self,
        base: BaseModel,
        sampling: dict[str, float],
        row_words: int,
        tokens_a_word: float,
        seed: int,
    ) -> None:
        self.base, self.sampling, self.row_words = base, sampling, row_words
        self.row_tokens = max(8, math.ceil(row_words * tokens_a_word * MARGIN))
        self.rng, self.seed = random.Random(seed), seed
        self.tokens, self.seconds = 0, 0.0
        self._pieces: list[str] = []  # what each token writes, once pages in lines are asked for
        self.most_rows = ROWS if base.params < SMALL_PARAMS else FEW_ROWS

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
        while open_ := [w for w in wanted if w.left and w.headers]:
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
        """Texts of one batch; half as many rows after running out of memory."""
        needed = math.ceil(one.left / self.row_words * MARGIN)
        rows = min(self.most_rows, max(LEAST_ROWS, needed))
        while True:
            prompts = self._prompts(one.headers, rows)
            try:
                return self._generate(prompts, limit_s, one)
            except Exception as error:
                if not is_out_of_memory(error) or rows == 1:
                    raise
                rows = self.most_rows = rows // 2

    def _prompts(self, headers: Sequence[str], rows: int) -> list[list[int]]:
        """`rows` prompts of one length, so that none needs padding (some families can't be)."""
        encoder = self.base.encoder
        drawn = [self.rng.choice(headers) for _ in range(rows)]
        found = [
            [encoder.start, *encoder.tokenizer.encode(h, add_special_tokens=False).ids]
            for h in drawn
        ]
        lengths = [len(ids) for ids in found]
        usual = max(set(lengths), key=lambda n: (lengths.count(n), -n))
        fitting = [ids for ids in found if len(ids) == usual]
        return [fitting[i % len(fitting)] for i in range(rows)]

    @torch.no_grad()
    def _generate(
        self, prompts: Sequence[list[int]], limit_s: float, one: Wanted
    ) -> list[str]:
        base, end = self.base, self.base.encoder.end
        size = min(self.row_tokens, base.context - len(prompts[0]))
        if size <= 0:
            return []
        ids = torch.tensor(prompts, device=base.device.where)  # [rows, prompt]
        processors = [InLines(one.lines, self._written(), ids.shape)] if one.lines else []
        # As at the cursor: u + strength (c - u); a date alone is not made stronger. With a cache
        # transformers' guidance (5.24) is wrong for recurrent families, which do not pack either.
        guided = {
            "guidance_scale": self.sampling["tag_strength"],
            "negative_prompt_ids": torch.full_like(ids[:, :1], base.encoder.start),
            "use_cache": base.packs,
        }
        self.seed += 1
        torch.manual_seed(self.seed)
        out = base.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=size,
            max_time=limit_s,
            pad_token_id=end,
            eos_token_id=end,
            **(guided if one.label else {}),
            **_options(self.sampling, processors),
        )
        rows: list[list[int]] = out[:, ids.shape[1] :].tolist()
        return [self._text(row, end) for row in rows]

    def _written(self) -> list[str]:
        if not self._pieces:
            tokenizer = self.base.encoder.tokenizer
            size = tokenizer.get_vocab_size(with_added_tokens=True)
            self._pieces = [tokenizer.decode([i]) for i in range(size)]
        return self._pieces

    def _text(self, row: list[int], end: int) -> str:
        """A row up to its end token; one that was cut loses its last, perhaps half, word."""
        if ended := end in row:
            row = row[: row.index(end)]
        self.tokens += len(row)
        text: str = self.base.encoder.tokenizer.decode(row)
        if not ended:
            words = split_words(text)
            text = text[: words[-1].start] if words else ""
        return text.strip("\n").rstrip()


def _options(sampling: dict[str, float], before: Sequence[LogitsProcessor]) -> dict[str, Any]:
    if not sampling["temperature"]:
        return {"do_sample": False, "logits_processor": LogitsProcessorList(before)}
    neutral = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    processors = LogitsProcessorList([*before, Kept(sampling)])
    return {"do_sample": True, **neutral, "logits_processor": processors}


class InLines(LogitsProcessor):
    """Ends lines where the author's end, in every row; as the mirror does under such a tag."""

    def __init__(self, lines: Lines, written: Sequence[str], shape: Sequence[int]) -> None:
        breaks = Breaks([text.encode() for text in written])
        self.written, self.start = written, shape[1]
        self.rows = [Verse(lines, breaks) for _ in range(shape[0])]
        self.columns = [0] * shape[0]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[rows, vocabulary] with the breaks' scores changed."""
        bent = scores.float().cpu().numpy().copy()
        for row, verse in enumerate(self.rows):
            if input_ids.shape[1] > self.start:
                text = self.written[int(input_ids[row, -1])]
                after = text.rpartition("\n")[2]
                self.columns[row] = len(after) + (0 if "\n" in text else self.columns[row])
            verse.bend(bent[row], self.columns[row])
        return torch.from_numpy(bent).to(scores.device)


class Kept(LogitsProcessor):
    """Temperature, min-p, then top-p of what is left: the mirror's own order, for many rows.

    Only the likeliest MOST are sorted, and all where min-p leaves more: 1,630 tokens a second of a
    core against 935 with transformers' own, which sort the vocabulary (pebble, 48 rows).
    """

    MOST = 256

    def __init__(self, sampling: dict[str, float]) -> None:
        self.temperature = sampling["temperature"]
        self.top_p, self.min_p = sampling["top_p"], sampling["min_p"]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[rows, vocabulary]: scores over the temperature, -inf for what is never drawn."""
        scores = scores.float() / self.temperature
        size = scores.shape[1]
        most = min(self.MOST, size) if self.min_p > 0 else size
        while True:
            top, at = scores.topk(most, dim=1)  # [rows, most], largest first
            chances = (top - top[:, :1]).exp()
            chances = chances.where(chances >= min(self.min_p, 1.0), 0.0)
            if most == size or not bool(chances[:, -1].any()):
                break
            most = size
        sums = chances.cumsum(1)
        kept = (chances > 0) & (sums - chances < self.top_p * sums[:, -1:])
        found = torch.full_like(scores, -torch.inf)
        return found.scatter_(1, at, top.where(kept, -torch.inf))
