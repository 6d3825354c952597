"""One alternative in the making: its tokens, their text, what of it is settled, and where it ends.

Bytes become text here; the guard's rewinds and the endings are carried out here. Knows nothing
about models and caches: a rewind only shortens `tail`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vaultgpt.corpus.runs import split_words
from vaultgpt.mirror.echo import Echo
from vaultgpt.mirror.healing import Healing
from vaultgpt.mirror.lengths import OVERTIME, Ender
from vaultgpt.mirror.sampling import Chooser, Dry, Logits
from vaultgpt.mirror.verse import Verse, said
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.wire import Finish, Piece

MOST_BARS = 32  # tokens barred at one place before the answer ends there
MOST_REWINDS = 400
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# What a reader takes for one word still being written; a CJK character is a word of its own.
_OPEN = re.compile(rf"(?:(?![{_CJK}])[\w'’\-])+\Z")
_BREAK = re.compile(rf"[^\w'’\-]|[{_CJK}]")
_CLOSERS = re.compile(r"[.!?…]*[\"”’»)\]]*")


@dataclass(frozen=True)
class Frame:
    """What all alternatives of a request share."""

    vocabulary: Vocabulary
    before: str  # the author's text before the cursor
    context: Sequence[int]  # its tokens, for DRY
    skip: int  # bytes of the healed tail, written again
    max_tokens: int
    needs_word: bool  # end-of-text is barred until a word is there
    healing: Healing | None = None
    strip: str = field(default="")  # white space that an answer does not open with


class Answer:
    """The state of alternative `index`. `finish` is set once its last piece has been given."""

    def __init__(self, index: int, frame: Frame, chooser: Chooser, dry: Dry, echo: Echo,
                 ender: Ender, verse: Verse | None = None) -> None:
        self.index, self.frame = index, frame
        self.chooser, self.dry, self.echo, self.ender = chooser, dry, echo, ender
        self.verse = verse
        self.tail: list[int] = []  # tokens after the prompt's
        self.forced: list[int] = []  # tokens to take next, already decided
        self.healed = 0  # tokens of the tail that wrote the healed part
        self.text = ""
        self.sent = 0  # characters given away
        self.finish: Finish | None = None
        self._way = -1
        self._after: list[int] = []  # len(text) after each token of the tail
        self._bars: dict[int, set[int]] = {}
        self._barred_ways: set[int] = set()
        self._rewinds = 0
        self._limit_at: int | None = None  # len(text) when max_tokens was reached
        self._restart()
        dry.reset(list(frame.context))

    def _restart(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._skipped = self.frame.skip
        self.text, self._after = "", []

    # Choosing ---------------------------------------------------------------------------------

    def heal(self) -> bool:
        """Choose how the healed part is written; False when every way is barred."""
        healing = self.frame.healing
        assert healing is not None
        weights = healing.weights.copy()
        weights[list(self._barred_ways)] = -np.inf
        if not np.isfinite(weights.max()):
            return False
        self._way = self.chooser.draw(weights)
        way = healing.way(self._way)
        self.forced = [*way.path, way.last]
        self.healed = len(self.forced)
        return True

    def bar(self, place: int, tokens: list[int]) -> None:
        """Never take these as the token at `place` of the tail."""
        self._bars.setdefault(place, set()).update(tokens)

    def choose(self, logits: Logits) -> int:
        """The next token from [vocab] logits, which are changed in place."""
        if self.forced:
            return self.forced.pop(0)
        if self.frame.needs_word and not self.text.strip():
            logits[list(self.frame.vocabulary.ends)] = -np.inf
        if self.verse is not None:
            self.verse.bend(logits, self._column(), said(self.text))
        if self.dry.multiplier > 0:
            self.dry.penalise(logits)
        if bars := self._bars.get(len(self.tail)):
            logits[list(bars)] = -np.inf
        return self.chooser.draw(logits)

    def _column(self) -> int:
        """Characters of the line so far."""
        at = self.text.rfind("\n")
        if at >= 0:
            return len(self.text) - at - 1
        return len(self.text) + len(self.frame.before) - self.frame.before.rfind("\n") - 1

    # Taking -----------------------------------------------------------------------------------

    def take(self, token: int) -> list[Piece]:
        """Add a token; the pieces that are settled by it, the last with a finish."""
        if token in self.frame.vocabulary.ends:
            self.tail.append(token)
            self._after.append(len(self.text))
            return self._end(self.ender.close(self.text), "stop")
        self._append(token)
        self.dry.add(token)
        if self.forced:
            return []
        ending = self.ender.find(self.text, len(self.tail))
        if ending is not None:
            return self._end(ending.at, ending.finish)
        upto = self.echo.ended(self.text)
        start = self.echo.copied(self.text, upto)
        if start is not None:
            return self._rewind(start)
        if len(self.tail) >= self.frame.max_tokens:
            at = self._limit()
            if at is not None:
                return self._end(at, "length")
        return self._pieces(min(upto, self._settled()))

    def _append(self, token: int) -> None:
        self.tail.append(token)
        written = self.frame.vocabulary.written[token] if token < len(
            self.frame.vocabulary.written) else b""
        if self._skipped:
            drop = min(self._skipped, len(written))
            self._skipped -= drop
            written = written[drop:]
        self.text += self._decoder.decode(written)
        self._after.append(len(self.text))

    def _settled(self) -> int:
        """Characters that nothing to come can take back: no open word, no half stop string."""
        match = _OPEN.search(self.text, max(0, len(self.text) - 80))
        limit = min(match.start() if match else len(self.text), self.ender.held(self.text))
        # A rewind takes whole tokens: what shares one with an open word waits with it.
        if limit < len(self.text):
            i = self._token_at(limit)
            limit = min(limit, self._after[i - 1] if i else 0)
        return limit

    def _token_at(self, char: int) -> int:
        """The token of the tail that wrote this character of the text."""
        i = len(self._after) - 1
        while i > 0 and self._after[i - 1] > char:
            i -= 1
        return i

    def _pieces(self, upto: int) -> list[Piece]:
        upto = len(self.text[:upto].rstrip())
        if self.sent == 0:
            opened = self.text[:upto]
            self.sent = len(opened) - len(opened.lstrip(self.frame.strip)) if (
                self.frame.strip) else 0
        if upto <= self.sent:
            return []
        text = self.text[self.sent : upto]
        self.sent = upto
        return [Piece(self.index, text)]

    # Ending -----------------------------------------------------------------------------------

    def _limit(self) -> int | None:
        """Where the text ends at max_tokens: after the word under way, or before a long one."""
        if self._limit_at is None:
            self._limit_at = len(self.text)
        at = self._limit_at
        if not _OPEN.search(self.text[:at][-80:]):
            return at
        found = _BREAK.search(self.text, at)
        if found:
            closers = _CLOSERS.match(self.text, found.start())
            return closers.end() if closers else found.start()
        if len(self.tail) < self.frame.max_tokens + OVERTIME:
            return None
        match = _OPEN.search(self.text)
        return max(self.sent, match.start()) if match else at

    def _end(self, at: int, finish: Finish) -> list[Piece]:
        start = self.echo.copied(self.text, at)
        if start is not None:
            return self._rewind(start)
        return self._finish(at, finish)

    def _finish(self, at: int, finish: Finish) -> list[Piece]:
        pieces = self._pieces(at)
        self.text = self.text[: max(self.sent, len(self.text[:at].rstrip()))]
        self.finish = finish
        if pieces:
            return [*pieces[:-1], Piece(self.index, pieces[-1].text, finish)]
        return [Piece(self.index, "", finish)]

    def cancel(self) -> list[Piece]:
        """End here, saying nothing more."""
        self.finish = "cancelled"
        return [Piece(self.index, "", "cancelled")]

    # The guard ----------------------------------------------------------------------------------

    def _rewind(self, char: int) -> list[Piece]:
        """Back to the first token of the word that starts at `char`, which is barred there.

        A word that began before the cursor goes back to the first token that writes on in it.
        """
        i = self._token_at(max(0, char))
        self._rewinds += 1
        if i < self.healed:
            self._barred_ways.add(self._way)
            self._cut(0)
            count = len(self._barred_ways)
            if count > MOST_BARS or not self.heal():
                return self._finish(0, "stop")
        else:
            bars = self._bars.setdefault(i, set())
            bars.add(self.tail[i])
            count = len(bars)
            self._cut(i)
        self._bars = {place: bars for place, bars in self._bars.items() if place <= i}
        if count > MOST_BARS or self._rewinds > MOST_REWINDS:
            return self._finish(len(self.text), "stop")
        return []

    def _cut(self, tokens: int) -> None:
        """Keep only so many tokens of the tail."""
        kept = self.tail[:tokens]
        self.tail = []
        self._restart()
        for token in kept:
            self._append(token)
        self._limit_at = None
        self.echo.rewind(len(self.text))
        self.ender.rewind(len(self.text))
        self.dry.reset([*self.frame.context, *self.tail])

    def words(self) -> int:
        """Words of the text so far."""
        return len(split_words(self.text))
