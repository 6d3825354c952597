"""`vaultgpt continue`: text in the author's voice, by the daemon or a worker of our own."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vaultgpt.commands.common import (
    ChangesOption,
    JsonOption,
    VaultOption,
    command,
    err,
    locate,
    locate_note,
    out,
    print_json,
)
from vaultgpt.errors import UsageError
from vaultgpt.ledger import Ledger
from vaultgpt.options import option_of
from vaultgpt.settings import load_settings
from vaultgpt.state import VaultState
from vaultgpt.tasks.continue_ import (
    Continued,
    Request,
    checked,
    note_request,
    sampling_of,
    unlearned,
    write,
)
from vaultgpt.tasks.language import unread_text
from vaultgpt.tasks.schemas import MAX_SEED
from vaultgpt.tasks.status import silenced
from vaultgpt.tasks.vault_service import vault_service
from vaultgpt.wire import Prompt, Sampling

_say = partial(err.print, style="dim", markup=False)


@command("Write")
def continue_(
    vault_argument: Annotated[
        Path | None, typer.Argument(metavar="[VAULT]", show_default=False, help="The vault.")
    ] = None,
    vault: VaultOption = None,
    note: Annotated[
        Path | None, typer.Option("--note", help="Continue this note at its end.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text", help='Continue this text; "-" reads standard input, "" opens a new note.'
        ),
    ] = None,
    tags: Annotated[
        str | None, typer.Option("--tags", help="Write as these, e.g. dream,poetry.")
    ] = None,
    date: Annotated[str | None, typer.Option("--date", help="Write as of 2014 or 2014-03.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="The note's title.")] = None,
    length: Annotated[
        str | None, typer.Option("--length", help="clause, sentence, paragraph, page or tokens.")
    ] = None,
    max_tokens: Annotated[int | None, _number(Prompt, "max_tokens")] = None,
    n: Annotated[int, _number(Prompt, "n")] = 1,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=MAX_SEED, help="The same seed gives the same text."),
    ] = None,
    temperature: Annotated[float | None, _number(Sampling, "temperature")] = None,
    generation: Annotated[
        str | None, typer.Option("--generation", help="g000003, or base.")
    ] = None,
    form: Annotated[str, typer.Option("--form", help='"question": it asks you one.')] = "text",
    changes: ChangesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write on in the author's voice."""
    if note is not None and text is not None:
        raise UsageError("--note and --text can't be given together.", "Leave one of them out.")
    if note is None and text is None:
        raise UsageError("Give --note PATH or --text TEXT.", 'Use --text "" for a new note.')
    state, request = _meant(note, text, vault or vault_argument)
    sampling, others = sampling_of(changes or ())
    request = request.changed(
        tags=_tags(tags),
        date=_date(date),
        title=title,
        length=length,
        max_tokens=max_tokens,
        n=n,
        seed=seed,
        temperature=temperature,
        generation=generation,
        form=form,
        sampling=sampling,
    )
    checked(request)  # what has no meaning is refused before anything else is said
    for said in _beforehand(state, request):
        err.print(said, style="yellow", markup=False)
    terminal = sys.stdout.isatty() and not as_json
    live, given = terminal and n == 1, _given(request) if terminal else ""
    before = [given]

    def hear(piece: str) -> None:
        out.print((before.pop() if before else "") + piece, end="", markup=False)

    service = vault_service(state, others)
    answer = write(service, request, hear if live else None, None if as_json else _say)
    if as_json:
        print_json(answer)
    else:
        _show(answer, live, given)
        if request.length == "clause" and not any(answer["texts"]):
            _say("Nothing was likely enough (`mirror.sure`); --length sentence writes on.")


def _given(request: Request) -> str:
    """What a terminal shows before new text, which may be only the rest of a word."""
    return "" if request.form == "question" else request.text.rpartition("\n\n")[2]


def _meant(note: Path | None, text: str | None, vault: Path | None) -> tuple[VaultState, Request]:
    """The vault, and the request that a note at its end or a text makes by itself."""
    if note is not None:
        state, path = locate_note(note, vault)
        return state, note_request(state, path)
    return locate(vault), Request(text=sys.stdin.read() if text == "-" else text or "")


def _beforehand(state: VaultState, request: Request) -> list[str]:
    """What the author should know before they read it."""
    said: list[str | None] = []
    chosen = writes_on = load_settings(state.config).base
    if state.ledger.exists():
        with Ledger.open(state) as ledger:
            writes_on = ledger.generations.base(chosen)
            if request.generation is None:
                said.append(silenced(ledger))
            elif request.generation != "base":
                ledger.generations.usable(request.generation)
            said += unlearned(state, ledger, request)
    said.append(unread_text(writes_on, request.text, chosen))
    return [each for each in said if each]


def _show(answer: Continued, live: bool, given: str) -> None:
    """The texts, if they did not stand there as they came; then who wrote them, and how fast."""
    if live:
        out.print()
    else:
        out.print("\n\n---\n\n".join(given + text for text in answer["texts"]), markup=False)
    if answer["engine_problem"]:
        err.print(answer["engine_problem"], style="yellow", markup=False)
    voice = " ".join(f"#{t}" for t in answer["tags"]) or "no tag"
    speed = f", {answer['tokens_per_s']:.0f} tokens/s" if answer["tokens_per_s"] else ""
    _say(f"{answer['generation']} · {voice}{speed}")


def _tags(given: str | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    return tuple(t.strip().lstrip("#").lower() for t in given.split(",") if t.strip().lstrip("#"))


def _date(given: str | None) -> str | None:
    if given is not None and not re.fullmatch(r"\d{4}(-(0[1-9]|1[0-2]))?", given):
        raise UsageError("--date takes a year or a month, like 2014 or 2014-03.")
    return given


def _number(owner: type, name: str) -> Any:
    """The command line's form of an option of a dataclass: its name, bounds and sentence."""
    of = option_of(owner, name)
    kind = int if of.kind == "integer" else float
    low, high = (None if end is None else kind(end) for end in (of.low, of.high))
    return typer.Option("--" + name.replace("_", "-"), min=low, max=high, help=f"{of.doc}.")
