"""What is due, when, and on which entries."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.vaults import DAY, HOUR, NOW, FakeBase, Vault, body, prose
from tests.rounds.fakes import FakeTrainer, train
from vaultgpt.bases import estimate as timing
from vaultgpt.ledger import EntryRow, Ledger
from vaultgpt.ledger.entries import Entries
from vaultgpt.ledger.round_log import Rounds
from vaultgpt.rounds.run import run_round
from vaultgpt.settings import Schedule, Settings, Training
from vaultgpt.tasks.status import STATUS
from vaultgpt.tasks.vault_service import Here
from vaultgpt.training.plan import _words_for_budget, due, plan
from vaultgpt.training.round import Asked
from vaultgpt.training.selection import stratified


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path)
    made.fill(40, paragraphs=4)
    return made


def told_by_status(ledger: Ledger, *_: Any) -> None:
    Here(ledger.state).ask(STATUS, None)


@pytest.mark.parametrize("ask", [due, plan, told_by_status])
def test_what_is_due_reads_the_rounds_and_sums_the_words_once(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, ask: Any
) -> None:
    train(vault)
    vault.write("more.md", body("more", 60), age_s=0)
    asked, rounds, words = Counter[str](), Rounds.all, Entries.usable_words

    def counted(of: Rounds) -> Any:
        asked["rounds"] += 1
        return rounds(of)

    def summed(of: Entries, copies: bool = True, most: int = 2**62) -> int:
        asked["words"] += not copies
        return words(of, copies, most)

    monkeypatch.setattr(Rounds, "all", counted)
    monkeypatch.setattr(Entries, "usable_words", summed)
    with Ledger.open(vault.state) as ledger:
        for how in (Asked(), Asked(nightly=True), Asked(fresh=True)):
            asked.clear()
            ask(ledger, vault.settings, FakeBase(), NOW + DAY, how)
            assert asked == {"rounds": 1, "words": 1}


def what(vault: Vault, now: float, settings: Settings | None = None, **more: Any) -> str:
    """kind/cause of what is due after a look at the vault."""
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, now)
        base = more.pop("base", FakeBase())
        found = due(ledger, settings or vault.settings, base, now, Asked(**more))
        assert found.why.strip()
        return f"{found.kind}/{found.cause}"


def add(vault: Vault, name: str, words: int, now: float, age_s: float = 2 * HOUR) -> None:
    vault.write(f"{name}.md", body(name, max(1, words // 50), 50), age_s=age_s, now=now)


def test_a_vault_of_under_two_thousand_words_is_told_so_in_one_sentence(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.fill(5)
    answer = train(vault)
    assert (
        answer["kind"] == "none" and "900 words of your prose so far;" in answer["verdict"]["why"]
    )
    text = next(vault.root.rglob("*.md")).read_text()
    vault.write("copies/again.md", text, age_s=0)
    why = train(vault)["verdict"]["why"]
    assert "900 words of your prose so far, copies not counted;" in why


def test_the_first_round_is_due_at_once_however_young_the_files(vault: Vault) -> None:
    assert what(vault, NOW) == "fresh/first"


def test_words_wait_for_quiet_then_for_the_night_or_the_trigger(vault: Vault) -> None:
    train(vault)
    now = NOW + DAY
    assert what(vault, now) == "none/nothing"
    add(vault, "little", 100, now)
    assert what(vault, now, nightly=True) == "none/waiting"
    add(vault, "more", 150, now, age_s=60)
    assert what(vault, now, nightly=True) == "none/waiting"
    assert what(vault, now + HOUR, nightly=True) == "incremental/new"
    assert what(vault, now + HOUR) == "none/waiting"
    add(vault, "much", 1_500, now)
    assert what(vault, now + HOUR) == "incremental/new"
    off = replace(vault.settings, schedule=Schedule(trigger_words=0))
    assert what(vault, now + HOUR, off) == "none/nothing"


def test_a_person_is_not_made_to_wait(vault: Vault) -> None:
    train(vault)
    add(vault, "just now", 50, NOW + 60, age_s=1)
    assert what(vault, NOW + 60, manual=True) == "incremental/asked"
    assert what(vault, NOW + 60, manual=True, fresh=True) == "fresh/asked"


def test_a_line_of_ten_words_is_no_round_even_by_hand(vault: Vault) -> None:
    train(vault)
    vault.write("line.md", prose("line", 10))
    assert what(vault, NOW, manual=True) == "none/few new"
    with Ledger.open(vault.state) as ledger:
        why = due(ledger, vault.settings, FakeBase(), NOW, Asked(manual=True)).why
    assert why == (
        "Nothing is learned: 10 new words wait until there are 20. "
        "`vaultgpt train --fresh` learns the whole vault, with them."
    )


def test_a_refused_incremental_round_waits_for_more_text(vault: Vault) -> None:
    train(vault)
    now = NOW + DAY
    add(vault, "bad", 1_600, now)
    assert train(vault, now, after=0.9, manual=False)["kind"] == "incremental"
    assert what(vault, now + 60) == "none/waiting"
    assert what(vault, now + DAY, nightly=True) == "none/waiting"
    add(vault, "good", 300, now)
    assert what(vault, now + DAY, nightly=True) == "incremental/new"
    assert what(vault, now + 8 * DAY) == "incremental/new"


def test_fresh_is_due_when_enough_was_learned_since(vault: Vault) -> None:
    train(vault)
    add(vault, "a third", 3_000, NOW)
    assert train(vault)["verdict"]["promoted"]
    assert what(vault, NOW) == "fresh/grown"


def test_more_new_words_than_were_learned_are_a_full_round_and_once_refused_a_small_one(
    vault: Vault,
) -> None:
    """As after an import: a small round would read as much, and tell no hours."""
    train(vault)
    with Ledger.open(vault.state) as ledger:
        learned = ledger.generations.lineage(ledger.generations.active())[-1].words
    for number in range(12):
        add(vault, f"imported {number}", learned // 8, NOW)
    assert what(vault, NOW) == "fresh/grown"
    assert train(vault, after=1.2)["kind"] == "fresh"
    assert what(vault, NOW + DAY) == "incremental/new"


@pytest.mark.parametrize(
    ("settings", "base", "cause"),
    [
        (Settings(training=Training(rank=32)), FakeBase(), "fresh/rank"),
        (Settings(training=Training(embedding=False)), FakeBase(), "fresh/rank"),
        (Settings(), FakeBase(mark="b"), "fresh/base"),
    ],
)
def test_fresh_is_due_on_another_rank_or_base(
    vault: Vault, settings: Settings, base: FakeBase, cause: str
) -> None:
    train(vault)
    assert what(vault, NOW, settings, base=base) == cause


def test_a_refused_fresh_round_waits_a_week_or_five_thousand_words(vault: Vault) -> None:
    train(vault)
    base = FakeBase(mark="b")
    assert not train(vault, after=1.2, base=base)["verdict"]["promoted"]
    assert what(vault, NOW + DAY, base=base) == "none/refused"
    with Ledger.open(vault.state) as ledger:
        assert "6 days" in due(ledger, vault.settings, base, NOW + DAY).why
    assert what(vault, NOW + 8 * DAY, base=base) == "fresh/base"
    for i in range(14):
        add(vault, f"much{i}", 500, NOW)
    assert what(vault, NOW + DAY, base=base) == "fresh/base"
    assert what(vault, NOW + 60) == "incremental/new", "the old pair goes on"


def test_a_full_round_too_far_from_its_base_is_tried_again_at_half_the_rate(vault: Vault) -> None:
    """1. Two rounds on a new base go astray. 2. The third is well. Result: each is gentler
    than the one before and due the next night; what comes after on this base is as gentle, and
    another base begins at the whole rate."""
    train(vault)
    base, now, gentle = FakeBase(mark="b"), NOW, []
    for astray in (True, True, False):
        trainer = FakeTrainer(astray=astray)
        promoted = train(vault, now, base=base, trainer=trainer)["verdict"]["promoted"]
        gentle.append(trainer.jobs[0].round.gentle)
        if promoted:
            break
        assert what(vault, now + HOUR, base=base) == "none/refused"
        with Ledger.open(vault.state) as ledger:
            assert "more gently" in due(ledger, vault.settings, base, now + HOUR).why
        now += 14 * HOUR
        assert what(vault, now, base=base) == "fresh/base"
        own = replace(vault.settings, training=Training(learning_rate=1e-3))
        assert what(vault, now, own, base=base) == "none/refused", "the author's rate stays"
    assert promoted and gentle == [0, 1, 2]
    with Ledger.open(vault.state) as ledger:
        asked = Asked(fresh=True, manual=True)
        assert plan(ledger, vault.settings, base, now, asked).gentle == 2
        assert plan(ledger, vault.settings, FakeBase(mark="c"), now, asked).gentle == 0


def test_forget_is_due_at_once_and_tried_again_the_next_day(vault: Vault) -> None:
    train(vault)
    with Ledger.open(vault.state) as ledger:
        ledger.forgotten.add(next(e.path for e in ledger.entries.all() if not e.held_out), NOW)
    assert what(vault, NOW + 60) == "fresh/forget"
    assert not train(vault, NOW + 60, after=1.02, manual=False)["verdict"]["promoted"]
    add(vault, "much", 2_000, NOW)
    assert what(vault, NOW + HOUR) == "none/refused", "nothing is built on the barred generation"
    assert what(vault, NOW + 2 * DAY) == "fresh/forget"


def test_deletions_count_after_a_week_at_night_and_not_when_the_text_stands_elsewhere(
    vault: Vault,
) -> None:
    train(vault)
    with Ledger.open(vault.state) as ledger:
        one, two = [e.path for e in ledger.entries.all() if not e.held_out][:2]
    text = (vault.root / two).read_text().split("---\n")[-1]
    vault.remove(one)
    vault.remove(two)
    vault.write("kept.md", body("kept", 8) + "\n" + text)
    assert what(vault, NOW + DAY, nightly=True) == "incremental/new"
    assert what(vault, NOW + 6 * DAY, nightly=True) == "incremental/new"
    assert what(vault, NOW + 9 * DAY, nightly=True) == "fresh/deleted"
    with Ledger.open(vault.state) as ledger:
        assert due(
            ledger, vault.settings, FakeBase(), NOW + 9 * DAY, Asked(nightly=True)
        ).why.startswith("240 learned words")


def test_a_paused_vault_learns_nothing_by_itself(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        ledger.set_meta("paused", "lost")
    assert what(vault, NOW) == "none/paused"
    assert what(vault, NOW, manual=True) == "none/paused"
    assert what(vault, NOW, manual=True, fresh=True) == "fresh/asked"


def test_the_budget_takes_a_sample_with_every_year_and_tag_in_proportion(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.fill(240, paragraphs=2, words=50)
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        entries = ledger.entries.all()
        chosen = set(stratified(entries, 6_000, seed=3))
        words = sum(e.words for e in entries if e.id in chosen)
        assert 5_700 <= words <= 6_000
        every = Counter((e.year, e.tags[0]) for e in entries)
        taken = Counter((e.year, e.tags[0]) for e in entries if e.id in chosen)
        assert set(taken) == set(every) and max(taken.values()) - min(taken.values()) <= 2
        assert set(stratified(entries, 6_000, seed=3)) == chosen
        assert set(stratified(entries, 6_000, seed=4)) != chosen


def test_a_first_voice_on_ten_million_words_has_the_budget_and_shares_of_a_small_vaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """20,000 entries of 500 words over 40 years, under three tags and none, on a base of 135 M.

    Result: the first round reads as much of them as of a hundredth of them, within its seconds,
    from all over the years and in the shares of the tags.
    """
    tags: list[tuple[str, ...]] = [("journal",), ("journal",), ("dream",), ()]
    entries = [
        EntryRow(
            f"{n:016x}",
            f"{n}.md",
            None,
            f"{n:016x}",
            f"{1980 + n % 40}-03-01",
            tags[n // 40 % 4],
            500,
            0,
            (),
            NOW,
            NOW,
            used=True,
            forgotten=False,
            absent_since=None,
        )
        for n in range(20_000)
    ]
    monkeypatch.setattr(timing, "_multiplies_bf16", lambda: True)  # else it is eleven entries
    settings, base = Settings(), FakeBase(parameters=135_000_000)
    part = _words_for_budget(10_000_000, settings, base)
    assert part == pytest.approx(_words_for_budget(100_000, settings, base), abs=600)
    once = replace(settings.training, epochs=1.0)
    takes = timing.estimate(part, base.parameters, vocab=base.vocab, training=once)
    assert takes.full_s <= settings.training.first_round_s == 180.0
    chosen = set(stratified(entries, part, seed=3))
    taken = [entry for entry in entries if entry.id in chosen]
    assert 0.9 * part <= sum(entry.words for entry in taken) <= part
    years = Counter(int(entry.year or 0) // 10 for entry in taken)
    assert len(years) == 4 and max(years.values()) <= 0.35 * len(taken)
    share = Counter(entry.tags for entry in taken)
    assert share["journal",] / len(taken) == pytest.approx(0.5, abs=0.1)
    assert min(share["dream",], share[()]) / len(taken) == pytest.approx(0.25, abs=0.1)


def test_a_small_base_learns_a_small_vault_whole_and_a_large_one_a_part(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_multiplies_bf16", lambda: False)
    settings = Settings()
    assert _words_for_budget(25_000, settings, FakeBase()) == 25_000
    part = _words_for_budget(1_000_000, settings, FakeBase())
    assert 2_000 < part < 400_000
    assert _words_for_budget(1_000_000, settings, FakeBase(parameters=124_000_000)) < part


def test_a_plan_is_the_same_for_the_same_ledger(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        one = plan(ledger, vault.settings, FakeBase(), NOW)
        assert one == plan(ledger, vault.settings, FakeBase(), NOW)
        assert one.kind == "fresh" and one.seed == 2 and one.number == 1
        held = {e.id for e in ledger.entries.all() if e.held_out}
        assert not held & set(one.entry_ids)


def test_four_new_notes_spare_a_whole_one_and_the_next_round_learns_it(vault: Vault) -> None:
    train(vault)
    for i in range(6):
        add(vault, f"new{i}", 150, NOW)
    trainer = FakeTrainer()
    run_round(
        vault.state, vault.settings, trainer=trainer, base=FakeBase(), now=lambda: NOW, manual=True
    )
    held = [i for i in trainer.jobs[0].items if i.role == "new_held_out"]
    train_ids = {i.id for i in trainer.jobs[0].items if i.role == "train"}
    assert 1 <= len(held) <= 2 and not {i.id for i in held} & train_ids
    trainer = FakeTrainer()
    run_round(
        vault.state, vault.settings, trainer=trainer, base=FakeBase(), now=lambda: NOW, manual=True
    )
    assert {i.id for i in trainer.jobs[0].items if i.role == "train"} == {i.id for i in held}


@pytest.mark.parametrize(
    ("written", "replayed"),
    [
        (("journal",), {"dream", "poetry"}),
        (("dream", "poetry"), {"journal"}),
        (("journal", "dream", "poetry"), set()),
        (("letter",), {"journal", "dream", "poetry"}),
    ],
)
def test_a_small_round_replays_the_tags_that_the_new_text_lacks(
    vault: Vault, written: tuple[str, ...], replayed: set[str]
) -> None:
    """So that poems do not fade while nothing but journals comes; no more is read again."""
    train(vault)
    for i in range(12):
        tag = written[i % len(written)]
        vault.write(
            f"new{i}.md",
            f"---\ntags: [{tag}]\n---\n" + body(f"n{i}", 8, 50),
            age_s=2 * HOUR,
            now=NOW,
        )
    trainer = FakeTrainer()
    run_round(
        vault.state, vault.settings, trainer=trainer, base=FakeBase(), now=lambda: NOW, manual=True
    )
    again = [i for i in trainer.jobs[0].items if i.role == "replay"]
    assert {i.tags[0] for i in again} <= replayed and bool(again) == bool(replayed)
    if again:
        words = sum(len(i.text.split()) for i in again)
        assert 240 <= words <= 700, "a seventh of 4,800 new words, in whole entries of 240"


def test_a_copy_of_held_out_text_is_never_waiting(vault: Vault) -> None:
    train(vault)
    with Ledger.open(vault.state) as ledger:
        held = next(e.path for e in ledger.entries.all() if e.held_out == 1)
    text = (vault.root / held).read_text(encoding="utf-8")
    quoted = text.strip().split("\n\n")[-1]
    now = NOW + DAY
    vault.write("quoting.md", body("own words", 3, 50) + "\n\n" + quoted, age_s=2 * HOUR, now=now)
    train(vault, now)
    with Ledger.open(vault.state) as ledger:
        assert ledger.pending(now, 0.0).words == 0
