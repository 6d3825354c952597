"""What figures mean, in sentences for the author. Knows nothing about where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from vaultgpt.report.job import (
        CopyFigures,
        HeaderFigures,
        StyleFigures,
        TagFigures,
        VoiceFigures,
    )
    from vaultgpt.wire import ReportFigures

_BITS = "Bits per byte: how much of each letter it could not foretell; less is better."


def gain_sentence(
    after: float | None, base: float | None, what: str = "pages it never saw"
) -> str | None:
    """How much less the mirror is surprised by unseen pages than its base; None when unknown."""
    if not after or not base:
        return None
    less = _less(after, base)
    return (
        f"{less[0].upper()}{less[1:]} surprised by {what} than its base "
        f"({base:.3f} -> {after:.3f} bits per byte)."
    )


def report_sentences(
    generation: str | None, report: ReportFigures, voice: VoiceFigures | None
) -> list[str]:
    """How well the mirror sounds like the author, from figures, a sentence a line.

    In the order of four questions: does it sound like me, does it obey a tag, did it forget, does
    it copy? What was not measured is not mentioned; what could not be judged says why."""
    bits, years = report.get("bits_per_byte", {}), report.get("by_year", {})
    lines = [f"{generation or 'The last round'}, on pages held out from learning:"]
    said = gain_sentence(bits.get("held_out"), bits.get("held_out_base"), "your writing")
    if said:
        lines += [said, _BITS]
    if voice is not None:
        lines += _style_sentences(voice["style"], bool(said))
        lines += _tag_sentences(voice["tags"], voice["headers"])
    for sign, groups in (("#", report.get("by_tag", {})), ("", years)):
        lines += [
            f"  {sign}{group}: {_less(row['after'], row['base'])} surprised than its base "
            f"({row['base']:.3f} -> {row['after']:.3f})."
            for group, row in sorted(groups.items())
            if row.get("base") and row.get("after")
        ]
    lines += _memory_sentences(years, bits)
    of_round = cast("CopyFigures", report.get("copying", {}))
    return lines + _copy_sentences((voice and voice["copying"]) or of_round)


def _less(after: float, before: float) -> str:
    """`14.0 % less`, or `more`; in words where no digit would be left."""
    percent = 100 * (1 - after / before)
    if abs(percent) < 0.05:
        return "neither less nor more"
    return f"{abs(percent):.1f} % {'less' if percent >= 0 else 'more'}"


def _style_sentences(style: StyleFigures, beside: bool) -> list[str]:
    """How near its pages are to the author's; `beside` the figure that tells of sense, or not."""
    percentile = style["percentile"]
    if percentile is None:
        return [style["why"]] if style["why"] else []
    if not beside:
        return []
    closer = f"closer to your average page than {percentile:.0f} % of your own pages"
    if percentile < 1:
        closer = "further from your average page than nearly all of your own pages"
    low, high = f"{style['low']:.0f}", f"{style['high']:.0f}"
    between = f"{low} %" if low == high else f"between {low} and {high} %"
    return [
        f"What it writes is {closer} ({between}; "
        f"{style['mirror_pages']} of its pages, {style['own_pages']} of yours, "
        f"{style['page_words']} words each, {style['together']} at a time).",
        "That counts words, marks and the length of sentences: a page may be close and make no "
        "sense. How well it foretells what you write is the figure above.",
    ]


def _tag_sentences(tags: TagFigures, headers: HeaderFigures) -> list[str]:
    lines = [tags["why"]] if tags["why"] else []
    for tag, row in sorted(tags["tags"].items()):
        generated, real = row["generated"], row["real"]
        if generated is not None and real is not None:
            lines.append(
                f"{_of_ten(generated)} of 10 texts under #{tag} read as #{tag}; of your "
                f"own, {_of_ten(real)} of 10."
            )
    if (right := headers["right"]) and (none := headers["none"]):
        wrong = headers["wrong"]
        beside = [f"{_less(right, none)} than without any"]
        if wrong:
            beside.insert(0, f"{_less(right, wrong)} than under another tag")
        lines.append(f"Under their own tags your pages surprise it {', and '.join(beside)}.")
    return lines


def _of_ten(share: float) -> str:
    return f"{10 * share:.0f}"


def _memory_sentences(
    years: Mapping[str, Mapping[str, float]], bits: Mapping[str, float | None]
) -> list[str]:
    """The oldest years against the base and the last generation; plain English."""
    lines = []
    if old := _oldest_years(years):
        rows = [years[year] for year in old]
        size = sum(row["bytes"] for row in rows)
        mean = {
            key: sum(row[key] * row["bytes"] for row in rows) / size
            for key in ("after", "base", "before")
            if all(key in row for row in rows)
        }
        span = old[0] if len(old) == 1 else f"{old[0]} to {old[-1]}"
        if "after" in mean and "base" in mean:
            since = (
                ""
                if "before" not in mean
                else (f", {_less(mean['after'], mean['before'])} than the voice before")
            )
            lines.append(
                f"Of your oldest pages ({span}): {_less(mean['after'], mean['base'])} "
                f"surprised than its base{since}."
            )
    if (general := bits.get("general")) and (base := bits.get("general_base")):
        kept = 100 * base / general
        lines.append(f"It has kept {min(kept, 100):.0f} % of its base's plain English.")
    return lines


def _oldest_years(years: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The oldest dated years that hold a quarter of the dated bytes; [] with fewer than two."""
    dated = {y: row["bytes"] for y, row in sorted(years.items()) if y.isdigit() and row["bytes"]}
    chosen: list[str] = []
    for year in dated:
        if len(chosen) == len(dated) - 1 or (
            chosen and sum(dated[y] for y in chosen) >= sum(dated.values()) / 4
        ):
            break
        chosen.append(year)
    return chosen


def _copy_sentences(copying: CopyFigures) -> list[str]:
    longest, share = copying.get("longest"), copying.get("share")
    if longest is None or share is None:
        return []
    own, near = copying.get("author_share"), copying.get("near_share")
    own_near = copying.get("author_near_share")
    yours = "" if own is None else f"; of yours, {100 * own:.1f} % stand in others too"
    lines = [
        f"With nothing to keep it from copying, its longest copy of you has {longest:.0f} words, "
        f"and {100 * share:.1f} % of its runs of 8 words stand in your notes{yours}."
    ]
    if near is not None:
        yours = "" if own_near is None else f", and {100 * own_near:.1f} % of yours"
        lines.append(f"But for one word of the 8: {100 * near:.1f} % of its runs{yours}.")
    return lines
