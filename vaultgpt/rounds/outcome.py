"""What a round answers: CONTRACT's `train`, made in one place.

Knows nothing about how a round is run.
"""

from __future__ import annotations

from typing_extensions import TypedDict

from vaultgpt.training.round import Report, Round, Verdict
from vaultgpt.wire import CheckRow, LearningRow


class _Bits(TypedDict):
    """Bits per byte; None where unknown."""

    held_out: float | None
    held_out_before: float | None
    held_out_base: float | None
    new_notes: float | None
    new_notes_before: float | None
    general: float | None
    general_base: float | None


class _RoundFigures(TypedDict):
    """What a round measured, as far as people read it; training.round.Report says more."""

    bits_per_byte: _Bits
    tokens: int
    seconds: float
    tokens_per_s: float
    device: str
    copying: dict[str, float]
    by_tag: dict[str, dict[str, float]]
    notes: list[str]
    learning: LearningRow


class _RoundVerdict(TypedDict):
    """What the gate decided, and why."""

    promoted: bool
    why: str
    checks: list[CheckRow]


class RoundAnswer(TypedDict):
    """The outcome of one round; kind "none" when nothing was due."""

    round: int | None
    kind: str
    verdict: _RoundVerdict
    report: _RoundFigures | None
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
        verdict=verdict_of(verdict),
        report=None if report is None else _figures(report),
        generation=generation,
        sampled=round_.sampled,
        why=round_.why,
    )


def verdict_of(verdict: Verdict) -> _RoundVerdict:
    """The same as JSON."""
    return _RoundVerdict(promoted=verdict.promoted, why=verdict.why, checks=verdict.checks)


def _figures(report: Report) -> _RoundFigures:
    bits = report.bits_per_byte
    return _RoundFigures(
        bits_per_byte=_Bits(
            held_out=bits.get("held_out"),
            held_out_before=bits.get("held_out_before"),
            held_out_base=bits.get("held_out_base"),
            new_notes=bits.get("new_notes"),
            new_notes_before=bits.get("new_notes_before"),
            general=bits.get("general"),
            general_base=bits.get("general_base"),
        ),
        tokens=report.tokens,
        seconds=report.seconds,
        tokens_per_s=report.tokens_per_s,
        device=report.device,
        copying=report.copying,
        by_tag=report.by_tag,
        notes=report.notes,
        learning=report.learning,
    )
