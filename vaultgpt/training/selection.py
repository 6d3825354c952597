"""Which entries an incremental round learns, holds out and reads again; samples of a vault.

Reads the ledger's figures, never a note. Knows nothing about when a round is due.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vaultgpt.ledger import EntryRow, Ledger, Paragraph, Pending
from vaultgpt.ledger.paragraphs import chance

_GOLDEN = 0.6180339887498949  # the fractions of its multiples lie evenly, however many there are
_REPLAY_TIMES = 0.14  # words of replay for each new word: 10 % to 75 %
_REPLAY_OF = 5_000  # entries that replay is chosen from, where there are more
_MISSING = 0.5  # a tag is missing from new text that brings less than this part of its usual share
_NEW_HELD_SHARE = 0.2  # of the new words, held out of this round and learned in the next
_WHOLE_ENTRIES = 4  # from so many new entries on whole ones are held out, else last paragraphs


@dataclass(frozen=True)
class Selection:
    """What each entry is for in a round."""

    new: dict[str, tuple[str, ...]] = field(default_factory=dict)  # entry -> new paragraphs
    new_held: dict[str, tuple[str, ...]] = field(default_factory=dict)  # held out of this round
    replay: tuple[str, ...] = ()
    train: tuple[str, ...] = ()  # of a fresh round


def stratified(entries: Sequence[EntryRow], words: int, seed: int) -> list[str]:
    """Entries of about `words` words in all, in proportion to each year and first tag.

    In each stratum entries stand in random order, each at the share of the stratum's words that is
    reached within it; taking all strata by that share up to `words` keeps the proportions. How far
    within it is spread evenly over the strata: with the middle in all of them the large ones came
    first, and 16,000 words of 20,000 entries over 40 years had up to a sixth too much of a tag."""
    strata: dict[tuple[str, str], list[EntryRow]] = defaultdict(list)
    for entry in sorted(entries, key=lambda e: e.place):
        strata[(_first_tag(entry), entry.year or "")].append(entry)
    rng = random.Random(seed)
    placed: list[tuple[float, str, EntryRow]] = []
    within = random.Random(f"{seed}/within").random()
    for _, members in sorted(strata.items()):
        rng.shuffle(members)
        within = (within + _GOLDEN) % 1.0
        total, at = sum(e.words for e in members), 0
        for entry in members:
            placed.append(((at + entry.words * within) / max(1, total), entry.place, entry))
            at += entry.words
    chosen: list[str] = []
    left = words
    for _, _, entry in sorted(placed, key=lambda p: (p[0], p[1])):
        if entry.words <= left or (not chosen and left > 0):
            chosen.append(entry.id)
            left -= entry.words
    return chosen


def select(ledger: Ledger, ready: Pending, seed: int) -> Selection:
    """An incremental round's new text, the part of it held out of this round, and its replay."""
    entries = ledger.entries.named(ready.entries)
    waiting = _ready_paragraphs(ledger, ready)
    held = _new_held_out(waiting, ready.ready_words, ledger.key)
    new = {
        entry: tuple(d for d in digests if d not in set(held.get(entry, ())))
        for entry, digests in ready.entries.items()
    }
    new = {entry: digests for entry, digests in new.items() if digests}
    usual = Counter(ledger.entries.words_by_first_tag())
    for entry in ready.entries:
        usual[_first_tag(entries[entry])] -= entries[entry].words if _learns(entries[entry]) else 0
    new_words = Counter[str]()
    for entry, paragraphs in waiting.items():
        new_words[_first_tag(entries[entry])] += sum(p.words for p in paragraphs)
    replay: list[str] = []
    if missing := _missing_tags(usual, new_words):
        found = ledger.entries.some_to_learn(missing, _REPLAY_OF, seed)
        old = [entry for entry in found if entry.id not in ready.entries]
        replay = stratified(old, round(_REPLAY_TIMES * ready.ready_words), seed)
    return Selection(new, held, tuple(replay))


def _first_tag(entry: EntryRow) -> str:
    """The tag that an entry counts under; "" without any."""
    return entry.tags[0] if entry.tags else ""


def _ready_paragraphs(ledger: Ledger, ready: Pending) -> dict[str, list[Paragraph]]:
    """Entry -> its new paragraphs."""
    every = ledger.entries.paragraphs(ready.entries)
    return {
        entry: [p for p in every[entry] if p.digest in new]
        for entry, new in ((e, set(digests)) for e, digests in ready.entries.items())
    }


def _learns(entry: EntryRow) -> bool:
    return entry.live and entry.words > 0 and entry.held_out != 1


def _missing_tags(usual: Mapping[str, int], now: Mapping[str, int]) -> set[str]:
    """First tags of which the new text brings less than half the usual share; both words by tag.

    What has been read is not forgotten for being left out of a night, but poems fade while nothing
    but journals comes (docs/method.md has figures)."""
    all_old, all_new = max(1, sum(usual.values())), max(1, sum(now.values()))
    return {
        tag
        for tag, words in usual.items()
        if words and now.get(tag, 0) / all_new < _MISSING * words / all_old
    }


def _new_held_out(
    fresh: Mapping[str, list[Paragraph]], new_words: int, key: bytes
) -> dict[str, tuple[str, ...]]:
    """Entry -> new paragraphs held out of this round only, about a fifth of the new words.

    From four new entries on whole entries are taken by keyed hash, below that the last new
    paragraph of an entry with three or more. Text that waited once is never taken again."""
    free = {entry: ps for entry, ps in fresh.items() if not any(p.waited for p in ps)}
    most = _NEW_HELD_SHARE * new_words
    chosen: dict[str, tuple[str, ...]] = {}
    got = 0
    for entry in sorted(free, key=lambda e: chance(free[e][0].digest, key)):
        parts = (
            free[entry]
            if len(fresh) >= _WHOLE_ENTRIES
            else (free[entry][-1:] if len(free[entry]) >= 3 else [])
        )
        words = sum(p.words for p in parts)
        if words and got + words <= most * 1.5:
            chosen[entry] = tuple(p.digest for p in parts)
            got += words
        if got >= most:
            break
    return chosen
