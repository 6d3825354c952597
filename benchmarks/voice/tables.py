"""Every voice benchmark's rows as one page of tables: `python -m benchmarks.voice.tables`.

Writes docs/voice.md from what stands in benchmarks/results/, and measures nothing.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.voice.rows import (
    EARLIER,
    RESULTS,
    Bench,
    Row,
    listing,
    open_store,
    recipe_digest,
    rows_in_order,
)
from vaultgpt.files import write_atomic

PAGE = Path(__file__).parent.parent.parent / "docs" / "voice.md"
NAMES = ("gain", "sweeps", "nights", "tags", "years", "author", "copying", "questions", "feeding",
         "gate", "forget")
HEAD = """# The voice, in tables

Written by `python -m benchmarks.voice.tables` from the rows in
[benchmarks/results/](../benchmarks/results/). What they mean stands in
[benchmarks.md](benchmarks.md#the-voice); the commands and their cost in
[benchmarks/voice/README.md](../benchmarks/voice/README.md).
"""


def page(results: Path = RESULTS) -> str:
    """The page's Markdown."""
    parts = [HEAD]
    for name in NAMES:
        bench: Bench = importlib.import_module(f"benchmarks.voice.{name}").BENCH
        parts.append(_section(bench, results))
    return "\n".join(parts)


def _section(bench: Bench, results: Path) -> str:
    cases = bench.cases(listing(results))
    rows = rows_in_order(open_store(bench, results), cases)
    lines = [f"## {bench.name}", "", bench.doc, "",
             f"    python -m benchmarks.voice.{bench.name} --data JOURNALS", ""]
    if rows:
        lines += [bench.table(rows, bench.summary(rows)), "", _provenance(rows)]
        lines += _earlier(rows)
    if len(rows) < len(cases):
        lines += ["", f"**Falls short: {len(rows)} of {len(cases)} rows.**"]
    return "\n".join(lines) + "\n"


def _earlier(rows: Sequence[Row]) -> list[str]:
    """Which rows an earlier recipe learned or earlier defaults wrote, and what was otherwise."""
    lines = []
    for recipe, otherwise in EARLIER.items():
        keys = [row["key"] for row in rows if row.get("recipe") == recipe]
        if keys and recipe != recipe_digest():
            lines += ["", f"{_which(keys, rows)} learned by the recipe before: {otherwise}."]
    written: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        written.setdefault((row["writing"], row["would_write"]), []).append(row["key"])
    for (wrote, would), keys in sorted(written.items()):
        if wrote != would:
            lines += ["", f"{_which(keys, rows)} wrote at {_named(wrote)}, where now it is "
                      f"{_named(would)}."]
    return lines


def _which(keys: Sequence[str], rows: Sequence[Row]) -> str:
    return "All of them" if len(keys) == len(rows) else f"Of these {', '.join(keys)}"


def _named(wrote: str) -> str:
    return "temperature {}, top-p {}, min-p {} and tag strength {}".format(*wrote.split())


def _provenance(rows: Sequence[Row]) -> str:
    days = sorted({row["start"][:10] for row in rows})
    commits = sorted({row["commit"] for row in rows})
    machines = sorted({row["machine"] for row in rows})
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"{len(rows)} rows of {span}; commits {', '.join(commits)}; {'; '.join(machines)}."


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=PAGE)
    args = parser.parse_args()
    write_atomic(args.out, page(args.results))
    args.out.chmod(0o644)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
