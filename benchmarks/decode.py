"""Decoding speed of the engine beside transformers.generate, on the same weights in one run.

python benchmarks/decode.py [--base FOLDER] [--tokens N] [--prompt N] [--threads N] [--json FILE]
Without --base: the embedded base. --shape gpt2 makes a random GPT-2 124M beside --tokenizer.
Each figure is the best of --runs, since other programs only ever slow it down.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vaultgpt import config
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.mirror.engine import Engine
from vaultgpt.wire import Prompt, Sampling, Usage

ROOT = Path(__file__).resolve().parents[1]
FULL = Sampling(guard=True)
BARE = Sampling(temperature=0, dry_multiplier=0, guard=False, heal=False)
SEED_TEXT = ("In the morning we walked along the river and talked of the year that had gone. "
             "The light was low, and nobody had yet come down to the water. ")


def made_gpt2(folder: Path, tokenizer: Path) -> Path:
    """A random GPT-2 of 124 M parameters in `folder`."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((tokenizer / name).read_bytes())
    return folder


def one(engine: Engine, prompt: Prompt) -> tuple[float, float, int]:
    """(first token ms, tokens/s of one sequence, tokens), from a cold prefix."""
    engine.prefixes.clear()
    usage = None
    for said in engine.generate(prompt, lambda: False):
        usage = said if isinstance(said, Usage) else usage
    assert usage is not None
    return usage.first_token_ms, usage.tokens_per_s or 0.0, usage.tokens


def best(rows: list[tuple[float, float, int]]) -> dict[str, float]:
    """The fastest of several runs."""
    return {"first_token_ms": min(r[0] for r in rows), "tokens_per_s": max(r[1] for r in rows)}


def transformers_rows(base: Path, ids: list[int], tokens: int, dtype: torch.dtype,
                      runs: int) -> dict[str, float]:
    """transformers.generate: greedy, cached, its own defaults otherwise."""
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()
    given = torch.tensor([ids])
    options: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None,
                               "attention_mask": torch.ones_like(given)}
    rows = []
    for _ in range(runs):
        begin = time.perf_counter()
        net.generate(given, max_new_tokens=1, **options)
        first = time.perf_counter() - begin
        begin = time.perf_counter()
        net.generate(given, max_new_tokens=tokens, **options)
        rest = time.perf_counter() - begin - first
        rows.append((first * 1000, (tokens - 1) / rest, tokens))
    return best(rows)


def measure(base: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Every line of the table."""
    out: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as runs:
        index = RunIndex(Path(runs), b"benchmark key 16")
        index.add([SEED_TEXT * 50])
        for dtype in args.dtypes.split(","):
            engine = Engine(config.Mirror(device=args.device, dtype=dtype), index.load())
            engine.load(base)
            ids = engine.vocabulary.encode(SEED_TEXT * 40)[: args.prompt]
            text = engine.vocabulary.bytes_of(ids).decode("utf-8", "ignore")
            prompt = Prompt(text=text, length="tokens", max_tokens=args.tokens, seed=1,
                            sampling=FULL)
            plans = {
                "greedy, nothing else": replace(prompt, sampling=BARE),
                "all sampling, guard off": replace(prompt, sampling=replace(FULL, guard=False)),
                "all sampling, guard on": prompt,
                "all, 4 alternatives": replace(prompt, n=4),
            }
            rows: dict[str, list[tuple[float, float, int]]] = {name: [] for name in plans}
            one(engine, replace(prompt, max_tokens=8))
            for _ in range(args.runs):  # interleaved, so that noise falls on all alike
                for name, plan in plans.items():
                    rows[name].append(one(engine, plan))
            for name, found in rows.items():
                out[f"vaultgpt {engine.dtype}: {name}"] = best(found)
    if not args.no_transformers:
        for kind in (torch.float32, torch.bfloat16):
            name = f"transformers {str(kind).removeprefix('torch.')}: greedy"
            out[name] = transformers_rows(base, [0, *ids], args.tokens, kind, args.runs)
    return out


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--base", type=Path, default=ROOT / "vaultgpt" / "pebble")
    parser.add_argument("--shape", choices=["gpt2"], help="random weights instead of --base")
    parser.add_argument("--tokenizer", type=Path, help="folder of vocab.json and merges.txt")
    parser.add_argument("--dtypes", default="auto", help="comma-separated: auto,float32,int8,...")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tokens", type=int, default=128, help="tokens written")
    parser.add_argument("--prompt", type=int, default=300, help="tokens of the prompt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-transformers", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        base = args.base
        if args.shape:
            if args.tokenizer is None:
                parser.error("--shape needs --tokenizer")
            base = made_gpt2(Path(folder), args.tokenizer)
        rows = measure(base, args)
    print(f"{'':48} {'tokens/s':>9} {'first ms':>9}   prompt {args.prompt}, {args.threads} threads")
    for name, row in rows.items():
        print(f"{name:48} {row['tokens_per_s']:9.1f} {row['first_token_ms']:9.1f}")
    if args.json:
        args.json.write_text(json.dumps({"prompt": args.prompt, "threads": args.threads,
                                         "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
