"""The ways of sampling that were measured, on the plane of style and of sense, as a picture.

    python -m benchmarks.voice.plane docs/sense.svg

Across: how often a discriminator on another base's hidden states tells a page from the author's.
Up: how much of the author's style it has. Needs matplotlib. Draws rows that are there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.voice.sense import ROWS

COLOURS = ("#7a3e9d", "#1b7f5c", "#c0572b")


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """A colour a base, a point a cell: its temperature, top-p, min-p and drafts beside it."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "vaultgpt", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    names = list(dict.fromkeys(row["name"] for row in rows))
    for name, colour in zip(names, COLOURS, strict=False):
        cells = [row for row in rows if row["name"] == name and "told_apart" in row["figures"]]
        points = [(100 * r["figures"]["told_apart"], r["figures"]["style"]) for r in cells]
        axes.scatter(*zip(*points, strict=True), label=name, color=colour)
        for row, point in zip(cells, points, strict=True):
            cell = row["cell"].replace("/", ", ")
            axes.annotate(cell, point, xytext=(5, 3), textcoords="offset points", fontsize=7)
    axes.scatter([50], [50], label="the author", color="black", marker="*", s=80)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks([0, 1, 5, 10, 50], ["0", "1", "5", "10", "50"])
    axes.set_ylim(-0.3, 90)
    axes.set_xlim(102, 45)
    axes.set_xlabel("told from the author, %")
    axes.set_ylabel("style, percentile among the author's pages")
    axes.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), json.loads(ROWS.read_text()))
