"""What the nights came to: counts and tokens, held-out surprise, the prequential weeks.

Also what month's-end fresh trainings would have cost. Knows nothing about how the days passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from benchmarks.voice.arriving import Calendar, night, stage_items
from benchmarks.voice.journals import items
from benchmarks.voice.mirrors import bits, cut
from vaultgpt.ledger import GenerationRow, Ledger
from vaultgpt.state import VaultState
from vaultgpt.training.lora import Adapter, load_adapter

MONTH_DAYS = 28


def rounds_since_first(ledger: Ledger) -> dict[str, Any]:
    """Counts and tokens of every judged round after the first, refused ones too."""
    done = [r for r in ledger.rounds.all() if r.report is not None and r.number > 1]
    reports = [r.report or {} for r in done]
    return {
        "rounds": len(done),
        "promoted": sum(bool(r.promoted) for r in done),
        "refused": sum(not r.promoted for r in done),
        "fresh_rounds": sum(r.kind == "fresh" for r in done),
        "trained_tokens": sum(int(r["tokens"]) for r in reports),
        "scored_tokens": sum(int(r["scored_tokens"]) for r in reports),
        "rounds_s": round(sum(float(r["seconds"]) for r in reports), 1),
    }


def surprise(found: Calendar, adapter: Adapter | None, name: str) -> dict[str, float]:
    """Bits per byte of the held-out notes: old, late and both, named NAME_old and so on."""
    parts = {"old": cut(items(found.old)), "late": cut(items(found.late))}
    sizes = {key: sum(s.bytes for s in part) for key, part in parts.items()}
    values = {key: bits(part, adapter) for key, part in parts.items()}
    both = sum(values[key] * sizes[key] for key in parts) / sum(sizes.values())
    return {**{f"{name}_{key}": value for key, value in values.items()}, f"{name}_both": both}


def active_at(made: Sequence[GenerationRow], seconds: float) -> str | None:
    """The generation that wrote at that time, by the promotions there were."""
    then = [g.id for g in made if g.created <= seconds]
    return then[-1] if then else None


def foretold(
    found: Calendar, state: VaultState, made: Sequence[GenerationRow]
) -> list[dict[str, Any]]:
    """Each week's new pages under the base and the mirrors of its eve and of four weeks before."""
    weeks = []
    begin = found.border
    while begin <= found.last:
        arrived = found.between(begin - timedelta(1), begin + timedelta(6))
        if arrived:
            segments = cut(stage_items(arrived))
            eve = active_at(made, night(begin - timedelta(1)))
            month = active_at(made, night(begin - timedelta(1 + MONTH_DAYS)))
            value = {
                name: bits(segments, _adapter(state, name)) if name else None
                for name in {eve, month, made[0].id}
            }
            weeks.append(
                {
                    "week": begin.isoformat(),
                    "words": sum(s.words for s in arrived),
                    "bytes": sum(s.bytes for s in segments),
                    "base": bits(segments, None),
                    "mirror": value[eve],
                    "month": value[month],
                    "first": value[made[0].id],
                    "same": eve == month,
                }
            )
        begin += timedelta(7)
    return weeks


def _adapter(state: VaultState, name: str) -> Adapter:
    return load_adapter(state.generations / name)


def month_ends(found: Calendar, tokens: int, foretold_tokens: int) -> dict[str, Any]:
    """Tokens of a fresh training at the end of each month in which something arrived.

    Each costs the measured training's tokens, evaluation included, times the share of the words
    that were there by then: passes are the same and held-out text is a share of the words. What was
    read to foretell new pages is counted once for each page, not every month. `foretold_tokens` is
    that part of `tokens`.
    """
    every = found.first_words + found.later_words
    ends: list[dict[str, Any]] = []
    for month in sorted({(s.day.year, s.day.month) for s in found.later}):
        there = found.first_words + sum(
            s.words for s in found.later if (s.day.year, s.day.month) <= month
        )
        new = sum(s.words for s in found.later if (s.day.year, s.day.month) == month)
        cost = (tokens - foretold_tokens) * there / every
        cost += foretold_tokens * new / found.later_words
        ends.append({"month": f"{month[0]}-{month[1]:02d}", "words": there, "tokens": round(cost)})
    return {"months": ends, "month_ends_tokens": sum(e["tokens"] for e in ends)}
