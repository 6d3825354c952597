"""The daemon: vault loop, round loop, mirror worker, and the Service that the API asks.

Knows nothing about HTTP or signals. One event loop; whatever blocks goes to a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel

from vaultgpt.daemon.round_loop import RoundLoop, Runner
from vaultgpt.daemon.telling import ScanEvent, SwapEvent, log
from vaultgpt.daemon.threads import LedgerThread, in_thread
from vaultgpt.daemon.vault_loop import Hint, VaultLoop, make_watcher
from vaultgpt.daemon.vault_mirror import VaultMirror
from vaultgpt.errors import Conflict, Forbidden, NotFound, UsageError
from vaultgpt.ledger import Ledger
from vaultgpt.report.job import VoiceFigures
from vaultgpt.report.measured import measure_voice
from vaultgpt.rounds.mend import repair
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round
from vaultgpt.rounds.under_way import under_way
from vaultgpt.server.events import Broker
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState
from vaultgpt.tasks.config import RELOAD, SET_OPTION, Done, OptionRow, SetRequest, set_option
from vaultgpt.tasks.likeness import LIKENESS, LikenessAnswer, LikenessRequest, judged, read_passages
from vaultgpt.tasks.report import MEASURE, REPORT, ReportAnswer
from vaultgpt.tasks.status import STATUS, Figures, Status, figures, told_problems
from vaultgpt.tasks.train import CANCEL, GIVE_UP, TRAIN, CancelAnswer, Started, TrainRequest
from vaultgpt.tasks.vault_service import Desk, Task, write_runtime
from vaultgpt.tasks.why import check_path, check_tags
from vaultgpt.vault.at_cursor import AtCursor, EditorNote, read_editor
from vaultgpt.wire import Piece, Prompt, Usage

_Q = TypeVar("_Q", bound=BaseModel | None)
_A = TypeVar("_A")
_FIGURES_S = 60.0  # text grows quiet, and so ready to be learned, without any change
_Measurer = Callable[..., VoiceFigures | None]


class Daemon:
    """One vault's daemon: server.context.Service is what it offers."""

    def __init__(
        self,
        state: VaultState,
        settings: Settings,
        *,
        watcher: Callable[[VaultState, Callable[[], None], float, float], Hint] = make_watcher,
        runner: Runner = run_round,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.state, self.broker, self._now, self.gone = state, Broker(), now, state.gone
        self.port = 0
        self._token, self._token_stamp = state.token(), self._stamp()
        self._requested = 0.0
        self._figures: Figures | None = None
        self._figures_at = 0.0  # 0 when they are out of date
        self._counting: asyncio.Future[Figures] | None = None
        self._reader = LedgerThread(state, "ledger-read")
        self._writer = LedgerThread(state, "ledger-write")
        self.vault = VaultLoop(
            state, settings, self._writer, self._scanned, watcher=watcher, now=now
        )
        self.rounds = RoundLoop(
            state,
            lambda: self.settings,
            self._reader,
            self._writer,
            self.broker,
            last_written=lambda: max(self._requested, self.vault.last_saved),
            pause=lambda: self.vault.unsure or self.writing.pause(),
            on_done=self._round_done,
            on_end=self._round_over,
            runner=runner,
            now=now,
        )
        self.writing = VaultMirror(
            state, lambda: self.settings, self._reader, self._writer, self._swapped, now
        )
        self.measuring = _Measuring(state, lambda: self.settings, now)
        self._tasks: list[asyncio.Task[None]] = []
        self._own: dict[Task[Any, Any], Callable[[Any], Awaitable[Any]]] = {
            STATUS: self._status,
            MEASURE: self._measure,
            TRAIN: self._train,
            CANCEL: self._cancel,
            GIVE_UP: self._give_up,
            RELOAD: self._reload,
            SET_OPTION: self._set_option,
            LIKENESS: self._likeness,
        }

    def start(self) -> None:
        """Mend what a crash left, begin to watch and to plan."""
        self._writer.later(self._repair)
        self._tasks = [
            asyncio.create_task(self.vault.run()),
            asyncio.create_task(self.rounds.run(self.vault.scanned)),
        ]

    def _repair(self, ledger: Ledger) -> None:
        with contextlib.suppress(Timeout), FileLock(self.state.round_lock, timeout=0, mode=0o600):
            for _ in repair(self.state, ledger, self._now()):
                log.warning("the ledger and its folders were brought together again")

    async def stop(self) -> None:
        """End loops, rounds and workers, within some three seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(
            self.rounds.close(3.0),
            self.measuring.close(3.0),
            self.writing.mirror.stop(),
            *self._tasks,
            return_exceptions=True,
        )

    def close(self) -> None:
        """Write what still waits for the ledger, and close it."""
        self._writer.close()
        self._reader.close(0.5)

    # What the loops tell ------------------------------------------------------------------------

    def _scanned(self, read: int, gone: int) -> None:
        if read or gone:
            self._figures_at = 0.0
            self.broker.publish(ScanEvent(read=read, gone=gone))
        self.rounds.poke(text=True)
        self._later(self.writing.follow())  # others may have written into the ledger

    async def _round_done(self, answer: RoundAnswer) -> None:
        self._figures_at = 0.0
        if answer["verdict"]["promoted"]:
            await self.writing.follow()

    def _round_over(self) -> None:
        self._figures_at = 0.0  # one that was stopped may be a paused one now

    def _swapped(self, active: str | None) -> None:
        self._figures_at = 0.0
        self.broker.publish(SwapEvent(active=active))

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks = [t for t in self._tasks if not t.done()] + [task]

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
        """The token, of which every request asks; a rotated one counts from the next on."""
        self.writing.asked.set()
        stamp = self._stamp()
        if stamp not in (None, self._token_stamp):  # None: its disk was unmounted
            self._token, self._token_stamp = self.state.token(), self._stamp()
            if self.port:
                write_runtime(self.state, self.port)
        return self._token

    def phone_token(self) -> str:
        """The phone's token."""
        return self.state.phone_token()

    def touch(self) -> None:
        """The author writes."""
        self._requested = self._now()

    async def ask(self, task: Task[_Q, _A], request: _Q) -> _A:
        """A task of tasks/, done in one of the ledger's threads, or by the loops that run here."""
        own: Callable[[_Q], Awaitable[_A]] | None = self._own.get(task)
        return await (own(request) if own else self._by_ledger(task, request))

    async def _by_ledger(self, task: Task[_Q, _A], request: _Q) -> _A:
        if (work := task.work) is None:
            raise NotFound("The daemon does not do this.")
        thread = self._writer if task.writes else self._reader
        answer = await thread.do(lambda ledger: work(self._desk(ledger), request))
        if task.writes == "voice":
            self._figures_at = 0.0
            await self.writing.follow()
            self.rounds.poke(text=True)
        return answer

    def _desk(self, ledger: Ledger) -> Desk:
        return Desk(self.state, self.settings, ledger, self._now())

    async def _status(self, _asked: None) -> Status:
        """Figures of the ledger are kept until something changes; config.toml is as it is now."""
        await self.vault.reload()
        now = self._now()
        if self._counting is None or not 0 <= now - self._figures_at < _FIGURES_S:
            self._figures_at = now
            self._counting = asyncio.ensure_future(
                self._reader.do(lambda ledger: figures(self._desk(ledger)))
            )
        try:  # whoever asks meanwhile waits for the same figures, and is not told the old ones
            told = await asyncio.shield(self._counting)
        except Exception:
            self._counting = None
            raise
        self._figures = told
        decision, ready = self.rounds.decision, self.writing.mirror.ready
        troubles = {**told_problems(told), **self._problems()}
        training = self.rounds.progress or under_way(self.state)
        return {
            **told,
            "training": training,
            "paused_round": None if training else told["paused_round"],
            "next_training": {"when": decision.when, "why": decision.why},
            "device": self.writing.mirror.device,
            "problems": list(troubles.values()),
            "troubles": troubles,
            "worker": {
                "running": self.writing.mirror.running,
                "pid": self.writing.mirror.pid,
                "dtype": ready.dtype,
                "cost": ready.cost,
            },
            "daemon": {"pid": os.getpid(), "port": self.port},
        }

    def _problems(self) -> dict[str, str]:
        """What does not work now, each a sentence."""
        return {**self.vault.problems, **self.rounds.problems, **self.writing.problems}

    async def _measure(self, asked: None) -> ReportAnswer:
        """Measured where it is not known yet. Conflict beside a round."""
        answer = await self.ask(REPORT, asked)
        if answer["voice"] is not None:
            return answer
        if self.rounds.running:
            raise Conflict("A round is under way.", "Ask again when it has ended.")
        await self.measuring.measured()
        return await self.ask(REPORT, asked)

    async def _train(self, asked: TrainRequest) -> Started:
        """A round now, whatever the conditions are."""
        if self.measuring.running:
            raise Conflict("The voice is being measured.", "Ask again in a minute.")
        return await self.rounds.ask(asked.fresh)

    async def _cancel(self, _asked: None) -> CancelAnswer:
        self.rounds.cancel()
        return CancelAnswer(cancelled=True)

    async def _give_up(self, asked: None) -> object:
        await self.rounds.end()
        return await self._by_ledger(GIVE_UP, asked)

    async def _set_option(self, asked: SetRequest) -> OptionRow:
        row = await in_thread(lambda: set_option(self.state, asked))
        await self._reload(None)
        return row

    async def _reload(self, _asked: None) -> Done:
        """Settings, token, ledger and vault anew."""
        self.token()
        await self.vault.reload()
        self._figures_at = 0.0
        await self.writing.follow()
        self.vault.poke()
        self.rounds.poke()
        return Done(ok=True)

    async def check_note(self, path: str | None, tags: tuple[str, ...]) -> str | None:
        """One rule set for learning and writing. A note not yet on the disk goes by its path."""
        vault, rules = self.state.vault, self.settings.rules
        check_tags(rules, tags)
        return None if path is None else await in_thread(lambda: check_path(vault, rules, path))

    async def at_cursor(self, note: EditorNote) -> AtCursor:
        """A note in an editor, read as training reads it."""
        try:
            return await in_thread(lambda: read_editor(self.state.vault, self.settings.rules, note))
        except UsageError as error:
            raise Forbidden(
                error.message, "path_not_allowed", error.mend, "vaultgpt.note"
            ) from None

    async def base(self) -> str:
        """The name of the base that writes, which need not be the one in the settings."""
        return await self.writing.base()

    async def _likeness(self, asked: LikenessRequest) -> LikenessAnswer:
        """Scored a passage at a time, and never while somebody waits for text."""
        check_tags(self.settings.rules, asked.tags or (), "tags")
        self.touch()
        learned = await self._reader.do(lambda ledger: ledger.generations.writing() is not None)
        judgement, found = await in_thread(
            lambda: read_passages(self.state.vault, self.settings.rules, asked)
        )
        return await judged(asked, judgement, found, learned, self.writing.score)

    def generate(self, prompt: Prompt) -> AsyncIterator[Piece | Usage]:
        """Pieces, then one Usage."""
        return self.writing.generate(prompt)

    async def warm(self, prompt: Prompt) -> int:
        """Prefill the prompt."""
        return await self.writing.warm(prompt)

    def note_emitted(self, text: str) -> None:
        """The mirror said this."""
        self.writing.said(text)

    def gauges(self) -> dict[str, float]:
        """Figures for /metrics."""
        known = {}
        if (told := self._figures) is not None:
            known = {
                "notes": float(told["notes"]),
                "words": float(told["words"]),
                "pending_notes": float(told["pending_notes"]),
            }
        return {
            **known,
            "training": float(self.rounds.running),
            "mirror_running": float(self.writing.mirror.running),
            "listeners": float(len(self.broker)),
            "problems": float(len(self._problems())),
        }


class _Measuring:
    """Runs `measurer` in a thread and its process."""

    def __init__(
        self,
        state: VaultState,
        settings: Callable[[], Settings],
        now: Callable[[], float],
        measurer: _Measurer = measure_voice,
    ) -> None:
        self._state, self._settings, self._now, self._measurer = state, settings, now, measurer
        self._stop = threading.Event()
        self._task: asyncio.Task[VoiceFigures | None] | None = None

    @property
    def running(self) -> bool:
        """Whether a measurement is under way."""
        return self._task is not None and not self._task.done()

    async def measured(self) -> None:
        """Return once the active generation's voice is known. A caller that leaves stops nothing.

        Conflict while a round runs, or any VaultGPTError of the measuring process."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(
                in_thread(
                    lambda: self._measurer(
                        self._state, self._settings(), now=self._now, stop=self._stop
                    )
                )
            )
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._task)

    async def close(self, limit_s: float) -> None:
        """End the measurement and wait for its process to leave, at most `limit_s`."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=limit_s)
