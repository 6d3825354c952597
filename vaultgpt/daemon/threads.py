"""Blocking work off the event loop, in threads that never hold up the process's end.

Knows nothing about the work. The ledger has two threads: a reader, so that status answers while a
scan is written, and a writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from vaultgpt.children import trim_heap
from vaultgpt.daemon.telling import log
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState

_LONG_S = 0.01  # of a job, from which on it may leave a heap full of holes
_T = TypeVar("_T")
_Job = Callable[[Ledger], None]


async def in_thread(work: Callable[[], _T]) -> _T:
    """The result of `work`, done in a thread of its own. A caller that leaves lets it run on."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()
    threading.Thread(target=_carry, args=(loop, future, work), daemon=True).start()
    return await future


def _carry(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[_T], work: Callable[[], _T]
) -> None:
    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    try:
        result = work()
    except BaseException as error:
        outcome: tuple[_T | None, BaseException | None] = (None, error)
    else:
        outcome = (result, None)
    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
        loop.call_soon_threadsafe(settle, *outcome)


class LedgerThread:
    """One thread with one open ledger, doing jobs in order."""

    def __init__(self, state: VaultState, name: str) -> None:
        self._ledger = Ledger.open(state)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[Ledger], _T]) -> _T:
        """The result of `work` on the ledger. A caller that leaves lets it be done all the same."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._jobs.put(lambda ledger: _carry(loop, future, lambda: work(ledger)))
        return await future

    def later(
        self, work: Callable[[Ledger], object], failed: Callable[[], object] = lambda: None
    ) -> None:
        """Have it done without waiting; of a failure the class is logged and `failed` called."""

        def job(ledger: Ledger) -> None:
            try:
                work(ledger)
            except Exception as error:
                log.error("the ledger refused a note: %s", type(error).__name__)
                failed()

        self._jobs.put(job)

    def close(self, limit_s: float = 2.0) -> None:
        """Finish what waits, at most `limit_s` seconds of it."""
        self._jobs.put(None)
        self._thread.join(limit_s)

    def _run(self) -> None:
        with self._ledger as ledger:
            ledger.rest()
            while (job := self._jobs.get()) is not None:
                began = time.monotonic()
                job(ledger)
                if self._jobs.empty():
                    ledger.rest()
                    if time.monotonic() - began > _LONG_S:
                        trim_heap()
