"""What the gate asks of a small round alone: its new text, its last weights, one night's English.

Figures in, checks out. Knows nothing about torch, files or the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping

from vaultgpt.training.bootstrap import FEW_ENTRIES, Check, paired, percent
from vaultgpt.training.round import SegmentScores

# What is held out of a round's new text is some 300 words. Good rounds foretold it 0.02 to 0.30 %
# better; of twenty that went over their new text four times one was 0.17 % worse.
_NEW_WORSE = 0.002
_FEW_NEW_WORSE = 0.01  # under six new entries: one paragraph looks 0.4 % worse by chance
# Plain English, an incremental round against the active generation: good ones on 25,000 words are
# 0.05 to 0.10 % worse; 1,800 words after half a pass over 5,000 (five runs) 0.2 to 1.5 %.
_SMALL_GENERAL_WORSE = 0.02
# New text may be so many times as surprising a word, to the active generation and before it is
# learned, as held-out text. An author's own later pages, 1,500 words at a time: 0.83 to 1.01;
# words in random order 1.62 to 1.83, half-empty notes 1.77 to 1.98, German 2.26 to 2.39.
_STRANGE = 1.5
_REPEATED = 0.5  # of its 8-word runs, so many may have stood in the new text before
# The weights from which the next small round goes on may be so much more surprised than the base by
# held-out text. After 25,000 words good rounds leave them 4.0 to 5.4 % less so, those at a rate
# thirty times too high 114 to 248 % more.
_LAST_WORSE = 0.1


def strange(new_text: Mapping[str, float], entries: int) -> Check:
    """Text that is nothing like the author's other pages is not learned in one night.

    A word is what a reader counts: blanks and doubled letters change bytes more than sense. Where
    too few held-out `entries` say what the author's text is like, or a report lacks the figures (an
    older one), it is not judged.
    """
    new, held = new_text.get("word_nats"), new_text.get("held_out_word_nats")
    if new is None or not held or entries < FEW_ENTRIES:
        return Check("strange", True, None, _STRANGE, "New text was not held beside older pages.")
    times = new / held
    return Check(
        "strange",
        times <= _STRANGE,
        times,
        _STRANGE,
        f"New text is {times:.1f} times as surprising a word as your held-out pages, and "
        f"{_STRANGE:g} times is allowed: damaged notes or another language look so. If it "
        "is meant, `vaultgpt train --fresh` learns it.",
    )


def repeats(new_text: Mapping[str, float]) -> Check:
    """One text over and over is a fault of a template or a sync, and would be learned by heart."""
    share = new_text.get("repeated")
    return Check(
        "repeats",
        share is None or share <= _REPEATED,
        share,
        _REPEATED,
        f"{100 * (share or 0.0):.0f} % of the new text's 8-word runs stood in it before, "
        f"and {100 * _REPEATED:.0f} % is allowed: one text seems to be there many times.",
    )


def last_weights(last: Mapping[str, float]) -> Check:
    """The adapter is a mean over many nights, in which a bad one hardly shows at first."""
    if not last.get("base_nats"):
        return Check(
            "last_weights",
            True,
            None,
            _LAST_WORSE,
            "Where the next round would go on from was not measured.",
        )
    change = last["nats"] / last["base_nats"] - 1
    side = "more" if change > 0 else "less"
    return Check(
        "last_weights",
        change <= _LAST_WORSE,
        change,
        _LAST_WORSE,
        f"The weights that the next round would go on from are {percent(change)} {side} "
        f"surprised than the base by held-out text, and {percent(_LAST_WORSE)} more is "
        "allowed: the training went astray.",
    )


def new_notes(scores: SegmentScores) -> Check:
    """New text held out of this very round must not be foretold plainly worse than before it.

    It is often a few paragraphs, far too little for a bound, so the point estimate decides and the
    sentence says in how many resamples it held. Where nothing could be spared it is not judged.
    """
    if not scores.entry:
        return Check(
            "new_notes", True, None, _NEW_WORSE, "Too little new text to hold any of it out."
        )
    found = paired(scores, "after", scores, "before")
    if found is None:
        return Check(
            "new_notes",
            False,
            None,
            _NEW_WORSE,
            "New text held out of this round could not be measured.",
        )
    bound = _NEW_WORSE if found.entries >= FEW_ENTRIES else _FEW_NEW_WORSE
    side = "less" if found.point < 0 else "more"
    sure = f" ({100 * found.better_share:.0f} % sure)" if found.entries > 1 else ""
    note = sure if found.point < 0 else f"; {percent(bound)} more is allowed"
    return Check(
        "new_notes",
        found.point <= bound,
        found.point,
        bound,
        f"{percent(found.point)} {side} surprised than before by new text held out of "
        f"this round{note}.",
    )


def general_before(scores: SegmentScores) -> Check:
    """One night may not cost much plain English either, or a hundred of them will."""
    found = paired(scores, "after", scores, "before")
    if found is None:
        return Check(
            "general_before",
            False,
            None,
            _SMALL_GENERAL_WORSE,
            "Plain English could not be compared with the active generation's.",
        )
    side = "worse" if found.point > 0 else "better"
    return Check(
        "general_before",
        found.point <= _SMALL_GENERAL_WORSE,
        found.point,
        _SMALL_GENERAL_WORSE,
        f"{percent(found.point, _SMALL_GENERAL_WORSE)} {side} at plain English than the "
        f"active generation, and {percent(_SMALL_GENERAL_WORSE)} is allowed.",
    )
