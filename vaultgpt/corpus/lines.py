"""By tag: whether the author writes in lines (verse, lists), how long they are, and other habits.

Counts only, never a word of text. Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vaultgpt.corpus.habits import Habits
from vaultgpt.corpus.habits import measure as habits_of
from vaultgpt.files import Json, read_json, write_json

FILE = "lines.json"  # in a generation's folder
_BIN = 6  # characters, about a word
_BINS = 16  # the last one holds all longer lines
_LEAST_LINES, _MOST_MEAN = 4, 50.0  # lines of an entry, and their mean length in characters
_SINGLE_SHARE = 0.5  # of the breaks between lines, those that part no paragraphs
_LEAST_ENTRIES, _USUAL = 3, 0.6  # entries in lines that make it a tag's way, and their share
_TOKENS_A_BIN = 1.5
_NONE = (0,) * _BINS
_EVERY = ""  # the tag that all entries have
_LEAST_WORDS = 1_000  # under a tag, that show its habits; else those of all entries are taken


@dataclass(frozen=True)
class Lines:
    """One tag's entries: how many, how many in lines, and those lines' lengths and breaks."""

    entries: int = 0
    in_lines: int = 0
    lengths: tuple[int, ...] = _NONE  # [_BINS] lines by length
    breaks: int = 0  # between two lines
    blanks: int = 0  # of those, with an empty line between
    habits: Habits = field(default_factory=Habits)

    def __add__(self, other: Lines) -> Lines:
        lengths = tuple(a + b for a, b in zip(self.lengths, other.lengths, strict=True))
        return Lines(
            self.entries + other.entries,
            self.in_lines + other.in_lines,
            lengths,
            self.breaks + other.breaks,
            self.blanks + other.blanks,
            self.habits + other.habits,
        )

    @property
    def usual(self) -> bool:
        """Whether entries under this tag are mostly in lines."""
        return self.in_lines >= _LEAST_ENTRIES and self.in_lines >= _USUAL * self.entries

    @property
    def longest(self) -> int:
        """Characters that the longest lines have, _BIN * _BINS at most."""
        last = max(i for i, n in enumerate(self.lengths) if n)
        return (last + 1) * _BIN

    @property
    def blank_share(self) -> float:
        """How often an empty line follows a line that another one follows."""
        return (self.blanks + 0.5) / (self.breaks + 1.0)

    def ends(self, column: int) -> float:
        """Chance that a line which has reached `column` characters ends at the next token."""
        at = min(column // _BIN, _BINS - 1)
        reached = sum(self.lengths[at:])
        here = (self.lengths[at] + 0.5) / (reached + 1.0)
        return float(1.0 - (1.0 - here) ** (1.0 / _TOKENS_A_BIN))


def _measure(text: str) -> Lines:
    """One entry's text."""
    rows = [line.rstrip() for line in text.strip().split("\n")]
    lines = [len(row.lstrip()) for row in rows if row.strip()]
    breaks = len(lines) - 1
    blanks = sum(1 for i, row in enumerate(rows) if not row and rows[i - 1])
    wraps = len(lines) >= _LEAST_LINES and sum(lines) <= _MOST_MEAN * len(lines)
    if not wraps or breaks - blanks < _SINGLE_SHARE * breaks:
        return Lines(entries=1, habits=habits_of(text))
    lengths = [0] * _BINS
    for length in lines:
        lengths[min(length // _BIN, _BINS - 1)] += 1
    return Lines(1, 1, tuple(lengths), breaks, blanks, habits_of(text))


def by_tag(
    entries: Iterable[tuple[tuple[str, ...], str]],
    before: Mapping[str, Lines] | None = None,
    more: str = "",
) -> dict[str, Lines]:
    """Tag -> its figures over (tags, text) of `entries`, added to those `before`.

    Of `more`, which is the author's too, the scripts alone count."""
    found = dict(before or {})
    found[_EVERY] = found.get(_EVERY, Lines()) + Lines(habits=Habits().beside(more))
    for tags, text in entries:
        one = _measure(text)
        for tag in (*tags, _EVERY):
            found[tag] = found.get(tag, Lines()) + one
    return found


def usual(tags: Iterable[str], known: Mapping[str, Lines]) -> Lines | None:
    """The figures of the first of these tags, or of a tag above it, that is mostly in lines."""
    for tag in tags:
        name = tag.lstrip("#").lower()
        while name:
            if (found := known.get(name)) is not None and found.usual:
                return found
            name = name.rpartition("/")[0]
    return None


def habits(tags: Iterable[str], known: Mapping[str, Lines]) -> Habits | None:
    """Of the first of these tags with enough words, else of all entries; None where unknown."""
    every = known.get(_EVERY, Lines())
    for tag in tags:
        found = known.get(tag.lstrip("#").lower(), Lines())
        if found.habits.words >= _LEAST_WORDS:
            return found.habits
    return every.habits if every.habits.words else None


def save(folder: Path, known: Mapping[str, Lines]) -> None:
    """Into a generation's folder; tags without an entry in lines keep no figures of lines."""
    value: dict[str, dict[str, object]] = {}
    for tag, one in known.items():
        value[tag] = asdict(one) if one.in_lines else {"entries": one.entries}
        value[tag]["habits"] = asdict(one.habits)
    write_json(folder / FILE, value)


def of_generation(folder: Path) -> dict[str, Lines]:
    """What a generation's folder says of its author's lines; {} where it says nothing.

    Generations made before there was a file for it have it in the manifest's report."""
    try:
        if (folder / FILE).exists():
            value = read_json(folder / FILE)
        else:
            value = read_json(folder / "manifest.json")["report"]["learning"]["lines"]
        return {str(tag): _lines(one) for tag, one in value.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _lines(value: Json) -> Lines:
    lengths = tuple(int(n) for n in value.get("lengths", _NONE))
    if len(lengths) != _BINS:
        raise ValueError("lines of another version")
    did = Habits.kept(value.get("habits", {}))
    counts = {key: int(n) for key, n in value.items() if key not in ("lengths", "habits")}
    return Lines(**counts, lengths=lengths, habits=did)
