"""What `serve` says and logs while it runs; a changed hour; a round of another process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.daemon.conftest import until
from tests.daemon.test_round_loop import FakeRound, scene
from vaultgpt.daemon.round_loop import _HOUR_KEY, _NIGHT_KEY, _last_night
from vaultgpt.daemon.telling import (
    FailureEvent,
    StartEvent,
    StepEvent,
    SwapEvent,
    VerdictEvent,
    _sentences,
    tell,
)
from vaultgpt.errors import Conflict
from vaultgpt.files import locked, write_json
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round
from vaultgpt.rounds.under_way import how_far, noted, under_way
from vaultgpt.server.events import Broker, Event
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState
from vaultgpt.wire import VerdictRow


class _With:
    """asyncio with another timeout."""

    Event = asyncio.Event

    def __init__(self, timeout: Callable[[float | None], asyncio.Timeout]) -> None:
        self.timeout = timeout


def verdict(promoted: bool, kind: str = "incremental") -> RoundAnswer:
    said: VerdictRow = {"promoted": promoted, "why": "Because."}
    return RoundAnswer(
        round=2,
        kind=kind,
        verdict=said,
        report=None,
        generation="g000002",
        sampled=False,
        why="18 words.",
    )


@pytest.mark.parametrize(
    ("event", "logged", "said"),
    [
        (
            StartEvent("18 words."),
            "round started",
            "A round starts. 18 words.",
        ),
        (VerdictEvent(verdict(True)), "round learned g000002", "Learned g000002: Because."),
        (VerdictEvent(verdict(False)), "round refused", "The old voice stays: Because."),
        (
            VerdictEvent(verdict(False, "none")),
            "round had nothing to learn",
            "Nothing was learned: Because.",
        ),
        (
            FailureEvent("No room.", "training"),
            "round failed",
            "The round failed: No room.",
        ),
        (SwapEvent("g000002"), "swapped to g000002", "From now on g000002 writes."),
        (
            SwapEvent(None),
            "swapped to the base alone",
            "From now on the base alone writes.",
        ),
    ],
)
def test_each_event_is_a_line_and_the_log_has_no_reason_of_the_gate_s(
    event: Event, logged: str, said: str
) -> None:
    assert _sentences(event) == (logged, said)
    assert _sentences(StepEvent({"fraction": 0.5})) is None


async def test_a_round_is_told_from_its_start_to_its_verdict(
    state: VaultState, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vaultgpt.daemon")
    async with scene(state, settings, FakeRound(promoted=True)) as s:
        await until(lambda: "verdict" in s.events())
        assert s.events()[0] == "started"
        broker = Broker()
        lines: list[str] = []
        task = asyncio.create_task(tell(broker, lines.append))
        await until(lambda: len(broker))
        for event in list(s.told.waiting):
            broker.publish(event)
        await until(lambda: len(lines) >= 2)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert "A round starts." in lines[0] and "Learned" in lines[1]
    assert "round started" in caplog.text and "Because" not in caplog.text


def test_a_changed_nightly_hour_starts_nothing_by_itself(state: VaultState) -> None:
    """1. The night of 23:00 was used. 2. At 14:00 the hour becomes 10:00, which has passed.

    Result: today's counts as used; with the same hour the next night is due as ever.
    """
    now = datetime(2026, 3, 14, 14, 0).timestamp()
    with Ledger.open(state) as ledger:
        ledger.set_meta(_NIGHT_KEY, "2026-03-13")
        ledger.set_meta(_HOUR_KEY, "23:00")
        assert str(_last_night(ledger, now, "10:00")) == "2026-03-14"
        assert str(_last_night(ledger, now, "23:00")) == "2026-03-13"
        ledger.set_meta(_HOUR_KEY, "10:00")
        assert str(_last_night(ledger, now, "10:00")) == "2026-03-13"


def test_a_round_of_any_process_is_seen_while_it_runs(state: VaultState) -> None:
    heard: list[Any] = []
    assert under_way(state) is None and how_far(None) == ""
    with noted(state, 0.0, heard.append) as hear:
        hear({"event": "progress", "phase": "train", "fraction": 0.43})
        found = under_way(state)
        assert found is not None and found["pid"] == os.getpid() and len(heard) == 1
    assert under_way(state) is None
    write_json(state.folder / "round.json", {"pid": 2**22 + 1, "phase": "train"})
    assert under_way(state) is None, "its process has gone"
    assert how_far({"phase": "train", "fraction": 0.43}) == "learning, 43 %"


def test_a_second_round_is_told_how_far_the_first_one_is(
    state: VaultState, settings: Settings
) -> None:
    with (
        locked(state.round_lock, AssertionError()),
        noted(state, 0.0, lambda _: None),
        pytest.raises(Conflict, match=r"since [0-9:]+, reading the vault, 0 %"),
    ):
        run_round(state, settings, manual=True, now=time.time)


async def test_who_tells_the_terminal_wakes_for_events_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float | None] = []

    def noted_wait(delay: float | None) -> asyncio.Timeout:
        waits.append(delay)
        return asyncio.timeout(delay)

    monkeypatch.setattr("vaultgpt.server.events.asyncio", _With(noted_wait))
    broker, lines = Broker(), list[str]()
    task = asyncio.create_task(tell(broker, lines.append))
    await until(lambda: bool(waits))
    broker.publish(SwapEvent(None))
    await until(lambda: bool(lines))
    broker.close()
    await task
    assert set(waits) == {None}
