"""The frame of every voice benchmark: named rows, and an honest count.

A row is one measurement, keyed by recipe, base, journal, seed and settings; rows of another base,
another RECIPE or other settings do not count. Knows nothing about what is measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PEBBLE, RESULTS, ROOT, arguments, renew
from vaultgpt.wire import Sampling

WORK = Path.home() / ".cache/vaultgpt-benchmarks"
# Raise it by hand when rounds learn otherwise (text, header, blocks, passes, rate, what is kept):
# rows of before no longer count then. A change that leaves the learned weights alike needs none.
RECIPE = 1

Figures = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One row to be measured."""

    journal: str
    seed: int
    what: str  # is measured, and which settings depart from the defaults: "lora", "weekly"
    run: Callable[[], Figures]
    writing: str = ""  # how the texts are written that have a part in it, as writing() says it

    @property
    def key(self) -> str:
        return f"{self.journal}/{self.seed}/{self.what}"


@dataclass(frozen=True)
class Row:
    """One measurement and where it comes from."""

    recipe: int
    base: str  # base_digest()
    journal: str
    seed: int
    what: str
    writing: str
    commit: str  # with a + when the product differed from it
    machine: str
    start: str
    seconds: float
    figures: Figures

    @property
    def key(self) -> str:
        return f"{self.journal}/{self.seed}/{self.what}"


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


def base_digest(folder: Path = PEBBLE) -> str:
    """First 12 hex digits of the base model's weights, so that rows of two bases never mix."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]


def writing() -> str:
    """Temperature, top-p, min-p and tag strength where no setting says otherwise, with pebble."""
    now = Sampling().on(parameters=0)
    return f"{now.temperature:g} {now.top_p:g} {now.min_p:g} {now.tag_strength:g}"


def _commit() -> str:
    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], capture_output=True, text=True, check=False, cwd=ROOT)
        return done.stdout.strip()

    try:
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", "vaultgpt")
        return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if dirty else "")
    except OSError:  # no git on this machine
        return "unknown"


def _machine() -> str:
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}{gpu}"


IDENTITY = ("recipe", "base", "journal", "seed", "what", "writing")


class Store:
    """NAME.json: a row for each identity, newest last."""

    def __init__(self, path: Path, base: Path) -> None:
        self.path, self.base = path, base_digest(base)
        self.rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def of(self, cases: Sequence[Case]) -> list[Row]:
        """The rows of these cases, in their order, where there are some."""
        have = {tuple(row[key] for key in IDENTITY): Row(**row) for row in self.rows}
        wanted = [(RECIPE, self.base, c.journal, c.seed, c.what, c.writing) for c in cases]
        return [have[one] for one in wanted if one in have]

    def measure(self, case: Case) -> None:
        """In the place of the row that was measured of the same before; the file is written."""
        print(f"  {case.key}", file=sys.stderr)
        start, at = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        figures = case.run()
        of = case.journal, case.seed, case.what, case.writing
        seconds = round(time.monotonic() - at, 1)
        row = Row(RECIPE, self.base, *of, _commit(), _machine(), start, seconds, figures)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = renew(self.path, asdict(row), IDENTITY)


def main(
    name: str,
    doc: str | None,
    cases_of: Callable[[Options], Sequence[Case]],
    table: Callable[[Sequence[Row]], str],
    *,
    any_base: bool = False,
) -> None:
    """Measure what is missing, print the table, and say how many of the asked rows there are.

    `any_base`: it can be asked of another base than the embedded one."""
    asks = arguments(doc, json_too=False)
    data = os.environ.get("VAULTGPT_DATA")
    asks.add_argument("--data", type=Path, default=data, help="of journals (or VAULTGPT_DATA)")
    asks.add_argument("--work", type=Path, default=WORK, help="where trained mirrors are kept")
    if any_base:
        asks.add_argument("--base", type=Path, default=PEBBLE, help="a folder; the embedded one")
    asks.add_argument("--only", default="", metavar="PREFIX", help="rows whose key begins so")
    asks.add_argument("--again", action="store_true", help="measure them though they are there")
    asks.add_argument("--few", action="store_true", help="a fiftieth, kept nowhere: does it run?")
    asks.add_argument("--dry", action="store_true", help="show what is there")
    args = asks.parse_args()
    if not (args.dry or args.data):
        asks.error("--data names a folder of journals; --dry shows what was measured")
    args.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    base = args.base if any_base else PEBBLE
    store = Store((args.work / "few" if args.few else RESULTS) / f"{name}.json", base)
    cases = list(cases_of(Options(args.data or Path(), args.work, base, args.few)))
    have = set() if args.again or args.few else {row.key for row in store.of(cases)}
    wanted = [c for c in cases if c.key.startswith(args.only)]
    missing = [c for c in wanted if c.key not in have]
    print(f"{len(missing)} of {len(wanted)} rows to measure", flush=True)
    for case in () if args.dry else missing:
        store.measure(case)
    if rows := store.of(cases):
        print(table(rows))
    if len(rows) < len(cases):
        print(f"\nfalls short: {len(rows)} of {len(cases)} rows")


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % t-interval, which is nan for one value."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return mean, float("nan")
    t = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}.get(count, 2.0)
    spread = (sum((v - mean) ** 2 for v in values) / (count - 1)) ** 0.5
    return mean, t * spread / count**0.5


def over_seeds(values: Sequence[float], form: str) -> tuple[str, float]:
    """Their mean as `form` has it, with its interval where there are several; and the mean."""
    mean, half = interval(values)
    more = f" ± {format(half, form)}, {len(values)} seeds" if len(values) > 1 else ""
    return format(mean, form) + more, mean


def yes(met: bool | None) -> str:
    """How a bound is told; None where it can't be said yet."""
    return "not yet" if met is None else "yes" if met else "**no**"
