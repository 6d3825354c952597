"""A graphics card: whole rounds, writing, the hotkey while a round learns, in one table.

python -m benchmarks.gpu [--base FOLDER] [--words N ...] [--device cuda] [--json FILE]
The base is one of 124 to 135 million parameters; beside it one of 0.6 thousand million is made of
random weights, whose speed is that of the shape. Without such a device it says so and ends with 1;
where a part fails the next goes on, since such a machine is lent for minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PEBBLE, ROOT, arguments, home, keep, markdown
from benchmarks.scale import make_vault
from benchmarks.voice.mirrors import FRESH, learn, settings
from vaultgpt.arithmetic import choose_device
from vaultgpt.errors import Unavailable
from vaultgpt.options import with_option
from vaultgpt.state import create_state

WORDS_A_NOTE = 105  # of scale.py's
YIELDS_MS = 200  # by which a round may hold the first token up

Figures = dict[str, float | None]  # by unit
Row = tuple[str, Figures, str]  # what, its figures, what is asked or published


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


def a_round(base: Path, words: int, passes: float, device: str) -> Figures:
    """A first round over so many words, measuring included, as its worker does it."""
    with tempfile.TemporaryDirectory() as work:
        place = Path(work)
        make_vault(place / "vault", words // WORDS_A_NOTE)
        wanted = settings(1, base)
        for key, value in (("training.device", device), ("training.epochs", passes)):
            wanted = with_option(wanted, key, value)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with home(place / "home"):
            answer = learn(create_state(place / "vault"), wanted, FRESH)
    report = answer["report"]
    if report is None:
        raise SystemExit(answer["why"])
    found: Figures = {"s": report["seconds"], "tokens/s": report["tokens_per_s"]}
    return found | ({"GB": torch.cuda.max_memory_allocated() / 1e9} if device == "cuda" else {})


def learned(words: int, options: argparse.Namespace, work: Path) -> Iterator[Row]:
    """A round on the base."""
    asked = "60 s at 124 to 135 M on an H100 or H200"
    yield options.base.name, a_round(options.base, words, options.passes, options.device), asked


def shape(options: argparse.Namespace, work: Path) -> Iterator[Row]:
    """A round on a shape of 0.6 thousand million."""
    base = random_base(work / "0.6B", 30, 1280)
    told = a_round(base, options.words_06, options.passes, options.device)
    yield base.name, told, "MLX 2,250 tokens/s on a laptop's chip"


def other(name: str, work: Path, *words: str) -> dict[str, Any]:
    """The rows of another benchmark, in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *words, "--json", f"{work}/{name}.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {''.join(done.stderr.splitlines()[-1:])}")
    rows: dict[str, Any] = json.loads((work / f"{name}.json").read_text("utf-8"))["rows"]
    return rows


def writing(options: argparse.Namespace, work: Path) -> Iterator[Row]:
    """decode.py's: ours with CUDA graphs and op by op, transformers, vLLM where it is there."""
    rows = other("decode", work, "--base", str(options.base), "--device", options.device)
    for name, row in rows.items():
        told = {"tokens/s": row["tokens_per_s"], "ms to the first": row["first_ms"]}
        yield name, told, ""


def hotkey(options: argparse.Namespace, work: Path) -> Iterator[Row]:
    """The hotkey while a round over as many words learns."""
    make_vault(work / "vault", max(options.words) // WORDS_A_NOTE)
    words = ("--base", str(options.base), "--vault", f"{work}/vault")
    rows = other("hotkey_while_training", work, *words)
    idle, during = (rows[name]["p90"] for name in ("idle", "during a round"))
    told = {"ms idle": idle, "ms during a round": during}
    yield "nine of ten first tokens", told, f"{YIELDS_MS} ms more at most"


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
    a_round_of = "{:,} words, {:g} passes, all measured".format
    parts: dict[str, Callable[[argparse.Namespace, Path], Iterator[Row]]] = {
        a_round_of(n, options.passes): partial(learned, n) for n in options.words
    }
    if options.words_06:
        parts["0.6 B: " + a_round_of(options.words_06, options.passes)] = shape
    table: list[Row] = []
    for name, part in {**parts, "written": writing, "the hotkey": hotkey}.items():
        with tempfile.TemporaryDirectory() as work:
            try:
                found = list(part(options, Path(work)))
            except (Exception, SystemExit) as error:
                found = [("failed", {" ".join(str(error).split()): None}, "")]
        for what, figures, asked in found:
            table.append((f"{name}: {what}", figures, asked))
            print(f"{name}: {what}", _told(figures), sep=" | ", file=sys.stderr, flush=True)
    lines = [(what, _told(figures), asked) for what, figures, asked in table]
    print(markdown(("", "figures", "asked, or published"), lines))
    keep(options.json, {what: figures for what, figures, _ in table})


def _told(figures: Figures) -> str:
    return ", ".join(n if v is None else f"{v:,.1f} {n}" for n, v in figures.items())


if __name__ == "__main__":
    main()
