"""Which sentences of a note are the author's, and how like them each one is.

By what share it surprises the voice less than the base it was learned on, as the report says it.
Knows nothing about HTTP, nor about who says how a model takes a text.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field
from typing_extensions import TypedDict

from vaultgpt.corpus.words import count_words
from vaultgpt.mirror.stopping import sentence_ends
from vaultgpt.settings import Rules
from vaultgpt.tasks.request import Question
from vaultgpt.tasks.schemas import NotePath, Tags
from vaultgpt.tasks.vault_service import Task
from vaultgpt.vault.at_cursor import AtCursor, EditorProse, ProseLine, read_prose, to_utf16
from vaultgpt.vault.entry import Judgement
from vaultgpt.wire import Prompt, TokenChance

_LEAST_WORDS = 5  # fewer say too little about who wrote them
_MOST_CHARS = 1_600  # of a passage: well within what any base reads at once; no sentence is so long
_MOST_PASSAGES = 32  # of one note; a longer one is looked at from its end
_UNLEARNED = Judgement(
    False,
    "nothing learned",
    "The base writes here, which has learned nothing of you: there is no voice to compare with.",
)
_Score = Callable[[Prompt], Awaitable[tuple[Sequence[TokenChance], str | None]]]


class LikenessRequest(Question):
    """A note as it stands in the client's editor, saved or not."""

    path: NotePath | None = Field(None, description="In the vault; null: the text is no note")
    text: str = Field(description="The editor's whole text")
    tags: Tags | None = Field(None, description="In place of the note's own")
    date: str | None = Field(None, pattern=r"^\d{4}(-\d{2})?$", description="Likewise: 2014-03")


class _Refusal(TypedDict):
    """Why nothing is compared: the rule that leaves the note out, or that no voice was learned."""

    code: str
    why: str


class _JudgedSentence(TypedDict):
    """[start, end) of the text sent, in UTF-16 code units as JavaScript counts.

    A gain of 0.1: it surprises the voice 10 % less than the base; below zero more."""

    start: int
    end: int
    gain: float


class LikenessAnswer(TypedDict):
    """The author's sentences in the order of the note; of a very long one its last."""

    refused: _Refusal | None
    sentences: list[_JudgedSentence]


@dataclass(frozen=True)
class _Sentence:
    start: int  # characters of the note
    end: int
    text: str  # as the model reads it
    own: tuple[tuple[int, int], ...]  # prose within `text`; what else it holds is read, not judged


@dataclass
class _Passage:
    """Sentences that are scored together, so that each has its context."""

    voice: AtCursor
    text: str = ""
    sentences: list[_Sentence] = field(default_factory=list)
    own: list[tuple[int, int, int]] = field(default_factory=list)  # in `text`; of which sentence

    def add(self, sentence: _Sentence, new_line: bool) -> None:
        """One more at the end."""
        if self.sentences:
            self.text += "\n\n" if new_line else " "
        at = len(self.text)
        self.own += [(at + a, at + b, len(self.sentences)) for a, b in sentence.own]
        self.sentences.append(sentence)
        self.text += sentence.text

    def nats(self, tokens: Sequence[TokenChance]) -> list[float]:
        """Of each sentence; a token belongs to the one that its first letter lies in."""
        nats, at, own = [0.0] * len(self.sentences), 0, iter(self.own)
        at = max(0, len(self.text) - sum(len(token.text) for token in tokens))  # what was cut off
        start, end, which = next(own)
        for token in tokens:
            seen = at + len(token.text) - len(token.text.lstrip())
            at += len(token.text)
            while end <= seen and (found := next(own, None)):
                start, end, which = found
            if start <= seen < end and token.logprob is not None:
                nats[which] -= token.logprob
        return nats


def read_passages(
    vault: Path, rules: Rules, asked: LikenessRequest
) -> tuple[Judgement, list[_Passage]]:
    """What the rules say of the note, and its passages: seconds of work, where it is a book."""
    prose = read_prose(vault, rules, asked.path, asked.text)
    return prose.judgement, _passages(prose)


def _passages(prose: EditorProse) -> list[_Passage]:
    """A note's sentences, each in its entry's voice; of a long note the last ones."""
    found: list[_Passage] = []
    for voice, lines in prose.parts:
        last: _Passage | None = None
        for line in lines:
            fitting = (one for one in _sentences(line) if len(one.text) <= _MOST_CHARS)
            for n, sentence in enumerate(fitting):
                if last is None or len(last.text) + len(sentence.text) > _MOST_CHARS:
                    found.append(last := _Passage(voice))
                last.add(sentence, n == 0)
    return found[-_MOST_PASSAGES:]


