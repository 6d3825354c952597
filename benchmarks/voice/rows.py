"""The frame of every voice benchmark: named rows, their cost, resuming, and an honest count.

A row is one measurement with its seed, commit, base, start and end. Rows of another base model, or
of rounds that learned by another recipe, do not count; those of EARLIER recipes stand in until they
are measured again, and are called so. Knows nothing about what is measured.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from vaultgpt.config import Training
from vaultgpt.corpus import header
from vaultgpt.estimate import human
from vaultgpt.files import write_json
from vaultgpt.training import choose, streams
from vaultgpt.wire import Sampling

RESULTS = Path(__file__).parent.parent / "results"
# Recipes whose rows still say something: what they did otherwise, and for whom.
EARLIER = {
    "b88ed4": "the learning rate fell to zero and the last weights were kept, where now it is "
    "steady and their running mean is kept; a vault of 100,000 words and more took three passes "
    "then, two now; a small round replayed twice the words it brought",
    "23b466": "a small round began at the mean, at a tenth of the rate, where now it goes on from "
    "the last weights; fresh rounds were as they are",
    "db0a30": "a small round's batches and rate were not held to those of a fresh one over all "
    "that was read, which tells in vaults of under 44,000 words",
}
PEBBLE = Path(__file__).parent.parent.parent / "vaultgpt" / "pebble"

Row = dict[str, Any]
Figures = dict[str, Any]


class Unfinished(Exception):
    """A row's time is up; what it did is kept, and it goes on from there the next time."""


@dataclass(frozen=True)
class Case:
    """One row to be measured."""

    key: str  # e.g. "thoreau/1/lora"
    seed: int
    cost_s: float  # on 2 idle cores, a guess made from earlier rows
    run: Callable[[], Figures]
    resumes: bool = False  # it keeps its place, so that it may be begun though time is short
    small_rounds: bool = False  # they have a part in it
    large: bool = False  # its vault has more than 44,000 words
    writes: str = ""  # how the texts are written that have a part in it, as writing() says it


# Which rows of an earlier recipe are as if measured now.
AS_NOW: dict[str, Callable[[Case], bool]] = {
    "23b466": lambda case: not case.small_rounds,
    "db0a30": lambda case: case.large or not case.small_rounds,
}


@dataclass(frozen=True)
class Options:
    """What every voice benchmark takes."""

    data: Path  # a folder of journals, each an Obsidian vault
    work: Path  # trained mirrors are kept here and shared by the benchmarks
    results: Path
    only: tuple[str, ...]  # prefixes of keys
    again: tuple[str, ...]  # keys to measure once more
    most_s: float  # stop before a row that would not fit
    dry: bool  # name the cost and print what is there


@dataclass
class Bench:
    """One benchmark: its name, what it asks for, and how its rows are summed up and shown."""

    name: str
    doc: str
    cases: Callable[[Options], Sequence[Case]]
    summary: Callable[[Sequence[Row]], Figures]
    table: Callable[[Sequence[Row], Figures], str]


def base_digest(folder: Path = PEBBLE) -> str:
    """First 12 hex digits of the base model's weights, so that rows of two bases never mix."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]


def recipe_digest() -> str:
    """Of the passes and the code that decide how a round learns, comments and docstrings aside."""
    trees = [f"{Training().epochs} {Training().new_passes}"]
    for module in (choose, header, streams):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [n for n in body if not (  # type: ignore[attr-defined]
                    isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
        trees.append(ast.unparse(tree))
    return hashlib.sha256("".join(trees).encode()).hexdigest()[:6]


def writing(now: Sampling | None = None) -> str:
    """Temperature, top-p, min-p and tag strength; by default where no setting says otherwise."""
    now = now or Sampling()
    return f"{now.temperature:g} {now.top_p:g} {now.min_p:g} {now.tag_strength:g}"


def commit() -> str:
    """The commit measured, with a + when tracked files differ from it."""
    def git(*args: str) -> str:
        try:
            done = subprocess.run(["git", *args], capture_output=True, text=True, check=False,
                                  cwd=Path(__file__).parent)
        except OSError:  # no git on this machine
            return ""
        return done.stdout.strip()

    dirty = git("status", "--porcelain", "--untracked-files=no", "--", "../../vaultgpt")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if dirty else "")


def machine() -> str:
    """Cores, architecture, Python, and the GPU on which rounds run where there is one."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}{gpu}"


class Store:
    """results/NAME.json: every row ever measured, newest last."""

    def __init__(self, folder: Path, name: str, base: str, recipe: str) -> None:
        self.path, self.base, self.recipe = folder / f"{name}.json", base, recipe
        self.rows: list[Row] = []
        if self.path.exists():
            self.rows = list(json.loads(self.path.read_text(encoding="utf-8"))["rows"])

    def current(self) -> dict[str, Row]:
        """The newest row of each key that was measured with the base and the recipe in use.

        Where there is none, one of an earlier recipe.
        """
        mine = [r for r in self.rows if r["base"] == self.base]
        return {r["key"]: r for recipe in (*EARLIER, self.recipe) for r in mine
                if r.get("recipe") == recipe}

    def put(self, row: Row) -> None:
        """In the place of an older row of its key, base and recipe."""
        def of(r: Row) -> tuple[str, str, str | None]:
            return r["key"], r["base"], r.get("recipe")

        self.rows = [r for r in self.rows if of(r) != of(row)]
        self.rows.append(row)

    def write(self, more: Figures) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, _plain({**more, "rows": self.rows}))
        self.path.chmod(0o644)


