"""`vaultgpt doctor`: looks at everything that can be wrong and says the mend."""

from __future__ import annotations

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
from vaultgpt.errors import NotFound, Unavailable
from vaultgpt.state import known_vaults
from vaultgpt.tasks.bug_report import write_report
from vaultgpt.tasks.doctor import Finding, check_machine, check_places, check_vault


@command("Upkeep")
def doctor(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    as_json: JsonOption = False,
    mend: Annotated[bool, typer.Option("--mend", help="Mend what can be mended safely.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write a file for a bug report: no words, no names.")
    ] = False,
) -> None:
    """Check this machine and the vault's state; every finding says what to do."""
    findings = check_machine()
    given, every, state = vault or vault_argument, False, None
    try:
        findings += check_vault(state := locate(given), mend)
    except NotFound as error:
        if given or not known_vaults():
            findings.append(Finding("vault", False, error.message, error.mend))
        else:
            every = True
    except Unavailable as error:
        findings.append(Finding("state", False, error.message, error.mend))
    findings += check_places(every)
    healthy = all(f.ok for f in findings)
    written = write_report(state, findings, Path.cwd()) if report else None
    if as_json:
        told = {"healthy": healthy, "findings": [vars(f) for f in findings]}
        print_json(told | ({"report": str(written)} if written else {}))
    else:
        for f in findings:
            mark = "[green]ok[/]  " if f.ok else "[red]mend[/]"
            out.print(f"{mark} {f.name}: ", end="")
            out.print(f"{f.message} {'' if f.ok else f.mend}".strip(), markup=False)
        if written:
            out.print(
                f"{written} holds versions, settings, counts and times, no words and no names."
            )
    if not healthy:
        raise typer.Exit(1)
