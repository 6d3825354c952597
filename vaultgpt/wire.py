"""What processes say to each other: the prompt, the pieces, and framed JSON over pipes.

Knows nothing about HTTP, models or training. A frame is a 4-byte big-endian length and UTF-8 JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any, Literal, NotRequired, Required

from typing_extensions import TypedDict

from vaultgpt.errors import ErrorAnswer
from vaultgpt.options import option

if TYPE_CHECKING:
    from asyncio import StreamReader

_MAX_FRAME_BYTES = 64 << 20
_HEAD_BYTES = 4
SMALL_BASE = 50_000_000  # parameters; a larger one learns by another recipe, and draws from more
Length = Literal["clause", "sentence", "paragraph", "page", "tokens"]
Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: each a setting of the vault and a field of a request."""

    temperature: float = option(1.0, "Higher is bolder; 0 takes the likeliest token", "", "0..5")
    top_p: float = option(
        0.0, "Keep the likeliest tokens up to this share; 0 chooses by the base's size", "", "0..1"
    )
    min_p: float = option(
        0.0, "Drop tokens this much rarer than the likeliest: tamer, and less like you", "", "0..1"
    )
    dry_multiplier: float = option(
        0.8, "Strength of the guard against loops (DRY); 0 lets figures run on too", "", "0..10"
    )
    dry_base: float = option(
        1.75, "How fast that guard grows with the length of what is repeated", "", "1..4"
    )
    dry_allowed: int = option(
        3, "Longest repetition it lets pass; 6 under a tag of verse", "tokens", "1..1000"
    )
    # a in adapter + a (adapter - base)
    voice: float = option(0.0, "Voice strength beyond the adapter's own", "", "0..2")
    # g in u + g (c - u), u without the header; for prompts with tags
    tag_strength: float = option(1.0, "How strongly tags are obeyed; above 1 is slower", "", "0..5")
    sure: float = option(
        0.6,  # at 0.5 half of what is shown is wrong (docs/http.md)
        "A clause is written only as far as the chance of its words together is this",
        "",
        "0..1",
    )
    guard: bool = option(True, "Never complete a run of 10 words that is in the vault")
    heal: bool = option(True, "Let the model choose the token that the cursor cut (token healing)")

    def on(self, parameters: int) -> Sampling:
        """As a base of so many parameters writes: rarer words of a small one make no sense."""
        return replace(self, top_p=self.top_p or (0.9 if parameters < SMALL_BASE else 0.95))


@dataclass(frozen=True)
class Prompt:
    """One request to write on: header parts, the text before the cursor, limits."""

    text: str  # before the cursor; may be ""
    tags: tuple[str, ...] = ()
    date: str | None = None  # "2014" or "2014-03"
    title: str | None = None
    suffix: str = ""  # after the cursor; never repeated
    length: Length = "paragraph"
    max_tokens: int = option(200, "At most this many tokens", "tokens", "1..4096")
    n: int = option(1, "How many alternatives, drawn in one batch", "", "1..16")
    seed: int | None = None
    stop: tuple[str, ...] = ()
    form: Literal["text", "question"] = "text"
    sampling: Sampling = field(default_factory=Sampling)
    model: str = "mirror"  # "mirror" (active), "base", or a generation id such as "g000003"
    logprobs: int | None = None  # tell each token's log probability, and of so many likeliest
    echo: bool = False  # with logprobs: tell those of the prompt's own tokens first

    def to_json(self) -> Mapping[str, object]:
        """What of a message says it."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, object]) -> Prompt:
        """The inverse of to_json; unknown keys are an error."""
        fields: Any = dict(value)
        fields["sampling"] = Sampling(**fields.get("sampling", {}))
        fields["tags"] = tuple(fields.get("tags", ()))
        fields["stop"] = tuple(fields.get("stop", ()))
        return Prompt(**fields)


@dataclass(frozen=True)
class TokenChance:
    """A token's text, its log probability (nats; None where nothing foretold it), the likeliest."""

    text: str
    logprob: float | None
    top: dict[str, float]


