"""What comes of a round that was judged: published when promoted, recorded, its prose erased, told.

One ledger transaction; its rows of a generation come from the manifest, here and after a crash
(mend.py). The answer is CONTRACT's `train`. Knows nothing about training.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from typing_extensions import TypedDict

from vaultgpt import generation_folders
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import keep_embedded
from vaultgpt.generation_folders import Manifest
from vaultgpt.ledger import GenerationRow, LearnedParagraph, Ledger
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState
from vaultgpt.training.assemble import Assembled
from vaultgpt.training.round import Report, Round, Verdict
from vaultgpt.wire import ReportFigures, VerdictRow

_BITS = (
    *("held_out", "held_out_before", "held_out_base", "new_notes", "new_notes_before"),
    *("general", "general_base"),
)


class RoundAnswer(TypedDict):
    """The outcome of one round; kind "none" when nothing was due."""

    round: int | None
    kind: str
    verdict: VerdictRow
    report: ReportFigures | None  # what people read of it
    generation: str | None
    sampled: bool
    why: str


def answer_of(
    round_: Round, verdict: Verdict, report: Report | None = None, generation: str | None = None
) -> RoundAnswer:
    """Of a round that was judged, or of one that did not take place (without a report)."""
    return RoundAnswer(
        round=round_.number if report else None,
        kind=round_.kind,
        verdict=_verdict_of(verdict),
        report=None if report is None else _figures(report),
        generation=generation,
        sampled=round_.sampled,
        why=round_.why,
    )


def _verdict_of(verdict: Verdict) -> VerdictRow:
    """The same as JSON."""
    return VerdictRow(promoted=verdict.promoted, why=verdict.why, checks=verdict.checks)


def _figures(report: Report) -> ReportFigures:
    return ReportFigures(
        bits_per_byte={key: report.bits_per_byte.get(key) for key in _BITS},
        tokens=report.tokens,
        seconds=report.seconds,
        tokens_per_s=report.tokens_per_s,
        device=report.device,
        copying=report.copying,
        by_tag=report.by_tag,
        notes=report.notes,
        learning=report.learning,
    )


@dataclass(frozen=True)
class Closing:
    """A round that was trained and judged; `folder` is its staging folder."""

    round: Round
    made: Assembled
    report: Report
    verdict: Verdict
    folder: Path


def close(
    state: VaultState, settings: Settings, ledger: Ledger, base: Base, done: Closing, now: float
) -> str | None:
    """Publish when promoted, commit everything at once, erase the prose; the new generation."""
    close_round = partial(
        ledger.rounds.close,
        done.round.number,
        now,
        promoted=done.verdict.promoted,
        verdict=done.verdict.why,
        report=done.report.to_json(),
        checks=done.verdict.checks,
        sampled=done.round.sampled,
        waited=done.made.waited,
    )
    name = None
    if done.verdict.promoted:
        if base.name == "pebble":
            keep_embedded(state)
        manifest = _manifest(settings, base, done, now)
        used = [g.id for g in ledger.generations.all(kept=False)]
        name = generation_folders.publish(done.folder / "out", state, manifest, used)
        row, learned = rows_of(name, manifest)
        close_round(generation=row, learned=learned)
        _tidy(state, ledger, settings)
    else:
        close_round()
    shutil.rmtree(done.folder, ignore_errors=True)
    return name


def _manifest(settings: Settings, base: Base, done: Closing, now: float) -> Manifest:
    short = done.report.to_json()
    short.pop("losses")
    return {
        "base": base.name,
        "revision": base.revision,
        "base_sha256": dict(base.sha256),
        "parent": done.made.job.parent_id,
        "round": done.round.number,
        "kind": done.round.kind,
        "sampled": done.round.sampled,
        "created": now,
        "learned": [list(one) for one in done.made.learned],
        "held_out": done.made.held_out,
        "waited": done.made.waited,
        "report": short,
        "verdict": _verdict_of(done.verdict),
        "settings": {"rank": settings.training.rank, "embedding": settings.training.embedding},
    }


def rows_of(name: str, manifest: Manifest) -> tuple[GenerationRow, list[LearnedParagraph]]:
    """The ledger's rows for a published generation, from its manifest."""
    learned = [(str(e), str(d), int(w)) for e, d, w in manifest["learned"]]
    settings = manifest.get("settings", {})
    row = GenerationRow(
        id=name,
        round=int(manifest["round"]),
        kind=str(manifest.get("kind", "fresh")),
        parent=manifest["parent"],
        base=str(manifest["base"]),
        base_sha256=dict(manifest["base_sha256"]),
        created=float(manifest["created"]),
        promoted=bool(manifest["verdict"]["promoted"]),
        status="kept",
        rank_setting=int(settings.get("rank", 0)),
        embedding_setting=bool(settings.get("embedding", True)),
        words=sum(w for _, _, w in learned),
    )
    return row, learned


def _tidy(state: VaultState, ledger: Ledger, settings: Settings) -> None:
    """Erase generations that learned what was forgotten, once another is active, and old ones."""
    active, fresh = ledger.generations.active(), ledger.generations.last_fresh()
    barred = ledger.generations.barred()
    if active is not None and active not in barred:
        for row in ledger.generations.all(kept=False):  # damaged ones too, which were set aside
            if row.id in barred and row.status != "erased":
                generation_folders.erase(state, row.id)
                ledger.generations.set_status(row.id, "erased")
    spare = {name for name in (active, fresh) if name}
    for name in generation_folders.prune(state, settings.training.keep, spare):
        ledger.generations.set_status(name, "erased")
    ledger.generations.fold()
    if active is not None:
        generation_folders.keep_means(state, active)
