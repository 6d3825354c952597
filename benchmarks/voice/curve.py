"""The prequential curve of the nights as SVG: each week's new pages before they are learned.

matplotlib is an optional extra. Knows nothing about how the figures came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

LINES = (
    ("base", "the base", "tab:gray"),
    ("month", "the mirror of four weeks before", "tab:blue"),
    ("mirror", "last week's mirror", "tab:red"),
)


def draw(path: Path, weeks: Sequence[dict[str, Any]], title: str) -> bool:
    """Write the curve; False where matplotlib is not installed.

    A week is {"week": its first day, "base", "mirror", "month": bits per byte or None}.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "vaultgpt"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4))
    names = [str(week["week"]) for week in weeks]
    for key, label, colour in LINES:
        at = [i for i, week in enumerate(weeks) if week[key] is not None]
        axes.plot(at, [weeks[i][key] for i in at], "o-", label=label, color=colour, markersize=3)
    step = max(1, len(names) // 12)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=45, ha="right")
    axes.set_ylabel("bits per byte")
    axes.set_title(title)
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True
