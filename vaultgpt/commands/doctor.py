"""`vaultgpt doctor`: looks at everything that can be wrong and says the mend."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultgpt.checkup import Finding, check_machine, check_vault
from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    locate,
    out,
    print_json,
)
from vaultgpt.errors import NotFound
from vaultgpt.state import known_vaults


@command
def doctor(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    as_json: JsonOption = False,
    mend: Annotated[bool, typer.Option("--mend", help="Mend what can be mended safely.")] = False,
) -> None:
    """Check this machine and the vault's state; every finding says what to do."""
    findings = check_machine()
    try:
        state = locate(vault or vault_argument)
    except NotFound as error:
        if vault or vault_argument or not known_vaults():
            findings.append(Finding("vault", False, error.message, error.mend))
        else:
            findings.append(Finding("vault", True, "Several vaults are set up.", error.mend))
    else:
        findings += check_vault(state, mend)
    healthy = all(f.ok for f in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": [vars(f) for f in findings]})
    else:
        for f in findings:
            mark = "[green]ok[/]  " if f.ok else "[red]mend[/]"
            out.print(f"{mark} {f.name}: ", end="")
            out.print(f"{f.message} {'' if f.ok else f.mend}".strip(), markup=False)
    if not healthy:
        raise typer.Exit(1)
