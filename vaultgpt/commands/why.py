"""`vaultgpt why NOTE`: one note as it will be learned, and why it is used or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from vaultgpt.commands.common import (
    JsonOption,
    VaultOption,
    command,
    locate_note,
    out,
    print_json,
)
from vaultgpt.explain import explain


@command
def why(
    note: Annotated[
        Path,
        typer.Argument(
            metavar="NOTE", show_default=False, help="The note's path, from here or from the vault."
        ),
    ],
    vault: VaultOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a note's text as it will be learned; what is left out is dimmed."""
    state, path = locate_note(note, vault)
    answer = explain(state, path)
    if as_json:
        print_json(answer)
        return
    out.print(f"{path}: {answer['why']}", style="bold", markup=False)
    facts = [f"#{t}" for t in answer["tags"]] + [answer["date"] or "undated"]
    if answer["held_out"]:
        facts.append("held out: it judges the mirror and is never learned")
    out.print(" · ".join(facts), style="dim", markup=False)
    if answer["problem"]:
        out.print(f"Problem: {answer['problem']}", style="yellow", markup=False)
    out.print(_dimmed(answer))


def _dimmed(answer: dict[str, Any]) -> Text:
    text, shown = answer["text"], Text()
    for span in answer["spans"]:
        style = "" if span["kind"] == "prose" and answer["used"] else "dim"
        shown.append(text[span["start"] : span["end"]], style=style)
    return shown
