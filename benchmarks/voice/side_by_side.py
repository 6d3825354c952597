"""Runs many benchmarks at once on a machine of many cores, or one with a GPU that they share.

    python -m benchmarks.voice.side_by_side --data JOURNALS [--work DIR] --out DIR FILE

FILE holds a chain a line, steps between semicolons, a step being a benchmark's name and arguments:
`gain --only mary-maclane; author --only mary-maclane/1`. `wait NAME` waits for a file in --work; an
argument that begins with W/ lies there. Chains run side by side, on two cores each; every one keeps
its own results, so that none writes over another's, and --out/results joins them at the end. What
is under way when the time is up is stopped.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.voice.rows import RESULTS, Bench, listing, open_store, save

CORES = 2  # of each chain
POLL_S = 0.5


class Chain:
    """The steps of one line, one after the other."""

    def __init__(self, number: int, line: str, options: argparse.Namespace) -> None:
        self.steps = [shlex.split(step) for step in line.split(";") if step.strip()]
        self.name = f"{number:02d}"
        self.results = options.out / f"chain-{self.name}"
        self.options, self.number, self.done = options, number, 0
        self._child: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()

    def run(self) -> None:
        with (self.options.out / f"chain-{self.name}.log").open("wb") as log:
            for step in self.steps:
                if self._over.is_set():
                    return
                began = time.monotonic()
                if step[0] == "wait":
                    self._wait(step[1])
                else:
                    self._child = subprocess.Popen(self._command(step), stdout=log, stderr=log,
                                                   start_new_session=True)
                    code = self._child.wait()
                    print(f"{self.name} {' '.join(step)}: {time.monotonic() - began:.0f} s"
                          f"{f', failed ({code})' if code else ''}", flush=True)
                self.done += 1

    def _wait(self, name: str) -> None:
        while not self._over.is_set() and not list(self.options.work.glob(name)):
            time.sleep(POLL_S)

    def _command(self, step: list[str]) -> list[str]:
        count = os.cpu_count() or 1
        first = (self.number * CORES) % count
        cores = ",".join(str((first + i) % count) for i in range(min(CORES, count)))
        pinned = ["taskset", "-c", cores] if count > CORES else []
        return [*pinned, sys.executable, "-m", f"benchmarks.voice.{step[0]}",
                "--data", str(self.options.data), "--work", str(self.options.work),
                "--results", str(self.results),
                *(f"{self.options.work}/{a[2:]}" if a.startswith("W/") else a for a in step[1:])]

    def stop(self) -> None:
        self._over.set()
        if self._child is not None and self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)


def join(folders: Sequence[Path], target: Path, commit: str | None = None) -> int:
    """Add the rows of other results folders to `target`'s files; how many there were."""
    count = 0
    for file in sorted(f for folder in folders for f in folder.glob("*.json")):
        bench: Bench = importlib.import_module(f"benchmarks.voice.{file.stem}").BENCH
        store = open_store(bench, target)
        rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        for row in rows:
            if commit and row["commit"] == "unknown":
                row["commit"] = commit
            store.put(row)
        save(bench, store, bench.cases(listing(target)))
        count += len(rows)
    for picture in (f for folder in folders for f in folder.glob("*.svg")):
        shutil.copyfile(picture, target / picture.name)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("chains", type=Path, help="the file of chains, or of --join a folder",
                        nargs="+")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache/vaultgpt-benchmarks")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--join", action="store_true",
                        help="only join the results folders named into benchmarks/results")
    parser.add_argument("--commit", help="of rows measured where there was no git")
    options = parser.parse_args()
    if options.join:
        print(f"{join(options.chains, RESULTS, options.commit)} rows")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    lines = [line for line in options.chains[0].read_text().splitlines()
             if line.strip() and not line.startswith("#")]
    chains = [Chain(number, line, options) for number, line in enumerate(lines)]
    threads = [threading.Thread(target=chain.run, daemon=True) for chain in chains]
    until = time.monotonic() + options.seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    for chain in chains:
        chain.stop()
    rows = join([chain.results for chain in chains if chain.results.exists()],
                options.out / "results", options.commit)
    finished = sum(chain.done == len(chain.steps) for chain in chains)
    print(f"{rows} rows; {finished} of {len(chains)} chains finished")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
