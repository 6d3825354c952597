"""The nights' calendar, the passing of days with a fake round, and what the rows say."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.voice import curve, nights
from benchmarks.voice.arriving import day_of, night, plan_calendar, put, stages
from benchmarks.voice.journals import Journal
from benchmarks.voice.nights_figures import active_at, month_ends
from benchmarks.voice.nights_summary import over_seeds, prequential, summary, table
from benchmarks.voice.rows import Unfinished
from vaultgpt.config import Rules
from vaultgpt.training.plan import Due
from vaultgpt.vault.scan import read_vault

WANTED = nights.wanted(1)
WORDS = "the brook ran on below the ice and nobody saw it but the crows above the alders "


def diary(folder: Path, days: int = 50, words: int = 40) -> Journal:
    """A note a day from 1851-06-01 on, two undated ones, and one of two dated sections."""
    for at in range(days):
        day = date(1851, 6, 1) + timedelta(at)
        write(folder / "Journal" / f"{day}.md", prose(words, at))
    for name in ("A thought", "Another"):
        write(folder / f"{name}.md", prose(words, 900))
    last = date(1851, 6, 1) + timedelta(days - 2)
    body = f"# 1851-06-02\n\n{prose(30, 901)}\n\n# {last}\n\n{prose(20, 902)}\n"
    write(folder / "Grown.md", body)
    return Journal(folder)


def prose(words: int, seed: int) -> str:
    return " ".join(f"{w}{seed}" for w in (WORDS * (words // 16 + 1)).split()[:words])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_date_without_a_day_counts_as_its_last() -> None:
    assert [day_of(d) for d in ("1851", "1851-02", "1851-02-03")] == [
        date(1851, 12, 31),
        date(1851, 2, 28),
        date(1851, 2, 3),
    ]


def test_nights_are_a_day_apart_and_after_the_epoch() -> None:
    assert night(date(1835, 6, 15)) > 0
    assert night(date(1851, 7, 22)) - night(date(1851, 7, 21)) == 86_400


def test_a_note_with_dated_sections_grows_by_them(tmp_path: Path) -> None:
    journal = diary(tmp_path / "journal")
    (grown,) = [n for n in journal.notes if n.note.path == "Grown.md"]
    first, second = stages(grown)
    assert (first.day, second.day) == (date(1851, 6, 2), date(1851, 7, 19))
    assert first.words + second.words == grown.note.words
    vault = tmp_path / "vault"
    vault.mkdir()
    put(journal, first, vault, first.day)
    (read,) = read_vault(vault, Rules()).read
    assert [e.date for e in read.note.entries] == ["1851-06-02"]
    put(journal, second, vault, second.day)
    assert (vault / "Grown.md").read_text() == (tmp_path / "journal" / "Grown.md").read_text()
    assert (vault / "Grown.md").stat().st_mtime == night(second.day) - 7 * 3600


def test_the_last_fifth_arrives_and_a_tenth_of_each_part_never_does(tmp_path: Path) -> None:
    journal = diary(tmp_path)
    found = plan_calendar(journal.notes, 1)
    assert found.first_words == pytest.approx(0.8 * 0.9 * journal.words, rel=0.1)
    held = {n.note.path for n in (*found.old, *found.late)}
    there = {s.note.note.path for s in (*found.first, *found.later)}
    assert found.old and found.late and not held & there
    assert held | there == {n.note.path for n in journal.notes}
    assert all(day_of(n.note.entries[0].date or "") >= found.border for n in found.late)
    assert {"A thought.md", "Another.md"} <= {s.note.note.path for s in found.first} | held
    assert "Grown.md" in {s.note.note.path for s in found.first}
    assert "Grown.md" in {s.note.note.path for s in found.later}


@dataclass
class Asked:
    """Stands for the product: notes each round and each question."""

    rounds: list[tuple[float, int]]
    questions: list[float]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    seen = Asked([], [])

    def learn(state: Any, wanted: Any, *, now: float, **how: Any) -> dict[str, Any]:
        assert how == {"nightly": True, "manual": False}
        seen.rounds.append((now, len(list(state.vault.rglob("*.md")))))
        return {"generation": None}

    def due(state: Any, wanted: Any, ledger: Any, now: float, **how: Any) -> Due:
        seen.questions.append(now)
        return Due("none", "")

    monkeypatch.setattr(nights, "learn", learn)
    monkeypatch.setattr(nights, "what_is_due", due)
    return seen


def start_of(tmp_path: Path, journal: Journal, found: Any) -> Path:
    return nights.make_start(
        tmp_path / "work" / "first",
        lambda vault: nights.fill_first(journal, found, vault),
        lambda state: {"generation": "g000001"},
        "test",
    )


def test_days_pass_in_order_and_each_week_has_one_look(tmp_path: Path, asked: Asked) -> None:
    journal = diary(tmp_path / "journal")
    found = plan_calendar(journal.notes, 1)
    start = start_of(tmp_path, journal, found)
    place = nights.simulate(journal, found, start, start.parent / "weekly", 7, WANTED, math.inf)
    times = sorted([t for t, _ in asked.rounds] + asked.questions)
    assert times == [night(day) for day in nights.looks(found, 7)]
    assert all(b - a == 7 * 86_400 for a, b in itertools.pairwise(times))
    counts = [count for _, count in asked.rounds]
    assert counts == sorted(counts)
    assert {p.relative_to(place / "vault").as_posix() for p in (place / "vault").rglob("*.md")} == {
        s.note.note.path for s in (*found.first, *found.later)
    }


def test_nights_without_arrivals_only_ask_the_ledger(tmp_path: Path, asked: Asked) -> None:
    journal = diary(tmp_path / "journal")
    found = plan_calendar(journal.notes, 1)
    start = start_of(tmp_path, journal, found)
    nights.simulate(journal, found, start, start.parent / "nightly", 1, WANTED, math.inf)
    days = {s.day for s in found.later}
    assert [t for t, _ in asked.rounds] == [night(d) for d in sorted(days)]
    assert len(asked.questions) == len(nights.looks(found, 1)) - len(days)


def test_a_cut_simulation_goes_on_after_its_last_look(
    tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. time is up at once; 2. a crash in the third look; 3. run to the end.

    Result: no look is lost, and only the crashed one is taken twice.
    """
    journal = diary(tmp_path / "journal")
    found = plan_calendar(journal.notes, 1)
    start, place = start_of(tmp_path, journal, found), tmp_path / "work" / "nightly"
    with pytest.raises(Unfinished):
        nights.simulate(journal, found, start, place, 1, WANTED, time.monotonic() - 1)
    whole = nights.look
    left = [2]

    def crashing(*args: Any) -> None:
        whole(*args)
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(nights, "look", crashing)
    with pytest.raises(KeyboardInterrupt):
        nights.simulate(journal, found, start, place, 1, WANTED, math.inf)
    monkeypatch.setattr(nights, "look", whole)
    assert 0 < nights._done(place) < 1
    nights.simulate(journal, found, start, place, 1, WANTED, math.inf)
    times = [t for t, _ in asked.rounds] + asked.questions
    assert len(times) == len(set(times)) + 1 and nights._done(place) == 1


