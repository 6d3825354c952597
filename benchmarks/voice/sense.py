"""Does it make sense? Pages after held-out openings, read by a base that took no part.

    python -m benchmarks.voice.sense VAULT --judge FOLDER [--cells T/top_p/min_p ...] [--texts 24]
    python -m benchmarks.voice.sense --picture docs/sense.svg    # of the rows; needs matplotlib

Each cell is a way of sampling; the author's own next words stand beside. Rows go into
benchmarks/results/sense.json; without a vault all are printed. The voice is the active one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, arguments, markdown, renew, stored
from benchmarks.voice.judge import Judge, Read, mauve, told_apart
from benchmarks.voice.mirrors import write
from benchmarks.voice.rows import base_digest
from vaultgpt.bases.names import base_of_generation
from vaultgpt.corpus.words import norms, split_words
from vaultgpt.generation_folders import verify
from vaultgpt.ledger import Ledger
from vaultgpt.mirror.engine import Engine
from vaultgpt.report.job import VoiceJob
from vaultgpt.report.measured import _job
from vaultgpt.report.study import Study, Wanted
from vaultgpt.settings import Mirror, load_settings
from vaultgpt.state import find_state
from vaultgpt.training.round import Item
from vaultgpt.wire import Prompt, Sampling

LONG_TOKENS = 400
OPENING_WORDS, LEAST_WORDS, PAGE_WORDS = 30, 40, 110  # of an opening, and of what follows it
ROWS, SAME = RESULTS / "sense.json", ("base", "judge", "cell", "count", "seed")


@dataclass(frozen=True)
class Place:
    """A held-out page: under which header it stands, how it begins, how the author went on."""

    item: Item
    opening: str
    rest: str


def open_vault(folder: Path) -> VoiceJob:
    """The vault's active generation, and the author's pages as the report takes them."""
    state = find_state(folder)
    settings = load_settings(state.config)
    with Ledger.open(state) as ledger:
        active = ledger.generations.active()
        assert active is not None, "the vault has no voice"
        ledger.follow(settings.rules, time.time())
        folder = state.generations / active
        base = base_of_generation(state, verify(folder))
        return _job(ledger, settings, base, folder)


def places(held: Sequence[Item]) -> list[Place]:
    """Held-out pages with enough words, halved into an opening and what follows."""
    found = []
    for item in held:
        text = item.text.strip()
        words = split_words(text)
        opening = min(OPENING_WORDS, len(words) // 4)
        if len(words) - opening >= LEAST_WORDS:
            given = text[: words[opening].start].rstrip()
            found.append(Place(item, given, first(text, opening + PAGE_WORDS)[len(given) :]))
    return found


def first(text: str, words: int) -> str:
    """The first so many words."""
    found = split_words(text)
    return text[: found[words - 1].end] if len(found) > words else text


def distinct(texts: Sequence[str], words: int) -> float | None:
    """Of the word triples in the first `words` words, the share that are different."""
    shares = []
    for text in texts:
        found = norms(text)[:words]
        if len(found) >= words * 0.9:
            triples = list(zip(found, found[1:], found[2:], strict=False))
            shares.append(len(set(triples)) / len(triples))
    return fmean(shares) if shares else None


class Sense:
    """Measures cells of one voice with one judge; the author's own pages are read once."""

    def __init__(self, voice: VoiceJob, judge: Judge, texts: int, seed: int) -> None:
        self.voice, self.judge, self.seed = voice, judge, seed
        every = places(voice.held_out)
        self.places = [every[i % len(every)] for i in range(texts)]
        self.own = [judge.read(place.opening, place.rest) for place in self.places]
        self.study = Study(voice, lambda *_: None, threading.Event())
        # Without its copy guard, which would bar just what the author wrote next.
        self.engine, folder = Engine(Mirror()), Path(voice.adapter)
        self.engine.load(Path(voice.base))
        self.engine.activate(folder.name, folder)

    def own_figures(self) -> dict[str, Any]:
        """Of the author's pages."""
        pages = [i.text for i in (*self.voice.held_out, *self.voice.learned)]
        return self._figures(self.own, [place.rest for place in self.places], pages)

    def _figures(
        self, reads: Sequence[Read], short: Sequence[str], long: Sequence[str]
    ) -> dict[str, Any]:
        return {
            "bits_per_byte": sum(r.bits for r in reads) / sum(r.bytes for r in reads),
            "saved": self.judge.saved(short),
            "distinct_400": distinct(long, 290),
        }

    def _write(self, number: int, place: Place, sampling: Sampling) -> str:
        """After the opening, under the page's header."""
        of, month = place.item, (place.item.date or "")[:7] or None
        plan = Prompt(place.opening, of.tags, month, of.title, length="tokens", sampling=sampling)
        plan = replace(plan, max_tokens=LONG_TOKENS, seed=self.seed + number)
        return write(self.engine, plan)[0][0]

    def cell(self, sampling: Sampling) -> dict[str, Any]:
        """One way of sampling."""
        began = time.monotonic()
        texts = [self._write(k, place, sampling) for k, place in enumerate(self.places)]
        kept = [k for k, text in enumerate(texts) if len(norms(text)) >= LEAST_WORDS // 2]
        short = [first(texts[k], len(norms(self.places[k].rest))) for k in kept]
        own = [self.own[k] for k in kept]
        openings = [self.places[k].opening for k in kept]
        reads = [self.judge.read(*pair) for pair in zip(openings, short, strict=True)]
        points, others = (np.concatenate([r.pieces for r in part]) for part in (own, reads))
        wanted = self._wanted(texts)
        tags = self.study.tags_of(wanted)["tags"].items()
        return {
            **self._figures(reads, short, texts),
            "told_apart": told_apart(own, reads, openings),
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
        found, tags = row["figures"], (row["figures"].get("tags") or {}).values()
        values = [*map(found.get, COLUMNS), fmean(tags) if tags else None]
        lines.append([row["name"], row["cell"], *map(_shown, values)])
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
        across, up = np.array(points).T
        axes.scatter(across, up, label=name, color=colour, marker=marker, alpha=0.7)
        told: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "color": colour}
        for row, point in zip(cells, points, strict=True):
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
        voice = open_vault(args.vault)
        sense, base = Sense(voice, Judge(args.judge), args.texts, args.seed), Path(voice.base)
        digests = {"base": base_digest(base), "judge": base_digest(args.judge)}
        asked = {"name": args.name or base.name, "count": args.texts, "seed": args.seed}
        common = {**digests, **asked}
        renew(ROWS, {**common, "cell": "the author", "figures": sense.own_figures()}, SAME)
        for cell in args.cells:
            temperature, top_p, min_p = map(float, cell.split("/"))
            figures = sense.cell(Sampling(temperature, top_p, min_p))
            renew(ROWS, {**common, "cell": cell, "figures": figures}, SAME)
    print(table(stored(ROWS)))
    if args.picture:
        draw(args.picture, stored(ROWS))


if __name__ == "__main__":
    main()
