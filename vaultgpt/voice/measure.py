"""Measures the active generation's voice: job, process, figures stored, prose erased.

It holds the round's lock, so that no round runs beside it. Knows nothing about torch.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from vaultgpt import bases
from vaultgpt.config import Settings, Training
from vaultgpt.errors import Conflict
from vaultgpt.files import locked, make_private_dir, write_json
from vaultgpt.generations import verify
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState
from vaultgpt.training.assemble import author_pages
from vaultgpt.vault.scan import read_vault
from vaultgpt.voice.job import VoiceJob
from vaultgpt.voice.store import fingerprint, keep, stored

Progress = Callable[[dict[str, Any]], None]


class Process(Protocol):
    """workers.run_voice, or a test's own."""

    def __call__(
        self, job_path: Path, on_progress: Progress, stop: threading.Event, *, settings: Training
    ) -> dict[str, Any]: ...


def measure_voice(
    state: VaultState,
    settings: Settings,
    *,
    now: Callable[[], float],
    on_progress: Progress = lambda event: None,
    stop: threading.Event | None = None,
    process: Process | None = None,
) -> dict[str, Any] | None:
    """The figures of the active generation, measured unless they are known; None without one.

    Conflict while a round or another measurement runs; RoundStopped when `stop` was set; any
    VaultGPTError of the process. Blocks for about a minute.
    """
    busy = Conflict(
        "A round is under way, or the voice is being measured already.",
        "Ask again when `vaultgpt status` shows that it has ended.",
    )
    with locked(state.round_lock, busy), Ledger.open(state) as ledger:
        return _measure(
            state, settings, ledger, now, on_progress, stop or threading.Event(), process
        )


def _measure(
    state: VaultState,
    settings: Settings,
    ledger: Ledger,
    now: Callable[[], float],
    on_progress: Progress,
    stop: threading.Event,
    process: Process | None,
) -> dict[str, Any] | None:
    if (active := ledger.active()) is None:
        return None
    scan = read_vault(state.vault, settings.rules, {})
    ledger.record(scan, now(), settings.schedule.vanished_percent)
    of = fingerprint(ledger, settings.mirror.sampling())
    if (known := stored(state, active, of)) is not None:
        return known
    folder = state.generations / active
    base = bases.base_of_generation(state, verify(folder))
    learned, held = author_pages(ledger, scan.read)
    job = VoiceJob(
        base=str(base.folder),
        adapter=str(folder),
        learned=tuple(learned),
        held_out=tuple(held),
        settings=asdict(settings.training),
        seed=settings.training.seed,
        mirror=asdict(settings.mirror),
    )
    figures = _run(state, settings, job, on_progress, stop, process)
    keep(state, active, of, figures, now())
    return stored(state, active, of)


def _run(
    state: VaultState,
    settings: Settings,
    job: VoiceJob,
    on_progress: Progress,
    stop: threading.Event,
    process: Process | None,
) -> dict[str, Any]:
    from vaultgpt.workers import run_voice

    folder = state.staging / "voice"
    shutil.rmtree(folder, ignore_errors=True)
    make_private_dir(state.staging)
    make_private_dir(folder)
    try:
        write_json(folder / "job.json", asdict(job))
        return (process or run_voice)(
            folder / "job.json", on_progress, stop, settings=settings.training
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
