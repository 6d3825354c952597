"""`vaultgpt serve [--port P]`: the daemon in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultgpt.commands.common import VaultArgument, VaultOption, command, locate
from vaultgpt.config import load_settings
from vaultgpt.daemon import serve as serve_vault


@command
def serve(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Port to listen on; any free one by default."
        ),
    ] = None,
) -> None:
    """Watch the vault, learn at night, and answer on 127.0.0.1 until Ctrl-C."""
    state = locate(vault or vault_argument)
    serve_vault(state, load_settings(state.config), port)
