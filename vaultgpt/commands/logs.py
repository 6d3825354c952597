"""`vaultgpt logs`: what the daemon did, from its log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    locate,
    out,
    print_json,
)

_LOOK_S = 0.5


@command("Upkeep")
def logs(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the last lines of the daemon's log. It holds no word of your notes."""
    show_log(locate(vault or vault_argument).logs / "daemon.log", lines, follow, as_json)


def show_log(path: Path, lines: int, follow: bool, as_json: bool) -> None:
    """The last lines of a log, and what comes to it."""
    known = _lines(path)
    shown = known[-lines:] if lines else []
    if as_json:
        print_json({"file": str(path), "lines": shown})
        return
    if not known:
        out.print("Nothing is logged yet: nothing has run here.", markup=False)
    for line in shown:
        out.print(line, markup=False)
    while follow:
        time.sleep(_LOOK_S)
        now = _lines(path)
        if len(now) < len(known):  # a new file was begun
            known = []
        for line in now[len(known) :]:
            out.print(line, markup=False)
        known = now


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
