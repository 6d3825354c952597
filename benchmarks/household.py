"""What do many vaults of one machine take, and does one that never pauses hold up the others?

    python -m benchmarks.household [--vaults 20] [--base pebble] [--seconds 20]

Vaults of 24 notes with a voice each (one is trained, and published under every vault) are served by
`serve --all`, first each with an engine of its own, then all in one. Printed: the memory of daemons
and engines once all wrote (PSS, so that what processes share is shared out), how long a vault waits
for its first token while another asks without a pause, and what each of them gets when all do;
first of all the processor time of a token in either way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.scale import make_vault
from vaultgpt.bases.names import resolve
from vaultgpt.errors import VaultGPTError
from vaultgpt.generation_folders import publish
from vaultgpt.ledger import GenerationRow, Ledger
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.client import DaemonClient, find_daemon

NOTES, FLOODERS = 24, 3
TURNS = 4  # of those whose costs are compared
HOTKEY = {"prompt": "The heron stood", "max_tokens": 24, "vaultgpt": {"length": "tokens"}}
PAGE = {"prompt": "I am in a house that", "max_tokens": 200, "vaultgpt": {"length": "tokens"}}
ENGINES = ("vaultgpt.mirror.mirror_worker", "vaultgpt.mirror.sharing")


def set_up(home: Path, count: int, base: str) -> list[VaultState]:
    """`count` vaults; the first one's voice is published under all of them."""
    states = []
    for number in range(count):
        vault = home / f"vault {number:02d}"
        make_vault(vault, NOTES, seed=number + 1)
        state = create_state(vault)
        for key, value in (("base", base), ("training.pause", True)):
            save_option(state.config, key, value)
        states.append(state)
    first = states[0]
    save_option(first.config, "training.first_round_s", 40)
    command = [sys.executable, "-m", "vaultgpt", "train", str(first.vault), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if (voice := next(first.generations.glob("g*"), None)) is None:
        raise SystemExit("The gate refused the first voice: this machine is too busy.")
    for state in states:
        _give(state, voice, base)
    return states


def _give(state: VaultState, voice: Path, base: str) -> None:
    """Publish the voice under this vault too, and let it write."""
    manifest = json.loads((voice / "manifest.json").read_text())
    found, now = resolve(base, state), time.time()
    with tempfile.TemporaryDirectory(dir=state.folder) as folder:
        staged = Path(folder) / "staged"
        shutil.copytree(voice, staged, ignore=shutil.ignore_patterns("manifest.json"))
        name = publish(staged, state, manifest)
    with Ledger.open(state) as ledger:
        ends = (now, True, "kept", 16, True, 0)
        row = GenerationRow(name, 9, "fresh", None, found.name, found.sha256, *ends)
        ledger.generations.add(row, [])
        ledger.generations.activate(name, now)


def pss_mb(pid: int) -> float:
    """A process's memory, with its part of what it shares."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss:\s+(\d+)", rollup, re.M)[0]) / 1024


class Flood:
    """Clients that ask one vault without a pause, until the block ends."""

    def __init__(self, clients: list[DaemonClient], **body: Any) -> None:
        self.tokens, self.failures, self._over = [0] * len(clients), 0, False
        self._threads = [
            threading.Thread(target=self._go_on, args=(client, i, body), daemon=True)
            for i, client in enumerate(clients)
        ]

    def _go_on(self, client: DaemonClient, number: int, body: dict[str, Any]) -> None:
        while not self._over:
            try:
                usage = client.post("/v1/completions", body)["usage"]
            except VaultGPTError:
                self.failures += 1
                time.sleep(0.1)
            else:
                self.tokens[number] += 0 if self._over else usage["completion_tokens"]

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for thread in self._threads:
            thread.join()


def waits_ms(client: DaemonClient, seconds: float) -> list[float]:
    """Until the first token, of hotkeys one after the other."""
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        found.append(client.post("/v1/completions", HOTKEY)["vaultgpt"]["first_token_ms"])
        time.sleep(0.3)
    return found


def costs_ms(client: DaemonClient, seconds: float) -> tuple[float, float]:
    """Processor time of a token, and of 256 tokens of prompts that no cache holds: what else the
    machine does counts little in it."""
    engine = psutil.Process(client.get("/v1/status")["worker"]["pid"])
    found = []
    for part, body in (("completion_tokens", PAGE), ("prompt_tokens", {**PAGE, "max_tokens": 1})):
        tokens, number, end = 0, 0, time.monotonic() + seconds / 2
        began = sum(engine.cpu_times()[:2])
        while time.monotonic() < end or not number:
            number += 1
            if part == "prompt_tokens":
                text = f"On day {time.monotonic_ns()} I saw {number} herons by the river. "
                body = {**body, "prompt": text * 14}
            tokens += client.post("/v1/completions", {**body, "seed": number})["usage"][part]
        found.append((sum(engine.cpu_times()[:2]) - began) * 1e3 / tokens)
    return found[0], found[1] * 256


def prices(states: list[VaultState], seconds: float) -> dict[str, list[tuple[float, float]]]:
    """What a token and a prompt cost in turns: in a process of its own, in the shared engine alone,
    and there once another vault has written."""
    for number, state in enumerate(states[:3]):
        save_option(state.config, "mirror.shared", number > 0)
    found: dict[str, list[tuple[float, float]]] = {}
    with serving(states[:3]) as (_, (own, shared, other)):
        for client in (own, shared):
            client.post("/v1/completions", HOTKEY)
        for pair in (("own", "alone"), ("own too", "beside")):
            for _ in range(TURNS):
                for name, client in zip(pair, (own, shared), strict=True):
                    found.setdefault(name, []).append(costs_ms(client, seconds / TURNS))
            other.post("/v1/completions", HOTKEY)
    return found


@contextlib.contextmanager
def serving(states: list[VaultState]) -> Iterator[tuple[psutil.Process, list[DaemonClient]]]:
    """`serve --all`, and its daemons once they answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultgpt", "serve", "--all"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid), [_daemon(state) for state in states]
    finally:
        process.terminate()
        process.wait(30)


def measure(states: list[VaultState], shared: bool, seconds: float) -> dict[str, Any]:
    """Figures of one `serve --all`."""
    for state in states:
        save_option(state.config, "mirror.shared", shared)
    with serving(states) as (process, clients):
        for client in clients:
            client.post("/v1/completions", HOTKEY)
        children = process.children(recursive=True)
        engines = [c.pid for c in children if any(name in c.cmdline() for name in ENGINES)]
        found: dict[str, Any] = {
            "engines": len(engines),
            "engines_mb": sum(map(pss_mb, engines)),
            "all_mb": pss_mb(process.pid) + sum(pss_mb(c.pid) for c in children),
        }
        found["quiet_ms"] = waits_ms(clients[1], seconds / 2)
        with Flood(clients[:1] * FLOODERS, **PAGE, n=4) as flood:
            time.sleep(1.0)
            found["flooded_ms"] = waits_ms(clients[1], seconds)
        found["flood_failures"] = flood.failures
        with Flood(clients, **HOTKEY) as flood:
            time.sleep(seconds)
        found["each"], found["failures"] = flood.tokens, flood.failures
        found["after_mb"] = sum(map(pss_mb, engines))
        return found


def _daemon(state: VaultState) -> DaemonClient:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if found := find_daemon(state):
            return DaemonClient(found.port, found.token, found.pid, 300)
        time.sleep(0.1)
    raise SystemExit("A daemon did not start.")


def row(name: str, found: dict[str, Any], vaults: int) -> str:
    """One line of the table."""
    quiet, flooded, each = found["quiet_ms"], found["flooded_ms"], found["each"]
    cells = [
        name,
        f"{found['engines_mb']:,.0f}",
        f"{found['engines_mb'] / vaults:.0f}",
        f"{found['after_mb']:,.0f}",
        f"{found['all_mb']:,.0f}",
        f"{statistics.median(quiet):.0f} ({max(quiet):.0f})",
        f"{statistics.median(flooded):.0f} ({max(flooded):.0f})",
        f"{min(each)} to {max(each)}, {sum(each)} in all",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vaults", type=int, default=20)
    parser.add_argument("--base", default="pebble")
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["VAULTGPT_HOME"] = str(home / "state")
        states = set_up(home, args.vaults, args.base)
        costs = prices(states, args.seconds)
        rows = {
            "an engine each": measure(states, False, args.seconds),
            "one for all": measure(states, True, args.seconds),
        }
    load = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(
        "| processor time, ms, median (least) | a token | 256 tokens of a prompt |\n|---|---|---|"
    )
    for name, each in costs.items():
        cells = [f"{statistics.median(c):.2f} ({min(c):.2f})" for c in zip(*each, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n{args.vaults} vaults on {args.base}, {load}")
    print(
        "| | engines, MB | a vault's | after all wrote pages | with the daemons | first token, ms "
        f"(worst) | beside a vault with {FLOODERS} clients | tokens each in {args.seconds:.0f} s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, found in rows.items():
        print(row(name, found, args.vaults))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
