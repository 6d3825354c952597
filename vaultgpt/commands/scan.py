"""`vaultgpt scan`: what is learned from the vault and what is not, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from vaultgpt.commands.common import (
    ChangesOption,
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    err,
    locate,
    out,
    print_json,
)
from vaultgpt.config import load_settings
from vaultgpt.tasks.forget import without_forgotten
from vaultgpt.tasks.init import reason
from vaultgpt.vault.census import census, sentence
from vaultgpt.vault.scan import ScannedNote, read_vault
from vaultgpt.vault.walk import note_id


@command("Learn")
def scan(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    changes: ChangesOption = None,
    problems: Annotated[
        bool, typer.Option("--problems", help="Name the notes that have a problem.")
    ] = False,
    left_out: Annotated[
        bool, typer.Option("--left-out", help="Name the notes that are left out, and why.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Count what is learned, what is left out and why, by tag and by year."""
    state = locate(vault or vault_argument)
    settings = load_settings(state.config, changes or ())
    seen = read_vault(state.vault, settings.rules, {})
    notes = without_forgotten(state, seen.read)
    found = census(notes)
    if as_json:
        wanted = {"problems_of": _problems(notes)} if problems else {}
        wanted |= {"left_out_notes": _left_out(notes)} if left_out else {}
        print_json({**found, "closed_folders": list(seen.closed), **wanted})
        return
    for said in seen.said():
        err.print(said, style="yellow", markup=False)
    if problems or left_out:
        listed = [*(_problems(notes) if problems else []), *(_left_out(notes) if left_out else [])]
        for row in listed:
            out.print(f"{row['path']}: {row['why']}", markup=False)
        if not listed:
            out.print("There are none.", markup=False)
        return
    out.print(sentence({**found, "left_out": {}}), markup=False)
    reasons = {reason(code, count): count for code, count in found["left_out"].items()}
    parts = {"Left out": reasons, "Tags": found["tags"], "Years": found["years"]}
    for title, counts in parts.items():
        if counts:
            _show(title, counts)
    if found["problems"]:
        out.print(_problem_line(found["problems"]), markup=False)
    out.print("`vaultgpt why NOTE` tells about one note.", style="dim", markup=False)


def _problems(notes: Iterable[ScannedNote]) -> list[dict[str, str]]:
    return [
        {"path": n.note.path, "id": note_id(n.note.path), "why": n.note.problem}
        for n in notes
        if n.note.problem
    ]


def _left_out(notes: Iterable[ScannedNote]) -> list[dict[str, str]]:
    return [
        {"path": n.note.path, "code": n.judgement.code, "why": n.judgement.why}
        for n in notes
        if not n.judgement.used
    ]


def _problem_line(count: int) -> str:
    subject = "One note has" if count == 1 else f"{count:,} notes have"
    return f"{subject} something that could not be read as meant: `vaultgpt scan --problems`."


def _show(title: str, counts: dict[str, int], most: int = 25) -> None:
    """A line each: the count, then what it counts."""
    out.print(f"\n{title} (notes)", style="italic", markup=False)
    for name, count in list(counts.items())[:most]:
        out.print(f"{count:>7,}  {name}", markup=False)
    if len(counts) > most:
        out.print(f"         and {len(counts) - most} more", markup=False)
