"""One request being written: its alternatives from a prefilled prompt, their pieces and figures.

Knows nothing about how models and generations are kept; it is handed what it needs of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from vaultgpt.corpus.habits import Habits
from vaultgpt.corpus.lines import Lines
from vaultgpt.mirror.answer import Answer, AnswerFrame
from vaultgpt.mirror.copy_guard import Runs
from vaultgpt.mirror.decoding import Decoding, Guidance, Lane
from vaultgpt.mirror.prompting import Encoded, Healing
from vaultgpt.mirror.question import Stems
from vaultgpt.mirror.sampling import Breaks, Dry, Logits, Sampler, Verse
from vaultgpt.mirror.stopping import MAY_BE_SHORT
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.mirror.wording import Wording
from vaultgpt.vault.entry import names_verse
from vaultgpt.wire import Piece, Prompt, Usage


@dataclass(frozen=True)
class Prepared:
    """A prompt prefilled: its lanes, the first one's tokens, how many of them were cached."""

    lanes: list[Lane]
    guidance: Guidance
    encoded: Encoded
    cached: int
    same_tail: bool  # every lane gave back the same bytes at the cursor
    most: int  # tokens of an answer


@dataclass(frozen=True)
class VoiceParts:
    """What a generation's alternatives share, whatever the prompt."""

    generation: str
    vocabulary: Vocabulary
    breaks: Breaks
    barred: Logits  # [vocab] -inf where nothing is written
    every: bool  # also tokens of scripts that the author does not write in are computed
    runs: Runs
    lines: Lines | None  # how the author's lines run under these tags
    habits: Habits | None


class Sequences:
    """`pieces`, once, and then `usage`. Without `ready` it was cancelled before it began."""

    def __init__(
        self,
        prompt: Prompt,
        voice: VoiceParts,
        ready: Prepared | None,
        began: float,
        stems: Stems | None = None,
    ) -> None:
        """`began` is perf_counter() at the request's receipt."""
        self.prompt, self.voice, self.began = prompt, voice, began
        self.answers: list[Answer] = []
        self._ready, self._stems = ready, stems
        self._decoding: Decoding | None = None
        if ready is not None:
            barred = voice.barred + stems.barred if stems else voice.barred
            self._decoding = Decoding(ready.lanes, ready.guidance, barred, voice.every)
            self._start(ready, self._decoding)

    def pieces(self, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """All pieces; on cancelling each alternative ends with that finish."""
        if self._decoding is None:
            yield from (Piece(i, "", "cancelled") for i in range(self.prompt.n))
            return
        yield from self._decoding.run(self.answers, cancelled)

    @property
    def lanes(self) -> list[Lane]:
        """The runs of models that its logits are mixed of."""
        return self._decoding.lanes if self._decoding else []

    def _start(self, ready: Prepared, decoding: Decoding) -> None:
        prompt, cut = self.prompt, ready.encoded.cut
        healing = None
        if cut.tail and ready.same_tail:
            healing = Healing(self.voice.vocabulary, cut, decoding.look, decoding.barred)
        frame = AnswerFrame(
            vocabulary=self.voice.vocabulary,
            before=prompt.text,
            context=cut.ids[ready.encoded.head :],
            skip=len(cut.tail) if healing else 0,
            max_tokens=ready.most,
            needs_word=prompt.length not in MAY_BE_SHORT,
            least=prompt.sampling.sure if prompt.length == "clause" else 0.0,
            healing=healing,
            logprobs=prompt.logprobs,
        )
        rows = len(self._stems.tails) if self._stems else prompt.n
        self.answers = [self._answer(i, frame) for i in range(rows)]

    def _lines(self) -> Lines | None:
        """None in prose, as where the line at the cursor is far too long."""
        found, text = self.voice.lines, self.prompt.text
        here = len(text) - text.rfind("\n") - 1
        return found if found is not None and here <= found.longest and not self._stems else None

    def _answer(self, index: int, frame: AnswerFrame) -> Answer:
        prompt, sampling, voice = self.prompt, self.prompt.sampling, self.voice
        lines = self._lines()
        poetry = lines is not None or any(map(names_verse, prompt.tags))
        single, blank = voice.breaks.single, voice.breaks.blank
        spared = frozenset(np.concatenate([single, blank]).tolist()) if poetry else frozenset()
        apart = self._stems is not None
        wording = Wording.of(
            prompt, index, frame.max_tokens, voice.runs, voice.habits, poetry=poetry, apart=apart
        )
        answer = Answer(
            frame,
            Sampler(sampling, prompt.seed, index),
            Dry(sampling, spared, poetry),
            wording,
            Verse(lines, voice.breaks) if lines is not None else None,
        )
        if self._stems:
            answer.force(self._stems.tails[index], self._stems.joined)
        return answer

    def usage(self) -> Usage:
        """The figures, once the pieces are through."""
        tails = [len(a.tail) for a in self.answers]
        first = self._decoding.first_at if self._decoding else None
        leader = self._decoding.leader_at if self._decoding else 0.0
        speed = None
        if first is not None and tails[0] > 1 and leader > first:
            speed = round((tails[0] - 1) / (leader - first), 1)
        return Usage(
            generation=self.voice.generation,
            prompt_tokens=len(self._ready.encoded.cut.ids) if self._ready else 0,
            tokens=sum(a.count for a in self.answers),
            cached_tokens=self._ready.cached if self._ready else 0,
            first_token_ms=round(((first or perf_counter()) - self.began) * 1000, 1),
            tokens_per_s=speed,
            overtime=sum(a.overtime for a in self.answers),
            sure=self.answers[0].sure() if self.answers else (),
        )
