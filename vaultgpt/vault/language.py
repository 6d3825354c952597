"""A guess at a text's language from its commonest small words.

Seven languages that share an alphabet; knows nothing about grammar.
"""

from __future__ import annotations

import re
from collections import Counter

MIN_WORDS = 200
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
_WORD = re.compile(r"[^\W\d_]+")


class Votes:
    """Counts small words of many texts; `language()` says which list they come from."""

    def __init__(self) -> None:
        self.words = 0
        self.counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count the words of one text."""
        words = _WORD.findall(text.lower())
        self.words += len(words)
        self.counts.update(words)

    def language(self) -> str | None:
        """A two-letter code; None under 200 words, for other languages, and when two are close."""
        if self.words < MIN_WORDS:
            return None
        shares = sorted(
            (
                (sum(self.counts[w] for w in words) / self.words, language)
                for language, words in _LISTS.items()
            ),
            reverse=True,
        )
        (best, language), (second, _) = shares[0], shares[1]
        return language if best >= 0.12 and best >= 1.4 * second else None
