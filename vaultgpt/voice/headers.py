"""Bits per byte of held-out tagged notes under their own header, a wrong tag's, and none.

Knows nothing about how the model was made.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from vaultgpt.training.base import BaseModel
from vaultgpt.training.evaluate import LN2, by_entry, score, segments
from vaultgpt.training.round import Item

NOTES_AT_ONCE = 6  # so that a slow base overruns its time by seconds, not minutes
NOTE_CHARS = 1200  # of each note's beginning, where a header matters most: about one segment
MOST_BYTES = 120_000  # of text; each is scored three times
KINDS = ("right", "wrong", "none")
Sums = dict[str, list[float]]  # kind -> [nats, bytes]


def header_figures(
    base: BaseModel,
    items: Sequence[Item],
    tags: Sequence[str],
    limit_s: float,
    seed: int,
    on_part: Callable[[float], None],
) -> dict[str, Any]:
    """{"right", "wrong", "none": bits per byte, "notes", "bytes", "by_tag"}; None where unknown.

    The wrong header is the note's own with one of `tags` that the note lacks in place of its tags.
    Beginnings of notes come in a drawn order until `limit_s` seconds or MOST_BYTES are spent; the
    figures are all of the same notes. Without two tags there is no wrong one.
    """
    kinds = KINDS if len(set(tags)) > 1 else ("right", "none")
    usable = [i for i in items if i.tags and ("wrong" not in kinds or set(tags) - set(i.tags))]
    random.Random(seed).shuffle(usable)
    usable = [_beginning(item) for item in usable]
    total, notes = _sums(kinds), 0
    by_tag: dict[str, Sums] = {}
    began = time.monotonic()
    for at in range(0, len(usable), NOTES_AT_ONCE):
        part = usable[at : at + NOTES_AT_ONCE]
        for kind in kinds:
            headed = [_headed(item, kind, tags, at + n) for n, item in enumerate(part)]
            found = segments(headed, base.encoder)
            known = {item.id: item.tags for item in part}
            for entry, nats, size in by_entry(found, score(base, found)):
                for sums in (total, *(by_tag.setdefault(t, _sums(kinds)) for t in known[entry])):
                    sums[kind][0] += nats
                    sums[kind][1] += size
        notes += len(part)
        spent_s = time.monotonic() - began
        on_part(min(1.0, max(notes / len(usable), spent_s / max(limit_s, 1e-9))))
        if spent_s > limit_s or total["right"][1] > MOST_BYTES:
            break
    return {
        **_bits(total),
        "notes": notes,
        "by_tag": {tag: _bits(sums) for tag, sums in sorted(by_tag.items())},
    }


def _sums(kinds: Sequence[str]) -> Sums:
    return {kind: [0.0, 0.0] for kind in kinds}


def _beginning(item: Item) -> Item:
    if len(item.text) <= NOTE_CHARS:
        return item
    return replace(item, text="".join(item.text[:NOTE_CHARS].rsplit(None, 1)[:1]))


def _headed(item: Item, kind: str, tags: Sequence[str], number: int) -> Item:
    if kind == "right":
        return item
    if kind == "none":
        return replace(item, tags=(), date=None)
    others = [tag for tag in tags if tag not in item.tags]
    return replace(item, tags=(others[number % len(others)],))


def _bits(sums: Sums) -> dict[str, Any]:
    figures: dict[str, Any] = {
        kind: (sums[kind][0] / LN2 / sums[kind][1] if kind in sums and sums[kind][1] else None)
        for kind in KINDS
    }
    return {**figures, "bytes": int(sums["right"][1])}
