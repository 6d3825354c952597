"""Real journals through the real commands: init, train, continue; figures and unedited samples.

    python benchmarks/journals.py --data JOURNALS --json out.json [--only thoreau,...]

JOURNALS is a folder of vaults (or VAULTGPT_DATA). Nothing of them is copied but what is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROMPTS = {
    "journal": ["", "This morning I walked"],
    "dream": ["", "I dreamed that"],
    "poetry": ["", "The wind"],
    "fiction": [""],
}


def call(home: Path, *args: str) -> Any:
    """One command's JSON; its error line ends the benchmark."""
    env = {**os.environ, "VAULTGPT_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "vaultgpt", *args, "--json"],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"`vaultgpt {args[0]}` failed with status {done.returncode}")
    return json.loads(done.stdout)


def measure(vault: Path, seed: int, options: list[str]) -> dict[str, Any]:
    """One journal: set up, trained (the first round, and the full one after a sampled first)."""
    with tempfile.TemporaryDirectory(prefix="vaultgpt-bench-") as folder:
        home = Path(folder) / "home"
        found = call(home, "init", str(vault), "--no-plugin")
        for option in options:
            call(home, "config", str(vault), *option.split("=", 1))
        started = time.monotonic()
        answer = call(home, "train", str(vault))
        seconds = time.monotonic() - started
        tags = [t for t in PROMPTS if t in found["tags"]]
        samples = [
            {
                "tag": tag,
                "prompt": text,
                **keep(
                    call(
                        home,
                        "continue",
                        str(vault),
                        "--text",
                        text,
                        "--tags",
                        tag,
                        "--seed",
                        str(seed),
                    )
                ),
            }
            for tag in tags
            for text in PROMPTS[tag]
        ]
    return {
        "vault": vault.name,
        "notes": found["notes"],
        "words": found["words"],
        "rounds": [strip(r) for r in answer.get("rounds", [answer])],
        "options": options,
        "wall_s": round(seconds, 1),
        "samples": samples,
    }


def keep(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        k: answer[k] for k in ("text", "generation", "tokens", "first_token_ms", "tokens_per_s")
    }


def strip(answer: dict[str, Any]) -> dict[str, Any]:
    """A round's figures without its per-segment arrays."""
    report = answer.get("report") or {}
    kept = {k: v for k, v in report.items() if k not in ("segments", "losses", "prequential")}
    return {
        "kind": answer["kind"],
        "verdict": answer["verdict"],
        "generation": answer["generation"],
        "report": kept,
    }


def table(results: list[dict[str, Any]]) -> str:
    """One row a round and one row a tag, in Markdown."""
    lines = [
        "| journal | round | bits per byte, base -> tuned | gain | tokens | seconds | tokens/s "
        "| promoted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for number, row in enumerate(result["rounds"], 1):
            report, bits = row["report"], row["report"]["bits_per_byte"]
            base, after = bits["held_out_base"], bits["held_out"]
            lines.append(
                f"| {result['vault']} | {number} | {base:.3f} -> {after:.3f} | "
                f"{100 * (1 - after / base):.1f} % | {report['tokens']:,} | "
                f"{report['seconds']:.0f} | "
                f"{report['tokens_per_s']:,.0f} | {'yes' if row['verdict']['promoted'] else 'no'} |"
            )
    lines += ["", "| journal | tag | base -> tuned | gain |", "|---|---|---|---|"]
    for result in results:
        for tag, bits in sorted(result["rounds"][-1]["report"]["by_tag"].items()):
            lines.append(
                f"| {result['vault']} | #{tag} | {bits['base']:.3f} -> {bits['after']:.3f} | "
                f"{100 * (1 - bits['after'] / bits['base']):.1f} % |"
            )
    return "\n".join(lines)


def samples(results: list[dict[str, Any]]) -> str:
    """The unedited continuations, in Markdown."""
    parts = []
    for result in results:
        for s in result["samples"]:
            opening = f"after “{s['prompt']}”" if s["prompt"] else "from nothing"
            quoted = "\n".join(
                f"> {line}".rstrip() for line in (s["prompt"] + s["text"]).splitlines()
            )
            parts.append(f"**{result['vault']}, #{s['tag']}**, {opening}:\n\n{quoted}\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("VAULTGPT_DATA"))
    parser.add_argument("--only", default="thoreau,mixed-three-authors")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the vaults, such as training.epochs=1",
    )
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data, a folder of journals, or set VAULTGPT_DATA")
    results = []
    for name in args.only.split(","):
        print(f"{name}: init, train, continue", file=sys.stderr)
        results.append(measure(args.data / name, args.seed, args.set))
        machine = (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        )
        args.json.write_text(
            json.dumps(
                {"machine": machine, "date": time.strftime("%Y-%m-%d"), "results": results},
                indent=1,
                ensure_ascii=False,
            )
        )
    print(table(results), "\n")
    print(samples(results))


if __name__ == "__main__":
    main()
