"""Never on its own words: what is masked, for how long, and what stays the author's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.vaults import DAY, HOUR, NOW, Vault, prose
from vaultgpt.ledger import Ledger

OWN = "the lamp went out and nobody in the kitchen said a single word about it until morning"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path)


def masked(ledger: Ledger, text: str, first_seen: float) -> list[str]:
    return [text[s:e] for s, e in ledger.emitted.lookup().mask_ranges(text, first_seen)]


def test_accepted_text_masks_always_and_only_itself(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.emitted.offered(OWN, NOW)
        ledger.emitted.accepted(OWN, NOW + 5)
        text = f"I wrote this. {OWN.capitalize()}! And this is mine."
        for age in (1.0, HOUR, 300 * DAY):
            assert masked(ledger, text, NOW + age) == [OWN.capitalize()]


def test_text_seen_before_it_was_emitted_is_the_authors(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.emitted.offered(OWN, NOW)
        ledger.emitted.accepted(OWN, NOW)
        assert masked(ledger, OWN, NOW - DAY) == []


def test_the_note_may_be_saved_a_moment_before_the_acceptance_is_told(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.emitted.accepted(OWN, NOW)
        assert masked(ledger, OWN, NOW - 2) == [OWN]


def test_offered_text_masks_for_a_day_only(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.emitted.offered(OWN, NOW)
        assert masked(ledger, OWN, NOW + HOUR) == [OWN]
        assert masked(ledger, OWN, NOW + 25 * HOUR) == []


def test_words_that_the_author_changed_are_the_authors(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        long = f"{OWN} {prose('tail', 12)}".rstrip(".")
        ledger.emitted.accepted(long, NOW)
        words = long.split()
        words[17] = "changed"
        found = masked(ledger, " ".join(words), NOW + 60)
        assert len(found) == 2 and "changed" not in " ".join(found)


def test_short_accepted_text_matches_whole_from_four_words_on(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.emitted.accepted("and then it snowed", NOW)
        ledger.emitted.accepted("so it goes", NOW)
        ledger.emitted.offered("only offered this here now", NOW)
        text = "We waited and then it snowed all day, so it goes, only offered this here now."
        assert masked(ledger, text, NOW + 1) == ["and then it snowed"]


def test_what_matched_within_the_day_stays_masked_in_later_rounds(vault: Vault) -> None:
    vault.fill(5)
    with Ledger.open(vault.state) as ledger:
        ledger.emitted.offered(OWN, NOW)
        ledger.emitted.offered(prose("unused", 30), NOW)
        vault.write("note.md", f"Mine. {OWN}.", now=NOW + HOUR, age_s=0)
        vault.record(ledger, NOW + HOUR)
        vault.write("later.md", prose("later", 30), now=NOW + 3 * DAY, age_s=0)
        vault.record(ledger, NOW + 3 * DAY)
        seen = next(
            p.first_seen
            for ps in ledger.entries.paragraphs().values()
            for p in ps
            if p.first_seen == NOW + HOUR
        )
        assert masked(ledger, OWN, seen) == [OWN]
        rows = ledger._db.read("SELECT COUNT(*) AS n FROM emitted")
        assert rows[0]["n"] == len(OWN.split()) - 7  # the unused offer is gone
