"""benchmarks/voice/questions.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.voice import questions
from benchmarks.voice.copied import Standing
from tests.benchmarks import stub

VAULT = Standing(["Why did you walk so far along the old river that day?"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("What do you remember of the garden?", None),
        ("", "empty"),
        ("What do you remember of the garden.", "no single question mark at its end"),
        ("What do you remember? And of the garden?", "no single question mark at its end"),
        ("what do you remember of the garden?", "no capital"),
        ("Why so late?", "length"),
        ("What " + "very " * 40 + "long?", "length"),
        ("Who came up the hill?", "stands in the prompt"),
        ("Why did you walk so far by the river?", None),
        ("Why did you walk so far along the old road?", "copied"),
    ],
)
def test_a_real_question(text: str, why: str | None) -> None:
    assert questions.fault(text, "Rain. Who came up the hill? Nobody.", VAULT) == why


def test_nine_of_ten_and_three_times() -> None:
    one = {
        "asked": 100,
        "real": 92,
        "faults": {"empty": 8},
        "median_words": 11,
        "different_openings": 30,
        "question_s": 0.5,
        "sentence_s": 0.2,
        "paragraph_s": 0.5,
    }
    rows = [stub.row("thoreau/1", one), stub.row("hawthorne/1", {**one, "real": 89})]
    summed = questions.summary(rows)
    assert summed["real"]["met"] and summed["real"]["of"] == 200
    assert summed["time_of_a_sentence"]["figure"] == 2.5 and summed["time_of_a_paragraph"]["met"]
    assert "empty: 8" in questions.table(rows, summed)
    worse = questions.summary([stub.row("thoreau/1", {**one, "real": 80, "question_s": 0.7})])
    assert not worse["real"]["met"] and not worse["time_of_a_sentence"]["met"]


def test_a_row_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = stub.mirror(tmp_path)
    monkeypatch.setattr(questions, "trained", lambda work, journal, seed: mirror)
    monkeypatch.setattr(questions, "open_engine", stub.engine)
    monkeypatch.setattr(questions, "ASKED", 2)
    found = questions.cases(stub.options(tmp_path))[0].run()
    assert found["asked"] == 2 and found["real"] + sum(found["faults"].values()) == 2
    assert min(found[f"{form}_s"] for form in questions.FORMS) > 0
