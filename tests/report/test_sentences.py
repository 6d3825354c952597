"""The author's sentences, word for word."""

from __future__ import annotations

from typing import cast

from tests.report.conftest import FIGURES
from vaultgpt.report.job import TagRow, VoiceFigures
from vaultgpt.report.sentences import _oldest_years, report_sentences
from vaultgpt.wire import ReportRow

VOICE = cast(VoiceFigures, FIGURES)
REPORT: ReportRow = {
    "bits_per_byte": {
        "held_out": 1.634,
        "held_out_base": 1.9,
        "general": 2.04,
        "general_base": 2.0,
    },
    "by_tag": {"dream": {"after": 1.5, "base": 1.8, "bytes": 900.0}},
    "by_year": {
        "2009": {"after": 1.6, "base": 2.0, "before": 1.616, "bytes": 400.0},
        "2010": {"after": 1.6, "base": 2.0, "before": 1.6, "bytes": 900.0},
    },
    "copying": {"share": 0.02, "author_share": 0.01, "longest": 9.0},
}


def test_every_question_of_the_author_has_its_sentence() -> None:
    assert report_sentences("g000003", REPORT, VOICE) == [
        "g000003, on pages held out from learning:",
        "14.0 % less surprised by your writing than its base (1.900 -> 1.634 bits per byte).",
        "Bits per byte: how much of each letter it could not foretell; less is better.",
        "What it writes is closer to your average page than 60 % of your own pages (between 48 and "
        "71 %; 80 of its pages, 22 of yours, 200 words each, 5 at a time).",
        "That counts words, marks and the length of sentences: a page may be close and make no "
        "sense. How well it foretells what you write is the figure above.",
        "8 of 10 texts under #dream read as #dream; of your own, 9 of 10.",
        "Under their own tags your pages surprise it 5.9 % less than under another tag, and 3.0 % "
        "less than without any.",
        "  #dream: 16.7 % less surprised than its base (1.800 -> 1.500).",
        "  2009: 20.0 % less surprised than its base (2.000 -> 1.600).",
        "  2010: 20.0 % less surprised than its base (2.000 -> 1.600).",
        "Of your oldest pages (2009): 20.0 % less surprised than its base, 1.0 % less than the "
        "voice before.",
        "It has kept 98 % of its base's plain English.",
        "With nothing to keep it from copying, its longest copy of you has 7 words, and 0.9 % of "
        "its runs of 8 words stand in your notes; of yours, 1.1 % stand in others too.",
        "But for one word of the 8: 1.4 % of its runs, and 2.0 % of yours.",
    ]


def test_without_a_measured_voice_the_round_s_figures_stand() -> None:
    lines = report_sentences("g000003", REPORT, None)
    assert not any("average page" in line or "texts under" in line for line in lines)
    assert lines[-1] == (
        "With nothing to keep it from copying, its longest copy of you has 9 words, and 2.0 % of "
        "its runs of 8 words stand in your notes; of yours, 1.0 % stand in others too."
    )


def test_what_could_not_be_judged_says_why_and_gives_no_number() -> None:
    unknown: TagRow = {"real_pieces": 4, "generated_pieces": 0, "real": None, "generated": None}
    voice: VoiceFigures = {
        **VOICE,
        "style": {**VOICE["style"], "percentile": None, "why": "Too little of it."},
        "tags": {**VOICE["tags"], "why": "Only one tag.", "tags": {"dream": unknown}},
        "headers": {**VOICE["headers"], "right": None, "wrong": None, "none": None},
        "copying": {},
    }
    assert report_sentences("g000001", {}, voice) == [
        "g000001, on pages held out from learning:",
        "Too little of it.",
        "Only one tag.",
    ]


def test_the_oldest_years_hold_a_quarter_and_never_all() -> None:
    rows = {
        "2001": {"bytes": 5.0},
        "2002": {"bytes": 30.0},
        "2003": {"bytes": 65.0},
        "undated": {"bytes": 90.0},
    }
    assert _oldest_years(rows) == ["2001", "2002"]
    assert _oldest_years({"2001": {"bytes": 5.0}, "undated": {"bytes": 9.0}}) == []
    assert _oldest_years({}) == []


def test_a_style_percentile_never_stands_without_the_figure_of_sense() -> None:
    lines = report_sentences("g000001", {}, VOICE)
    assert not any("closer to your average page" in line for line in lines)


def test_no_difference_is_said_in_words() -> None:
    bits: ReportRow = {"bits_per_byte": {"held_out": 1.9, "held_out_base": 1.9}}
    assert report_sentences("g000001", bits, None)[1].startswith(
        "Neither less nor more surprised by your writing than its base"
    )
