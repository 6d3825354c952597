"""How much the model copies with the guard off, beside how much the author repeats themselves.

Runs of 8 words of sampled text that stand in the training text. Knows nothing about verdicts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from vaultgpt.corpus.runs import COPY_WORDS
from vaultgpt.corpus.words import norms
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.evaluate import Segment

_PROMPT_TOKENS = 24
_LEAST_RUNS = 8  # of 8 words, a row, before time ends the drawing: 20 tokens of English
TEMPERATURE, TOP_P, MIN_P = 0.95, 0.98, 0.05  # likelier words than the mirror's copy sooner
_UNKNOWN = 2**63  # a word that stands nowhere; 0 is a border between texts
_LONGEST = 400  # words; a longer copied run is reported as this


def copying(
    base: BaseModel,
    prompts: Sequence[Segment],
    training: Iterable[str],
    held_out: Iterable[str],
    seed: int,
    *,
    few: bool = False,
    seconds: float | None = None,
) -> dict[str, float]:
    """{"share", "author_share", "longest", "tokens"...} of continuations of held-out beginnings.

    Empty when there is nothing to begin with; a third as many with `few`. They end after `seconds`,
    if not before. The base must hold the merged adapter."""
    texts, tokens = _sample(base, prompts, seed, few, seconds)
    if not texts:
        return {}
    index = WordRuns(training)
    runs, copied, longest = index.measure(texts)
    own_runs, own_copied, _ = index.measure(held_out)
    return {
        "share": copied / max(1, runs),
        "author_share": own_copied / max(1, own_runs),
        "longest": float(longest),
        "runs": float(runs),
        "author_runs": float(own_runs),
        "tokens": float(tokens),
    }


def _sampled_length(base: BaseModel) -> int:
    """Tokens drawn after each beginning."""
    return min(96 if base.params < 50_000_000 else 64, base.context - _PROMPT_TOKENS)


@torch.no_grad()
def _sample(
    base: BaseModel,
    prompts: Sequence[Segment],
    seed: int,
    few: bool = False,
    seconds: float | None = None,
) -> tuple[list[str], int]:
    """Continuations of the segments' first tokens, unguarded and in likelier words than usual.

    Beside them the tokens that were read and drawn."""
    rows, length = 48 if base.params < 50_000_000 else 24, _sampled_length(base)
    rows = rows // 3 if few else rows
    fitting = [s for s in prompts if len(s.document) >= _PROMPT_TOKENS]
    if not fitting or base.context < _PROMPT_TOKENS + 16:
        return [], 0
    chosen = [fitting[i * len(fitting) // rows] for i in range(rows)]
    ids = torch.from_numpy(np.stack([s.document.token_ids[:_PROMPT_TOKENS] for s in chosen])).long()
    ids = ids.to(base.device.where)  # [rows, PROMPT_TOKENS]
    torch.manual_seed(seed)
    out = base.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=length,
        min_new_tokens=length,
        logits_processor=LogitsProcessorList([_Draw()]),
        stopping_criteria=StoppingCriteriaList(
            [] if seconds is None else [_Enough(seconds, base.encoder.tokenizer)]
        ),
        pad_token_id=base.encoder.end,
        eos_token_id=base.encoder.end,
    )
    texts = [base.encoder.tokenizer.decode(row) for row in out[:, _PROMPT_TOKENS:].tolist()]
    return texts, out.numel()


class _Enough(StoppingCriteria):
    """Ends drawing after so many seconds, but not before there are runs of 8 words."""

    def __init__(self, seconds: float, tokenizer: Any) -> None:
        self._end, self._tokenizer = time.monotonic() + seconds, tokenizer

    def __call__(self, ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        """[rows], whether each is done."""
        late = time.monotonic() >= self._end and self._tells(ids[:, _PROMPT_TOKENS:])
        return torch.full((len(ids),), late, dtype=torch.bool, device=ids.device)

    def _tells(self, drawn: Tensor) -> bool:
        words = [len(norms(self._tokenizer.decode(row))) for row in drawn.tolist()]
        return sum(max(0, n - COPY_WORDS + 1) for n in words) >= _LEAST_RUNS * len(words)


class _Draw(LogitsProcessor):
    """Leaves one token to greedy decoding, drawn by TEMPERATURE, TOP_P and MIN_P.

    min-p spares few tokens, so only those are sorted and drawn from: 3 ms for 48 rows of 8,192
    logits, where sampling by transformers takes 31."""

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Of logits [rows, V], -inf but for a 0 at the drawn token."""
        chances = (logits.float() / TEMPERATURE).softmax(-1)
        most = int((chances >= MIN_P * chances.amax(-1, keepdim=True)).sum(-1).amax())
        values, tokens = chances.topk(most)  # [rows, most], falling
        kept = (values.cumsum(-1) - values < TOP_P) & (values >= MIN_P * values[:, :1])
        drawn = tokens.gather(1, torch.multinomial(values * kept, 1))  # [rows, 1]
        return torch.full_like(logits, -torch.inf).scatter_(1, drawn, 0.0)


