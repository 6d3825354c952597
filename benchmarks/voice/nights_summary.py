"""What the rows of nights.py say about their bounds, as tables and as the prequential curve.

    python -m benchmarks.voice.nights_summary thoreau/1/weekly docs/nights.svg

draws a row that is there (it needs matplotlib). Knows nothing about how rows were measured.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.voice.rows import RESULTS, Figures, Row, Store, interval, yes

RATIO = 0.97  # of the fresh training's gain, at least
WORSE = 0.01  # old notes, at most
TOKENS = 0.25  # of the month's-end fresh trainings, at most
LINES = (
    ("base", "the base", "tab:gray"),
    ("month", "the mirror of four weeks before", "tab:blue"),
    ("mirror", "last week's mirror", "tab:red"),
)


@dataclass(frozen=True)
class Judged:
    """One row of small rounds beside the fresh training of its seed; None where that is missing."""

    gain_of_fresh: float | None
    old_worse_by: float
    tokens_of_month_ends: float | None

    @classmethod
    def of(cls, small: Figures, fresh: Figures | None) -> Judged:
        spent = small["trained_tokens"] + small["scored_tokens"]
        return cls(
            gain(small) / gain(fresh) if fresh else None,
            small["last_old"] / small["first_old"] - 1,
            spent / fresh["month_ends_tokens"] if fresh else None,
        )

    def cells(self) -> str:
        ratio, tokens = self.gain_of_fresh, self.tokens_of_month_ends
        return (
            f"{_judged(ratio, ratio is not None and ratio >= RATIO)} | "
            f"{_judged(self.old_worse_by, self.old_worse_by <= WORSE)} | "
            f"{_judged(tokens, tokens is not None and tokens <= TOKENS)}"
        )


def gain(figures: Figures, name: str = "last", part: str = "both") -> float:
    """1 - bits per byte over the base's."""
    return float(1 - figures[f"{name}_{part}"] / figures[f"base_{part}"])


def foretold_better(weeks: Sequence[dict[str, Any]], other: str) -> str:
    """How often, and by how much, last week's mirror foretold better than the other.

    Weeks in which the other is the same generation, or was not there yet, do not count.
    """
    counted = [w for w in weeks if w[other] is not None and w[other] != w["mirror"]]
    if not counted:
        return "no week"
    mine, theirs = (sum(w[who] * w["bytes"] for w in counted) for who in ("mirror", other))
    better = sum(w["mirror"] < w[other] for w in counted)
    return f"{better} of {len(counted)} weeks, {_percent(1 - mine / theirs)}"


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| row | gain | old | late | first, old | rounds (fresh, refused) | trained + scored "
        "tokens | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        f = row.figures
        early = _percent(gain(f, "first", "old")) if "first_old" in f else ""
        parts = " | ".join(_percent(gain(f, part=part)) for part in ("both", "old", "late"))
        lines.append(
            f"| {row.key} | {parts} | {early} | "
            f"{f['rounds']} ({f['fresh_rounds']}, {f['refused']}) | "
            f"{f['trained_tokens']:,} + {f['scored_tokens']:,} | {f['rounds_s']:,.0f} |"
        )
    lines += [
        "",
        "| row | gain of fresh, >= 97 % | old worse by, <= 1 % | tokens of month's-end "
        "fresh, <= 25 % | better than base | than the month's mirror |",
        "|---|---|---|---|---|---|",
    ]
    fresh = {(r.journal, r.seed): r.figures for r in rows if r.what == "fresh"}
    seeds: dict[str, list[Judged]] = defaultdict(list)
    for row in rows:
        if row.what != "fresh":
            one = Judged.of(row.figures, fresh.get((row.journal, row.seed)))
            seeds[f"{row.journal}, {row.what}"].append(one)
            told = [foretold_better(row.figures["weeks"], other) for other in ("base", "month")]
            lines.append(f"| {row.key} | {one.cells()} | {' | '.join(told)} |")
    lines += [_all_seeds(name, found) for name, found in sorted(seeds.items()) if len(found) > 1]
    return "\n".join(lines)


def _all_seeds(name: str, found: Sequence[Judged]) -> str:
    columns = zip(
        *((j.gain_of_fresh, j.old_worse_by, j.tokens_of_month_ends) for j in found), strict=True
    )
    told = [interval([value for value in column if value is not None]) for column in columns]
    shown = " | ".join(f"{_percent(mean)} ± {100 * half:.1f}" for mean, half in told)
    return f"| {name}, all seeds | {shown} | | |"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _judged(figure: float | None, met: bool) -> str:
    return yes(None) if figure is None else f"{_percent(figure)} {yes(met)}"


def draw(path: Path, row: Row) -> None:
    """Each week's pages under the base, last month's mirror and last week's, as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "vaultgpt", "svg.fonttype": "none"})
    from matplotlib import pyplot

    weeks = row.figures["weeks"]
    figure, axes = pyplot.subplots(figsize=(8, 4))
    names = [str(week["week"]) for week in weeks]
    for key, label, colour in LINES:
        at = [i for i, week in enumerate(weeks) if week[key] is not None]
        axes.plot(at, [weeks[i][key] for i in at], "o-", label=label, color=colour, markersize=3)
    step = max(1, len(names) // 12)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=45, ha="right")
    axes.set_ylabel("bits per byte")
    axes.set_title(f"{row.journal}, {row.what} rounds: pages not yet learned")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    key, out = sys.argv[1:]
    found = [row for row in Store(RESULTS, "nights").rows if row.key == key]
    draw(Path(out), found[-1])
