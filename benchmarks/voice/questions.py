"""Are the mirror's questions real ones? 100 a journal after different beginnings of unseen notes.

Real: ends in its only question mark, opens with a capital, 5 to 30 words, no 8-word run of the
vault, not in the prompt; an empty answer is a failure. Timed beside plain text, in turns.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.voice.copied import Standing, words_of
from benchmarks.voice.journals import Journal, items
from benchmarks.voice.mirrors import learned_text, open_engine, trained, write
from benchmarks.voice.pieces import Opening, beginnings
from benchmarks.voice.rows import Bench, Case, Options, Row, main, writing
from vaultgpt.mirror.engine import Engine
from vaultgpt.wire import Prompt

JOURNALS, SEED = ("thoreau", "mary-maclane", "hawthorne"), 1
ASKED = 100
LEAST_WORDS, MOST_WORDS, COPY_WORDS = 5, 30, 8
REAL_BOUND, TIME_BOUND = 0.9, 3.0
FORMS = ("question", "sentence", "paragraph")


def cases(options: Options) -> list[Case]:
    def case(name: str) -> Case:
        return Case(f"{name}/{SEED}", SEED, 150.0, lambda: _measure(options, name),
                    writes=writing())

    return [case(name) for name in JOURNALS]


def _measure(options: Options, name: str) -> dict[str, Any]:
    mirror = trained(options.work, Journal(options.data / name), SEED)
    vault = Standing(learned_text(mirror))
    engine = open_engine(mirror)
    places = beginnings(items(mirror.split.held), ASKED, SEED)
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    faults: Counter[str] = Counter()
    words, openings = [], []
    for number, place in enumerate(places):
        for turn in range(len(FORMS)):
            form = FORMS[(turn + number) % len(FORMS)]
            text, took = _asked(engine, place, form, number)
            seconds[form].append(took)
            if form == "question":
                faults[fault(text, place.text, vault) or "real"] += 1
                words.append(len(text.split()))
                openings.append(" ".join(text.split()[:3]).lower())
    return {
        "asked": len(places),
        "real": faults.pop("real", 0),
        "faults": dict(faults),
        "median_words": statistics.median(words),
        "different_openings": len(set(openings)),
        **{f"{form}_s": statistics.median(took) for form, took in seconds.items()},
    }


def _asked(engine: Engine, place: Opening, form: str, seed: int) -> tuple[str, float]:
    """(text, seconds of the whole request), from a cold prefix."""
    engine.prefixes.clear()
    prompt = Prompt(
        place.text,
        place.tags,
        place.date,
        seed=seed,
        form="question" if form == "question" else "text",
        length="sentence" if form == "sentence" else "paragraph",
    )
    began = time.perf_counter()
    text = write(engine, prompt)[0]
    return text.strip(), time.perf_counter() - began


def fault(text: str, before: str, vault: Standing) -> str | None:
    """Why this is no real question of the mirror's own; None when it is one."""
    if not text:
        return "empty"
    if not text.endswith("?") or text.count("?") != 1:
        return "no single question mark at its end"
    if not text.lstrip("\"'“‘")[:1].isupper():
        return "no capital"
    words = [w for _, w in words_of(text)]
    if not LEAST_WORDS <= len(words) <= MOST_WORDS:
        return "length"
    if f" {' '.join(words)} " in f" {' '.join(w for _, w in words_of(before))} ":
        return "stands in the prompt"
    if vault.shared(text, COPY_WORDS)[1]:
        return "copied"
    return None


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    got = [r["figures"] for r in rows]
    asked, real = sum(f["asked"] for f in got), sum(f["real"] for f in got)
    found: dict[str, Any] = {
        "real": {
            "figure": real / max(1, asked),
            "of": asked,
            "bound": REAL_BOUND,
            "met": asked > 0 and real / asked >= REAL_BOUND,
            "each": {r["key"]: r["figures"]["real"] / max(1, r["figures"]["asked"]) for r in rows},
        }
    }
    for plain in FORMS[1:]:
        worst = max(f["question_s"] / f[f"{plain}_s"] for f in got)
        found[f"time_of_a_{plain}"] = {
            "figure": worst,
            "bound": TIME_BOUND,
            "met": worst <= TIME_BOUND,
        }
    return found


def table(rows: Sequence[Row], summed: dict[str, Any]) -> str:
    lines = [
        "| journal | asked | real | question | a sentence of plain text | a paragraph | "
        "words | faults |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        f = row["figures"]
        faults = ", ".join(f"{k}: {v}" for k, v in sorted(f["faults"].items())) or "none"
        times = " | ".join(f"{1000 * f[f'{form}_s']:.0f} ms" for form in FORMS)
        lines.append(
            f"| {row['key']} | {f['asked']} | {f['real']} | {times} | "
            f"{f['median_words']:.0f} | {faults} |"
        )
    real = summed["real"]
    lines += [
        "",
        f"Real: {100 * real['figure']:.1f} % of {real['of']}, bound "
        f"{100 * REAL_BOUND:.0f} %: {'met' if real['met'] else 'not met'}.",
    ]
    for plain in FORMS[1:]:
        one = summed[f"time_of_a_{plain}"]
        lines.append(
            f"At most {one['figure']:.2f} times as long as a {plain} of plain text, bound "
            f"{TIME_BOUND:.0f}: {'met' if one['met'] else 'not met'}."
        )
    return "\n".join(lines)


BENCH = Bench("questions", __doc__.splitlines()[0], cases, summary, table)

if __name__ == "__main__":
    raise SystemExit(main(BENCH))
