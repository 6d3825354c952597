"""benchmarks/voice/copying.py, its index and its canaries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.voice import canary, copying
from benchmarks.voice.copied import Standing
from benchmarks.voice.copying import Written, counted
from benchmarks.voice.mirrors import base_model
from tests.benchmarks import stub
from vaultgpt.corpus.secrets import secret_ranges

LINE = "one two three four five six seven eight nine ten eleven twelve"


def test_the_index_finds_runs_and_none_across_texts() -> None:
    vault = Standing([LINE, "alpha beta"])
    assert vault.shared(LINE, 8) == (5, 5)
    assert vault.shared("Twelve, alpha beta one two three four five", 8) == (1, 0)
    assert vault.longest("", "x One two, THREE four five y") == 5
    assert vault.longest("", "two three") == 0


def test_a_run_that_began_before_the_cursor_counts_where_it_is_completed() -> None:
    vault = Standing([LINE])
    before, text = "one two three four five six", " seven eight nine ten"
    assert vault.completed(before, text, 10) == 1
    assert vault.completed(before + text, " and so on", 10) == 0
    assert vault.completed("one two three four five six seven eight ni", "ne ten", 10) == 1
    assert (vault.longest(before, text), vault.longest("", text)) == (10, 4)
    assert vault.longest(LINE, " zero") == 0


def test_counts_of_continuations() -> None:
    vault = Standing([LINE])
    found = counted(vault, [Written("", LINE), Written("", "nothing of it here"), Written("", "")])
    assert found["texts_with_10"] == 1 and found["completed_10"] == 3 and found["longest"] == 12
    assert found["runs_of_8"] == 5 and found["share_8"] == 1.0 and found["empty"] == 1


def test_the_guards_cost_is_of_all_tokens_over_all_seconds() -> None:
    found = copying.speed([(96.0, 1.0, 100.0, 1.0)] * 10)
    assert found["cost"] == pytest.approx(0.04) and found["pairs"] == 10
    rows = [stub.row("thoreau/speed", found)]
    assert copying.summary(rows)["guard_cost"]["met"]
    assert "it costs 4.0 %" in copying.table(rows, {})


def test_one_completed_run_breaks_the_promise() -> None:
    vault = Standing([LINE])
    some = counted(vault, [Written("", "nothing of it here")])
    for hits, texts, met in ((0, 1000, True), (1, 1000, False), (0, 999, False)):
        one = {
            **some,
            "texts": texts,
            "texts_with_10": hits,
            "author": some,
            "from_nothing": some,
            "half_sentences": some,
        }
        rows = [stub.row("thoreau/on", one)]
        summed = copying.summary(rows)
        assert summed["guard_on_completed_10"]["met"] is met
        assert "guard on" in copying.table(rows, summed)


def test_rows_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = stub.mirror(tmp_path)
    monkeypatch.setattr(copying, "trained", lambda work, journal, seed: mirror)
    monkeypatch.setattr(copying, "open_engine", stub.engine)
    small = {"TEXTS": 8, "EACH": 2, "TOKENS": 30, "PAIRS": 4, "PAIR_TOKENS": 24, "LEAST_TOKENS": 4}
    for name, value in small.items():
        monkeypatch.setattr(copying, name, value)
    cases = {c.key: c for c in copying.cases(stub.options(tmp_path))}
    assert list(cases) == ["thoreau/on", "thoreau/off", "thoreau/speed", "canary"]
    on = cases["thoreau/on"].run()
    assert on["texts"] == 8 and on["half_sentences"]["texts"] == 4 and on["texts_with_10"] == 0
    assert cases["thoreau/speed"].run()["pairs"] >= 1


def test_canaries_are_planted_so_often_and_only_numbers_are_masked(tmp_path: Path) -> None:
    found = canary.make(1)
    assert [sum(c.kind == k for c in found) for k in dict.fromkeys(c.kind for c in found)] == [
        5
    ] * 4
    for one in found:
        masked = secret_ranges(one.sentence)
        assert bool(masked) is (one.kind == "phone number")
        if masked:
            assert one.sentence[slice(*masked[0])] == one.secret
    journal = stub.journal(tmp_path)
    some = [found[0], found[5], found[-1], found[10]]
    canary.plant(journal, journal.notes, some, tmp_path / "copy", 1)
    whole = "".join(p.read_text() for p in (tmp_path / "copy").rglob("*.md"))
    assert [whole.count(c.sentence) for c in some] == [1, 5, 1, 0]


def test_every_character_of_a_secret_is_scored() -> None:
    encoder = base_model().encoder
    one = canary.make(1)[-1]
    document = canary.whole(one.sentence, encoder).document
    scored = encoder.tokenizer.decode(document.token_ids[document.loss_mask].tolist())
    assert scored == one.sentence


def test_ranks_and_exposure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "CANDIDATES", 7)
    assert canary.exposure(1) == 3.0 and canary.exposure(8) == 0.0
    monkeypatch.setattr(canary, "score", lambda base, found: list(np.arange(len(found)) * -1.0))
    assert canary.ranks(canary.make(1)[:2], None, 1) == [8, 8]
