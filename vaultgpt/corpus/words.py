"""What a word is, for counts, hashed runs, titles and figures alike; and of which language.

Letters and digits with the marks that Unicode gives them. A language is told by its script, or by
its commonest small words where seven share one. Knows nothing about notes.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from typing import NamedTuple

LEAST_WORDS = 2_000  # of usable prose, under which nothing is trained or held out

# Scripts written without spaces, where each character with its marks counts as a word: Chinese,
# Japanese; Thai, Lao, Burmese and Khmer. Korean parts its words.
_ALONE = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_JOINERS = "\u200c\u200d"  # stand inside words of Persian and of India's scripts
_MARKED_PLANES = 0x1F000  # marks lie below it, but for tags and variants of emoji
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")


class Word(NamedTuple):
    """Characters [start, end) of a text and the word's normal form (NFKC, casefold)."""

    start: int
    end: int
    norm: str


@functools.cache
def _word() -> re.Pattern[str]:
    """A character of _ALONE, or letters and digits, each with its marks. Made in 30 ms, if ever."""
    marks, last = [], 0
    for point in range(0x300, _MARKED_PLANES):
        if unicodedata.category(chr(point))[0] == "M":
            if point != last + 1:
                marks.append(chr(point) * 2)
            marks[-1], last = marks[-1][0] + chr(point), point
    mark = f"[{''.join(f'{pair[0]}-{pair[1]}' for pair in marks)}{_JOINERS}]"
    letter = rf"[^\W_{_ALONE}]"
    return re.compile(rf"[{_ALONE}]{mark}*|{letter}+(?:{mark}+{letter}*)*")


def _norm(word: str) -> str:
    if word.isascii():
        return word.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())


def split_words(text: str) -> list[Word]:
    """Words of `text` in order; apostrophes, hyphens and underscores part them."""
    pattern = _ASCII_WORD if text.isascii() else _word()
    return [Word(m.start(), m.end(), _norm(m.group())) for m in pattern.finditer(text)]


@functools.cache
def is_alone(char: str) -> bool:
    """Whether the script of `char` has no spaces, so that it is a word of its own."""
    return bool(char) and not char.isascii() and re.fullmatch(f"[{_ALONE}]", char) is not None


def norms(text: str) -> list[str]:
    """Only the normal forms, faster than split_words."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return [_norm(word) for word in _word().findall(text)]


def count_words(text: str) -> int:
    """How many words `text` has."""
    pattern = _ASCII_WORD if text.isascii() else _word()
    return sum(1 for _ in pattern.finditer(text))


# Words from which on a language is told, of many texts and of one that is read by itself.
_MIN_WORDS, _FEW_WORDS = 200, 20
_FEW_COMMON = 5  # of a language's small words in it; `os` of code, `com` of addresses are but one
_SAMPLE = 4000  # characters of one text that vote
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


class LanguageVotes:
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

        Of a language that is told by its small words there have to be so many different ones."""
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


def language_of(text: str, least: int = _FEW_WORDS, common: int = _FEW_COMMON) -> str | None:
    """Of one text, by its end; None under 20 words, for other languages, and when two are close.

    Of 2,993 entries of 20 words and more in English diaries and the example vault 2,984 are told as
    English and none as another language."""
    votes = LanguageVotes()
    votes.add(text[-_SAMPLE:])
    return votes.language(least, common)
