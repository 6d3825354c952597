"""`vaultgpt service install|uninstall|status|logs`: all known vaults served from login on."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultgpt.commands.common import JsonOption, guarded, out, print_json
from vaultgpt.commands.logs import show_log
from vaultgpt.tasks.service import ServiceState, install, log_path, status, uninstall

app = typer.Typer(help="Serve all known vaults from login on.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Serve all known vaults from login on."""


def _told(answer: ServiceState, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    out.print(answer["sentence"], markup=False)
    if answer["installed"]:
        out.print(f"Its unit is {answer['unit']}", style="dim", markup=False)


@app.command("install")
@guarded
def _install(as_json: JsonOption = False) -> None:
    """Write the unit for this installation and start it; an older one is replaced."""
    _told(install(), as_json)


@app.command("uninstall")
@guarded
def _uninstall(as_json: JsonOption = False) -> None:
    """Stop the service and take its unit away. What was learned stays."""
    _told(uninstall(), as_json)


@app.command("status")
@guarded
def _status(as_json: JsonOption = False) -> None:
    """Say whether it is installed and runs."""
    _told(status(), as_json)


@app.command("logs")
@guarded
def _logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the last lines of the service's own log; each vault's is `vaultgpt logs VAULT`."""
    show_log(log_path(), lines, follow, as_json)
