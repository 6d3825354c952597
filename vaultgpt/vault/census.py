"""What a scan found, counted: notes, words, tags, years, folders, language, reasons.

Holds numbers and names of tags and folders, never prose or titles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from vaultgpt.vault.language import Votes
from vaultgpt.vault.note import count_words
from vaultgpt.vault.scan import ScannedNote

_SAMPLE = 4000  # characters of each note that vote on the language


def census(notes: Iterable[ScannedNote]) -> dict[str, Any]:
    """CONTRACT's `scan` JSON with folders (top folder -> words), language and problems.

    `tags` and `years` count entries (a file of many days is many) with prose in used notes.
    """
    total = used = words = problems = 0
    left_out: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    years: Counter[str] = Counter()
    folders: Counter[str] = Counter()
    votes = Votes()
    for scanned in notes:
        note, total = scanned.note, total + 1
        problems += note.problem is not None
        if not scanned.judgement.used:
            left_out[scanned.judgement.code] += 1
            continue
        used, words = used + 1, words + note.words
        folders[note.path.split("/")[0] if "/" in note.path else ""] += note.words
        for entry in note.entries:
            prose = entry.prose
            if not count_words(prose[:_SAMPLE]) and not count_words(prose):
                continue
            votes.add(prose[:_SAMPLE])
            tags.update(entry.tags)
            years.update([entry.date[:4]] if entry.date else [])
    return {
        "notes": total,
        "used": used,
        "left_out": dict(left_out.most_common()),
        "words": words,
        "tags": dict(tags.most_common()),
        "years": dict(sorted(years.items())),
        "folders": dict(folders.most_common()),
        "language": votes.language(),
        "problems": problems,
    }


def sentence(found: dict[str, Any]) -> str:
    """The census in one line for people."""
    notes, used, words = found["notes"], found["used"], found["words"]
    if not notes:
        return "There are no Markdown notes here."
    text = f"{used:,} of {notes:,} notes are used: {words:,} words of your prose"
    if years := list(found["years"]):
        text += f", {years[0]}" if years[0] == years[-1] else f", {years[0]} to {years[-1]}"
    if left_out := found["left_out"]:
        text += "; left out: " + ", ".join(f"{count:,} {code}" for code, count in left_out.items())
    return text + "."
