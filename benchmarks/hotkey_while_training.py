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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import EXAMPLE, arguments, home, serving
from vaultgpt.settings import save_option
from vaultgpt.state import create_state
from vaultgpt.tasks.client import DaemonClient

BOUND = 1.5  # during a round, times idle


def words_of(vault: Path) -> list[str]:
    """All words of the vault's notes."""
    text = " ".join(p.read_text("utf-8", "replace") for p in sorted(vault.rglob("*.md")))
    return re.findall(r"[A-Za-z,.']+", text)


class Hotkey:
    """Asks for text as the plugin does: a stream, each time after other words."""

    def __init__(self, client: DaemonClient, words: list[str], prompt_words: int) -> None:
        self.client, self.words, self.prompt_words = client, words, prompt_words
        self.rng = random.Random(1)

    def press(self, tokens: int) -> tuple[float, float | None]:
        """Milliseconds until the first piece, as the client sees them; tokens a second."""
        at = self.rng.randrange(max(1, len(self.words) - self.prompt_words))
        prompt = " ".join(self.words[at : at + self.prompt_words])
        body = {"prompt": prompt, "max_tokens": tokens, "stream": True, "seed": 1}
        began, first, speed = time.perf_counter(), None, None
        for _, data in self.client.stream("/v1/completions", body):
            first = first or (time.perf_counter() - began) * 1000
            speed = (data.get("vaultgpt") or {}).get("tokens_per_s", speed)
        return first or float("nan"), speed

    def measure(self, presses: int, tokens: int, pause_s: float) -> dict[str, Any]:
        """Median and worst of some presses."""
        times, speeds = [], []
        for _ in range(presses):
            first, speed = self.press(tokens)
            times.append(first)
            if speed:
                speeds.append(speed)
            time.sleep(pause_s)
        times.sort()
        return {
            "first_token_ms": round(statistics.median(times), 1),
            "p90_ms": round(times[int(0.9 * (len(times) - 1))], 1),
            "worst_ms": round(times[-1], 1),
            "tokens_per_s": round(statistics.median(speeds), 1) if speeds else None,
            "presses": presses,
        }


def until(holds: Callable[[], object], else_: str, seconds: float) -> None:
    """Wait for a state; SystemExit with a sentence when it does not come."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(else_)
        time.sleep(0.1)


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
    presses = (args.presses, args.tokens, args.pause)
    with serving(state) as (supervisor, client):
        until(lambda: client.get("/v1/status")["notes"], "The vault was not read.", 60)
        hotkey = Hotkey(client, words_of(vault), args.prompt_words)
        hotkey.press(4)  # starts the worker
        hotkey.press(4)
        rows = {"idle": hotkey.measure(*presses)}
        idle_rss = supervisor.memory_info().rss
        client.post("/v1/train", {"fresh": True})
        until(lambda: learns(client), "The trainer took no step in ten minutes.", 600)
        rows["during a round"] = hotkey.measure(*presses)
        during = client.get("/v1/status")["training"]
        client.post("/v1/train/cancel", {})
        until(lambda: client.get("/v1/status")["training"] is None, "It goes on.", 60)
        rows["idle again"] = hotkey.measure(*presses)
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
    parser.add_argument("--presses", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--prompt-words", type=int, default=180)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two presses")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, home(Path(folder) / "home"):
        found = run(args, Path(folder) / "vault")
    print(f"{'':16}{'first token':>14}{'p90':>10}{'worst':>10}{'tokens/s':>10}")
    for name, row in found["rows"].items():
        print(
            f"{name:16}{row['first_token_ms']:>11.1f} ms{row['p90_ms']:>7.0f} ms"
            f"{row['worst_ms']:>7.0f} ms{row['tokens_per_s'] or 0:>10.1f}"
        )
    print(f"ratio {found['ratio']:.2f} (at most {BOUND})")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
