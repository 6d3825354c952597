"""How much less the mirror is surprised by unseen pages, beside full fine-tuning of the same base.

Held-out bits per byte of base, LoRA round and full fine-tuning on the same blocks. The full one has
its own rate, chosen by validation on the rows named "tune"; rows named "lora with" depart from the
round's defaults in one setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.voice.full import DROPOUT, full_tune
from benchmarks.voice.journals import JOURNALS, SEEDS, Journal, items
from benchmarks.voice.mirrors import bits, cut, run_captured, trained
from benchmarks.voice.rows import Bench, Case, Options, Row, interval, main, together
from vaultgpt.files import read_json
from vaultgpt.training.evaluate import LN2, score

BOUND = 0.95  # of full fine-tuning's gain
TUNED = {"mary-maclane": (1.5e-4, 3e-4, 6e-4, 1.2e-3), "thoreau": (3e-4, 6e-4)}
FULL_RATE = 3e-4  # from the tune rows
DESIGNS: dict[str, dict[str, Any]] = {
    "rank 8": {"rank": 8},
    "rank 64": {"rank": 64},
    "batches of 7000": {"batch_tokens": 7000},
    "blocks of 1024": {"block_tokens": 1024},
    "blocks of 512": {"block_tokens": 512},
    "rate 1e-3": {"learning_rate": 1e-3},
    "rate 1.4e-3": {"learning_rate": 1.4e-3},
}
LONG = 960  # tokens of a segment: a hotkey far down a long note
STRONGER = "mary-maclane"  # where full fine-tuning is tried without dropout as well, and DESIGNS
TOKENS_PER_S = 4_500.0


def cases(options: Options) -> list[Case]:
    found = []
    for name, rates in TUNED.items():
        for rate in rates:
            found.append(_case(options, name, 1, f"tune-{rate:g}", rate))
    found.append(_case(options, STRONGER, 1, "full-without-dropout", 0.0, dropout=0.0))
    for what in DESIGNS:
        found.append(_case(options, STRONGER, 1, f"lora with {what}", None))
    for name in JOURNALS:
        for seed in SEEDS.get(name, (1,)):
            found.append(_case(options, name, seed, "lora", None))
            found.append(_case(options, name, seed, "full", 0.0))
    return found


def _case(options: Options, name: str, seed: int, what: str, rate: float | None,
          dropout: float = DROPOUT) -> Case:
    words = {"thoreau": 262e3, "hawthorne": 533e3, "mixed-three-authors": 376e3}.get(name, 110e3)
    cost = words * 0.9 * 1.35 * 3.3 / TOKENS_PER_S + 40
    journal = Journal(options.data / name)

    def run() -> dict[str, Any]:
        if rate is None:
            return _lora(options, journal, seed, DESIGNS.get(what.removeprefix("lora with ")))
        return _full(options, journal, seed, rate or FULL_RATE, dropout)

    return Case(f"{name}/{seed}/{what}", seed, cost, run)


def _lora(options: Options, journal: Journal, seed: int,
          design: dict[str, Any] | None) -> dict[str, Any]:
    """The mirror that the benchmarks share, or the same round with other settings and no gate."""
    mirror = trained(options.work, journal, seed)
    if design is None:
        report, adapter = mirror.answer["report"], mirror.adapter
    else:
        job = read_json(mirror.job)
        job["settings"] |= design
        made, adapter = run_captured(job, options.work / "gain-design")
        report = made.to_json()
    notes = items(mirror.split.held)
    found, long = cut(notes), cut(notes, LONG)
    return {"words": journal.words, "held_words": sum(n.note.words for n in mirror.split.held),
            "base": bits(found, None), "after": bits(found, adapter),
            "long_base": bits(long, None), "long_after": bits(long, adapter),
            "tokens": report["tokens"], "round_s": report["seconds"],
            "tokens_per_s": report["tokens_per_s"],
            "general_base": report["bits_per_byte"]["general_base"],
            "general": report["bits_per_byte"]["general"], "learning": {
                k: report["learning"][k] for k in ("rank", "rate", "embedding_rate",
                                                   "batch_tokens", "block_tokens")}}


def _full(options: Options, journal: Journal, seed: int, rate: float,
          dropout: float) -> dict[str, Any]:
    mirror = trained(options.work, journal, seed)
    base, figures = full_tune(mirror.job, rate, dropout)
    found = cut(items(mirror.split.held))
    size = sum(s.bytes for s in found)
    return {**figures, "base": bits(found, None), "after": sum(score(base, found)) / LN2 / size}


def _gain(figures: dict[str, Any]) -> float:
    return float(figures["base"] - figures["after"])


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    by_key = {r["key"]: r for r in rows}
    have = {key: row["figures"] for key, row in by_key.items()}
    journals: dict[str, Any] = {}
    for name in JOURNALS:
        seeds = [s for s in SEEDS.get(name, (1,))
                 if together(by_key.get(f"{name}/{s}/lora"), by_key.get(f"{name}/{s}/full"))]
        if not seeds:
            continue
        ratios = [_gain(have[f"{name}/{s}/lora"]) / _gain(have[f"{name}/{s}/full"]) for s in seeds]
        mean, half = interval(ratios)
        journals[name] = {"seeds": len(seeds), "ratio": mean, "half_width": half,
                          "ratios": ratios, "bound": BOUND, "met": mean >= BOUND}
    return {"lora_of_full": journals, "without_dropout": _stronger(have)}


def _stronger(have: dict[str, Any]) -> dict[str, Any] | None:
    """LoRA's share of what full fine-tuning gains without dropout, which is the harder to reach."""
    lora = have.get(f"{STRONGER}/1/lora")
    full = have.get(f"{STRONGER}/1/full-without-dropout")
    if not lora or not full:
        return None
    ratio = _gain(lora) / _gain(full)
    return {"journal": STRONGER, "ratio": ratio, "bound": BOUND, "met": ratio >= BOUND}


def table(rows: Sequence[Row], summed: dict[str, Any]) -> str:
    lines = ["| row | base | after | gain | long segments | plain English | rate | tokens | s |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        f = row["figures"]
        rate = f.get("rate") or f["learning"]["rate"]
        long = f"{f['long_base']:.4f} -> {f['long_after']:.4f}" if "long_after" in f else ""
        plain = f"{100 * (f['general'] / f['general_base'] - 1):+.1f} %" if "general" in f else ""
        lines.append(f"| {row['key']} | {f['base']:.4f} | {f['after']:.4f} | "
                     f"{100 * _gain(f) / f['base']:.2f} % | {long} | {plain} | {rate:.2g} | "
                     f"{f['tokens']:,.0f} | "
                     f"{f.get('round_s', f.get('train_s', 0)):.0f} |")
    lines += ["", "| journal | LoRA's gain of full fine-tuning's | seeds | at least 95 % |",
              "|---|---|---|---|"]
    for name, one in summed.get("lora_of_full", {}).items():
        spread = f" ± {100 * one['half_width']:.1f}" if one["seeds"] > 1 else ""
        lines.append(f"| {name} | {100 * one['ratio']:.1f}{spread} % | {one['seeds']} | "
                     f"{'yes' if one['met'] else 'no'} |")
    if stronger := summed.get("without_dropout"):
        lines.append(f"| {stronger['journal']}, full without dropout | "
                     f"{100 * stronger['ratio']:.1f} % | 1 | "
                     f"{'yes' if stronger['met'] else 'no'} |")
    return "\n".join(lines)


BENCH = Bench("gain", __doc__.splitlines()[0], cases, summary, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
