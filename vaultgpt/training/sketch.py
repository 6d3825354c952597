"""What a first voice on a large base is judged by: as much as a share of its budget holds.

Its minutes are for learning, and the round over the whole vault measures in full. Knows nothing
about models, jobs or verdicts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from vaultgpt.training.evaluate import Segment, tokens_of

# Of the budget: scoring one model, which is done twice, and drawing for `copying`. Gemma 3 270M on
# one busy core scored 53 segments in 142 s: three minutes became six, and 15 s were learning.
SCORING_SHARE, DRAWING_SHARE = 0.1, 0.08
_LEAST = {"held_out": 8, "general": 2}  # segments that are scored in any case

_Places = Mapping[str, Sequence[int]]


def sketch(
    sets: Mapping[str, Sequence[Segment]],
    keys: Mapping[str, Sequence[str]],
    seconds: float,
    nats_of: Callable[[Sequence[Segment]], Sequence[float]],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, dict[int, float]]:
    """By set, the places that are scored, in order, and the base's nats there.

    The least of them tells the pace, at which more are scored, in the sets' proportion, until
    `seconds` are gone.
    """
    began = clock()
    order = {name: fair_order(keys[name], sets[name]) for name in _LEAST}
    least = {name: places[: _LEAST[name]] for name, places in order.items()}
    found = _score(sets, least, nats_of)
    pace = (clock() - began) / max(1, _tokens(sets, least))
    turns = sorted(
        ((turn + 1) / len(places), name, at)
        for name, places in order.items()
        for turn, at in enumerate(places)
        if turn >= _LEAST[name]
    )
    more: dict[str, list[int]] = {name: [] for name in order}
    left = seconds - (clock() - began)
    for _, name, at in turns:
        left -= pace * _tokens(sets, {name: [at]})
        if left < 0:
            break
        more[name].append(at)
    for name, nats in _score(sets, more, nats_of).items():
        found[name] |= nats
    return {name: dict(sorted(nats.items())) for name, nats in found.items()}


def fair_order(keys: Sequence[str], found: Sequence[Segment]) -> list[int]:
    """Places in an order of which every beginning is a fair sample: by keyed hash, and one segment
    of every entry before a second one of any."""
    had: Counter[str] = Counter()
    turns: list[tuple[int, int]] = []
    for at in sorted(range(len(found)), key=keys.__getitem__):
        turns.append((had[found[at].entry], at))
        had[found[at].entry] += 1
    return [at for _, at in sorted(turns, key=lambda one: one[0])]


def _tokens(sets: Mapping[str, Sequence[Segment]], chosen: _Places) -> int:
    return sum(
        tokens_of([sets[name][at] for at in places], plain=True) for name, places in chosen.items()
    )


def _score(
    sets: Mapping[str, Sequence[Segment]],
    chosen: _Places,
    nats_of: Callable[[Sequence[Segment]], Sequence[float]],
) -> dict[str, dict[int, float]]:
    return {
        name: dict(zip(places, nats_of([sets[name][at] for at in places]), strict=True))
        for name, places in chosen.items()
    }
