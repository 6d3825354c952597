"""The command line: assembles the commands. Each lives in its own file under commands/.

Imports no torch: `status` and its like never pay for it.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from vaultgpt import __version__
from vaultgpt.commands import (
    base,
    config,
    continue_,
    demo,
    doctor,
    export,
    forget,
    generations,
    init,
    plugin,
    remove,
    report,
    scan,
    serve,
    status,
    token,
    train,
    why,
)

app = typer.Typer(
    name="vaultgpt",
    help="Learns to write like the author of a Markdown vault, and writes on in that voice.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Everything stays on this machine."""


app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("scan")(scan.scan)
app.command("why")(why.why)
app.command("train")(train.train)
app.command("continue")(continue_.continue_)
app.command("serve")(serve.serve)
app.command("status")(status.status)
app.command("report")(report.report)
app.command("generations")(generations.generations)
app.command("activate")(generations.activate)
app.command("rollback")(generations.rollback)
app.command("forget")(forget.forget)
app.command("remove")(remove.remove)
app.command("export")(export.export)
app.command("base")(base.base)
app.command("token")(token.token)
app.command("config")(config.config)
app.add_typer(plugin.app, name="plugin")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """The entry point of the `vaultgpt` program."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    app()


if __name__ == "__main__":
    main()
