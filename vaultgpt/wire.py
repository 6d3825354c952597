"""What processes say to each other: the prompt, the pieces, and framed JSON over pipes.

Knows nothing about HTTP, models or training. A frame is a 4-byte big-endian length and UTF-8 JSON.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Literal

MAX_FRAME_BYTES = 64 << 20
Length = Literal["sentence", "paragraph", "page", "tokens"]
Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Missing values were filled from the settings before."""

    temperature: float = 1.0  # 0 is greedy
    top_p: float = 0.9
    min_p: float = 0.0
    dry_multiplier: float = 0.8  # 0 turns DRY off
    dry_base: float = 1.75
    dry_allowed: int = 3  # tokens; 6 for poetry
    voice: float = 0.0  # a in adapter + a (adapter - base)
    tag_strength: float = 1.0  # g in u + g (c - u), u without the header; for prompts with tags
    guard: bool = True  # the copy guard
    heal: bool = True  # token healing at the cursor


@dataclass(frozen=True)
class Prompt:
    """One request to write on: header parts, the text before the cursor, limits."""

    text: str  # before the cursor; may be ""
    tags: tuple[str, ...] = ()
    date: str | None = None  # "2014" or "2014-03"
    title: str | None = None
    suffix: str = ""  # after the cursor; never repeated
    length: Length = "paragraph"
    max_tokens: int = 200
    n: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    form: Literal["text", "question"] = "text"
    sampling: Sampling = field(default_factory=Sampling)
    model: str = "mirror"  # "mirror" (active), "base", or a generation id such as "g000003"

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary for the wire."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Prompt:
        """The inverse of to_json; unknown keys are an error."""
        fields = dict(value)
        fields["sampling"] = Sampling(**fields.get("sampling", {}))
        fields["tags"] = tuple(fields.get("tags", ()))
        fields["stop"] = tuple(fields.get("stop", ()))
        return Prompt(**fields)


@dataclass(frozen=True)
class Piece:
    """A part of the answer: new text of alternative `index`, and at its end why it ended."""

    index: int
    text: str
    finish: Finish | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary for the wire."""
        return asdict(self)


@dataclass(frozen=True)
class Usage:
    """The figures of one request; the last thing the engine says."""

    generation: str
    prompt_tokens: int
    tokens: int  # of all alternatives
    cached_tokens: int  # of the prompt, found in the KV cache
    first_token_ms: float
    tokens_per_s: (
        float | None
    )  # tokens after the first over the seconds after the first, one sequence

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary for the wire."""
        return asdict(self)


def write_frame(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message and flush it. BrokenPipeError when the reader has gone."""
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    stream.write(struct.pack(">I", len(body)) + body)
    stream.flush()


def read_frame(stream: IO[bytes]) -> dict[str, Any] | None:
    """The next message; None at the end of the stream. ValueError when it is no message."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack(">I", head)
    if size > MAX_FRAME_BYTES:
        raise ValueError("frame too long")
    body = stream.read(size)
    if len(body) < size:
        return None
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("frame is not an object")
    return message
