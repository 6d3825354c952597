"""`vaultgpt base` and the offer of `init`, as typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests import tiny
from tests.bases.hub_server import Hub
from tests.ledger.vaults import FakeBase
from vaultgpt.bases import estimate as machine
from vaultgpt.bases.catalogue import ADVISED
from vaultgpt.bases.estimate import _Machine, advised, require_disk_and_memory
from vaultgpt.cli import app
from vaultgpt.errors import StateError
from vaultgpt.settings import Training, load_settings
from vaultgpt.state import VaultState, create_state, find_state


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop with 8 GB of memory."""
    monkeypatch.setattr(machine, "this_machine", lambda: _Machine(8.0, 50.0))
    monkeypatch.setattr("vaultgpt.tasks.init.this_machine", lambda: _Machine(8.0, 50.0))


def typed(*args: str) -> Result:
    done = CliRunner().invoke(app, list(args), env={"COLUMNS": "80"})
    assert "Traceback" not in done.output
    return done


def base_of(state: VaultState) -> str:
    return load_settings(state.config).base


def test_alone_it_lists_what_fits_and_marks_what_is_in_use(state: VaultState) -> None:
    done = typed("base")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and lines[0].startswith("pebble: llama, 12 million parameters")
    assert any(line.startswith("* pebble ") for line in lines)
    assert any("smollm2 " in line and "learns in 2.6 GB of memory" in line for line in lines)
    assert any("gemma4-e2b " in line and "needs 28 GB of memory" in line for line in lines)
    assert all(len(line) <= 80 for line in lines if line.startswith(("*", "  ")))
    found = json.loads(typed("base", "--json").stdout)
    rows = {row["name"]: row for row in found["bases"]}
    assert found["base"] == "pebble" and rows["smollm2"]["fits"] and not rows["gemma4-e2b"]["fits"]


def test_among_several_vaults_it_lists_what_fits_and_marks_none(
    state: VaultState, tmp_path: Path
) -> None:
    (tmp_path / "Other").mkdir()
    create_state(tmp_path / "Other")
    done = typed("base")
    assert done.exit_code == 0 and "learns in 2.6 GB of memory" in done.stdout
    assert "* pebble" not in done.stdout
    assert typed("base", "smollm2").exit_code == 1, "to take one, a vault must be meant"


def test_a_base_that_has_gone_is_said_above_the_list(
    state: VaultState, tiny_llama: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "mine"))
    assert typed("base", str(folder)).exit_code == 0
    shutil.rmtree(folder)
    done = typed("base")
    assert done.exit_code == 0 and "There is no folder" in done.stderr and "smollm2" in done.stdout


def test_before_any_vault_it_lists_too() -> None:
    done = typed("base")
    assert done.exit_code == 0 and "smollm2" in done.stdout and "*" not in done.stdout


def test_a_taken_base_learns_next_and_its_warnings_are_said(
    hub: Hub, state: VaultState, tiny_llama: Path
) -> None:
    hub.add("org/tiny-Instruct", tiny_llama)
    done = typed("base", "org/tiny-Instruct")
    assert done.exit_code == 0 and "tuned to answer questions" in done.stdout
    assert (
        "Learn on it with `vaultgpt train`" in done.stdout and base_of(state) == "org/tiny-Instruct"
    )
    assert "tuned to answer" in typed("config", "base", "org/tiny-Instruct").stderr
    refused = typed("config", "base", "org/nothing")
    assert refused.exit_code == 1 and "not on this machine" in refused.stderr
    assert base_of(state) == "org/tiny-Instruct"


def test_init_fetches_the_advised_base_when_told_and_never_asks_a_script(
    hub: Hub, tmp_path: Path, tiny_llama: Path
) -> None:
    """1. No terminal. 2. --yes, the hub down. 3. --yes. Result: pebble, pebble and why, SmolLM2."""
    tiny.tiny_vault(tmp_path / "notes")
    done = typed("init", str(tmp_path / "notes"), "--no-plugin")
    state = find_state(tmp_path / "notes")
    assert done.exit_code == 0 and "vaultgpt base smollm2" in done.stdout
    assert base_of(state) == "pebble"
    hub.status = 404
    done = typed("init", str(tmp_path / "notes"), "--no-plugin", "--yes")
    assert done.exit_code == 0 and "The embedded base stays" in done.stderr
    assert base_of(state) == "pebble"
    hub.status = None
    hub.add("HuggingFaceTB/SmolLM2-135M", tiny_llama)
    assert base_of(state) == "pebble"
    done = typed("init", str(tmp_path / "notes"), "--no-plugin", "--yes", "--no-base")
    assert base_of(state) == "pebble"
    done = typed("init", str(tmp_path / "notes"), "--no-plugin", "--yes")
    assert "learns next: now with `vaultgpt train`" in done.stdout
    assert base_of(state) == "HuggingFaceTB/SmolLM2-135M"


@pytest.mark.parametrize(
    ("short", "bf16", "peak_gb"),
    [
        ("smollm2", True, 2.46),
        ("smollm2", True, 2.99),
        ("smollm2", False, 3.3),
        ("gemma3-270m", True, 3.74),
        ("gemma3-270m", True, 4.04),
    ],
)
def test_the_memory_foreseen_is_near_the_measured_peak(
    short: str, bf16: bool, peak_gb: float
) -> None:
    """Of whole rounds (`python -m benchmarks.bases`), on 2 cores, by resource.getrusage."""
    (known,) = [known for known in ADVISED if known.short == short]
    assert known.learning_gb(bf16=bf16) == pytest.approx(peak_gb, rel=0.15)


@pytest.mark.parametrize(
    ("dtype", "multiplies", "exact"),
    [("auto", True, False), ("auto", False, True), ("float32", True, True)],
)
def test_a_round_in_float32_is_foreseen_to_take_more_memory(
    state: VaultState,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    multiplies: bool,
    exact: bool,
) -> None:
    """Result: of known bases and of others, before a round, and where bases are listed."""
    monkeypatch.setattr(machine, "_multiplies_bf16", lambda: multiplies)
    monkeypatch.setattr(machine, "_free_gb", lambda: 0.1)
    for name in ("HuggingFaceTB/SmolLM2-135M", "some/other"):
        base = FakeBase(name=name, parameters=134_515_008, vocab=49_152, hidden=576)
        with pytest.raises(StateError, match=f"about {3.2 if exact else 2.6} GB of memory"):
            require_disk_and_memory(state, base, Training(device="cpu", dtype=dtype))
    if dtype == "auto":
        here = _Machine(2.8, 50.0, bf16=multiplies)
        assert (advised("en", here) is None) == exact
