"""What the measuring process may know, as JSON in the staging folder. Knows nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaultgpt.errors import TrainingError
from vaultgpt.files import read_json
from vaultgpt.training.round import Item, item_from_json


@dataclass(frozen=True)
class VoiceJob:
    """One generation to be measured. The items are the author's text: erased afterwards."""

    base: str  # folder of the base model
    adapter: str  # folder of the generation
    learned: tuple[Item, ...]  # what a fresh round would learn
    held_out: tuple[Item, ...]
    settings: dict[str, Any]  # the [training] section: device, dtype, threads
    mirror: dict[str, Any]  # the [mirror] section: device, dtype, sampling
    seed: int = 1
    score_s: float = 8.0  # budget of scoring headers
    write_s: float = 15.0  # budget of writing
    most_write_s: float = 66.0  # where `write_s` was not enough for any figure


def read_voice_job(path: Path) -> VoiceJob:
    """The job in `path`; TrainingError when it can't be read."""
    try:
        fields = dict(read_json(path))
        for key in ("learned", "held_out"):
            fields[key] = tuple(map(item_from_json, fields[key]))
        return VoiceJob(**fields)
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError(
            "The report's job file can't be read.", "Ask for the report again."
        ) from None
