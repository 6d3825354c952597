"""Authors whose habits are known: sentences drawn from weighted function words and nouns."""

from __future__ import annotations

import random

PLAIN = {
    "the": 9.0,
    "and": 6.0,
    "of": 5.0,
    "to": 5.0,
    "in": 4.0,
    "was": 4.0,
    "it": 3.0,
    "that": 3.0,
    "on": 2.0,
    "with": 2.0,
    "but": 2.0,
    "for": 2.0,
    "as": 2.0,
    "had": 2.0,
    "not": 2.0,
}
ORNATE = {
    "upon": 6.0,
    "which": 6.0,
    "whilst": 4.0,
    "the": 3.0,
    "shall": 4.0,
    "nor": 3.0,
    "of": 9.0,
    "thus": 4.0,
    "and": 2.0,
    "whereof": 3.0,
    "in": 1.0,
    "that": 6.0,
    "it": 1.0,
    "as": 5.0,
}
NOUNS = [a + b for a in ("ri", "ka", "mo", "le", "tu", "sa") for b in ("ver", "ton", "mik", "los")]


def text(words: int, seed: int, habits: dict[str, float] = PLAIN, nouns: list[str] = NOUNS) -> str:
    """`words` words, two in three of them function words by their weights."""
    rng = random.Random(f"{seed} {sorted(habits)} {nouns[0]}")
    out = [
        rng.choices(list(habits), list(habits.values()))[0]
        if rng.random() < 0.66
        else rng.choice(nouns)
        for _ in range(words)
    ]
    return " ".join(out)
