"""A base model that took no part reads pages: what they cost it, and whether it tells them apart.

Bits per byte, what a page's own first half saves, a discriminator and MAUVE on hidden states. Knows
nothing about how the pages were written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]
PIECE_TOKENS = 30  # whose mean hidden state is one point of MAUVE
_FOLDS = 6
_RIDGE = 10.0  # of a standardised feature's sum of squares
_SCALE = 5.0  # of the divergence curve, as in Pillutla et al., arXiv 2102.01454
_RESTARTS = 8  # of k-means


@dataclass(frozen=True)
class Read:
    """One page as the judge read it."""

    bits: float
    bytes: int
    state: Array  # [hidden] mean over the page
    pieces: Array  # [pieces, hidden]


class Judge:
    """A causal model through transformers, in bfloat16."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.net: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.net.train(False)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        config = self.net.config
        self.start = config.bos_token_id if config.bos_token_id is not None else config.eos_token_id

    def _forward(self, before: str, text: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Nats of each of the text's tokens, and the last hidden states at them."""
        lead = self.tokenizer(before, add_special_tokens=False)["input_ids"]
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        first = 1 + len(lead)
        given = torch.tensor([[self.start, *lead, *ids]])
        with torch.inference_mode():
            out = self.net.model(input_ids=given)
            hidden = out.last_hidden_state[0]  # [1 + lead + ids, hidden]
            logits = self.net.lm_head(hidden[first - 1 : -1]).float()
            nats = torch.nn.functional.cross_entropy(
                logits, torch.tensor(ids), reduction="none"
            )  # [ids]
        return nats, hidden[first:].float()

    def read(self, before: str, text: str) -> Read:
        """A page after its opening."""
        nats, hidden = self._forward(before, text)
        states = hidden.double().numpy()
        count = max(1, len(states) // PIECE_TOKENS)
        pieces = np.stack([part.mean(0) for part in np.array_split(states, count)])
        bits = float(nats.sum()) / float(np.log(2))
        return Read(bits, len(text.encode()), states.mean(0), pieces)

    def saved(self, pages: Sequence[str]) -> float:
        """Bits per byte of second halves that their own first halves save beside another's."""
        halves = [_halved(page) for page in pages]
        saved, size = 0.0, 0
        for i, (own, second) in enumerate(halves):
            other = halves[(i + 1) % len(halves)][0]
            near, far = (float(self._forward(half, second)[0].sum()) for half in (own, other))
            saved += (far - near) / float(np.log(2))
            size += len(second.encode())
        return saved / max(1, size)


def _halved(page: str) -> tuple[str, str]:
    at = page.find(" ", len(page) // 2)
    at = at if at > 0 else len(page) // 2
    return page[:at], page[at:]


def told_apart(own: Sequence[Read], mirror: Sequence[Read], groups: Sequence[int]) -> float:
    """Share of pages, own and the mirror's by halves, that a discriminator names rightly.

    own[i] and mirror[i] follow the same opening, `groups[i]`, and no page is judged by one that saw
    a page after the same opening. Ridge regression on the standardised mean hidden state.
    """
    rows = np.array([r.state for r in (*own, *mirror)])  # [2 n, hidden]
    labels = np.array([1.0] * len(own) + [-1.0] * len(mirror))
    fold = np.array([g % _FOLDS for g in (*groups, *groups)])
    right = np.zeros(len(rows))
    for one in range(_FOLDS):
        seen, asked = fold != one, fold == one
        if not asked.any():
            continue
        mean, spread = rows[seen].mean(0), rows[seen].std(0) + 1e-9
        x, z = (rows[seen] - mean) / spread, (rows[asked] - mean) / spread
        kernel = x @ x.T / x.shape[1]
        dual = np.linalg.solve(kernel + _RIDGE / len(x) * np.eye(len(x)), labels[seen])
        right[asked] = (np.sign(z @ x.T @ dual) == labels[asked]).astype(float)
    return float((right[labels > 0].mean() + right[labels < 0].mean()) / 2)


def mauve(own: Array, mirror: Array, seed: int = 1) -> float:
    """MAUVE of two sets of points [n, hidden]: 1 where they are distributed alike.

    The points lie in as many clusters as a tenth of them; the area under the curve of divergences
    of both histograms from their mixtures. Source: Pillutla et al., arXiv 2102.01454.
    """
    points = np.concatenate([own, mirror])
    points = points - points.mean(0)
    left, size, _ = np.linalg.svd(points, full_matrices=False)
    kept = int(np.searchsorted(np.cumsum(size**2) / (size**2).sum(), 0.9)) + 1
    places = _clusters(left[:, :kept] * size[:kept], max(2, len(points) // 10), seed)
    count = places.max() + 1
    p, q = (
        np.bincount(part, minlength=count) / len(part)
        for part in (places[: len(own)], places[len(own) :])
    )
    curve = [(0.0, 1.0), (1.0, 0.0)]
    for share in np.linspace(1e-6, 1 - 1e-6, 100):
        mixed = share * p + (1 - share) * q
        curve.append(
            (np.exp(-_SCALE * _divergence(q, mixed)), np.exp(-_SCALE * _divergence(p, mixed)))
        )
    xs, ys = np.array(sorted(curve)).T
    return float(np.trapezoid(ys, xs))


def _divergence(p: Array, q: Array) -> float:
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())


def _clusters(points: Array, count: int, seed: int) -> npt.NDArray[np.int64]:
    """k-means, the best of some starts: [n] places."""
    rng = np.random.default_rng(seed)
    best, least = np.zeros(len(points), np.int64), np.inf
    for _ in range(_RESTARTS):
        centres = points[rng.choice(len(points), count, replace=False)]
        for _ in range(30):
            far = ((points[:, None] - centres[None]) ** 2).sum(-1)  # [n, count]
            places = far.argmin(1)
            centres = np.array(
                [
                    points[places == k].mean(0) if (places == k).any() else centres[k]
                    for k in range(count)
                ]
            )
        if (cost := far.min(1).sum()) < least:
            best, least = places.astype(np.int64), cost
    return best
