"""One alternative's text as it grows: what is settled, what may not stand, and where it ends.

Works on text alone, so that any engine's text can go through it. Knows nothing about tokens: who
does cuts it back where a Fault says so.
"""

from __future__ import annotations

import re
import sys

from vaultgpt.corpus.habits import Habits
from vaultgpt.corpus.words import Word, split_words
from vaultgpt.mirror.copy_guard import CopyGuard, Runs
from vaultgpt.mirror.manner import Fault, Manner
from vaultgpt.mirror.stopping import MAY_BE_SHORT, Ending, StoppingCriteria
from vaultgpt.wire import Finish, Piece, Prompt

MOST_BARS = 32  # tokens barred at one place before the answer ends there
_SURE_WORDS = 3  # the chance of so many first words is told
_LEAST_WORDS = 3  # of an answer that ends by itself; a shorter one is written anew
_MOST_SHORT = 4  # times, before a short one stands
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# What a reader takes for one word still being written; a CJK character is a word of its own.
_OPEN = re.compile(rf"(?:(?![{_CJK}])[\w'’\-])+\Z")
_BREAK = re.compile(rf"[^\w'’\-]|[{_CJK}]")
_CLOSERS = re.compile(r"[.!?…]*[\"”’»)\]]*")


class Wording:
    """The text of alternative `index`. `finish` is set once its last piece has been given."""

    @staticmethod
    def of(
        prompt: Prompt,
        index: int,
        most: int,
        runs: Runs,
        habits: Habits | None,
        *,
        poetry: bool,
        apart: bool = False,
    ) -> Wording:
        """Of a prompt's alternative in at most so many tokens. `apart`: it begins a paragraph."""
        sampling, before = prompt.sampling, "" if apart else prompt.text
        strip = " \t\n\r"
        if before and before[-1] not in "\r\n":
            strip = " \t" if before[-1].isspace() else ""
        return Wording(
            index,
            CopyGuard(runs, before, sampling.guard),
            Manner(habits, before, sampling.dry_multiplier > 0),
            StoppingCriteria(prompt.length, most, prompt.stop, prompt.suffix, poetry),
            strip,
        )

    def __init__(
        self,
        index: int,
        copy_guard: CopyGuard,
        manner: Manner,
        stopping: StoppingCriteria,
        strip: str = "",
    ) -> None:
        """`strip`: white space that the answer does not open with."""
        self.index, self._strip = index, strip
        self._copy_guard, self._manner, self._stopping = copy_guard, manner, stopping
        self.text = ""
        self.sent = self.opening = 0  # characters given away, and those stripped before them
        self.finish: Finish | None = None
        self._short = 0  # times that it was too short
        self._limit_at: int | None = None  # len(text) when its tokens were used up

    def cut(self, length: int) -> None:
        """Back to so many characters."""
        self.text = self.text[:length]
        self._limit_at = None
        self._copy_guard.rewind(length)
        self._manner.cut(length)
        self._stopping.rewind(length)

    def judge(self, tokens: int) -> Fault | Ending | None:
        """What its newest characters make of a text of so many tokens."""
        ending = self._stopping.find(self.text, tokens)
        if ending is not None:
            return self._fault(ending.at, ending.at) or self._too_short(ending) or ending
        return self._fault(len(self.text), self._copy_guard.ended(self.text))

    def close(self) -> Fault | Ending:
        """The writer says that the text is over."""
        at = self._stopping.close(self.text)
        ending = Ending(at, "stop", own=at == len(self.text.rstrip()))
        return self._fault(ending.at, ending.at) or self._too_short(ending) or ending

    def pardon(self, *, to_come: bool = False) -> None:
        """What stands, and what is to come, may stand but for copies: there was no other way."""
        self._manner.pardon(sys.maxsize if to_come else len(self.text))

    def _fault(self, upto: int, ended: int) -> Fault | None:
        copied = self._copy_guard.copied(self.text, ended)
        if copied is not None:
            return Fault(copied, "copied")
        return self._manner.fault(self.text[:upto], ended)

    def _too_short(self, ending: Ending) -> Fault | None:
        if not ending.own or self._short >= _MOST_SHORT or self._enough(ending.at):
            return None
        self._short += 1
        return Fault(0, "short")

    def _enough(self, upto: int) -> bool:
        any_length = self._stopping.length in MAY_BE_SHORT
        return any_length or len(split_words(self.text[:upto])) >= _LEAST_WORDS

    def first_words(self) -> list[Word]:
        """Those whose chance is told."""
        return split_words(self.text)[:_SURE_WORDS]

    # What is given away -----------------------------------------------------------------------

    def settled(self) -> int:
        """Characters that nothing to come takes back: no open word, no half stop string."""
        if self.sent == 0 and self._short < _MOST_SHORT and not self._enough(len(self.text)):
            return 0
        match = _OPEN.search(self.text, max(0, len(self.text) - 80))
        limit = min(match.start() if match else len(self.text), self._stopping.held(self.text))
        return min(limit, self._copy_guard.ended(self.text), self._manner.settled(self.text))

    def words_before(self, at: int) -> int:
        """Where the text's whole words end before character `at`."""
        goes_on = _OPEN.search(self.text[at : at + 1])
        match = _OPEN.search(self.text[:at]) if goes_on else None
        return match.start() if match else at

    def give(self, upto: int) -> list[Piece]:
        """What is new of text[:upto]."""
        upto = len(self.text[:upto].rstrip())
        if self.sent == 0 and self._strip:
            opened = self.text[:upto]
            self.sent = self.opening = len(opened) - len(opened.lstrip(self._strip))
        if upto <= self.sent:
            return []
        text = self.text[self.sent : upto]
        self.sent = upto
        return [Piece(self.index, text)]

    def end(self, at: int, finish: Finish) -> list[Piece]:
        """The last pieces, of text[:at]."""
        pieces = self.give(at)
        self.text = self.text[: max(self.sent, len(self.text[:at].rstrip()))]
        self.finish = finish
        if pieces:
            return [*pieces[:-1], Piece(self.index, pieces[-1].text, finish)]
        return [Piece(self.index, "", finish)]

    def cancel(self) -> list[Piece]:
        """End here, saying nothing more."""
        self.finish = "cancelled"
        return [Piece(self.index, "", "cancelled")]

    def limit(self, patient: bool) -> Fault | Ending | None:
        """Where it ends when its tokens are used up: after the word under way.

        None while that goes on; before it, when the writer is not `patient` any more."""
        if self._limit_at is None or not self.text[: self._limit_at].strip():
            self._limit_at = len(self.text)
            if patient and not self.text.strip():
                return None  # a space, or a part of a letter: a token is asked for, so a word is
        at = self._limit_at
        if _OPEN.search(self.text[:at][-80:]):
            found = _BREAK.search(self.text, at)
            if found:
                closers = _CLOSERS.match(self.text, found.start())
                at = closers.end() if closers else found.start()
            elif patient:
                return None
            elif match := _OPEN.search(self.text):
                start = max(self.sent, match.start())
                at = start if self.text[:start].strip() else at  # of a lone word a part, not none
        return self._fault(at, at) or Ending(at, "length")
