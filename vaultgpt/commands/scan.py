"""`vaultgpt scan`: what is learned from the vault and what is not, and why."""

from __future__ import annotations

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
    progress,
    show_on,
)
from vaultgpt.tasks.scan import Scanned, scanned, tried
from vaultgpt.tasks.vault_service import Here
from vaultgpt.vault.census import reason, sentence
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
    service = Here(locate(vault or vault_argument), changes or ())
    with progress(as_json) as bar:
        hear = show_on(bar)
        seen, rows = service.with_desk(
            lambda desk: _listed(
                tried(desk) if changes else scanned(desk, hear), problems, left_out
            )
        )
    found = seen.census
    if as_json:
        print_json({**found, "closed_folders": list(seen.closed), **rows})
        return
    for said in seen.said:
        err.print(said, style="yellow", markup=False)
    if rows:
        for row in (row for some in rows.values() for row in some):
            path = row["path"].replace("\n", "\ufffd")  # a line a note
            out.print(f"{path}: {row['why']}", markup=False)
        if not any(rows.values()):
            out.print("There are none.", markup=False)
        return
    out.print(sentence(found), markup=False)
    reasons = {reason(code, count): count for code, count in found["left_out"].items()}
    parts = {"Left out": reasons, "Tags": found["tags"], "Years": found["years"]}
    for title, counts in parts.items():
        if counts:
            _show(title, counts)
    if found["problems"]:
        out.print(_problem_line(found["problems"]), markup=False)
    if found["notes"]:
        out.print("`vaultgpt why NOTE` tells about one note.", style="dim", markup=False)


def _listed(
    seen: Scanned, problems: bool, left_out: bool
) -> tuple[Scanned, dict[str, list[dict[str, str]]]]:
    """With the notes that are to be named, by the key of each list."""
    rows: dict[str, list[dict[str, str]]] = {}
    if problems:
        rows["problems_of"] = [
            {"path": n.note.path, "id": note_id(n.note.path), "why": n.note.problem or ""}
            for n in seen.some(lambda note: note.troubled)
        ]
    if left_out:
        rows["left_out_notes"] = [
            {"path": n.note.path, "code": n.judgement.code, "why": n.judgement.why}
            for n in seen.some(lambda note: not note.used)
        ]
    return seen, rows


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
