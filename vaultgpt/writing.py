"""One request to write on: asked of the daemon when one runs, else of a mirror worker of our own.

Knows nothing about terminals. Both ways take the same body and give the same text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from pydantic import ValidationError

from vaultgpt.client import DaemonClient, find_daemon
from vaultgpt.config import Settings, load_settings
from vaultgpt.errors import NotFound, UsageError, VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.server.schemas import CompletionRequest, to_prompt
from vaultgpt.state import VaultState
from vaultgpt.vault.scan import read_one
from vaultgpt.wire import Piece, Prompt, Usage
from vaultgpt.workers import MirrorProcess, Opening, mirror_opening

OnPiece = Callable[[str], None]


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
    form: str | None = None
    generation: str | None = None

    def changed(self, **wishes: Any) -> Request:
        """A copy in which every wish that is not None wins."""
        return replace(self, **{k: v for k, v in wishes.items() if v is not None})

    def body(self) -> dict[str, Any]:
        """The body of POST /v1/completions."""
        ours = {
            "tags": list(self.tags or ()),
            "date": self.date,
            "title": self.title,
            "path": self.path,
            "length": self.length,
            "form": self.form,
        }
        openai = {
            "prompt": self.text,
            "max_tokens": self.max_tokens,
            "n": self.n,
            "seed": self.seed,
            "temperature": self.temperature,
            "model": self.generation,
        }
        return {**_given(openai), "vaultgpt": _given(ours)}


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None}


def note_request(state: VaultState, path: str) -> Request:
    """Continue the note at `path` at its end, as what it is. VaultGPTError when it is left out."""
    scanned = read_one(state.vault, load_settings(state.config).rules, path)
    if not scanned.judgement.used and scanned.judgement.code not in ("empty", "few words"):
        raise VaultGPTError(
            f"This note is left out: {scanned.judgement.why}",
            "What is not learned is not continued either.",
        )
    wishes = scanned.note.properties.get("vaultgpt")
    own: dict[str, Any] = dict(wishes) if isinstance(wishes, dict) else {}
    names = {f.name for f in fields(Request)}
    if not scanned.note.entries:
        return Request(path=path, tags=scanned.note.tags)
    last = scanned.note.entries[-1]
    request = Request(
        text=last.document()[0],
        tags=last.tags,
        date=last.date and last.date[:7],
        title=last.title,
        path=path,
    )
    return request.changed(**_own_wishes(own, names))


def _own_wishes(own: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The note's own `vaultgpt:` mapping, in the shapes that a request takes."""
    kept = {
        str(k): v
        for k, v in own.items()
        if str(k) in names & {"tags", "date", "length", "temperature"}
    }
    if isinstance(kept.get("tags"), str):
        kept["tags"] = kept["tags"].replace(",", " ").split()
    if isinstance(kept.get("tags"), (list, tuple)):
        kept["tags"] = tuple(str(t).lstrip("#").lower() for t in kept["tags"])
    if "date" in kept:
        kept["date"] = str(kept["date"])[:7]
    return kept


def write(state: VaultState, request: Request, on_piece: OnPiece | None = None) -> dict[str, Any]:
    """CONTRACT's `continue`. `on_piece` hears the text of the first alternative as it comes."""
    settings = load_settings(state.config)
    try:
        parsed = CompletionRequest.model_validate(request.body())
    except ValidationError as error:
        raise UsageError(_first_problem(error)) from None
    prompt = to_prompt(parsed, settings.mirror)
    daemon = find_daemon(state)
    if daemon is not None:
        texts, facts = _by_daemon(daemon, request, on_piece)
    else:
        texts, facts = asyncio.run(_here(state, settings, prompt, on_piece))
        with Ledger.open(state) as ledger:
            for text in filter(None, texts):
                ledger.note_emitted(text, time.time(), request.path)
    return {"text": texts[0], "texts": texts, "tags": list(prompt.tags), **facts}


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    name = next((str(p) for p in reversed(first["loc"]) if isinstance(p, str)), "request")
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[0].lower()}{message[1:]}."


def _by_daemon(
    daemon: DaemonClient, request: Request, on_piece: OnPiece | None
) -> tuple[list[str], dict[str, Any]]:
    texts = [""] * (request.n or 1)
    last: dict[str, Any] = {}
    for event, data in daemon.stream("/v1/completions", {**request.body(), "stream": True}):
        if event == "error" or "error" in data:
            raise VaultGPTError(str(data.get("error", data).get("message", "The mirror failed.")))
        for choice in data["choices"]:
            texts[choice["index"]] += choice["text"]
            if on_piece and choice["index"] == 0:
                on_piece(choice["text"])
        if "vaultgpt" in data:
            last = data
    if not last:
        raise VaultGPTError("The daemon ended before the text did.", "Ask again.")
    ours, usage = last["vaultgpt"], last["usage"]
    return texts, {
        "generation": ours["generation"],
        "prompt_tokens": usage["prompt_tokens"],
        "tokens": usage["completion_tokens"],
        "first_token_ms": ours["first_token_ms"],
        "tokens_per_s": ours["tokens_per_s"],
    }


async def _here(
    state: VaultState, settings: Settings, prompt: Prompt, on_piece: OnPiece | None
) -> tuple[list[str], dict[str, Any]]:
    opening = await asyncio.to_thread(_opening, state, settings)
    if prompt.model not in ("mirror", "base", *opening.generations):
        raise NotFound(
            f"There is no generation {prompt.model} on the base in use.",
            "`vaultgpt generations` lists them.",
        )

    async def ask() -> Opening:
        return opening

    mirror, texts, usage = MirrorProcess(ask), [""] * prompt.n, None
    try:
        async for item in mirror.generate(prompt):
            if isinstance(item, Usage):
                usage = item
            elif isinstance(item, Piece):
                texts[item.index] += item.text
                if on_piece and item.index == 0:
                    on_piece(item.text)
    finally:
        await mirror.stop()
    if usage is None:
        raise VaultGPTError("The mirror ended before the text did.", "Ask again.")
    return texts, {k: v for k, v in usage.to_json().items() if k != "cached_tokens"}


def _opening(state: VaultState, settings: Settings) -> Opening:
    with Ledger.open(state) as ledger:
        return mirror_opening(state, settings, ledger)
