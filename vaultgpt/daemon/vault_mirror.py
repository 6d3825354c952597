"""Who writes: the mirror kept in step with the ledger, and its words remembered as its own.

Knows nothing about rounds under way or HTTP. What does not work is a sentence in `problems`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from vaultgpt.children import own_code
from vaultgpt.daemon.telling import log
from vaultgpt.daemon.threads import LedgerThread
from vaultgpt.errors import GenerationError, Unavailable, VaultGPTError, WorkerDied
from vaultgpt.files import require_room
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.mend import replace_damaged
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState
from vaultgpt.wire import Piece, Prompt, TokenChance, Usage
from vaultgpt.workers.mirror import MirrorProcess, Opening, mirror_opening

_UNSAID = "The ledger can't be written, so learning waits: what the mirror said is not yet in it."


class VaultMirror:
    """The mirror of one vault. `on_swap` hears what writes from now on; None is the base."""

    def __init__(
        self,
        state: VaultState,
        settings: Callable[[], Settings],
        reader: LedgerThread,
        writer: LedgerThread,
        on_swap: Callable[[str | None], None],
        now: Callable[[], float],
    ) -> None:
        self.mirror = MirrorProcess(self.opening)
        self.upgrade = ""  # another vaultgpt lies on the disk: what becomes of us
        self.asked = asyncio.Event()  # whoever asks for anything sets it: time to look for one
        self.needs_upgrade = False  # a process of that one could not serve us
        self._state, self._settings, self._now = state, settings, now
        self._reader, self._writer, self._on_swap = reader, writer, on_swap
        self._troubles: dict[str, str] = {}
        self._unsaid: list[tuple[str, float]] = []  # emitted, not yet in the ledger
        self._fell_back_to: tuple[str | None] | None = None  # what writes in place of a damaged one
        self._followed: tuple[object, ...] | None = None  # what the mirror was last told of
        self._base: tuple[str, str] | None = None  # the settings' when it was asked, what writes
        self._slow = ""  # why it writes slower than it could, as it was last logged

    @property
    def problems(self) -> dict[str, str]:
        """What does not work now, each a sentence."""
        found = dict(self._troubles)
        if why := self.mirror.problem:
            found["worker"] = why
        mirror = self._settings().mirror
        if mirror.engine != "own" and (why := mirror.refused() or self.mirror.engine_problem):
            found["engine"] = why
        if self._unsaid:
            found["unsaid"] = _UNSAID
        if why := self._upgraded():
            found["upgraded"] = why
        try:
            require_room(self._state.folder)
        except VaultGPTError as error:
            found["disk"] = str(error)
        return found

    def pause(self) -> str:
        """Why nothing may be learned now, in a sentence; "" when it may."""
        self.asked.set()
        return _UNSAID if self._unsaid else self._upgraded()

    def _upgraded(self) -> str:
        return f"vaultgpt was upgraded; {self.upgrade}." if self.upgrade else ""

    async def follow(self) -> None:
        """Let the mirror take over what the ledger says may write, and the grown guard index."""

        def of_ledger(ledger: Ledger) -> tuple[str | None, tuple[str, ...]]:
            barred = ledger.generations.barred()
            kept = tuple(g.id for g in ledger.generations.all() if g.id not in barred)
            return ledger.generations.writing(), kept

        with contextlib.suppress(Exception):  # the ledger still refuses: `problems` says so
            await self.remember()
        self._base = None
        active, kept = await self._reader.do(of_ledger)
        wanted = (active, kept, self._settings().mirror, self._settings().base)
        before, self._followed = self._followed, wanted
        try:
            if before != wanted:
                await self.mirror.activate()
            else:
                await self.mirror.reload_runs()
            if before is not None and before[0] != active and wanted[2].engine != "own":
                await self.mirror.open()  # puts the voice there and compares: at night, not at noon
            self._troubles.pop("mirror", None)
        except VaultGPTError as error:
            self._followed = None  # to be tried again after the next scan
            self._troubles["mirror"] = str(error)
            log.error("swap failed: %s", type(error).__name__)
        if before is not None and before[0] != active:
            self._on_swap(active)

    async def opening(self) -> Opening:
        """What the mirror opens with: a damaged voice gives way to the newest sound one, and a
        damaged index of the copy guard is made anew."""

        def look(ledger: Ledger) -> Opening:
            ledger.guard.mend()
            return mirror_opening(self._state, self._settings(), ledger)

        try:
            opening = await self._reader.do(look)
        except GenerationError as error:
            await self._fall_back(error)
            opening = await self._reader.do(look)
            self._fell_back_to = (opening.active,)
        except VaultGPTError as error:
            self._troubles["voice"] = str(error)
            raise
        if self._fell_back_to != (opening.active,):
            self._troubles.pop("voice", None)
        return opening

    async def _fall_back(self, error: GenerationError) -> None:
        """Set aside what is damaged; `error` again where nothing is: the disk failed a moment."""
        mended = await self._reader.do(
            lambda ledger: replace_damaged(self._state, ledger, self._now())
        )
        self._troubles["voice"] = " ".join(mended) or str(error)
        if not mended:
            raise error
        log.error("a voice was damaged and is set aside")
        self._base = None
        self._on_swap(await self._reader.do(lambda ledger: ledger.generations.writing()))

    async def base(self) -> str:
        """The name of the base that writes; asked of the ledger once a swap."""
        chosen = self._settings().base
        if self._base is None or self._base[0] != chosen:
            writes_on = await self._reader.do(lambda ledger: ledger.generations.base(chosen))
            self._base = (chosen, writes_on)
        return self._base[1]

    async def generate(self, prompt: Prompt) -> AsyncIterator[Piece | Usage]:
        """Pieces, then one Usage. DiskFull where it could not be remembered that they are ours."""
        require_room(self._state.folder)
        await self.remember()
        with self._across_upgrades():
            async with contextlib.aclosing(self.mirror.generate(prompt)) as items:  # type: ignore[type-var]
                async for item in items:
                    if isinstance(item, Usage) and item.slow not in ("", self._slow):
                        self._slow = item.slow
                        log.warning("writes slower than it could: %s", item.slow)
                    yield item

    async def warm(self, prompt: Prompt) -> int:
        """Prefill the prompt; how many of its tokens were cached."""
        with self._across_upgrades():
            return await self.mirror.warm(prompt)

    async def score(self, prompt: Prompt) -> tuple[tuple[TokenChance, ...], str | None]:
        """How likely an echoed prompt's tokens are, and the generation that wrote meanwhile."""
        with self._across_upgrades():
            return await self.mirror.score(prompt)

    @contextlib.contextmanager
    def _across_upgrades(self) -> Iterator[None]:
        """Unavailable with the reason where a worker failed since it is of another vaultgpt."""
        try:
            yield
        except VaultGPTError as error:
            ours = isinstance(error, WorkerDied) or type(error) is VaultGPTError
            if not (ours and own_code().changed()):
                raise
            self.needs_upgrade = True
            self.upgrade = self.upgrade or "ask again in a moment"
            raise Unavailable(self._upgraded(), retry_after_s=2.0) from None

    def said(self, text: str) -> None:
        """Kept before the author can save it: the writer's jobs run in order."""
        now = self._now()
        self._writer.later(
            partial(_offer, text, now),
            failed=lambda: self._unsaid.append((text, now)),
        )

    async def remember(self) -> None:
        """Write what the ledger refused: until then nothing is learned and nothing more is said."""
        while self._unsaid:
            said = self._unsaid[0]
            await self._writer.do(partial(_offer, *said))
            self._unsaid.remove(said)


def _offer(text: str, now: float, ledger: Ledger) -> None:
    ledger.emitted.offered(text, now)
