"""Curves of a vault's history: by generation, by tag, and how new notes were foretold.

Drawing needs matplotlib (the `voice` extra); the series do not. Knows nothing about terminals.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaultgpt.errors import NotFound, UsageError, VaultGPTError
from vaultgpt.files import write_atomic
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.rows import ScoreRow

_ENDINGS = (".png", ".svg")
_MOST_TAGS = 12
_LN2 = math.log(2.0)
_Row = tuple[str, float, float | None]  # name, bits per byte of the mirror, of the base


@dataclass(frozen=True)
class _Series:
    """What is drawn, in order."""

    generations: list[_Row]
    tags: list[_Row]  # of the active generation
    prequential: list[_Row]  # by round: new notes, scored before they were learned


def check_plot(path: Path) -> None:
    """UsageError for another ending than .png and .svg; VaultGPTError without matplotlib."""
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError("A plot is a .png or .svg file.", "Give such a name to --plot.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise VaultGPTError(
            "Plots need matplotlib, which is not installed.", "Run `pip install 'vaultgpt[voice]'`."
        ) from None


def series(ledger: Ledger) -> _Series:
    """The ledger's figures. NotFound before the first round."""
    done = {r.generation: r.report for r in ledger.rounds.all() if r.generation and r.report}
    rows: list[_Row] = []
    for generation in ledger.generations.all(kept=False):
        bits = (done.get(generation.id) or {}).get("bits_per_byte") or {}
        if (held_out := bits.get("held_out")) is not None:
            rows.append((generation.id, held_out, bits.get("held_out_base")))
    if not rows:
        raise NotFound("Nothing has been learned yet.", "Run `vaultgpt train` first.")
    active = (done.get(ledger.generations.writing() or "") or {}).get("by_tag") or {}
    largest = sorted(active, key=lambda tag: -active[tag].get("bytes", 0))[:_MOST_TAGS]
    tags = [
        (tag, active[tag]["after"], active[tag].get("base"))
        for tag in sorted(largest)
        if "after" in active[tag]
    ]
    return _Series(rows, tags, _foretold(ledger.rounds.scores()))


def _foretold(scores: list[ScoreRow]) -> list[_Row]:
    """Bits per byte of each round's new notes, under the mirror of before and under the base."""
    rounds: dict[int, list[tuple[float, int, float | None]]] = {}
    for one in scores:
        if one.nats is not None and one.bytes:
            rounds.setdefault(one.round, []).append((one.nats, one.bytes, one.base_nats))
    rows: list[_Row] = []
    for number, found in sorted(rounds.items()):
        size = sum(count for _, count, _ in found) * _LN2
        plain = [nats for _, _, nats in found if nats is not None]
        base = sum(plain) / size if len(plain) == len(found) else None
        rows.append((f"round {number}", sum(nats for nats, _, _ in found) / size, base))
    return rows


def draw(path: Path, shown: _Series) -> None:
    """Write the plot, atomically and readable by its owner alone."""
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 11), layout="constrained")
    axes = figure.subplots(3, 1)
    _lines(axes[0], shown.generations, "Held-out pages, by generation")
    _bars(axes[1], shown.tags, "Held-out pages, by tag")
    _lines(axes[2], shown.prequential, "New notes, before they were learned")
    body = io.BytesIO()
    figure.savefig(body, format=path.suffix.lower()[1:], dpi=120)
    try:
        write_atomic(path, body.getvalue())
    except OSError as error:
        raise UsageError(
            f"{path} can't be written ({type(error).__name__}).", "Give another place to --plot."
        ) from None


def _lines(axes: Any, rows: list[_Row], title: str) -> None:
    _frame(axes, rows, title)
    if rows:
        places = range(len(rows))
        axes.plot(places, [mirror for _, mirror, _ in rows], "o-", label="mirror")
        axes.plot(places, [math.nan if b is None else b for _, _, b in rows], "s--", label="base")
        axes.legend()


def _bars(axes: Any, rows: list[_Row], title: str) -> None:
    _frame(axes, rows, title)
    if rows:
        places = range(len(rows))
        axes.bar([p - 0.2 for p in places], [mirror for _, mirror, _ in rows], 0.4, label="mirror")
        axes.bar(
            [p + 0.2 for p in places],
            [math.nan if b is None else b for _, _, b in rows],
            0.4,
            label="base",
        )
        axes.legend()


def _frame(axes: Any, rows: list[_Row], title: str) -> None:
    axes.set_title(title)
    axes.set_ylabel("bits per byte")
    step = max(1, len(rows) // 12)
    axes.set_xticks(range(0, len(rows), step))
    # "$" would open mathematics.
    axes.set_xticklabels([name.replace("$", r"\$") for name, _, _ in rows][::step])
    if not rows:
        axes.text(0.5, 0.5, "nothing yet", ha="center", va="center", transform=axes.transAxes)
