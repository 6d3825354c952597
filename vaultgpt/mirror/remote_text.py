"""One alternative that a completions server writes: asked for, judged, and asked for anew.

What may not stand is cut back to the chunk that wrote it; its first token is barred there and the
server goes on from what is left. Knows nothing about which server and which voice.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

from vaultgpt.mirror.manner import Fault
from vaultgpt.mirror.openai_client import Chunk, Fields, OpenAIClient
from vaultgpt.mirror.stopping import OVERTIME, Ending
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.mirror.wording import MOST_BARS, Wording
from vaultgpt.wire import Piece

_IGNORED = 8  # as many are counted where a server writes again what was barred
_MOST_REWINDS = 60  # each is a request
_SPACES = re.compile(r"(?<=\S)[ \t]+\Z")
_BROKEN = "\ufffd"  # what servers write for a part of a character


@dataclass(frozen=True)
class Asking:
    """What all requests for an answer share."""

    before: str  # what the server reads before the answer
    fields: Fields  # model, voice, sampling
    most: int  # tokens
    seed: int
    stop: tuple[str, ...] = ()
    least: float = 0.0  # chance of all words together; where it is less, the answer ends


class RemoteText:
    """`pieces`, once; what was written stands in `wording`."""

    def __init__(
        self, client: OpenAIClient, asking: Asking, wording: Wording, vocabulary: Vocabulary
    ) -> None:
        self.asking, self.wording, self.cached = asking, wording, 0
        self.first_at: float | None = None  # perf_counter() seconds at the first chunk
        self.last_at = 0.0
        self._client, self._vocabulary = client, vocabulary
        self._ends: list[int] = []  # len(text) after each chunk
        self._nats: list[float | None] = []
        self._bars: dict[int, set[int]] = {}  # by the text's length
        self._tried: dict[int, int] = {}
        self._rewinds = 0
        self._owes_space = False

    @property
    def count(self) -> int:
        """Tokens so far: a chunk is mostly one."""
        return len(self._ends)

    def pieces(self, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """Until the wording has a finish. EngineAway; what was given away stays."""
        while self.wording.finish is None:
            body, before, rewinds = self._body(), self.count, self._rewinds
            with self._client.stream(body) as chunks:
                for chunk in chunks:
                    if cancelled():
                        yield from self.wording.cancel()
                        return
                    yield from self._take(chunk) if chunk else []
                    if self.wording.finish is not None or self._rewinds > rewinds:
                        break
            if self.wording.finish is None and (self.count, self._rewinds) == (before, rewinds):
                yield from self._rewind(Fault(len(self.wording.text), "short"))  # it wrote nothing

    def _body(self) -> Fields:
        """The next request: on from what stands. White space at the end is the server's to write.

        Where tokens are barred one is drawn alone, for a bias holds for the whole of an answer."""
        asking, text = self.asking, self.wording.text
        if text and (match := _SPACES.search(text)) and match.start() >= self.wording.sent:
            self._cut(match.start())
            text = self.wording.text
        before = _SPACES.sub("", asking.before) if not text else asking.before
        self._owes_space = before != asking.before
        bars = self._bars.get(len(text))
        asked: Fields = {
            **asking.fields,
            "prompt": before + text,
            "max_tokens": 1 if bars else max(1, asking.most - self.count) + OVERTIME,
            "seed": (asking.seed + 7919 * self._rewinds) % (1 << 31),
        }
        if bars:
            asked["logit_bias"] = {str(token): -100 for token in bars}
        if asking.stop:
            asked["stop"] = list(asking.stop)
        if asking.least:
            asked["logprobs"] = 1
        return asked

    # Taking -----------------------------------------------------------------------------------

    def _take(self, chunk: Chunk) -> list[Piece]:
        self.cached = chunk.cached or self.cached
        said: Fault | Ending | None = None
        if text := chunk.text.replace(_BROKEN, ""):
            now = perf_counter()
            self.first_at, self.last_at = self.first_at or now, now
            self._append(text, chunk.nats)
            if self._owes_space and not text[0].isspace():
                return self._rewind(Fault(0, "short"))
            self._owes_space = False
            said = self._unsure() or self.wording.judge(self.count)
            if said is None and self.count >= self.asking.most:
                said = self.wording.limit(self.count - self.asking.most < OVERTIME)
        if said is None and chunk.finish is not None:
            said = self._over(chunk.finish)
        if isinstance(said, Fault):
            return self._rewind(said)
        if said is not None:
            return self.wording.end(said.at, said.finish)
        return self.wording.give(self._whole(self.wording.settled()))

    def _over(self, finish: str) -> Fault | Ending | None:
        """The server says that it is through; where it was asked for one token it goes on."""
        if finish == "stop":
            closed = self.wording.close()
            own = isinstance(closed, Fault) and closed.kind == "short" and self.asking.stop
            return Ending(len(self.wording.text.rstrip()), "stop") if own else closed
        return self.wording.limit(False) if self.count >= self.asking.most else None

    def _append(self, text: str, nats: float | None) -> None:
        self.wording.text += text
        self._ends.append(len(self.wording.text))
        self._nats.append(nats)

    def _unsure(self) -> Ending | None:
        """The end before the word that made the whole less likely than it may be."""
        if not self.asking.least or None in self._nats:
            return None
        if sum(n for n in self._nats if n is not None) >= math.log(self.asking.least):
            return None
        start = self._ends[-2] if len(self._ends) > 1 else 0
        return Ending(self.wording.words_before(start), "stop")

    def _whole(self, limit: int) -> int:
        """A rewind takes whole chunks: what shares one with an open word waits with it."""
        if limit < len(self.wording.text):
            limit = min(limit, self._start_of(self._chunk_at(limit)))
        return limit

    def _chunk_at(self, char: int) -> int:
        return min(bisect_right(self._ends, char), len(self._ends) - 1)

    def _start_of(self, chunk: int) -> int:
        return self._ends[chunk - 1] if chunk else 0

    # Rewinding --------------------------------------------------------------------------------

    def _rewind(self, fault: Fault) -> list[Piece]:
        """Back to the chunk that wrote the fault; its first token is barred there."""
        start, wrote = len(self.wording.text), ""
        if fault.at < start:
            i = self._chunk_at(max(0, fault.at))
            start, wrote = self._start_of(i), self.wording.text[self._start_of(i) : self._ends[i]]
        self._rewinds += 1
        self._cut(start)
        self._bars = {place: bars for place, bars in self._bars.items() if place <= start}
        self._tried = {place: times for place, times in self._tried.items() if place <= start}
        bars, tokens = self._bars.setdefault(start, set()), self._tokens(wrote)
        step = _IGNORED if bars.issuperset(tokens) else 1
        bars.update(tokens)
        self._tried[start] = tried = self._tried.get(start, 0) + step
        if tried > MOST_BARS or self._rewinds > _MOST_REWINDS:
            if fault.kind == "copied" or self._owes_space:
                return self.wording.end(len(self.wording.text), "stop")
            self.wording.pardon(to_come=self._rewinds > _MOST_REWINDS)
        return []

    def _tokens(self, wrote: str) -> list[int]:
        """The token that wrote this; of several the first; of nothing those that end a text."""
        if not wrote:
            return list(self._vocabulary.ends)
        written = wrote.encode()
        same = [i for i, known in enumerate(self._vocabulary.written) if known == written]
        return same or self._vocabulary.encode(wrote)[:1]

    def _cut(self, length: int) -> None:
        self.wording.cut(length)
        kept = bisect_right(self._ends, length)
        del self._ends[kept:], self._nats[kept:]
        if length > self._start_of(kept):
            self._ends.append(length)  # a part of a chunk
            self._nats.append(None)

    # Figures ----------------------------------------------------------------------------------

    def sure(self) -> tuple[float, ...]:
        """The chance of the first word, of two and of three, where the server told it."""
        found = []
        for word in self.wording.first_words():
            told = self._nats[: self._chunk_at(word.end - 1) + 1]
            if told and None not in told:
                found.append(round(math.exp(sum(n for n in told if n is not None)), 4))
        return tuple(found)

    def tokens_per_s(self) -> float | None:
        """Of the tokens after the first."""
        if self.first_at is None or self.count < 2 or self.last_at <= self.first_at:
            return None
        return round((self.count - 1) / (self.last_at - self.first_at), 1)
