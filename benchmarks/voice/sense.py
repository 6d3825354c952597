"""Does it make sense? Pages after held-out openings, read by a base that took no part.

    python -m benchmarks.voice.sense VAULT --judge FOLDER [--cells T/top_p/min_p ...] [--texts 24]

Each cell is a way of sampling, and T/top_p/min_p/N that one of N drafts which the note makes
likeliest; the author's own next words stand beside them. Rows go into
benchmarks/results/sense.json; without a vault all are printed. The voice is the vault's active one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.voice.judge import Judge, Read, mauve, told_apart
from benchmarks.voice.rows import PEBBLE, RESULTS, base_digest
from vaultgpt.bases.names import base_of_generation
from vaultgpt.corpus.habits import figures
from vaultgpt.corpus.words import norms, split_words
from vaultgpt.files import write_atomic
from vaultgpt.generation_folders import verify
from vaultgpt.ledger import Ledger
from vaultgpt.mirror.engine import Engine
from vaultgpt.report.job import VoiceJob
from vaultgpt.report.study import Study
from vaultgpt.report.writer import Wanted
from vaultgpt.settings import Mirror, load_settings
from vaultgpt.state import VaultState, find_state
from vaultgpt.training.assemble import author_pages
from vaultgpt.training.round import Item
from vaultgpt.wire import Piece, Prompt, Sampling

SHORT_TOKENS, LONG_TOKENS = 150, 400
OPENING_WORDS, LEAST_WORDS, PAGE_WORDS = 30, 40, 110  # of an opening, and of what follows it
ROWS = RESULTS / "sense.json"
_CLAUSE = re.compile(r"[.,;:!?\u2026\u2014\n]+")
_RUN = 4  # words within which a second figure makes a run


@dataclass(frozen=True)
class Place:
    """A held-out page: under which header it stands, how it begins, how the author went on."""

    item: Item
    opening: str
    rest: str


@dataclass(frozen=True)
class Vault:
    """What a benchmark needs of a vault with an active voice."""

    state: VaultState
    generation: str
    base: Path
    job: VoiceJob


def open_vault(folder: Path) -> Vault:
    """The vault's active generation, and the author's pages as the report takes them."""
    state = find_state(folder)
    settings = load_settings(state.config)
    with Ledger.open(state) as ledger:
        active = ledger.generations.active()
        assert active is not None, "the vault has no voice"
        ledger.follow(settings.rules, time.time())
        learned, held = author_pages(ledger, settings.rules)
    place = state.generations / active
    base = base_of_generation(state, verify(place)).folder
    parts = tuple(learned), tuple(held), settings.training, settings.mirror
    return Vault(state, active, base, VoiceJob(str(base), str(place), *parts))


def places(held: Sequence[Item]) -> list[Place]:
    """Held-out pages with enough words, halved into an opening and what follows."""
    found = []
    for item in held:
        text = item.text.strip()
        words = split_words(text)
        opening = min(OPENING_WORDS, len(words) // 4)
        if len(words) - opening < LEAST_WORDS:
            continue
        last = min(len(words), opening + PAGE_WORDS) - 1
        at = words[opening].start
        found.append(
            Place(item, text[:at].rstrip(), text[len(text[:at].rstrip()) : words[last].end])
        )
    return found


def engine_of(vault: Vault) -> Engine:
    """The mirror without its copy guard.

    Held-out pages are in the guard's index: it would bar just what the author wrote next.
    """
    engine = Engine(Mirror())
    engine.load(vault.base)
    engine.activate(vault.generation, Path(vault.job.adapter))
    return engine


def write(engine: Engine, place: Place, sampling: Sampling, n: int, seed: int) -> list[str]:
    """n continuations of LONG_TOKENS at most."""
    prompt = Prompt(
        place.opening,
        place.item.tags,
        (place.item.date or "")[:7] or None,
        place.item.title,
        length="tokens",
        max_tokens=LONG_TOKENS,
        n=n,
        seed=seed,
        sampling=sampling,
    )
    texts = [""] * n
    for said in engine.generate(prompt, lambda: False):
        if isinstance(said, Piece):
            texts[said.index] += said.text
    return texts


def likeliest(engine: Engine, place: Place, drafts: Sequence[str]) -> str:
    """The draft whose tokens the opening before it makes likelier by most, a token."""
    gains = []
    for draft in drafts:
        after, alone = (
            _nats(engine, place, text, len(draft)) for text in (place.opening + draft, draft)
        )
        gains.append((alone - after) / max(1, len(engine.vocabulary.encode(draft))))
    return drafts[int(np.argmax(gains))]


def _nats(engine: Engine, place: Place, text: str, last: int) -> float:
    """Of the last so many characters of a text under a page's header."""
    prompt = Prompt(
        text,
        place.item.tags,
        (place.item.date or "")[:7] or None,
        place.item.title,
        max_tokens=0,
        logprobs=0,
        echo=True,
    )
    nats, at = 0.0, 0
    for said in engine.generate(prompt, lambda: False):
        for token in said.tokens if isinstance(said, Piece) else ():
            at += len(token.text)
            nats -= (token.logprob or 0.0) * (at > len(text) - last)
    return nats


