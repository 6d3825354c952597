"""The frame of the voice benchmarks: it resumes, counts honestly, and never mixes base models."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.voice import rows
from benchmarks.voice.rows import Bench, Case, Options, Row, interval, main


class Counted:
    """A benchmark of three rows that remembers which it measured."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.bench = Bench("made_up", "A made-up benchmark.", self.cases, self.summary, self.table)

    def cases(self, options: Options) -> list[Case]:
        keys = ("a/1", "a/2", "b")
        return [Case(key, 1, 60.0, lambda key=key: self.measure(key)) for key in keys]

    def measure(self, key: str) -> dict[str, Any]:
        self.done.append(key)
        return {"value": len(key)}

    @staticmethod
    def summary(found: Sequence[Row]) -> dict[str, Any]:
        return {"sum": sum(r["figures"]["value"] for r in found)}

    @staticmethod
    def table(found: Sequence[Row], summed: dict[str, Any]) -> str:
        return f"sum {summed['sum']}"


@pytest.fixture
def args(tmp_path: Path) -> list[str]:
    return ["--data", str(tmp_path), "--work", str(tmp_path / "work"),
            "--results", str(tmp_path / "results")]


def test_a_second_call_measures_only_what_is_missing(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    counted = Counted()
    main(counted.bench, [*args, "--only", "a/"])
    assert counted.done == ["a/1", "a/2"]
    assert "falls short: 2 of 3 rows" in capsys.readouterr().out
    main(counted.bench, args)
    assert counted.done == ["a/1", "a/2", "b"]
    assert capsys.readouterr().out.strip() == "sum 7"


@pytest.mark.parametrize(("only", "chosen"), [
    ("a/lora", ["a/lora"]), ("a/lora w", ["a/lora with rank 8"]),
    ("a/", ["a/full", "a/lora", "a/lora with rank 8"]), ("c", [])])
def test_only_names_one_row_or_begins_several(only: str, chosen: list[str]) -> None:
    keys = {"a/lora", "a/lora with rank 8", "a/full", "b/full"}
    assert sorted(k for k in keys if rows._chosen(k, only, keys)) == chosen


def test_rows_are_measured_again_only_when_asked(args: list[str]) -> None:
    counted = Counted()
    main(counted.bench, args)
    main(counted.bench, [*args, "--rows", "a/2"])
    assert counted.done == ["a/1", "a/2", "b", "a/2"]


def test_a_row_says_where_it_comes_from(args: list[str], tmp_path: Path) -> None:
    main(Counted().bench, args)
    written = json.loads((tmp_path / "results" / "made_up.json").read_text())
    assert (written["asked"], written["measured"], written["complete"]) == (3, 3, True)
    for row in written["rows"]:
        assert row.keys() >= {"key", "seed", "base", "commit", "machine", "start", "end"}
        assert row["start"] <= row["end"]


@pytest.mark.parametrize("digest", ["base_digest", "recipe_digest"])
def test_rows_of_another_base_or_recipe_do_not_count(
    args: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digest: str
) -> None:
    main(Counted().bench, args)
    monkeypatch.setattr(rows, digest, lambda: "another")
    counted = Counted()
    main(counted.bench, [*args, "--only", "b"])
    assert counted.done == ["b"]
    written = json.loads((tmp_path / "results" / "made_up.json").read_text())
    assert written["measured"] == 1 and len(written["rows"]) == 4


def test_rows_of_an_earlier_recipe_stand_in_and_are_not_compared_with_others(
    args: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """1. three rows by a recipe; 2. another recipe, the first named as earlier; 3. one row again.

    Result: 2 measures nothing; 3 counts the new row for the old, keeps both, and only rows of one
    recipe go together.
    """
    first = rows.recipe_digest()
    main(Counted().bench, args)
    monkeypatch.setattr(rows, "recipe_digest", lambda: "another")
    monkeypatch.setattr(rows, "EARLIER", {first: "it was so"})
    counted = Counted()
    main(counted.bench, args)
    assert counted.done == []
    main(counted.bench, [*args, "--rows", "b"])
    store = rows.open_store(counted.bench, tmp_path / "results")
    have = store.current()
    assert {k: r["recipe"] for k, r in have.items()} == {"a/1": first, "a/2": first, "b": "another"}
    assert len(store.rows) == 4
    assert rows.together(have["a/1"], have["a/2"]) and not rows.together(have["a/1"], have["b"])
    assert not rows.together(have["b"], None)


def test_rows_without_small_rounds_outlive_a_recipe_that_changed_those_alone(
    args: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = rows.recipe_digest()
    main(Counted().bench, args)
    monkeypatch.setattr(rows, "recipe_digest", lambda: "another")
    monkeypatch.setattr(rows, "EARLIER", {first: "it was so"})
    fresh_alone, large_too = rows.AS_NOW["23b466"], rows.AS_NOW["db0a30"]
    monkeypatch.setattr(rows, "AS_NOW", {first: fresh_alone})
    bench = Counted().bench
    store = rows.open_store(bench, tmp_path / "results")
    cases = list(bench.cases(rows.listing(tmp_path / "results")))
    assert {r["recipe"] for r in rows.rows_in_order(store, cases)} == {"another"}
    small = [replace(c, small_rounds=True) for c in cases]
    assert {r["recipe"] for r in rows.rows_in_order(store, small)} == {first}
    assert {r["recipe"] for r in store.rows} == {first}
    monkeypatch.setattr(rows, "AS_NOW", {first: large_too})
    assert {r["recipe"] for r in rows.rows_in_order(store, small)} == {first}
    large = [replace(c, large=True) for c in small]
    assert {r["recipe"] for r in rows.rows_in_order(store, large)} == {"another"}


def test_no_row_starts_that_would_not_fit(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    counted = Counted()
    main(counted.bench, [*args, "--minutes", "0.5"])
    assert counted.done == []
    assert "falls short: 0 of 3 rows" in capsys.readouterr().out


def test_an_interval_needs_two_values() -> None:
    mean, half = interval([1.0])
    assert mean == 1.0 and math.isnan(half)
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2.0 and half == pytest.approx(4.303 / math.sqrt(3))
