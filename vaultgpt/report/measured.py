"""Measures the voice of the generation that writes: job, process, figures stored, prose erased.

Figures are kept, one small private file a generation, until the held-out pages or the way of
writing change; `generations.erase` takes them along. Holds the round's lock meanwhile. No torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from vaultgpt.bases.model import Base
from vaultgpt.bases.names import NamedBase, base_of_generation
from vaultgpt.errors import Conflict, VaultGPTError
from vaultgpt.files import locked, make_private_dir, read_json, write_json
from vaultgpt.generation_folders import MANIFEST, verify
from vaultgpt.ledger import Ledger
from vaultgpt.report.job import VoiceFigures, VoiceJob
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState
from vaultgpt.training.assemble import author_pages
from vaultgpt.wire import Hear, Sampling
from vaultgpt.workers.jobs import JobRunner, run_voice

_FORMAT = 3  # files of another one are measured anew


def measure_voice(
    state: VaultState,
    settings: Settings,
    *,
    now: Callable[[], float],
    on_progress: Hear = lambda event: None,
    stop: threading.Event | None = None,
    process: JobRunner[Mapping[str, object]] | None = None,
) -> VoiceFigures | None:
    """The figures of the generation that writes, measured unless they are known; None without one.

    Conflict while a round or another measurement runs; RoundStopped when `stop` was set; any
    VaultGPTError of the process. Blocks for about a minute."""
    busy = Conflict(
        "A round is under way, or the voice is being measured already.",
        "Ask again when `vaultgpt status` shows that it has ended.",
    )
    with locked(state.round_lock, busy), Ledger.open(state) as ledger:
        if (writes := ledger.generations.writing()) is None:
            return None
        percent = settings.schedule.vanished_percent
        ledger.follow(settings.rules, now(), percent, whole=True)
        base = base_of_generation(state, verify(state.generations / writes))
        of = _fingerprint(ledger, settings.mirror.sampling().on(base.parameters))
        if (known := _stored(state, writes, of)) is not None:
            return known
        job = _job(ledger, settings, base, state.generations / writes)
        with _staged(state, job) as path:
            measured = process or run_voice
            found = measured(path, on_progress, stop or threading.Event(), settings=job.settings)
        _keep(state, writes, of, cast(VoiceFigures, found), now())
        return _stored(state, writes, of)


def _job(ledger: Ledger, settings: Settings, base: Base, folder: Path) -> VoiceJob:
    learned, held = author_pages(ledger, settings.rules)
    return VoiceJob(
        base=str(base.folder),
        adapter=str(folder),
        learned=tuple(learned),
        held_out=tuple(held),
        settings=settings.training,
        seed=settings.training.seed,
        mirror=settings.mirror,
    )


@contextlib.contextmanager
def _staged(state: VaultState, job: VoiceJob) -> Iterator[Path]:
    """The job's file, whose prose is erased in the end."""
    folder = state.staging / "voice"
    shutil.rmtree(folder, ignore_errors=True)
    make_private_dir(state.staging)
    make_private_dir(folder)
    try:
        write_json(folder / "job.json", asdict(job))
        yield folder / "job.json"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def known_voice(ledger: Ledger, generation: str, sampling: Sampling) -> VoiceFigures | None:
    """Its figures as measured of a mirror that writes so; None where that is not known, or where
    its base is gone. Its files, which writing verifies, are not read for that."""
    try:
        manifest = read_json(ledger.state.generations / generation / MANIFEST)
        base = base_of_generation(ledger.state, cast(NamedBase, manifest))
    except (OSError, ValueError, KeyError, TypeError, VaultGPTError):
        return None
    return _stored(ledger.state, generation, _fingerprint(ledger, sampling.on(base.parameters)))


def _fingerprint(ledger: Ledger, sampling: Sampling) -> str:
    """Changes with the held-out pages (entries, tags, dates, paragraphs) and with how it writes."""
    paragraphs = ledger.entries.paragraphs()
    rows = sorted(
        [
            e.id,
            e.held_out,
            e.held_digests,
            e.tags,
            e.date,
            [p.digest for p in paragraphs.get(e.id, ())],
        ]
        for e in ledger.entries.all()
        if e.held_out and e.live
    )
    body = json.dumps([rows, asdict(sampling)])
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest()


def _stored(state: VaultState, generation: str, of: str) -> VoiceFigures | None:
    """The figures of a generation that have this fingerprint; None when there are none."""
    try:
        value = read_json(state.voice / f"{generation}.json")
        if value["format"] != _FORMAT or value["of"] != of:
            return None
        known = {"generation": generation, "measured": value["measured"], **value["figures"]}
        return cast(VoiceFigures, known)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(state: VaultState, generation: str, of: str, figures: VoiceFigures, now: float) -> None:
    """Store the figures of a generation whose folder is there; of an erased one nothing is kept."""
    if (state.generations / generation).is_dir():
        make_private_dir(state.voice)
        write_json(
            state.voice / f"{generation}.json",
            {"format": _FORMAT, "of": of, "measured": now, "figures": figures},
        )