def first(text: str, words: int) -> str:
    """The first so many words."""
    found = split_words(text)
    return text[: found[words - 1].end] if len(found) > words else text


# Figures of a text alone ------------------------------------------------------------------------


def distinct(texts: Sequence[str], words: int) -> float | None:
    """Of the word triples in the first `words` words, the share that are different."""
    shares = []
    for text in texts:
        found = norms(text)[:words]
        if len(found) >= words * 0.9:
            triples = list(zip(found, found[1:], found[2:], strict=False))
            shares.append(len(set(triples)) / len(triples))
    return float(np.mean(shares)) if shares else None


def repeated(texts: Sequence[str]) -> float:
    """Share of clauses of three words and more that the text has said before."""
    again = total = 0
    for text in texts:
        clauses = Counter(
            tuple(found) for part in _CLAUSE.split(text) if len(found := norms(part)) >= 3
        )
        total += clauses.total()
        again += clauses.total() - len(clauses)
    return again / max(1, total)


def unknown(texts: Sequence[str], known: set[str]) -> float:
    """Words of 1,000 that neither the language nor the vault has; names and figures aside."""
    words = [w for text in texts for w in re.findall(r"(?<![\w'\u2019])[a-z][a-z]+", text)]
    return 1000 * sum(w not in known for w in words) / max(1, len(words))


def runs_of_figures(texts: Sequence[str]) -> float:
    """Figures of 1,000 words that stand within a few words of the one before."""
    runs = words = 0
    for text in texts:
        starts = [w.start for w in split_words(text)]
        words += len(starts)
        at = [int(np.searchsorted(starts, place)) for place in figures(text)]
        runs += sum(b - a <= _RUN for a, b in pairwise(at))
    return 1000 * runs / max(1, words)


