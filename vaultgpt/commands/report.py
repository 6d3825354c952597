"""`vaultgpt report`: how well it sounds like the author, from pages it never saw."""

from __future__ import annotations

from pathlib import Path
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
from vaultgpt.errors import Conflict
from vaultgpt.ledger import Ledger
from vaultgpt.report.plot import check_plot, draw, series
from vaultgpt.tasks.report import MEASURE, REPORT, ReportAnswer
from vaultgpt.tasks.vault_service import VaultService, vault_service


@command("Learn")
def report(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only what is known already; measure nothing.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw bits per byte by voice, by tag and of new notes (.png or .svg).",
        ),
    ] = None,
    changes: ChangesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how well the voice that writes sounds like you, by tag and by year."""
    if plot is not None:
        check_plot(plot)
    state = locate(vault or vault_argument)
    service = vault_service(state, changes or ())
    answer = service.ask(REPORT, None)
    with Ledger.open(state) as ledger:
        writes = ledger.generations.writing()
        if plot is not None:
            draw(plot, series(ledger))
    if writes and answer["generation"] == writes and answer["voice"] is None and not quick:
        answer = _measured(service, answer)
    if as_json:
        print_json(answer)
        return
    for sentence in answer["sentences"]:
        out.print(sentence, markup=False)
    if plot is not None:
        err.print(f"Drawn: {plot}", markup=False)


def _measured(service: VaultService, known: ReportAnswer) -> ReportAnswer:
    """The report with its voice; what is known already while a round is under way."""
    err.print("Measuring how it writes; this takes about a minute.", markup=False)
    try:
        with progress() as bar:
            return service.ask(MEASURE, None, show_on(bar))
    except Conflict as error:
        err.print(f"Not measured now: {error}", markup=False)
        return known
