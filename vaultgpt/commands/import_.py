"""`vaultgpt import SOURCE`: years of writing from other programs, as notes of the vault."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from vaultgpt.commands.common import JsonOption, VaultOption, command, locate, many, out, print_json
from vaultgpt.corpus.words import count_words
from vaultgpt.errors import UsageError
from vaultgpt.importing.formats import FORMATS, read_source
from vaultgpt.importing.into_vault import Preview, preview, write
from vaultgpt.settings import load_settings

_SHOWN = 8
_PLACES = {
    "dayone": "Day One",
    "jrnl": "jrnl",
    "bear": "Bear",
    "evernote": "Evernote",
    "notion": "Notion",
    "joplin": "Joplin",
}


@command("Begin")
def import_(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="The file or folder that was exported.")
    ],
    into: Annotated[
        str,
        typer.Option(
            "--into", metavar="FOLDER", show_default=False, help="A folder in the vault for them."
        ),
    ] = "",
    made_by: Annotated[
        str,
        typer.Option(
            "--from", metavar="FORMAT", show_default=False, help=f"One of {', '.join(FORMATS)}."
        ),
    ] = "",
    file_dates: Annotated[
        bool, typer.Option("--file-dates", help="Files' own times are dates, as Exporter's are.")
    ] = False,
    vault: VaultOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring writing from another program into the vault, as notes; shown first, never twice."""
    state = locate(vault)
    real = source.expanduser().resolve()
    if real.is_dir() and (real == state.vault or state.vault in real.parents):
        raise UsageError(
            f"{source} lies in the vault already, so its notes are learned where they are.",
            "Give what another program exported.",
        )
    name, drafts = read_source(source.expanduser(), made_by, file_dates)
    planned = preview(state.vault, into or f"Imported/{_PLACES.get(name, 'Text')}", drafts)
    dates = [draft.date[:10] for draft in drafts if draft.date]
    tags = Counter(tag for draft in drafts for tag in draft.tags)
    if not as_json:
        _preview(name, planned, dates, tags)
    asked = not yes and not as_json and bool(planned.notes) and sys.stdin.isatty()
    if asked:
        yes = typer.confirm("Write them?", default=False, err=True)
    written = write(state.vault, planned) if yes and planned.notes else 0
    if as_json:
        print_json(
            {
                "format": name,
                "into": planned.folder.relative_to(state.vault).as_posix(),
                "new": len(planned.notes),
                "known": planned.known,
                "written": written,
                "dates": [min(dates), max(dates)] if dates else None,
                "tags": dict(tags.most_common()),
                "notes": [path.as_posix() for path, _ in planned.notes],
            }
        )
    elif written:
        out.print(
            f"{many(written, 'note is', 'notes are')} in the vault, learned with the next round: "
            "under `vaultgpt serve` in a night that finds "
            f"{load_settings(state.config).schedule.nightly_words:,} new words, or sooner with "
            "`vaultgpt train`.",
            markup=False,
        )
    elif planned.notes:
        out.print("Nothing was written; --yes writes them.", markup=False)


def _preview(name: str, planned: Preview, dates: list[str], tags: Counter[str]) -> None:
    total = len(planned.notes) + planned.known
    days = sorted({*dates})
    span = f", {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    undated = f", {total - len(dates):,} without a date" if dates and len(dates) < total else ""
    source = "" if name in ("text", "folder") else f" by {_PLACES.get(name, name)}"
    out.print(f"{many(total, 'note')}{source}{span}{undated}.", markup=False)
    if tags:
        shown = ", ".join(f"{tag} ({count})" for tag, count in tags.most_common(_SHOWN))
        out.print(f"Tags: {shown}{' ...' if len(tags) > _SHOWN else ''}", markup=False)
    if planned.known:
        were = many(planned.known, "of them was", "of them were")
        out.print(f"{were} imported before.", markup=False)
    if not planned.notes:
        out.print("There is nothing new.", markup=False)
        return
    go = many(len(planned.notes), "goes", "go")
    out.print(f"{go} into {planned.folder}:", markup=False)
    for path, text in planned.notes[:_SHOWN]:
        words = count_words(text.split("\n---\n", 1)[1])
        out.print(f"  {path.name}  ({many(words, 'word')})", markup=False)
    if len(planned.notes) > _SHOWN:
        out.print(f"  and {len(planned.notes) - _SHOWN:,} more", markup=False)