def known_words(job: VoiceJob, judge: Judge) -> set[str]:
    """Words of the vault, of plain English text, and of the judge's vocabulary."""
    known = judge.words()
    for item in (*job.learned, *job.held_out):
        known.update(norms(item.text))
    for name in ("general_replay", "general_heldout"):
        with gzip.open(PEBBLE / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            known.update(norms(file.read()))
    return known


# One cell -----------------------------------------------------------------------------------------


class Sense:
    """Measures cells of one vault with one judge; the author's own pages are read once."""

    def __init__(self, vault: Vault, judge: Judge, texts: int, seed: int) -> None:
        self.vault, self.judge, self.seed = vault, judge, seed
        every = places(vault.job.held_out)
        self.order = [i % len(every) for i in range(texts)]
        self.places = [every[i] for i in self.order]
        self.known = known_words(vault.job, judge)
        self.study = Study(vault.job, lambda *_: None, threading.Event())
        self.own = {i: judge.read(every[i].opening, every[i].rest) for i in set(self.order)}

    def own_figures(self) -> dict[str, Any]:
        """Of the author's pages."""
        reads = list(self.own.values())
        rests = [self.places[self.order.index(i)].rest for i in self.own]
        pages = [i.text for i in (*self.vault.job.held_out, *self.vault.job.learned)]
        return self._figures(reads, rests, pages)

    def _figures(
        self, reads: Sequence[Read], short: Sequence[str], long: Sequence[str]
    ) -> dict[str, Any]:
        return {
            "bits_per_byte": sum(r.bits for r in reads) / sum(r.bytes for r in reads),
            "saved": self.judge.saved(short),
            "repeated": repeated(long),
            "distinct_150": distinct(long, 110),
            "distinct_400": distinct(long, 290),
            "unknown": unknown(long, self.known),
            "runs_of_figures": runs_of_figures(long),
        }

    def cell(self, engine: Engine, sampling: Sampling, drafts: int = 1) -> dict[str, Any]:
        """One way of sampling."""
        began = time.monotonic()
        texts = [""] * len(self.places)
        for i in sorted(set(self.order)):
            rows = [k for k, place in enumerate(self.order) if place == i]
            place, count = self.places[rows[0]], len(rows) * drafts
            found = write(engine, place, sampling, count, self.seed + i)
            if drafts > 1:
                found = [
                    likeliest(engine, place, found[at : at + drafts])
                    for at in range(0, count, drafts)
                ]
            for row, text in zip(rows, found, strict=True):
                texts[row] = text
        kept = [k for k, text in enumerate(texts) if len(norms(text)) >= LEAST_WORDS // 2]
        short = [first(texts[k], len(norms(self.places[k].rest))) for k in kept]
        own = [self.own[self.order[k]] for k in kept]
        reads = [
            self.judge.read(self.places[k].opening, text)
            for k, text in zip(kept, short, strict=True)
        ]
        points, others = (np.concatenate([r.pieces for r in part]) for part in (own, reads))
        figures_ = self._figures(reads, short, texts)
        wanted = self._wanted(texts)
        style, tags = self.study.style_of(wanted), self.study.tags_of(wanted)
        return {
            **figures_,
            "told_apart": told_apart(own, reads, [self.order[k] for k in kept]),
            "mauve": mauve(points, others),
            "style": style["percentile"],
            "tags": {
                t: row["generated"]
                for t, row in tags["tags"].items()
                if row["generated"] is not None
            },
            "tags_real": {
                t: row["real"] for t, row in tags["tags"].items() if row["real"] is not None
            },
            "words": sum(len(norms(t)) for t in texts) / len(texts),
            "texts": texts[:3],
            "seconds": round(time.monotonic() - began, 1),
        }

    def _wanted(self, texts: Sequence[str]) -> list[Wanted]:
        """The texts by the tag that each stands for, as the report has them."""
        found: dict[str, list[str]] = {}
        for place, text in zip(self.places, texts, strict=True):
            found.setdefault(self.study.labels.get(place.item.id, ""), []).append(text)
        return [
            Wanted(label, (), 0, 0, len(each) / len(texts), each) for label, each in found.items()
        ]


def sampling_of(cell: str) -> tuple[Sampling, int]:
    """From "temperature/top_p/min_p" or "temperature/top_p/min_p/drafts"."""
    temperature, top_p, min_p, *drafts = map(float, cell.split("/"))
    sampling = Sampling(temperature=temperature, top_p=top_p, min_p=min_p)
    return sampling, int(drafts[0]) if drafts else 1


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All rows, the author's pages first."""
    columns = {
        "bits_per_byte": "bits/byte",
        "saved": "saved",
        "told_apart": "told apart",
        "mauve": "MAUVE",
        "style": "style %",
        "repeated": "repeated",
        "distinct_150": "triples 150",
        "distinct_400": "triples 400",
        "unknown": "unknown",
        "runs_of_figures": "fig. runs",
    }
    lines = ["| base | T/top-p/min-p | " + " | ".join(columns.values()) + " | tags |"]
    lines.append("|---" * (len(columns) + 3) + "|")
    for row in rows:
        cells = [_shown(row["figures"].get(key)) for key in columns]
        tags = row["figures"].get("tags") or {}
        mean = _shown(float(np.mean(list(tags.values()))) if tags else None)
        lines.append(f"| {row['name']} | {row['cell']} | {' | '.join(cells)} | {mean} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _keep(row: dict[str, Any]) -> None:
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else []
    same = ("base", "judge", "cell", "count", "seed")
    rows = [r for r in rows if any(r[k] != row[k] for k in same)] + [row]
    write_atomic(
        ROWS, "[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n"
    )


def main() -> None:
    """Parse, measure what was asked, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("vault", type=Path, nargs="?")
    parser.add_argument("--judge", type=Path, help="the folder of a base that took no part")
    parser.add_argument("--name", default="", help="of the base, in the table")
    parser.add_argument("--cells", nargs="*", default=["1.0/0.9/0", "0.8/1/0.05"])
    parser.add_argument("--texts", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.vault:
        vault, judge = open_vault(args.vault), Judge(args.judge)
        sense = Sense(vault, judge, args.texts, args.seed)
        common = {
            "base": base_digest(vault.base),
            "judge": base_digest(args.judge),
            "name": args.name or vault.base.name,
            "count": args.texts,
            "seed": args.seed,
        }
        _keep({**common, "cell": "the author", "figures": sense.own_figures()})
        engine = engine_of(vault)
        for cell in args.cells:
            _keep({**common, "cell": cell, "figures": sense.cell(engine, *sampling_of(cell))})
    print(table(json.loads(ROWS.read_text())))


if __name__ == "__main__":
    main()
