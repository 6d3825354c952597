"""The daemon's one measurement of the voice at a time; whoever asks meanwhile waits for it too.

Knows nothing about what is measured.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from vaultgpt.daemon.threads import in_thread
from vaultgpt.report.measured import measure_voice
from vaultgpt.settings import Settings
from vaultgpt.state import VaultState

_Measurer = Callable[..., Mapping[str, Any] | None]


class Measuring:
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
        self._task: asyncio.Task[Mapping[str, Any] | None] | None = None

    @property
    def running(self) -> bool:
        """Whether a measurement is under way."""
        return self._task is not None and not self._task.done()

    async def measured(self) -> None:
        """Return once the active generation's voice is known. A caller that leaves stops nothing.

        Conflict while a round runs, or any VaultGPTError of the measuring process.
        """
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
