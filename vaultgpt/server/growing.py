"""A completion as it grows: its alternatives, and their form on the wire, whole or in chunks.

Knows nothing about HTTP or about how text is made.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import accumulate

from vaultgpt.errors import WorkerDied
from vaultgpt.tasks.open_note import Label
from vaultgpt.tasks.schemas import (
    Completion,
    CompletionChoice,
    CompletionFigures,
    CompletionRequest,
    CompletionUsage,
    Logprobs,
)
from vaultgpt.vault.place import Insertion, Place
from vaultgpt.wire import Piece, Prompt, TokenChance, Usage


@dataclass
class _Alternative:
    """One alternative as it grows: what was written, and how much of it is on the wire."""

    echo: str  # stands first on the wire; "" for none
    insertion: Insertion
    text: str = ""
    finish: str | None = None
    before: tuple[TokenChance, ...] = ()  # of the echoed prompt
    tokens: list[TokenChance] = field(default_factory=list)
    sent: int = 0  # characters on the wire

    def take(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens += piece.tokens
        if piece.finish is not None:
            self.finish = "length" if piece.finish == "length" else "stop"

    def choice(self, index: int, piece: Piece, told: bool) -> CompletionChoice:
        """The wire's form of a piece; the first one opens with the prompt where it is echoed."""
        ended = piece.finish is not None
        text = self.insertion.add(piece.text, ended)
        tokens, at = piece.tokens, self.sent
        if not self.sent and self.echo:
            text, tokens, self.echo = self.echo + text, (*self.before, *tokens), ""
        self.sent += len(text)
        return CompletionChoice(
            text=text,
            index=index,
            finish_reason=self.finish if ended else None,
            logprobs=_logprobs(tokens, at) if told else None,
        )

    def likelihood(self) -> float:
        """Mean log probability of its tokens."""
        known = [one.logprob for one in self.tokens if one.logprob is not None]
        return sum(known) / len(known) if known else -math.inf


def _logprobs(tokens: Sequence[TokenChance], at: int) -> Logprobs:
    """`at` is where the first token stands in the choice's text."""
    ends = accumulate((len(one.text) for one in tokens), initial=at)
    tops = [
        one.top if one.logprob is None else {**one.top, one.text: one.logprob} for one in tokens
    ]
    return Logprobs(
        tokens=[one.text for one in tokens],
        token_logprobs=[one.logprob for one in tokens],
        top_logprobs=[top or None for top in tops],
        text_offset=list(ends)[:-1],
    )


