"""What a scan found, counted: notes, words, tags, years, folders, language, reasons.

Holds numbers and names of tags and folders, never prose or titles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypedDict

from vaultgpt.corpus.words import LanguageVotes, count_words
from vaultgpt.vault.entry import NoteFacts
from vaultgpt.vault.reconcile import ScannedNote

_SAMPLE = 4000  # characters of each note that vote on the language
_FOREIGN = frozenset({"clipping", "excerpt", "chat"})  # reasons: somebody else wrote it
# Each reason of vault/rules.py: (one note, several notes), as words after a count.
_REASONS = {
    "folder": ("in a folder you excluded",) * 2,
    "pattern": ("you excluded",) * 2,
    "only": ("outside of rules.only",) * 2,
    "tag": ("tagged private", "tagged private"),
    "vaultgpt: false": ("that says vaultgpt: false", "that say vaultgpt: false"),
    "excluded": ("that says excluded", "that say excluded"),
    "obsidian": ("that Obsidian excludes",) * 2,
    "template": ("template", "templates"),
    "clipping": ("clipping", "clippings"),
    "few words": ("with hardly a word",) * 2,
    "empty": ("without prose",) * 2,
    "unreadable": ("unreadable",) * 2,
    "quarantined": ("that takes too long to read", "that take too long to read"),
    "excerpt": ("of excerpts from a book or a reader",) * 2,
    "chat": ("chat with an assistant", "chats with an assistant"),
    "conflict copy": ("sync conflict copy", "sync conflict copies"),
    "forgotten": ("that you had forgotten",) * 2,
    "name": ("whose name can't be shown", "whose names can't be shown"),
    "placeholder": ("not downloaded from the cloud",) * 2,
    "symlink": ("behind a symbolic link", "behind symbolic links"),
}


class Census(TypedDict):
    """CONTRACT's `scan` JSON, with folders (top folder -> words), language and problems.

    `tags` and `years` count entries (a file of many days is many) with prose in used notes;
    `foreign` counts, by top folder, the notes that somebody else wrote and the other ones."""

    notes: int
    used: int
    left_out: dict[str, int]
    words: int
    tags: dict[str, int]
    years: dict[str, int]
    folders: dict[str, int]
    language: str | None
    problems: int
    foreign: dict[str, list[int]]


def census(notes: Iterable[ScannedNote]) -> Census:
    """The census of notes as they were read."""
    tags, years, votes = Counter[str](), Counter[str](), LanguageVotes()

    def counting() -> Iterator[NoteFacts]:
        for scanned in notes:
            yield facts_of(scanned)
            for entry in scanned.note.entries if scanned.judgement.used else ():
                prose = entry.prose
                if count_words(prose[:_SAMPLE]) or count_words(prose):
                    votes.add(prose[:_SAMPLE])
                    tags.update(entry.tags)
                    years.update([entry.date[:4]] if entry.date else [])

    found = counted(counting(), tags, years)
    return {**found, "language": votes.language()}


def facts_of(scanned: ScannedNote) -> NoteFacts:
    """A note that was read, in short."""
    note, judgement = scanned.note, scanned.judgement
    bad = note.problem is not None
    return NoteFacts(note.path, judgement.used, judgement.code, note.words, bad)


def counted(notes: Iterable[NoteFacts], tags: Counter[str], years: Counter[str]) -> Census:
    """The census of judged notes; its entries are counted by tag and year when they are all read.
    The language is not known."""
    total = used = words = problems = 0
    left_out, folders = Counter[str](), Counter[str]()
    foreign: dict[str, list[int]] = {}
    for note in notes:
        total, problems = total + note.times, problems + note.troubled * note.times
        folder = note.path.split("/")[0] if "/" in note.path else ""
        theirs = note.code in _FOREIGN
        if theirs or note.used:
            foreign.setdefault(folder, [0, 0])[0 if theirs else 1] += note.times
        if note.used:
            used, words = used + note.times, words + note.words
            folders[folder] += note.words
        else:
            left_out[note.code] += note.times
    return {
        "notes": total,
        "used": used,
        "left_out": _most_first(left_out),
        "words": words,
        "tags": _most_first(tags),
        "years": dict(sorted(years.items())),
        "folders": _most_first(folders),
        "language": None,
        "problems": problems,
        "foreign": {name: counts for name, counts in foreign.items() if counts[0]},
    }


def sentence(found: Census) -> str:
    """What is used, in one line for people."""
    notes, used, words = found["notes"], found["used"], found["words"]
    if not notes:
        return "There are no Markdown notes here."
    count = "The only note is" if notes == used == 1 else f"{used:,} of {notes:,} notes are"
    text = f"{count} used: {words:,} words of your prose"
    if years := list(found["years"]):
        text += f", {years[0]}" if years[0] == years[-1] else f", {years[0]} to {years[-1]}"
    return text + "."


def _most_first(counts: Counter[str]) -> dict[str, int]:
    """The largest first, the equal by name and not as the disk happens to list files."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def reason(code: str, count: int) -> str:
    """A rule's code as words after a count of notes."""
    one, many = _REASONS.get(code, (code, code))
    return one if count == 1 else many
