"""The bodies the API takes and gives, as pydantic models; OpenAPI is made from them.

Knows nothing about HTTP or about how a prompt is carried out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from vaultgpt.errors import Forbidden, NotFound
from vaultgpt.options import option_of
from vaultgpt.settings import Mirror
from vaultgpt.tasks.open_note import Amount, OpenNote, Whole, whole
from vaultgpt.vault.at_cursor import AtCursor
from vaultgpt.wire import Length, Prompt, Sampling

# Most tokens of each length when a request sets none. The engine ends at the clause, sentence,
# paragraph or page before that; "tokens" is the length of a request that gives max_tokens alone.
_DEFAULT_TOKENS: dict[str, int] = {
    "clause": 12,
    "sentence": 80,
    "paragraph": 300,
    "page": 800,
    "tokens": 200,
}
MAX_SEED = 2**63 - 1
_MODEL = re.compile(r"mirror|base|g[0-9]{6,}")
_DATE = re.compile(r"(\d{4})(?:(-(?:0[1-9]|1[0-2]))(?:-(?:0[1-9]|[12]\d|3[01]))?)?")


def check_model(name: str | None) -> str | None:
    """The name; NotFound for one that can't be a model."""
    if name is not None and not _MODEL.fullmatch(name):
        raise NotFound(
            "There is no voice of that name: they are called g000001, g000002, or base.",
            "`vaultgpt generations` or GET /v1/models lists them.",
        )
    return name


def note_path(path: str) -> str:
    """A note's path as the index has it (POSIX, NFC). Forbidden for a way out, else NotFound.

    The daemon resolves it again on the disk: this only refuses what never names a note."""
    parts = path.split("/")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in path):
        raise Forbidden(
            "That name holds a line break or another sign that can't be shown: rename the note.",
            "path_not_allowed",
            param="path",
        )
    if "\\" in path or path[:1] in ("/", "~") or re.match(r"[A-Za-z]:", path) or ".." in parts:
        raise Forbidden("That path leads out of the vault.", "path_not_allowed", param="path")
    hidden = any(part == "" or part.startswith(".") for part in parts)
    if hidden or not path.lower().endswith((".md", ".markdown")):
        raise NotFound("There is no such note in the index.")
    return unicodedata.normalize("NFC", path)


NotePath = Annotated[str, AfterValidator(note_path), Field(max_length=1024)]


