"""The gate on figures with a known truth: what passes, what is refused, and how surely."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vaultgpt.training.bootstrap import _change, _student95, percent
from vaultgpt.training.gate import judge
from vaultgpt.training.round import Report, SegmentScores, Verdict

TRIALS = 100


def segments(
    rng: np.random.Generator, entries: int, each: int, levels: dict[str, float], noise: float = 0.02
) -> SegmentScores:
    """`levels` are true nats a byte; entries and segments differ, models by `noise` a segment."""
    out = SegmentScores(nats={m: [] for m in levels})
    for entry in range(entries):
        hard = 1 + 0.15 * rng.standard_normal()
        for _ in range(each):
            size = int(rng.integers(700, 1300))
            level = hard * (1 + 0.1 * rng.standard_normal())
            out.entry.append(f"e{entry}")
            out.tags.append([])
            out.years.append(None)
            out.bytes.append(size)
            for model, value in levels.items():
                out.nats[model].append(size * level * value * (1 + noise * rng.standard_normal()))
    return out


def report(
    held: SegmentScores,
    new: SegmentScores | None = None,
    general: SegmentScores | None = None,
    **more: Any,
) -> Report:
    sets = {"held_out": held}
    if new is not None:
        sets["new_notes"] = new
    if general is not None:
        sets["general"] = general
    fields: dict[str, Any] = {
        "bits_per_byte": {"held_out": 1.0},
        "by_tag": {},
        "by_year": {},
        "copying": {"share": 0.012, "author_share": 0.01, "longest": 8.0},
        "segments": sets,
        "prequential": [],
        "tokens": 1,
        "seconds": 1.0,
        "tokens_per_s": 1.0,
        "device": "cpu",
        "steps": 1,
        "losses": [1.0],
    }
    return Report(**{**fields, **more})


@pytest.mark.parametrize(
    ("percent", "entries", "promoted"),
    [(-0.2, 8, True), (0.08, 8, True), (0.3, 8, False), (0.4, 1, True), (1.2, 1, False)],
)
def test_a_few_new_paragraphs_need_not_show_a_gain_but_no_plain_loss(
    percent: float, entries: int, promoted: bool
) -> None:
    """Asking 300 words for any gain at all refused nine good rounds of twenty."""
    held = segments(
        np.random.default_rng(1),
        40,
        1,
        {"after": 0.999, "before": 1.0, "fresh": 1.0, "base": 1.2},
        noise=0.0,
    )
    new = segments(
        np.random.default_rng(2), entries, 1, {"after": 1 + percent / 100, "before": 1.0}, noise=0.0
    )
    verdict = judge(report(held, new), kind="incremental", first=False)
    assert verdict.promoted is promoted
    allowed = "0.2 %" if entries > 5 else "1.0 %"
    assert promoted or f"held out of this round; {allowed} more is allowed" in verdict.why


@pytest.mark.parametrize(("percent", "promoted"), [(-7.0, True), (4.0, True), (40.0, False)])
def test_weights_gone_astray_are_seen_before_their_mean_shows_it(
    percent: float, promoted: bool
) -> None:
    held = segments(
        np.random.default_rng(1),
        40,
        1,
        {"after": 0.999, "before": 1.0, "fresh": 1.0, "base": 1.2},
        noise=0.0,
    )
    last = {"nats": 100.0 + percent, "base_nats": 100.0}
    verdict = judge(report(held, last_weights=last), kind="incremental", first=False)
    assert verdict.promoted is promoted
    assert promoted or "40.0 % more surprised than the base" in verdict.why


@pytest.mark.parametrize(("percent", "promoted"), [(-0.1, True), (1.0, False)])
def test_only_what_was_scored_in_this_round_is_evidence(percent: float, promoted: bool) -> None:
    """Forty entries carried on would else make any bound narrow."""
    held = segments(
        np.random.default_rng(1),
        52,
        1,
        {"after": 1.0, "before": 1.0, "fresh": 1.0, "base": 1.2},
        noise=0.0,
    )
    held.carried.extend(range(12, 52))
    for at in range(52):
        held.nats["after"][at] *= 1 + percent / 100 if at < 12 else 0.99
    verdict = judge(report(held), kind="incremental", first=False)
    assert verdict.promoted is promoted and "by 12 entries" in verdict.why
    assert len(held.measured().entry) == 12 and held.measured().carried == []


@pytest.mark.parametrize(
    ("percent", "english", "promoted"), [(1.6, True, True), (2.5, True, False), (2.5, False, True)]
)
def test_a_night_may_not_cost_much_plain_english(
    percent: float, english: bool, promoted: bool
) -> None:
    """A hundred nights of small losses there would add up."""
    held = segments(
        np.random.default_rng(1),
        40,
        1,
        {"after": 0.999, "before": 1.0, "fresh": 1.0, "base": 1.2},
        noise=0.0,
    )
    general = segments(
        np.random.default_rng(2),
        8,
        8,
        {"after": 1.01 * (1 + percent / 100), "before": 1.01, "base": 1.0},
        noise=0.0,
    )
    verdict = judge(report(held, general=general), kind="incremental", first=False, english=english)
    assert verdict.promoted is promoted
    assert promoted or "plain English than the voice before" in verdict.why
    assert judge(report(held, general=general), kind="fresh", first=False).promoted


@pytest.mark.parametrize(("times", "promoted"), [(1.2, True), (1.8, False)])
def test_text_that_is_nothing_like_the_author_is_not_learned(times: float, promoted: bool) -> None:
    """Half-empty notes hardly move a figure in one night; they are told by what a word costs."""
    held = segments(
        np.random.default_rng(1),
        40,
        1,
        {"after": 0.999, "before": 1.0, "fresh": 1.0, "base": 1.2},
        noise=0.0,
    )
    found = report(held, new_text={"word_nats": 5.0 * times, "held_out_word_nats": 5.0})
    verdict = judge(found, kind="incremental", first=False)
    assert verdict.promoted is promoted
    assert promoted or verdict.why.startswith("New text is 1.8 times as surprising a word")
    assert judge(found, kind="fresh", first=False).promoted
    assert judge(report(held), kind="incremental", first=False).promoted  # an older report
    few = judge(
        report(
            segments(
                np.random.default_rng(1),
                4,
                1,
                {"after": 0.9, "before": 1.0, "fresh": 1.0, "base": 1.2},
                noise=0.0,
            ),
            new_text=found.new_text,
        ),
        kind="incremental",
        first=False,
    )
    assert few.promoted  # four entries do not say what the author's text is like


@pytest.mark.parametrize(("share", "promoted"), [(0.2, True), (0.9, False)])
def test_one_text_over_and_over_is_not_learned(share: float, promoted: bool) -> None:
    held = segments(
        np.random.default_rng(1),
        40,
        1,
        {"after": 0.999, "before": 1.0, "fresh": 1.0, "base": 1.2},
        noise=0.0,
    )
    verdict = judge(report(held, new_text={"repeated": share}), kind="incremental", first=False)
    assert verdict.promoted is promoted
    assert promoted or verdict.why.startswith("90 % of the new text's 8-word runs")


def passes(change_percent: float, trials: int = TRIALS, entries: int = 24, each: int = 1) -> float:
    """Share of incremental rounds of that true change that the gate promotes."""
    passed = 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        level = 1 + change_percent / 100
        held = segments(
            rng, entries, each, {"after": level, "before": 1.0, "fresh": 1.0, "base": 1.2}
        )
        passed += judge(report(held), kind="incremental", first=False).promoted
    return passed / trials


def test_a_round_two_percent_better_passes_nearly_always() -> None:
    assert passes(-2.0) >= 0.95


def test_a_round_one_percent_worse_is_refused_nearly_always() -> None:
    assert passes(1.0) <= 0.05


def test_a_round_half_a_percent_worse_is_shown_no_better_than_the_level_says() -> None:
    assert passes(0.5) <= 0.08  # 5 % against each of two, and the noise of 100 trials


def test_long_entries_count_as_one_each() -> None:
    rng = np.random.default_rng(1)
    many = judge(
        report(segments(rng, 24, 1, {"after": 0.99, "before": 1.0})),
        kind="fresh",
        first=False,
        expect_fresh=False,
    )
    figure = many.checks[1]["figure"]
    assert figure is not None and figure < 0.005
    rng = np.random.default_rng(1)
    few = judge(
        report(segments(rng, 3, 8, {"after": 0.99, "before": 1.0})),
        kind="fresh",
        first=False,
        expect_fresh=False,
    )
    assert not few.promoted and "3 held-out entries" in few.why


def test_four_notes_that_are_a_fifth_of_a_percent_better_never_pass() -> None:
    assert passes(-0.2, entries=4) == 0.0
    assert passes(-0.2, entries=4, each=6) == 0.0


def test_four_notes_show_a_plain_gain() -> None:
    rng = np.random.default_rng(3)
    held = segments(rng, 4, 2, {"after": 0.85, "before": 1.0, "base": 1.1})
    assert judge(report(held), kind="fresh", first=True).promoted


def test_a_first_round_must_be_shown_to_beat_the_base() -> None:
    rng = np.random.default_rng(4)
    good = segments(rng, 15, 2, {"after": 0.86, "base": 1.0})
    verdict = judge(report(good), kind="fresh", first=True)
    assert verdict.promoted and "13.2 %" in verdict.why and "base" in verdict.why
    same = segments(rng, 15, 2, {"after": 0.999, "base": 1.0})
    assert not judge(report(same), kind="fresh", first=True).promoted


def test_small_losses_do_not_add_up_because_the_last_fresh_round_counts_too() -> None:
    rng = np.random.default_rng(5)
    held = segments(rng, 60, 1, {"after": 1.0, "before": 1.0, "fresh": 0.985}, noise=0.005)
    verdict = judge(report(held), kind="incremental", first=False)
    assert not verdict.promoted and "last fresh" in verdict.why


@pytest.mark.parametrize(
    ("level", "entries", "promoted"),
    [(1.01, 12, True), (1.03, 12, False), (1.0, 3, True), (1.03, 3, False)],
)
def test_what_must_be_forgotten_goes_unless_the_round_is_plainly_worse(
    level: float, entries: int, promoted: bool
) -> None:
    rng = np.random.default_rng(5)
    held = segments(rng, entries, 1, {"after": level, "before": 1.0, "fresh": 1.0}, noise=0.002)
    kept = judge(report(held), kind="fresh", first=False)
    gone = judge(report(held), kind="fresh", first=False, forgets=True)
    assert (kept.promoted, gone.promoted) == (False, promoted)
    assert "must be forgotten" in gone.why


def test_new_text_must_be_foretold_better_and_copying_stay_low() -> None:
    rng = np.random.default_rng(6)
    held = segments(rng, 40, 1, {"after": 0.98, "before": 1.0, "fresh": 1.0}, noise=0.005)
    worse = segments(rng, 2, 1, {"after": 1.05, "before": 1.0}, noise=0.001)
    verdict = judge(report(held, worse), kind="incremental", first=False)
    assert not verdict.promoted and "new text" in verdict.why
    better = segments(rng, 2, 1, {"after": 0.95, "before": 1.0}, noise=0.001)
    assert judge(report(held, better), kind="incremental", first=False).promoted
    copies = {"share": 0.05, "author_share": 0.01, "longest": 60.0}
    verdict = judge(report(held, better, copying=copies), kind="incremental", first=False)
    assert not verdict.promoted and "5.0 %" in verdict.why
    assert not judge(report(held, better, copying={}), kind="incremental", first=False).promoted


def test_one_note_repeated_five_hundred_times_is_refused() -> None:
    """What that does to a model: a little worse everywhere, and it recites."""
    rng = np.random.default_rng(7)
    held = segments(rng, 24, 1, {"after": 1.15, "before": 1.0, "fresh": 1.0})
    copies = {"share": 0.6, "author_share": 0.01, "longest": 300.0}
    verdict = judge(report(held, copying=copies), kind="incremental", first=False)
    assert not verdict.promoted
    assert [c["name"] for c in verdict.checks if not c["passed"]] == ["before", "fresh", "copying"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_figures_that_are_no_numbers_are_refused(value: float) -> None:
    rng = np.random.default_rng(8)
    held = segments(rng, 24, 1, {"after": 0.9, "before": 1.0})
    held.nats["after"][3] = value
    verdict = judge(report(held), kind="fresh", first=False, expect_fresh=False)
    assert not verdict.promoted and "astray" in verdict.why
    fine = segments(rng, 24, 1, {"after": 0.9, "before": 1.0})
    assert not judge(
        report(fine, losses=[2.0, value]), kind="fresh", first=False, expect_fresh=False
    ).promoted


def test_plain_english_is_judged_only_where_the_vault_is_english() -> None:
    rng = np.random.default_rng(9)
    held = segments(rng, 24, 1, {"after": 0.9, "base": 1.0})
    general = segments(rng, 64, 1, {"after": 1.08, "base": 1.0}, noise=0.002)
    verdict = judge(report(held, general=general), kind="fresh", first=True)
    assert not verdict.promoted and "plain English" in verdict.why
    german = judge(report(held, general=general), kind="fresh", first=True, english=False)
    assert german.promoted
    figure = next(c for c in german.checks if c["name"] == "general")["figure"]
    assert figure is not None and figure > 0.05


def test_without_a_comparison_nothing_is_promoted() -> None:
    rng = np.random.default_rng(10)
    held = segments(rng, 24, 1, {"after": 0.9, "base": 1.0})
    verdict = judge(report(held), kind="fresh", first=False, expect_fresh=False)
    assert not verdict.promoted and "could not be compared" in verdict.why
    assert not judge(report(SegmentScores()), kind="fresh", first=True).promoted


def test_another_base_is_held_against_what_the_active_pair_scored_on_the_same_entries() -> None:
    rng = np.random.default_rng(11)
    held = segments(rng, 24, 1, {"after": 0.8, "base": 0.9})
    old = segments(np.random.default_rng(11), 24, 2, {"after": 1.0})
    recorded = {"before": old}
    assert judge(
        report(held), kind="fresh", first=False, expect_fresh=False, recorded=recorded
    ).promoted
    worse = segments(np.random.default_rng(11), 24, 2, {"after": 0.7})
    assert not judge(
        report(held), kind="fresh", first=False, expect_fresh=False, recorded={"before": worse}
    ).promoted


def test_another_base_is_held_against_a_first_voice_that_was_scored_on_a_sample() -> None:
    """Eight of its 28 entries, a segment each, are compared with the same entries; of another
    vault's entries none is."""
    held = segments(np.random.default_rng(5), 28, 2, {"after": 0.9, "base": 1.0}, noise=0.0)
    few = [at for at in range(len(held.entry)) if at < 16 and at % 2 == 0]
    sample = SegmentScores(
        [held.entry[at] for at in few],
        [held.tags[at] for at in few],
        [held.years[at] for at in few],
        [held.bytes[at] for at in few],
        {"after": [held.nats["base"][at] for at in few]},
    )

    def against(recorded: SegmentScores) -> Verdict:
        return judge(
            report(held),
            kind="fresh",
            first=False,
            expect_fresh=False,
            recorded={"before": recorded},
        )

    verdict = against(sample)
    assert verdict.promoted and "the voice before by 8 entries" in verdict.why
    verdict = against(replace(sample, entry=[f"x{at}" for at in few]))
    assert not verdict.promoted and "could not be compared" in verdict.why


