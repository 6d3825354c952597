"""Mirrors to measure: trained by the product's own rounds on a copy of a journal, and kept.

Scores text under them and writes with them. The trainer runs in this process, so that a hundred
rounds need not load torch a hundred times. Knows nothing about any one question.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from benchmarks.common import PEBBLE, home
from benchmarks.voice.journals import Journal
from benchmarks.voice.rows import Options
from vaultgpt.corpus.runs import GUARD_WORDS, RunIndex
from vaultgpt.files import read_json, write_atomic, write_json
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
from vaultgpt.training.round import Asked, Item
from vaultgpt.training.trainer import run_job
from vaultgpt.vault.reconcile import ScannedNote
from vaultgpt.wire import Hear, Piece, Prompt, ReportRow, Usage

Job = dict[str, Any]
HOUR_S = 3_600.0
DAY_S = 86_400.0
FRESH = Asked(fresh=True, manual=True)
START_S = 978_307_200.0  # 2001-01-01: simulated time begins here unless a journal's dates say more


def settings(seed: int, base: Path = PEBBLE) -> Settings:
    """The defaults, but one unbudgeted first round, with this seed, on the base in this folder."""
    made = with_option(Settings(), "training.first_round_s", DAY_S)
    made = with_option(made, "training.seed", seed)
    return made if base == PEBBLE else with_option(made, "base", str(base))


def learn(
    state: VaultState,
    wanted: Settings,
    asked: Asked,
    now: float | None = None,
    *,
    tamper: Callable[[Job], None] = lambda job: None,
    left: Callable[[Path], None] = lambda folder: None,
) -> RoundAnswer:
    """One round of the product by the real trainer; `tamper` may change its job first.

    `left` sees the folder that it staged, whatever the gate says.
    """

    def trainer(
        job_path: Path, on_progress: Hear, stop: threading.Event, *, settings: Training
    ) -> ReportRow:
        job = read_json(job_path)
        tamper(job)
        write_json(job_path, job)
        report = run_job(job_path, lambda event: None, stop)
        left(job_path.parent / "out")
        return report.to_json()

    clock = time.time if now is None else (lambda: now)
    return run_round(state, wanted, **vars(asked), trainer=trainer, now=clock)


# A trained start that many measurements go on from: a vault and its state -------------------------


def make_start(
    place: Path,
    fill: Callable[[Path], None],
    wanted: Settings,
    secret: str,
    now: float | None = None,
    tamper: Callable[[Job], None] = lambda job: None,
) -> Path:
    """`place` with vault/, home/ and answer.json; made where it is missing, else as it lies there.

    `fill` puts notes into an empty vault, which a fresh round then learns. Held-out notes follow
    from `secret`, so that every run of a benchmark holds out the same. SystemExit when the gate
    refuses.
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
        answer = learn(state, wanted, FRESH, now, tamper=tamper)
    if answer["generation"] is None:
        raise SystemExit(f"{place.name}: {answer['verdict']['why']}")
    write_json(done, answer)
    return place


def fix_secret(state: VaultState, name: str) -> None:
    """The key of a vault's hashes from a name: it decides which notes are held out."""
    write_atomic(state.secret_path, hashlib.sha256(name.encode()).hexdigest())


@contextlib.contextmanager
def copied(start: Path, place: Path) -> Iterator[VaultState]:
    """The state of `start` once more, in a copy at `place` that goes when this is left."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(start, place)
    (state,) = (place / "home" / "vaults").iterdir()
    with home(place / "home"):
        yield create_state(place / "vault", adopt=state)
    shutil.rmtree(place)


@dataclass(frozen=True)
class Trained:
    """A journal's notes, and the generation that learned those that were not held out."""

    learned: list[ScannedNote]
    held: list[ScannedNote]
    state: VaultState
    answer: RoundAnswer  # of the round
    job: Path  # the round's job, as the trainer read it

    @property
    def folder(self) -> Path:
        return self.state.generations / str(self.answer["generation"])


def active(state: VaultState) -> Adapter:
    """The active generation's."""
    with Ledger.open(state) as ledger:
        return load_adapter(state.generations / str(ledger.generations.active()))


def trained(options: Options, journal: Journal, seed: int) -> Trained:
    """The mirror of a journal's 90 %, trained once with the defaults and then kept."""
    place, (learned, held) = options.place(journal.name, seed), journal.split(seed)
    wanted, job = settings(seed, options.base), place / "job.json"
    fill, keep = partial(journal.fill, learned), partial(write_json, job)
    make_start(place, fill, wanted, f"{journal.name}-{seed}", tamper=keep)
    with home(place / "home"):
        state = create_state(place / "vault")
    return Trained(learned, held, state, read_json(place / "answer.json"), job)


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
    engine.activate(mirror.folder.name, mirror.folder)
    return engine


def write(engine: Engine, prompt: Prompt) -> tuple[list[str], Usage]:
    """The whole texts of one request's alternatives, and what they took."""
    *pieces, usage = engine.generate(prompt, lambda: False)
    assert isinstance(usage, Usage)
    texts = [""] * prompt.n
    for piece in pieces:
        assert isinstance(piece, Piece)
        texts[piece.index] += piece.text
    return texts, usage


def continuations(engine: Engine, count: int, plan: Prompt) -> list[str]:
    """`count` texts as `plan` asks, drawn MOST_ALTERNATIVES at a time."""
    found: list[str] = []
    for number, at in enumerate(range(0, count, MOST_ALTERNATIVES)):
        drawn = min(MOST_ALTERNATIVES, count - at)
        found += write(engine, replace(plan, n=drawn, seed=(plan.seed or 0) + 1000 * number))[0]
    return found
