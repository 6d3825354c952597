"""`vaultgpt open`: the page of one's voice, in the browser."""

from __future__ import annotations

import webbrowser
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
from vaultgpt.tasks.page import OPEN
from vaultgpt.tasks.vault_service import vault_service


@command("Learn")
def open_(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it; else only say the link.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Show the page of your voice: how it sounds, what it learned, and a box to try it."""
    link = vault_service(locate(vault or vault_argument)).ask(OPEN, None)
    if as_json:
        print_json(link)
    elif not (browser and webbrowser.open(link["url"])):
        out.print(link["url"], markup=False)
        out.print(f"It opens once, within {link['seconds']} s.", style="dim", markup=False)
    else:
        out.print("Opened in your browser.", markup=False)
