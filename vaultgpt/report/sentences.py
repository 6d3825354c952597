"""What figures mean, in sentences for the author. Knows nothing about where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaultgpt.report.job import HeaderFigures, StyleFigures, TagFigures

_BITS = "Bits per byte: how much of each letter it could not foretell; less is better."


def _gain_sentence(
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


def round_sentences(answer: Mapping[str, Any]) -> list[str]:
    """The outcome of one round (CONTRACT's `train`), a sentence a line."""
    lines = []
    report = answer.get("report") or {}
    bits = report.get("bits_per_byte") or {}
    if answer["kind"] == "none":
        return [answer["verdict"]["why"]]
    kind = "A fresh round" if answer["kind"] == "fresh" else "An incremental round"
    if report:
        machine = (report.get("learning") or {}).get("machine")
        where = f", on {machine}" if machine else ""
        lines.append(
            f"{kind}: {report['tokens']:,} tokens in {report['seconds']:.0f} s "
            f"({report['tokens_per_s']:,.0f} tokens/s on {report['device']}{where})."
        )
    if sentence := _gain_sentence(bits.get("held_out"), bits.get("held_out_base")):
        lines.append(sentence)
    if bits.get("new_notes") and bits.get("new_notes_before"):
        lines.append(
            f"New entries it did not learn from: {bits['new_notes_before']:.3f} -> "
            f"{bits['new_notes']:.3f} bits per byte."
        )
    if bits.get("general") and bits.get("general_base"):
        lines.append(
            f"Plain English: {bits['general_base']:.3f} -> {bits['general']:.3f} bits per byte."
        )
    word = "It writes from now on" if answer["verdict"]["promoted"] else "The old voice stays"
    lines.append(f"{word}: {answer['verdict']['why']}")
    return lines


def report_sentences(report: Mapping[str, Any]) -> list[str]:
    """How well the mirror sounds like the author, from a report's figures, a sentence a line.

    In the order of four questions: does it sound like me, does it obey a tag, did it forget, does
    it copy? What was not measured is not mentioned; what could not be judged says why.
    """
    bits, voice = report.get("bits_per_byte") or {}, report.get("voice") or {}
    lines = [f"{report.get('generation') or 'The last round'}, on pages held out from learning:"]
    said = _gain_sentence(bits.get("held_out"), bits.get("held_out_base"), "your writing")
    if said:
        lines += [said, _BITS]
    lines += _style_sentences(voice.get("style"), bool(said))
    lines += _tag_sentences(voice.get("tags"), voice.get("headers"))
    for sign, groups in (("#", report.get("by_tag") or {}), ("", report.get("by_year") or {})):
        lines += [
            f"  {sign}{group}: {_less(row['after'], row['base'])} surprised than its base "
            f"({row['base']:.3f} -> {row['after']:.3f})."
            for group, row in sorted(groups.items())
            if row.get("base") and row.get("after")
        ]
    lines += _memory_sentences(report.get("by_year") or {}, bits)
    return lines + _copy_sentences(voice.get("copying") or report.get("copying") or {})


def _less(after: float, before: float) -> str:
    """`14.0 % less`, or `more`; in words where no digit would be left."""
    percent = 100 * (1 - after / before)
    if abs(percent) < 0.05:
        return "neither less nor more"
    return f"{abs(percent):.1f} % {'less' if percent >= 0 else 'more'}"


def _style_sentences(style: StyleFigures | None, beside: bool) -> list[str]:
    """How near its pages are to the author's; `beside` the figure that tells of sense, or not."""
    percentile = style.get("percentile") if style else None
    if style is None or percentile is None:
        return [why] if style and (why := style.get("why")) else []
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


def _tag_sentences(tags: TagFigures | None, headers: HeaderFigures | None) -> list[str]:
    lines = [why] if tags and (why := tags.get("why")) else []
    for tag, row in sorted((tags.get("tags") or {}).items() if tags else ()):
        generated, real = row.get("generated"), row.get("real")
        if generated is not None and real is not None:
            lines.append(
                f"{_of_ten(generated)} of 10 texts under #{tag} read as #{tag}; of your "
                f"own, {_of_ten(real)} of 10."
            )
    if headers and (right := headers.get("right")) and (none := headers.get("none")):
        wrong = headers.get("wrong")
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
    if old := oldest_years(years):
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


def oldest_years(years: Mapping[str, Mapping[str, float]]) -> list[str]:
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


def _copy_sentences(copying: Mapping[str, float | None]) -> list[str]:
    longest, share = copying.get("longest"), copying.get("share")
    if longest is None or share is None:
        return []
    own, near, own_near = (
        copying.get(k) for k in ("author_share", "near_share", "author_near_share")
    )
    yours = "" if own is None else f"; of yours, {100 * own:.1f} % stand in others too"
    lines = [
        f"With nothing to keep it from copying, its longest copy of you has {longest:.0f} words, "
        f"and {100 * share:.1f} % of its runs of 8 words stand in your notes{yours}."
    ]
    if near is not None:
        yours = "" if own_near is None else f", and {100 * own_near:.1f} % of yours"
        lines.append(f"But for one word of the 8: {100 * near:.1f} % of its runs{yours}.")
    return lines
