"""A journal made by a test, and a mirror of it that learned nothing: the base in its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.voice.journals import Journal, Split, items
from benchmarks.voice.rows import PEBBLE, Options
from tests import tiny
from vaultgpt.config import Mirror
from vaultgpt.corpus.runs import norms
from vaultgpt.mirror.engine import Engine
from vaultgpt.training.lora import Adapter

TAGS = ("journal", "poetry")


class SetRuns:
    """A copy guard's index in memory."""

    n = 10

    def __init__(self, texts: list[str]) -> None:
        self.runs = {
            tuple(w[i : i + 10]) for t in texts for w in [norms(t)] for i in range(len(w) - 9)
        }

    def has(self, words: list[str]) -> bool:
        return any(tuple(words[i : i + 10]) in self.runs for i in range(len(words) - 9))


@dataclass(frozen=True)
class StubMirror:
    """Stands where mirrors.Trained does."""

    journal: Journal
    split: Split
    adapter: Adapter | None = None


def journal(folder: Path, name: str = "thoreau", words: int = 4800, seed: int = 0) -> Journal:
    tiny.tiny_vault(folder / name, notes=60, words=words, tags=TAGS, seed=seed)
    return Journal(folder / name)


def mirror(folder: Path) -> StubMirror:
    made = journal(folder)
    return StubMirror(made, made.split(1, share=0.4))


def engine(one: StubMirror, *, guard: bool = True) -> Engine:
    """The product's engine, writing with the base."""
    made = Engine(
        Mirror(device="cpu", guard=guard), SetRuns([i.text for i in items(one.split.train)])
    )
    made.load(PEBBLE)
    return made


def options(folder: Path) -> Options:
    return Options(folder, folder / "work", folder / "results", (), (), 1e9, False)


def row(key: str, figures: dict[str, object]) -> dict[str, object]:
    return {"key": key, "seed": 1, "figures": figures}
