"""What figures mean, in sentences for the author. Knows nothing about where they come from."""

from __future__ import annotations

from typing import Any


def gain_sentence(after: float | None, base: float | None) -> str | None:
    """How much less the mirror is surprised by unseen pages than its base; None when unknown."""
    if not after or not base:
        return None
    percent = 100 * (1 - after / base)
    side = "less" if percent >= 0 else "more"
    return (
        f"{abs(percent):.1f} % {side} surprised by pages it never saw than its base "
        f"({base:.3f} -> {after:.3f} bits per byte)."
    )


def round_sentences(answer: dict[str, Any]) -> list[str]:
    """The outcome of one round (CONTRACT's `train`), a sentence a line."""
    lines = []
    report = answer.get("report") or {}
    bits = report.get("bits_per_byte") or {}
    if answer["kind"] == "none":
        return [answer["verdict"]["why"]]
    kind = "A fresh round" if answer["kind"] == "fresh" else "An incremental round"
    if report:
        lines.append(
            f"{kind}: {report['tokens']:,} tokens in {report['seconds']:.0f} s "
            f"({report['tokens_per_s']:,.0f} tokens/s on {report['device']})."
        )
    if sentence := gain_sentence(bits.get("held_out"), bits.get("held_out_base")):
        lines.append(sentence)
    if bits.get("new_notes") and bits.get("new_notes_before"):
        lines.append(
            f"New entries it did not learn from: {bits['new_notes_before']:.3f} -> "
            f"{bits['new_notes']:.3f} bits per byte."
        )
    if bits.get("general") and bits.get("general_base"):
        lines.append(f"Plain English: {bits['general_base']:.3f} -> {bits['general']:.3f}.")
    word = "Promoted" if answer["verdict"]["promoted"] else "Kept the old one"
    lines.append(f"{word}: {answer['verdict']['why']}")
    return lines


def report_sentences(report: dict[str, Any]) -> list[str]:
    """How well the mirror sounds like the author, from a report's figures, a sentence a line."""
    bits, copying = report.get("bits_per_byte") or {}, report.get("copying") or {}
    lines = [f"{report.get('generation') or 'The last round'}, on pages held out from learning:"]
    if sentence := gain_sentence(bits.get("held_out"), bits.get("held_out_base")):
        lines.append(sentence)
    for name, groups in (("#", report.get("by_tag") or {}), ("", report.get("by_year") or {})):
        for group, figures in sorted(groups.items()):
            if figures.get("base") and figures.get("after"):
                gain = 100 * (1 - figures["after"] / figures["base"])
                lines.append(
                    f"  {name}{group}: {gain:.1f} % less surprised "
                    f"({figures['base']:.3f} -> {figures['after']:.3f})."
                )
    if bits.get("general") and bits.get("general_base"):
        kept = 100 * bits["general_base"] / bits["general"]
        lines.append(f"{min(kept, 100):.0f} % of plain English kept.")
    if copying.get("longest") is not None:
        lines.append(
            f"With the copy guard off, its longest copy is {copying['longest']:.0f} words; "
            f"{100 * copying['share']:.1f} % of its 8-word runs stand in your notes, "
            f"{100 * copying['author_share']:.1f} % of your own pages' do elsewhere."
        )
    return lines