def test_month_ends_cost_what_was_there_by_then(tmp_path: Path) -> None:
    found = plan_calendar(diary(tmp_path).notes, 1)
    cost = month_ends(found, 1_000_000, 0)
    (only,) = cost["months"]
    assert only["month"] == "1851-07" and cost["month_ends_tokens"] == 1_000_000
    assert month_ends(found, 1_000_000, 400_000)["month_ends_tokens"] == 1_000_000


def row(key: str, **figures: Any) -> dict[str, Any]:
    values = {
        "base_both": 2.0,
        "base_old": 2.0,
        "base_late": 2.0,
        "last_both": 1.8,
        "last_old": 1.8,
        "last_late": 1.8,
        "first_old": 1.81,
        "trained_tokens": 100,
        "scored_tokens": 50,
        "rounds": 3,
        "refused": 0,
        "fresh_rounds": 0,
        "rounds_s": 9.0,
        "weeks": [],
    }
    return {"key": key, "figures": {**values, **figures}}


def test_the_summary_judges_each_threshold() -> None:
    week = {"bytes": 10, "base": 2.0, "mirror": 1.7, "month": None, "first": 1.7}
    later = {"bytes": 30, "base": 2.0, "mirror": 1.9, "month": 1.8, "first": 1.95}
    rows = [
        row("thoreau/1/weekly", weeks=[week, later]),
        row("thoreau/1/nightly", last_old=1.83),
        row("thoreau/1/fresh", last_both=1.79, month_ends_tokens=600),
    ]
    found = summary(rows)
    weekly = found["thoreau/1/weekly"]
    assert weekly["gain_of_fresh"] == {
        "figure": pytest.approx(0.2 / 0.21),
        "bound": 0.97,
        "met": False,
    }
    assert weekly["old_worse_by"]["met"] and not found["thoreau/1/nightly"]["old_worse_by"]["met"]
    assert weekly["tokens_of_month_ends"] == {"figure": 0.25, "bound": 0.25, "met": True}
    told = weekly["prequential"]
    assert told["than_base"]["better"] == 2 and told["than_base"]["met"]
    assert told["than_month"] == {
        "weeks": 1,
        "better": 0,
        "met": False,
        "less_surprised": pytest.approx(1 - 1.9 / 1.8),
    }
    assert told["than_first"]["weeks"] == 1
    assert table(rows, found).count("thoreau/1/weekly") == 2
    assert summary(rows[:1])["thoreau/1/weekly"]["gain_of_fresh"]["met"] is None
    assert table(rows[:1], summary(rows[:1]))


def test_seeds_of_a_journal_are_summed_up_with_an_interval() -> None:
    rows = [row(f"thoreau/{seed}/{variant}", last_both=1.8 + 0.01 * seed, month_ends_tokens=600)
            for seed in (1, 2) for variant in ("weekly", "fresh")]
    rows += [row("hawthorne/1/weekly"), row("hawthorne/1/fresh", month_ends_tokens=600)]
    found = summary(rows)
    (name,) = over_seeds(found)
    mean, half = over_seeds(found)[name]["gain_of_fresh"]
    assert name == "thoreau, weekly" and mean == pytest.approx(1.0) and half == pytest.approx(0.0)
    assert table(rows, found).count("all seeds") == 1


def test_no_week_is_no_claim() -> None:
    assert prequential([])["than_base"]["met"] is None


@dataclass
class Made:
    id: str
    created: float


def test_the_mirror_of_a_time_is_the_newest_made_by_then() -> None:
    made: Any = [Made("g1", 10.0), Made("g2", 20.0)]
    assert [active_at(made, t) for t in (9.0, 10.0, 19.0, 25.0)] == [None, "g1", "g1", "g2"]


def test_the_curve_is_drawn_where_matplotlib_is(tmp_path: Path) -> None:
    weeks = [{"week": f"1851-07-{d}", "base": 2.0, "mirror": 1.8, "month": None} for d in (21, 28)]
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert not curve.draw(tmp_path / "a" / "b.svg", weeks, "x")
        assert not (tmp_path / "a").exists()
    else:
        assert curve.draw(tmp_path / "a" / "b.svg", weeks, "x")
        assert "<svg" in (tmp_path / "a" / "b.svg").read_text()
