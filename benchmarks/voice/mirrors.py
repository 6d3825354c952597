"""Mirrors to measure: trained by the product's own rounds on a copy of a journal, and kept.

Scores text under them and writes with them. The trainer runs in this process, so that a hundred
rounds need not load torch a hundred times. Knows nothing about any one question.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.common import PEBBLE, home
from benchmarks.voice.journals import Journal, Split
from benchmarks.voice.rows import Options
from vaultgpt.corpus.runs import GUARD_WORDS, RunIndex
from vaultgpt.files import read_json, write_json
from vaultgpt.ledger import Ledger
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.prompting import MOST_ALTERNATIVES
from vaultgpt.options import with_option
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round
from vaultgpt.settings import Mirror, Settings, Training
from vaultgpt.state import VaultState, create_state
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.device import Device
from vaultgpt.training.evaluate import LN2, SEGMENT_TOKENS, Segment, score, segments
from vaultgpt.training.lora import Adapter, load_adapter, merged
from vaultgpt.training.round import Item
from vaultgpt.training.trainer import run_job
from vaultgpt.wire import Hear, Piece, Prompt, ReportRow, Usage

Job = dict[str, Any]
HOUR_S = 3_600.0
DAY_S = 86_400.0
START_S = 978_307_200.0  # 2001-01-01: simulated time begins here unless a journal's dates say more


def settings(**options: Any) -> Settings:
    """The defaults, but one unbudgeted first round and no pieces of a GPU: `a__b=v` sets a.b."""
    made = with_option(Settings(), "training.first_round_s", DAY_S)
    for name, value in options.items():
        made = with_option(made, name.replace("__", "."), value)
    return made


def on_base(wanted: Settings, folder: Path) -> Settings:
    """The same on the base in this folder."""
    return wanted if folder == PEBBLE else with_option(wanted, "base", str(folder))


def learn(
    state: VaultState,
    wanted: Settings,
    *,
    tamper: Callable[[Job], None] | None = None,
    left: Callable[[Path], None] = lambda folder: None,
    now: float | None = None,
    fresh: bool = False,
    nightly: bool = False,
    manual: bool = True,
) -> RoundAnswer:
    """One round of the product by the real trainer; `tamper` may change its job first.

    `left` sees the folder that it staged, whatever the gate says.
    """

    def trainer(
        job_path: Path, on_progress: Hear, stop: threading.Event, *, settings: Training
    ) -> ReportRow:
        if tamper is not None:
            job = json.loads(job_path.read_text(encoding="utf-8"))
            tamper(job)
            job_path.write_text(json.dumps(job), encoding="utf-8")
        report = run_job(job_path, lambda event: None, stop)
        left(job_path.parent / "out")
        return report.to_json()

    clock = time.time if now is None else (lambda: now)
    return run_round(
        state, wanted, fresh=fresh, manual=manual, nightly=nightly, trainer=trainer, now=clock
    )


# A trained start that many measurements go on from: a vault and its state -------------------------


def make_start(
    place: Path,
    fill: Callable[[Path], None],
    train: Callable[[VaultState], RoundAnswer],
    secret: str,
) -> Path:
    """`place` with vault/, home/ and answer.json; made where it is missing, else as it lies there.

    `fill` puts notes into an empty vault, `train` runs the first round. Held-out notes follow from
    `secret`, so that every run of a benchmark holds out the same. SystemExit when the gate refuses.
    """
    done = place / "answer.json"
    if done.exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    (place / "vault").mkdir(parents=True, mode=0o700)
    fill(place / "vault")
    with home(place / "home"):
        state = create_state(place / "vault")
        fix_secret(state, secret)
        answer = train(state)
    if answer["generation"] is None:
        raise SystemExit(f"{place.name}: {answer['verdict']['why']}")
    done.write_text(json.dumps(answer), encoding="utf-8")
    return place


def fix_secret(state: VaultState, name: str) -> None:
    """The key of a vault's hashes from a name: it decides which notes are held out."""
    state.secret_path.write_text(hashlib.sha256(name.encode()).hexdigest(), encoding="ascii")
    state.secret_path.chmod(0o600)


