"""How much less the mirror is surprised by unseen pages, beside full fine-tuning of the same base.

Held-out bits per byte of base, LoRA round and full fine-tuning on the same blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.common import markdown
from benchmarks.voice.full import full_tune
from benchmarks.voice.journals import JOURNALS, SEEDS, Journal, items
from benchmarks.voice.mirrors import bits, cut, per_byte, trained
from benchmarks.voice.rows import Case, Figures, Options, Row, interval, main, yes
from vaultgpt.training.evaluate import score

BOUND = 0.95  # of full fine-tuning's gain
# Mary MacLane after full fine-tuning at 1.5e-4, 3e-4, 6e-4, 1.2e-3: 1.472, 1.468, 1.483, 1.527 bits
# per byte by an H200; Thoreau at 3e-4 and 6e-4: 1.431, 1.439.
FULL_RATE = 3e-4
WORDS = {"thoreau": 262e3, "hawthorne": 533e3, "mixed-three-authors": 376e3}
TOKENS_PER_S = 4_500.0


def cases(options: Options) -> list[Case]:
    return [
        _case(options, name, seed, what)
        for name in JOURNALS
        for seed in SEEDS.get(name, (1,))
        for what in ("lora", "full")
    ]


def _case(options: Options, name: str, seed: int, what: str) -> Case:
    cost = WORDS.get(name, 110e3) * 0.9 * 1.35 * 3.3 / TOKENS_PER_S + 40
    measure = _lora if what == "lora" else _full
    journal = Journal(options.data / name)
    return Case(name, seed, what, cost, lambda: measure(options, journal, seed))


def _lora(options: Options, journal: Journal, seed: int) -> Figures:
    """The mirror that the benchmarks share."""
    mirror = trained(options.work, journal, seed)
    report = mirror.answer["report"]
    assert report is not None  # it was promoted
    found = cut(items(mirror.split.held))
    return {
        "words": journal.words,
        "held_words": sum(n.note.words for n in mirror.split.held),
        "base": bits(found, None),
        "after": bits(found, mirror.adapter),
        "tokens": report["tokens"],
        "round_s": report["seconds"],
        "general_base": report["bits_per_byte"]["general_base"],
        "general": report["bits_per_byte"]["general"],
        "learning": {key: report["learning"][key] for key in ("rank", "rate", "batch_tokens")},
    }


def _full(options: Options, journal: Journal, seed: int) -> Figures:
    mirror = trained(options.work, journal, seed)
    base, figures = full_tune(mirror.job, FULL_RATE)
    found = cut(items(mirror.split.held))
    after = per_byte(score(base, found), found)
    return {**figures, "base": bits(found, None), "after": after}


def _gain(figures: Figures) -> float:
    return float(figures["base"] - figures["after"])


def table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        f = row.figures
        rate, seconds = f.get("rate") or f["learning"]["rate"], f.get("round_s", f.get("train_s"))
        plain = f"{100 * (f['general'] / f['general_base'] - 1):+.1f} %" if "general" in f else ""
        gain = f"{100 * _gain(f) / f['base']:.2f} %"
        cells = [row.key, f"{f['base']:.4f}", f"{f['after']:.4f}", gain, plain, f"{rate:.2g}"]
        lines.append([*cells, f"{f['tokens']:,.0f}", f"{seconds:.0f}"])
    columns = ("row", "base", "after", "gain", "plain English", "rate", "tokens", "s")
    judged = ("journal", "LoRA's gain of full fine-tuning's", "at least 95 %")
    of_full = [_of_full(name, rows) for name in JOURNALS]
    return markdown(columns, lines) + "\n\n" + markdown(judged, of_full)


def _of_full(name: str, rows: Sequence[Row]) -> tuple[str, str, str]:
    have = {(r.seed, r.what): _gain(r.figures) for r in rows if r.journal == name}
    ratios = [
        have[seed, "lora"] / gain
        for (seed, what), gain in have.items()
        if what == "full" and (seed, "lora") in have
    ]
    if not ratios:
        return name, "", yes(None)
    mean, half = interval(ratios)
    spread = f" ± {100 * half:.1f}, {len(ratios)} seeds" if len(ratios) > 1 else ""
    return name, f"{100 * mean:.1f} %{spread}", yes(mean >= BOUND)


if __name__ == "__main__":
    raise SystemExit(main("gain", __doc__, cases, table))
