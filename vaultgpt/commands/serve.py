"""`vaultgpt serve [--port P]`, `serve --all`: the daemon in the foreground."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vaultgpt.commands.become_daemon import ToServe, begin
from vaultgpt.commands.common import JsonOption, VaultArgument, VaultOption, command, locate
from vaultgpt.errors import UsageError
from vaultgpt.tasks.service import log_path


@command("Write")
def serve(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Port to listen on; any free one by default."
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every known vault, each in a process of its own.")
    ] = False,
    home: Annotated[Path | None, typer.Option("--home", hidden=True)] = None,
    as_json: JsonOption = False,
    checks: Annotated[bool, typer.Option("--check", hidden=True)] = False,
) -> None:
    """Watch the vault, learn at night, and answer on 127.0.0.1 until Ctrl-C."""
    if checks:  # asked by who runs before an upgrade, and knows no module of this version
        import vaultgpt.daemon.every  # noqa: F401

        return
    if home is not None:  # a task of Windows has no environment of its own
        os.environ["VAULTGPT_HOME"] = str(home)
    logs = str(log_path().parent)
    if every:
        if vault or vault_argument or port is not None:
            raise UsageError("--all takes neither a vault nor a port.")
        begin(ToServe(None, None, as_json, logs))
        return
    state = locate(vault or vault_argument)
    begin(ToServe(str(state.vault), port, as_json, logs))
