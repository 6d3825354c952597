"""`vaultgpt token [--rotate]`: the API's bearer token."""

from __future__ import annotations

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


@command("Upkeep")
def token(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    rotate: Annotated[
        bool,
        typer.Option(
            "--rotate",
            help="Make a new one; the old one stops working at once, in a running daemon and on "
            "a phone too.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the token that programs on this machine use to call the daemon, or change it."""
    state = locate(vault or vault_argument)
    if rotate:
        state.rotate_phone_token()
    value = state.rotate_token() if rotate else state.token()
    if as_json:
        print_json({"token": value, "rotated": rotate})
    else:
        out.print(value, markup=False)
