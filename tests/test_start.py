"""What a start imports: the help and the names of all commands cost none of what they do."""

from __future__ import annotations

import subprocess
import sys

from vaultgpt import cli

HEAVY = {"numpy", "pydantic", "sqlite3", "torch", "vaultgpt.ledger", "vaultgpt.tasks"}


def test_the_help_is_read_from_the_source_and_imports_no_command() -> None:
    code = "import sys; from vaultgpt.cli import _assembled; _assembled(''); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(said.stdout.split())


def test_the_help_names_what_there_is() -> None:
    commands = [(i.name, i.rich_help_panel, i.help) for i in cli.app.registered_commands]
    assert commands == [
        (i.name, i.rich_help_panel, i.help) for i in cli._assembled("").registered_commands
    ]
    assert {"scan", "train", "continue", "status", "rollback"} <= {name for name, _, _ in commands}
    groups = [group.name for group in cli.app.registered_groups]
    assert groups == [group.name for group in cli._assembled("").registered_groups]
    for name in ("status", "continue", "service"):
        whole = {i.name: i.callback for i in cli.app.registered_commands}
        alone = {i.name: i.callback for i in cli._assembled(name).registered_commands}
        assert name not in whole or alone[name] is whole[name]