@dataclass(frozen=True)
class Piece:
    """A part of the answer: new text of alternative `index`, and at its end why it ended."""

    index: int
    text: str
    finish: Finish | None = None
    tokens: tuple[TokenChance, ...] = ()  # those that end in it, where they were asked for

    def answer(self, request: int) -> _PieceAnswer:
        """The message that says it; from_answer is the inverse."""
        said = _PieceAnswer(
            event="piece", id=request, index=self.index, text=self.text, finish=self.finish
        )
        if self.tokens:
            said["tokens"] = [asdict(token) for token in self.tokens]
        return said

    @staticmethod
    def from_answer(said: _PieceAnswer) -> Piece:
        """What a message says."""
        tokens: Any = said.get("tokens", ())
        chances = tuple(TokenChance(**one) for one in tokens)
        return Piece(said["index"], said["text"], said["finish"], chances)


@dataclass(frozen=True)
class Usage:
    """The figures of one request; the last thing the engine says."""

    generation: str
    prompt_tokens: int
    tokens: int  # of all alternatives
    cached_tokens: int  # of the prompt, found in the KV cache
    first_token_ms: float
    tokens_per_s: float | None  # after the first over the seconds after it, one sequence
    overtime: int = 0  # of `tokens`, those beyond max_tokens that ended a word
    sure: tuple[float, ...] = ()  # chance of the first one, two and three words of alternative 0
    engine: str = "own"  # who wrote: our own decoder, or "openai" for a completions server
    engine_problem: str = ""  # why it was not the one that the settings name
    slow: str = ""  # why it wrote slower than its device could

    def answer(self, request: int) -> _UsageAnswer:
        """The message that says it; from_answer is the inverse."""
        return {"event": "usage", "id": request, "usage": asdict(self)}

    @staticmethod
    def from_answer(said: _UsageAnswer) -> Usage:
        """What a message says."""
        fields: Any = said["usage"]
        return Usage(**{**fields, "sure": tuple(fields.get("sure", ()))})


class OpenOrder(TypedDict):
    """To a mirror: load this base, and write with that generation."""

    op: Literal["open"]
    base: str
    active: str | None
    generations: Mapping[str, str]  # the folder of each that can be asked for
    settings: Mapping[str, object]  # of [mirror]
    runs: str | None  # the copy guard's index, and the secret that it is keyed with
    secret: str
    engine: str | None  # where voices lie for another engine
    threads: int


class ActivateOrder(TypedDict):
    """To a mirror: write with another generation of the same base."""

    op: Literal["activate"]
    active: str | None
    folder: str | None
    generations: Mapping[str, str]


class WriteOrder(TypedDict):
    """To a mirror: write on, or prefill and cache alone. Pieces and a usage, or warmed."""

    op: Literal["generate", "warm"]
    id: int
    prompt: Mapping[str, object]  # Prompt.to_json


class _BareOrder(TypedDict):
    """To a mirror: read the copy guard's index again, end a request, say that you are there, leave;
    to oneself: another session has come to the same base."""

    op: Literal["runs", "cancel", "ping", "stop", "regroup"]
    id: NotRequired[int]


MirrorOrder = OpenOrder | ActivateOrder | WriteOrder | _BareOrder


class _ReadyAnswer(TypedDict):
    """From a mirror: it writes, with these means."""

    event: Literal["ready", "activated"]
    device: NotRequired[str]  # these two when it is ready
    load_ms: NotRequired[float]
    active: NotRequired[str | None]  # once that was activated
    dtype: str | None
    cost: float | None  # what int8 adds to the nats of fp32, as a share of them
    problem: str  # why our own decoder writes in place of the engine of the settings


class _PieceAnswer(TypedDict):
    """From a mirror: a Piece."""

    event: Literal["piece"]
    id: int
    index: int
    text: str
    finish: Finish | None
    tokens: NotRequired[list[dict[str, object]]]


class _UsageAnswer(TypedDict):
    """From a mirror: the end of an answer."""

    event: Literal["usage"]
    id: int
    usage: Mapping[str, object]  # of Usage


class _BareAnswer(TypedDict):
    """From a mirror: done, or there."""

    event: Literal["warmed", "runs", "pong"]
    id: NotRequired[int]
    cached_tokens: NotRequired[int]  # of a prompt that was to be warmed


MirrorAnswer = _ReadyAnswer | _PieceAnswer | _UsageAnswer | _BareAnswer | ErrorAnswer


