"""The loop that starts rounds, with the round itself as the one fake seam."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conftest import record, until
from vaultgpt.daemon import round_loop
from vaultgpt.daemon.round_loop import RETRY_S, RoundLoop
from vaultgpt.daemon.threads import LedgerThread
from vaultgpt.errors import Conflict, TrainingError
from vaultgpt.options import with_option
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.server.events import Broker, _Listener
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState, create_state
from vaultgpt.training.plan import Due
from vaultgpt.training.round import Asked
from vaultgpt.wire import Hear
from vaultgpt.workers.process import RoundStopped


@dataclass
class FakeRound:
    """Stands for rounds.run_round: remembers how it was called, answers or fails as told."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    failure: Exception | None = None
    hold: bool = False
    promoted: bool = False

    def __call__(
        self,
        state: VaultState,
        settings: Settings,
        *,
        fresh: bool,
        manual: bool,
        nightly: bool,
        found: Due,
        on_progress: Hear,
        stop: threading.Event,
        now: Callable[[], float],
        in_use: Callable[[], bool],
    ) -> Any:
        self.calls.append({"fresh": fresh, "manual": manual, "nightly": nightly})
        self.in_use = in_use
        on_progress({"event": "progress", "phase": "train", "fraction": 0.5})
        if self.hold:
            assert stop.wait(30)
            raise RoundStopped("The round was stopped.")
        if self.failure is not None:
            raise self.failure
        return {
            "round": 1,
            "kind": "fresh",
            "generation": None,
            "verdict": {"promoted": self.promoted, "why": "Because."},
        }


@dataclass
class Clock:
    """A clock that the test moves."""

    value: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.value


@dataclass
class Scene:
    """One loop and what surrounds it."""

    loop: RoundLoop
    clock: Clock
    told: _Listener
    done: list[RoundAnswer]

    def events(self) -> list[str]:
        return [event.name for event in self.told.waiting]


@asynccontextmanager
async def scene(
    state: VaultState,
    settings: Settings,
    fake: FakeRound,
    *,
    written: float | Clock = 0.0,
    at: float | None = None,
) -> AsyncIterator[Scene]:
    record(state)
    reader, writer, broker = LedgerThread(state, "r"), LedgerThread(state, "w"), Broker()
    clock, done = Clock(time.time() if at is None else at), []

    async def on_done(answer: RoundAnswer) -> None:
        done.append(answer)

    loop = RoundLoop(
        state,
        lambda: settings,
        reader,
        writer,
        broker,
        last_written=written if isinstance(written, Clock) else lambda: written,
        on_done=on_done,
        runner=fake,
        now=clock,
    )
    ready = asyncio.Event()
    ready.set()
    with broker.subscribe() as told:
        task = asyncio.create_task(loop.run(ready))
        try:
            yield Scene(loop, clock, told, done)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await loop.close(5)
            writer.close()
            reader.close()


async def test_the_first_round_starts_by_itself_and_its_verdict_is_told(
    state: VaultState, settings: Settings
) -> None:
    fake = FakeRound()
    async with scene(state, settings, fake) as s:
        await until(lambda: s.done)
        assert fake.calls[0] == {"fresh": False, "manual": False, "nightly": False}
        await until(lambda: "verdict" in s.events())
        assert "progress" in s.events()


async def test_nothing_starts_before_the_vault_has_been_read(
    state: VaultState, settings: Settings
) -> None:
    fake = FakeRound()
    loop = RoundLoop(
        state,
        lambda: settings,
        LedgerThread(state, "r"),
        LedgerThread(state, "w"),
        Broker(),
        last_written=lambda: 0.0,
        on_done=None,  # type: ignore[arg-type]
        runner=fake,
    )
    task = asyncio.create_task(loop.run(asyncio.Event()))
    await asyncio.sleep(0)
    assert "not been read" in loop.decision.why and not fake.calls
    task.cancel()


async def test_a_pause_starts_nothing(state: VaultState, settings: Settings) -> None:
    fake = FakeRound()
    async with scene(state, with_option(settings, "training.pause", True), fake) as s:
        await until(lambda: "pause" in s.loop.decision.why)
        assert not fake.calls


async def test_writing_delays_a_round_that_nobody_asked_for_and_not_one_that_was(
    state: VaultState, settings: Settings
) -> None:
    fake = FakeRound()
    now = time.time()
    async with scene(state, settings, fake, written=now) as s:
        await until(lambda: "while you write" in s.loop.decision.why)
        assert s.loop.decision.when == pytest.approx(now + 300) and not fake.calls
        answer = await s.loop.ask(fresh=True)
        assert answer["started"] and answer["kind"] == "fresh" and answer["takes_s"] is None
        await until(lambda: s.done)
        assert fake.calls == [{"fresh": True, "manual": True, "nightly": False}]
        s.clock.value += 301
        s.loop.poke()
        await until(lambda: len(fake.calls) == 2)


