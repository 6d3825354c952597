"""Which words of a text are the mirror's own: runs it emitted before the text was first seen.

Accepted text masks always, text only offered for 24 hours, so that the author's habitual phrases
are not lost. Words the author changed between two matches are the author's. Knows no database.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from vaultgpt.corpus.runs import COPY_WORDS, Hashes, run_hashes, split_words

SHORTEST_WORDS = 4  # an accepted text of 4 to 7 words matches as a whole
OFFERED_S = 24 * 3600.0
SLACK_S = 60.0  # the note may be saved a moment before the plugin reports what was accepted


class EmittedLookup(Protocol):
    """What the mirror emitted, as keyed hashes of runs."""

    key: bytes

    def matches(self, hashes: Hashes, first_seen: float) -> npt.NDArray[np.bool_]:
        """bool [len(hashes)]: emitted before a text first seen then, and still counting."""

    def lengths(self) -> tuple[int, ...]:
        """Run lengths that occur: 8 for all texts, 4 to 7 for short accepted ones."""


def counts(emitted: float, accepted: bool, first_seen: float) -> bool:
    """Whether a run emitted at that time masks a text first seen at `first_seen` (seconds)."""
    if accepted:
        return emitted <= first_seen + SLACK_S
    return emitted <= first_seen <= emitted + OFFERED_S


def emitted_runs(text: str, key: bytes, *, accepted: bool) -> dict[int, Hashes]:
    """Run length -> hashes to keep of an emitted text; {} when it is too short to tell apart."""
    words = [w.norm for w in split_words(text)]
    if len(words) >= COPY_WORDS:
        return {COPY_WORDS: np.unique(run_hashes(words, COPY_WORDS, key))}
    if accepted and len(words) >= SHORTEST_WORDS:
        return {len(words): run_hashes(words, len(words), key)}
    return {}


def mask_ranges(text: str, first_seen: float, emitted: EmittedLookup
                ) -> tuple[tuple[int, int], ...]:
    """Character ranges [start, end) of `text` that are the mirror's words, in order, apart."""
    words = split_words(text)
    own = np.zeros(len(words), dtype=np.bool_)
    for n in emitted.lengths():
        hashes = run_hashes([w.norm for w in words], n, emitted.key)
        for at in np.flatnonzero(emitted.matches(hashes, first_seen)):
            own[at : at + n] = True
    ranges: list[tuple[int, int]] = []
    for i in np.flatnonzero(own):
        word = words[i]
        if ranges and i > 0 and own[i - 1]:
            ranges[-1] = (ranges[-1][0], word.end)
        else:
            ranges.append((word.start, word.end))
    return tuple(ranges)
