"""The bodies the API takes and gives, as pydantic models; OpenAPI is made from them.

Knows nothing about HTTP or about how a prompt is carried out.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from vaultgpt.config import Mirror
from vaultgpt.wire import Length, Prompt

# Most tokens of each length when a request sets none. The engine ends at the sentence, paragraph or
# page before that; "tokens" is the length of a request that gives max_tokens alone.
DEFAULT_TOKENS: dict[str, int] = {"sentence": 80, "paragraph": 300, "page": 800, "tokens": 200}
MAX_TOKENS = 4096
_DATE = re.compile(r"(\d{4})(?:(-(?:0[1-9]|1[0-2]))(?:-(?:0[1-9]|[12]\d|3[01]))?)?")


def _clean_tag(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    tag = value.strip().lstrip("#").lower()
    if not tag or any(c.isspace() or c == "|" or not c.isprintable() for c in tag):
        raise ValueError("a tag is one word")
    return tag


Tag = Annotated[str, BeforeValidator(_clean_tag), Field(max_length=100)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class Voice(BaseModel):
    """What is ours in a request: the header, the note, and how it is written."""

    model_config = ConfigDict(strict=True, extra="forbid")

    tags: list[Tag] = Field([], max_length=16, description="Write under these tags")
    date: str | None = Field(
        None, description="Write as of 2014, or 2014-03; a day is dropped. Left out: the date of "
                          "the note at path, by its front matter or name. null: none")
    title: str | None = Field(None, max_length=500, description="The note's title")
    path: str | None = Field(None, max_length=1024, description="The note, relative to the vault")
    length: Literal["sentence", "paragraph", "page", "tokens"] | None = Field(
        None, description="How much; max_tokens bounds it. Default: paragraph, or tokens when "
                          "max_tokens is given")
    min_p: float | None = Field(None, ge=0, le=1)
    voice: float | None = Field(None, ge=0, le=2, description="Voice strength beyond the adapter's")
    tag_strength: float | None = Field(None, ge=0, le=5)
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

    @property
    def text(self) -> str:
        """The prompt as one string."""
        return (self.prompt[0] if isinstance(self.prompt, list) else self.prompt) or ""


class StreamOptions(BaseModel):
    """OpenAI's options of a stream."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = None


class CompletionRequest(WarmRequest):
    """OpenAI's text completion. Unknown fields are ignored, as OpenAI's clients send many."""

    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    temperature: float | None = Field(None, ge=0, le=5, description="0 takes the likeliest token")
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=16, description="Alternatives, drawn in one batch")
    stop: Stop | list[Stop] | None = Field(None, description="Up to 8 strings that end the text")
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Any = Field(None, description="Ignored")
    frequency_penalty: float | None = Field(None, description="Ignored: it would distort the voice")
    presence_penalty: float | None = Field(None, description="Ignored: it would distort the voice")
    best_of: int | None = Field(None, description="Taken only when it equals n")
    echo: bool | None = Field(None, description="Not offered")
    logprobs: int | bool | None = Field(None, description="Not offered")
    logit_bias: dict[str, Any] | None = Field(None, description="Not offered")

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and len(value) > 8:
            raise ValueError("at most 8 stop strings")
        return value

    @model_validator(mode="after")
    def _same_meaning(self) -> CompletionRequest:
        if self.echo or self.logprobs or self.logit_bias:
            raise ValueError("echo, logprobs and logit_bias are not offered")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError("best_of must equal n")
        return self


class AcceptedRequest(BaseModel):
    """Text of the mirror that the author took into a note."""

    model_config = ConfigDict(strict=True, extra="forbid")

    text: str = Field(min_length=1)
    path: str | None = Field(None, max_length=1024)


class TrainRequest(BaseModel):
    """A round now."""

    model_config = ConfigDict(strict=True, extra="forbid")

    fresh: bool = Field(False, description="Learn the whole vault anew, from the base")


class ForgetRequest(BaseModel):
    """A note to unlearn."""

    model_config = ConfigDict(strict=True, extra="forbid")

    path: str = Field(min_length=1, max_length=1024)


class Empty(BaseModel):
    """A body that says nothing."""

    model_config = ConfigDict(strict=True, extra="forbid")


_NO_LIMITS = CompletionRequest.model_validate({})


def to_prompt(request: WarmRequest, settings: Mirror) -> Prompt:
    """The engine's Prompt: the request's values, then the vault's settings."""
    ours = request.vaultgpt
    full = request if isinstance(request, CompletionRequest) else _NO_LIMITS
    sampling = replace(
        settings.sampling(),
        **_given(temperature=full.temperature, top_p=full.top_p, min_p=ours.min_p,
                 voice=ours.voice, tag_strength=ours.tag_strength),
    )
    length: Length = ours.length or ("tokens" if full.max_tokens else "paragraph")
    stop = [full.stop] if isinstance(full.stop, str) else full.stop or []
    return Prompt(
        text=request.text, tags=tuple(ours.tags), date=ours.date, title=ours.title,
        suffix=request.suffix or "", length=length,
        max_tokens=full.max_tokens or DEFAULT_TOKENS[length], n=full.n or 1, seed=full.seed,
        stop=tuple(stop), form=ours.form, sampling=sampling, model=request.model or "mirror",
    )


def _given(**values: float | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