async def test_a_round_that_was_asked_for_yields_to_what_is_written_since(
    state: VaultState, settings: Settings
) -> None:
    """1. A note is saved, and a round asked for at once: it does not yield. 2. Another is saved.
    3. A minute passes. Result: it yields to the second, and for that minute."""
    fake, written = FakeRound(hold=True), Clock()
    async with scene(state, settings, fake, written=written, at=written.value + 1) as s:
        await s.loop.ask(fresh=True)
        await until(lambda: fake.calls)
        assert not fake.in_use()
        s.clock.value += 10
        written.value = s.clock.value
        assert fake.in_use()
        s.clock.value += 61
        assert not fake.in_use()


async def test_a_refused_round_is_not_started_again_at_once_whatever_the_ledger_says(
    state: VaultState, settings: Settings
) -> None:
    fake = FakeRound()
    async with scene(state, settings, fake) as s:
        await until(lambda: s.done and s.loop.decision.why == "Because.")
        assert s.loop.decision.when == pytest.approx(s.clock.value + 60) and len(fake.calls) == 1


async def test_after_a_promotion_the_next_round_that_is_due_follows_at_once(
    state: VaultState, settings: Settings
) -> None:
    fake = FakeRound(promoted=True)
    async with scene(state, settings, fake):
        await until(lambda: len(fake.calls) > 1)


async def test_a_failed_round_is_a_problem_and_is_tried_again_later_and_later(
    state: VaultState, settings: Settings
) -> None:
    """1. The trainer dies. 2. Ten minutes pass. 3. It dies again. 4. Ten more pass: not yet.

    Result: status names the failure, the waits double, and a success forgets them.
    """
    fake = FakeRound(failure=TrainingError("The trainer died.", "Try again."))
    async with scene(state, settings, fake) as s:
        await until(lambda: s.loop.problems.get("round"))
        await until(lambda: s.loop.decision.when == pytest.approx(s.clock.value + RETRY_S))
        assert len(fake.calls) == 1 and "error" in s.events()
        s.clock.value += RETRY_S + 1
        s.loop.poke()
        await until(lambda: len(fake.calls) == 2)
        await until(lambda: s.loop.decision.when == pytest.approx(s.clock.value + 2 * RETRY_S))
        fake.failure = None
        s.clock.value += 2 * RETRY_S + 1
        s.loop.poke()
        await until(lambda: s.done)
        assert not s.loop.problems


async def test_a_clock_that_was_ahead_holds_nothing_up(
    state: VaultState, settings: Settings
) -> None:
    """1. On a clock a year ahead a note is saved and the trainer dies. 2. The clock is set right.
    3. The waits after a failure and after writing pass.

    Result: the round is tried again then, not in a year.
    """
    year, now = 365 * 86_400.0, time.time()
    settings = replace(settings, schedule=replace(settings.schedule, while_writing=False))
    fake = FakeRound(failure=TrainingError("The trainer died.", "Try again."))
    async with scene(state, settings, fake, written=now + year - 10_000) as s:
        s.clock.value = now + year
        s.loop.poke()
        await until(lambda: s.loop.problems.get("round") and not s.loop.running)
        s.clock.value, calls = now, len(fake.calls)
        s.loop.poke()
        await until(lambda: (s.loop.decision.when or now + year) <= now + RETRY_S + 1)
        s.clock.value += max(RETRY_S, settings.schedule.writing_quiet_s) + 2
        s.loop.poke()
        await until(lambda: len(fake.calls) > calls)


