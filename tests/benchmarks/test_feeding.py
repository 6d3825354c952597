"""Self-feeding: what is accepted, edited and masked, with the product's ledger and a fake round."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.voice import feeding
from benchmarks.voice.journals import Journal
from benchmarks.voice.stage import fix_secret, home
from vaultgpt.config import Rules
from vaultgpt.corpus.runs import norms
from vaultgpt.ledger import Ledger
from vaultgpt.state import create_state
from vaultgpt.vault.scan import read_vault
from vaultgpt.wire import Prompt

DRAWN = " ".join(f"mirror{k}" for k in range(60))


def test_a_last_word_that_may_be_cut_off_is_left_out() -> None:
    assert feeding.whole_words(" one two thr") == "one two"
    assert feeding.whole_words("one two. ") == "one two."
    assert feeding.whole_words("one") == ""


def test_one_word_in_ten_is_edited_wherever_it_stands() -> None:
    text = "\n".join(f"word{k}," for k in range(100))
    edited = feeding.edit(text, ["other", "word7"], random.Random(3))
    assert edited == feeding.edit(text, ["other", "word7"], random.Random(3))
    changed = [k for k, (a, b) in enumerate(zip(norms(text), norms(edited), strict=True)) if a != b]
    assert [k // 10 for k in changed] == list(range(10))
    assert len({k % 10 for k in changed}) > 3
    assert edited.count("\n") == text.count("\n") and edited.count(",") == 100
    counts = [len(norms(feeding.edit("a b c d e", ["x"], random.Random(s)))) for s in range(9)]
    assert set(counts) == {5}


@pytest.mark.parametrize("masked", [True, False])
def test_a_day_accepts_edits_and_tells_the_ledger_only_when_masked(
    masked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. three notes there, two to come; 2. two days with a fake mirror and a fake round.

    Result: every continuation stands in its note with one word in ten changed; the ledger knows it
    as the mirror's only where it was told.
    """
    folder = tmp_path / "journal"
    for name in "abcde":
        (folder / "Journal").mkdir(parents=True, exist_ok=True)
        (folder / "Journal" / f"{name}.md").write_text(f"Of {name}. " + "some real words " * 90)
    journal = Journal(folder)
    vault = journal.copy(journal.notes[:3], tmp_path / "vault")
    rounds: list[float] = []

    def learn(state: Any, wanted: Any, *, now: float, **how: Any) -> dict[str, Any]:
        rounds.append(now)
        done = {"promoted": len(rounds) == 1}
        return {"report": {}, "verdict": done, "kind": "incremental"}

    monkeypatch.setattr(feeding, "learn", learn)
    monkeypatch.setattr(feeding, "DRAWS", 2)
    prompts: list[Prompt] = []

    def draw(prompt: Prompt) -> str:
        prompts.append(prompt)
        return f"{DRAWN} n{len(prompts)} cut"

    with home(tmp_path / "home"):
        state = create_state(vault)
        fix_secret(state, "feeding")
        with Ledger.open(state) as ledger:
            ledger.record(read_vault(vault, Rules()), feeding.START_S)
        days = feeding.Days(journal, state, journal.notes[:3], journal.notes[3:], masked=masked)
        days.day(1, draw)
        days.day(2, draw)
        with Ledger.open(state) as ledger:
            known = bool(ledger.emitted().lengths())
    texts = {p.name: p.read_text() for p in (vault / "Journal").glob("*.md")}
    assert sorted(texts) == ["a.md", "b.md", "c.md", "d.md", "e.md"]
    assert sum(text.count("mirror") > 50 for text in texts.values()) == 4
    for text in texts.values():
        assert 54 <= text.count("mirror") <= 56 or text.count("mirror") == 0
        assert "cut" not in text
    assert all(p.text.endswith("\n\n") and p.length == "tokens" for p in prompts)
    assert len({p.seed for p in prompts}) == 4
    assert rounds[1] - rounds[0] == 86_400
    counts = days.counts
    assert (counts["rounds"], counts["promoted"], counts["refused"]) == (2, 1, 1)
    assert counts["mirror_words"] == 4 * 61 and known is masked
    assert (counts["masked_words"] > 0.3 * counts["mirror_words"]) is masked


def row(variant: str, last: float) -> dict[str, Any]:
    return {
        "key": f"mary-maclane/{variant}",
        "figures": {
            "gain_first": 0.10,
            "gain_last": last,
            "gain_least": 0.09,
            "masked_words": 70,
            "mirror_words": 100,
            "promoted": 19,
            "rounds": 20,
            "real_words": 16_000,
        },
    }


def test_only_the_masked_row_is_judged() -> None:
    rows = [row("masked", 0.11), row("unmasked", 0.05)]
    found = feeding.summary(rows)
    assert [one["met"] for one in found.values()] == [True, None]
    assert feeding.summary([row("masked", 0.0999)])["mary-maclane/masked"]["met"] is False
    text = feeding.table(rows, found)
    assert "| mary-maclane/masked | 10.00 % | 9.00 % | 11.00 % | yes | 19 of 20 |" in text
    assert "not asked" in text
