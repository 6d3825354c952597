"""The author's own words out of entries, and pieces of equal length out of texts.

Knows nothing about models or figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vaultgpt.corpus.blocks import prepare
from vaultgpt.corpus.runs import split_words
from vaultgpt.corpus.secrets import outside
from vaultgpt.training.round import Item


def own_text(item: Item) -> str:
    """The entry's text without what is not the author's voice: quotes, code, secrets."""
    prepared = prepare(item)
    return "".join(outside(prepared.text, prepared.masked)).strip()


def cut(texts: Iterable[str], words: int) -> list[str]:
    """Pieces of exactly `words` words from these texts, one after the other; the rest is left."""
    joined = "\n\n".join(text for text in texts if text)
    starts = [word.start for word in split_words(joined)]
    pieces = []
    for at in range(0, len(starts) - words + 1, words):
        end = starts[at + words] if at + words < len(starts) else len(joined)
        pieces.append(joined[starts[at] : end].rstrip())
    return pieces


def label_notes(
    tags: Mapping[str, Sequence[str]],
    words: Mapping[str, int],
    piece_words: int,
    least: int,
    most: int,
) -> dict[str, str]:
    """Note -> the one tag it stands for: its rarest of those with enough text to be told apart.

    A tag counts when the notes that stand for it hold `least` pieces of `piece_words` words; at
    most the `most` commonest of those are kept. Notes with none of them are left out.
    """
    sizes: dict[str, int] = {}
    for note, own in tags.items():
        for tag in set(own):
            sizes[tag] = sizes.get(tag, 0) + words[note]
    kept = {tag for tag, size in sizes.items() if size >= least * piece_words}
    while True:
        chosen = {
            note: min(fitting, key=lambda t: (sizes[t], t))
            for note, own in tags.items()
            if (fitting := kept & set(own))
        }
        held = dict.fromkeys(kept, 0)
        for note, tag in chosen.items():
            held[tag] += words[note]
        order = sorted(kept, key=lambda t: (held[t], t))
        if order and (held[order[0]] < least * piece_words or len(order) > most):
            kept.discard(order[0])
            continue
        return chosen
