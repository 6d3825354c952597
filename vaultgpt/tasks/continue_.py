"""Text in the author's voice: from the daemon's mirror worker, or from one of our own.

Both ways take the same request and give the same text. Knows nothing about terminals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from typing_extensions import TypedDict

from vaultgpt.corpus.lines import habits, of_generation
from vaultgpt.errors import NotFound, UsageError, VaultGPTError
from vaultgpt.files import require_room
from vaultgpt.ledger import Ledger
from vaultgpt.settings import Settings, load_settings, with_changes
from vaultgpt.state import VaultState
from vaultgpt.tasks.client import DaemonClient
from vaultgpt.tasks.config import Done
from vaultgpt.tasks.request import Question
from vaultgpt.tasks.schemas import (
    Completion,
    CompletionFigures,
    CompletionRequest,
    CompletionUsage,
    NotePath,
    sampling_fields,
    to_prompt,
)
from vaultgpt.tasks.status import way_back
from vaultgpt.tasks.vault_service import Desk, Here, Task, VaultService
from vaultgpt.vault.at_cursor import EditorNote, read_editor
from vaultgpt.vault.entry import below, names_verse
from vaultgpt.vault.place import Insertion, Place
from vaultgpt.vault.reconcile import read_one
from vaultgpt.wire import Hear, Piece, ProgressEvent, Prompt, Sampling, Usage
from vaultgpt.workers.mirror import MirrorProcess, Opening, mirror_opening

_Say = Callable[[str], None]
_LOADS = "Loading the model; under a running `vaultgpt serve` it would write at once."


class Continued(TypedDict):
    """CONTRACT's `continue`; texts hold only new text."""

    text: str
    texts: list[str]
    tags: list[str]
    generation: str
    prompt_tokens: int
    tokens: int
    first_token_ms: float
    tokens_per_s: float | None
    engine: str  # who wrote: own or openai
    engine_problem: str | None  # why our own decoder did, where the settings name another


class _AcceptedRequest(Question):
    """Text of the mirror that the author took into a note."""

    text: str = Field(min_length=1)
    path: NotePath | None = None


@dataclass(frozen=True)
class Request:
    """What a person asks for. None leaves it to the note, then to the settings."""

    text: str = ""
    tags: tuple[str, ...] | None = None
    date: str | None = None
    title: str | None = None
    path: str | None = None
    length: str | None = None
    max_tokens: int | None = None
    n: int | None = None
    seed: int | None = None
    temperature: float | None = None
    sampling: Mapping[str, object] = field(default_factory=dict)  # other options of wire.Sampling
    form: str | None = None
    generation: str | None = None
    place: Place = field(default_factory=Place)  # that the text is to stand in

    def changed(self, **wishes: Any) -> Request:
        """A copy in which every wish that is not None wins."""
        return replace(self, **{k: v for k, v in wishes.items() if v is not None})

    def body(self) -> dict[str, object]:
        """The body of POST /v1/completions."""
        ours: dict[str, object] = {
            "tags": list(self.tags or ()),
            "date": self.date,
            "title": self.title,
            "path": self.path,
            "length": self.length,
            "form": self.form,
        }
        options, beside = sampling_fields(self.sampling)
        ours |= beside
        openai = {
            **options,
            "prompt": self.text,
            "max_tokens": self.max_tokens,
            "n": self.n,
            "seed": self.seed,
            "temperature": options.get("temperature", self.temperature),
            "model": self.generation,
            "stop": ["\n", "|"] if self.place.one_line else None,
        }
        return {**_given(openai), "vaultgpt": _given(ours)}


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {k: v for k, v in values.items() if v is not None}


