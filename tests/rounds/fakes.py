"""A trainer that learns nothing: it fills the staged folder and reports what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.ledger.vaults import NOW, FakeBase, Vault
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round
from vaultgpt.settings import Training
from vaultgpt.training.round import Item, Job, Report, SegmentScores
from vaultgpt.wire import ForetoldRow, Hear, ReportRow


def scores(items: list[Item], models: dict[str, float], seed: int = 1) -> SegmentScores:
    """Segments of about 190 words of these items, with nats a byte as told for each model."""
    rng = np.random.default_rng(seed)
    out = SegmentScores(nats={model: [] for model in models})
    for item in items:
        for _ in range(max(1, len(item.text.split()) // 190)):
            hard = 1.0 + 0.1 * rng.standard_normal()
            out.entry.append(item.id)
            out.tags.append(list(item.tags))
            out.years.append((item.date or "")[:4] or None)
            out.bytes.append(1000)
            for model, level in models.items():
                noise = 0.004 * rng.standard_normal()
                out.nats[model].append(1000 * level * hard * (1 + noise))
    return out


class FakeTrainer:
    """`levels` are nats a byte by model; "after" decides the verdict."""

    def __init__(
        self,
        after: float = 0.8,
        before: float = 0.82,
        base: float = 1.0,
        new_after: float = 0.85,
        new_before: float = 0.9,
        share: float = 0.01,
        astray: bool = False,
    ) -> None:
        self.held = {"after": after, "before": before, "base": base}
        self.new = {"after": new_after, "before": new_before, "base": base}
        self.share, self.astray = share, astray
        self.tokens = 1000
        self.jobs: list[Job] = []
        self.texts: list[str] = []
        self.before_answer: Callable[[Path], None] = lambda folder: None

    def __call__(
        self,
        job_path: Path,
        on_progress: Hear,
        stop: threading.Event,
        *,
        settings: Training,
    ) -> ReportRow:
        self.texts.append(job_path.read_text(encoding="utf-8"))
        job = Job.from_json(json.loads(self.texts[-1]))
        self.jobs.append(job)
        on_progress({"event": "progress", "phase": "train", "fraction": 0.5})
        self.before_answer(job_path.parent)
        out = Path(job.out)
        (out / "adapter_model.safetensors").write_bytes(
            b"weights" + job.round.number.to_bytes(4, "big")
        )
        (out / "adapter_config.json").write_text('{"r": 8}')
        (out / "README.md").write_text("peft's own")
        return self.report(job).to_json()

    def report(self, job: Job) -> Report:
        models = {m: v for m, v in self.held.items() if m != "before" or "before" in job.compare}
        if "fresh" in job.compare:
            models["fresh"] = self.held["before"]
        held = [i for i in job.items if i.role == "held_out"]
        new = [i for i in job.items if i.role == "new_held_out"]
        segments = {"held_out": scores(held, models)}
        if new:
            segments["new_notes"] = scores(new, self.new, seed=2)
        bits: dict[str, float | None] = {"held_out": 1.2, "held_out_base": 1.5, "general": 2.0}
        trained: list[ForetoldRow] = [
            {"id": i.id, "nats": 10.0, "bytes": 20, "base_nats": 12.0}
            for i in job.items
            if i.new_ranges or i.role == "score"
        ]
        return Report(
            bits,
            {},
            {},
            {"share": self.share, "author_share": 0.01, "longest": 7.0},
            segments,
            trained,
            self.tokens,
            2.0,
            500.0,
            "cpu",
            3,
            [2.0, float("inf") if self.astray else 1.5],
            learning={"gentle": job.round.gentle, "base_sha256": job.base_sha256},
        )


def train(vault: Vault, now: float = NOW, after: float = 0.8, **more: Any) -> RoundAnswer:
    """One round, asked for by hand, on a base that is not there; `after` decides the verdict."""
    options: dict[str, Any] = {"manual": True, "base": FakeBase(), **more}
    options.setdefault("trainer", FakeTrainer(after=after))
    return run_round(vault.state, vault.settings, now=lambda: now, **options)
