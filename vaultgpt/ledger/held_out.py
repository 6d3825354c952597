"""Which entries are held out: chosen once, when first seen, by keyed hash.

Wanted: 5 % of words, at least 24 segments, at most 50,000 words, at most 2,000 of one entry, every
tag of three or more entries. Compromise for small vaults: never above 20 % of the words, so that
2,000 words give 400 (two segments) and 25,000 give 4,560 (24 segments, 18 %). A novel among short
notes gives its 2,000 and counts for no more: the notes are not given up for its length.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vaultgpt.corpus.words import LEAST_WORDS
from vaultgpt.ledger.database import Database, Key
from vaultgpt.ledger.entries import LIVE, Entries
from vaultgpt.ledger.memory_file import Line, RememberedEntry, Restated
from vaultgpt.ledger.paragraphs import chance
from vaultgpt.ledger.rows import EntryRow
from vaultgpt.ledger.schema import given_id, kept_id

_SHARE = 0.05
_MOST_SHARE = 0.20
_SEGMENTS = 24
_SEGMENT_WORDS = 190  # estimate of the words in 256 tokens
MOST_WORDS = 50_000
ENTRY_WORDS = 2_000
_COUNTED_WORDS = int(ENTRY_WORDS / _SHARE)  # of one entry: those that its share is taken of
_TAG_ENTRIES = 3
COPY_LEAST = 4  # words of a held-out paragraph whose copies are not learned either


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One entry that may be chosen. `draw` is its number in [0, 1), the same in every run."""

    id: str
    words: int
    tags: tuple[str, ...]
    draw: float
    paragraphs: Callable[[], tuple[tuple[str, int], ...]] = tuple  # (digest, words) in order


@dataclass(frozen=True)
class _Choice:
    """A chosen entry: whole, or only these paragraphs of a long one."""

    id: str
    words: int
    digests: tuple[str, ...] = ()


def _wanted_words(total: int) -> int:
    """Words to hold out of a vault of `total` usable words."""
    share = max(_SHARE * total, _SEGMENTS * _SEGMENT_WORDS)
    return int(min(share, _MOST_SHARE * total, MOST_WORDS))