def _clean_tag(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    tag = value.strip().lstrip("#").lower()
    if not tag or any(c.isspace() or c == "|" or not c.isprintable() for c in tag):
        raise ValueError("a tag is one word")
    return tag


_Tag = Annotated[str, BeforeValidator(_clean_tag), Field(max_length=100)]
Tags = Annotated[list[_Tag], Field(max_length=16)]
_Stop = Annotated[str, Field(max_length=200)]
_MOST_PROMPTS, _MOST_STOPS = 64, 64


def _field(owner: type, name: str) -> Any:
    """A field of a request that may say otherwise than an option; null leaves it as it is."""
    of = option_of(owner, name)
    return Field(None, ge=of.low, le=of.high, description=of.doc)


class _Extension(BaseModel):
    """What is ours in a request: the header, the note, and how it is written."""

    model_config = ConfigDict(strict=True, extra="forbid")

    tags: list[_Tag] = Field([], max_length=16, description="Write under these tags")
    date: str | None = Field(
        None,
        description="Write as of 2014, or 2014-03; a day is dropped. Left out: the date of "
        "the note at path, by its front matter or name. null: none",
    )
    title: str | None = Field(None, max_length=500, description="The note's title")
    path: str | None = Field(None, max_length=1024, description="The note, relative to the vault")
    note: OpenNote | None = Field(
        None,
        description="In place of prompt, suffix and path; tags, date, title and length that are "
        "left out are then the note's own",
    )
    length: Amount | None = Field(
        None,
        description="How much; max_tokens bounds it. A clause is a few words, and none of which "
        "the mirror is not sure. Default: paragraph, or tokens when "
        "max_tokens is given",
    )
    form: Literal["text", "question"] = "text"

    @field_validator("date")
    @classmethod
    def _month_at_most(cls, value: str | None) -> str | None:
        if value is None:
            return None
        match = _DATE.fullmatch(value)
        if match is None:
            raise ValueError("a date is a year or a month, as 2014 or 2014-03")
        return match[1] + (match[2] or "")

    @field_validator("title")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        return " ".join((value or "").split()) or None


# Options of sampling that OpenAI's completion has too stand where it has them; the rest are ours.
_OPENAI = frozenset({"temperature", "top_p"})
_SAMPLING = {f.name: type(f.default) | None for f in fields(Sampling)}
if TYPE_CHECKING:
    Voice = _Extension
else:
    _OURS = {
        n: (Annotated[kind, Whole] if kind == int | None else kind, _field(Sampling, n))
        for n, kind in _SAMPLING.items()
        if n not in _OPENAI
    }
    Voice = create_model("Voice", __base__=_Extension, __doc__=_Extension.__doc__, **_OURS)


class WarmRequest(BaseModel):
    """The prompt part of a completion: enough to prefill it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str | None = Field(None, max_length=100, description='"mirror", "base" or a generation')
    prompt: str | list[str] | None = Field("", description="The text before the cursor")
    suffix: str | None = Field(None, description="The text after the cursor; not repeated")
    vaultgpt: Voice = Voice.model_validate({})

    @field_validator("prompt")
    @classmethod
    def _one_prompt(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and len(value) != 1:
            raise ValueError("one prompt a request")
        return value

    @field_validator("vaultgpt", mode="before")
    @classmethod
    def _null_is_default(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="after")
    def _prompt_or_note(self) -> WarmRequest:
        if self.vaultgpt.note is not None and (self.text or self.vaultgpt.path is not None):
            raise ValueError("a note comes in place of a prompt and a path")
        return self

    @property
    def texts(self) -> list[str]:
        """The prompts, one as a rule."""
        return self.prompt if isinstance(self.prompt, list) else [self.prompt or ""]

    @property
    def text(self) -> str:
        """The first prompt."""
        return self.texts[0]


class _StreamOptions(BaseModel):
    """OpenAI's options of a stream."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = None


class CompletionRequest(WarmRequest):
    """OpenAI's text completion. Unknown fields are ignored, as OpenAI's clients send many."""

    echo: bool | None = Field(None, description="The prompt stands before the text")
    max_tokens: Annotated[int | None, Whole] = Field(
        None,
        ge=0,
        le=option_of(Prompt, "max_tokens").high,
        description="At most this many new tokens, and a few that end a word; 0 with echo alone",
    )
    temperature: float | None = _field(Sampling, "temperature")
    top_p: float | None = _field(Sampling, "top_p")
    n: Annotated[int | None, Whole] = _field(Prompt, "n")
    best_of: Annotated[int | None, Whole] = Field(
        None,
        ge=1,
        le=option_of(Prompt, "n").high,
        description="So many are written, and the n likeliest by their tokens' mean come back",
    )
    logprobs: Annotated[int | None, BeforeValidator(lambda v: None if v is False else whole(v))] = (
        Field(
            None, ge=0, le=5, description="Each token's log probability, and of so many likeliest"
        )
    )
    stop: _Stop | list[_Stop] | None = Field(None, description="Up to 64 strings that end the text")
    seed: Annotated[int | None, Whole] = Field(None, description="Any whole number")
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: Any = Field(None, description="Who asks: their newest request ends older ones")
    frequency_penalty: float | None = Field(None, description="Ignored: it would distort the voice")
    presence_penalty: float | None = Field(None, description="Ignored: it would distort the voice")
    logit_bias: dict[str, object] | None = Field(None, description="Not offered")

    @field_validator("prompt")
    @classmethod
    def _one_prompt(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and not 1 <= len(value) <= _MOST_PROMPTS:
            raise ValueError(f"1 to {_MOST_PROMPTS} prompts a request")
        return value

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> list[str]:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > _MOST_STOPS:
            raise ValueError(f"at most {_MOST_STOPS} stop strings")
        return [one for one in stops if one]  # an empty one ends nothing

    @field_validator("max_tokens")
    @classmethod
    def _some(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value == 0 and not info.data.get("echo"):
            raise ValueError("0 is for echo alone")
        return value

    @model_validator(mode="after")
    def _same_meaning(self) -> CompletionRequest:
        if self.logit_bias:
            raise ValueError("it is not offered to bias logits")
        if self.written < (self.n or 1):
            raise ValueError("`best_of` must be at least `n`")
        if self.stream and self.written > (self.n or 1):
            raise ValueError("best_of beyond n can't be streamed")
        if self.vaultgpt.note is not None and (self.echo or self.logprobs is not None):
            raise ValueError("echo and logprobs are for prompts, not for notes")
        return self

    @property
    def written(self) -> int:
        """How many alternatives are written of each prompt."""
        return self.best_of or self.n or 1


class Logprobs(TypedDict):
    """Of each token of a choice's text: its text, its log probability, the likeliest, its place."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(TypedDict):
    """One alternative."""

    text: str
    index: int
    finish_reason: str | None
    logprobs: Logprobs | None


class _CachedTokens(TypedDict):
    """Of the prompt's tokens those that were read before."""

    cached_tokens: int


class CompletionUsage(TypedDict):
    """OpenAI's count of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _CachedTokens


class CompletionFigures(TypedDict, total=False):
    """Ours: who wrote and how fast, and how the note's cursor was read where one was given."""

    label: dict[str, object]  # a Label
    generation: str
    engine: str
    engine_problem: str | None
    tags: list[str]
    first_token_ms: float
    cached_tokens: int
    tokens_per_s: float | None
    overtime: int
    confidence: float | None
    sure: list[float]


class Completion(TypedDict):
    """OpenAI's text completion and our figures; a stream sends it in parts."""

    id: str
    object: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: NotRequired[CompletionUsage | None]
    vaultgpt: NotRequired[CompletionFigures]


_NO_LIMITS = CompletionRequest.model_validate({})
_NO_NOTE = AtCursor("", "", (), None, None, None, None)


def to_prompt(request: WarmRequest, settings: Mirror, note: AtCursor | None = None) -> Prompt:
    """The engine's Prompt: the request's values, then the note's own, then the vault's settings."""
    ours, given = request.vaultgpt, request.vaultgpt.model_fields_set
    full = request if isinstance(request, CompletionRequest) else _NO_LIMITS
    own = note or _NO_NOTE
    wishes = {n: getattr(full if n in _OPENAI else ours, n) for n in _SAMPLING}
    if wishes["temperature"] is None:
        wishes["temperature"] = own.temperature
    wished = {name: value for name, value in wishes.items() if value is not None}
    sampling = replace(settings.sampling(), **wished)
    asked = ours.length or own.length or (ours.note.length if ours.note else None)
    length: Length = asked or ("paragraph" if full.max_tokens is None else "tokens")
    stop = [full.stop] if isinstance(full.stop, str) else full.stop or []
    chances = full.logprobs if full.written == (full.n or 1) else full.logprobs or 0
    return Prompt(
        text=request.text if note is None else note.text,
        tags=tuple(ours.tags) if note is None or "tags" in given else note.tags,
        date=ours.date if note is None or "date" in given else note.date,
        title=ours.title if note is None or "title" in given else note.title,
        suffix=request.suffix or own.suffix,
        length=length,
        max_tokens=_DEFAULT_TOKENS[length] if full.max_tokens is None else full.max_tokens,
        n=full.written,
        seed=None if full.seed is None else full.seed % (MAX_SEED + 1),
        stop=(*stop, "\n", "|") if own.place.one_line else tuple(stop),
        form=ours.form,
        sampling=sampling,
        model=request.model or "mirror",
        logprobs=chances,
        echo=bool(full.echo),
    )


def sampling_fields(values: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """What says these values of Sampling's options: in a completion's body, in its `vaultgpt`."""
    top = {name: value for name, value in values.items() if name in _OPENAI}
    return top, {name: value for name, value in values.items() if name not in _OPENAI}
