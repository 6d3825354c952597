"""`vaultgpt report` in a terminal and the daemon's one measurement at a time."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from tests.ledger.vaults import NOW, Vault
from tests.report.conftest import FIGURES, FakeProcess
from vaultgpt.cli import app
from vaultgpt.daemon.round_loop import RoundLoop
from vaultgpt.daemon.supervisor import Daemon, _Measuring
from vaultgpt.errors import Conflict
from vaultgpt.settings import Settings
from vaultgpt.tasks.report import MEASURE, REPORT
from vaultgpt.tasks.train import TRAIN, TrainRequest


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> FakeProcess:
    made = FakeProcess()
    monkeypatch.setattr("vaultgpt.report.measured.run_voice", made)
    return made


def report(vault: Vault, *args: str) -> Any:
    done = CliRunner().invoke(app, ["report", str(vault.root), *args])
    assert done.exit_code == 0, done.output
    return done


def test_it_measures_once_and_says_so_on_standard_error(
    learned: Vault, process: FakeProcess
) -> None:
    first = report(learned)
    assert "about a minute" in first.stderr and "about a minute" not in first.stdout
    assert "than 60 % of your own pages" in first.stdout
    second = report(learned)
    assert second.stdout == first.stdout and second.stderr == "" and len(process.jobs) == 1


def test_quick_measures_nothing(learned: Vault, process: FakeProcess) -> None:
    done = report(learned, "--quick", "--json")
    answer = json.loads(done.stdout)
    assert answer["voice"] is None and answer["sentences"] and not process.jobs
    assert {"generation", "verdict", "bits_per_byte", "by_tag", "by_year", "copying"} <= set(answer)


def test_json_is_one_object_with_figures_and_sentences(
    learned: Vault, process: FakeProcess
) -> None:
    answer = json.loads(report(learned, "--json").stdout)
    assert answer["voice"]["tags"] == FIGURES["tags"] and len(answer["sentences"]) > 4
    assert "segments" not in answer


def test_beside_a_round_what_is_known_is_told(learned: Vault, process: FakeProcess) -> None:
    with FileLock(learned.state.round_lock):
        done = report(learned)
    assert "Not measured now" in done.stderr and "held out from learning" in done.stdout
    assert not process.jobs


def test_a_plot_s_bad_name_is_wrong_usage(learned: Vault, process: FakeProcess) -> None:
    done = CliRunner().invoke(app, ["report", str(learned.root), "--plot", "a.pdf"])
    assert done.exit_code == 2 and not process.jobs


async def test_the_daemon_measures_when_asked_and_not_beside_a_round(
    learned: Vault, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(learned.state, learned.settings)
    try:
        assert (await daemon.ask(REPORT, None))["voice"] is None and not process.jobs
        monkeypatch.setattr(RoundLoop, "running", True)
        with pytest.raises(Conflict):
            await daemon.ask(MEASURE, None)
        monkeypatch.setattr(RoundLoop, "running", False)
        answer = await daemon.ask(MEASURE, None)
        assert (
            answer["voice"] is not None
            and answer["voice"]["style"] == FIGURES["style"]
            and answer["sentences"]
        )
        assert await daemon.ask(MEASURE, None) == answer and len(process.jobs) == 1
        monkeypatch.setattr(_Measuring, "running", True)
        with pytest.raises(Conflict):
            await daemon.ask(TRAIN, TrainRequest.model_validate({}))
    finally:
        await daemon.stop()
        daemon.close()


async def test_whoever_asks_meanwhile_waits_for_the_same_measurement(learned: Vault) -> None:
    calls, go = [], threading.Event()

    def measurer(*_: Any, **__: Any) -> None:
        calls.append(1)
        assert go.wait(20)

    measuring = _Measuring(learned.state, Settings, lambda: NOW, measurer)
    asked = [asyncio.create_task(measuring.measured()) for _ in range(3)]
    while not calls:
        await asyncio.sleep(0.01)
    assert measuring.running
    asked[0].cancel()
    go.set()
    await asyncio.gather(*asked[1:])
    assert len(calls) == 1 and not measuring.running


async def test_a_failure_reaches_those_who_asked_and_closing_stops_it(learned: Vault) -> None:
    def measurer(*_: Any, stop: threading.Event, **__: Any) -> None:
        assert stop.wait(20)
        raise Conflict("A round is under way.")

    measuring = _Measuring(learned.state, Settings, lambda: NOW, measurer)
    asked = asyncio.create_task(measuring.measured())
    while not measuring.running:
        await asyncio.sleep(0.01)
    await measuring.close(20.0)
    with pytest.raises(Conflict):
        await asked
