"""The held-out choice: how much, of what, and that it stays."""

from __future__ import annotations

import random
import tracemalloc
from functools import partial
from pathlib import Path

import pytest

from tests.ledger.vaults import NOW, Vault, body
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.held_out import _Candidate, _choose, _keep_choosing, _wanted_words


def vault_of(words: int, each: int, seed: int = 1, tags: tuple[str, ...] = ()) -> list[_Candidate]:
    rng = random.Random(seed)
    count = max(1, words // each)
    return [
        _Candidate(
            f"e{i}",
            each,
            tags,
            rng.random(),
            partial(tuple, [(f"e{i}/{k}", min(60, each)) for k in range(max(1, each // 60))]),
        )
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("total", "wanted"),
    [
        (2_000, 400),
        (10_000, 2_000),
        (25_000, 4_560),
        (91_200, 4_560),
        (268_000, 13_400),
        (2_000_000, 50_000),
    ],
)
def test_how_much_is_wanted(total: int, wanted: int) -> None:
    assert _wanted_words(total) == wanted


@pytest.mark.parametrize("total", [2_000, 4_000, 10_000, 25_000, 300_000])
@pytest.mark.parametrize("each", [40, 200, 900])
def test_what_is_chosen_is_near_what_is_wanted(total: int, each: int) -> None:
    chosen = _choose(vault_of(total, each), total)
    got = sum(c.words for c in chosen)
    assert got <= 0.23 * total
    assert got >= 0.7 * _wanted_words(total)


def test_a_vault_of_one_long_note_gives_up_its_end_only() -> None:
    chosen = _choose(vault_of(20_000, 20_000), 20_000)
    assert len(chosen) == 1 and chosen[0].digests
    assert 1_500 <= chosen[0].words <= 2_000


def test_a_novel_does_not_cost_the_short_notes_beside_it(tmp_path: Path) -> None:
    """Of 150,000 words in one note and thirty of 500, twenty of the thirty were held out."""
    paragraph = " ".join(f"word{k}" for k in range(60)) + "."
    vault = Vault(tmp_path)
    vault.write("novel.md", "\n\n".join(f"{i} {paragraph}" for i in range(2_500)))
    for i in range(30):
        vault.write(f"day {i}.md", "\n\n".join(f"{i} {k} {paragraph}" for k in range(8)))
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        held = [e for e in ledger.entries.all() if e.held_out]
        short = [e for e in held if e.words < 1_000]
        assert 1 <= len(short) <= 7 and len(held) == len(short) + 1
        for i in range(30):
            vault.write(f"later {i}.md", "\n\n".join(f"l {i} {k} {paragraph}" for k in range(8)))
        vault.record(ledger, NOW + 1)
        later = [e for e in ledger.entries.all() if e.held_out and e.path.startswith("later")]
        assert len(later) <= 9


def test_every_tag_of_three_entries_is_represented() -> None:
    common = vault_of(40_000, 200, tags=("journal",))
    rare = [_Candidate(f"d{i}", 150, ("dream",), 0.99) for i in range(3)]
    two = [_Candidate(f"x{i}", 150, ("list",), 0.99) for i in range(2)]
    chosen = {c.id for c in _choose([*common, *rare, *two], 40_750)}
    assert chosen & {c.id for c in rare}
    assert not chosen & {c.id for c in two}


def test_a_choice_over_many_tags_asks_each_entry_for_its_tags_and_not_for_every_tag() -> None:
    """2,000 tags over 100,000 entries were asked 200 million times whether they stand there."""

    class Tags(tuple[str, ...]):
        asked = 0

        def __contains__(self, tag: object) -> bool:
            Tags.asked += 1
            return super().__contains__(tag)

    entries = [
        _Candidate(f"e{i}", 150, Tags((f"tag{i % 100}", "journal")), (i * 7 % 997) / 997)
        for i in range(1_500)
    ]
    chosen = {c.id for c in _choose(entries, 225_000)}
    assert {e.tags[0] for e in entries if e.id in chosen} == {f"tag{n}" for n in range(100)}
    assert not Tags.asked


def test_later_entries_are_held_out_only_while_text_is_lacking_or_the_vault_is_large() -> None:
    def share(total: int, held: int) -> float:
        new = vault_of(200_000, 200, seed=9)
        return sum(_keep_choosing(c, total, held) is not None for c in new) / len(new)

    assert 0.15 <= share(10_000, 300) <= 0.25
    assert share(30_000, 4_560) == 0.0
    assert 0.03 <= share(268_000, 13_400) <= 0.07
    assert share(2_000_000, 50_000) == 0.0


def test_the_choice_is_made_once_and_stays(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.fill(60)
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        held = {e.id for e in ledger.entries.all() if e.held_out}
        assert held
        vault.fill(60, prefix="later")
        vault.record(ledger, NOW + 1)
        assert held <= {e.id for e in ledger.entries.all() if e.held_out}
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW + 2, whole=True)
        assert held <= {e.id for e in ledger.entries.all() if e.held_out}


def test_nothing_is_held_out_under_two_thousand_words(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.fill(10)
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        assert not [e for e in ledger.entries.all() if e.held_out]
        vault.write("more.md", body("more", 10))
        vault.record(ledger, NOW + 1)
        assert [e for e in ledger.entries.all() if e.held_out]


def test_a_first_choice_takes_few_bytes_of_memory_an_entry(tmp_path: Path) -> None:
    """Each was held as an object with its id, tags and draw: 428 bytes at the peak, now 160."""
    vault, count = Vault(tmp_path), 20_000
    with Ledger.open(vault.state) as ledger, ledger._db.write() as sql:
        sql.executemany(
            "INSERT INTO entries (id, place, tags, words, first_seen, changed) "
            "VALUES (?, ?, ?, 100, 0, 0)",
            [
                (n.to_bytes(8, "big"), n.to_bytes(8, "big"), f'["tag {n % 9}", "journal"]')
                for n in range(count)
            ],
        )
        tracemalloc.start()
        try:
            ledger.held_out.decide(NOW)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 250 * count
        held = ledger.entries.where("e.held_out")
        assert 0.9 * 50_000 <= sum(entry.words for entry in held) <= 1.1 * 50_000
