"""One alternative in the making: its tokens, which may be taken next, and what a rewind bars.

Its text, and what may not stand in it, is Wording's. Knows nothing about models and caches: a
rewind only shortens `tail`.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vaultgpt.mirror.manner import Fault
from vaultgpt.mirror.prompting import Healing
from vaultgpt.mirror.sampling import Dry, Logits, Sampler, Verse, log_softmax
from vaultgpt.mirror.stopping import OVERTIME, Ending
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.mirror.wording import MOST_BARS, Wording
from vaultgpt.wire import Finish, Piece, TokenChance

_MOST_REWINDS = 400
_SURE_TOKENS = 24  # whose chance is kept


@dataclass(frozen=True)
class AnswerFrame:
    """What all alternatives of a request share."""

    vocabulary: Vocabulary
    before: str  # the author's text before the cursor
    context: Sequence[int]  # its tokens, for DRY
    skip: int  # bytes of the healed tail, written again
    max_tokens: int
    needs_word: bool  # end-of-text is barred until a word is there
    least: float = 0.0  # chance of all words together; where it is less, the answer ends
    healing: Healing | None = None
    logprobs: int | None = None  # so many likeliest tokens are told beside each one


class Answer:
    """The tokens of one alternative, drawn one by one until its wording has a finish."""

    def __init__(
        self, frame: AnswerFrame, sampler: Sampler, dry: Dry, wording: Wording, verse: Verse | None
    ) -> None:
        self.frame, self.sampler, self.dry, self.wording = frame, sampler, dry, wording
        self.verse = verse
        self.tail: list[int] = []  # tokens after the prompt's
        self.forced: list[int] = []  # tokens to take next, already decided
        self.healed = 0  # tokens of the tail that wrote the healed part
        self._given_back = 0  # of those, the ones that wrote nothing beyond it
        self._chances: list[TokenChance] = []  # of the tail's tokens, where they are asked for
        self._told = 0  # of them, given away or nothing to be seen of
        self._way = -1
        self._after: list[int] = []  # len(text) after each token of the tail
        self._nats: list[float] = []  # of the first tokens, as the model gave them, or 0
        self._bars: dict[int, set[int]] = {}
        self._tried: dict[int, int] = {}  # rewinds to each place
        self._barred_ways: set[int] = set()
        self._rewinds = 0
        self._restart()
        dry.reset(list(frame.context))
        if frame.healing:
            self._heal(frame.healing)

    @property
    def finish(self) -> Finish | None:
        """Why it ended; None while it is written."""
        return self.wording.finish

    @property
    def count(self) -> int:
        """New tokens: those that only wrote again what was given back are the prompt's."""
        return max(0, len(self.tail) - self._given_back)

    @property
    def overtime(self) -> int:
        """New tokens beyond max_tokens, which ended a word."""
        return max(0, self.count - self.frame.max_tokens)

    def _restart(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._skipped = self.frame.skip
        self.wording.text, self._after = "", []

    # Choosing ---------------------------------------------------------------------------------

    def _heal(self, healing: Healing) -> bool:
        """Choose how the healed part is written; False when every way is barred."""
        weights = healing.weights.copy()
        weights[list(self._barred_ways)] = -np.inf
        if not np.isfinite(weights.max()):
            return False
        self._way = self.sampler.draw(weights)
        way = healing.way(self._way)
        self.forced = [*way.path, way.last]
        self.healed = len(self.forced)
        size = len(self.frame.vocabulary.bytes_of(self.forced))
        self._given_back = self.healed - (size > self.frame.skip)
        self._nats = [0.0] * len(way.path) + [float(log_softmax(healing.weights)[self._way])]
        return True

    def force(self, tokens: list[int], barred: list[int]) -> None:
        """Begin with these tokens, and with none of `barred` after them."""
        self.forced = list(tokens)
        self._bars.setdefault(len(tokens), set()).update(barred)

    def choose(self, logits: Logits) -> int:
        """The next token from [vocab] logits, which are changed in place."""
        asked, place = self.frame.logprobs, len(self.tail)
        if asked is None and (self.forced or place >= _SURE_TOKENS):
            return self._choose(logits)
        plain = log_softmax(logits)
        token = self._choose(logits)
        if asked is not None:
            self._chances.append(self.frame.vocabulary.chance(plain, token, asked))
        if place >= self.healed:
            self._nats.append(float(plain[token]))
        return token

    def _choose(self, logits: Logits) -> int:
        if self.forced:
            return self.forced.pop(0)
        text = self.wording.text
        if self.frame.needs_word and not text.strip():
            logits[list(self.frame.vocabulary.ends)] = -np.inf
        if self.verse is not None:
            self.verse.bend(logits, self.frame.before, text)
        if self.dry.multiplier > 0:
            self.dry.penalise(logits)
        if bars := self._bars.get(len(self.tail)):
            logits[list(bars)] = -np.inf
        return self.sampler.draw(logits)

    def sure(self) -> tuple[float, ...]:
        """The chance that the model gave to the first word, to the first two, and to three."""
        found = []
        for word in self.wording.first_words():
            last = self._token_at(word.end - 1)
            if last < len(self._nats):
                found.append(math.exp(sum(self._nats[: last + 1])))
        return tuple(round(chance, 4) for chance in found)

    # Taking -----------------------------------------------------------------------------------

    def take(self, token: int) -> list[Piece]:
        """Add a token; the pieces that are settled by it, the last with a finish."""
        said: Fault | Ending | None
        if token in self.frame.vocabulary.ends:
            self.tail.append(token)
            self._after.append(len(self.wording.text))
            said = self._unsure() or self.wording.close()
        else:
            self._append(token)
            self.dry.add(token)
            if self.forced:
                return []
            said = self._unsure() or self.wording.judge(self.count)
            if said is None and self.count >= self.frame.max_tokens:
                said = self.wording.limit(self.overtime < OVERTIME)
        if isinstance(said, Fault):
            return self._rewind(said)
        if said is not None:
            return self._telling(self.wording.end(said.at, said.finish))
        return self._telling(self.wording.give(self._whole(self.wording.settled())))

    def _unsure(self) -> Ending | None:
        """The end before the word whose newest token made the whole less likely than it may be."""
        if not self.frame.least or sum(self._nats) >= math.log(self.frame.least):
            return None
        start = self._after[-2] if len(self._after) > 1 else 0
        return Ending(self.wording.words_before(start), "stop")

    def _telling(self, pieces: list[Piece]) -> list[Piece]:
        """The last of them with the tokens that end in what has been given away.

        At the answer's end those that begin in it too."""
        if self.frame.logprobs is None or not pieces:
            return pieces
        told, sent, opening = [], self.wording.sent, self.wording.opening
        while self._told < len(self._chances):
            start = self._after[self._told - 1] if self._told else 0
            end = self._after[self._told]
            if end > sent and not (self.finish is not None and start < sent):
                break
            text = self.wording.text[max(start, opening) : min(end, sent)]
            if text or (self._told >= self.healed and start >= opening):
                told.append(replace(self._chances[self._told], text=text))
            self._told += 1
        return [*pieces[:-1], replace(pieces[-1], tokens=tuple(told))]

    def _append(self, token: int) -> None:
        self.tail.append(token)
        known = self.frame.vocabulary.written
        written = known[token] if token < len(known) else b""
        if self._skipped:
            drop = min(self._skipped, len(written))
            self._skipped -= drop
            written = written[drop:]
        self.wording.text += self._decoder.decode(written)
        self._after.append(len(self.wording.text))

    def _whole(self, limit: int) -> int:
        """A rewind takes whole tokens: what shares one with an open word waits with it."""
        if limit < len(self.wording.text):
            i = self._token_at(limit)
            limit = min(limit, self._after[i - 1] if i else 0)
        return limit

    def _token_at(self, char: int) -> int:
        """The token of the tail that wrote this character of the text."""
        i = len(self._after) - 1
        while i > 0 and self._after[i - 1] > char:
            i -= 1
        return i

    # Rewinding --------------------------------------------------------------------------------

    def _rewind(self, fault: Fault) -> list[Piece]:
        """Back to the token that wrote the fault, which is barred there.

        A word that began before the cursor goes back to the first token that writes on in it. What
        is short is written anew from the first token that was free."""
        i = self._token_at(max(0, fault.at))
        if fault.kind == "short":
            i = max(i, min(self.healed, len(self.tail) - 1))
        self._rewinds += 1
        if i < self.healed:
            self._barred_ways.add(self._way)
            tried = len(self._barred_ways)
            self._cut(0)
            if tried > MOST_BARS or not (self.frame.healing and self._heal(self.frame.healing)):
                return self.wording.end(0, "stop")
        else:
            bars = self._bars.setdefault(i, set())
            bars.update(self._alike(fault, self.tail[i]))
            self._tried[i] = tried = self._tried.get(i, 0) + 1
            self._cut(i)
        self._bars = {place: bars for place, bars in self._bars.items() if place <= i}
        self._tried = {place: times for place, times in self._tried.items() if place <= i}
        if tried > MOST_BARS or self._rewinds > _MOST_REWINDS:
            if fault.kind == "copied":
                return self.wording.end(len(self.wording.text), "stop")
            self.wording.pardon()
        return []

    def _alike(self, fault: Fault, token: int) -> list[int]:
        """The tokens that would be the same fault."""
        vocabulary = self.frame.vocabulary
        if fault.kind == "figures":
            return [token, *vocabulary.figures]
        if fault.kind == "marks":
            return [token, *vocabulary.marks]
        return [token, *vocabulary.closing] if fault.kind == "strays" else [token]

    def _cut(self, tokens: int) -> None:
        """Keep only so many tokens of the tail."""
        kept = self.tail[:tokens]
        self._nats = self._nats[:tokens]
        self.tail = []
        self._restart()
        for token in kept:
            self._append(token)
        del self._chances[tokens:]
        self._told = min(self._told, tokens)
        self.wording.cut(len(self.wording.text))
        self.dry.reset([*self.frame.context, *self.tail])
