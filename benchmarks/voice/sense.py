"""Does it make sense? Pages after held-out openings, read by a base that took no part.

    python -m benchmarks.voice.sense VAULT --judge FOLDER [--cells T/top_p/min_p ...] [--texts 24]
    python -m benchmarks.voice.sense --picture docs/sense.svg    # of the rows; needs matplotlib

Each cell is a way of sampling; the author's own next words stand beside. Rows go into
benchmarks/results/sense.json; without a vault all are printed. The voice is the active one.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, arguments, markdown, renew
from benchmarks.voice.judge import Judge, Read, mauve, told_apart
from benchmarks.voice.mirrors import write
from benchmarks.voice.rows import base_digest
from vaultgpt.bases.names import base_of_generation
from vaultgpt.corpus.words import norms, split_words
from vaultgpt.generation_folders import verify
from vaultgpt.ledger import Ledger
from vaultgpt.mirror.engine import Engine
from vaultgpt.report.job import VoiceJob
from vaultgpt.report.study import Study, Wanted
from vaultgpt.settings import Mirror, load_settings
from vaultgpt.state import find_state
from vaultgpt.training.assemble import author_pages
from vaultgpt.training.round import Item
from vaultgpt.wire import Prompt, Sampling

SHORT_TOKENS, LONG_TOKENS = 150, 400
OPENING_WORDS, LEAST_WORDS, PAGE_WORDS = 30, 40, 110  # of an opening, and of what follows it
ROWS, SAME = RESULTS / "sense.json", ("base", "judge", "cell", "count", "seed")


@dataclass(frozen=True)
class Place:
    """A held-out page: under which header it stands, how it begins, how the author went on."""

    item: Item
    opening: str
    rest: str

    def prompt(self) -> Prompt:
        """The opening under the page's header."""
        of, month = self.item, (self.item.date or "")[:7] or None
        return Prompt(self.opening, of.tags, month, of.title, length="tokens")


def open_vault(folder: Path) -> VoiceJob:
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
    return VoiceJob(str(base), str(place), *parts)