def note_request(state: VaultState, path: str) -> Request:
    """Write on at the end of the note at `path`, read as an editor's note at its cursor is.

    VaultGPTError where it is left out, or ends where nothing is written."""
    rules = load_settings(state.config).rules
    scanned = read_one(state.vault, rules, path)
    text = scanned.note.text
    found = read_editor(state.vault, rules, EditorNote(path, text, len(text)))
    # What can't be read, or is not opened, has no text: to an editor it would be an empty page.
    judgement = found.judgement if scanned.note.entries else scanned.judgement
    if not judgement.used:
        at_end = judgement.code.startswith("cursor")
        what = "Nothing is written at the end of this note" if at_end else "This note is left out"
        mend = "" if at_end else "What is not learned is not continued either."
        raise VaultGPTError(f"{what}: {judgement.why}", mend)
    return Request(
        text=found.text,
        tags=found.tags,
        date=found.date,
        title=found.title,
        path=path,
        length=found.length,
        temperature=found.temperature,
        place=found.place,
    )


def sampling_of(changes: Iterable[str]) -> tuple[dict[str, object], list[str]]:
    """Of `--set key=value`: what a request can say, by name, and what needs another worker."""
    sampling: dict[str, object] = {}
    others = []
    for change in changes:
        section, _, name = change.partition("=")[0].strip().rpartition(".")
        if section == "mirror" and name in {f.name for f in fields(Sampling)}:
            sampling[name] = getattr(with_changes(Settings(), [change]).mirror, name)
        else:
            others.append(change)
    return sampling, others


def checked(request: Request) -> CompletionRequest:
    """The request as the API takes it. UsageError for a value that has no meaning."""
    try:
        return CompletionRequest.model_validate(request.body())
    except ValidationError as error:
        raise UsageError(_first_problem(error)) from None


def write(
    service: VaultService,
    request: Request,
    on_piece: _Say | None = None,
    on_say: _Say | None = None,
) -> Continued:
    """CONTRACT's `continue`; the first text as it comes, and what is waited for, are told."""
    asked, shown = checked(request), Insertion(request.place)

    def hear(event: ProgressEvent) -> None:
        if event["event"] == "piece":
            tell(shown.add(event["text"]))
        elif on_say is not None:
            on_say(event["text"])

    def tell(text: str) -> None:
        if on_piece is not None and text:
            on_piece(text)

    answer = service.ask(_CONTINUE, asked, hear)
    tell(shown.add("", last=True))
    texts = [Insertion(request.place).add(text, last=True) for text in answer["texts"]]
    return {**answer, "text": texts[0], "texts": texts}


def unlearned(state: VaultState, ledger: Ledger, request: Request) -> list[str]:
    """What is asked for and stands nowhere in the vault: a tag, a year, a form, a voice at all."""
    if request.generation is None and not ledger.generations.all():
        return [
            "Nothing has been learned yet, so this is the base's own voice and not yours: "
            "`vaultgpt train` learns yours."
        ]
    learned = any(voice.promoted for voice in ledger.generations.all())
    if learned and request.generation is None and ledger.generations.active() is None:
        return [f"The base writes, as it was chosen, and not your voice: {way_back(ledger)}"]
    live = [entry for entry in ledger.entries.all() if entry.live and entry.words]
    if not live:
        return []
    known = {tag for entry in live for tag in entry.tags}
    said = [
        f"Nothing in the vault has the tag #{tag}, so it was never learned and changes little."
        for tag in request.tags or ()
        if not any(below(one, tag) for one in known)
    ]
    year = (request.date or "")[:4]
    if year and not any(entry.year == year for entry in live):
        said.append(f"Nothing in the vault is of {year}: how you wrote then was never learned.")
    writing = request.generation or ledger.generations.writing()
    return said + (_formless(state.generations / writing, request) if writing else [])


def _formless(generation: Path, request: Request) -> list[str]:
    """A form of which the generation learned no page, questions or verse; a sentence each."""
    known = of_generation(generation)
    every, said = habits((), known), []
    if request.form == "question" and every is not None and every.questions == 0:
        said.append("No page that it learned asks anything: how you ask was never learned.")
    for tag in filter(names_verse, request.tags or ()):
        of_tag = [one for name, one in known.items() if below(name, tag)]
        if of_tag and not any(one.in_lines for one in of_tag):
            said.append(f"No page under #{tag} is in lines: how you break them was never learned.")
    return said


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    name = next((str(p) for p in reversed(first["loc"]) if isinstance(p, str)), "request")
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[0].lower()}{message[1:]}."


