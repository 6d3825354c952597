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

from vaultgpt.config import Settings, load_settings
from vaultgpt.daemon.logs import log
from vaultgpt.daemon.threads import LedgerThread, in_thread
from vaultgpt.errors import VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState
from vaultgpt.vault.scan import FileStamp, Scan, fingerprint, read_vault
from vaultgpt.vault.watch import Watcher

RULES_KEY = "daemon_rules"


class Hint(Protocol):
    """What watches the folder; only a hint."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def healthy(self) -> bool: ...


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
        self._config: tuple[int, int] | None = self._config_stamp()

    _hint: Hint | None

    def poke(self) -> None:
        """Something may have changed: look soon."""
        self._flag.set()

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                self._flag.clear()
                await self._watch()
                await self.look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.settings.schedule.reconcile_s):
                        await self._flag.wait()
        finally:
            if self._hint is not None:
                self._hint.stop()

    async def look(self) -> None:
        """Compare the whole folder with the ledger; what fails becomes a problem."""
        await self.reload()
        try:
            known, rules = await self._ledger.do(self._known)
            scan = await in_thread(
                lambda: read_vault(self._state.vault, self.settings.rules, known))
            await self._record(scan, rules, first=not known)
            self.problems.pop("vault", None)
        except VaultGPTError as error:
            self.problems["vault"] = str(error)
        except Exception as error:
            self.problems["vault"] = f"The vault could not be read ({type(error).__name__})."
            log.error("scan failed: %s", type(error).__name__)

    async def _record(self, scan: Scan, rules: str, first: bool) -> None:
        if scan.read or scan.gone or first:
            percent, now = self.settings.schedule.vanished_percent, self._now()

            def record(ledger: Ledger) -> None:
                ledger.record(scan, now, percent)
                ledger.set_meta(RULES_KEY, rules)

            await self._ledger.do(record)
            saved = max((note.stamp.mtime_ns / 1e9 for note in scan.read), default=0.0)
            self.last_saved = max(self.last_saved, min(now, saved))
        self.scanned.set()
        self._on_scan(len(scan.read), len(scan.gone))

    async def reload(self) -> None:
        """Take over config.toml when it has changed; a bad one is a problem and the old stays."""
        stamp = self._config_stamp()
        if stamp == self._config:
            return
        self._config = stamp
        try:
            new = await in_thread(lambda: load_settings(self._state.config))
        except VaultGPTError as error:
            self.problems["settings"] = str(error)
            return
        self.problems.pop("settings", None)
        old, self.settings = self.settings, new
        if self._hint is not None and _quiet(old) != _quiet(new):
            await in_thread(self._hint.stop)
            self._hint = None

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
            self.problems["watch"] = (
                "The vault can't be watched; it is compared every "
                f"{self.settings.schedule.reconcile_s:.0f} s instead.")

    def _known(self, ledger: Ledger) -> tuple[dict[str, FileStamp], str]:
        """The stamps recorded, none after a change of the rules; and what stands for the rules."""
        rules = fingerprint(self._state.vault, self.settings.rules)
        return ({} if ledger.meta(RULES_KEY) != rules else ledger.stamps()), rules

    def _config_stamp(self) -> tuple[int, int] | None:
        try:
            status = self._state.config.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def _quiet(settings: Settings) -> tuple[float, float]:
    return settings.schedule.debounce_s, settings.schedule.debounce_cap_s
