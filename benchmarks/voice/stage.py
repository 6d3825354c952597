"""A trained start that many measurements go on from: a vault and its state, made once and copied.

Knows nothing about any one question.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import home
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.state import VaultState, create_state

HOUR_S = 3_600.0
DAY_S = 86_400.0
START_S = 978_307_200.0  # 2001-01-01: simulated time begins here unless a journal's dates say more


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


def open_state(place: Path) -> VaultState:
    """The state of a start; call it with home(place / "home") open."""
    return create_state(place / "vault")


def written_at(path: Path, seconds: float) -> None:
    """Let a note look as if it was saved then: its entries are quiet since."""
    os.utime(path, (seconds, seconds))
