"""Does a training round make the hotkey wait? Time to first token, idle and during a real round.

Everything is real: a daemon process, its mirror worker, its trainer at the lowest priority, HTTP.
Run it on a machine that does nothing else:

    python -m benchmarks.hotkey_while_training [--base ID] [--vault FOLDER] [--json FILE]
"""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    EXAMPLE,
    arguments,
    first_text,
    home,
    keep,
    markdown,
    prose,
    serving,
    until,
)
from vaultgpt.settings import save_option
from vaultgpt.state import create_state
from vaultgpt.tasks.client import DaemonClient

BOUND = 1.5  # during a round, times idle
COLUMNS = ("first token, ms", "p90", "worst", "tokens/s")
PRESSES, TOKENS, PROMPT_WORDS, PAUSE_S = 30, 24, 180, 0.2


class Hotkey:
    """Asks for text as the plugin does: a stream, each time after other words."""

    def __init__(self, client: DaemonClient, words: list[str]) -> None:
        self.client, self.words, self.rng = client, words, random.Random(1)

    def press(self, tokens: int = TOKENS) -> tuple[float, float]:
        """Milliseconds until the first piece, as the client sees them; tokens a second."""
        at = self.rng.randrange(max(1, len(self.words) - PROMPT_WORDS))
        prompt = " ".join(self.words[at : at + PROMPT_WORDS])
        seconds, told = first_text(self.client, {"prompt": prompt, "max_tokens": tokens, "seed": 1})
        time.sleep(PAUSE_S)
        return seconds * 1000, told.get("tokens_per_s") or np.nan

    def measure(self) -> dict[str, float]:
        """Of some presses: median, ninth tenth and worst of the first token in ms; tokens/s."""
        times, speeds = zip(*(self.press() for _ in range(PRESSES)), strict=True)
        figures = *np.percentile(times, [50, 90, 100]), np.nanmedian(speeds)
        return dict(zip(COLUMNS, map(float, figures), strict=True))


def learns(client: DaemonClient) -> bool:
    """Whether the round's trainer takes steps."""
    training = client.get("/v1/status")["training"]
    if training is None:
        raise SystemExit("The round ended before it could be measured: give a larger --vault.")
    return training.get("phase") == "train" and bool(training.get("step"))


def run(base: str, source: Path, vault: Path) -> dict[str, Any]:
    """Measure and print a table; all figures."""
    shutil.copytree(source, vault)
    state = create_state(vault)
    save_option(state.config, "training.pause", True)
    save_option(state.config, "training.first_round_s", 3600)
    save_option(state.config, "base", base)
    with serving(state) as (supervisor, client):
        until(lambda: client.get("/v1/status")["notes"], "The vault was not read.", 60)
        hotkey = Hotkey(client, re.findall(r"[A-Za-z,.']+", " ".join(prose(vault))))
        hotkey.press(4)  # starts the worker
        hotkey.press(4)
        idle, idle_mb = hotkey.measure(), supervisor.memory_info().rss / 2**20
        client.post("/v1/train", {"fresh": True})
        until(lambda: learns(client), "The trainer took no step in ten minutes.", 600)
        during = hotkey.measure()
        training = client.get("/v1/status")["training"]
        client.post("/v1/train/cancel", {})
        until(lambda: client.get("/v1/status")["training"] is None, "It goes on.", 60)
        again = hotkey.measure()
    rows = {"idle": idle, "during a round": during, "idle again": again}
    lines = [(name, *(f"{n:.1f}" for n in row.values())) for name, row in rows.items()]
    print(markdown(("", *COLUMNS), lines))
    # Other programs come and go: the faster of the two idle runs is the harder measure.
    ratio = during[COLUMNS[0]] / min(idle[COLUMNS[0]], again[COLUMNS[0]])
    print(f"ratio {ratio:.2f} (at most {BOUND})")
    learned = f"{training['tokens_per_s']:.0f} tokens/s" if training else "ended meanwhile"
    print(f"round: {learned}; daemon: {idle_mb:.1f} MB; load: {os.getloadavg()[0]:.1f}")
    return {"base": base, "rows": rows, "ratio": ratio, "round": learned, "daemon_mb": idle_mb}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--vault", type=Path, default=EXAMPLE)
    parser.add_argument("--base", default="pebble")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, home(Path(folder) / "home"):
        keep(args.json, run(args.base, args.vault, Path(folder) / "vault"))


if __name__ == "__main__":
    main()
