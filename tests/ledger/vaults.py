"""Small vaults of made-up words on the disk, and a ledger over them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import vaultgpt
from vaultgpt.bases.model import Base
from vaultgpt.files import sha256_file
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.rows import EntryRow, Recorded
from vaultgpt.ledger.schema import given_id
from vaultgpt.settings import Rules, Settings
from vaultgpt.state import VaultState, create_state
from vaultgpt.vault.reconcile import read_vault

VOCABULARY = [
    a + b + c
    for a in ("ba", "do", "ki", "lu", "me", "no", "ra", "si", "tu", "ve")
    for b in ("l", "n", "r", "s", "t")
    for c in ("am", "ek", "il", "op", "ur")
]
NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86_400.0


PEBBLE = Path(vaultgpt.__file__).parent / "pebble"
MARKS = {"a": "config.json", "b": "generation_config.json", "c": "tokenizer_config.json"}
MARKS |= {"e": "pebble.json"}  # files that are there, whose hashes differ


class FakeBase(Base):
    """A base as a plan sees it; of its files one of a few that are no model's weights."""

    def __init__(
        self,
        name: str = "tiny",
        parameters: int = 7_000_000,
        vocab: int = 8192,
        hidden: int = 256,
        mark: str = "a",
        folder: Path = PEBBLE,
    ) -> None:
        sha256 = {MARKS[mark]: sha256_file(PEBBLE / MARKS[mark])}
        of = (name, folder, "0" * 40, sha256, "llama", parameters, 256)
        super().__init__(*of, hidden=hidden, layers=2, vocab=vocab, tied=True)


def prose(seed: int | str, words: int = 60) -> str:
    """A paragraph of words that no other seed gives."""
    rng = random.Random(f"prose {seed}")
    return " ".join(rng.choice(VOCABULARY) + rng.choice(VOCABULARY) for _ in range(words)) + "."


def body(seed: int | str, paragraphs: int = 3, words: int = 60) -> str:
    """Several paragraphs."""
    return "\n\n".join(prose(f"{seed}/{i}", words) for i in range(paragraphs)) + "\n"


class Vault:
    """A vault folder with a state of its own, and the notes written into it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "vault"
        self.root.mkdir()
        self.state: VaultState = create_state(self.root)
        self.state.secret_path.write_text("5a" * 32)  # the same draws in every run
        self.settings = Settings()

    def write(self, name: str, text: str, age_s: float = 10 * HOUR, now: float = NOW) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (now - age_s, now - age_s))

    def fill(self, notes: int, paragraphs: int = 3, words: int = 60, prefix: str = "note") -> None:
        for i in range(notes):
            tag = ("journal", "dream", "poetry")[i % 3]
            head = f"---\ntags: [{tag}]\ndate: {2019 + i % 4}-03-01\n---\n"
            self.write(f"{prefix}{i:03d}.md", head + body(f"{prefix}{i}", paragraphs, words))

    def remove(self, name: str) -> None:
        (self.root / name).unlink()

    def move(self, name: str, to: str) -> None:
        target = self.root / to
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).rename(target)

    def record(self, ledger: Ledger, now: float = NOW, whole: bool = False) -> Recorded:
        known = {} if whole else ledger.notes.stamps()
        return ledger.record(read_vault(self.state.vault, Rules(), known), now)


def of_note(ledger: Ledger, path: str) -> list[EntryRow]:
    """The entries in the vault now that stand in a note."""
    return [entry for entry in ledger.entries.all() if entry.path == path]


def copies(ledger: Ledger) -> dict[str, str]:
    """Entry that is not learned -> the entry that says the same."""
    ledger.entries.find_copies()
    rows = ledger._db.read(
        "SELECT e.id, s.id AS stays FROM entries e JOIN entries s ON s.n = e.copy_of"
    )
    return {given_id(row["id"]): given_id(row["stays"]) for row in rows}


def slight_changes(ledger: Ledger) -> int:
    """Paragraphs that are known as a slightly edited form of another."""
    return len(ledger._db.read("SELECT 1 FROM texts WHERE same_as IS NOT NULL"))


def entries_learned(ledger: Ledger, generation: str | None) -> set[str]:
    """Ids of the entries that the generation and its forebears learned."""
    return {
        given_id(row["entry"])
        for one in ledger.generations.lineage(generation)
        for row in ledger._db.read("SELECT entry FROM learned WHERE generation=?", (one.id,))
    }
