"""Where an answer ends, as a person says it: a clause, a sentence, a paragraph, a page.

Also so many tokens, stop strings and the suffix's opening. Works on text alone; offsets are
characters of the answer. Knows nothing about tokens' ids or models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vaultgpt.corpus.words import count_words
from vaultgpt.wire import Finish, Length

_PAGE_WORDS, _PAGE_SENTENCE_WORDS, _PAGE_MOST_WORDS = 300, 350, 400
_SUFFIX_CHARS = 12  # of the suffix's opening that make a repetition
_SUFFIX_LEAST = 6  # a shorter suffix says too little to be told from new text
MAY_BE_SHORT = ("clause", "tokens")  # answers of these lengths may even have no word
_SOFT = 0.85  # of max_tokens; from there on the next sentence end will do
OVERTIME = 8  # tokens beyond max_tokens that may finish a word

# A sentence end: its marks, closing quotes or brackets, and white space or the end.
_SENTENCE = re.compile(r"(?:[.!?…]+[\"'”’»)\]*_]*(?=\s)|[。！？]+[」』”’]*)")
_SENTENCE_AT_END = re.compile(r"(?:[.!?…]+[\"'”’»)\]*_]*|[。！？]+[」』”’]*)\s*\Z")
_SHORT = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Prof|Rev|Capt|Col|Gen|Hon|Jr|Sr|No|vs|cf|ca|e\.g|i\.e|viz|bzw|z\.B|Nr)"
    r"|(?:^|[\s.(])[^\W\d_])\.\Z"
)
_I_ENDS = re.compile(r"\bI\.\Z")
_CLAUSE = re.compile(r"(?:[,;:.!?…]+[\"'”’»)\]*_]*| [–—-])(?=\s)|[、，。！？]|—|(?=\n)")
_BLANK = re.compile(r"\n[ \t]*\n")
_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Ending:
    """The answer is text[:at]."""

    at: int
    finish: Finish
    own: bool = False  # the text came to an end; else a stop string, the suffix, a limit


def _is_abbreviation(text: str, end: int) -> bool:
    tail = text[max(0, end - 12) : end]
    return bool(_SHORT.search(tail)) and not _I_ENDS.search(tail)


def sentence_ends(text: str, start: int, final: bool = False) -> list[int]:
    """Ends of sentences beyond `start`; one at the very end counts only when nothing follows."""
    found = [m.end() for m in _SENTENCE.finditer(text, max(0, start - 4))]
    if final and (match := _SENTENCE_AT_END.search(text, max(0, start - 4))):
        found.append(len(text[: match.end()].rstrip()))
    return [end for end in dict.fromkeys(found) if end > start and not _is_abbreviation(text, end)]


class StoppingCriteria:
    """Watches one growing answer. `before` is the end of the text before the cursor."""

    def __init__(
        self, length: Length, max_tokens: int, stop: tuple[str, ...], suffix: str, poetry: bool
    ) -> None:
        self.length, self.max_tokens, self.poetry = length, max_tokens, poetry
        self.stop = tuple(s for s in stop if s)
        opening = " ".join(suffix[: 4 * _SUFFIX_CHARS].split())[:_SUFFIX_CHARS].rstrip()
        self.suffix = opening if len(opening) >= _SUFFIX_LEAST else ""
        parts = r"\s+".join(re.escape(part) for part in self.suffix.split())
        self._suffix = re.compile(rf"(?<!\w){parts}") if self.suffix else None
        self._from = 0  # where the search goes on
        self.longest_stop = max((len(s) for s in self.stop), default=0)

    def find(self, text: str, tokens: int) -> Ending | None:
        """Whether the answer has ended within `text`, of so many tokens."""
        start = max(0, self._from - 2 - max(self.longest_stop, _SUFFIX_CHARS))
        self._from = len(text)
        ends = [text.find(s, start) for s in self.stop]
        if self._suffix:
            match = self._suffix.search(text, start)
            ends.append(match.start() if match else -1)
        hits = [at for at in ends if at >= 0]
        at = self._natural(text, start)
        if at is not None and at <= min(hits, default=at):
            return Ending(at, "stop", own=True)
        if hits:
            return Ending(min(hits), "stop")
        if self.length != "tokens" and tokens >= _SOFT * self.max_tokens:
            near = sentence_ends(text, start)
            if near:
                return Ending(near[0], "length")
        return None

    def rewind(self, length: int) -> None:
        """The answer was cut back to `length` characters."""
        self._from = min(self._from, length)

    def held(self, text: str) -> int:
        """Where the end begins that may still turn out to be a stop string or the suffix."""
        limit = len(text)
        for mark in (*self.stop, self.suffix):
            for size in range(min(len(mark) - 1, len(text)), 0, -1):
                if text.endswith(mark[:size]):
                    limit = min(limit, len(text) - size)
                    break
        return limit

    def close(self, text: str) -> int:
        """Where a text ends that stopped of itself: before half a suffix, without white space."""
        if self.suffix:
            for size in range(min(len(self.suffix), len(text)), 5, -1):
                if text.endswith(self.suffix[:size]):
                    return len(text[:-size].rstrip())
        return len(text.rstrip())

    def _natural(self, text: str, start: int) -> int | None:
        if self.length == "clause":
            ends = (m.end() for m in _CLAUSE.finditer(text, start))
            return next((at for at in ends if _WORD.search(text, 0, at)), None)
        if self.length == "sentence":
            return self._sentence(text, start)
        if self.length == "paragraph":
            return self._paragraph(text, start)
        return self._page(text, start) if self.length == "page" else None

    def _sentence(self, text: str, start: int) -> int | None:
        lead = len(text) - len(text.lstrip())
        ends = [at for at in sentence_ends(text, start) if _WORD.search(text, 0, at)]
        line = text.find("\n", max(lead, start))
        # A line that breaks off after a comma goes on: a poem's, or an old print's.
        if line >= 0 and _WORD.search(text, 0, line) and text[line - 1] not in ",;:-—–":
            ends.append(line)
        return min(ends, default=None)

    def _paragraph(self, text: str, start: int) -> int | None:
        for match in _BLANK.finditer(text, start):
            body = text[: match.start()]
            lines = [line for line in body.split("\n") if _WORD.search(line)]
            if lines and (sentence_ends(body, 0, final=True) or len(lines) > 1):
                return match.start()
        return None

    def _page(self, text: str, start: int) -> int | None:
        words = count_words(text)
        if words < _PAGE_WORDS:
            return None
        line = text.rfind("\n", start)
        if (line >= 0 and not self.poetry) or _BLANK.search(text, start):
            return line
        if words >= _PAGE_SENTENCE_WORDS and (ends := sentence_ends(text, start)):
            return ends[0]
        return len(text.rstrip()) if words >= _PAGE_MOST_WORDS and text[-1:].isspace() else None
