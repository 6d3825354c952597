"""A graphics card: a whole round, writing, and the hotkey while it learns, in one table.

python -m benchmarks.gpu [--base FOLDER] [--words N ...] [--device cuda] [--json FILE]
The base is one of 124 to 135 million parameters; beside it one of 0.6 thousand million is made of
random weights, whose speed is that of the shape. Without such a device it says so and ends with 1;
what fails is a row, the rest is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PEBBLE, ROOT, arguments, home, keep, markdown, told
from benchmarks.scale import make_vault
from benchmarks.voice.mirrors import learn, settings
from vaultgpt.arithmetic import choose_device
from vaultgpt.errors import Unavailable
from vaultgpt.state import create_state

WORDS_A_NOTE = 105  # of scale.py's
YIELDS_MS = 200.0  # by which a round may hold the first token up


def random_base(folder: Path, layers: int, hidden: int) -> Path:
    """A Llama of random weights with the embedded base's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(PEBBLE)
    shape: Any = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=8 * hidden // 3 // 64 * 64,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    net: Any = LlamaForCausalLM(shape)
    net.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def a_round(base: Path, words: int, passes: float, device: str) -> dict[str, Any]:
    """A first round over so many words, measuring included, as its worker does it."""
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        make_vault(place / "vault", words // WORDS_A_NOTE)
        with home(place / "home"):
            wanted = settings(
                base=str(base), training__device=device, training__epochs=passes, training__seed=1
            )
            state = create_state(place / "vault")
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            answer = learn(state, wanted, fresh=True)
    report = answer["report"]
    if report is None:
        raise SystemExit(answer["why"])
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None
    return {
        "words": words,
        **{key: report[key] for key in ("tokens", "device")},
        "seconds": round(report["seconds"], 1),
        "tokens_per_s": round(report["tokens_per_s"]),
        "peak_gb": None if peak is None else round(peak, 1),
    }


def other(name: str, *options: str) -> str:
    """What another benchmark prints, in a process of its own."""
    return told([sys.executable, "-m", f"benchmarks.{name}", *options], cwd=ROOT)


Row = tuple[str, str, str]  # what, its figure, what is asked or published


def rounds(base: Path, options: argparse.Namespace, found: dict[str, Any]) -> Iterator[Row]:
    """A round on the base, and one on a shape of 0.6 thousand million."""
    with tempfile.TemporaryDirectory() as work:
        jobs = [(base, n, "60 s at 124 to 135 M on an H100 or H200") for n in options.words]
        if options.words_06:
            shape = random_base(Path(work) / "0.6B", 30, 1280)
            jobs.append((shape, options.words_06, "MLX 2,250 tokens/s on a laptop's chip"))
        for folder, words, bound in jobs:
            row = a_round(folder, words, options.passes, options.device)
            found.setdefault("rounds", []).append(row)
            what = f"{words:,} words, {options.passes:g} passes, all measured: {folder.name}"
            figure = f"{row['seconds']} s, {row['tokens_per_s']:,} tokens/s, {row['peak_gb']} GB"
            yield what, figure, bound


def writing(base: Path, options: argparse.Namespace, found: dict[str, Any]) -> Iterator[Row]:
    """decode.py's table: ours with CUDA graphs and op by op, transformers with the cache that
    grows and with its static one, vLLM where it is installed."""
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "writing.json"
        other("decode", "--base", str(base), "--device", options.device, "--json", str(file))
        found["writing"] = json.loads(file.read_text())
    for name, row in found["writing"]["rows"].items():
        yield (
            f"written: {name}",
            f"{row['tokens_per_s']:.0f} tokens/s, first {row['first_ms']:.0f} ms",
            "",
        )


def hotkey(base: Path, options: argparse.Namespace, found: dict[str, Any]) -> Iterator[Row]:
    """The hotkey while a round over the same words learns."""
    with tempfile.TemporaryDirectory() as work:
        make_vault(Path(work) / "vault", max(options.words) // WORDS_A_NOTE)
        said = other("hotkey_while_training", "--base", str(base), "--vault", f"{work}/vault")
    rows = found["hotkey"] = json.loads(said.splitlines()[-1])["rows"]
    idle, during = (rows[name]["p90_ms"] for name in ("idle", "during a round"))
    yield (
        "first token, nine of ten: idle, during a round",
        f"{idle:.0f}, {during:.0f} ms",
        f"{YIELDS_MS:.0f} ms more",
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--base", type=Path, default=PEBBLE)
    parser.add_argument("--words", type=int, nargs="+", default=[2_000_000])
    parser.add_argument("--words-06", type=int, default=250_000, help="on 0.6 B; 0: none")
    parser.add_argument("--passes", type=float, default=3.0)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    try:
        choose_device(options.device)
    except Unavailable as error:
        raise SystemExit(f"Nothing was measured. {error}") from None
    found: dict[str, Any] = {}
    table: list[Row] = []
    for part in (rounds, writing, hotkey):
        try:
            for row in part(options.base, options, found):
                table.append(row)
                print(*row, sep=" | ", file=sys.stderr, flush=True)
        except (Exception, SystemExit) as error:  # a machine is lent for minutes: go on
            table.append((part.__name__, f"failed: {error}"[:200], ""))
    print(markdown(("", "figure", "asked, or published"), table))
    keep(options.json, found)


if __name__ == "__main__":
    main()
