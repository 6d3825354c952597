"""What a base costs and gives: learned and asked by the commands that a person would type.

For each base and vault: seconds to the first voice and to the full one, held-out bits per byte
before and after, memory at its highest, disk of a kept voice, tokens a second, and three unedited
texts with the same seeds. Rows go to benchmarks/results/bases.json; the table is that of
docs/bases.md. Knows nothing about how a round works.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "vault"
RESULTS = ROOT / "benchmarks" / "results" / "bases.json"
PROMPTS = (
    ("journal", "Grey, then less grey. I went down to the Baths early and"),
    ("dream", "I am in"),
    ("poetry", "The heron"),
)
Row = dict[str, Any]


class _Person:
    """Runs `vaultgpt` with a state of its own; knows the most memory that a command took."""

    def __init__(self, place: Path) -> None:
        self.vault = place / "vault"
        home = place / "home"
        home.mkdir(mode=0o700)
        self._environment = {**os.environ, "VAULTGPT_HOME": str(home)}
        self.home = home

    def __call__(self, *words: str) -> dict[str, Any]:
        """The JSON that a command prints; SystemExit with its own sentence when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "vaultgpt", *words],
            env=self._environment,
            cwd=self.vault,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"vaultgpt {' '.join(words[:2])}: {done.stderr.strip()[-400:]}")
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer


def measure(base: str, vault: Path, keep: Path | None = None) -> Row:
    """One row: the base learns a copy of the vault and writes. To be called once a process.

    The copy and its state stay in `keep`, as vault/ and home/, for other benchmarks to read.
    """
    with contextlib.ExitStack() as stack:
        place = keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        shutil.copytree(vault, place / "vault")
        person = _Person(place)
        person("init", str(person.vault), "--base", base, "--no-plugin", "--json")
        began = time.monotonic()
        answer = person("train", "--json")
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        rounds = answer.get("rounds") or [answer]
        writes = [
            person(
                *("continue", "--text", text, "--tags", tag, "--length", "page"),
                *("--max-tokens", "120", "--seed", "1", "--json"),
            )
            for tag, text in PROMPTS
        ]
        generation = next(person.home.glob(f"vaults/*/generations/{answer['generation']}"))
        disk = sum(p.stat().st_size for p in generation.rglob("*") if p.is_file()) / 1e6
    return {
        "base": Path(base).name,
        "vault": vault.name,
        "first_s": round(rounds[0]["report"]["seconds"], 1),
        "all_s": round(seconds, 1),
        "rounds": [_figures(one) for one in rounds],
        "peak_gb": round(peak, 2),
        "disk_mb": round(disk, 1),
        "tokens_per_s": max(w["tokens_per_s"] or 0 for w in writes),
        "first_token_ms": min(w["first_token_ms"] for w in writes),
        "texts": [
            {"tag": tag, "prompt": text, "text": w["text"]}
            for (tag, text), w in zip(PROMPTS, writes, strict=True)
        ],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
    }


def _figures(one: dict[str, Any]) -> Row:
    report = one["report"]
    return {
        "generation": one["generation"],
        "promoted": one["verdict"]["promoted"],
        "bits_per_byte": report["bits_per_byte"],
        "tokens": report["tokens"],
        "seconds": round(report["seconds"], 1),
        "tokens_per_s": round(report["tokens_per_s"], 1),
        "device": report["device"],
    }


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| base | text | base alone | first voice | full | plain English | first voice, s "
        "| both, s | memory, GB | disk, MB | learns, tokens/s | writes, tokens/s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        first, last = row["rounds"][0], row["rounds"][-1]
        bits = last["bits_per_byte"]
        english = bits["general"] / bits["general_base"] - 1 if bits["general"] else 0.0
        lines.append(
            f"| `{row['base']}` | {row['vault']} | {bits['held_out_base']:.3f} "
            f"| {first['bits_per_byte']['held_out']:.3f} | {bits['held_out']:.3f} "
            f"| {100 * english:+.1f} % | {row['first_s']:.0f} | {row['all_s']:.0f} "
            f"| {row['peak_gb']:.1f} | {row['disk_mb']:.0f} | {last['tokens_per_s']:,.0f} "
            f"| {row['tokens_per_s']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bases", nargs="+", help="names, folders or GGUF files")
    parser.add_argument("--vault", type=Path, action="append", help="the example vault if none")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--keep", type=Path, help="the vaults and voices stay in this new folder")
    options = parser.parse_args()
    rows: list[Row] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else []
    for vault in options.vault or [EXAMPLE]:
        for base in options.bases:
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                keep = options.keep and options.keep / f"{Path(base).name}-{vault.name}"
                row = alone.submit(measure, base, vault, keep).result()
            same = (row["base"], row["vault"])
            rows = [r for r in rows if (r["base"], r["vault"]) != same] + [row]
            options.out.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
            print(table([row]), flush=True)
            for text in row["texts"]:
                print(f"\n#{text['tag']}: {text['prompt']} |{text['text']}", flush=True)
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
