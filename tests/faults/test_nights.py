"""A full round of several nights under attack: real trainers of a tiny base, and what befalls them.

Each time nothing is lost, the old voice writes on, the round goes on or begins anew with a sentence
that says why, and the state's folder holds nothing more in the end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.faults.nights import Told, night
from tests.ledger.vaults import DAY, NOW, Vault
from vaultgpt.ledger import Ledger
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState
from vaultgpt.training.paused import paused_round

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Nights:
    """A vault with a first voice, whose full round was paused at its first steps."""

    root: Path
    state: VaultState
    before: set[str]  # files of the state before it began

    def paused_at(self) -> int:
        """The step of the checkpoint that waits; 0 without one."""
        with Ledger.open(self.state) as ledger:
            found = paused_round(ledger)
        return found.step if found else 0

    def voice(self) -> str | None:
        """The generation that writes."""
        with Ledger.open(self.state) as ledger:
            return ledger.generations.writing()

    def files(self) -> set[str]:
        """Files of the state, without those of generations."""
        found = (p.relative_to(self.state.folder) for p in self.state.folder.rglob("*"))
        return {str(p) for p in found if p.parts[0] != "generations" and "." not in p.suffix[4:]}

    def trainer_is_killed(self) -> Told:
        """A night whose trainer is killed two steps on."""

        def kill() -> None:
            for child in psutil.Process().children():
                if "NIGHT_AT" in " ".join(child.cmdline()):
                    child.kill()

        return night(self.state, at=2, do=kill)

    def supervisor_is_killed(self) -> None:
        """A night whose supervisor is killed two steps on; its trainer leaves by itself."""
        line = [sys.executable, "-m", "tests.faults.nights", str(self.root)]
        line.append(str(self.state.folder))
        process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline().startswith(b"step ")
        trainers = psutil.Process(process.pid).children(recursive=True)
        assert trainers
        process.kill()
        process.wait()
        process.stdout.close()
        assert not psutil.wait_procs(trainers, 30)[1]

    def comes_to_its_end(self, now: float = NOW + DAY) -> Told:
        """The rest of it, with nothing in its way."""
        told = night(self.state, now=now)
        assert "error" not in told, told
        answer = told["answer"]
        assert answer["kind"] == "fresh" and answer["report"], answer
        assert not list(self.state.staging.iterdir())
        assert self.files() <= self.before, self.files() - self.before
        assert self.voice()
        return told


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A folder with a vault, its state, and the round at step 3; made once, copied by each test."""
    patch = pytest.MonkeyPatch()
    place = tmp_path_factory.mktemp("nights")
    patch.setenv("VAULTGPT_HOME", str(place / "home"))
    vault = Vault(place)
    vault.fill(24, paragraphs=3)
    for key, value in (
        ("base", str(tiny_llama)),
        ("training.learning_rate", 0.02),
        ("training.epochs", 2),
        ("training.threads", 1),
        ("training.device", "cpu"),
        ("training.batch_tokens", 1024),
        ("training.first_round_s", 20),
    ):
        save_option(vault.state.config, key, value)
    told = night(vault.state)
    assert told["answer"]["generation"] == "g000001", told
    patch.undo()
    return place


@pytest.fixture
def nights(first: Path, tmp_path: Path) -> Nights:
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    (folder,) = (tmp_path / "home" / "vaults").glob("vault-*")
    state = VaultState(tmp_path / "vault", folder)
    made = Nights(tmp_path / "vault", state, set())
    made.before = made.files()
    assert "stopped" in night(state, 3, fresh=True)["error"]
    return made


def test_a_round_outlives_six_nights_that_each_end_in_another_way(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full round is paused at its first steps. Then, a night each: 1. its trainer is killed; 2.
    its supervisor; 3. its trainer, half-way through a checkpoint; 4. the disk is full as it pauses,
    and 5. as it learns; 6. the vault is not there; 7. the clock is a year behind.

    Result: each time it goes on from its last whole checkpoint or later, what failed is told in
    words, the old voice writes, and 7 comes to the end of it with nothing left over.
    """
    at = nights.paused_at()
    assert at

    def goes_on(told: Told, why: str) -> None:
        nonlocal at
        assert why in told["error"] and told["steps"][:1] in ([], [at + 1]), told
        assert "The full round goes on" in "".join(told["said"]) or not told["steps"]
        assert nights.voice() == "g000001"
        now = nights.paused_at()
        assert now >= at
        at = now

    goes_on(nights.trainer_is_killed(), "killed")
    nights.supervisor_is_killed()
    after = nights.paused_at()
    assert after >= at
    at = after
    monkeypatch.setenv("NIGHT_AT", "3")
    goes_on(night(nights.state), "killed")
    assert len(list(nights.state.staging.glob("r*/.checkpoint*"))) == 1, "what it was writing"
    monkeypatch.setenv("NIGHT_FAULT", "full")
    monkeypatch.setenv("NIGHT_AT", "2")
    goes_on(night(nights.state, at + 1), "stopped")
    goes_on(night(nights.state), "is full")
    monkeypatch.delenv("NIGHT_AT")
    nights.root.rename(nights.root.with_name("away"))
    goes_on(night(nights.state), "vault")
    nights.root.with_name("away").rename(nights.root)
    told = nights.comes_to_its_end(NOW - 365 * DAY)
    assert told["steps"][0] == at + 1
