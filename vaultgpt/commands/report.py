"""`vaultgpt report`: how well it sounds like the author, from pages it never saw."""

from __future__ import annotations

from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    locate,
    out,
    print_json,
)
from vaultgpt.overview import last_report
from vaultgpt.wording import report_sentences


@command
def report(
    vault_argument: VaultArgument = None, vault: VaultOption = None, as_json: JsonOption = False
) -> None:
    """Tell how well the active generation sounds like you, by tag and by year."""
    state = locate(vault or vault_argument)
    answer = last_report(state)
    if as_json:
        print_json(answer)
    else:
        for sentence in report_sentences(answer):
            out.print(sentence, markup=False)
