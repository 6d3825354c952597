"""What a base costs and gives: learned and asked by the commands that a person would type.

For each base and vault: seconds to the first voice and to the full one, held-out bits per byte
before and after, memory at its highest, disk of a kept voice, tokens a second, and three unedited
texts with the same seeds. Rows go to benchmarks/results/bases.json; the table is that of
docs/bases.md, and docs/samples/ has a page of texts a base. Knows nothing about how a round works.

    python -m benchmarks.bases NAME... [--vault FOLDER ...] [--keep FOLDER] [--pages docs/samples]
"""

from __future__ import annotations

import itertools
import os
import platform
import resource
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.common import EXAMPLE, RESULTS, Person, arguments, markdown, renew, stored

ROWS = RESULTS / "bases.json"
PROMPTS = (
    ("journal", "Grey, then less grey. I went down to the Baths early and"),
    ("dream", "I am in"),
    ("poetry", "The heron"),
)
TEXTS, TOKENS = 3, 120
REPORTED = ("bits_per_byte", "tokens", "seconds", "tokens_per_s", "device")
Row = dict[str, Any]


def measure(base: str, vault: Path, place: Path) -> Row:
    """One row: the base learns a copy of the vault and writes. To be called once a process.

    The copy and its state lie in the new folder `place`, as vault/ and home/.
    """
    place.mkdir(parents=True, exist_ok=True)
    shutil.copytree(vault, place / "vault")
    person = Person(place)
    person("init", str(person.vault), "--base", base, "--no-plugin")
    began = time.monotonic()
    answer = person("train")
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9  # decimal
    # A full round that is worse than the first voice is refused, and that one writes.
    rounds = [one for one in answer.get("rounds") or [answer] if one["generation"]]
    generation = next(person.home.glob(f"vaults/*/generations/{rounds[-1]['generation']}"))
    texts = write(person, vault.name)
    return {
        "base": Path(base).name,
        "vault": vault.name,
        "first_s": round(rounds[0]["report"]["seconds"], 1),
        "all_s": round(seconds, 1),
        "rounds": [
            {
                "generation": one["generation"],
                "promoted": one["verdict"]["promoted"],
                **{key: one["report"][key] for key in REPORTED},
            }
            for one in rounds
        ],
        "peak_gb": round(peak, 2),
        "disk_mb": round(sum(p.stat().st_size for p in generation.rglob("*")) / 1e6, 1),
        "tokens_per_s": max(text.pop("tokens_per_s") or 0 for text in texts),
        "first_token_ms": min(text.pop("first_token_ms") for text in texts),
        "texts": texts,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
    }


def write(person: Person, vault: str) -> list[Row]:
    """Three texts: of the example vault after its prompts, of others from nothing, by tag."""
    asks = [(tag, text, 1) for tag, text in PROMPTS]
    if vault != EXAMPLE.name:
        counts = person("scan")["tags"]
        tags = sorted(counts, key=lambda tag: -counts[tag])[:TEXTS] or [""]
        asks = [(tags[at % len(tags)], "", 1 + at // len(tags)) for at in range(TEXTS)]
    found = []
    for tag, text, seed in asks:
        told = person(
            *("continue", "--text", text, "--tags", tag, "--length", "page"),
            *("--max-tokens", str(TOKENS), "--seed", str(seed)),
        )
        speed = {key: told[key] for key in ("tokens_per_s", "first_token_ms")}
        found.append({"tag": tag, "prompt": text, "seed": seed, "text": told["text"], **speed})
    return found


def page(base: str, rows: list[Row]) -> str:
    """What a base's voices wrote, as Markdown."""
    parts = [
        f"# What `{base}` writes, unedited",
        "Nothing was chosen or mended: every text is the first that its seed gave. Words\n"
        "before the bar were given. The copy guard was on; a text ends after "
        f"{TOKENS} tokens at\nits next good place. Written by `python -m benchmarks.bases`, "
        "with the figures of\n[choosing a base](../bases.md#measured).",
    ]
    for row in sorted(rows, key=lambda row: row["vault"] != EXAMPLE.name):
        bits = row["rounds"][-1]["bits_per_byte"]
        gain = 100 * (1 - bits["held_out"] / bits["held_out_base"])
        name = "The example vault" if row["vault"] == EXAMPLE.name else row["vault"]
        parts.append(f"## {name}\n\n{gain:.1f} % less surprised by pages that it never saw.")
        for text in row["texts"]:
            given = f"{text['prompt']} |" if text["prompt"] else ""
            parts.append(
                f"`#{text['tag']}`, seed {text['seed']}:\n\n```text\n{given}{text['text']}\n```"
            )
    return "\n\n".join(parts) + "\n"


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = []
    for row in rows:
        first, last = row["rounds"][0], row["rounds"][-1]
        bits = last["bits_per_byte"]
        english = bits["general"] / bits["general_base"] - 1 if bits["general"] else 0.0
        before = bits["held_out_before"] or first["bits_per_byte"]["held_out"]  # of the same pages
        held = (bits["held_out_base"], before, bits["held_out"])
        cells = [f"`{row['base']}`", row["vault"], *(f"{b:.3f}" for b in held)]
        cells += [f"{100 * english:+.1f} %", f"{row['first_s']:.0f}", f"{row['all_s']:.0f}"]
        cells += [f"{row['peak_gb']:.1f}", f"{row['disk_mb']:.0f}"]
        lines.append([*cells, f"{last['tokens_per_s']:,.0f}", f"{row['tokens_per_s']:.0f}"])
    columns = ("base", "text", "base alone", "first voice", "full", "plain English")
    costs = ("first voice, s", "both, s", "memory, GB", "disk, MB", "learns, tokens/s")
    return markdown((*columns, *costs, "writes, tokens/s"), lines)


def main() -> None:
    parser = arguments(__doc__, json_too=False)
    parser.add_argument("bases", nargs="*", help="names, folders or GGUF files")
    parser.add_argument("--vault", type=Path, action="append", help="the example vault if none")
    parser.add_argument("--keep", type=Path, help="the vaults and voices stay in this new folder")
    parser.add_argument("--pages", type=Path, help="write a page of texts a base into this folder")
    options = parser.parse_args()
    for vault, base in itertools.product(options.vault or [EXAMPLE], options.bases):
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, get_context("spawn")) as alone,
        ):
            place = (options.keep or Path(folder)) / f"{Path(base).name}-{vault.name}"
            row = alone.submit(measure, base, vault, place).result()
        renew(ROWS, row, ("base", "vault"))
        print(table([row]), flush=True)
    rows = stored(ROWS)
    if options.pages:
        options.pages.mkdir(exist_ok=True)
        for base in {row["base"] for row in rows}:
            of_base = [row for row in rows if row["base"] == base]
            (options.pages / f"{base}.md").write_text(page(base, of_base), "utf-8")
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
