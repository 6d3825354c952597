"""Does a training round make the hotkey wait? Time to first token, idle and during a real round.

Everything is real: a daemon process, its mirror worker, its trainer at the lowest priority, HTTP.
Run it on a machine that does nothing else:

    python -m benchmarks.hotkey_while_training [--base ID]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import EXAMPLE, arguments, home, markdown, prose, serving, until
from vaultgpt.settings import save_option
from vaultgpt.state import create_state
from vaultgpt.tasks.client import DaemonClient

BOUND = 1.5  # during a round, times idle
PRESSES, TOKENS, PROMPT_WORDS, PAUSE_S = 30, 24, 180, 0.2


class Hotkey:
    """Asks for text as the plugin does: a stream, each time after other words."""

    def __init__(self, client: DaemonClient, words: list[str]) -> None:
        self.client, self.words, self.rng = client, words, random.Random(1)

    def press(self, tokens: int = TOKENS) -> tuple[float, float | None]:
        """Milliseconds until the first piece, as the client sees them; tokens a second."""
        at = self.rng.randrange(max(1, len(self.words) - PROMPT_WORDS))
        prompt = " ".join(self.words[at : at + PROMPT_WORDS])
        body = {"prompt": prompt, "max_tokens": tokens, "stream": True, "seed": 1}
        began, first, speed = time.perf_counter(), None, None
        for _, data in self.client.stream("/v1/completions", body):
            first = first or (time.perf_counter() - began) * 1000
            speed = (data.get("vaultgpt") or {}).get("tokens_per_s", speed)
        return first or float("nan"), speed

    def measure(self) -> dict[str, Any]:
        """Median and worst of some presses."""
        times, speeds = [], []
        for _ in range(PRESSES):
            first, speed = self.press()
            times.append(first)
            if speed:
                speeds.append(speed)
            time.sleep(PAUSE_S)
        times.sort()
        return {
            "first_token_ms": round(statistics.median(times), 1),
            "p90_ms": round(times[int(0.9 * (len(times) - 1))], 1),
            "worst_ms": round(times[-1], 1),
            "tokens_per_s": round(statistics.median(speeds), 1) if speeds else None,
        }


def learns(client: DaemonClient) -> bool:
    """Whether the round's trainer takes steps."""
    training = client.get("/v1/status")["training"]
    if training is None:
        raise SystemExit("The round ended before it could be measured: give a larger --vault.")
    return training.get("phase") == "train" and bool(training.get("step"))


def run(args: argparse.Namespace, vault: Path) -> dict[str, Any]:
    """All the figures."""
    shutil.copytree(args.vault, vault)
    state = create_state(vault)
    for key, value in (
        ("training.pause", True),
        ("base", args.base),
        ("training.first_round_s", 3600),
    ):
        save_option(state.config, key, value)
    with serving(state) as (supervisor, client):
        until(lambda: client.get("/v1/status")["notes"], "The vault was not read.", 60)
        hotkey = Hotkey(client, re.findall(r"[A-Za-z,.']+", " ".join(prose(vault))))
        hotkey.press(4)  # starts the worker
        hotkey.press(4)
        rows = {"idle": hotkey.measure()}
        idle_rss = supervisor.memory_info().rss
        client.post("/v1/train", {"fresh": True})
        until(lambda: learns(client), "The trainer took no step in ten minutes.", 600)
        rows["during a round"] = hotkey.measure()
        during = client.get("/v1/status")["training"]
        client.post("/v1/train/cancel", {})
        until(lambda: client.get("/v1/status")["training"] is None, "It goes on.", 60)
        rows["idle again"] = hotkey.measure()
    # Other programs come and go: the faster of the two idle runs is the harder measure.
    idle_ms = min(rows["idle"]["first_token_ms"], rows["idle again"]["first_token_ms"])
    return {
        "base": args.base,
        "rows": rows,
        "ratio": round(rows["during a round"]["first_token_ms"] / idle_ms, 2),
        "still_training": during is not None,
        "trainer_tokens_per_s": (during or {}).get("tokens_per_s"),
        "supervisor_mb": round(idle_rss / 2**20, 1),
        "cores": psutil.cpu_count(logical=False),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def main() -> None:
    """Measure and print a table and one JSON object."""
    parser = arguments(__doc__, json_too=False)
    parser.add_argument("--vault", type=Path, default=EXAMPLE)
    parser.add_argument("--base", default="pebble")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, home(Path(folder) / "home"):
        found = run(args, Path(folder) / "vault")
    columns = ("", "first token, ms", "p90", "worst", "tokens/s")
    print(markdown(columns, [(name, *row.values()) for name, row in found["rows"].items()]))
    print(f"ratio {found['ratio']:.2f} (at most {BOUND})")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
