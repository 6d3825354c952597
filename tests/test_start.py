"""What a start imports: the help and the names of all commands cost none of what they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vaultgpt import cli
from vaultgpt.ledger import Ledger
from vaultgpt.settings import Rules
from vaultgpt.state import create_state

HEAVY = {"numpy", "pydantic", "sqlite3", "torch", "vaultgpt.ledger", "vaultgpt.tasks"}


def imported_for(command: str) -> set[str]:
    """The modules that are there when `command` begins."""
    code = f"import sys, vaultgpt.cli as c; c._assembled({command!r}); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(said.stdout.split())


def test_the_help_is_read_from_the_source_and_imports_no_command() -> None:
    assert not HEAVY & imported_for("")


@pytest.mark.parametrize("module", ["typer", "pydantic"])
def test_ctrl_c_before_a_command_begins_is_one_word_and_130(module: str, tmp_path: Path) -> None:
    """1. What the program, or what the command `scan`, imports is interrupted."""
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    said = subprocess.run(
        [sys.executable, "-m", "vaultgpt", "scan"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "VAULTGPT_HOME": str(tmp_path)},
    )
    assert (said.returncode, said.stdout, said.stderr) == (130, "", "Interrupted.\n")


def test_letters_that_the_terminal_lacks_are_replaced(tmp_path: Path) -> None:
    """1. A vault. 2. `why` of a note with Japanese in it, on a terminal of ASCII. 3. As JSON.

    Result: a question mark for what can't be shown; JSON loses nothing.
    """
    note = tmp_path / "Vault" / "note.md"
    note.parent.mkdir()
    note.write_text("Ich dachte an 霧 und an die Wiesen.", encoding="utf-8")
    root, home = str(Path(__file__).parent.parent), str(tmp_path / "home")
    env = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": root, "VAULTGPT_HOME": home}
    why, init = ["why", str(note)], ["init", str(note.parent), "--no-plugin"]
    outputs = []
    for args in (init, why, [*why, "--json"]):
        said = subprocess.run(
            [sys.executable, "-m", "vaultgpt", *args],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            env={**os.environ, **env},
        )
        assert said.returncode == 0, said.stderr
        outputs.append(said.stdout)
    assert b"Ich dachte an ? und an die Wiesen." in outputs[1]
    assert json.loads(outputs[2])["text"] == note.read_text(encoding="utf-8")


def test_a_status_that_a_daemon_answers_imports_no_ledger() -> None:
    there = imported_for("status")
    assert "vaultgpt.tasks.status" in there
    assert not {"numpy", "filelock", "regex", "vaultgpt.bases", "psutil", "pydantic"} & there


PLAIN = ("status", "generations")


def test_typer_reads_no_command_that_is_given_a_vault_and_json_alone() -> None:
    """It would import pydantic, of which `status` has no need, and take as long as all else."""
    given: dict[tuple[str, ...], dict[str, Any]] = {
        (): {},
        ("--json",): {"as_json": True},
        ("here", "--json"): {"vault_argument": Path("here"), "as_json": True},
        ("-v", "there"): {"vault": Path("there")},
        ("here", "--vault", "there"): {"vault_argument": Path("here"), "vault": Path("there")},
    }
    for command in PLAIN:
        for words, taken in given.items():
            run: Any = cli._plainly(command, words)
            assert run.keywords == taken
    for other in (("--help",), ("-h",), ("a", "b"), ("-v",), ("--vault", "--json"), ("--vault=a",)):
        assert cli._plainly("status", other) is None
    assert all(cli._plainly(command, ()) is None for command in ("scan", "service", "init", "no"))


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


def imported_by(code: str, home: Path) -> set[str]:
    """What is imported once `code` has run."""
    said = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "VAULTGPT_HOME": str(home)},
    )
    return set(said.stdout.splitlines()[-1].split())


RUN = "from vaultgpt import cli\nsys.argv[1:] = {!r}\ntry:\n    cli.main()\nexcept SystemExit: pass"


def test_what_only_looks_imports_nothing_of_what_learns_reads_or_serves(tmp_path: Path) -> None:
    vault, home = tmp_path / "vault", tmp_path / "home"
    vault.mkdir()
    (vault / "note.md").write_text("Rain fell on the harbour all night.\n", encoding="utf-8")
    made = f"from vaultgpt.state import create_state, Path\ncreate_state(Path({str(vault)!r}))"
    imported_by(made, home)
    imported_by(RUN.format(["scan", str(vault), "--json"]), home)  # records, and tells the language
    looked = {
        "status": imported_by(RUN.format(["status", str(vault), "--json"]), home),
        "scan": imported_by(RUN.format(["scan", str(vault), "--json"]), home),
    }
    for there in looked.values():
        assert "vaultgpt.ledger.following" in there  # the ledger was asked
        assert not {"numpy", "tokenizers", "torch", "aiohttp", "psutil", "yaml"} & there
        assert not {"vaultgpt.vault.note", "vaultgpt.bases.hub", "vaultgpt.workers"} & there
    assert not {"vaultgpt.vault.reconcile", "pydantic", "http.client", "ssl"} & looked["status"]
    assert not {"vaultgpt.bases", "vaultgpt.training", "http.client"} & looked["scan"]


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the folder that somebody is in")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("--version", 0, "0."),
        ("status", 0, "1 note"),
        ("status VAULT --json", 0, '"notes": 1'),
        ("why note.md", 0, "Written by hand"),
        ("config mirror.temperature", 0, "mirror.temperature"),
        (
            "status elsewhere",
            1,
            "error: The current folder is gone. Go to one that is there (`cd`).",
        ),
        ("init elsewhere", 1, "error: The current folder is gone. Go to one that is there (`cd`)."),
    ],
)
def test_where_the_current_folder_is_gone_all_works_that_does_not_need_it(
    tmp_path: Path, arguments: str, status: int, said: str
) -> None:
    """1. The folder that a terminal stands in is deleted. 2. A command."""
    vault = tmp_path / "Vault"
    vault.mkdir()
    (vault / "note.md").write_text("Written by hand.", encoding="utf-8")
    with Ledger.open(create_state(vault)) as ledger:
        ledger.follow(Rules(), 1e9)
    begin = (
        "import os, sys, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d); "
        "from vaultgpt.cli import main; main()"
    )
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", begin, *arguments.replace("VAULT", str(vault)).split()],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (done.returncode, said in done.stdout + done.stderr) == (status, True), done


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["--version", "status --help", "vaults", "vaults --json"])
def test_a_full_standard_output_is_told_as_such(arguments: str, unbuffered: str) -> None:
    """1. Standard output goes where there is no room. Result: nothing blames the state's disk."""
    root = str(Path(__file__).parent.parent)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vaultgpt", *arguments.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": root, "PYTHONUNBUFFERED": unbuffered},
        )
    said = "error: Standard output can't be written to: No space left on device.\n"
    assert (done.returncode, done.stderr) == (1, said)
