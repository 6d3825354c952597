"""A first voice on a large base: judged by what a share of its budget holds, and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import MakeJob, item
from tests.training.test_trainer import general
from vaultgpt.corpus.documents import Document
from vaultgpt.corpus.words import norms
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.copying import copying
from vaultgpt.training.evaluate import SCORING_SHARE, Segment, _fair_order, segments, sketch
from vaultgpt.training.gate import judge
from vaultgpt.training.measure import Measurer
from vaultgpt.training.round import Item, Report
from vaultgpt.training.trainer import _read_job, run_job

TOKENS = 100


def segment(entry: str) -> Segment:
    ids = np.ones(TOKENS, np.int32)
    document = Document(ids, np.ones(TOKENS, np.bool_), ids, (0, TOKENS))
    return Segment(entry, (), None, document, document, TOKENS)


def keys_of(count: int, seed: int) -> list[str]:
    return [f"{n:016x}" for n in np.random.default_rng(seed).integers(0, 2**60, count)]


SETS = {
    "held_out": [segment(f"e{i // 3}") for i in range(60)],
    "new_notes": [],
    "general": [segment(f"g{i}") for i in range(12)],
}
KEYS = {name: keys_of(len(found), 1) for name, found in SETS.items()}


class Machine:
    """Scores at a pace, on a clock of its own."""

    def __init__(self, tokens_a_second: float) -> None:
        self.now, self.pace = 0.0, tokens_a_second

    def nats_of(self, found: Sequence[Segment]) -> list[float]:
        self.now += TOKENS * len(found) / self.pace
        return [float(len(s.entry)) for s in found]


@pytest.mark.parametrize(
    ("pace", "held", "english"), [(1.0, 8, 2), (100.0, 15, 3), (200.0, 30, 6), (1e6, 60, 12)]
)
def test_a_slow_machine_scores_less_and_a_fast_one_all(
    pace: float, held: int, english: int
) -> None:
    """In 18 s: the least of each set in any case, then as many as fit, in the sets' proportion."""
    machine = Machine(pace)
    found = sketch(SETS, KEYS, 18.0, machine.nats_of, lambda: machine.now)
    assert (len(found["held_out"]), len(found["general"])) == (held, english)
    assert all(list(nats) == sorted(nats) for nats in found.values())
    assert machine.now <= max(18.0, 10 * TOKENS / pace)


def test_every_beginning_of_the_order_is_of_as_many_entries_as_it_can_be() -> None:
    """Twenty entries of three segments: each comes once before any comes again, and other keys
    give another order."""
    order = _fair_order(KEYS["held_out"], SETS["held_out"])
    assert sorted(order) == list(range(60))
    for turn in range(3):
        part = order[20 * turn : 20 * turn + 20]
        assert len({SETS["held_out"][at].entry for at in part}) == 20
    assert order != _fair_order(keys_of(60, 2), SETS["held_out"])


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every base counts as a large one, and scores more slowly than any budget foresees."""
    monkeypatch.setattr("vaultgpt.training.measure.SMALL_BASE", 0)
    monkeypatch.setattr("vaultgpt.training.measure.SCORING_SHARE", 0.0)


def many_items() -> list[Item]:
    return [item(i) for i in range(12)] + [item(100 + i, "held_out") for i in range(14)]


@pytest.mark.usefixtures("large")
def test_half_of_the_budget_is_for_learning_though_all_of_it_is_gone(
    make_job: MakeJob, tmp_path: Path
) -> None:
    """1. A first round of 6 s on a machine that took 20 to load the base. 2. What it scores is the
    least. Result: it learned for 3 s all the same, and its verdict says of how many entries.
    """
    texts = general(tmp_path / "general.jsonl", 6)
    path = make_job(
        items=many_items(), settings={"epochs": 5000.0}, budget_s=6.0, general_heldout=texts
    )
    report = run_job(path, lambda event: None, threading.Event(), time.monotonic() - 20.0)
    assert report.tokens / report.tokens_per_s > 0.7 * 3.0
    assert len(report.segments["held_out"].entry) == 8
    assert len(report.segments["general"].entry) == 2
    assert report.learning["held_out_entries"] == 14
    assert {"base", "after"} == set(report.segments["held_out"].nats)
    verdict = judge(Report.from_json(report.to_json()), kind="fresh", first=True)
    assert "by 8 of 14 entries it never saw, give or take " in verdict.why


@pytest.mark.usefixtures("large")
def test_a_resumed_first_round_is_judged_by_the_same_sample(
    make_job: MakeJob, base: BaseModel
) -> None:
    path = make_job(items=many_items(), budget_s=60.0)

    def measured() -> Measurer:
        made = Measurer(
            _read_job(path), base, path.parent, "job", threading.Event(), lambda *a, **k: None
        )
        made.before()
        return made

    first, again = measured(), measured()
    assert first.keys == again.keys and first.nats == again.nats
    assert [s.entry for s in first.sets["held_out"]] == [s.entry for s in again.sets["held_out"]]
    assert len(again.judged["held_out"]) == 8 and again.scored_tokens == first.scored_tokens


def test_a_round_without_a_budget_and_a_small_base_score_everything(
    make_job: MakeJob, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultgpt.training.measure.SCORING_SHARE", 0.0)

    def scored(name: str, budget_s: float | None, small: int) -> int:
        monkeypatch.setattr("vaultgpt.training.measure.SMALL_BASE", small)
        path = make_job(name, items=many_items(), budget_s=budget_s)
        made = Measurer(
            _read_job(path), base, path.parent, "", threading.Event(), lambda *a, **k: None
        )
        made.before()
        return len(made.nats["held_out"]["base"])

    assert scored("full", None, 0) == scored("small", 60.0, 50_000_000) == 14
    assert scored("brief", 60.0, 0) == 8
    assert SCORING_SHARE < 0.2  # twice that, loading and drawing leave half


@pytest.mark.usefixtures("large")
def test_copying_begins_from_held_out_pages_that_were_not_scored_too(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight notes of a few words are scored; the one that is long enough to begin from is not."""
    short = [replace(item(100 + i, "held_out"), text=f"Rain {i}.") for i in range(13)]
    items = [item(i) for i in range(12)] + [*short, item(200, "held_out")]

    def long_last(keys: Sequence[str], found: Sequence[Segment]) -> list[int]:
        return sorted(range(len(found)), key=lambda at: len(found[at].document.token_ids))

    monkeypatch.setattr("vaultgpt.training.evaluate._fair_order", long_last)
    path = make_job(items=items, budget_s=60.0)
    report = run_job(path, lambda event: None, threading.Event())
    assert len(report.segments["held_out"].entry) == 8
    assert {"share", "author_share"} <= set(report.copying)


def test_drawing_ends_with_its_time_but_not_before_a_run_of_words(
    make_job: MakeJob, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = segments(many_items(), base.encoder)
    short = copying(base, prompts, ["some"], ["text"], 1, few=True, seconds=0.0)
    long = copying(base, prompts, ["some"], ["text"], 1, few=True, seconds=600.0)
    assert short["tokens"] <= long["tokens"] == 16 * (24 + 96)
    assert short["runs"] >= 8 * 16 or short["tokens"] == long["tokens"]
    # A language of six tokens a word.
    monkeypatch.setattr("vaultgpt.training.copying.norms", lambda text: norms(text)[::6])
    slow = copying(base, prompts, ["some"], ["text"], 1, few=True, seconds=0.0)
    assert short["tokens"] < slow["tokens"] or short["tokens"] == long["tokens"]
