"""A vault with one generation by a trainer that only pretends, and figures as a process gives."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.vaults import HOUR, FakeBase, Vault, body
from tests.rounds.fakes import train
from vaultgpt.settings import Training
from vaultgpt.wire import Hear

FIGURES: dict[str, Any] = {
    "style": {
        "percentile": 60.0,
        "low": 48.0,
        "high": 71.0,
        "page_words": 200,
        "together": 5,
        "own_pages": 22,
        "mirror_pages": 80,
        "why": None,
    },
    "tags": {
        "real": 0.9,
        "generated": 0.8,
        "piece_words": 100,
        "why": None,
        "tags": {
            "dream": {"real_pieces": 60, "generated_pieces": 40, "real": 0.9, "generated": 0.8},
            "poetry": {"real_pieces": 12, "generated_pieces": 0, "real": None, "generated": None},
        },
    },
    "headers": {"right": 1.6, "wrong": 1.7, "none": 1.65, "notes": 9, "bytes": 4000, "by_tag": {}},
    "copying": {
        "runs": 900,
        "longest": 7,
        "share": 0.009,
        "near_share": 0.014,
        "author_runs": 800,
        "author_longest": 9,
        "author_share": 0.011,
        "author_near_share": 0.02,
    },
    "written": {"texts": 40, "words": 4000, "tokens": 6000, "seconds": 9.0},
    "device": "cpu",
    "seconds": 20.0,
}


class FakeProcess:
    """Answers with FIGURES at once and remembers its jobs."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.modes: list[tuple[int, int]] = []
        self.failure: Exception | None = None

    def __call__(
        self,
        job_path: Path,
        on_progress: Hear,
        stop: threading.Event,
        *,
        settings: Training,
    ) -> dict[str, Any]:
        self.jobs.append(json.loads(job_path.read_text(encoding="utf-8")))
        self.modes.append((job_path.stat().st_mode & 0o777, job_path.parent.stat().st_mode & 0o777))
        on_progress({"event": "progress", "phase": "write", "fraction": 0.5})
        if self.failure is not None:
            raise self.failure
        return FIGURES


def next_generation(vault: Vault, name: str) -> None:
    """One round by the trainer that pretends; it is promoted as `name`."""
    answer = train(vault)
    assert answer["generation"] == name, answer["verdict"]


@pytest.fixture
def process() -> FakeProcess:
    return FakeProcess()


@pytest.fixture
def learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """60 notes under three tags, and g000001, which is active."""
    made = Vault(tmp_path)
    made.fill(60, paragraphs=4)
    next_generation(made, "g000001")
    monkeypatch.setattr(
        "vaultgpt.report.measured.base_of_generation", lambda state, manifest: FakeBase()
    )
    return made


def held_out_note(vault: Vault) -> str:
    """The path of a note that is held out whole."""
    from vaultgpt.ledger import Ledger

    with Ledger.open(vault.state) as ledger:
        return next(e.path for e in ledger.entries.all() if e.held_out == 1)


def rewrite(vault: Vault, path: str) -> None:
    """Other words in a note, the same tags and date."""
    head = (vault.root / path).read_text(encoding="utf-8").split("---")[1]
    vault.write(path, f"---{head}---\n" + body(f"rewritten {path}", 4), age_s=5 * HOUR)
