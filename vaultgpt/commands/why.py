"""`vaultgpt why NOTE`: one note as it will be learned, and why it is used or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from vaultgpt.commands.common import (
    ChangesOption,
    JsonOption,
    VaultOption,
    command,
    locate_note,
    out,
    print_json,
)
from vaultgpt.tasks.vault_service import Here
from vaultgpt.tasks.why import WHY, Why, WhyRequest


@command("Learn")
def why(
    note: Annotated[
        Path,
        typer.Argument(
            metavar="NOTE", show_default=False, help="The note's path, from here or from the vault."
        ),
    ],
    vault: VaultOption = None,
    changes: ChangesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a note's text as it will be learned; what is left out is dimmed.

    Where output is no terminal, it stands between «kind: and »."""
    state, path = locate_note(note, vault)
    here = Here(state, changes or ())  # read anew, also beside a daemon
    answer = here.ask(WHY, WhyRequest(path=path))
    if as_json:
        print_json(answer)
        return
    out.print(f"{path}: {answer['why']}", style="bold", markup=False)
    facts = [f"#{t}" for t in answer["tags"]] + [answer["date"] or "undated"]
    if aside := answer["kept_aside"]:
        what = "it" if aside == "all" else "a part of it"
        facts.append(f"held out: {what} tests the voice and is never learned")
    out.print(" · ".join(facts), style="dim", markup=False)
    if answer["problem"]:
        out.print(f"Problem: {answer['problem']}", style="yellow", markup=False)
    out.print(_dimmed(answer))


def _dimmed(answer: Why) -> Text:
    text, shown = answer["text"], Text()
    for span in answer["spans"]:
        piece = text[span["start"] : span["end"]]
        learned = span["kind"] == "prose" and answer["used"]
        if not learned and not out.is_terminal:
            body = piece.rstrip("\r\n")
            kind = span["kind"] if span["kind"] != "prose" else "left out"
            piece = f"«{kind}: {body}»{piece[len(body) :]}"
        shown.append(piece, style="" if learned else "dim")
    return shown
