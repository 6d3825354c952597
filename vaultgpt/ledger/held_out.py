"""Which entries are held out: chosen once, when first seen, by keyed hash.

Wanted: 5 % of words, at least 24 segments, at most 50,000 words, at most 2,000 of one entry, every
tag of three or more entries. Compromise for small vaults: never above 20 % of the words, so that
2,000 words give 400 (two segments) and 25,000 give 4,560 (24 segments, 18 %).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SHARE = 0.05
MOST_SHARE = 0.20
SEGMENTS = 24
SEGMENT_WORDS = 190  # estimate of the words in 256 tokens
MOST_WORDS = 50_000
ENTRY_WORDS = 2_000
TAG_ENTRIES = 3
COPY_LEAST = 4  # words of a held-out paragraph whose copies are not learned either


@dataclass(frozen=True)
class Candidate:
    """One entry that may be chosen. `draw` is its number in [0, 1), the same in every run."""

    id: str
    words: int
    tags: tuple[str, ...]
    draw: float
    paragraphs: tuple[tuple[str, int], ...] = ()  # (digest, words) in order, for long entries


@dataclass(frozen=True)
class Choice:
    """A chosen entry: whole, or only these paragraphs of a long one."""

    id: str
    words: int
    digests: tuple[str, ...] = ()


def wanted_words(total: int) -> int:
    """Words to hold out of a vault of `total` usable words."""
    share = max(SHARE * total, SEGMENTS * SEGMENT_WORDS)
    return int(min(share, MOST_SHARE * total, MOST_WORDS))


def choose(candidates: Sequence[Candidate], total: int, held: int = 0) -> list[Choice]:
    """First choice over a whole vault: entries in the order of their draw until there is enough.

    An entry of over 2,000 words is never given up whole: its last paragraphs, at most 2,000 words
    and a fifth of it, are held out and the rest is learned. Then tags without an entry get one.
    """
    want, got = wanted_words(total), held
    chosen: dict[str, Choice] = {}
    for one in sorted(candidates, key=lambda c: (c.draw, c.id)):
        if got >= want:
            break
        choice = _take(one)
        if choice and got + choice.words <= want + want // 10:
            chosen[one.id] = choice
            got += choice.words
    for one in sorted(candidates, key=lambda c: (c.draw, c.id)):  # a vault of a few long entries
        if got >= want * 3 // 4:
            break
        if one.id not in chosen and (part := _part(one, min(want - got, one.words // 5))):
            chosen[one.id] = part
            got += part.words
    for choice in _for_tags(candidates, set(chosen), int(MOST_SHARE * total) - got):
        chosen[choice.id] = choice
    return list(chosen.values())


def keep_choosing(one: Candidate, total: int, held: int, tag_lacks: bool = False) -> Choice | None:
    """For an entry first seen after the first choice: by its draw 20 % while text is lacking, else
    5 % in vaults where that is more than the least, else none; always for a tag without an entry.

    Between 25,000 and 91,000 words the least (24 segments) is more than 5 %: nothing new is given
    up there, so that somebody's one new note is learned rather than held out.
    """
    rate = MOST_SHARE if held < 0.9 * wanted_words(total) else 0.0
    if rate == 0.0 and SHARE * total > SEGMENTS * SEGMENT_WORDS and held < 1.2 * SHARE * total:
        rate = SHARE
    choice = _take(one)
    if choice is None or held + choice.words > min(MOST_WORDS, MOST_SHARE * total):
        return None
    return choice if tag_lacks or one.draw < rate else None


def _take(one: Candidate) -> Choice | None:
    if one.words <= 0:
        return None
    if one.words <= ENTRY_WORDS:
        return Choice(one.id, one.words)
    return _part(one, min(ENTRY_WORDS, one.words // 5))


def _part(one: Candidate, most: int) -> Choice | None:
    """The last paragraphs of an entry, at most that many words."""
    got, digests = 0, []
    for digest, words in reversed(one.paragraphs):
        if got + words > most:
            break
        digests.append(digest)
        got += words
    return Choice(one.id, got, tuple(digests)) if digests else None


def _for_tags(candidates: Sequence[Candidate], chosen: set[str], room: int) -> list[Choice]:
    """The shortest entry of each tag that has three entries or more and none among the chosen."""
    counts = Counter(tag for one in candidates for tag in set(one.tags))
    covered = {tag for one in candidates if one.id in chosen for tag in one.tags}
    extra: list[Choice] = []
    for tag in sorted(counts):
        if counts[tag] < TAG_ENTRIES or tag in covered:
            continue
        with_tag = sorted((c for c in candidates if tag in c.tags and c.words > 0),
                          key=lambda c: (c.words < 30, c.words, c.draw))
        choice = _take(with_tag[0]) if with_tag else None
        if choice and choice.words <= room:
            extra.append(choice)
            room -= choice.words
            covered.update(with_tag[0].tags)
    return extra
