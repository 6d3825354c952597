"""The gate's trials: how rounds are spoiled, which pages a trial draws, and what rows say."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.voice import gate, spoiled
from benchmarks.voice.journals import Journal
from vaultgpt.errors import TrainingError
from vaultgpt.training.choose import rate_of_batch
from vaultgpt.vault.language import Votes

TEXT = "I walked to the pond and found the ice an inch thick.\n\nNobody else was there to see. " * 6


def job() -> dict[str, Any]:
    def item(number: int, role: str) -> dict[str, Any]:
        return {
            "id": f"e{number}",
            "role": role,
            "text": f"{number} {TEXT}",
            "masked": [[0, 1]],
            "new_ranges": [[0, 9]] if role == "train" else [],
        }

    roles = ("train", "train", "replay", "held_out", "new_held_out")
    return {
        "items": [item(n, role) for n, role in enumerate(roles)],
        "general_replay": "general",
        "settings": {"learning_rate": 0.0},
    }


@pytest.mark.parametrize("kind", list(gate.KINDS))
def test_what_judges_a_round_is_never_spoiled(kind: str) -> None:
    whole, changed = job(), job()
    gate.KINDS[kind](changed, random.Random(1))
    for role in ("held_out", "new_held_out"):
        assert [i for i in changed["items"] if i["role"] == role] == [
            i for i in whole["items"] if i["role"] == role
        ]
    assert (changed == whole) == (kind == "good")


@pytest.mark.parametrize("kind", ["shuffled", "german", "half-empty"])
def test_all_that_is_learned_is_spoiled(kind: str) -> None:
    whole, changed = job(), job()
    gate.KINDS[kind](changed, random.Random(1))
    for before, after in zip(whole["items"][:3], changed["items"][:3], strict=True):
        assert after["text"] != before["text"] and after["masked"] == []
        assert after["new_ranges"] == ([[0, len(after["text"])]] if before["new_ranges"] else [])
        assert 0.8 < len(after["text"]) / len(before["text"]) < 1.3


def test_each_way_of_spoiling_is_what_it_says() -> None:
    rng = random.Random(1)
    german = spoiled.german_text(4000, rng)
    votes = Votes()
    votes.add(german)
    assert votes.language() == "de"
    assert len(set(german.split("."))) > 30
    blank = spoiled.blanked(TEXT, rng)
    assert len(blank) == len(TEXT) and blank.count("\n") == TEXT.count("\n")
    assert 0.3 < len(blank.split()) / len(TEXT.split()) < 0.7
    many = job()
    spoiled.repeated(many, rng)
    learned = [i for i in many["items"] if i["role"] == "train"]
    assert len(learned) == 500 and len({i["text"] for i in learned}) == 1
    assert len({i["id"] for i in learned}) == 500 and many["general_replay"] is None
    fast = job()
    spoiled.too_fast(fast, rng)
    usual = rate_of_batch(11_600_000, spoiled.NIGHT_BATCH)
    assert fast["settings"]["learning_rate"] == pytest.approx(30 * usual, rel=0.01)


def journal(folder: Path) -> Journal:
    for number in range(40):
        path = folder / f"1840-{1 + number // 28:02d}-{1 + number % 28:02d}.md"
        path.write_text(" ".join(f"word{number}x{k}" for k in range(50)))
    return Journal(folder)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    (tmp_path / "journal").mkdir()
    for name, value in (("VAULT_WORDS", 1000), ("LATER_WORDS", 600), ("NEW_WORDS", 200)):
        monkeypatch.setattr(gate, name, value)
    return journal(tmp_path / "journal")


def test_a_trial_draws_later_pages_and_the_same_ones_each_time(small: Journal) -> None:
    first, later = gate.pages(small)
    assert [len(first), len(later)] == [20, 12]
    assert max(n.note.path for n in first) < min(n.note.path for n in later)
    draws = [[n.note.path for n in gate.draw(later, t)] for t in range(20)]
    assert all(len(d) == 4 and len(set(d)) == 4 for d in draws)
    assert draws == [[n.note.path for n in gate.draw(later, t)] for t in range(20)]
    assert len({tuple(sorted(d)) for d in draws}) > 10


def test_a_block_counts_refusals_and_why(
    small: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def learn(state: Any, wanted: Any, **how: Any) -> dict[str, Any]:
        if how.get("fresh"):
            return {"generation": "g000001"}
        seen.append(wanted.training.seed)
        assert len(list(state.vault.rglob("*.md"))) == 24
        how["tamper"](copy.deepcopy(job()))
        if len(seen) == 2:
            raise TrainingError("Training diverged: the loss is not a number.", "")
        checks = [{"name": "before", "passed": len(seen) > 1, "figure": 0.01}]
        return {"kind": "incremental", "verdict": {"promoted": len(seen) > 1, "checks": checks}}

    monkeypatch.setattr(gate, "learn", learn)
    figures = gate.block_of_trials(small, tmp_path / "work", "shuffled", 1)
    assert figures["failed_checks"] == {"before": 1, "diverged": 1}
    assert (figures["promoted"], figures["right"], figures["new_words"]) == (3, 2, 1000)
    assert figures["figures"] == [{"before": 0.01}, {}, *[{"before": 0.01}] * 3]
    assert seen == [105, 106, 107, 108, 109]
    assert not (tmp_path / "work" / "trial").exists()


def test_another_kind_of_round_is_no_trial(
    small: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        gate,
        "learn",
        lambda *a, **k: {
            "generation": "g000001",
            "kind": "none",
            "verdict": {"promoted": False, "checks": []},
        },
    )
    with pytest.raises(SystemExit):
        gate.block_of_trials(small, tmp_path / "work", "good", 0)


def row(kind: str, block: int, right: int) -> dict[str, Any]:
    return {
        "key": f"{kind}/{block}",
        "figures": {
            "kind": kind,
            "trials": 5,
            "right": right,
            "promoted": 0,
            "failed_checks": {"before": 2},
        },
    }


def test_nineteen_of_twenty_is_enough_and_fewer_rows_judge_nothing() -> None:
    rows = [row("good", b, 5) for b in range(4)] + [row("rate", b, 5 - (b == 0)) for b in range(4)]
    rows += [row("german", b, 4 + (b > 1)) for b in range(4)] + [row("shuffled", 0, 5)]
    found = gate.summary(rows)
    assert {k: v["met"] for k, v in found.items()} == {
        "good": True,
        "rate": True,
        "german": False,
        "shuffled": None,
    }
    assert found["rate"]["right"] == 19 and found["rate"]["failed_checks"] == {"before": 8}
    assert "| rate | refused | 19 of 20 | yes | before 8 |" in gate.table(rows, found)


def test_there_are_twenty_trials_of_each_kind(tmp_path: Path) -> None:
    options: Any = type("O", (), {"data": tmp_path, "work": tmp_path})()
    cases = gate.cases(options)
    assert len(cases) == 24 and len({c.key for c in cases}) == 24
