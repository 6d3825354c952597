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

from benchmarks.common import needs_voice
from vaultgpt.training.evaluate import LN2

with needs_voice():
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import auc, balanced_accuracy_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

Array = npt.NDArray[np.float64]
PIECE_TOKENS = 30  # whose mean hidden state is one point of MAUVE
_FOLDS = 6
_RIDGE = 12.0  # of a standardised feature's sum of squares
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

    @torch.inference_mode()
    def _forward(self, before: str, text: str) -> tuple[float, Array]:
        """Bits of the text, and the last hidden state at each of its tokens."""
        lead = self.tokenizer(before, add_special_tokens=False)["input_ids"]
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        out = self.net.model(input_ids=torch.tensor([[self.start, *lead, *ids]]))
        hidden = out.last_hidden_state[0, len(lead) :]  # [1 + ids, hidden]
        logits = self.net.lm_head(hidden[:-1]).float()
        nats = torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum")
        return float(nats) / LN2, hidden[1:].double().numpy()

    def read(self, before: str, text: str) -> Read:
        """A page after its opening."""
        bits, states = self._forward(before, text)
        count = max(1, len(states) // PIECE_TOKENS)
        pieces = np.stack([part.mean(0) for part in np.array_split(states, count)])
        return Read(bits, len(text.encode()), states.mean(0), pieces)

    def saved(self, pages: Sequence[str]) -> float:
        """Bits per byte of second halves that their own first halves save beside another's."""
        halves = [_halved(page) for page in pages]
        saved, size = 0.0, 0
        for i, (own, second) in enumerate(halves):
            other = halves[(i + 1) % len(halves)][0]
            near, far = (self._forward(half, second)[0] for half in (own, other))
            saved += far - near
            size += len(second.encode())
        return saved / max(1, size)


def _halved(page: str) -> tuple[str, str]:
    at = page.find(" ", len(page) // 2)
    at = at if at > 0 else len(page) // 2
    return page[:at], page[at:]


def told_apart(own: Sequence[Read], mirror: Sequence[Read], openings: Sequence[str]) -> float:
    """Share of pages, own and the mirror's by halves, that a discriminator names rightly.

    own[i] and mirror[i] follow the same opening, and no page is judged by one that saw a page
    after the same opening. Ridge regression on the standardised mean hidden state.
    """
    rows = np.array([r.state for r in (*own, *mirror)])  # [2 n, hidden]
    labels = [True] * len(own) + [False] * len(mirror)
    ridge = RidgeClassifier(alpha=_RIDGE * rows.shape[1] / len(rows))
    folds = GroupKFold(min(_FOLDS, len(set(openings))))
    model = make_pipeline(StandardScaler(), ridge)
    said = cross_val_predict(model, rows, labels, groups=[*openings, *openings], cv=folds)
    return float(balanced_accuracy_score(labels, said))


def mauve(own: Array, mirror: Array, seed: int = 1) -> float:
    """MAUVE of two sets of points [n, hidden]: 1 where they are distributed alike.

    The points lie in as many clusters as a tenth of them; the area under the curve of divergences
    of both histograms from their mixtures. Source: Pillutla et al., arXiv 2102.01454.
    """
    points = PCA(0.9).fit_transform(np.concatenate([own, mirror]))
    count = max(2, len(points) // 10)
    means = KMeans(count, init="random", n_init=_RESTARTS, random_state=seed)
    places = means.fit_predict(points)
    p, q = (np.bincount(part, minlength=count) / len(part) for part in np.split(places, [len(own)]))
    curve = [(0.0, 1.0), (1.0, 0.0)]
    for share in np.linspace(1e-6, 1 - 1e-6, 100):
        mixed = share * p + (1 - share) * q
        across, up = (np.exp(-_SCALE * _divergence(each, mixed)) for each in (q, p))
        curve.append((across, up))
    return float(auc(*zip(*sorted(curve), strict=True)))


def _divergence(p: Array, q: Array) -> float:
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())