def _by_daemon(daemon: DaemonClient, asked: CompletionRequest, hear: Hear) -> Continued:
    texts = [""] * (asked.n or 1)
    ours: CompletionFigures = {}
    usage: CompletionUsage | None = None
    told = {"stream": True, "stream_options": {"include_usage": True}}
    body = {**asked.model_dump(exclude_unset=True), **told}
    for event, data in daemon.stream(_CONTINUE.path, body):
        if event == "error" or "error" in data:
            raise VaultGPTError(str(data.get("error", data).get("message", "The mirror failed.")))
        chunk: Completion = data
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
            if choice["index"] == 0:
                hear({"event": "piece", "text": choice["text"]})
        ours |= chunk.get("vaultgpt", {})
        usage = chunk.get("usage") or usage
    if usage is None:
        raise VaultGPTError("The daemon ended before the text did.", "Ask again.")
    return Continued(
        text=texts[0],
        texts=texts,
        tags=ours["tags"],
        generation=ours["generation"],
        prompt_tokens=usage["prompt_tokens"],
        tokens=usage["completion_tokens"],
        first_token_ms=ours["first_token_ms"],
        tokens_per_s=ours["tokens_per_s"],
        engine=ours["engine"],
        engine_problem=ours["engine_problem"],
    )


def _here(service: Here, asked: CompletionRequest, hear: Hear) -> Continued:
    prompt = to_prompt(asked, service.settings.mirror)
    require_room(service.state.folder)  # to remember that the text is ours
    opening = service.with_desk(lambda desk: mirror_opening(desk.state, desk.settings, desk.ledger))
    if prompt.model not in ("mirror", "base", *opening.generations):
        raise NotFound(
            f"There is no voice {prompt.model} on the base in use.",
            "`vaultgpt generations` lists them.",
        )
    hear({"event": "say", "text": _LOADS})
    texts, usage = asyncio.run(_by_worker(opening, prompt, hear))

    def keep(desk: Desk) -> None:
        for text in filter(None, texts):
            desk.ledger.emitted.offered(text, desk.now)

    service.with_desk(keep)
    return Continued(
        text=texts[0],
        texts=texts,
        tags=list(prompt.tags),
        generation=usage.generation,
        prompt_tokens=usage.prompt_tokens,
        tokens=usage.tokens,
        first_token_ms=usage.first_token_ms,
        tokens_per_s=usage.tokens_per_s,
        engine=usage.engine,
        engine_problem=usage.engine_problem or None,
    )


async def _by_worker(opening: Opening, prompt: Prompt, hear: Hear) -> tuple[list[str], Usage]:
    async def ask() -> Opening:
        return opening

    mirror, texts, usage = MirrorProcess(ask), [""] * prompt.n, None
    try:
        async for item in mirror.generate(prompt):
            if isinstance(item, Usage):
                usage = item
            elif isinstance(item, Piece):
                texts[item.index] += item.text
                if item.index == 0:
                    hear({"event": "piece", "text": item.text})
    finally:
        await mirror.stop()
    if usage is None:
        raise VaultGPTError("The mirror ended before the text did.", "Ask again.")
    return texts, usage


def _accept(desk: Desk, asked: _AcceptedRequest) -> Done:
    desk.ledger.emitted.accepted(asked.text, desk.now)
    return Done(ok=True)


_CONTINUE: Task[CompletionRequest, Continued] = Task(
    "POST",
    "/v1/completions",
    "Write on from the prompt",
    CompletionRequest,
    Continued,
    here=_here,
    by_daemon=_by_daemon,
)
ACCEPT = Task(
    "POST",
    "/v1/accepted",
    "The author took this text: it is never trained on",
    _AcceptedRequest,
    Done,
    work=_accept,
    writes="ledger",
)
