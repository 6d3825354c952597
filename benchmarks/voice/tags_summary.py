"""What the rows of tags.py add up to, and their tables. Knows nothing about how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.voice.rows import Row, interval

TAGS = {
    "mixed-three-authors": ("journal", "dream", "poetry", "fiction"),
    "thoreau": ("journal", "poetry"),
}
SEEDS = {"mixed-three-authors": (1,), "thoreau": (1, 2, 3)}
STRENGTHS = (1.0, 1.25, 1.5)  # with seed 1; the other seeds at the default alone
ODD = {"unknown": ("nosuchtag",), "two": ("journal", "poetry"), "none": ()}
BOUND, SANE = 0.9, 0.8


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    have = {r["key"]: r["figures"] for r in rows}
    found: dict[str, Any] = {}
    for name, tags in TAGS.items():
        one: dict[str, Any] = {}
        for g in STRENGTHS:
            got = [have[k] for s in SEEDS[name] if (k := f"{name}/{s}/{g}") in have]
            got = [f for f in got if f["words_alone"]]
            if got:
                one[str(g)] = _strength(got, tags)
        bpb = [have[k] for s in SEEDS[name] if (k := f"{name}/{s}/bpb") in have]
        if bpb:
            one["header"] = {
                tag: _header([b["tags"][tag] for b in bpb if tag in b["tags"]])
                for tag in tags
                if any(tag in b["tags"] for b in bpb)
            }
        if f"{name}/1/odd" in have:
            one["odd"] = _sane(have[f"{name}/1/odd"]["asked"], tags)
        if one:
            found[name] = one
    return found


def _strength(got: Sequence[dict[str, Any]], tags: Sequence[str]) -> dict[str, Any]:
    values = [g["words_alone"]["ratio"] for g in got]
    mean, half = interval(values)
    low = got[0]["words_alone"]["low"] if len(got) == 1 else mean - half
    each = {}
    for tag in tags:
        own = [g["tags"][tag] for g in got if "ratio" in g["tags"][tag]]
        if own:
            figure = sum(o["ratio"] for o in own) / len(own)
            each[tag] = {"figure": figure, "bound": BOUND, "met": figure >= BOUND}
    return {
        "figure": mean,
        "half_width": half if len(got) > 1 else None,
        "low": low,
        "seeds": len(got),
        "bound": BOUND,
        "met": mean >= BOUND,
        "tags": each,
        "layout_kept": sum(g["layout_kept"]["ratio"] for g in got) / len(got),
        "distinct_2": sum(t["distinct_2"] for g in got for t in g["tags"].values())
        / sum(len(g["tags"]) for g in got),
    }


def _header(got: Sequence[dict[str, Any]]) -> dict[str, Any]:
    gains = [g["over_wrong"]["gain"] for g in got]
    return {
        "figure": sum(gains) / len(gains),
        "bound": 0.0,
        "seeds": len(got),
        "met": all(g["over_wrong"]["low"] > 0 for g in got),
    }


def _sane(asked: dict[str, Any], tags: Sequence[str]) -> dict[str, Any]:
    least = SANE * min(asked[t]["distinct_2"] for t in tags)
    found = {}
    for name in ODD:
        one = asked[name]
        written = one["empty"] <= 0.05 * one["texts"]
        found[name] = {
            "figure": one["distinct_2"],
            "bound": least,
            "empty": one["empty"],
            "met": bool(written and one["distinct_2"] >= least),
        }
    return found


def table(rows: Sequence[Row], summed: dict[str, Any]) -> str:
    lines = [
        "| row | tag | real pieces | right, real | right, generated | ratio | "
        "distinct-1, 2, 3 | of real text |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for tag, t in row["figures"].get("tags", {}).items():
            if "texts" in t:
                lines.append(_tag_line(row["key"], tag, t))
    lines += [
        "",
        "| notes | right header | wrong | no tag | no header | right below wrong |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for tag, t in row["figures"].get("tags", {}).items():
            if "right" in t and "over_wrong" in t:
                o = t["over_wrong"]
                lines.append(
                    f"| {row['key']} {tag} ({t['entries']}) | {t['right']:.4f} | {t['wrong']:.4f} "
                    f"| {t['none']:.4f} | {t['bare']:.4f} | {o['gain']:.4f} ({o['low']:.4f} to "
                    f"{o['high']:.4f}) |"
                )
    lines += ["", *_verdicts(summed)]
    return "\n".join(lines)


def _tag_line(key: str, tag: str, t: dict[str, Any]) -> str:
    right = (
        f"{100 * t['real']:.1f} % | {100 * t['generated']:.1f} % | {t['ratio']:.3f}"
        if "ratio" in t
        else "not judged | | "
    )
    own = ", ".join(f"{t[f'distinct_{n}']:.3f}" for n in (1, 2, 3))
    real = ", ".join(f"{t[f'real_distinct_{n}']:.3f}" for n in (1, 2, 3))
    return f"| {key} | {tag} | {t['real_pieces']} | {right} | {own} | {real} |"


def _verdicts(summed: dict[str, Any]) -> list[str]:
    lines = ["| journal | asked | figure | bound | met |", "|---|---|---|---|---|"]
    for name, one in summed.items():
        for g in STRENGTHS:
            if s := one.get(str(g)):
                spread = f" ± {s['half_width']:.3f}" if s["half_width"] is not None else ""
                lines.append(
                    f"| {name} | strength {g}: generated of real | {s['figure']:.3f}"
                    f"{spread} | {BOUND} | {'yes' if s['met'] else 'no'} |"
                )
        for tag, h in one.get("header", {}).items():
            lines.append(
                f"| {name} | {tag}: right header below wrong | {h['figure']:.4f} | 0 | "
                f"{'yes' if h['met'] else 'no'} |"
            )
        for what, o in one.get("odd", {}).items():
            lines.append(
                f"| {name} | {what}: distinct-2 | {o['figure']:.3f} | {o['bound']:.3f} | "
                f"{'yes' if o['met'] else 'no'} |"
            )
    return lines
