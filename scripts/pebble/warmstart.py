"""Another model's weights under pebble's tokenizer.

Blocks are taken as they are; the embedding of a token is that of the other vocabulary's token
with the same bytes, or the mean over the tokens which spell it there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

EMBEDDING = "model.embed_tokens.weight"


def warm_start(source: Path, tokenizer: Tokenizer) -> tuple[dict[str, Tensor], int]:
    """The source's state dict in fp32 with our embedding rows; and how many rows matched."""
    weights = {n: t.float() for n, t in load_file(source / "model.safetensors").items()}
    weights.pop("lm_head.weight", None)
    theirs = Tokenizer.from_file(str(source / "tokenizer.json"))
    weights[EMBEDDING], matched = map_rows(weights[EMBEDDING], theirs, tokenizer)
    return weights, matched


def map_rows(rows: Tensor, theirs: Tokenizer, ours: Tokenizer) -> tuple[Tensor, int]:
    """rows: (their vocabulary, hidden) -> (our vocabulary, hidden)."""
    size = ours.get_vocab_size()
    mapped = torch.empty(size, rows.shape[1])
    matched = 0
    for token in range(size):
        name = ours.id_to_token(token)
        same = theirs.token_to_id(name) if name is not None else None
        if same is not None:
            matched += 1
            mapped[token] = rows[same]
        else:
            spelled = theirs.encode(ours.decode([token]), add_special_tokens=False).ids
            mapped[token] = rows[spelled].mean(0) if spelled else rows.mean(0)
    return mapped, matched
