"""The loop that starts rounds: facts to a decision, a decision to a round, a round to events.

Knows nothing about what a round does; it runs in a thread, and its trainer in a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from typing import cast

from filelock import FileLock, Timeout

from vaultgpt.daemon.conditions import gpu_busy, on_battery
from vaultgpt.daemon.schedule import (
    RECHECK_S,
    Decision,
    Facts,
    latest_night,
    next_night,
    next_round,
    night_end,
)
from vaultgpt.daemon.telling import FailureEvent, SayEvent, StartEvent, StepEvent, VerdictEvent, log
from vaultgpt.daemon.threads import LedgerThread, in_thread
from vaultgpt.errors import Conflict, VaultGPTError, expected
from vaultgpt.files import PRIVATE_FILE
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.ending import end_paused, must_stop
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round, what_is_due
from vaultgpt.rounds.under_way import RoundProgress, how_far
from vaultgpt.server.events import Broker
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState, state_root
from vaultgpt.tasks.train import Started
from vaultgpt.training.plan import Due
from vaultgpt.training.round import Asked
from vaultgpt.wire import ProgressEvent
from vaultgpt.workers.process import RoundStopped

_LEAVE_S = 15.0  # for a trainer that was told to stop
_NIGHT_KEY = "daemon_last_night"
_IN_USE_S = 60.0  # after the last request or saved note
_LOOK_S = 600.0  # whatever is foreseen: clocks are set, and machines sleep
_HOUR_KEY = "daemon_nightly"  # the hour that the last night was reckoned by
RETRY_S, _MOST_RETRY_S = 600.0, 86_400.0  # after a failed round; doubled each time
Runner = Callable[..., RoundAnswer]


class RoundLoop:
    """Starts rounds when they are due, one at a time, and tells what happens."""

    def __init__(
        self,
        state: VaultState,
        settings: Callable[[], Settings],
        reader: LedgerThread,
        writer: LedgerThread,
        broker: Broker,
        *,
        last_written: Callable[[], float],
        pause: Callable[[], str] = lambda: "",
        on_done: Callable[[RoundAnswer], Awaitable[None]],
        on_end: Callable[[], None] = lambda: None,
        runner: Runner = run_round,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.progress: RoundProgress | None = None
        self.decision = Decision(None, "The vault has not been read yet.")
        self.problems: dict[str, str] = {}
        self._state, self._settings = state, settings
        self._reader, self._writer, self._broker = reader, writer, broker
        self._pause = pause
        self._last_written, self._runner, self._now = last_written, runner, now
        self._on_done, self._on_end = on_done, on_end
        self._flag = asyncio.Event()
        self._turn = FileLock(state_root() / "round.turn", timeout=0, mode=PRIVATE_FILE)
        self._stop = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures, self._hold_s, self._held_since, self._held_why = 0, 0.0, 0.0, ""
        self._hour = ""  # the nightly hour as it was last kept
        self._long = False  # whether the round that runs takes many minutes
        self._by_night = False  # whether it pauses when the night ends
        self._text = True  # what may be learned may be other text than at the last look
        self._ahead = (0.0, 0.0)  # a last writing in the future, and when that was noticed

    @property
    def running(self) -> bool:
        """Whether a round of ours runs."""
        return self._task is not None and not self._task.done()

    def poke(self, text: bool = False) -> None:
        """Something changed, the vault's `text` perhaps: decide anew."""
        self._text = self._text or text
        self._flag.set()

    async def run(self, ready: asyncio.Event) -> None:
        """Decide and start until cancelled; not before `ready`."""
        await ready.wait()
        while True:
            self._flag.clear()
            await self._decide()
            wait_s = RECHECK_S if "schedule" in self.problems else _LOOK_S
            wait_s = min(wait_s, self._night_left_s())
            if self.decision.when is not None:
                wait_s = min(wait_s, max(0.05, self.decision.when - self._now()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._flag.wait()

    def _night_left_s(self) -> float:
        """A long round that nobody asked for goes on another night: for how long it may learn now.

        Asked of the clock each time, which may have been set, or another `until`."""
        ends = night_end(self._now(), self._settings().schedule) if self._by_night else None
        if ends is None:
            return _LOOK_S
        if (left_s := ends - self._now()) <= 0:
            self._by_night = False
            self._stop.set()
        return min(RECHECK_S, max(0.05, left_s))

    async def _look_at_text(self) -> None:
        """End a long round, paused or under way, that learns what must not be learned any more."""
        if not self._text:
            return
        self._text = False
        try:
            if not self.running:
                await self._writer.do(lambda ledger: end_paused(self._state, ledger, self._now()))
            elif await self._reader.do(must_stop):
                self._stop.set()
                self._text = True  # once it has ended its text is erased
        except Exception:
            self._text = True
            raise

    async def _decide(self) -> None:
        try:
            await self._look_at_text()
            facts, due = await self._facts()
        except VaultGPTError as error:
            self.problems["schedule"] = str(error)
            self.decision = Decision(None, str(error))
            return
        except Exception as error:
            log.error("schedule failed: %s", type(error).__name__)
            known = self._state.gone() or expected(error)
            said = f"The schedule failed ({type(error).__name__})."
            self.problems["schedule"] = str(known or said)
            self.decision = Decision(None, self.problems["schedule"])
            return
        self.problems.pop("schedule", None)
        if not facts.due and not facts.nightly_due:
            self.problems.pop("round", None)  # what failed is no longer wanted, or done by others
        now = self._now()
        decision = next_round(now, facts, self._settings().schedule)
        starts = decision.when is not None and decision.when <= now and not self.running
        if starts and not self._take_turn():
            waits = f"Waits while another vault of this machine learns. {decision.why}"
            decision, starts = Decision(now + RECHECK_S, waits), False
        night, hour = decision.night, self._settings().schedule.nightly
        if night is not None or hour != self._hour:

            def keep(ledger: Ledger) -> None:
                ledger.set_meta(_HOUR_KEY, hour)
                if kept := night or facts.last_night:
                    ledger.set_meta(_NIGHT_KEY, kept.isoformat())

            await self._writer.do(keep)
            self._hour = hour
        self.decision = decision
        if starts and (self.running or not self._turn.is_locked):
            self._turn.release()  # one was asked for while the night was kept, and may have ended
            starts = False
        if starts:
            self._start(Asked(nightly=decision.cause == "night"), due, decision.why)
            self._by_night = facts.long

    def _take_turn(self) -> bool:
        """Whether no other vault's daemon holds it: at three at night twenty would learn at once.

        Only rounds that nobody asked for take turns."""
        try:
            self._turn.acquire()
        except Timeout:
            return False
        return True

    async def _facts(self) -> tuple[Facts, Due]:
        settings, now = self._settings(), self._now()
        self._held_since = min(self._held_since, now)  # a clock that was ahead holds nothing up
        paused = self._pause() or "it learns when you ask (training.pause is true)." * (
            settings.training.pause
        )

        def of_ledger(ledger: Ledger) -> tuple[Facts, Due]:
            found = at_once = what_is_due(self._state, settings, ledger, now)
            if at_once.kind == "none":
                found = what_is_due(self._state, settings, ledger, now, Asked(nightly=True))
            why = "" if found.kind == "none" else found.why
            facts = Facts(
                due=why if found is at_once else "",
                nightly_due=why,
                long=found.takes_s is not None,
                idle=at_once.why,
                last_night=_last_night(ledger, now, settings.schedule.nightly),
                running=self.running,
                paused=paused,
                not_before=self._held_since + self._hold_s,
                not_before_why=self._held_why,
                on_battery=on_battery(),
                writing_until=self._written(now) + settings.schedule.writing_quiet_s,
            )
            return facts, found

        facts, found = await self._reader.do(of_ledger)
        if facts.due or facts.nightly_due:
            busy = await in_thread(
                lambda: gpu_busy(settings.training.device, settings.schedule.gpu_busy_percent)
            )
            facts = replace(facts, gpu_busy=busy)
        return facts, found

    async def ask(self, fresh: bool) -> Started:
        """A person wants a round now. Conflict while one runs."""
        if self.running:
            raise self._busy()
        settings, now = self._settings(), self._now()
        if why := self._pause():
            raise Conflict(why)
        asked = Asked(fresh=fresh, manual=True)
        found = await self._reader.do(
            lambda ledger: what_is_due(self._state, settings, ledger, now, asked)
        )
        if self.running:
            raise self._busy()
        self._start(asked, found, "You asked for it." if found.takes_s is None else found.why)
        return Started(started=True, kind=found.kind, why=found.why, takes_s=found.takes_s)

    def _busy(self) -> Conflict:
        far = how_far(self.progress)
        return Conflict(
            f"A round is running already{': ' * bool(far)}{far}.", "`vaultgpt status` shows it."
        )

    def cancel(self) -> None:
        """End the running round; what it learned waits in its checkpoint. Conflict without one."""
        if not self.running:
            raise Conflict("No round is running.")
        self._stop.set()
        night = next_night(self._now(), self._settings().schedule) if self._long else None
        if night is None:
            self._hold(RETRY_S, "The last round was cancelled; it is taken up again later.")
        else:
            self._hold(night - self._now(), "The last round was cancelled; it goes on at night.")

    async def end(self) -> None:
        """End the round that runs, if any, for good; none begins by itself for a while."""
        if self.running:
            self._hold(RETRY_S, "A round was given up a moment ago.")
            await self.close(_LEAVE_S)

    async def close(self, limit_s: float) -> None:
        """End the running round and wait for its trainer to leave, at most `limit_s`."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=limit_s)

    def _start(self, asked: Asked, found: Due, why: str) -> None:
        self._stop, self._by_night = threading.Event(), False
        self._long = found.takes_s is not None
        self.progress = {"phase": "read", "fraction": 0.0, "kind": None, "started": self._now()}
        self._broker.publish(StartEvent(why))
        self._task = asyncio.create_task(self._round(asked, found, self._stop))

    async def _round(self, asked: Asked, found: Due, stop: threading.Event) -> None:
        loop = asyncio.get_running_loop()

        def on_progress(frame: ProgressEvent) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._heard, frame)

        try:
            answer = await in_thread(
                lambda: self._runner(
                    self._state,
                    self._settings(),
                    fresh=asked.fresh,
                    manual=asked.manual,
                    nightly=asked.nightly,
                    found=found,
                    on_progress=on_progress,
                    stop=stop,
                    now=self._now,
                    in_use=self._in_use,
                )
            )
        except Exception as error:
            self._failed(error)
        else:
            self._failures, self._hold_s = 0, 0.0
            if not answer["verdict"]["promoted"]:  # whatever the ledger says, never round and round
                self._hold(RECHECK_S, answer["verdict"]["why"])
            self.problems.pop("round", None)
            await self._on_done(answer)
            self._broker.publish(VerdictEvent(answer))
        finally:
            self._turn.release()
            self.progress, self._by_night = None, False
            self._on_end()
            loop.call_soon(self.poke)  # after this task has ended

    def _in_use(self) -> bool:
        """Whether the author writes, or asks for text: then even a round of their own yields.

        What they wrote before they asked for it keeps nobody waiting."""
        now, began = self._now(), (self.progress or RoundProgress()).get("started", 0.0)
        last = self._written(now)
        return last > began and now - last < _IN_USE_S

    def _heard(self, frame: ProgressEvent) -> None:
        if frame.get("event") == "say":
            self._broker.publish(SayEvent(frame["text"]))
            return
        shown = cast(RoundProgress, {k: v for k, v in frame.items() if k != "event"})
        self.progress = {**(self.progress or RoundProgress()), **shown}
        self._broker.publish(StepEvent(shown))

    def _failed(self, error: Exception) -> None:
        """Show it, say it, and try again later."""
        known = self._state.gone() or expected(error)
        message = str(known or f"The round failed ({type(error).__name__}).")
        if isinstance(error, Conflict):  # a round of the command line's: nothing is wrong
            self._hold(RECHECK_S, "Another round is under way.")
        elif not isinstance(error, RoundStopped):
            log.error("round failed: %s", type(error).__name__)
            self.problems["round"] = message
            wait_s = min(_MOST_RETRY_S, RETRY_S * 2 ** min(10, self._failures))
            self._failures += 1
            self._hold(wait_s, "The last round failed; it is tried again later.")
        code = error.code if isinstance(error, VaultGPTError) else "internal"
        self._broker.publish(FailureEvent(message, code))

    def _hold(self, wait_s: float, why: str) -> None:
        """No round starts by itself for so long."""
        self._held_since, self._hold_s, self._held_why = self._now(), wait_s, why

    def _written(self, now: float) -> float:
        """When the author last wrote. A stamp in the future counts as the moment it is noticed."""
        last = self._last_written()
        if last <= now:
            return last
        if self._ahead[0] != last:
            self._ahead = (last, now)
        return min(self._ahead[1], now)


def _last_night(ledger: Ledger, now: float, nightly: str) -> date | None:
    """The night that was used last. Another hour than it was reckoned by begins tomorrow."""
    known, hour = _day(ledger.meta(_NIGHT_KEY)), ledger.meta(_HOUR_KEY)
    if known is None or nightly == "off" or hour in (None, nightly):
        return known
    return latest_night(now, nightly)


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