def _choose(candidates: Sequence[_Candidate], total: int, held: int = 0) -> list[_Choice]:
    """First choice over a whole vault: entries in the order of their draw until there is enough.

    An entry of over 2,000 words is never given up whole: its last paragraphs, at most 2,000 words
    and a fifth of it, are held out and the rest is learned. The shorter ones together give up a
    fifth of their own words at most. Then tags without an entry get one."""
    want, got = _wanted_words(total), held
    chosen: dict[str, _Choice] = {}
    short = sum(one.words for one in candidates if one.words <= ENTRY_WORDS)
    room = int(1.1 * _MOST_SHARE * short)

    def add(one: _Candidate, choice: _Choice | None, most: int) -> None:
        nonlocal got, room
        is_short = one.words <= ENTRY_WORDS
        if choice and choice.words <= (min(most, room) if is_short else most):
            chosen[one.id] = choice
            got += choice.words
            room -= choice.words * is_short

    for one in _drawn(candidates):
        if got >= want:
            break
        add(one, _take(one), want + want // 10 - got)
    for one in _drawn(candidates):  # a vault of a few long entries
        if got >= want * 3 // 4:
            break
        if one.id not in chosen:
            add(one, _part(one, min(want - got, one.words // 5)), want - got)
    for choice in _for_tags(candidates, set(chosen), int(_MOST_SHARE * total) - got):
        chosen[choice.id] = choice
    return list(chosen.values())


def _drawn(candidates: Sequence[_Candidate]) -> Iterator[_Candidate]:
    """In the order of their draw; of many none is held."""
    for at in sorted(range(len(candidates)), key=lambda at: candidates[at].draw):
        yield candidates[at]


def _keep_choosing(
    one: _Candidate, total: int, held: int, tag_lacks: bool = False
) -> _Choice | None:
    """For an entry first seen after the first choice: by its draw 20 % while text is lacking, else
    5 % in vaults where that is more than the least, else none; always for a tag without an entry.

    Between 25,000 and 91,000 words the least (24 segments) is more than 5 %: nothing new is given
    up there, so that somebody's one new note is learned rather than held out."""
    rate = _MOST_SHARE if held < 0.9 * _wanted_words(total) else 0.0
    if rate == 0.0 and _SHARE * total > _SEGMENTS * _SEGMENT_WORDS and held < 1.2 * _SHARE * total:
        rate = _SHARE
    choice = _take(one)
    if choice is None or held + choice.words > min(MOST_WORDS, _MOST_SHARE * total):
        return None
    return choice if tag_lacks or one.draw < rate else None


def _take(one: _Candidate) -> _Choice | None:
    if one.words <= 0:
        return None
    if one.words <= ENTRY_WORDS:
        return _Choice(one.id, one.words)
    return _part(one, min(ENTRY_WORDS, one.words // 5))


def _part(one: _Candidate, most: int) -> _Choice | None:
    """The last paragraphs of an entry, at most that many words."""
    got, digests = 0, []
    for digest, words in reversed(one.paragraphs()):
        if got + words > most:
            break
        digests.append(digest)
        got += words
    return _Choice(one.id, got, tuple(digests)) if digests else None


def _for_tags(candidates: Sequence[_Candidate], chosen: set[str], room: int) -> list[_Choice]:
    """The shortest entry of each tag that has three entries or more and none among the chosen."""
    counts, shortest = Counter[str](), dict[str, tuple[tuple[bool, int, float], _Candidate]]()
    covered: set[str] = set()
    for one in candidates:
        key = (one.words < 30, one.words, one.draw)
        for tag in set(one.tags):
            counts[tag] += 1
            if one.words > 0 and (tag not in shortest or key < shortest[tag][0]):
                shortest[tag] = key, one
        if one.id in chosen:
            covered.update(one.tags)
    extra: list[_Choice] = []
    for tag, count in sorted(counts.items()):
        if count < _TAG_ENTRIES or tag in covered:
            continue
        _, first = shortest.get(tag, (None, None))
        choice = _take(first) if first else None
        if first and choice and choice.words <= room:
            extra.append(choice)
            room -= choice.words
            covered.update(first.tags)
    return extra


class _Waiting(Sequence[_Candidate]):
    """Entries that were never decided on, in thirty bytes each: after a first scan all there are.

    Each is made when it is looked at, by its row for an id."""

    def __init__(self, rows: Iterable[sqlite3.Row], key: bytes, entries: Entries) -> None:
        self._entries = entries
        self._rows, self._words, self._draws = array("q"), array("q"), array("d")
        self._tags, self._kinds = array("q"), dict[str, int]()  # tags in JSON -> their number
        for row in rows:
            self._rows.append(row["n"])
            self._words.append(row["words"])
            self._draws.append(chance(given_id(row["place"]), key))
            self._tags.append(self._kinds.setdefault(row["tags"], len(self._kinds)))
        self._told = [tuple(json.loads(tags)) for tags in self._kinds]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Any) -> Any:
        name, words, draw = str(self._rows[at]), self._words[at], self._draws[at]
        paragraphs = partial(self._paragraphs, name)
        return _Candidate(name, words, self._told[self._tags[at]], draw, paragraphs)

    def _paragraphs(self, name: str) -> tuple[tuple[str, int], ...]:
        return self._entries.digests_of(self.name(name))

    def name(self, row: str) -> str:
        """The id of an entry by its row."""
        return self._entries.where("e.n = ?", [int(row)])[0].id


class HeldOut:
    """The part of the ledger about held-out text."""

    def __init__(self, db: Database, entries: Entries, key: Key) -> None:
        self._db, self._entries, self._key = db, entries, key

    def decide(self, now: float) -> None:
        """Choose held-out entries among those first seen, once there is enough text."""
        if not (candidates := self._candidates()):
            return
        total = self._entries.usable_words(most=_COUNTED_WORDS)
        first = self._db.meta("held_out_chosen") is None
        if first and total < LEAST_WORDS:
            return
        if first:
            choices = _choose(candidates, total, self._words())
        else:
            choices = self._keep_choosing(candidates, total)
        self._db.sql.execute(f"UPDATE entries AS e SET decided=1 WHERE NOT e.decided AND {LIVE}")
        choices = [replace(choice, id=candidates.name(choice.id)) for choice in choices]
        for choice in choices:
            self._hold(choice.id, choice.digests)
        if choices:
            self._db.remember(
                "held_out", now, entries=[self._line(c.id, c.digests) for c in choices]
            )
        self._db.set_meta("held_out_chosen", "1")

    def _candidates(self) -> _Waiting:
        rows = self._db.rows(
            "SELECT e.n, e.words, e.tags, e.place FROM entries e "
            f"WHERE NOT e.decided AND {LIVE} ORDER BY e.n"
        )
        return _Waiting(rows, self._key(), self._entries)

    def _hold(self, entry: str, digests: Sequence[str]) -> None:
        self._db.sql.execute(
            "UPDATE entries SET held_out=?, held_digests=?, decided=1 WHERE id=?",
            (2 if digests else 1, json.dumps(list(digests)), kept_id(entry)),
        )
        rows = self._db.read("SELECT n FROM entries WHERE id=?", (kept_id(entry),))
        self._entries.touch_copies([row["n"] for row in rows])

    def _line(self, entry: str, digests: Sequence[str]) -> RememberedEntry:
        return {**self._entries.remembered(entry), "held": list(digests)}

    def restate(self, now: float) -> Iterator[Restated]:
        """All that is held out as a line of memory.jsonl."""
        if rows := self._entries.where("e.held_out"):
            yield "held_out", now, {"entries": [self._line(e.id, e.held_digests) for e in rows]}

    def replay(self, line: Line) -> None:
        """Do again what a line of memory.jsonl says; twice changes nothing."""
        for one in line["entries"]:
            self._entries.ghost(one, line["time"])
            self._hold(one["entry"], one["held"])
        self._db.set_meta("held_out_chosen", "1")

    def _keep_choosing(self, candidates: Sequence[_Candidate], total: int) -> list[_Choice]:
        counts, covered = Counter[str](), set[str]()
        for row in self._db.read(
            f"SELECT e.tags, e.held_out > 0 AS held, COUNT(*) AS n FROM entries e WHERE {LIVE} "
            "GROUP BY e.tags, held"
        ):
            tags = set(json.loads(row["tags"]))
            counts.update(dict.fromkeys(tags, row["n"]))
            covered |= tags if row["held"] else set()
        held, choices = self._words(), []
        for one in _drawn(candidates):
            lacks = any(counts[t] >= _TAG_ENTRIES and t not in covered for t in one.tags)
            if choice := _keep_choosing(one, total, held, lacks):
                choices.append(choice)
                held += choice.words
                covered.update(one.tags)
        return choices

    def digests(self) -> set[str]:
        """Digests of held-out paragraphs of four words or more: no copy of them is ever learned."""
        found: set[str] = set()
        for entry in self._entries.where(f"e.held_out AND {LIVE}"):
            own = {d for d, words in self._entries.digests_of(entry.id) if words >= COPY_LEAST}
            found |= own if entry.held_out == 1 else own & set(entry.held_digests)
        return found

    def _words(self) -> int:
        return sum(
            min(self._words_of(entry), ENTRY_WORDS)
            for entry in self._entries.where(f"e.held_out AND {LIVE}")
        )

    def _words_of(self, entry: EntryRow) -> int:
        if entry.held_out == 1:
            return entry.words
        held = set(entry.held_digests)
        return sum(w for d, w in self._entries.digests_of(entry.id) if d in held)
