"""The loop that owns the vault: a hint wakes it, a timer wakes it, and the scan is the truth.

Knows nothing about rounds or HTTP. A scan that fails is a problem that status shows, and the next
one tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Protocol

from vaultgpt.daemon.telling import log
from vaultgpt.daemon.threads import LedgerThread, in_thread
from vaultgpt.errors import VaultGPTError, expected
from vaultgpt.files import keep_ballast
from vaultgpt.settings import Settings, load_settings, unknown_keys, unsure_rules
from vaultgpt.state import VaultState
from vaultgpt.vault.watch import UNWATCHED, Watcher

_SHARE = 0.0025  # of the time may go into comparing all, while a watcher tells what changes
_RARELY_S = 3600.0  # however long it takes


class Hint(Protocol):
    """What watches the folder; only a hint."""

    problem: str | None  # why it does not

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def healthy(self) -> bool: ...
    def changed(self) -> frozenset[str] | None: ...


def make_watcher(
    state: VaultState, on_change: Callable[[], None], debounce_s: float, cap_s: float
) -> Hint:
    """The hint of production."""
    return Watcher(state.vault, on_change, debounce_s, cap_s)


class VaultLoop:
    """Keeps the ledger in step with the folder."""

    def __init__(
        self,
        state: VaultState,
        settings: Settings,
        ledger: LedgerThread,
        on_scan: Callable[[int, int], None],
        *,
        watcher: Callable[[VaultState, Callable[[], None], float, float], Hint] = make_watcher,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.problems: dict[str, str] = {}  # what does not work now -> a sentence
        self.scanned = asyncio.Event()  # set once the vault has been read
        self.last_saved = 0.0  # when the author last saved a note, seconds since the epoch
        self._state, self._ledger, self._on_scan, self._now = state, ledger, on_scan, now
        self._make_watcher, self._hint = watcher, None
        self._flag = asyncio.Event()
        self.unsure = ""  # why the settings let nothing be learned
        self._whole, self._whole_at = True, 0.0  # what is compared next; when all was, loop's time
        self._whole_s = 0.0  # what comparing all took when nothing had changed
        self._config: tuple[int, int] | None = self._config_stamp()
        with contextlib.suppress(VaultGPTError):  # it was bad when it was read, too
            self._tell_unknown(unknown_keys(state.config), unsure_rules(state.config))

    _hint: Hint | None

    def poke(self) -> None:
        """Anything may have changed: look soon, everywhere."""
        self._whole = True
        self._flag.set()

    async def run(self) -> None:
        """Look until cancelled: where the watcher heard something, and everywhere on a timer."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._flag.clear()
                await self._watch()
                await self.look()
                rest = self._whole_at + self._between() - loop.time()
                try:
                    async with asyncio.timeout(max(0.0, rest)):
                        await self._flag.wait()
                except TimeoutError:
                    self._whole = True
        finally:
            if self._hint is not None:
                self._hint.stop()

    def _between(self) -> float:
        """Seconds between two comparisons of all: rarer, where they take long and are watched, and
        the last one did not fail."""
        every = self.settings.schedule.reconcile_s
        if self._hint is None or not self._hint.healthy() or "vault" in self.problems:
            return every
        return max(every, min(_RARELY_S, self._whole_s / _SHARE))

    async def look(self) -> None:
        """Compare with the ledger what the watcher named of the folder, and where it is time all of
        it, which keeps no note waiting that was told; what fails becomes a problem."""
        await self.reload()
        with contextlib.suppress(OSError):
            await in_thread(lambda: keep_ballast(self._state.folder))
        told = self._hint.changed() if self._hint is not None else None
        whole, self._whole = self._whole or told is None, False
        try:
            said = await self._follow(told) if told or not whole else []
            if whole:
                self._whole_at = asyncio.get_running_loop().time()
                said = await self._follow(None)
            self.problems.pop("vault", None)
            self.problems |= {f"vault {n}": sentence for n, sentence in enumerate(said)}
            for n in range(len(said), 9):
                self.problems.pop(f"vault {n}", None)
        except VaultGPTError as error:
            self._whole = True
            self.problems["vault"] = str(error)
        except Exception as error:
            self._whole = True
            known = self._state.gone() or expected(error)
            why = f"The vault could not be read ({type(error).__name__})."
            self.problems["vault"] = str(known or why)
            log.error("scan failed: %s", type(error).__name__)

    async def _follow(self, folders: frozenset[str] | None) -> list[str]:
        """Have the ledger follow the folder; what is to be said of the vault as a whole."""
        rules, percent = self.settings.rules, self.settings.schedule.vanished_percent
        now = self._now()
        found = await self._ledger.do(
            lambda ledger: ledger.follow(rules, now, percent, folders=folders)
        )
        if folders is None and not found.read and not found.gone:
            self._whole_s = asyncio.get_running_loop().time() - self._whole_at
        if found.read:
            self.last_saved = max(min(self.last_saved, now), min(now, found.saved))
        self.scanned.set()
        self._on_scan(found.read, found.gone)
        return found.said

    async def reload(self) -> None:
        """Take over config.toml when it has changed; a bad one is a problem and the old stays."""
        stamp = self._config_stamp()
        if stamp == self._config:
            return
        self._config = stamp
        try:
            path = self._state.config
            new, unknown, unsure = await in_thread(
                lambda: (load_settings(path), unknown_keys(path), unsure_rules(path))
            )
        except VaultGPTError as error:
            self.problems["settings"] = str(error)
            return
        self._tell_unknown(unknown, unsure)
        old, self.settings = self.settings, new
        if self._hint is not None and _quiet(old) != _quiet(new):
            await in_thread(self._hint.stop)
            self._hint = None

    def _tell_unknown(self, unknown: list[str], unsure: str) -> None:
        self.unsure = unsure
        self.problems.pop("settings", None)
        if unknown:
            self.problems["settings"] = " ".join(unknown)

    async def _watch(self) -> None:
        """Have a healthy watcher: events of a dead one never come, and nothing says so."""
        if self._hint is not None and self._hint.healthy():
            return
        if self._hint is not None:
            await in_thread(self._hint.stop)
            log.warning("the watcher had died and is started anew")
        loop = asyncio.get_running_loop()

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._flag.set)

        hint = self._make_watcher(self._state, changed, *_quiet(self.settings))
        await in_thread(hint.start)
        self._hint = hint
        if hint.healthy():
            self.problems.pop("watch", None)
        else:
            every_s = self.settings.schedule.reconcile_s
            why = hint.problem or f"{UNWATCHED}."
            self.problems["watch"] = f"{why} It is compared every {every_s:.0f} s instead."

    def _config_stamp(self) -> tuple[int, int] | None:
        try:
            status = self._state.config.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def _quiet(settings: Settings) -> tuple[float, float]:
    return settings.schedule.debounce_s, settings.schedule.debounce_cap_s
