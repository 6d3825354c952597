"""Who goes first: work that somebody waits for, and work that gives way to it.

Knows nothing about what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

_R = TypeVar("_R")
_PATIENCE_S = 5.0  # that work gives way for; then it takes one turn among the others


class Precedence:
    """Counts who goes first. To be used from one event loop."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._count, self._patience_s = 0, patience_s
        self._none, self._some = asyncio.Event(), asyncio.Event()
        self._none.set()

    @contextmanager
    def first(self) -> Iterator[None]:
        """Meanwhile nothing that gives way is done."""
        self._count += 1
        self._none.clear()
        self._some.set()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._some.clear()
                self._none.set()

    async def last(self, work: Callable[[], Coroutine[Any, Any, _R]]) -> _R:
        """What `work` gives; broken off when somebody goes first, and begun anew after that.

        Where somebody always does, as who types without a pause, it gives way for `patience_s`.
        """
        now = asyncio.get_running_loop().time
        until = now() + self._patience_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._none.wait()
            doing = asyncio.ensure_future(work())
            wanted = asyncio.ensure_future(self._some.wait())
            gives_way = {doing, wanted} if now() < until else {doing}
            try:
                await asyncio.wait(gives_way, return_when=asyncio.FIRST_COMPLETED)
                if doing.done():
                    return doing.result()
            finally:
                doing.cancel()
                wanted.cancel()
                await asyncio.gather(doing, wanted, return_exceptions=True)
