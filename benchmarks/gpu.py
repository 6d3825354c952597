"""A graphics card: a whole round, writing, and the hotkey while it learns, in one table.

python -m benchmarks.gpu [--base FOLDER] [--words N ...] [--device cuda] [--json FILE]
For the published comparison: 2,000,000 words on a base of 124 to 135 million parameters, under 60 s
with all that a round measures, and 250,000 words on one of 0.6 thousand million. Where torch finds
no such device it says so and ends with 1. Writing is decode.py's table on that device, the hotkey
is hotkey_while_training.py's. --random LAYERS HIDDEN makes a Llama of random weights in place of a
base that can't be fetched: its speed is that of the shape.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PEBBLE, ROOT, arguments, home, keep, markdown, told
from benchmarks.scale import make_vault
from benchmarks.voice.mirrors import capture_job, settings
from vaultgpt.arithmetic import choose_device
from vaultgpt.errors import Unavailable
from vaultgpt.files import write_json
from vaultgpt.state import create_state
from vaultgpt.training.trainer import run_job

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
            job = capture_job(create_state(place / "vault"), wanted)
        write_json(place / "job.json", {**job, "out": str(place / "out")})
        began = time.monotonic()
        report = run_job(place / "job.json", lambda event: None, threading.Event(), began)
        seconds = time.monotonic() - began
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None
    return {
        "words": words,
        "tokens": report.tokens,
        "seconds": round(seconds, 1),
        "tokens_per_s": round(report.tokens_per_s),
        "scored_tokens": report.scored_tokens,
        "device": report.device,
        "peak_gb": None if peak is None else round(peak, 1),
    }


def other(name: str, *options: str) -> str:
    """What another benchmark prints, in a process of its own."""
    return told([sys.executable, "-m", f"benchmarks.{name}", *options], cwd=ROOT)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--base", type=Path, default=PEBBLE)
    parser.add_argument("--random", type=int, nargs=2, metavar=("LAYERS", "HIDDEN"))
    parser.add_argument("--words", type=int, nargs="+", default=[2_000_000])
    parser.add_argument("--passes", type=float, default=3.0)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    try:
        choose_device(options.device)
    except Unavailable as error:
        raise SystemExit(f"Nothing was measured. {error}") from None
    with tempfile.TemporaryDirectory() as work:
        base = options.base
        if options.random:
            base = random_base(Path(work) / "random", *options.random)
        rounds = [a_round(base, n, options.passes, options.device) for n in options.words]
        columns = ("words", "tokens", "seconds", "tokens_per_s", "peak_gb", "device")
        print(markdown(columns, [[row[name] for name in columns] for row in rounds]), flush=True)
        written = Path(work) / "writing.json"
        common = ("--base", str(base))
        device = ("--device", options.device, "--json", str(written))
        print("\n" + other("decode", *common, *device), flush=True)
        hotkey = other("hotkey_while_training", *common)
        rows = json.loads(hotkey.splitlines()[-1])["rows"]
        later = rows["during a round"]["p90_ms"] - rows["idle"]["p90_ms"]
        print(hotkey + f"a round holds the hotkey up by {later:.0f} ms (at most {YIELDS_MS:.0f})")
        writing = json.loads(written.read_text())
        keep(options.json, {"rounds": rounds, "writing": writing, "hotkey": rows})


if __name__ == "__main__":
    main()