def repeated(texts: Iterable[str]) -> float:
    """Share of the runs of 8 words in these texts that stood in them before; 0 without any."""
    runs = WordRuns(texts).runs()
    return 1.0 - len(np.unique(runs)) / len(runs) if len(runs) else 0.0


class WordRuns:
    """All words of some texts as one array of numbers; a 0 parts the texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._ids: dict[str, int] = {}
        parts: list[list[int]] = []
        for text in texts:
            parts.append([self._ids.setdefault(word, len(self._ids) + 1) for word in norms(text)])
        self._words = _joined(parts)
        self._known: dict[int, NDArray[np.uint64]] = {}

    def runs(self) -> NDArray[np.uint64]:
        """A number for each run of 8 words, in order."""
        return _runs(self._words, COPY_WORDS)

    def _of(self, n: int) -> NDArray[np.uint64]:
        if n not in self._known:
            self._known = {
                COPY_WORDS: self._known.get(COPY_WORDS, np.zeros(0, np.uint64)),
                n: np.unique(_runs(self._words, n)),
            }
        return self._known[n]

    def measure(self, texts: Iterable[str]) -> tuple[int, int, int]:
        """(runs of 8 words, those that stand here, words of the longest run that does)."""
        lists = [[self._ids.get(word, 0) for word in norms(text)] for text in texts]
        total = sum(max(0, len(words) - COPY_WORDS + 1) for words in lists)
        words = _joined([w for w in lists if w])
        copied = int(np.isin(_runs(words, COPY_WORDS), self._of(COPY_WORDS)).sum())
        low, high = 0, 1
        while high < _LONGEST and self._has(words, high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._has(words, middle) else (low, middle)
        return total, copied, low

    def near(self, texts: Iterable[str]) -> int:
        """Runs of 8 words that stand here but for one word inside, and do not stand here whole."""
        lists = [[self._ids.get(word, _UNKNOWN) for word in norms(text)] for text in texts]
        words = _joined([w for w in lists if w])
        whole = _runs(words, COPY_WORDS)
        found = np.zeros(len(whole), np.bool_)
        for at in range(1, COPY_WORDS - 1):
            known = np.unique(_runs(self._words, COPY_WORDS, at))
            found |= np.isin(_runs(words, COPY_WORDS, at), known)
        return int((found & ~np.isin(whole, self._of(COPY_WORDS))).sum())

    def _has(self, words: NDArray[np.uint64], n: int) -> bool:
        return bool(np.isin(_runs(words, n), self._of(n)).any())


def _joined(parts: Sequence[Sequence[int]]) -> NDArray[np.uint64]:
    """Numbers of all words; 0 (unknown, or a border between texts) is part of no run."""
    flat = [number for part in parts for number in (*part, 0)]
    return np.array(flat, np.uint64)


def _runs(words: NDArray[np.uint64], n: int, without: int | None = None) -> NDArray[np.uint64]:
    """A polynomial hash modulo 2^64 of every run of `n` words without a 0 in it.

    `without` names a place in the run whose word does not count."""
    count = len(words) - n + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    total = np.zeros(count, np.uint64)
    clean = np.ones(count, np.bool_)
    for offset in range(n):
        part = words[offset : offset + count]
        clean &= part != 0
        if offset == without:
            part = np.ones_like(part)
        total = total * np.uint64(0x9E3779B97F4A7C15) + part * np.uint64(0xBF58476D1CE4E5B9)
    kept: NDArray[np.uint64] = total[clean]
    return kept
