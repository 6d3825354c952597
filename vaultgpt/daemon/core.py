"""The daemon: vault loop, round loop, mirror worker, and the Service that the API asks.

Knows nothing about HTTP or signals. One event loop; whatever blocks goes to a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from filelock import FileLock, Timeout

from vaultgpt import explain, history
from vaultgpt.config import Settings
from vaultgpt.daemon import runtime, status
from vaultgpt.daemon.logs import log
from vaultgpt.daemon.measuring import Measuring
from vaultgpt.daemon.threads import LedgerThread, in_thread
from vaultgpt.daemon.training import RoundLoop, Runner
from vaultgpt.daemon.watching import Hint, VaultLoop, make_watcher
from vaultgpt.errors import Conflict, UsageError, VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.rounds import repair, run_round
from vaultgpt.server.events import Broker
from vaultgpt.server.problems import Forbidden
from vaultgpt.state import VaultState
from vaultgpt.wire import Piece, Prompt, Usage
from vaultgpt.workers import MirrorProcess, Opening, mirror_opening

# What keeps a note from being learned but not from being written on: there is too little of it yet.
WRITABLE = frozenset({"few words", "empty"})
FIGURES_S = 60.0  # text grows quiet, and so ready to be learned, without any change


class Daemon:
    """One vault's daemon: server.service.Service is what it offers."""

    def __init__(
        self,
        state: VaultState,
        settings: Settings,
        *,
        watcher: Callable[[VaultState, Callable[[], None], float, float], Hint] = make_watcher,
        runner: Runner = run_round,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.state, self.broker, self._now = state, Broker(), now
        self.port = 0
        self._token, self._token_stamp = state.token(), self._stamp()
        self._requested = 0.0
        self._figures: dict[str, Any] = {}
        self._figures_at = 0.0  # 0 when they are out of date
        self._counting: asyncio.Future[dict[str, Any]] | None = None
        self._followed: object = None  # what the mirror was last told of
        self._reader = LedgerThread(state, "ledger-read")
        self._writer = LedgerThread(state, "ledger-write")
        self.vault = VaultLoop(state, settings, self._writer, self._scanned, watcher=watcher,
                               now=now)
        self.rounds = RoundLoop(
            state, lambda: self.settings, self._reader, self._writer, self.broker,
            last_written=lambda: max(self._requested, self.vault.last_saved),
            on_done=self._round_done, runner=runner, now=now)
        self.mirror = MirrorProcess(self._opening)
        self.measuring = Measuring(state, lambda: self.settings, now)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Mend what a crash left, begin to watch and to plan."""
        self._writer.later(self._repair)
        self._tasks = [asyncio.create_task(self.vault.run()),
                       asyncio.create_task(self.rounds.run(self.vault.scanned))]

    def _repair(self, ledger: Ledger) -> None:
        with contextlib.suppress(Timeout), FileLock(self.state.round_lock, timeout=0, mode=0o600):
            for _ in repair(self.state, ledger, self._now()):
                log.warning("the ledger and its folders were brought together again")

    async def stop(self) -> None:
        """End loops, rounds and workers, within some three seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self.rounds.close(3.0), self.measuring.close(3.0), self.mirror.stop(),
                             *self._tasks, return_exceptions=True)

    def close(self) -> None:
        """Write what still waits for the ledger, and close it."""
        self._writer.close()
        self._reader.close(0.5)

    # What the loops tell ------------------------------------------------------------------------

    def _scanned(self, read: int, gone: int) -> None:
        if read or gone:
            self._figures_at = 0.0
            self.broker.publish("scan", {"read": read, "gone": gone})
        self.rounds.poke()
        self._later(self._follow())  # others may have written into the ledger

    async def _round_done(self, answer: dict[str, Any]) -> None:
        self._figures_at = 0.0
        if answer["verdict"]["promoted"]:
            await self._follow()

    async def _follow(self) -> None:
        """Let the mirror take over what the ledger says is active, and the grown guard index."""
        active, kept = await self._reader.do(lambda ledger: (
            ledger.active(), tuple(g.id for g in ledger.generations())))
        wanted = (active, kept, self.settings.mirror, self.settings.base)
        before, self._followed = self._followed, wanted
        try:
            await self.mirror.reload_runs()
            if before != wanted:
                await self.mirror.activate()
            self.vault.problems.pop("mirror", None)
        except VaultGPTError as error:
            self._followed = None  # to be tried again after the next scan
            self.vault.problems["mirror"] = str(error)
            log.error("swap failed: %s", type(error).__name__)
        if isinstance(before, tuple) and before[0] != active:
            self._figures_at = 0.0
            self.broker.publish("swap", {"active": active})

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks = [t for t in self._tasks if not t.done()] + [task]

    async def _opening(self) -> Opening:
        return await self._reader.do(
            lambda ledger: mirror_opening(self.state, self.settings, ledger))

    # Service ------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings as last read."""
        return self.vault.settings

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self.state.token_path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def token(self) -> str:
        """The token; a rotated one counts from the next request on."""
        stamp = self._stamp()
        if stamp != self._token_stamp:
            self._token, self._token_stamp = self.state.token(), self._stamp()
            if self.port:
                runtime.write(self.state, self.port)
        return self._token

    def touch(self) -> None:
        """The author writes."""
        self._requested = self._now()

    async def status(self) -> dict[str, Any]:
        """CONTRACT's `status` and more; figures of the ledger are kept until something changes."""
        now = self._now()
        if self._counting is None or not 0 <= now - self._figures_at < FIGURES_S:
            self._figures_at = now
            self._counting = asyncio.ensure_future(self._reader.do(
                lambda ledger: status.figures(self.state, self.settings, ledger, now)))
        try:  # whoever asks meanwhile waits for the same figures, and is not told the old ones
            self._figures = await asyncio.shield(self._counting)
        except Exception:
            self._counting = None
            raise
        decision, ready = self.rounds.decision, self.mirror.ready
        return {
            **self._figures,
            "training": self.rounds.progress,
            "next_training": {"when": decision.when, "why": decision.why},
            "device": ready.get("device"),
            "problems": list({**self.vault.problems, **self.rounds.problems}.values()),
            "worker": {"running": self.mirror.running, "pid": self.mirror.pid,
                       "dtype": ready.get("dtype")},
        }

    async def generations(self) -> list[dict[str, Any]]:
        """Kept generations, newest first."""
        return await self._reader.do(history.history)

    async def report(self, measure: bool = False) -> dict[str, Any]:
        """The figures of the active generation; with `measure` its voice is measured first."""
        answer = await self._report()
        if not measure or answer["voice"] is not None:
            return answer
        if self.rounds.running:
            raise Conflict("A round is under way.", "Ask again when it has ended.")
        await self.measuring.measured()
        return await self._report()

    async def _report(self) -> dict[str, Any]:
        sampling = self.settings.mirror.sampling()
        return await self._reader.do(lambda ledger: history.report_of_active(ledger, sampling))

    async def tags(self) -> dict[str, Any]:
        """Tags and years with their counts."""
        return await self._reader.do(lambda ledger: ledger.census())

    async def note(self, path: str) -> dict[str, Any]:
        """Why one note is used or not; of one that no scan has seen, what its path says."""
        def find(ledger: Ledger) -> dict[str, Any]:
            if path not in ledger.stamps():
                return explain.unread(self.state, path)
            return explain.explain(self.state, path, ledger)

        try:
            return await self._reader.do(find)
        except UsageError as error:
            raise Forbidden(error.message, "path_not_allowed", error.mend, "path") from None

    async def check_note(self, path: str | None, tags: tuple[str, ...]) -> str | None:
        """One rule set for learning and writing. A note not yet on the disk goes by its path."""
        rules = self.settings.rules
        for tag in tags:
            for barred in (t.lower().lstrip("#") for t in rules.exclude_tags):
                if tag == barred or tag.startswith(barred + "/"):
                    raise Forbidden("The rules leave out notes with this tag.", "tag",
                                    param="vaultgpt.tags")
        return await in_thread(lambda: self._check_path(path)) if path is not None else None

    def _check_path(self, path: str) -> str | None:
        try:
            judgement, date = explain.judged(self.state.vault, self.settings.rules, path)
        except UsageError as error:
            raise Forbidden(error.message, "path_not_allowed", error.mend,
                            "vaultgpt.path") from None
        if not judgement.used and judgement.code not in WRITABLE:
            raise Forbidden(f"The rules leave this note out: {judgement.why}", judgement.code,
                            param="vaultgpt.path")
        return date

    def generate(self, prompt: Prompt) -> AsyncIterator[Piece | Usage]:
        """Pieces, then one Usage."""
        return self.mirror.generate(prompt)

    async def warm(self, prompt: Prompt) -> int:
        """Prefill the prompt."""
        return await self.mirror.warm(prompt)

    def note_emitted(self, text: str, path: str | None) -> None:
        """Kept before the author can save it: the writer's jobs run in order."""
        now = self._now()
        self._writer.later(lambda ledger: ledger.note_emitted(text, now, path))

    async def note_accepted(self, text: str, path: str | None) -> None:
        """Kept for ever."""
        now = self._now()
        await self._writer.do(lambda ledger: ledger.note_accepted(text, now, path))

    async def train(self, fresh: bool) -> dict[str, Any]:
        """A round now, whatever the conditions are."""
        if self.measuring.running:
            raise Conflict("The voice is being measured.", "Ask again in a minute.")
        return await self.rounds.ask(fresh)

    async def cancel_training(self) -> dict[str, Any]:
        """End the running round."""
        self.rounds.cancel()
        return {"cancelled": True}

    async def activate(self, generation: str) -> dict[str, Any]:
        """Another generation from the next request on; "base" for none."""
        await self._writer.do(
            lambda ledger: history.activate_generation(self.state, ledger, generation))
        await self._follow()
        self.rounds.poke()
        return {"active": None if generation == "base" else generation}

    async def forget(self, path: str) -> dict[str, Any]:
        """Bar the note's words at once; the round without it is due."""
        answer = await self._writer.do(
            lambda ledger: history.forget_note(self.state, path, ledger))
        self._figures_at = 0.0
        await self._follow()
        self.rounds.poke()
        return answer

    async def reload(self) -> dict[str, Any]:
        """Settings, token, ledger and vault anew."""
        self.token()
        await self.vault.reload()
        self._figures_at = 0.0
        await self._follow()
        self.vault.poke()
        self.rounds.poke()
        return {"ok": True}

    def gauges(self) -> dict[str, float]:
        """Figures for /metrics."""
        names = ("notes", "words", "pending_notes")
        known = {n: float(self._figures[n]) for n in names if self._figures.get(n) is not None}
        return {**known, "training": float(self.rounds.running),
                "mirror_running": float(self.mirror.running),
                "listeners": float(len(self.broker)),
                "problems": float(len(self.vault.problems) + len(self.rounds.problems))}