async def test_an_unexpected_failure_shows_its_class_alone(
    state: VaultState, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeRound(failure=RuntimeError("dear diary"))
    async with scene(state, settings, fake) as s:
        await until(lambda: s.loop.problems.get("round"))
        assert "RuntimeError" in s.loop.problems["round"]
        assert "diary" not in str(s.loop.problems) + caplog.text


async def test_a_round_of_the_command_line_is_no_problem(
    state: VaultState, settings: Settings
) -> None:
    fake = FakeRound(failure=Conflict("A round is under way already."))
    async with scene(state, settings, fake) as s:
        await until(lambda: fake.calls and "Another round" in s.loop.decision.why)
        assert not s.loop.problems


async def test_one_round_at_a_time_and_it_can_be_cancelled(
    state: VaultState, settings: Settings
) -> None:
    fake = FakeRound(hold=True)
    async with scene(state, settings, fake) as s:
        await until(lambda: s.loop.progress and s.loop.progress.get("fraction") == 0.5)
        with pytest.raises(Conflict):
            await s.loop.ask(fresh=False)
        s.loop.cancel()
        await until(lambda: not s.loop.running)
        await until(lambda: "cancelled" in s.loop.decision.why)
        assert len(fake.calls) == 1 and not s.loop.problems, "it does not start again at once"
        with pytest.raises(Conflict):
            s.loop.cancel()


async def test_closing_ends_the_round(state: VaultState, settings: Settings) -> None:
    fake = FakeRound(hold=True)
    async with scene(state, settings, fake) as s:
        await until(lambda: s.loop.running)
        began = time.monotonic()
        await s.loop.close(5)
        assert not s.loop.running and time.monotonic() - began < 3


async def test_the_night_is_kept_in_the_ledger(state: VaultState, settings: Settings) -> None:
    """1. Nothing is due today. 2. The decision is made. 3. Another daemon opens the ledger.

    Result: it knows which night has passed, so that a restart does not repeat it.
    """
    few = FakeRound()
    for note in list(state.vault.rglob("*.md"))[2:]:
        note.unlink()
    async with scene(state, settings, few) as s:
        await until(lambda: s.loop.decision.when and "2,000" in s.loop.decision.why)
        thread = LedgerThread(state, "again")
        kept = await thread.do(lambda ledger: ledger.meta("daemon_last_night"))
        thread.close()
        assert kept and not few.calls


async def test_a_night_that_was_slept_through_is_learned_once_after_waking(
    state: VaultState, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A round at night is due; at ten in the evening the machine sleeps. 2. It wakes at eight,
    and is asked all day. 3. It sleeps through the next night too, of whose notes nothing is new.

    Result: one round after the first waking, none later that day, and none for the second night.
    """
    due = {True: "400 new words wait."}
    monkeypatch.setattr(round_loop, "what_is_due", lambda *a: _due(due.get(len(a) > 4, "")))
    fake, evening = FakeRound(promoted=True), _local("2026-11-23 22:00")
    async with scene(state, settings, fake, at=evening) as s:
        await until(lambda: s.loop.decision.when == _local("2026-11-24 03:00"))
        assert not fake.calls
        for hour in (10, 11, 14, 20):
            s.clock.value = evening + hour * 3600
            s.loop.poke()
            await until(lambda: s.loop.decision.when == _local("2026-11-25 03:00") and s.done)
            assert [call["nightly"] for call in fake.calls] == [True]
        due.clear()
        s.clock.value = evening + 36 * 3600
        s.loop.poke()
        await until(lambda: s.loop.decision.when == _local("2026-11-26 03:00"))
        assert len(fake.calls) == 1


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_look_asks_of_the_night_only_where_nothing_is_due_at_once(
    state: VaultState, settings: Settings, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    asked: list[Asked] = []

    def found(*given: Any) -> Due:
        asked.append(given[4] if len(given) > 4 else Asked())
        return _due("400 new words wait." if at_once or asked[-1].nightly else "")

    monkeypatch.setattr(round_loop, "what_is_due", found)
    evening = _local("2026-11-23 22:00")
    async with scene(state, settings, FakeRound(hold=True), at=evening) as s:
        await until(lambda: s.loop.running if at_once else s.loop.decision.when)
        assert asked == [Asked()] if at_once else [Asked(), Asked(nightly=True)]


async def test_a_long_round_pauses_when_the_night_ends_and_goes_on_in_the_next(
    state: VaultState, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A round of 33 hours is due by day. 2. Night. 3. Seven in the morning. 4. The next night,
    where it is stopped by hand. 5. It is asked for by day, until the next morning.

    Result: it runs from three to seven; once stopped it waits for the night; a person's runs on.
    """
    long = Due("fresh", "The whole vault is due. That takes about 33 hours.", "base", 118_800.0)
    monkeypatch.setattr(round_loop, "what_is_due", lambda *a, **k: long)
    settings = replace(settings, schedule=replace(settings.schedule, until="07:00"))
    fake = FakeRound(hold=True)
    async with scene(state, settings, fake, at=_local("2026-11-23 14:00")) as s:
        await until(lambda: s.loop.decision.when == _local("2026-11-24 03:00"))
        assert not fake.calls and s.loop.decision.why == long.why

        async def clock(moment: str) -> None:
            s.clock.value = _local(moment)
            s.loop.poke()
            await asyncio.sleep(0)

        def under_way() -> bool:
            return s.loop.progress is not None

        await clock("2026-11-24 03:00")
        await until(lambda: s.loop.running and len(fake.calls) == 1)
        await clock("2026-11-24 06:59")
        assert under_way()
        await clock("2026-11-24 07:00")
        await until(lambda: s.loop.decision.when == _local("2026-11-25 03:00"))
        assert not under_way() and not s.loop.problems
        await clock("2026-11-25 03:00")
        await until(lambda: s.loop.running and len(fake.calls) == 2)
        s.loop.cancel()
        await until(lambda: s.loop.decision.when == _local("2026-11-26 03:00"))
        assert "goes on at night" in s.loop.decision.why
        await clock("2026-11-25 12:00")
        assert await s.loop.ask(fresh=False) == {
            "started": True,
            "kind": "fresh",
            "why": long.why,
            "takes_s": 118_800.0,
        }
        await clock("2026-11-26 12:00")
        await until(lambda: s.loop.decision.why == "A round is running.")
        assert under_way() and len(fake.calls) == 3


@pytest.mark.parametrize("what", ["clock", "until"])
async def test_a_long_round_pauses_too_where_the_clock_or_the_end_of_the_night_was_set_anew(
    state: VaultState, settings: Settings, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """1. A long round runs at four in the night. 2. The clock is set to the evening before; or the
    night to end at half past three. Result: it pauses within a minute."""
    long = Due("fresh", "The whole vault is due. That takes about 33 hours.", "base", 118_800.0)
    monkeypatch.setattr(round_loop, "what_is_due", lambda *a, **k: long)
    nights = replace(settings, schedule=replace(settings.schedule, until="07:00"))
    fake = FakeRound(hold=True)
    async with scene(state, nights, fake, at=_local("2026-11-24 04:00")) as s:
        await until(lambda: s.loop.running and fake.calls)
        if what == "clock":
            s.clock.value = _local("2026-11-23 20:00")
        else:
            sooner = replace(nights, schedule=replace(nights.schedule, until="03:30"))
            s.loop._settings = lambda: sooner
        s.loop.poke()
        await until(lambda: not s.loop.running)
        assert len(fake.calls) == 1


async def test_a_round_that_is_given_up_as_it_runs_ends_and_does_not_begin_again(
    state: VaultState, settings: Settings
) -> None:
    """1. No round runs. 2. One that is due does. 3. Its end, for good. Result: nothing; it has
    ended, nothing begins for ten minutes, and that is said."""
    fake = FakeRound(hold=True)
    async with scene(state, settings, fake) as s:
        await until(lambda: s.loop.running)
        await s.loop.end()
        assert not s.loop.running
        s.loop.poke()
        await until(lambda: "given up" in s.loop.decision.why)
        assert s.loop.decision.when == pytest.approx(s.clock.value + RETRY_S)
        await s.loop.end()
        assert len(fake.calls) == 1


async def test_a_round_that_is_asked_for_while_another_is_decided_is_the_only_one(
    state: VaultState, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Night: a round is due, and the ledger is being written. 2. A person asks for one. 3. The
    ledger is free. Result: theirs runs, alone; no failure is told, and a cancel ends it."""
    monkeypatch.setattr(
        round_loop, "what_is_due", lambda *a: _due("400 new words wait." if len(a) > 4 else "")
    )
    fake, free = FakeRound(hold=True), threading.Event()
    async with scene(state, settings, fake, at=_local("2026-11-23 22:00")) as s:
        await until(lambda: s.loop.decision.when == _local("2026-11-24 03:00"))
        s.loop._writer.later(lambda ledger: free.wait(30))
        try:
            s.clock.value = _local("2026-11-24 03:01")
            s.loop.poke()
            await until(lambda: s.loop._turn.is_locked)
            await s.loop.ask(fresh=True)
            await until(lambda: fake.calls)
        finally:
            free.set()
        await until(lambda: s.loop.decision.why == "A round is running.")
        assert [call["manual"] for call in fake.calls] == [True] and s.loop.running
        assert "error" not in s.events() and not s.loop._turn.is_locked
        s.loop.cancel()
        await until(lambda: not s.loop.running)
        assert len(fake.calls) == 1


def _due(why: str) -> Due:
    return Due("incremental" if why else "none", why, "new")


def _local(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M"))


async def test_two_vaults_of_a_machine_learn_one_after_the_other(
    state: VaultState, settings: Settings, tmp_path: Path
) -> None:
    """1. One vault's round is under way. 2. Another's is due. 3. The first one ends.

    Result: the second waits, says for what, and learns next; a round that a person asks for waits
    for nobody.
    """
    shutil.copytree(state.vault, tmp_path / "other")
    other = create_state(tmp_path / "other")
    first, second = FakeRound(hold=True), FakeRound()
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(scene(state, settings, first))
        await until(lambda: one.loop.running)
        two = await stack.enter_async_context(scene(other, settings, second))
        await until(lambda: "another vault" in two.loop.decision.why)
        assert not two.loop.running and not second.calls
        await two.loop.ask(fresh=True)
        await until(lambda: len(second.calls) == 1 and not two.loop.running)
        one.loop.cancel()
        await until(lambda: not one.loop.running)
        two.clock.value += RETRY_S
        two.loop.poke()
        await until(lambda: len(second.calls) == 2)
        assert [call["manual"] for call in second.calls] == [True, False]
