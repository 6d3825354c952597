"""What a start imports: the help and the names of all commands cost none of what they do."""

from __future__ import annotations

import subprocess
import sys

from vaultgpt import cli

HEAVY = {"numpy", "pydantic", "sqlite3", "torch", "vaultgpt.ledger", "vaultgpt.tasks"}


def imported_for(command: str) -> set[str]:
    """The modules that are there when `command` begins."""
    code = f"import sys, vaultgpt.cli as c; c._assembled({command!r}); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(said.stdout.split())


def test_the_help_is_read_from_the_source_and_imports_no_command() -> None:
    assert not HEAVY & imported_for("")


def test_a_status_that_a_daemon_answers_imports_no_ledger() -> None:
    there = imported_for("status")
    assert "vaultgpt.tasks.status" in there
    assert not {"numpy", "filelock", "regex", "vaultgpt.bases", "psutil"} & there


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
