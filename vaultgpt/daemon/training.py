"""The loop that starts rounds: facts to a decision, a decision to a round, a round to events.

Knows nothing about what a round does; it runs in a thread, and its trainer in a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from vaultgpt.config import Settings
from vaultgpt.daemon.conditions import gpu_busy, on_battery
from vaultgpt.daemon.logs import log
from vaultgpt.daemon.schedule import RECHECK_S, Decision, Facts, next_round
from vaultgpt.daemon.threads import LedgerThread, in_thread
from vaultgpt.errors import Conflict, VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.rounds import run_round, what_is_due
from vaultgpt.server.events import Broker
from vaultgpt.state import VaultState
from vaultgpt.workers import RoundStopped

NIGHT_KEY = "daemon_last_night"
RETRY_S, MOST_RETRY_S = 600.0, 86_400.0  # after a failed round; doubled each time
Runner = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """What a round was started for."""

    fresh: bool = False
    manual: bool = False
    nightly: bool = False


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
        on_done: Callable[[dict[str, Any]], Awaitable[None]],
        runner: Runner = run_round,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.progress: dict[str, Any] | None = None  # of the running round
        self.decision = Decision(None, "The vault has not been read yet.")
        self.problems: dict[str, str] = {}
        self._state, self._settings = state, settings
        self._reader, self._writer, self._broker = reader, writer, broker
        self._last_written, self._on_done, self._runner, self._now = (
            last_written, on_done, runner, now)
        self._flag = asyncio.Event()
        self._stop = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures, self._not_before, self._not_before_why = 0, 0.0, ""

    @property
    def running(self) -> bool:
        """Whether a round of ours runs."""
        return self._task is not None and not self._task.done()

    def poke(self) -> None:
        """Something changed: decide anew."""
        self._flag.set()

    async def run(self, ready: asyncio.Event) -> None:
        """Decide and start until cancelled; not before `ready`."""
        await ready.wait()
        while True:
            self._flag.clear()
            await self._decide()
            wait_s = RECHECK_S
            if self.decision.when is not None:
                wait_s = min(wait_s, max(0.05, self.decision.when - self._now()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._flag.wait()

    async def _decide(self) -> None:
        try:
            facts = await self._facts()
        except VaultGPTError as error:
            self.problems["schedule"] = str(error)
            self.decision = Decision(None, str(error))
            return
        except Exception as error:
            log.error("schedule failed: %s", type(error).__name__)
            self.problems["schedule"] = f"The schedule failed ({type(error).__name__})."
            self.decision = Decision(None, self.problems["schedule"])
            return
        self.problems.pop("schedule", None)
        now = self._now()
        decision = next_round(now, facts, self._settings().schedule)
        if (night := decision.night) is not None:
            await self._writer.do(lambda ledger: ledger.set_meta(NIGHT_KEY, night.isoformat()))
        self.decision = decision
        if decision.when is not None and decision.when <= now and not self.running:
            self._start(Asked(nightly=decision.cause == "night"))

    async def _facts(self) -> Facts:
        settings, now = self._settings(), self._now()
        paused = "training.pause is set: rounds wait to be asked." * settings.training.pause

        def of_ledger(ledger: Ledger) -> Facts:
            at_once = what_is_due(self._state, settings, ledger, now)
            nightly = what_is_due(self._state, settings, ledger, now, nightly=True)
            return Facts(due="" if at_once.kind == "none" else at_once.why,
                         nightly_due="" if nightly.kind == "none" else nightly.why,
                         idle=at_once.why, last_night=_day(ledger.meta(NIGHT_KEY)),
                         running=self.running, paused=paused, not_before=self._not_before,
                         not_before_why=self._not_before_why,
                         on_battery=on_battery(),
                         writing_until=self._last_written() + settings.schedule.writing_quiet_s)

        facts = await self._reader.do(of_ledger)
        if facts.due or facts.nightly_due:
            busy = await in_thread(lambda: gpu_busy(settings.training.device,
                                                    settings.schedule.gpu_busy_percent))
            facts = Facts(**{**facts.__dict__, "gpu_busy": busy})
        return facts

    async def ask(self, fresh: bool) -> dict[str, Any]:
        """A person wants a round now. Conflict while one runs."""
        if self.running:
            raise Conflict("A round is running already.", "`vaultgpt status` shows it.")
        settings, now = self._settings(), self._now()

        def kind(ledger: Ledger) -> str:
            from vaultgpt.bases import resolve
            from vaultgpt.training.plan import due

            return due(ledger, settings, resolve(settings.base, self._state), now, fresh=fresh,
                       manual=True).kind

        found = await self._reader.do(kind)
        if self.running:
            raise Conflict("A round is running already.", "`vaultgpt status` shows it.")
        self._start(Asked(fresh=fresh, manual=True))
        return {"started": True, "kind": found}

    def cancel(self) -> None:
        """End the running round; what it learned waits in its checkpoint. Conflict without one."""
        if not self.running:
            raise Conflict("No round is running.")
        self._stop.set()
        self._hold(RETRY_S, "The last round was cancelled; it is taken up again later.")

    async def close(self, limit_s: float) -> None:
        """End the running round and wait for its trainer to leave, at most `limit_s`."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=limit_s)

    def _start(self, asked: Asked) -> None:
        self._stop = threading.Event()
        self.progress = {"phase": "read", "fraction": 0.0, "kind": None, "started": self._now()}
        self._task = asyncio.create_task(self._round(asked, self._stop))

    async def _round(self, asked: Asked, stop: threading.Event) -> None:
        loop = asyncio.get_running_loop()

        def on_progress(frame: dict[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._heard, frame)

        try:
            answer = await in_thread(lambda: self._runner(
                self._state, self._settings(), fresh=asked.fresh, manual=asked.manual,
                nightly=asked.nightly, on_progress=on_progress, stop=stop, now=self._now))
        except Exception as error:
            self._failed(error)
        else:
            self._failures, self._not_before = 0, 0.0
            if not answer["verdict"]["promoted"]:  # whatever the ledger says, never round and round
                self._hold(RECHECK_S, answer["verdict"]["why"])
            self.problems.pop("round", None)
            await self._on_done(answer)
            self._broker.publish("verdict", answer)
        finally:
            self.progress = None
            loop.call_soon(self.poke)  # after this task has ended

    def _heard(self, frame: dict[str, Any]) -> None:
        shown = {k: v for k, v in frame.items() if k != "event"}
        self.progress = {**(self.progress or {}), **shown}
        self._broker.publish("progress", shown)

    def _failed(self, error: Exception) -> None:
        """Show it, say it, and try again later."""
        expected = isinstance(error, VaultGPTError)
        message = str(error) if expected else f"The round failed ({type(error).__name__})."
        if isinstance(error, Conflict):  # a round of the command line's: nothing is wrong
            self._hold(RECHECK_S, "Another round is under way.")
        elif not isinstance(error, RoundStopped):
            log.error("round failed: %s", type(error).__name__)
            self.problems["round"] = message
            wait_s = min(MOST_RETRY_S, RETRY_S * 2 ** min(10, self._failures))
            self._failures += 1
            self._hold(wait_s, "The last round failed; it is tried again later.")
        code = error.code if isinstance(error, VaultGPTError) else "internal"
        self._broker.publish("error", {"message": message, "code": code})

    def _hold(self, wait_s: float, why: str) -> None:
        """No round starts by itself for so long."""
        self._not_before, self._not_before_why = self._now() + wait_s, why


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
