"""Benchmarks side by side: rows of many folders become one, and a chain's failure is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.voice.side_by_side import join

ROOT = Path(__file__).parents[2]


def results(folder: Path, *rows: dict[str, Any]) -> Path:
    folder.mkdir()
    made = [{"base": "b", "recipe": "r", "commit": "unknown", **row} for row in rows]
    (folder / "gain.json").write_text(json.dumps({"benchmark": "gain", "rows": made}))
    return folder


def read(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "gain.json").read_text())["rows"]
    return rows


def test_rows_join_and_newer_ones_take_the_place_of_older(tmp_path: Path) -> None:
    target = results(tmp_path / "all", {"key": "a", "n": 1}, {"key": "b", "n": 1},
                     {"key": "a", "n": 0, "recipe": None})
    one = results(tmp_path / "one", {"key": "a", "n": 2})
    two = results(tmp_path / "two", {"key": "c", "n": 2, "commit": "abc"})
    assert join([one, two], target, "def") == 2
    found = {(r["key"], r["recipe"]): (r["n"], r["commit"]) for r in read(target)}
    assert found == {("a", "r"): (2, "def"), ("b", "r"): (1, "unknown"), ("c", "r"): (2, "abc"),
                     ("a", None): (0, "unknown")}


def test_a_failing_step_is_named_and_a_waiting_chain_ends_with_the_time(tmp_path: Path) -> None:
    chains = tmp_path / "chains.txt"
    chains.write_text("# what runs\nno_such_benchmark --only x\nwait never-*/there; gain\n")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.voice.side_by_side", str(chains), "--data",
         str(tmp_path), "--work", str(tmp_path), "--out", str(tmp_path / "out"), "--seconds", "4"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "00 no_such_benchmark --only x:" in done.stdout and "failed (1)" in done.stdout
    assert "0 rows; 1 of 2 chains finished" in done.stdout
