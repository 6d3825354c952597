"""The gate against really trained rounds: bad ones are refused, real later pages are promoted.

The embedded base on a year of the example vault; the trainer runs in this process.
"""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import spoiled
from vaultgpt.errors import TrainingError
from vaultgpt.ledger import Ledger
from vaultgpt.options import with_option
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round
from vaultgpt.settings import Settings, Training
from vaultgpt.state import VaultState, create_state
from vaultgpt.training.trainer import run_job
from vaultgpt.wire import ReportRow

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "vault"
Job = dict[str, Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A vault of one year and the poems with its first generation, and its state root."""
    place = tmp_path_factory.mktemp("gate")
    vault = place / "vault"
    for note in sorted(EXAMPLES.rglob("*.md")):
        if any(part in str(note.relative_to(EXAMPLES)) for part in ("2022", "Poems")):
            target = vault / note.relative_to(EXAMPLES)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(note, target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAULTGPT_HOME", str(place / "home"))
        answer = learn(create_state(vault), lambda job: None)
    assert answer["verdict"]["promoted"], answer["verdict"]
    return vault, place / "home"


@pytest.fixture
def state(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> VaultState:
    """A copy of that state, and of the vault with the pages of 2023 added."""
    vault, home = trained
    shutil.copytree(home, tmp_path / "home")
    shutil.copytree(vault, tmp_path / "vault")
    known = json.loads((tmp_path / "home" / "vaults.json").read_text())["vaults"]
    moved = {"vaults": {str(tmp_path / "vault"): name for name in known.values()}}
    (tmp_path / "home" / "vaults.json").write_text(json.dumps(moved))
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    later = tmp_path / "vault" / "Journal" / "2023"
    later.mkdir(parents=True)
    for note in sorted((EXAMPLES / "Journal" / "2023").glob("*.md"))[:12]:
        shutil.copyfile(note, later / note.name)
    return create_state(tmp_path / "vault")


def learn(state: VaultState, tamper: Callable[[Job], None]) -> RoundAnswer:
    """One round by the real trainer, its job changed by `tamper` first."""

    def trainer(
        job_path: Path,
        on_progress: Any,
        stop: threading.Event,
        *,
        settings: Training,
    ) -> ReportRow:
        job = json.loads(job_path.read_text(encoding="utf-8"))
        tamper(job)
        job_path.write_text(json.dumps(job), encoding="utf-8")
        return run_job(job_path, on_progress, stop).to_json()

    settings = with_option(Settings(), "training.device", "cpu")
    return run_round(state, settings, manual=True, trainer=trainer, now=lambda: 1_700_000_000.0)


@pytest.mark.parametrize(
    "spoil", [spoiled.repeated, spoiled.shuffled, spoiled.too_fast], ids=lambda f: f.__name__
)
def test_a_bad_round_is_refused_and_the_old_generation_stays(
    state: VaultState, spoil: spoiled.Spoil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoiled, "REPEATED", 150)  # 500 take a minute and say the same
    try:
        answer = learn(state, lambda job: spoil(job, random.Random(1)))
    except TrainingError as error:  # it did not even end: nothing was published either
        assert "diverged" in error.message
    else:
        assert not answer["verdict"]["promoted"], answer["verdict"]
    with Ledger.open(state) as ledger:
        assert ledger.generations.active() == "g000001"
    assert [p.name for p in state.generations.iterdir()] == ["g000001"]


def test_real_later_pages_are_promoted(state: VaultState) -> None:
    answer = learn(state, lambda job: None)
    assert answer["kind"] == "incremental"
    assert answer["verdict"]["promoted"], answer["verdict"]
    assert answer["generation"] == "g000002"