def test_the_same_figures_give_the_same_verdict_in_good_time() -> None:
    rng = np.random.default_rng(12)
    big = segments(rng, 600, 1, {"after": 0.99, "before": 1.0})
    started = time.process_time()
    one = judge(report(big), kind="fresh", first=False, expect_fresh=False)
    assert time.process_time() - started < 3.0
    assert one == judge(report(big), kind="fresh", first=False, expect_fresh=False)


def test_students_quantile_is_near_the_tables() -> None:
    for freedom, value in ((5, 2.015), (9, 1.833), (23, 1.714), (100, 1.660)):
        assert _student95(freedom) == pytest.approx(value, rel=0.01)


def test_the_bound_holds_at_its_level_for_a_dozen_entries() -> None:
    """A change of exactly 0 is shown to be below 0 in about 5 % of the trials."""
    wrong = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        held = segments(rng, 12, 1, {"after": 1.0, "before": 1.0})
        a = [(n, b) for n, b in zip(held.nats["after"], held.bytes, strict=True)]
        b = [(n, s) for n, s in zip(held.nats["before"], held.bytes, strict=True)]
        found = _change(a, b)
        assert found is not None
        wrong += found.upper < 0
    assert wrong / 300 <= 0.085


def test_a_figure_just_over_its_bound_is_told_in_digits_that_show_it() -> None:
    assert (percent(0.0051, 0.005), percent(0.00502, 0.005)) == ("0.51 %", "0.502 %")
    assert (percent(0.012, 0.005), percent(0.005, 0.005), percent(-0.0004)) == (
        "1.2 %",
        "0.5 %",
        "0.04 %",
    )


