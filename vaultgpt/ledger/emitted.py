"""What the mirror itself emitted, so that it is never learned as the author's.

Accepted text masks always, text only offered for 24 hours, so that the author's habitual phrases
are not lost; words the author changed between two matches are the author's. Knows nothing about
scans or rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vaultgpt.corpus import np
from vaultgpt.corpus.runs import COPY_WORDS, Hashes, run_hashes
from vaultgpt.corpus.words import split_words
from vaultgpt.ledger.database import Database, Key
from vaultgpt.ledger.memory_file import Line, Restated, pack, unpack

if TYPE_CHECKING:
    import numpy.typing as npt

OFFERED_S = 24 * 3600.0
_SLACK_S = 60.0  # the note may be saved a moment before the plugin reports what was accepted
_SHORTEST_WORDS = 4  # an accepted text of 4 to 7 words matches as a whole


class Emitted:
    """A snapshot of what was emitted."""

    def __init__(self, rows: list[tuple[int, int, float, bool]], key: bytes) -> None:
        self.key = key
        self._times: dict[int, list[tuple[float, bool]]] = {}
        lengths = set()
        for value, length, time, accepted in rows:
            self._times.setdefault(value, []).append((time, accepted))
            lengths.add(length)
        self._lengths = tuple(sorted(lengths))
        self._hashes: Hashes = np.array(sorted(self._times), dtype=np.int64).view(np.uint64)
        self._hashes = np.sort(self._hashes)

    def since(self) -> float:
        """When the first text was seen that may hold some of it; for ever after when none may."""
        times = (time for said in self._times.values() for time, _ in said)
        return min(times, default=math.inf) - _SLACK_S

    def lengths(self) -> tuple[int, ...]:
        """Run lengths that occur, ascending."""
        return self._lengths

    def mask_ranges(self, text: str, first_seen: float) -> tuple[tuple[int, int], ...]:
        """Character ranges [start, end) of `text` that are the mirror's words, in order, apart."""
        words = split_words(text)
        own = np.zeros(len(words), dtype=np.bool_)
        for n in self._lengths:
            hashes = run_hashes([w.norm for w in words], n, self.key)
            for at in np.flatnonzero(self._matches(hashes, first_seen)):
                own[at : at + n] = True
        ranges: list[tuple[int, int]] = []
        for i in np.flatnonzero(own):
            word = words[i]
            if ranges and i > 0 and own[i - 1]:
                ranges[-1] = (ranges[-1][0], word.end)
            else:
                ranges.append((word.start, word.end))
        return tuple(ranges)

    def _matches(self, hashes: Hashes, first_seen: float) -> npt.NDArray[np.bool_]:
        """bool [len(hashes)]: emitted before a text first seen then, and still counting."""
        found: npt.NDArray[np.bool_] = np.isin(hashes, self._hashes)
        for at in np.flatnonzero(found):
            value = int(hashes[at : at + 1].view(np.int64)[0])
            found[at] = any(_counts(t, a, first_seen) for t, a in self._times[value])
        return found


class EmittedText:
    """The part of the ledger about emitted and accepted text."""

    def __init__(self, db: Database, key: Key) -> None:
        self._db, self._key = db, key

    def offered(self, text: str, now: float) -> None:
        """The mirror offered this. Its hashes are kept for 24 hours, or for good once matched."""
        with self._db.write(touch=False):
            for length, hashes in _emitted_runs(text, self._key(), accepted=False).items():
                self._enter(hashes, length, now, accepted=False, matched=False)

    def accepted(self, text: str, now: float) -> None:
        """The author took this text: it never carries loss. Kept for ever, in memory.jsonl too."""
        with self._db.write(touch=False):
            for length, hashes in _emitted_runs(text, self._key(), accepted=True).items():
                self._db.remember(
                    "emitted", now, emitted=now, length=length, accepted=True, hashes=pack(hashes)
                )
                self._enter(hashes, length, now, accepted=True, matched=True)

    def lookup(self) -> Emitted:
        """All that was emitted and still counts."""
        rows = self._db.read("SELECT hash, length, time, accepted FROM emitted")
        return Emitted(
            [(r["hash"], r["length"], r["time"], bool(r["accepted"])) for r in rows], self._key()
        )

    def match(self, runs8: Callable[[], Hashes], now: float) -> None:
        """Keep what was offered and now stands in new text; let older offers go."""
        rows = self._db.sql.execute(
            "SELECT DISTINCT hash FROM emitted WHERE NOT matched AND length=? AND time >= ?",
            (COPY_WORDS, now - OFFERED_S),
        ).fetchall()
        offered: Hashes = np.array([r["hash"] for r in rows], dtype=np.int64).view(np.uint64)
        found = offered[np.isin(offered, runs8())] if len(offered) else offered
        if len(found):
            self._db.remember(
                "emitted", now, emitted=now, length=COPY_WORDS, accepted=False, hashes=pack(found)
            )
            self._db.sql.executemany(
                "UPDATE emitted SET matched=1 WHERE hash=? AND time >= ?",
                [(int(h), now - OFFERED_S) for h in found.view(np.int64)],
            )
        self._db.sql.execute(
            "DELETE FROM emitted WHERE NOT accepted AND NOT matched AND time < ?",
            (now - OFFERED_S,),
        )

    def _enter(
        self, hashes: Hashes, length: int, time: float, *, accepted: bool, matched: bool
    ) -> None:
        self._db.sql.executemany(
            "INSERT INTO emitted VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE SET "
            "accepted = MAX(accepted, excluded.accepted), matched = MAX(matched, excluded.matched)",
            [(int(h), length, time, accepted, matched) for h in hashes.view(np.int64)],
        )

    def restate(self, now: float) -> Iterator[Restated]:
        """What is kept for good, as lines of memory.jsonl: one for each text."""
        texts: dict[tuple[float, int, bool], list[int]] = {}
        for r in self._db.read("SELECT * FROM emitted WHERE matched ORDER BY time, length, hash"):
            key = (r["time"], r["length"], bool(r["accepted"]))
            texts.setdefault(key, []).append(r["hash"])
        for (time, length, accepted), hashes in texts.items():
            kept = pack(np.array(hashes, dtype=np.int64).view(np.uint64))
            fields = {"emitted": time, "length": length, "accepted": accepted, "hashes": kept}
            yield "emitted", now, fields

    def replay(self, line: Line) -> None:
        """Do again what a line of memory.jsonl says; twice changes nothing."""
        hashes, length = unpack(line["hashes"]), line["length"]
        self._enter(hashes, length, line["emitted"], accepted=line["accepted"], matched=True)


def _counts(emitted: float, accepted: bool, first_seen: float) -> bool:
    """Whether a run emitted at that time masks a text first seen at `first_seen` (seconds)."""
    if accepted:
        return emitted <= first_seen + _SLACK_S
    return emitted <= first_seen <= emitted + OFFERED_S


def _emitted_runs(text: str, key: bytes, *, accepted: bool) -> dict[int, Hashes]:
    """Run length -> hashes to keep of an emitted text; {} when it is too short to tell apart."""
    words = [w.norm for w in split_words(text)]
    if len(words) >= COPY_WORDS:
        return {COPY_WORDS: np.unique(run_hashes(words, COPY_WORDS, key))}
    if accepted and len(words) >= _SHORTEST_WORDS:
        return {len(words): run_hashes(words, len(words), key)}
    return {}
