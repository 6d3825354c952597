"""Is the time machine real? Old and new held-out notes under their own year, the other's, none.

The oldest and the newest third of the dated held-out notes, by words; tags and title stay. Knows
nothing about how text is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.voice.headers import Scored, apart, bits_of, lower, scored
from benchmarks.voice.journals import Journal, items
from benchmarks.voice.mirrors import trained
from benchmarks.voice.rows import Bench, Case, Options, Row, main
from vaultgpt.training.round import Item

JOURNALS = {"thoreau": (1, 2, 3), "hawthorne": (1,)}
HEADERS = ("own", "other", "none")


def cases(options: Options) -> list[Case]:
    return [_case(options, name, seed) for name, seeds in JOURNALS.items() for seed in seeds]


def _case(options: Options, name: str, seed: int) -> Case:
    def run() -> dict[str, Any]:
        mirror = trained(options.work, Journal(options.data / name), seed)
        old, new = thirds(items(mirror.split.held))
        pair = {"old": (old, middle_year(new)), "new": (new, middle_year(old))}
        return {
            age: one_age(
                own, other, [scored(changed, mirror.adapter) for changed in dated(own, other)]
            )
            for age, (own, other) in pair.items()
        }

    return Case(f"{name}/{seed}", seed, {"thoreau": 30.0, "hawthorne": 60.0}[name], run)


def thirds(found: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """The oldest and the newest dated items, each a third of the dated words or a little more."""
    order = sorted((i for i in found if i.date), key=lambda i: (i.date or "", i.id))
    want = sum(len(i.text.split()) for i in order) / 3

    def take(among: Sequence[Item]) -> list[Item]:
        got, words = [], 0
        for one in among:
            if words >= want:
                break
            got.append(one)
            words += len(one.text.split())
        return got

    old = take(order)
    known = {i.id for i in old}
    return old, [i for i in take(order[::-1]) if i.id not in known]


def middle_year(found: Sequence[Item]) -> str:
    """The year of the middle item; "" for none."""
    years = sorted((i.date or "")[:4] for i in found)
    return years[len(years) // 2] if years else ""


def dated(found: Sequence[Item], other: str) -> list[list[Item]]:
    """The items under their own years, under the `other` year, under none."""
    return [
        [replace(i, date=(i.date or "")[:4]) for i in found],
        [replace(i, date=other) for i in found],
        [replace(i, date=None) for i in found],
    ]


def one_age(found: Sequence[Item], other: str, under: Sequence[Scored]) -> dict[str, Any]:
    """Figures of one third; `each` has nats under own, other and none, and bytes, by entry."""
    own, others, none = under
    years = sorted((i.date or "")[:4] for i in found)
    return {
        "entries": len(own),
        "bytes": sum(b for _, b in own.values()),
        "first_year": years[0],
        "last_year": years[-1],
        "other_year": other,
        **{h: bits_of(u) for h, u in zip(HEADERS, under, strict=True)},
        "over_other": lower(own, others),
        "over_none": lower(own, none),
        "each": [
            [round(own[k][0], 4), round(others[k][0], 4), round(none[k][0], 4), own[k][1]]
            for k in own
        ],
    }


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    have = {r["key"]: r["figures"] for r in rows}
    found: dict[str, Any] = {}
    for name, seeds in JOURNALS.items():
        got = [have[f"{name}/{s}"] for s in seeds if f"{name}/{s}" in have]
        if not got:
            continue
        one: dict[str, Any] = {"seeds": len(got)}
        for age in ("old", "new"):
            own, other, none, size = zip(*[e for g in got for e in g[age]["each"]], strict=True)
            gain = apart(own, other, size)
            one[age] = {
                "figure": gain["gain"],
                "low": gain["low"],
                "high": gain["high"],
                "bound": 0.0,
                "met": gain["low"] > 0,
                "over_none": apart(own, none, size),
            }
        one["met"] = bool(one["old"]["met"] and one["new"]["met"])
        found[name] = one
    return {"own_year_below_other": found}


def table(rows: Sequence[Row], summed: dict[str, Any]) -> str:
    lines = [
        "| row | notes | years | own year | the other's | none | own below other |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for age in ("old", "new"):
            f = row["figures"][age]
            o = f["over_other"]
            lines.append(
                f"| {row['key']} {age} | {f['entries']} | {f['first_year']} to {f['last_year']} "
                f"(other: {f['other_year']}) | {f['own']:.4f} | {f['other']:.4f} | "
                f"{f['none']:.4f} | {o['gain']:.4f} ({o['low']:.4f} to {o['high']:.4f}) |"
            )
    lines += [
        "",
        "| journal | seeds | old notes | new notes | own year better in both |",
        "|---|---|---|---|---|",
    ]
    for name, one in summed.get("own_year_below_other", {}).items():
        ages = " | ".join(
            f"{one[a]['figure']:.4f} ({one[a]['low']:.4f} to {one[a]['high']:.4f})"
            for a in ("old", "new")
        )
        lines.append(f"| {name} | {one['seeds']} | {ages} | {'yes' if one['met'] else 'no'} |")
    return "\n".join(lines)


BENCH = Bench("years", __doc__.splitlines()[0], cases, summary, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