def _plain(value: Any) -> Any:
    """The same with null for what JSON can't say: nan and the infinities."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def open_store(bench: Bench, results: Path) -> Store:
    """The rows of a benchmark, those of the base and the recipe in use being current."""
    return Store(results, bench.name, base_digest(), recipe_digest())


def listing(results: Path) -> Options:
    """Options under which a benchmark's cases can be named, and none of them run."""
    return Options(Path("JOURNALS"), Path("WORK"), results, (), (), 0.0, True)


def together(*rows: Row | None) -> bool:
    """Whether all of these are there and learned by one recipe, so that they may be compared."""
    return None not in rows and len({r.get("recipe") for r in rows if r}) == 1


def rows_in_order(store: Store, cases: Sequence[Case]) -> list[Row]:
    """The current rows of these cases."""
    have = store.current()
    return [_as_now(have[c.key], c, store.recipe) for c in cases if c.key in have]


def _as_now(row: Row, case: Case, recipe: str) -> Row:
    same = AS_NOW.get(str(row.get("recipe")))
    learned = recipe if same and same(case) else row.get("recipe")
    return {**row, "recipe": learned, "writing": row["writing"] if case.writes else "",
            "would_write": case.writes}


def parse(bench: Bench, argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.voice.{bench.name}", description=bench.doc)
    parser.add_argument("--data", type=Path, default=os.environ.get("VAULTGPT_DATA"),
                        help="folder of journals (or VAULTGPT_DATA)")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache/vaultgpt-benchmarks",
                        help="where trained mirrors are kept between benchmarks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", action="append", default=[], metavar="PREFIX",
                        help="only the row of this key, or all whose key begins so")
    parser.add_argument("--rows", default="", metavar="KEY,KEY",
                        help="measure these rows again, though they are there")
    parser.add_argument("--minutes", type=float, default=1e9,
                        help="start no row that would end later than this")
    parser.add_argument("--dry", action="store_true", help="name the cost, show what is there")
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("give --data, a folder of journals, or set VAULTGPT_DATA")
    args.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Options(args.data, args.work, args.results, tuple(args.only),
                   tuple(k for k in args.rows.split(",") if k), args.minutes * 60, args.dry)


def main(bench: Bench, argv: Sequence[str] | None = None) -> int:
    """Measure what is missing, print the table, and say how many of the asked rows there are."""
    options = parse(bench, argv)
    store = open_store(bench, options.results)
    cases = list(bench.cases(options))
    keys = {c.key for c in cases}
    wanted = [c for c in cases if not options.only
              or any(_chosen(c.key, only, keys) for only in options.only)]
    have = store.current()
    missing = [c for c in wanted if c.key not in have or c.key in options.again]
    cost = sum(c.cost_s for c in missing)
    print(f"{bench.name}: {len(missing)} of {len(wanted)} rows to measure, "
          f"{human(cost)} on 2 idle cores", file=sys.stderr)
    if not options.dry:
        _measure(bench, store, cases, missing, options.most_s)
    rows = rows_in_order(store, cases)
    summary = bench.summary(rows) if rows else {}
    if rows:
        print(bench.table(rows, summary))
    if len(rows) < len(cases):
        print(f"\nfalls short: {len(rows)} of {len(cases)} rows")
    if not options.dry:
        store.write(_head(bench, cases, rows, summary))
    return 0


def _chosen(key: str, only: str, keys: set[str]) -> bool:
    """Whether `only` names this row, or is no row's name and begins this one's."""
    return key == only or (only not in keys and key.startswith(only))


def _measure(bench: Bench, store: Store, cases: Sequence[Case], missing: Sequence[Case],
             most_s: float) -> None:
    began = time.monotonic()
    for case in missing:
        if time.monotonic() - began + case.cost_s * (not case.resumes) > most_s:
            print(f"  {case.key}: left for another time", file=sys.stderr)
            continue
        print(f"  {case.key} ({human(case.cost_s)})", file=sys.stderr)
        start, at = datetime.now(UTC), time.monotonic()
        try:
            figures = case.run()
        except Unfinished:
            print(f"  {case.key}: goes on another time", file=sys.stderr)
            continue
        row = {"key": case.key, "seed": case.seed, "base": store.base,
               "recipe": recipe_digest(), "writing": case.writes, "commit": commit(),
               "machine": machine(),
               "start": start.isoformat(timespec="seconds"),
               "end": datetime.now(UTC).isoformat(timespec="seconds"),
               "seconds": round(time.monotonic() - at, 1), "figures": figures}
        store.put(row)
        save(bench, store, cases)


def save(bench: Bench, store: Store, cases: Sequence[Case]) -> None:
    """Write all rows, and the summary of those that count."""
    rows = rows_in_order(store, cases)
    store.write(_head(bench, cases, rows, bench.summary(rows) if rows else {}))


def _head(bench: Bench, cases: Sequence[Case], rows: Sequence[Row], summary: Figures) -> Figures:
    return {"benchmark": bench.name, "asked": len(cases), "measured": len(rows),
            "complete": len(rows) == len(cases), "summary": summary}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Half-width of the 95 % t-interval and the mean: (mean, half). Half is nan for one value."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return mean, float("nan")
    t = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}.get(count, 2.0)
    spread = (sum((v - mean) ** 2 for v in values) / (count - 1)) ** 0.5
    return mean, t * spread / count**0.5
