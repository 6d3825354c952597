"""Does a voice take over while requests never cease? One daemon, new voices, busy clients.

    python -m benchmarks.swap KEPT [--swaps 6] [--clients 3]

KEPT holds vault/ and home/ as `python -m benchmarks.bases --keep` leaves them; a vault with one
voice learns a second one first. Each change is to a voice that no process has seen: a copy of one
of the two, in turns, published as a round would, for the engine keeps the last three. Each client
asks the same seeded question over and over. Printed: seconds from the wish for the new voice until
the daemon has it, and until a client has its first text; how many requests failed; and how many
texts were not what the voice that they name writes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vaultgpt import generations
from vaultgpt.errors import VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState, find_state
from vaultgpt.tasks.client import DaemonClient, find_daemon

PROMPTS = ("Grey, then less grey. I went", "I am in a house that", "The heron stood")
PAUSE_S = 4.0  # between two swaps


@dataclass
class Load:
    """What the clients were told: per answer its end, its client, its voice and its text."""

    answers: list[tuple[float, int, str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    over: bool = False

    def ask(self, client: DaemonClient, number: int) -> tuple[str, str]:
        """The voice and the text of one seeded answer."""
        body = {
            "prompt": PROMPTS[number % len(PROMPTS)],
            "max_tokens": 24,
            "seed": number,
            "user": f"client {number}",
            "vaultgpt": {"length": "tokens"},
        }
        answer = client.post("/v1/completions", body)
        return answer["vaultgpt"]["generation"], answer["choices"][0]["text"]

    def go_on(self, client: DaemonClient, number: int) -> None:
        """Ask until it is over."""
        while not self.over:
            try:
                voice, text = self.ask(client, number)
            except VaultGPTError as error:
                self.failures.append(str(error))
            else:
                self.answers.append((time.monotonic(), number, voice, text))


def copied(state: VaultState, voice: str) -> str:
    """The id of a new generation that writes as `voice` does."""
    folder = state.generations / voice
    manifest = generations.verify(folder)
    manifest.pop("id", None)
    staged = state.staging / "copy"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(folder, staged)
    with Ledger.open(state) as ledger:
        used = [row.id for row in ledger.generations.all(kept=False)]
        name = generations.publish(staged, state, manifest, used)
        ledger.generations.add(replace(ledger.generations.get(voice), id=name), [])
    return name


def erased(state: VaultState, copies: dict[str, str], back: str) -> None:
    """Leave the state as it was, with `back` as its voice."""
    with Ledger.open(state) as ledger:
        ledger.generations.activate(back, time.time())
        for name in copies:
            ledger.generations.set_status(name, "erased")
            generations.erase(state, name)


def measure(vault: Path, swaps: int, clients: int) -> dict[str, Any]:
    """Figures of one daemon; the vault has two voices."""
    state = find_state(vault)
    with Ledger.open(state) as ledger:
        voices = [row.id for row in ledger.generations.all()][:2]
    if len(voices) < 2:
        raise SystemExit(f"{vault} has one voice: the gate refused the second.")
    copies: dict[str, str] = {}  # a new voice -> the one that it writes as
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultgpt", "serve", str(vault)], stdout=subprocess.DEVNULL
    )
    try:
        daemon = _daemon(state)
        load, known = Load(), {}
        for voice in voices:
            daemon.post(f"/v1/generations/{voice}/activate", {})
            for number in range(clients):
                known[voice, number] = load.ask(daemon, number)[1]
        threads = [
            threading.Thread(target=load.go_on, args=(daemon, n), daemon=True)
            for n in range(clients)
        ]
        for thread in threads:
            thread.start()
        had, told = [], []
        for number in range(swaps):
            time.sleep(PAUSE_S)
            voice = copied(state, voices[number % 2])
            copies[voice] = voices[number % 2]
            time.sleep(PAUSE_S / 2)  # what has just been written lies on the disk
            wished = time.monotonic()
            daemon.post(f"/v1/generations/{voice}/activate", {})
            had.append(time.monotonic() - wished)
            while not (ends := [e for e, _, v, _ in load.answers if v == voice and e > wished]):
                time.sleep(0.01)
            told.append(min(ends) - wished)
        load.over = True
        for thread in threads:
            thread.join()
    finally:
        process.terminate()
        process.wait(20)
        erased(state, copies, voices[-1])
    return {
        "base": state.vault.parent.name,
        "clients": clients,
        "swaps": swaps,
        "had_s": [round(s, 2) for s in had],
        "told_s": [round(s, 2) for s in told],
        "answers": len(load.answers),
        "failures": len(load.failures),
        "mixed": sum(
            text != known[copies.get(voice, voice), n] for _, n, voice, text in load.answers
        ),
    }


def _daemon(state: VaultState) -> DaemonClient:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := find_daemon(state):
            return found
        time.sleep(0.1)
    raise SystemExit("The daemon did not start.")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kept", type=Path, nargs="+")
    parser.add_argument("--swaps", type=int, default=6)
    parser.add_argument("--clients", type=int, default=3)
    args = parser.parse_args()
    rows = []
    for kept in args.kept:
        os.environ["VAULTGPT_HOME"] = str(kept.resolve() / "home")
        command = [sys.executable, "-m", "vaultgpt", "train", str(kept / "vault"), "--fresh"]
        state = find_state(kept / "vault")
        if len(list(state.generations.glob("g*"))) < 2:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows.append(measure(kept / "vault", args.swaps, args.clients))
    print("| | daemon has it, s (worst) | its text, s (worst) | answers | failed | mixed |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        had, told = sorted(row["had_s"]), sorted(row["told_s"])
        print(
            f"| {row['base']} | {had[len(had) // 2]} ({had[-1]}) "
            f"| {told[len(told) // 2]} ({told[-1]}) "
            f"| {row['answers']} | {row['failures']} | {row['mixed']} |"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
