"""Journals that we did not write: their notes, a benchmark's own hold-out, and copies.

The hold-out is whole notes with 10 % of the words, chosen before vaultgpt sees anything: the copy
that it learns from lacks them. Knows nothing about models.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vaultgpt.report.study import own_text
from vaultgpt.settings import Rules
from vaultgpt.training.round import Item
from vaultgpt.vault.reconcile import ScannedNote, read_vault
from vaultgpt.wire import Prompt

SHARE = 0.10  # of the words are held out of everything a benchmark trains
LARGEST = 0.02  # a note with more of the words is never held out
JOURNALS = ("thoreau", "mary-maclane", "confederate-girl", "hawthorne", "mixed-three-authors")
SEEDS = {"thoreau": (1, 2, 3)}  # the others have one
_WORD = re.compile(r"\S+")
_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]?[A-Z])")


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

    def split(self, seed: int) -> tuple[list[ScannedNote], list[ScannedNote]]:
        """Notes to learn from and notes held out, by path."""
        drawn = _drawn(self.notes, SHARE * self.words, LARGEST * self.words, f"{seed}/")
        held = {n.note.path for n in drawn}
        learned = [n for n in self.notes if n.note.path not in held]
        return learned, [n for n in self.notes if n.note.path in held]

    def fill(self, notes: Sequence[ScannedNote], target: Path, saved: float | None = None) -> None:
        """These notes and the vault's own settings into a copy; as if they were saved then."""
        if (self.folder / ".obsidian").is_dir():
            shutil.copytree(self.folder / ".obsidian", target / ".obsidian", dirs_exist_ok=True)
        for one in notes:
            place = target / one.note.path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / one.note.path, place)
            if saved is not None:
                os.utime(place, (saved, saved))  # its entries are quiet since


def items(notes: Sequence[ScannedNote]) -> list[Item]:
    """Every entry of these notes as the trainer scores it."""
    found = []
    for place, entry in ((p, e) for one in notes for p, e in enumerate(one.note.entries)):
        text, masked = entry.document()
        if text.strip():
            header = entry.title, entry.date, entry.tags
            found.append(Item(f"{entry.path}#{place}", "held_out", text, tuple(masked), *header))
    return found


def first_words(notes: Sequence[ScannedNote], words: int, seed: int) -> list[ScannedNote]:
    """A draw of whole notes with about `words` words in all (a smaller vault by the same hand)."""
    found = _drawn(notes, words, words // 4, f"{seed}/small/")
    return sorted(found, key=lambda n: n.note.path)


def _drawn(
    notes: Sequence[ScannedNote], words: float, longest: float, key: str
) -> list[ScannedNote]:
    """Whole notes with about `words` words, none over `longest`, in the order of a keyed hash."""

    def place(one: ScannedNote) -> bytes:
        return hashlib.blake2b(f"{key}{one.note.path}".encode(), digest_size=8).digest()

    kept: list[ScannedNote] = []
    for one in sorted(notes, key=place):
        if one.note.words <= longest and sum(n.note.words for n in kept) < words:
            kept.append(one)
    return kept


def half_sentences(
    found: Sequence[Item], count: int, seed: int, context: int = 30, words: int = 6
) -> list[Prompt]:
    """To write on after the first `words` words of sentences of 14 or more, `context` before them.

    Drawn evenly over the items, each place at most once.
    """
    rng, drawn = random.Random(seed), []
    for item in rng.sample(found, len(found)):
        texts = _begun(own_text(item), context, words)
        header = item.tags, (item.date or "")[:7] or None  # never the day
        drawn.append([Prompt(text, *header) for text in rng.sample(texts, len(texts))])
    turns = itertools.zip_longest(*drawn)
    return [one for turn in turns for one in turn if one][:count]


def _begun(text: str, context: int, words: int) -> list[str]:
    starts = [0, *(m.end() for m in _SENTENCE.finditer(text)), len(text)]
    found = []
    for start, end in itertools.pairwise(starts):
        own = [m.end() for m in _WORD.finditer(text, start, end)]
        before = [m.start() for m in _WORD.finditer(text, 0, start)]
        if len(own) >= 14:
            first, *_ = [*before, start][-context - 1 :]
            found.append(text[first : own[words - 1]])
    return found