class GrowingCompletion:
    """One completion as it grows: its alternatives, and the chunks of the wire.

    Of each prompt `prompt.n` are written; index p * n + i is the i-th one of prompt p."""

    def __init__(
        self, prompt: Prompt, label: Label | None, place: Place, body: CompletionRequest
    ) -> None:
        self.prompt, self._label = prompt, label
        self.texts = [prompt.text] if body.vaultgpt.note is not None else body.texts
        self._wanted = body.n or 1
        self._chances = body.logprobs is not None
        echoes = [text if body.echo else "" for text in self.texts for _ in range(prompt.n)]
        self.alternatives = [_Alternative(echo, Insertion(place)) for echo in echoes]
        self.usage: Usage | None = None
        self._told = label is None  # the first chunk of a stream says the label
        self.include_usage = bool(body.stream_options and body.stream_options.include_usage)
        self._id, self._created = f"cmpl-{secrets.token_hex(12)}", int(time.time())

    async def written(
        self, generate: Callable[[Prompt], AsyncIterator[Piece | Usage]]
    ) -> AsyncIterator[Piece | Usage]:
        """Pieces of all prompts, one prompt after the other, and one Usage in the end."""
        total: Usage | None = None
        for place, text in enumerate(self.texts):
            first = place * self.prompt.n
            async with aclosing(generate(replace(self.prompt, text=text))) as items:  # type: ignore[type-var]
                async for item in items:
                    if isinstance(item, Usage):
                        total = item if total is None else _sum(total, item)
                    elif self.prompt.echo and item.tokens and not (item.text or item.finish):
                        self._scored(first, text, item.tokens)
                    else:
                        yield replace(item, index=first + item.index)
        if total is not None:
            yield total

    def _scored(self, first: int, text: str, tokens: tuple[TokenChance, ...]) -> None:
        """The prompt's own tokens; what of a long one was cut off is a token without a figure."""
        cut = len(text) - sum(len(one.text) for one in tokens)
        lead = (TokenChance(text[:cut], None, {}),) if cut > 0 else ()
        for alternative in self.alternatives[first : first + self.prompt.n]:
            alternative.before = (*lead, *tokens)

    def add(self, item: Piece | Usage) -> None:
        """Take in the next thing the engine says."""
        if isinstance(item, Usage):
            self.usage = item
        else:
            self.alternatives[item.index].take(item)

    def emitted(self) -> list[str]:
        """What was written and given away, as plain prose."""
        return [one.text for one in self._returned() if one.text]

    def _returned(self) -> list[_Alternative]:
        """The alternatives that come back: the likeliest, where more were written."""
        n, kept = self.prompt.n, []
        for first in range(0, len(self.alternatives), n):
            group = self.alternatives[first : first + n]
            if n > self._wanted:
                group = sorted(group, key=lambda one: -one.likelihood())[: self._wanted]
            kept += group
        return kept

    def _answer(self, choices: list[CompletionChoice]) -> Completion:
        return Completion(
            id=self._id,
            object="text_completion",
            created=self._created,
            model=self.prompt.model,
            choices=choices,
        )

    def chunk(self, piece: Piece, last: bool) -> Completion:
        """The wire's form of one piece; the last one of a stream carries our figures.

        The text is what a client may insert as it is; `emitted` is the prose that was written."""
        alternative = self.alternatives[piece.index]
        choice = alternative.choice(piece.index, piece, self._chances)
        value = self._answer([choice])
        if not self._told and self._label is not None:
            value["vaultgpt"] = {"label": self._label.model_dump()}
        self._told = True
        if last and self.usage is not None:
            value["vaultgpt"] = self._ours(self.usage)
        if self.include_usage:
            value["usage"] = None
        return value

    def usage_chunk(self) -> Completion:
        """What ends a stream that is to tell its usage."""
        assert self.usage is not None
        return {**self._answer([]), "usage": _usage_json(self.usage)}

    def whole(self) -> Completion:
        """The answer to a request that does not stream. WorkerDied when the engine said no end."""
        if self.usage is None:
            raise WorkerDied("The mirror stopped before it had answered.", "Ask again.")
        choices = []
        for i, one in enumerate(self._returned()):
            one.finish = one.finish or "stop"
            piece = Piece(i, one.text, "stop", tuple(one.tokens))
            choices.append(one.choice(i, piece, self._chances))
        return {
            **self._answer(choices),
            "usage": _usage_json(self.usage),
            "vaultgpt": self._ours(self.usage),
        }

    def _ours(self, usage: Usage) -> CompletionFigures:
        figures: CompletionFigures = {
            "generation": usage.generation,
            "engine": usage.engine,
            "engine_problem": usage.engine_problem or None,
            "tags": list(self.prompt.tags),
            "first_token_ms": usage.first_token_ms,
            "cached_tokens": usage.cached_tokens,
            "tokens_per_s": usage.tokens_per_s,
            "overtime": usage.overtime,
            "confidence": usage.sure[0] if usage.sure else None,
            "sure": list(usage.sure),
        }
        if self._label is None:
            return figures
        return {"label": self._label.model_dump(), **figures}


def _sum(before: Usage, more: Usage) -> Usage:
    """The usage of two prompts; times are the first one's."""
    return replace(
        before,
        prompt_tokens=before.prompt_tokens + more.prompt_tokens,
        tokens=before.tokens + more.tokens,
        cached_tokens=before.cached_tokens + more.cached_tokens,
        overtime=before.overtime + more.overtime,
    )


def _usage_json(usage: Usage) -> CompletionUsage:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.tokens,
        "total_tokens": usage.prompt_tokens + usage.tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
