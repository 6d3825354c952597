"""The measuring process: one VoiceJob from standard input, progress and figures on standard output.

It is the trainer's process with other work: the same frames, priority and way of leaving. The job
is JSON in the staging folder. Loads torch only when it has one.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from vaultgpt.errors import TrainingError
from vaultgpt.files import read_json
from vaultgpt.settings import Mirror, Training
from vaultgpt.training import trainer_worker
from vaultgpt.training.round import Item, TrainerOrder
from vaultgpt.wire import Hear


class StyleFigures(TypedDict):
    """Burrows' delta as a percentile: 50 is the author. None with `why` where pages are too few."""

    percentile: float | None
    low: float | None
    high: float | None
    page_words: int | None
    together: int  # pages drawn at a time
    own_pages: int
    mirror_pages: int
    why: str | None


class TagRow(TypedDict):
    """Of one tag: pieces looked at, and the share of them that is read as of this tag."""

    real_pieces: int
    generated_pieces: int
    real: float | None
    generated: float | None


class TagFigures(TypedDict):
    """What a classifier of the author's pages says: means over tags, and each tag's row."""

    real: float | None
    generated: float | None
    tags: dict[str, TagRow]
    why: str | None
    piece_words: int


class HeaderBits(TypedDict):
    """Bits per byte of the same beginnings under their own header, a wrong tag's, and none."""

    right: float | None
    wrong: float | None
    none: float | None
    bytes: int


class HeaderFigures(HeaderBits):
    """The same, and of each tag."""

    notes: int
    by_tag: dict[str, HeaderBits]


class CopyFigures(TypedDict, total=False):
    """Runs of 8 words of the training text, in the mirror's pages and in the author's own."""

    runs: int
    longest: float | None  # words
    share: float | None
    near_share: float | None  # but for one word
    author_runs: int
    author_longest: float | None
    author_share: float | None
    author_near_share: float | None


class _SampledTexts(TypedDict):
    """What the mirror wrote to be measured."""

    texts: int
    words: int
    tokens: int
    seconds: float


class VoiceFigures(TypedDict):
    """All that one measurement says; no prose."""

    style: StyleFigures
    tags: TagFigures
    headers: HeaderFigures
    copying: CopyFigures
    written: _SampledTexts
    device: str
    seconds: float
    generation: NotRequired[str]  # these two once they are stored
    measured: NotRequired[float]  # epoch seconds


@dataclass(frozen=True)
class VoiceJob:
    """One generation to be measured. The items are the author's text: erased afterwards."""

    base: str  # folder of the base model
    adapter: str  # folder of the generation
    learned: tuple[Item, ...]  # what a fresh round would learn
    held_out: tuple[Item, ...]
    settings: Training  # device, dtype, threads
    mirror: Mirror  # device, dtype, sampling
    seed: int = 1
    score_s: float = 8.0  # budget of scoring headers
    write_s: float = 15.0  # budget of writing
    most_write_s: float = 66.0  # where `write_s` was not enough for any figure


def _read_voice_job(path: Path) -> VoiceJob:
    """The job in `path`; TrainingError when it can't be read."""
    try:
        fields = dict(read_json(path))
        for key in ("learned", "held_out"):
            fields[key] = tuple(map(Item.from_json, fields[key]))
        fields |= {"settings": Training(**fields["settings"]), "mirror": Mirror(**fields["mirror"])}
        return VoiceJob(**fields)
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError(
            "The report's job file can't be read.", "Ask for the report again."
        ) from None


def _study(order: TrainerOrder, say: Hear, stop: threading.Event, _began: float) -> Any:
    """The figures of the VoiceJob that the order names."""
    from vaultgpt.report.study import Study

    def tell(phase: str, fraction: float) -> None:
        say({"event": "progress", "phase": phase, "fraction": fraction})

    return Study(_read_voice_job(Path(order["job"])), tell, stop).run()


if __name__ == "__main__":
    # Not sys.exit: finalising aborts (SIGABRT) while the watching thread waits in standard input.
    os._exit(trainer_worker.main(_study, "measuring of the voice"))
