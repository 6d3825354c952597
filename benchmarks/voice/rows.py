"""The frame of every voice benchmark: named rows, and an honest count.

A row is one measurement, keyed by recipe, base, journal, seed and settings; rows of another base,
another RECIPE or other settings do not count. Knows nothing about what is measured.
"""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PEBBLE, RESULTS, ROOT, arguments, renew, stored
from vaultgpt.wire import Sampling

WORK = Path.home() / ".cache/vaultgpt-benchmarks"
# Raise it by hand when rounds learn otherwise (text, header, blocks, passes, rate, what is kept):
# rows of before no longer count then. A change that leaves the learned weights alike needs none.
RECIPE = 1

Figures = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What a row is a measurement of."""

    journal: str
    seed: int
    what: str  # is measured, and which settings depart from the defaults: "lora", "weekly"

    @property
    def key(self) -> str:
        return f"{self.journal}/{self.seed}/{self.what}"


@dataclass(frozen=True)
class Row(Case):
    """One measurement."""

    figures: Figures


@dataclass(frozen=True)
class Options:
    """What the cases of a benchmark need to know."""

    data: Path  # a folder of journals, each an Obsidian vault
    work: Path  # trained mirrors are kept here and shared by the benchmarks
    base: Path = PEBBLE  # its folder
    few: bool = False  # a look whether it runs

    def of(self, count: int, least: int = 2) -> int:
        """So many texts, trials or words, or a fiftieth of them."""
        return max(least, count // 50) if self.few else count

    def place(self, *names: object) -> Path:
        """Where what was trained on this base by this recipe is kept."""
        return self.work / "-".join(map(str, (*names, base_digest(self.base), RECIPE)))


def base_digest(folder: Path) -> str:
    """First 12 hex digits of a base model's weights, so that rows of two bases never mix."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]


def _writing() -> str:
    """Temperature, top-p, min-p and tag strength where no setting says otherwise, with pebble."""
    now = Sampling().on(parameters=0)
    return f"{now.temperature:g} {now.top_p:g} {now.min_p:g} {now.tag_strength:g}"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT).stdout.strip()


def _where_from() -> dict[str, str]:
    """Commit, with a + where the product differs from it; machine; time."""
    dirty = _git("status", "--porcelain", "--untracked-files=no", "--", "vaultgpt")
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    return {
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if dirty else ""),
        "machine": f"{machine}, Python {platform.python_version()}{gpu}",
        "start": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class Store:
    """NAME.json: a row for each identity, newest last."""

    def __init__(self, path: Path, base: Path, writing: str) -> None:
        self.path, self.base, self.writing = path, base_digest(base), writing

    def _identity(self, case: Case) -> dict[str, object]:
        found = {"recipe": RECIPE, "base": self.base, "journal": case.journal, "seed": case.seed}
        return {**found, "what": case.what, "writing": self.writing}

    def of(self, cases: Sequence[Case]) -> list[Row]:
        """The rows of these cases, in their order, where there are some."""
        rows = stored(self.path)
        return [
            Row(case.journal, case.seed, case.what, row["figures"])
            for case in cases
            for row in rows
            if self._identity(case).items() <= row.items()
        ]

    def measure(self, case: Case, measure: Callable[[Case], Figures]) -> None:
        """In the place of the row that was measured of the same before; the file is written."""
        print(f"  {case.key}", file=sys.stderr)
        identity, row, began = self._identity(case), _where_from(), time.monotonic()
        figures = measure(case)
        ends = {"seconds": round(time.monotonic() - began, 1), "figures": figures}
        renew(self.path, {**identity, **row, **ends}, list(identity))


def main(
    doc: str | None,
    cases_of: Callable[[Options], Sequence[Case]],
    measure: Callable[[Options, Case], Figures],
    table: Callable[[Sequence[Row]], str],
    *,
    any_base: bool = False,
    writes: bool = False,
) -> None:
    """Measure what is missing, print the table, and say how many of the asked rows there are.

    `any_base`: it can be asked of another base than the embedded one. `writes`: texts are written
    for it, so that rows count by the sampling too."""
    asks = arguments(doc, json_too=False)
    data = os.environ.get("VAULTGPT_DATA")
    asks.add_argument("--data", type=Path, default=data, help="of journals (or VAULTGPT_DATA)")
    asks.add_argument("--work", type=Path, default=WORK, help="where trained mirrors are kept")
    asks.set_defaults(base=PEBBLE)
    if any_base:
        asks.add_argument("--base", type=Path, help="a folder; the embedded one")
    asks.add_argument("--only", default="", metavar="PREFIX", help="rows whose key begins so")
    asks.add_argument("--again", action="store_true", help="measure them though they are there")
    asks.add_argument("--few", action="store_true", help="a fiftieth, kept nowhere: does it run?")
    asks.add_argument("--dry", action="store_true", help="show what is there")
    args = asks.parse_args()
    if not (args.dry or args.data):
        asks.error("--data names a folder of journals; --dry shows what was measured")
    args.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    options = Options(args.data or Path(), args.work, args.base, args.few)
    place = (args.work / "few" if args.few else RESULTS) / f"{Path(sys.argv[0]).stem}.json"
    store, cases = Store(place, args.base, _writing() if writes else ""), cases_of(options)
    have = set() if args.again or args.few else {row.key for row in store.of(cases)}
    wanted = [c for c in cases if c.key.startswith(args.only)]
    missing = [c for c in wanted if c.key not in have]
    print(f"{len(missing)} of {len(wanted)} rows to measure", flush=True)
    for case in () if args.dry else missing:
        store.measure(case, partial(measure, options))
    if rows := store.of(cases):
        print(table(rows))
    if len(rows) < len(cases):
        print(f"\nfalls short: {len(rows)} of {len(cases)} rows")


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % t-interval, for two values or more."""
    count = len(values)
    t = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}.get(count, 2.0)
    return statistics.mean(values), t * statistics.stdev(values) / count**0.5


def over_seeds(values: Sequence[float], form: str) -> tuple[str, float]:
    """Their mean as `form` has it, with its interval where there are several; and the mean."""
    if len(values) < 2:
        return format(values[0], form), values[0]
    mean, half = interval(values)
    return f"{mean:{form}} ± {half:{form}}, {len(values)} seeds", mean


def yes(met: bool | None) -> str:
    """How a bound is told; None where it can't be said yet."""
    return "not yet" if met is None else "yes" if met else "**no**"
