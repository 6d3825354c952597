"""A note in a client's editor, as a request carries it and as an answer labels it.

Knows nothing about HTTP or about how a note is read.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vaultgpt.vault.at_cursor import AtCursor, EditorNote, from_utf16
from vaultgpt.wire import Prompt

Amount = Literal["clause", "sentence", "paragraph", "page", "tokens"]


def whole(value: Any) -> Any:
    """A whole number that was written as 4.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(whole)


class OpenNote(BaseModel):
    """A note as it stands in the client's editor, in place of a prompt: the daemon reads it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    path: str | None = Field(
        None, max_length=1024, description="Relative to the vault; null: the text is no note"
    )
    text: str = Field(
        description="The editor's whole text, unsaved changes included; of a very long note its "
        "beginning (all of the front matter) and what stands around the cursor"
    )
    cursor: Annotated[int, Whole] = Field(
        ge=0,
        description="Where the cursor stands in text, in UTF-16 code units as JavaScript counts; "
        "between the halves of a surrogate pair means before it",
    )
    gap: Annotated[int | None, Whole] = Field(
        None, ge=0, description="Where in text a part of the note was left out, in the same units"
    )
    length: Amount | None = Field(
        None, description="How much, where neither vaultgpt.length nor the note itself says"
    )

    may_skip: bool = Field(
        False,
        description="The client puts the text where the label's skip says; else the end of a "
        "heading's line above its underline is refused",
    )

    def opened(self, path: str | None) -> EditorNote:
        """The same with offsets in characters; `path` as the index has it."""
        gap = None if self.gap is None else from_utf16(self.text, self.gap)
        at = from_utf16(self.text, self.cursor)
        return EditorNote(path, self.text, at, gap, self.may_skip)


class _Refused(BaseModel):
    """Why nothing is written at the cursor."""

    code: str = Field(description="The rule that leaves the note out, or cursor in code and such")
    why: str


class Label(BaseModel):
    """How a note reads at its cursor: the voice it is written on in, and what may stand there."""

    tags: list[str]
    date: str | None
    title: str | None
    refused: _Refused | None
    lead: str = Field(description="Put before the text, which has it already")
    line_prefix: str = Field(description="What every new line of prose begins with, likewise")
    one_line: bool = Field(description="No line break and no | is written, as in a table")
    skip: int = Field(
        description="The text stands so many UTF-16 units after the cursor, as below a heading's "
        "underline; 0 unless the note's may_skip allows it"
    )
    warning: str | None = Field(
        None, description="What to expect, as of a language that the base has not read"
    )

    @staticmethod
    def of(prompt: Prompt, note: AtCursor, warning: str | None = None) -> Label:
        """The voice of the prompt, at the note's place."""
        refused = None
        if not note.judgement.used:
            refused = _Refused(code=note.judgement.code, why=note.judgement.why)
        return Label(
            tags=list(prompt.tags),
            date=prompt.date,
            title=prompt.title,
            refused=refused,
            lead=note.place.lead,
            line_prefix=note.place.line_prefix,
            one_line=note.place.one_line,
            skip=note.place.skip,
            warning=warning,
        )
