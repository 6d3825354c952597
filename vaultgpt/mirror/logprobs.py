"""What tokens' chances were: of those that were written, and of the prompt's own.

As the model gives them, before temperature, guards and the rest. Knows nothing about requests.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.wire import TokenChance

if TYPE_CHECKING:
    from vaultgpt.mirror.lean import Model
    from vaultgpt.mirror.sampling import Logits


def log_softmax(row: Logits) -> Logits:
    """[vocab] nats of each token."""
    top = row.max()
    out: Logits = row - top - np.log(np.exp(row - top).sum())
    return out


def chance(plain: Logits, token: int, most: int, vocabulary: Vocabulary) -> TokenChance:
    """Of a token among log probabilities, with the `most` likeliest ones."""
    best = np.argpartition(-plain, most)[:most] if most else np.zeros(0, dtype=np.intp)
    best = best[np.argsort(-plain[best], kind="stable")]
    top = {_text(vocabulary, int(i)): round(float(plain[i]), 5) for i in best}
    return TokenChance(_text(vocabulary, token), round(float(plain[token]), 5), top)


def prompt_chances(
    model: Model,
    vocabulary: Vocabulary,
    ids: list[int],
    head: int,
    most: int,
    cancelled: Callable[[], bool],
) -> tuple[TokenChance, ...]:
    """Of each of `ids` from `head` on; what stands before them is read and not told."""
    cache, told = model.empty(), []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for start in range(0, len(ids) - 1, model.chunk):
        if cancelled():
            break
        part = ids[start : min(start + model.chunk, len(ids) - 1)]
        rows = model.peek(cache, part, start).numpy()
        for i, row in enumerate(rows, start + 1):
            if i >= head:
                text = decoder.decode(vocabulary.bytes_of([ids[i]]))
                told.append(replace(chance(log_softmax(row), ids[i], most, vocabulary), text=text))
    return tuple(told)


def _text(vocabulary: Vocabulary, token: int) -> str:
    """Its text; of a part of a character its bytes, as OpenAI writes them."""
    written = vocabulary.bytes_of([token])
    try:
        return written.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written)