def _sentences(line: ProseLine) -> Iterator[_Sentence]:
    """Ends are looked for in prose alone: a full stop in a link ends nothing."""
    masked = ["x"] * len(line.text)
    for a, b in line.own:
        masked[a:b] = line.text[a:b]
    text, start = "".join(masked), 0
    for end in (*sentence_ends(text, 0), len(text)):
        own = [(max(a, start), min(b, end)) for a, b in line.own if a < end and b > start]
        start = end
        if sum(count_words(line.text[a:b]) for a, b in own) >= _LEAST_WORDS:
            yield _sentence(line, own[0][0], own[-1][1], own)


def _sentence(line: ProseLine, start: int, end: int, own: Sequence[tuple[int, int]]) -> _Sentence:
    bare = line.text[start:end]
    start, end = start + len(bare) - len(bare.lstrip()), end - len(bare) + len(bare.rstrip())
    gaps = [(max(a, start), min(b, end)) for a, b in line.left_out if a < end and b > start]

    def place(at: int) -> int:
        return min(max(at, start), end) - start - sum(min(b, at) - a for a, b in gaps if a < at)

    text, at = "", start
    for a, b in gaps:
        text, at = text + line.text[at:a], b
    text += line.text[at:end]
    ranges = tuple((place(a), place(b)) for a, b in own)
    return _Sentence(line.start + start, line.start + end, text, ranges)


async def judged(
    asked: LikenessRequest,
    judgement: Judgement,
    found: Sequence[_Passage],
    learned: bool,
    score: _Score,
) -> LikenessAnswer:
    """The answer for what `read_passages` found. `score` gives the chances of a prompt's tokens and
    the voice that writes, None for the base."""
    refused = judgement if not judgement.used or learned else _UNLEARNED
    if not refused.used:
        return LikenessAnswer(refused=_Refusal(code=refused.code, why=refused.why), sentences=[])
    nats = await _surprise(asked, found, score)
    if nats is None:
        return await judged(asked, judgement, found, False, score)
    voice, base = nats[: len(found)], nats[len(found) :]
    sentences = [sentence for each in found for sentence in each.sentences]
    places = to_utf16(asked.text, [at for one in sentences for at in (one.start, one.end)])
    gains = [  # the share, not the difference: what any model finds hard is not theirs for it
        1 - ours / theirs if ours and theirs else math.nan  # cut off: more than the base reads
        for passage in zip(voice, base, strict=True)
        for ours, theirs in zip(*passage, strict=True)
    ]
    return LikenessAnswer(
        refused=None,
        sentences=[
            _JudgedSentence(start=places[2 * n], end=places[2 * n + 1], gain=gain)
            for n, gain in enumerate(gains)
            if math.isfinite(gain)
        ],
    )


async def _surprise(
    asked: LikenessRequest, found: Sequence[_Passage], score: _Score
) -> list[list[float]] | None:
    """Nats of every passage's sentences, by the voice and then by its base: where only one of them
    fits into memory each is read once. Anew where another voice takes over; None for the base."""
    asks = [(passage, model) for model in ("mirror", "base") for passage in found]
    nats: list[list[float]] = []
    voice: str | None = None
    while len(nats) < len(asks):
        passage, model = asks[len(nats)]
        chances, writes = await score(_prompt(asked, passage, model))
        if writes is None:
            return None
        if nats and writes != voice:
            nats = []
            continue
        voice = writes
        nats.append(passage.nats(chances))
    return nats


def _prompt(asked: LikenessRequest, passage: _Passage, model: str) -> Prompt:
    given, voice = asked.model_fields_set, passage.voice
    return Prompt(
        text=passage.text,
        tags=tuple(asked.tags or ()) if "tags" in given else voice.tags,
        date=asked.date if "date" in given else voice.date,
        max_tokens=0,
        model=model,
        logprobs=0,
        echo=True,
    )


LIKENESS: Task[LikenessRequest, LikenessAnswer] = Task(
    "POST",
    "/v1/likeness",
    "How much less each of a note's sentences surprises the voice than its base",
    LikenessRequest,
    LikenessAnswer,
)
