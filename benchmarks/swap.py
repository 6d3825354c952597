"""How soon is the first text of a cold worker, and of a new voice while requests never cease?

python -m benchmarks.swap [BASE ...] [--swaps 6] (names or folders)
A daemon a base, over a vault whose two voices are random factors of the size that a round leaves.
Each change is to a voice that no process has seen, a copy of one of the two, in turns, for the
engine keeps the last three. Each client asks the same seeded question over and over; in int8 the
answer hangs on who asked that voice before, so that those in every order are known.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PEBBLE, arguments, markdown, serving
from benchmarks.scale import make_vault
from vaultgpt.bases.names import resolve
from vaultgpt.errors import VaultGPTError
from vaultgpt.generation_folders import Manifest, publish
from vaultgpt.ledger import GenerationRow, Ledger
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.client import DaemonClient
from vaultgpt.training.base_model import load_base
from vaultgpt.training.device import Device
from vaultgpt.training.lora import Adapter, lora_parameters, save_adapter, wrap

PROMPTS = ("Grey, then less grey. I went", "I am in a house that", "The heron stood")
NOTES, PAUSE_S, RANK, CLIENTS, STARTS = 24, 4.0, 16, 3, 3
STRENGTH = 0.005  # of the factors: the voices write differently, and like their base


def random_voice(base: Path, folder: Path, seed: int) -> Path:
    """Factors on every linear layer of a base's blocks, and pebble's embedding too."""
    loaded = load_base(base, Device.choose("cpu", "float32", 1))
    wrapped, rng = wrap(loaded, RANK, seed), torch.Generator().manual_seed(seed)

    def drawn(weight: torch.Tensor, scale: float) -> torch.Tensor:
        return scale * torch.randn(weight.shape, generator=rng)

    factors = {
        name: drawn(p.data, STRENGTH if ".lora_B." in name else p.shape[1] ** -0.5)
        for name, p in lora_parameters(wrapped).items()
    }
    wrapped.unload()
    delta = drawn(loaded.embedding, STRENGTH) if base == PEBBLE else None
    folder.mkdir(parents=True)
    save_adapter(folder, loaded, Adapter(RANK, 2 * RANK, factors, delta), base.name, None)
    return folder


class Vault:
    """A vault on a base, and voices under it."""

    def __init__(self, home: Path, base: str) -> None:
        os.environ["VAULTGPT_HOME"] = str(home / "home")
        make_vault(home / "vault", NOTES)
        self.state: VaultState = create_state(home / "vault")
        for key, value in (("base", base), ("training.pause", True)):
            save_option(self.state.config, key, value)
        self.base = resolve(base, self.state)
        self.drawn = [random_voice(self.base.folder, home / f"voice {n}", n) for n in (1, 2)]
        self.voices = [self.publish(0), self.publish(1)]
        with Ledger.open(self.state) as ledger:
            ledger.generations.activate(self.voices[0], time.time())

    def publish(self, number: int) -> str:
        """The id of a new generation that writes as the one or the other does."""
        staged = self.state.staging / "copy"
        shutil.copytree(self.drawn[number % 2], staged)
        now = time.time()
        manifest: Manifest = {
            "base": self.base.name,
            "revision": self.base.revision,
            "base_sha256": self.base.sha256,
            "parent": None,
            "round": 1,
            "created": now,
            "learned": [],
            "held_out": [],
            "report": {},
            "verdict": {"promoted": True, "why": "For the measurement."},
        }
        name = publish(staged, self.state, manifest)
        ends = (now, True, "kept", RANK, True, 0)
        row = GenerationRow(name, 1, "fresh", None, self.base.name, self.base.sha256, *ends)
        with Ledger.open(self.state) as ledger:
            ledger.generations.add(row, [])
        return name


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


def first_text_s(vault: Vault) -> float:
    """Seconds from a hotkey to its first text, where no worker runs."""
    body = {"prompt": PROMPTS[0], "max_tokens": 8, "stream": True, "seed": 1}
    with serving(vault.state) as (_, client):
        began = time.perf_counter()
        events = client.stream("/v1/completions", body)
        next(events)
        found = time.perf_counter() - began
        for _ in events:
            pass
    return found


def swapped(vault: Vault, swaps: int) -> dict[str, Any]:
    """How soon each new voice is had, and what the clients were told meanwhile."""
    load, known, had, told = Load(), defaultdict[tuple[int, int], set[str]](set), [], []
    orders = itertools.product((0, 1), itertools.permutations(range(CLIENTS)))
    fresh = [(vault.publish(drawn), drawn, order) for drawn, order in orders]
    copies = {voice: drawn for voice, drawn, _ in fresh}  # each writes as one of the two
    with serving(vault.state) as (_, daemon):  # which clears what is staged when it starts
        for voice, drawn, order in fresh:
            daemon.post(f"/v1/generations/{voice}/activate", {})
            for number in order:
                known[drawn, number].add(load.ask(daemon, number)[1])
        threads = [
            threading.Thread(target=load.go_on, args=(daemon, n), daemon=True)
            for n in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for number in range(swaps):
            time.sleep(PAUSE_S / 2)
            voice = vault.publish(number)
            copies[voice] = number % 2
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
    return {
        "had_s": sorted(round(s, 2) for s in had),
        "told_s": sorted(round(s, 2) for s in told),
        "answers": len(load.answers),
        "failures": len(load.failures),
        "mixed": sum(text not in known[copies[voice], n] for _, n, voice, text in load.answers),
    }


def measure(base: str, swaps: int) -> dict[str, Any]:
    """All of one base."""
    with tempfile.TemporaryDirectory() as folder:
        vault = Vault(Path(folder), base)
        first = sorted(round(first_text_s(vault), 2) for _ in range(STARTS))
        return {"base": base, "first_text_s": first, **swapped(vault, swaps)}


def table(rows: list[dict[str, Any]]) -> str:
    """A row a base: medians, the worst in brackets."""
    lines = []
    for row in rows:
        times = [row[key] for key in ("first_text_s", "had_s", "told_s")]
        cells = [f"{statistics.median(each):.2f} ({each[-1]:.2f})" for each in times]
        counts = [row[key] for key in ("answers", "failures", "mixed")]
        lines.append([Path(row["base"]).name, *cells, *counts])
    columns = ("", "first text of a cold worker, s", "new voice had, s", "its first text, s")
    bounds = "bounds: first text 3 s with pebble, 4 at 135 M; its text 2 s; failed and mixed 0"
    return markdown((*columns, "answers", "failed", "mixed"), lines) + "\n" + bounds


def main() -> None:
    parser = arguments(__doc__, json_too=False)
    parser.add_argument("bases", nargs="*", default=["pebble"])
    parser.add_argument("--swaps", type=int, default=6)
    args = parser.parse_args()
    rows = [measure(base, args.swaps) for base in args.bases]
    print(table(rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