def test_a_first_voice_that_a_part_was_scored_of_says_how_large_and_how_sure() -> None:
    """Nine of 28 entries: the count and the standard error; all of them: neither."""
    held = segments(np.random.default_rng(3), 9, 1, {"after": 0.9, "base": 1.0})
    part = judge(report(held, learning={"held_out_entries": 28}), kind="fresh", first=True)
    whole = judge(report(held, learning={"held_out_entries": 9}), kind="fresh", first=True)
    found = _change(*_sums(held))
    assert found is not None and part.promoted and whole.promoted
    assert f"by 9 of 28 entries it never saw, give or take {percent(found.error)} (at" in part.why
    assert "by 9 entries it never saw (at least" in whole.why
    # Two nats of 1,000 bytes each differ by 2 % at random: nine entries, 0.02 sqrt(2) / 3.
    assert 0.5 * 0.0085 < found.error < 2 * 0.0085


def test_a_first_voice_that_shows_no_gain_says_how_sure_that_is() -> None:
    held = segments(np.random.default_rng(4), 8, 1, {"after": 1.001, "base": 1.0})
    told = judge(report(held, learning={"held_out_entries": 28}), kind="fresh", first=True)
    assert not told.promoted and "8 of 28 entries it never saw, give or take" in told.why


def _sums(held: SegmentScores) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    after, base = (list(zip(held.nats[m], held.bytes, strict=True)) for m in ("after", "base"))
    return after, base
