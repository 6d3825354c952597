"""A ledger that an older version wrote is opened with all that it knew."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.vaults import DAY, NOW, Vault, body, prose
from vaultgpt.ledger import EntryRow, Ledger

# What version 1 wrote of the vault below: its SQL, its memory.jsonl, and what it then answered.
OLDER: dict[str, Any] = json.loads(Path(__file__).with_name("version1.json").read_text("utf-8"))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path)
    made.fill(5, paragraphs=2, words=14)
    texts = [("changed " * (i < 2)) + prose(f"big{i}", 14) for i in range(3)]
    made.write("big.md", "\n\n".join(texts), age_s=0)
    made.write("copy.md", body("note1", 2, 14))
    db = sqlite3.connect(made.state.ledger)
    db.executescript(OLDER["sql"] + "; PRAGMA user_version=1;")
    db.close()
    made.state.memory.write_text(OLDER["memory"])
    return made


def times(e: EntryRow) -> list[Any]:
    return [e.first_seen, e.changed, e.used, e.forgotten, e.absent_since]


def told(ledger: Ledger) -> dict[str, Any]:
    """The answers of the ledger, as version1.json has them."""
    entries = ledger.entries
    return {
        "same_as": entries.same_as(),
        "entries": [
            [e.id, e.path, e.place, [*e.tags], e.words, e.held_out, [*e.held_digests], *times(e)]
            for e in entries.all(absent=True)
        ],
        "paragraphs": {
            e: [[p.digest, p.position, p.words, p.first_seen, p.waited] for p in found]
            for e, found in entries.paragraphs().items()
        },
        "learned": sorted(map(list, ledger.generations.learned_rows("g000001"))),
        "forgotten": sorted(ledger.forgotten.digests()),
        "barred": sorted(ledger.generations.barred()),
        "scores": [asdict(score) for score in ledger.rounds.scores()],
        "pending": ledger.pending(NOW + 2 * DAY).words,
        "duplicates": entries.duplicates(),
        "runs": len(ledger.forgotten.runs()),
    }


def test_a_ledger_of_version_1_knows_what_it_knew(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        assert told(ledger) == OLDER["facts"]
        assert not ledger.meta("memory_repaired")
    with Ledger.open(vault.state) as ledger:
        assert told(ledger) == OLDER["facts"]


def test_and_its_notes_are_the_same_notes(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        before = {e.id: e.path for e in ledger.entries.all()}
        assert vault.record(ledger, NOW + 2 * DAY, whole=True).changed == 0
        assert {e.id: e.path for e in ledger.entries.all()} == before
        vault.write("big.md", "\n\n".join("again " + prose(f"big{i}", 14) for i in range(3)))
        assert vault.record(ledger, NOW + 3 * DAY).changed == 1
        assert len(ledger.entries.same_as()) == 5  # each a slight change of what version 1 saw


def test_the_ledger_holds_a_paragraph_once_and_no_word_of_it(tmp_path: Path) -> None:
    """Four and a half bytes a word for the guard, one and a half for slight changes."""
    made = Vault(tmp_path)
    made.fill(400, paragraphs=3, words=40)
    with Ledger.open(made.state) as ledger:
        made.record(ledger)
        ledger._db.pack()
        words = ledger.notes.totals()["words"]
    assert made.state.ledger.stat().st_size < 14 * words
    data = made.state.ledger.read_bytes()
    assert not any(word.encode() in data for word in prose("note1/1", 40).split()[:20])
