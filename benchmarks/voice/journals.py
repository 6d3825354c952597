"""Journals that we did not write: their notes, a benchmark's own hold-out, and private copies.

The hold-out is whole notes with 10 % of the words, chosen before vaultgpt sees anything: the copy
that it learns from lacks them. Knows nothing about models.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vaultgpt.settings import Rules
from vaultgpt.training.round import Item
from vaultgpt.vault.reconcile import ScannedNote, read_vault

SHARE = 0.10  # of the words are held out of everything a benchmark trains
LARGEST = 0.02  # a note with more of the words is never held out
JOURNALS = ("thoreau", "mary-maclane", "confederate-girl", "hawthorne", "mixed-three-authors")
SEEDS = {"thoreau": (1, 2, 3)}  # the others have one


@dataclass(frozen=True)
class Split:
    """Notes to learn from and notes held out, both in the order of their paths."""

    train: tuple[ScannedNote, ...]
    held: tuple[ScannedNote, ...]


@dataclass(frozen=True)
class Journal:
    """One journal in the data folder; of a longer one a draw of `most_words`, always the same."""

    folder: Path
    most_words: int | None = None

    @property
    def name(self) -> str:
        return self.folder.name + ("" if self.most_words is None else f"-{self.most_words}")

    @cached_property
    def notes(self) -> tuple[ScannedNote, ...]:
        """The notes that vaultgpt would use, by path."""
        found = [n for n in read_vault(self.folder, Rules()).read if n.judgement.used]
        if self.most_words is not None:
            found = first_words(found, self.most_words, 1)
        return tuple(sorted(found, key=lambda n: n.note.path))

    @cached_property
    def words(self) -> int:
        return sum(n.note.words for n in self.notes)

    def split(self, seed: int, share: float = SHARE) -> Split:
        """Hold out `share` of the words: whole notes, in the order of a seeded hash."""
        want, most, got = share * self.words, LARGEST * self.words, 0
        held: set[str] = set()
        for one in sorted(self.notes, key=lambda n: _draw(seed, n.note.path)):
            if got >= want:
                break
            if one.note.words <= most:
                held.add(one.note.path)
                got += one.note.words
        return Split(
            tuple(n for n in self.notes if n.note.path not in held),
            tuple(n for n in self.notes if n.note.path in held),
        )

    def copy(self, notes: Sequence[ScannedNote], target: Path) -> Path:
        """These notes and the vault's own settings as a new vault; `target` is emptied first."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True, mode=0o700)
        self.fill(notes, target)
        return target

    def fill(self, notes: Sequence[ScannedNote], target: Path) -> None:
        """The same into an empty folder that is there."""
        if (self.folder / ".obsidian").is_dir():
            shutil.copytree(self.folder / ".obsidian", target / ".obsidian")
        for one in notes:
            self.add(one, target)

    def add(self, one: ScannedNote, target: Path) -> None:
        """One note into a copy."""
        place = target / one.note.path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.folder / one.note.path, place)


def items(notes: Sequence[ScannedNote]) -> list[Item]:
    """Every entry of these notes as the trainer scores it."""
    found = []
    for one in notes:
        for place, entry in enumerate(one.note.entries):
            text, masked = entry.document()
            if text.strip():
                found.append(
                    Item(
                        f"{entry.path}#{place}",
                        "held_out",
                        text,
                        tuple(masked),
                        entry.title,
                        entry.date,
                        entry.tags,
                    )
                )
    return found


def first_words(notes: Sequence[ScannedNote], words: int, seed: int) -> list[ScannedNote]:
    """A draw of whole notes with about `words` words in all (a smaller vault by the same hand)."""
    kept, got = [], 0
    for one in sorted(notes, key=lambda n: _draw(seed, "small/" + n.note.path)):
        if got >= words:
            break
        if one.note.words <= words // 4:
            kept.append(one)
            got += one.note.words
    return sorted(kept, key=lambda n: n.note.path)


def _draw(seed: int, path: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{path}".encode(), digest_size=8).digest()
