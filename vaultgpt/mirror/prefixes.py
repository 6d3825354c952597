"""Prefilled prompts kept for the next request, keyed by generation and header variant.

Knows nothing about tokenizers or text. Two engines shipped the bug of reusing a prefix after the
adapter changed; here the generation is part of the key, and a changed one is never looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vaultgpt.mirror.lean import Cache, Model

Key = tuple[str, str]  # generation, variant
ENTRIES = 6
BYTES = 512 << 20


@dataclass
class Prefix:
    """A one-row cache and the tokens whose positions in it are valid."""

    key: Key
    cache: Cache
    ids: list[int] = field(default_factory=list)


class Cancelled(Exception):
    """The request was cancelled; caught by the engine."""


class PrefixStore:
    """The last few prefixes, least recently used first out."""

    def __init__(self, entries: int = ENTRIES, limit_bytes: int = BYTES) -> None:
        self.entries, self.limit_bytes = entries, limit_bytes
        self._kept: list[Prefix] = []

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget everything (another base)."""
        self._kept.clear()

    def drop(self, generations: set[str]) -> None:
        """Forget the prefixes of these generations."""
        self._kept = [p for p in self._kept if p.key[0] not in generations]

    def fill(self, key: Key, model: Model, ids: list[int],
             cancelled: Callable[[], bool]) -> tuple[Prefix, int]:
        """A prefix that holds exactly `ids`, and how many of them were found.

        Only what is missing is computed, in chunks between which `cancelled` is asked. Cancelled
        is raised then; what was computed stays for the next request.
        """
        prefix, found = self._take(key, model, ids)
        del prefix.ids[found:]
        while len(prefix.ids) < len(ids):
            if cancelled():
                raise Cancelled
            part = ids[len(prefix.ids) : len(prefix.ids) + model.chunk]
            model.prefill(prefix.cache, part, len(prefix.ids))
            prefix.ids += part
        return prefix, found

    def _take(self, key: Key, model: Model, ids: list[int]) -> tuple[Prefix, int]:
        best, found = None, 0
        for prefix in self._kept:
            if prefix.key == key and (common := _common(prefix.ids, ids)) > found:
                best, found = prefix, common
        if best is None:
            best = Prefix(key, model.empty())
        elif found < len(best.ids) // 2 and found < len(ids):
            # Another note that shares the opening only: leave that one its own.
            best = Prefix(key, model.stack([(best.cache, found)], 1), best.ids[:found])
        self._kept = [p for p in self._kept if p is not best]
        self._kept.append(best)
        self._trim()
        return best, found

    def _trim(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > self.entries
            or sum(p.cache.nbytes() for p in self._kept) > self.limit_bytes
        ):
            self._kept.pop(0)


def _common(a: list[int], b: list[int]) -> int:
    count = min(len(a), len(b))
    if a[:count] == b[:count]:
        return count
    return next(i for i in range(count) if a[i] != b[i])