def copy_start(source: Path, target: Path) -> Path:
    """`source` once more at `target`, whole or not at all; its state belongs to the new vault."""
    half = target.with_name(f"{target.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(source, half)
    known = half / "home" / "vaults.json"
    (name,) = json.loads(known.read_text(encoding="utf-8"))["vaults"].values()
    vault = os.path.realpath(target / "vault")
    known.write_text(json.dumps({"vaults": {vault: name}}), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)
    return target


def written_at(path: Path, seconds: float) -> None:
    """Let a note look as if it was saved then: its entries are quiet since."""
    os.utime(path, (seconds, seconds))


@dataclass(frozen=True)
class Trained:
    """A journal without its hold-out, and the generation that learned it."""

    journal: Journal
    split: Split
    state: VaultState
    generation: str
    answer: RoundAnswer  # of the round

    @property
    def folder(self) -> Path:
        return self.state.generations / self.generation

    @property
    def job(self) -> Path:
        """The round's job, as the trainer read it."""
        return self.state.vault.parent / "job.json"

    @property
    def adapter(self) -> Adapter:
        return load_adapter(self.folder)


def active(state: VaultState) -> Adapter:
    """The active generation's."""
    with Ledger.open(state) as ledger:
        return load_adapter(state.generations / str(ledger.generations.active()))


def trained(options: Options, journal: Journal, seed: int) -> Trained:
    """The mirror of a journal's 90 %, trained once with the defaults and then kept."""
    place, split = options.place(journal.name, seed), journal.split(seed)

    def train(state: VaultState) -> RoundAnswer:
        return learn(
            state,
            on_base(settings(training__seed=seed), options.base),
            fresh=True,
            tamper=lambda job: write_json(place / "job.json", job),
        )

    make_start(
        place, lambda vault: journal.fill(split.train, vault), train, f"{journal.name}-{seed}"
    )
    with home(place / "home"):
        state = create_state(place / "vault")
    answer = read_json(place / "answer.json")
    return Trained(journal, split, state, str(answer["generation"]), answer)


@lru_cache(maxsize=1)
def base_model(folder: Path = PEBBLE) -> BaseModel:
    """A base on this machine's default device, loaded once."""
    return load_base(folder, Device.choose("auto", "auto", 0))


def bits(found: Sequence[Segment], adapter: Adapter | None, folder: Path = PEBBLE) -> float:
    """Bits per byte of segments under the adapter; the base (None) reads no header."""
    base = base_model(folder)
    with merged(base, adapter):
        return per_byte(score(base, found, plain=adapter is None), found)


def per_byte(nats: Sequence[float], found: Sequence[Segment]) -> float:
    """Bits per byte of segments that took so many nats."""
    return sum(nats) / LN2 / sum(s.bytes for s in found)


def cut(found: Sequence[Item], folder: Path = PEBBLE) -> list[Segment]:
    """Segments of these items with the base's tokenizer."""
    return segments(found, base_model(folder).encoder, SEGMENT_TOKENS)


def open_engine(mirror: Trained, *, guard: bool = True) -> Engine:
    """The product's own engine on this mirror, its copy guard as it would be."""
    state = mirror.state
    engine = Engine(Mirror(guard=guard), RunIndex(state.runs, state.secret(), GUARD_WORDS).load())
    engine.load(PEBBLE)
    engine.activate(mirror.generation, mirror.folder)
    return engine


def write(engine: Engine, prompt: Prompt) -> list[str]:
    """The whole texts of one request's alternatives."""
    texts = [""] * prompt.n
    for item in engine.generate(prompt, lambda: False):
        if isinstance(item, Piece):
            texts[item.index] += item.text
        elif isinstance(item, Usage):
            break
    return texts


def continuations(engine: Engine, count: int, plan: Prompt) -> list[str]:
    """`count` texts as `plan` asks, drawn MOST_ALTERNATIVES at a time."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        drawn = min(MOST_ALTERNATIVES, count - len(found))
        found += write(engine, replace(plan, n=drawn, seed=(plan.seed or 0) + 1000 * number))
        number += 1
    return found
