"""How sure must it be, to be shown unasked? Next words on held-out pages, by their own chance.

    python -m benchmarks.voice.sure VAULT [--places 300] [--json FILE]

At random words of pages that it never saw, the likeliest next words (temperature 0). Right is what
the author wrote next: all three words, or as many as are shown. The voice is the active one.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.voice.sense import Vault, engine_of, open_vault
from vaultgpt.corpus.words import norms, split_words
from vaultgpt.mirror.engine import Engine
from vaultgpt.wire import Piece, Prompt, Sampling, Usage

WORDS, TOKENS, BEFORE = 3, 10, 10  # words shown at most, tokens asked for, words at least before
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class Guess:
    """At one place: the chance of the first 1, 2 and 3 words, and how many of them are right."""

    sure: tuple[float, ...]
    right: int

    def shown(self, least: float) -> int:
        """Words that would be shown when only those are whose chance together is `least`."""
        return sum(chance >= least for chance in self.sure)


def guesses(vault: Vault, engine: Engine, count: int, seed: int = 1) -> list[Guess]:
    """At `count` random places, those of a page one after the other."""
    places = [
        (item, word.start)
        for item in vault.job.held_out
        for word in split_words(item.text)[BEFORE:-WORDS]
    ]
    chosen = sorted(random.Random(seed).sample(range(len(places)), min(count, len(places))))
    found = []
    for item, at in (places[i] for i in chosen):
        prompt = Prompt(
            item.text[:at],
            item.tags,
            (item.date or "")[:7] or None,
            item.title,
            length="tokens",
            max_tokens=TOKENS,
            sampling=Sampling(temperature=0, guard=False),  # the page itself is in its index
        )
        text, sure = "", tuple[float, ...]()
        for said in engine.generate(prompt, lambda: False):
            text += said.text if isinstance(said, Piece) else ""
            sure = said.sure if isinstance(said, Usage) else sure
        written, wanted = norms(text)[:WORDS], norms(item.text[at:])[:WORDS]
        right = next(
            (i for i, (a, b) in enumerate(zip(written, wanted, strict=False)) if a != b),
            min(len(written), len(wanted)),
        )
        found.append(Guess(sure[: len(written)], right))
    return found


def table(found: Sequence[Guess]) -> list[dict[str, float]]:
    """By threshold: how often something is shown, and how often that is right."""
    rows = []
    for least in THRESHOLDS:
        whole = [g for g in found if len(g.sure) == WORDS and g.sure[-1] >= least]
        some = [g for g in found if g.shown(least)]
        rows.append(
            {
                "threshold": least,
                "three_coverage": len(whole) / len(found),
                "three_precision": sum(g.right >= WORDS for g in whole) / max(1, len(whole)),
                "coverage": len(some) / len(found),
                "precision": sum(g.right >= g.shown(least) for g in some) / max(1, len(some)),
                "words": sum(g.shown(least) for g in some) / max(1, len(some)),
            }
        )
    return rows


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("vault", type=Path)
    parser.add_argument("--places", type=int, default=300)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    vault = open_vault(args.vault)
    found = guesses(vault, engine_of(vault), args.places)
    rows = table(found)
    print(f"{len(found)} places")
    print("| at least | three words shown | right | some shown | right | words |")
    print("|---" * 6 + "|")
    for r in rows:
        three = f"{r['three_coverage']:.1%} | {r['three_precision']:.0%}"
        some = f"{r['coverage']:.1%} | {r['precision']:.0%} | {r['words']:.1f}"
        print(f"| {r['threshold']} | {three} | {some} |")
    if args.json:
        args.json.write_text(json.dumps({"places": len(found), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
