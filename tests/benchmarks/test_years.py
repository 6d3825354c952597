"""benchmarks/voice/years.py and headers.py."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.voice import years
from benchmarks.voice.headers import apart, lower
from tests.benchmarks import stub
from vaultgpt.training.round import Item


def item(name: str, date: str | None, words: int = 10) -> Item:
    return Item(name, "held_out", "word " * words, (), None, date, ())


def test_thirds_are_dated_and_apart() -> None:
    found = [item(f"n{i}", f"{1840 + i}-05-01") for i in range(9)] + [item("loose", None)]
    old, new = years.thirds(found)
    assert [i.id for i in old] == ["n0", "n1", "n2"] and {i.id for i in new} == {"n6", "n7", "n8"}
    assert years.middle_year(new) == "1847" and years.middle_year([]) == ""


def test_one_long_note_never_stands_in_both_thirds() -> None:
    found = [item("a", "1840"), item("b", "1841", 500), item("c", "1842")]
    old, new = years.thirds(found)
    assert not {i.id for i in old} & {i.id for i in new}


def test_headers_name_own_other_and_no_year() -> None:
    own, other, none = years.dated([item("a", "1840-05-01")], "1851")
    assert (own[0].date, other[0].date, none[0].date) == ("1840", "1851", None)


def test_a_gain_is_shown_only_when_entries_agree() -> None:
    size = [100] * 30
    clear = apart([90.0] * 30, [100.0 + i % 3 for i in range(30)], size)
    assert clear["low"] > 0 and clear["gain"] == pytest.approx(11 / 100 / math.log(2))
    noisy = apart([100.0] * 30, [100.0 + (50 if i % 2 else -49) for i in range(30)], size)
    assert noisy["low"] < 0 < noisy["high"]


def test_different_texts_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same text"):
        lower({"a": (1.0, 10)}, {"a": (1.0, 11)})


def figures(own: float, other: float) -> dict[str, object]:
    each = [[own * 100, other * 100, other * 100, 100] for _ in range(8)]
    under = [{f"e{i}": (e[k], 100) for i, e in enumerate(each)} for k in range(3)]
    return years.one_age([item(f"e{i}", "1840") for i in range(8)], "1851", under)


def test_the_time_machine_is_real_only_if_both_ages_show_it() -> None:
    good, bad = figures(1.0, 1.1), figures(1.1, 1.0)
    rows = [stub.row(f"thoreau/{s}", {"old": good, "new": good}) for s in (1, 2)]
    rows.append(stub.row("hawthorne/1", {"old": good, "new": bad}))
    summed = years.summary(rows)["own_year_below_other"]
    assert summed["thoreau"]["met"] and summed["thoreau"]["seeds"] == 2
    assert not summed["hawthorne"]["met"] and summed["hawthorne"]["old"]["met"]
    assert "| thoreau | 2 |" in years.table(rows, years.summary(rows))


def test_a_row_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = stub.mirror(tmp_path)
    old = {n.note.path for n in mirror.split.held[::2]}
    moved = [
        replace(i, date="1999-01-01") if i.id.split("#")[0] in old and i.date else i
        for i in years.items(mirror.split.held)
    ]
    monkeypatch.setattr(years, "trained", lambda work, journal, seed: mirror)
    monkeypatch.setattr(years, "items", lambda notes: moved)
    case = years.cases(stub.options(tmp_path))[0]
    found = case.run()
    assert found["old"]["other_year"] == "2019" and found["new"]["other_year"] == "1999"
    assert found["old"]["own"] > 0 and len(found["old"]["each"]) == found["old"]["entries"]
