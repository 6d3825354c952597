"""What a scan found, counted: notes, words, tags, years, folders, language, reasons.

Holds numbers and names of tags and folders, never prose or titles. A language is told by its
script, or by its commonest small words where seven share one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypedDict

from vaultgpt.corpus.words import count_words, norms
from vaultgpt.vault.entry import NoteFacts
from vaultgpt.vault.reconcile import ScannedNote

_SAMPLE = 4000  # characters of each note that vote on the language
_MIN_WORDS = 200
_FEW_WORDS = 20  # of one text, read by itself
_FEW_COMMON = 5  # of a language's small words in it; `os` of code, `com` of addresses are but one
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
_COMMON = {
    "en": "the and of to in that it was is my for with not but be have this are you from they at "
    "had he she his her we which would there were been what when",
    "de": "der die und das ich nicht ein eine ist zu den mit auf es sich von dem war auch wie aber "
    "wir sie im für noch nur bei mich mir wenn habe schon",
    "fr": "le les des et que je une est dans pas qui il pour sur ne ce plus mais avec elle nous au "
    "du mon tout cette comme moi était être aux très même",
    "es": "el los que y las una por con no del se lo su para como más pero mi al fue este muy ya "
    "cuando hay está sin sobre era todo también yo porque",
    "it": "il che di e non per una sono del della con ma mi più come gli anche ho nel alla questo "
    "era io lo le dei si perché cosa quando mia",
    "nl": "het een en ik niet dat van is op te zijn maar met voor er aan die was ook wat heb nog "
    "naar om dan mijn als hij ze door werd",
    "pt": "que não uma os com para por mas mais do da eu em um se na no ao como foi meu minha "
    "muito já está ele ela isso quando também são dos",
}
_LISTS = {language: frozenset(words.split()) for language, words in _COMMON.items()}
# A script and its usual language; letters that only another one of that script has come below.
_SCRIPTS = {
    "ja": re.compile("[\u3040-\u30ff\uff66-\uff9d]"),
    "zh": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]"),
    "ko": re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"),
    "ru": re.compile("[\u0400-\u052f]"),
    "ar": re.compile("[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff]"),
    "he": re.compile("[\u0590-\u05ff]"),
    "el": re.compile("[\u0370-\u03ff\u1f00-\u1fff]"),
    "hi": re.compile("[\u0900-\u097f]"),
    "bn": re.compile("[\u0980-\u09ff]"),
    "ta": re.compile("[\u0b80-\u0bff]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "ka": re.compile("[\u10a0-\u10ff]"),
    "hy": re.compile("[\u0530-\u058f]"),
}
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
_OTHERS = {"ru": ("uk", re.compile("[іїєґІЇЄҐ]")), "ar": ("fa", re.compile("[پچژگ]"))}
_OTHER_SHARE = 0.02  # of the letters; Ukrainian has 8 %, Persian 4 %
_KANA_SHARE = 0.1  # of the characters; Japanese has half, a Chinese note that quotes some a little


class _Votes:
    """Counts letters and small words of many texts; `language()` says what they are."""

    def __init__(self) -> None:
        self.words = 0
        self.letters: Counter[str] = Counter()  # by script
        self._counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count one text."""
        words = norms(text)
        self.words += len(words)
        self._counts.update(words)
        self.letters["latin"] += len(_LATIN.findall(text))
        if text.isascii():
            return
        for language, script in _SCRIPTS.items():
            if count := len(script.findall(text)):
                self.letters[language] += count
                if language in _OTHERS:
                    other, signs = _OTHERS[language]
                    self.letters[other] += len(signs.findall(text))

    def language(self, least: int = _MIN_WORDS, common: int = 0) -> str | None:
        """A two-letter code; None under so many words, for others, and when two are close.

        Of a language that is told by its small words there have to be so many different ones.
        """
        if self.words < least:
            return None
        letters = {name: self.letters[name] for name in ("latin", *_SCRIPTS)}
        script = max(letters, key=lambda name: letters[name])
        if script in ("zh", "ja"):
            both = letters["zh"] + letters["ja"]
            script = "ja" if letters["ja"] >= _KANA_SHARE * both else "zh"
            letters[script] = both
        if 2 * letters[script] < sum(letters.values()) - (letters["ja"] if script == "ja" else 0):
            return None
        if script == "latin":
            told = self._by_words()
            return told if told and len(_LISTS[told] & self._counts.keys()) >= common else None
        other, _ = _OTHERS.get(script, ("", None))
        return other if other and self.letters[other] >= _OTHER_SHARE * letters[script] else script

    def _by_words(self) -> str | None:
        total = max(1, self.words)
        shares = sorted(
            (sum(self._counts[w] for w in words) / total, language)
            for language, words in _LISTS.items()
        )
        (second, _), (best, language) = shares[-2:]
        return language if best >= 0.12 and best >= 1.4 * second else None


def language_of(text: str) -> str | None:
    """Of one text, by its end; None under 20 words, for other languages, and when two are close.

    Of 2,993 entries of 20 words and more in English diaries and the example vault 2,984 are told as
    English and none as another language.
    """
    votes = _Votes()
    votes.add(text[-_SAMPLE:])
    return votes.language(_FEW_WORDS, _FEW_COMMON)


class Census(TypedDict):
    """CONTRACT's `scan` JSON, with folders (top folder -> words), language and problems.

    `tags` and `years` count entries (a file of many days is many) with prose in used notes;
    `foreign` counts, by top folder, the notes that somebody else wrote and the other ones.
    """

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
    tags, years, votes = Counter[str](), Counter[str](), _Votes()

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
