"""`vaultgpt vaults`: every vault that is set up, and where its state lies."""

from __future__ import annotations

from vaultgpt.commands.common import JsonOption, command, out, print_json
from vaultgpt.tasks.vaults import VaultRow, all_vaults


@command("Upkeep")
def vaults(as_json: JsonOption = False) -> None:
    """List the vaults that are set up, those whose folder is gone too."""
    found = all_vaults()
    if as_json:
        print_json(found)
        return
    if not found["vaults"]:
        out.print("No vault is set up yet: `vaultgpt init VAULT`.", markup=False)
    for row in found["vaults"]:
        out.print(row["vault"], style="bold", markup=False)
        out.print(f"  {_facts(row)}", markup=False)
        out.print(f"  {row['state']}", style="dim", markup=False)
    for folder in found["strays"]:
        out.print(f"{folder} belongs to no vault: `vaultgpt remove {folder}`.", markup=False)


def _facts(row: VaultRow) -> str:
    if not row["there"]:
        return (
            f"Its folder is gone. If it moved: `vaultgpt init NEW --adopt {row['vault']}`; to "
            f"erase what was learned: `vaultgpt remove {row['vault']}`."
        )
    facts = [f"serves as process {row['daemon']}"] if row["daemon"] else []
    if row["notes"] is None:
        return ", ".join([*facts, "its ledger can't be read"]) + ": `vaultgpt doctor` says why."
    facts.append(f"{row['notes']:,} note{'s' * (row['notes'] != 1)}, {row['words']:,} words")
    facts.append(f"writes as {row['writes'] or 'the base alone, without your voice'}")
    return ", ".join(facts) + "."
