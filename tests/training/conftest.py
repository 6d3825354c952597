"""A tiny Llama, jobs on a few invented entries, and a loaded base."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from vaultgpt.settings import Training
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.device import Device
from vaultgpt.training.round import Item, Job, Round

MakeJob = Callable[..., Path]


def item(number: int, role: str = "train", words: int = 60, **fields: Any) -> Item:
    """An invented entry with the tags and dates of a small journal."""
    values: dict[str, Any] = {
        "id": f"e{number}",
        "role": role,
        "text": tiny.prose(words, 900 + number),
        "masked": (),
        "title": None,
        "date": f"20{10 + number % 5}-0{1 + number % 9}-11",
        "tags": (("journal", "dream")[number % 2],),
    }
    return Item(**{**values, **fields})


def some_items(train: int = 12, held_out: int = 4) -> list[Item]:
    """`train` entries to learn and `held_out` to judge by."""
    return [item(i) for i in range(train)] + [item(100 + i, "held_out") for i in range(held_out)]


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama."""
    return tiny.tiny_model(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def base(llama: Path) -> BaseModel:
    """That Llama, loaded on the CPU in float32."""
    return load_base(llama, Device.choose("cpu", "float32", 1))


@pytest.fixture
def make_job(tmp_path: Path, llama: Path) -> MakeJob:
    """Write a job file in a folder of its own; returns its path."""

    def make(
        name: str = "job",
        items: list[Item] | None = None,
        settings: dict[str, Any] | None = None,
        kind: str = "fresh",
        budget_s: float | None = None,
        **fields: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        merged = asdict(Training()) | {
            "device": "cpu",
            "dtype": "float32",
            "threads": 1,
            "rank": 4,
            "epochs": 1.0,
            "learning_rate": 4e-3,
            "batch_tokens": 512,
            "block_tokens": 128,
        }
        round_ = Round(1, kind, "test", seed=3, budget_s=budget_s)  # type: ignore[arg-type]
        values: dict[str, Any] = {
            "round": round_,
            "base": str(llama),
            "base_name": "tiny",
            "base_revision": "r1",
            "base_sha256": {},
            "parent": None,
            "parent_id": None,
            "compare": {},
            "items": tuple(some_items() if items is None else items),
            "general_heldout": None,
            "general_replay": None,
            "settings": Training(**(merged | (settings or {}))),
            "words": 1000,
            "out": str(folder / "out"),
        }
        path = folder / "job.json"
        path.write_text(json.dumps(asdict(Job(**(values | fields)))), encoding="utf-8")
        return path

    return make
