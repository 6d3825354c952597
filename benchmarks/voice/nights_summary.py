"""What the rows of nights.py say about the issue's thresholds, and their table.

Knows nothing about how the rows were measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks.voice.rows import Row, interval, together

RATIO = 0.97  # of the fresh training's gain, at least
WORSE = 0.01  # old notes, at most
TOKENS = 0.25  # of the month's-end fresh trainings, at most
VARIANTS = ("weekly", "nightly")
JUDGED = ("gain_of_fresh", "old_worse_by", "tokens_of_month_ends")


def gain(figures: dict[str, Any], name: str = "last", part: str = "both") -> float:
    """1 - bits per byte over the base's."""
    return float(1 - figures[f"{name}_{part}"] / figures[f"base_{part}"])


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    have = {r["key"]: r for r in rows}
    found: dict[str, Any] = {}
    for key, row in have.items():
        mirror, _, variant = key.rpartition("/")  # "thoreau/1": journal and seed
        if variant not in VARIANTS:
            continue
        figures, beside = row["figures"], have.get(f"{mirror}/fresh")
        fresh = beside["figures"] if beside and together(row, beside) else None
        found[key] = {
            "gain_of_fresh": _least(gain(figures) / gain(fresh) if fresh else None, RATIO),
            "old_worse_by": _most(figures["last_old"] / figures["first_old"] - 1, WORSE),
            "tokens_of_month_ends": _most(
                _tokens(figures) / fresh["month_ends_tokens"] if fresh else None, TOKENS
            ),
            "trained_tokens_of_month_ends": figures["trained_tokens"] / fresh["month_ends_tokens"]
            if fresh
            else None,
            "prequential": prequential(figures["weeks"]),
        }
    return found


def _tokens(figures: dict[str, Any]) -> int:
    return int(figures["trained_tokens"] + figures["scored_tokens"])


def _least(figure: float | None, bound: float) -> dict[str, Any]:
    return {"figure": figure, "bound": bound, "met": None if figure is None else figure >= bound}


def _most(figure: float | None, bound: float) -> dict[str, Any]:
    return {"figure": figure, "bound": bound, "met": None if figure is None else figure <= bound}


def prequential(weeks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How often, and by how much, last week's mirror foretold better than each of the others.

    Weeks in which the other is the same generation, or was not there yet, do not count.
    """
    out: dict[str, Any] = {"weeks": len(weeks)}
    for other in ("base", "month", "first"):
        counted = [w for w in weeks if w[other] is not None and w[other] != w["mirror"]]
        mine = sum(w["mirror"] * w["bytes"] for w in counted)
        theirs = sum(w[other] * w["bytes"] for w in counted)
        out[f"than_{other}"] = {
            "weeks": len(counted),
            "better": sum(w["mirror"] < w[other] for w in counted),
            "less_surprised": 1 - mine / theirs if theirs else None,
            "met": mine < theirs if theirs and other != "first" else None,
        }
    return out


def over_seeds(summed: dict[str, Any]) -> dict[str, dict[str, tuple[float, float]]]:
    """(mean, half-width) of each judged figure where a journal's variant has two seeds or more."""
    variants: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for key, one in summed.items():
        journal, _, variant = key.split("/")
        variants[f"{journal}, {variant}"].append(one)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name, ours in sorted(variants.items()):
        values = {n: [f for one in ours if (f := one[n]["figure"]) is not None] for n in JUDGED}
        if all(len(each) > 1 for each in values.values()):
            found[name] = {n: interval(each) for n, each in values.items()}
    return found


def table(rows: Sequence[Row], summed: dict[str, Any]) -> str:
    lines = [
        "| row | gain | old | late | first, old | rounds (fresh, refused) | trained + scored "
        "tokens | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        f = row["figures"]
        early = f"{_percent(gain(f, 'first', 'old'))}" if "first_old" in f else ""
        lines.append(
            f"| {row['key']} | {_percent(gain(f))} | {_percent(gain(f, part='old'))} | "
            f"{_percent(gain(f, part='late'))} | {early} | "
            f"{f['rounds']} ({f['fresh_rounds']}, {f['refused']}) | "
            f"{f['trained_tokens']:,} + {f['scored_tokens']:,} | {f['rounds_s']:,.0f} |"
        )
    lines += [
        "",
        "| row | gain of fresh, >= 97 % | old worse by, <= 1 % | tokens of month's-end "
        "fresh, <= 25 % | better than base | than the month's mirror |",
        "|---|---|---|---|---|---|",
    ]
    for key, one in summed.items():
        told = one["prequential"]
        lines.append(
            f"| {key} | {_judged(one['gain_of_fresh'])} | {_judged(one['old_worse_by'])} | "
            f"{_judged(one['tokens_of_month_ends'])} | {_weeks(told['than_base'])} | "
            f"{_weeks(told['than_month'])} |"
        )
    for name, figures in over_seeds(summed).items():
        shown = " | ".join(f"{_percent(mean)} ± {100 * half:.1f}"
                           for mean, half in figures.values())
        lines.append(f"| {name}, all seeds | {shown} | | |")
    return "\n".join(lines)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _judged(one: dict[str, Any]) -> str:
    if one["figure"] is None:
        return "not yet"
    return f"{_percent(one['figure'])} {'yes' if one['met'] else 'no'}"


def _weeks(one: dict[str, Any]) -> str:
    if one["less_surprised"] is None:
        return "no week"
    return f"{one['better']} of {one['weeks']} weeks, {_percent(one['less_surprised'])}"
