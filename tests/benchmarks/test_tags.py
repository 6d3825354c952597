"""benchmarks/voice/tags.py and its pieces and classifier."""

from __future__ import annotations

import builtins
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.voice import classify, tags
from benchmarks.voice.pieces import (
    FOLDS,
    Piece,
    balanced,
    beginnings,
    cut,
    distinct,
    folded,
    folds,
    half_sentences,
    real_pieces,
)
from tests.benchmarks import stub
from vaultgpt.training.round import Item
from vaultgpt.voice.pages import own_text


def item(text: str, masked: tuple[tuple[int, int], ...] = ()) -> Item:
    return Item("a.md#0", "held_out", text, masked, None, "2019-03-14", ("journal",))


def test_long_texts_are_cut_and_short_ones_joined_to_pieces_of_one_length() -> None:
    long, short = " ".join(["a"] * 25), " ".join(["b"] * 6)
    found = cut([("x", long), ("y", short), ("z", short)], words=10)
    assert [note for note, _ in found] == ["x", "x", "y"]
    assert all(len(text.split()) == 10 for _, text in found)
    assert set(found[2][1].split()) == {"b"} and "\n\n" in found[2][1]


def test_folding_leaves_neither_layout_nor_typography() -> None:
    assert folded("“The _Sea_”—he\nsaid\n\n  in 1851") == folded('"the sea" -- he said in 1999')
    assert classify.laid_out("A line\n  and one") == "a line\n and one"


def test_notes_go_whole_into_even_folds() -> None:
    found = folds([(f"n{i}", 100 + i) for i in range(20)])
    assert sorted(found.values()) == sorted(list(range(FOLDS)) * 4)


def test_every_tag_has_as_many_pieces_and_a_rare_one_none() -> None:
    found = [Piece("x", label, "n") for label in ["a"] * 50 + ["b"] * 20 + ["c"] * 3]
    kept = [p.label for p in balanced(found, 10)]
    assert sorted(kept) == ["a"] * 20 + ["b"] * 20 and balanced(found, 99) == []


def test_masked_text_is_not_the_authors() -> None:
    assert own_text(item("mine > theirs mine", ((5, 13),))) == "mine  mine"


def test_distinct_counts_shares_in_so_many_words() -> None:
    found = distinct(["a b a b", "c d"], 4)
    assert found["distinct_1"] == 0.5 and found["words"] == 4
    assert found["distinct_2"] == pytest.approx(2 / 3)


def test_half_sentences_break_off_and_beginnings_do_not() -> None:
    text = " ".join(f"Sentence number {'word ' * 14}{i}." for i in range(12))
    halves = half_sentences([item(text)], 5, 1, context=5)
    assert len(halves) == 5 and all(not h.text.endswith(".") for h in halves)
    assert all(h.text in text and h.date == "2019-03" for h in halves)
    whole = beginnings([item(text)], 3, 1, least=30, step=30)
    assert len(whole) == 3 and all(text.startswith(b.text) and b.text.endswith(".") for b in whole)


def test_no_note_is_judged_by_a_classifier_that_saw_it(tmp_path: Path) -> None:
    real = real_pieces(stub.journal(tmp_path).notes, stub.TAGS, 1000)
    assert {p.label for p in real} == set(stub.TAGS)
    places: dict[str, set[int]] = {}
    for piece in real:
        places.setdefault(piece.note, set()).add(piece.fold)
    assert all(len(fold) == 1 for fold in places.values())


def drawn(label: str, words: str, count: int, seed: int) -> list[Piece]:
    rng = random.Random(seed)
    return [
        Piece(" ".join(rng.choices(words.split(), k=100)), label, f"{label}{i // 2}", i % FOLDS)
        for i in range(count)
    ]


def test_the_ratio_falls_when_a_tag_is_disobeyed() -> None:
    pytest.importorskip("sklearn")
    wet, dry = "sea wave boat and the a", "road dust cart and the a"
    judge = classify.Judge([*drawn("wet", wet, 40, 1), *drawn("dry", dry, 40, 2)])
    assert judge.accuracy("wet") == 1.0
    good = {
        "wet": judge.each(drawn("wet", wet, 20, 3)),
        "dry": judge.each(drawn("dry", dry, 20, 4)),
    }
    assert classify.ratio(judge, good)["ratio"] == 1.0
    bad = {**good, "dry": judge.each(drawn("dry", wet, 20, 5))}
    found = classify.ratio(judge, bad)
    assert found["ratio"] == 0.5 and found["low"] <= 0.5 <= found["high"]
    assert judge.shares(drawn("dry", wet, 10, 6)) == {"dry": 0.0, "wet": 1.0}


def test_without_scikit_learn_one_sentence_says_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "sklearn":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SystemExit, match="pip install scikit-learn"):
        classify.require()


def test_every_row_is_measured_and_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    mirror = stub.mirror(tmp_path)
    monkeypatch.setattr(tags, "trained", lambda work, journal, seed: mirror)
    monkeypatch.setattr(tags, "open_engine", stub.engine)
    for name, value in {"TEXTS": 8, "TOKENS": 40, "ODD_TEXTS": 2, "LEAST_PIECES": 5}.items():
        monkeypatch.setattr(tags, name, value)
    tags._known.cache_clear()
    tags._judge.cache_clear()
    cases = {c.key: c for c in tags.cases(stub.options(tmp_path))}
    assert len(cases) == 14
    keys = ("thoreau/1/1.0", "thoreau/1/1.25", "thoreau/1/bpb", "thoreau/1/odd")
    rows = [stub.row(key, cases[key].run()) for key in keys]
    summed = tags.summary(rows)
    one = summed["thoreau"]
    assert set(one) == {"1.0", "1.25", "header", "odd"} and one["1.0"]["met"] in (True, False)
    assert set(one["header"]) == set(stub.TAGS) and set(one["odd"]) == {"unknown", "two", "none"}
    assert "thoreau/1/1.25 | journal" in tags.table(rows, summed)
    tags._known.cache_clear()
    tags._judge.cache_clear()
