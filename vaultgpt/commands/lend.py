"""`vaultgpt lend`: the other end of `vaultgpt train --on HOST`, started by it over ssh."""

from __future__ import annotations

import sys

from vaultgpt.children import private_stdout
from vaultgpt.commands.common import command
from vaultgpt.workers.lending import lend as lend_this_machine


@command("Upkeep")
def lend() -> None:
    """Learn for another machine over its ssh: `vaultgpt train --on` starts this there."""
    lend_this_machine(sys.stdin.buffer, private_stdout())