class ProgressEvent(TypedDict, total=False):
    """How far a long job is, as its worker tells it; "say" is a sentence in place of figures."""

    event: Required[Literal["progress", "say", "piece"]]  # a piece is text that was written
    phase: str
    fraction: float  # of the phase
    step: int
    steps: int
    loss: float
    tokens_per_s: float
    text: str


class DoneAnswer(TypedDict):
    """From a trainer, or who measures: what came of it."""

    event: Literal["done"]
    report: Mapping[str, object]


class CheckRow(TypedDict):
    """One thing that the gate looked at; `sentence` is what it says of it."""

    name: str
    passed: bool
    figure: float | None
    bound: float | None
    sentence: NotRequired[str]


class VerdictRow(TypedDict):
    """What the gate decided, and why: as answered, and in a manifest."""

    promoted: bool
    why: str
    checks: NotRequired[list[CheckRow]]  # of every round since the gate told them


class ForetoldRow(TypedDict):
    """How well an entry was foretold before it was learned: nats by the mirror and by the base."""

    id: str
    nats: float
    bytes: int
    base_nats: float


class SegmentsRow(TypedDict, total=False):
    """training.round.SegmentScores as JSON, of any version."""

    entry: list[str]
    tags: list[list[str]]
    years: list[str | None]
    bytes: list[int]
    nats: dict[str, list[float]]
    keys: list[str]
    carried: list[int]


class LearningRow(TypedDict, total=False):
    """How a round learned: what was chosen for it, and how it went."""

    rank: int
    rate: float
    gentle: int  # times that the rate was halved
    base_sha256: dict[str, str]
    embedding_rate: float
    batch_tokens: int
    block_tokens: int
    dtype: str
    threads: int
    packed: bool
    best_step: int
    planned_steps: int
    validation: list[tuple[int, float]]  # step, bits per byte
    set_aside: list[str]  # entries that chose the best step
    held_out_entries: int  # in all; a first voice is judged by a part of them
    segment_tokens: int
    scored_with: str
    machine: str  # where another one learned it


class ReportFigures(TypedDict, total=False):
    """Of a round's report what people read; as sent, in a manifest, in the ledger."""

    bits_per_byte: dict[str, float | None]
    by_tag: dict[str, dict[str, float]]
    by_year: dict[str, dict[str, float]]
    copying: dict[str, float]
    tokens: int
    seconds: float
    tokens_per_s: float
    device: str
    steps: int
    notes: list[str]
    learning: LearningRow
    scored_tokens: int
    written_in: str
    new_text: dict[str, float]
    last_weights: dict[str, float]


class ReportRow(ReportFigures, total=False):
    """training.round.Report as JSON, of any version: the figures, and the gate's evidence."""

    segments: dict[str, SegmentsRow]
    prequential: list[ForetoldRow]
    losses: list[float]


Hear = Callable[[ProgressEvent], None]  # is told the progress, event by event


def frame_of(message: Mapping[str, object]) -> bytes:
    """One message as it goes through a pipe."""
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return struct.pack(">I", len(body)) + body


def _size_of(head: bytes) -> int:
    """Bytes that follow a frame's head. ValueError when they are too many."""
    (size,) = struct.unpack(">I", head)
    if size > _MAX_FRAME_BYTES:
        raise ValueError("frame too long")
    return int(size)


def _message_of(body: bytes) -> Any:
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("frame is not an object")
    return message


def write_frame(stream: IO[bytes], message: Mapping[str, object]) -> None:
    """Write one message and flush it. BrokenPipeError when the reader has gone."""
    stream.write(frame_of(message))
    stream.flush()


def read_frame(stream: IO[bytes]) -> Any:
    """The next message, as both ends know its kind; None at the end. ValueError when it is none."""
    head = stream.read(_HEAD_BYTES)
    if len(head) < _HEAD_BYTES:
        return None
    size = _size_of(head)
    body = stream.read(size)
    return _message_of(body) if len(body) == size else None


async def receive(reader: StreamReader) -> Any:
    """As read_frame, but IncompleteReadError at the end."""
    return _message_of(await reader.readexactly(_size_of(await reader.readexactly(_HEAD_BYTES))))
