"""A graphics card: whole rounds, then writing (decode.py) and the hotkey while a round learns.

python -m benchmarks.gpu [--base FOLDER] [--words N ...] [--device cuda]
The base is one of 124 to 135 million parameters. Without such a device it says so and ends with 1;
where a part fails the next goes on, since such a machine is lent for minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.common import PEBBLE, ROOT, arguments, home, markdown
from benchmarks.scale import make_vault
from benchmarks.voice.mirrors import FRESH, learn, settings
from vaultgpt.arithmetic import choose_device
from vaultgpt.errors import Unavailable
from vaultgpt.options import with_option
from vaultgpt.state import create_state

WORDS_A_NOTE = 105  # of scale.py's


def a_round(base: Path, words: int, passes: float, device: str) -> list[str]:
    """A first round over so many words, measuring included, as its worker does it: a row."""
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
    peak = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if device == "cuda" else ""
    return [f"{words:,}", f"{report['seconds']:.1f}", f"{report['tokens_per_s']:,.0f}", peak]


def another(name: str, *words: str) -> None:
    """Another benchmark, which prints its own table."""
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *words], cwd=ROOT, check=False)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--base", type=Path, default=PEBBLE)
    parser.add_argument("--words", type=int, nargs="+", default=[2_000_000])
    parser.add_argument("--passes", type=float, default=3.0)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    try:
        choose_device(options.device)
    except Unavailable as error:
        raise SystemExit(f"Nothing was measured. {error}") from None
    rows = []
    for words in options.words:
        try:
            rows.append(a_round(options.base, words, options.passes, options.device))
        except (Exception, SystemExit) as error:
            rows.append([f"{words:,}", f"failed: {error}", "", ""])
    columns = (f"words, {options.passes:g} passes", "s, all measured", "tokens/s", "peak, GB")
    print(markdown(columns, rows), "asked: 60 s on an H100 or H200\n", sep="\n", flush=True)
    base = ("--base", str(options.base))
    another("decode", *base, "--device", options.device)
    with tempfile.TemporaryDirectory() as work:
        make_vault(Path(work) / "vault", max(options.words) // WORDS_A_NOTE)
        another("hotkey_while_training", *base, "--vault", f"{work}/vault")


if __name__ == "__main__":
    main()