def places(held: Sequence[Item]) -> list[Place]:
    """Held-out pages with enough words, halved into an opening and what follows."""
    found = []
    for item in held:
        text = item.text.strip()
        words = split_words(text)
        opening = min(OPENING_WORDS, len(words) // 4)
        if len(words) - opening >= LEAST_WORDS:
            given = text[: words[opening].start].rstrip()
            last = words[min(len(words), opening + PAGE_WORDS) - 1]
            found.append(Place(item, given, text[len(given) : last.end]))
    return found


def engine_of(voice: VoiceJob) -> Engine:
    """The mirror without its copy guard, which would bar just what the author wrote next."""
    engine, folder = Engine(Mirror()), Path(voice.adapter)
    engine.load(Path(voice.base))
    engine.activate(folder.name, folder)
    return engine


def first(text: str, words: int) -> str:
    """The first so many words."""
    found = split_words(text)
    return text[: found[words - 1].end] if len(found) > words else text


# Figures of a text alone --------------------------------------------------------------------------


def distinct(texts: Sequence[str], words: int) -> float | None:
    """Of the word triples in the first `words` words, the share that are different."""
    shares = []
    for text in texts:
        found = norms(text)[:words]
        if len(found) >= words * 0.9:
            triples = list(zip(found, found[1:], found[2:], strict=False))
            shares.append(len(set(triples)) / len(triples))
    return float(np.mean(shares)) if shares else None


# One cell -----------------------------------------------------------------------------------------


class Sense:
    """Measures cells of one voice with one judge; the author's own pages are read once."""

    def __init__(self, voice: VoiceJob, judge: Judge, texts: int, seed: int) -> None:
        self.voice, self.judge, self.seed = voice, judge, seed
        every = places(voice.held_out)
        self.order = [i % len(every) for i in range(texts)]
        self.places = [every[i] for i in self.order]
        self.study = Study(voice, lambda *_: None, threading.Event())
        self.own = {i: judge.read(every[i].opening, every[i].rest) for i in set(self.order)}

    def own_figures(self) -> dict[str, Any]:
        """Of the author's pages."""
        reads = list(self.own.values())
        rests = [self.places[self.order.index(i)].rest for i in self.own]
        pages = [i.text for i in (*self.voice.held_out, *self.voice.learned)]
        return self._figures(reads, rests, pages)

    def _figures(
        self, reads: Sequence[Read], short: Sequence[str], long: Sequence[str]
    ) -> dict[str, Any]:
        return {
            "bits_per_byte": sum(r.bits for r in reads) / sum(r.bytes for r in reads),
            "saved": self.judge.saved(short),
            "distinct_400": distinct(long, 290),
        }

    def texts(self, engine: Engine, sampling: Sampling) -> list[str]:
        """One for each place, of LONG_TOKENS at most."""
        texts = [""] * len(self.places)
        for i in sorted(set(self.order)):
            rows = [k for k, place in enumerate(self.order) if place == i]
            plan = self.places[rows[0]].prompt()
            plan = replace(plan, max_tokens=LONG_TOKENS, n=len(rows), seed=self.seed + i)
            for row, text in zip(
                rows, write(engine, replace(plan, sampling=sampling)), strict=True
            ):
                texts[row] = text
        return texts

    def cell(self, engine: Engine, sampling: Sampling) -> dict[str, Any]:
        """One way of sampling."""
        began = time.monotonic()
        texts = self.texts(engine, sampling)
        kept = [k for k, text in enumerate(texts) if len(norms(text)) >= LEAST_WORDS // 2]
        short = [first(texts[k], len(norms(self.places[k].rest))) for k in kept]
        own = [self.own[self.order[k]] for k in kept]
        openings = [self.places[k].opening for k in kept]
        reads = [self.judge.read(*pair) for pair in zip(openings, short, strict=True)]
        points, others = (np.concatenate([r.pieces for r in part]) for part in (own, reads))
        wanted = self._wanted(texts)
        tags = self.study.tags_of(wanted)["tags"].items()
        return {
            **self._figures(reads, short, texts),
            "told_apart": told_apart(own, reads, [self.order[k] for k in kept]),
            "mauve": mauve(points, others),
            "style": self.study.style_of(wanted)["percentile"],
            "tags": {t: r["generated"] for t, r in tags if r["generated"] is not None},
            "tags_real": {t: r["real"] for t, r in tags if r["real"] is not None},
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


def sampling_of(cell: str) -> Sampling:
    """From "temperature/top_p/min_p"."""
    temperature, top_p, min_p = map(float, cell.split("/"))
    return Sampling(temperature=temperature, top_p=top_p, min_p=min_p)


COLUMNS = {
    "bits_per_byte": "bits/byte",
    "saved": "saved",
    "told_apart": "told apart",
    "mauve": "MAUVE",
    "style": "style %",
    "distinct_400": "triples 400",
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All rows, the author's pages first."""
    lines = []
    for row in rows:
        tags = list((row["figures"].get("tags") or {}).values())
        mean = float(np.mean(tags)) if tags else None
        cells = [_shown(value) for value in (*map(row["figures"].get, COLUMNS), mean)]
        lines.append([row["name"], row["cell"], *cells])
    return markdown(("base", "T/top-p/min-p", *COLUMNS.values(), "tags"), lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Across: how often it is told from the author; up: its style. A point a way of sampling."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "vaultgpt", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    names = list(dict.fromkeys(row["name"] for row in rows))
    looks = (("#7a3e9d", "o", 4), ("#1b7f5c", "s", 12), ("#c0572b", "^", -10))
    for name, (colour, marker, above) in zip(names, looks, strict=False):
        of_base = [row for row in rows if row["name"] == name]
        cells = [row for row in of_base if row["figures"].get("style") is not None]
        points = [(100 * r["figures"]["told_apart"], r["figures"]["style"]) for r in cells]
        across, up = zip(*points, strict=True)
        axes.scatter(across, up, label=name, color=colour, marker=marker, alpha=0.7)
        for row, point in zip(cells, points, strict=True):
            told: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "color": colour}
            axes.annotate(row["cell"].replace("/", ", "), point, xytext=(5, above), **told)
    axes.scatter([50], [50], label="the author", color="black", marker="*", s=80)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks([0, 1, 5, 10, 50], ["0", "1", "5", "10", "50"])
    axes.set(ylim=(-0.3, 90), xlim=(102, 45), xlabel="told from the author, %")
    axes.set_ylabel("style, percentile among the author's pages")
    axes.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Parse, measure what was asked, print the table."""
    parser = arguments(__doc__, json_too=False)
    parser.add_argument("vault", type=Path, nargs="?")
    parser.add_argument("--judge", type=Path, help="the folder of a base that took no part")
    parser.add_argument("--name", default="", help="of the base, in the table")
    parser.add_argument("--cells", nargs="*", default=["1.0/0.9/0", "0.8/1/0.05"])
    parser.add_argument("--texts", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="draw the rows into this SVG file")
    args = parser.parse_args()
    if args.vault:
        voice, judge = open_vault(args.vault), Judge(args.judge)
        sense, base = Sense(voice, judge, args.texts, args.seed), Path(voice.base)
        common = {
            "base": base_digest(base),
            "judge": base_digest(args.judge),
            "name": args.name or base.name,
            "count": args.texts,
            "seed": args.seed,
        }
        renew(ROWS, {**common, "cell": "the author", "figures": sense.own_figures()}, SAME)
        engine = engine_of(voice)
        for cell in args.cells:
            figures = sense.cell(engine, sampling_of(cell))
            renew(ROWS, {**common, "cell": cell, "figures": figures}, SAME)
    rows = json.loads(ROWS.read_text())
    print(table(rows))
    if args.picture:
        draw(args.picture, rows)


if __name__ == "__main__":
    main()
