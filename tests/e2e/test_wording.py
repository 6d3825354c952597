"""What the commands print: room or none, piped, failing, as JSON; each case was once read wrong."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Run, Trained, run

Cli = Callable[..., Run]


def on_terminal(
    *args: str, home: Path, columns: int = 80, typed: str = "", more: Mapping[str, str] = {}
) -> str:
    """What a command prints on a terminal of so many columns, where this is typed."""
    master, slave = pty.openpty()
    env = {
        **os.environ,
        "VAULTGPT_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
    }
    env = {**env, "COLUMNS": str(columns), **more}
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultgpt", *args], stdout=slave, stderr=slave, stdin=slave, env=env
    )
    os.close(slave)
    os.write(master, typed.encode())
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:
        pass  # Linux: the other end has closed
    process.wait(60)
    os.close(master)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is POSIX")
def test_config_and_generations_break_no_name_at_80_columns(trained: Trained) -> None:
    shown = on_terminal("config", str(trained.vault), home=trained.home)
    assert any(
        line.strip("\x1b[0m1").startswith("training.batch_tokens  ") for line in shown.split("\n")
    )
    voices = on_terminal("generations", str(trained.vault), home=trained.home)
    assert sum("g000001" in line and "fresh" in line for line in voices.split("\n")) == 1
    wide = on_terminal("generations", str(trained.vault), home=trained.home, columns=400)
    assert "verdict" in wide.split("\n")[0]


def test_status_names_the_base_under_the_voice_that_writes_not_the_one_chosen_after(
    apart: Trained,
) -> None:
    before = apart("config", "base", "--json").json["base"]["value"]
    assert apart("config", str(apart.vault), "base", "pebble").status == 0
    told = apart("status", str(apart.vault)).out
    assert f"Writes as g000001 on {before}." in told
    assert "no voice is learned on it yet" in told


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is POSIX")
def test_no_color_is_heeded(trained: Trained) -> None:
    args = ("why", "missing.md", "--vault", str(trained.vault))
    assert "\x1b[1;31m" in on_terminal(*args, home=trained.home)
    assert "\x1b[1;31m" not in on_terminal(*args, home=trained.home, more={"NO_COLOR": "1"})


def test_piped_output_is_plain_a_line_a_row(trained: Trained) -> None:
    done = trained("config", str(trained.vault))
    assert "\x1b" not in done.out
    row = next(line for line in done.out.splitlines() if line.startswith("training.threads"))
    assert row.startswith("training.threads  1  (default 0)  ")


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_leaves_is_no_error(trained: Trained, more: tuple[str, ...]) -> None:
    """As `| head` does, before anything was written."""
    env = {**os.environ, "VAULTGPT_HOME": str(trained.home), "PYTHONPATH": str(ROOT)}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "vaultgpt", "config", str(trained.vault), *more],
        env=env,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode == 0 and done.stderr == ""


def test_an_unknown_key_gets_a_suggestion(trained: Trained) -> None:
    for wrong, right in (
        ("mirror.temprature", "mirror.temperature"),
        ("temperature", "mirror.temperature"),
        ("training.bach_tokens", "training.batch_tokens"),
    ):
        done = trained("config", str(trained.vault), wrong)
        assert done.status == 2 and f"Did you mean {right}" in done.err, done.err


def test_json_on_failure_is_one_object_with_message_hint_and_code(cli: Cli) -> None:
    done = cli("status", "--json")
    assert done.status == 1 and done.err == ""
    assert done.json == {
        "error": {
            "message": "No vault is set up yet.",
            "hint": "Run `vaultgpt init VAULT`.",
            "code": "not_found",
        }
    }
    assert cli("init", "missing", "--json").json["error"]["code"] == "vault"


def test_vault_may_be_given_by_option_long_or_short_everywhere(trained: Trained) -> None:
    vault = str(trained.vault)
    for args in (("status",), ("scan",), ("generations",), ("token",), ("config",), ("logs",)):
        assert trained(*args, "--vault", vault).status == trained(*args, "-v", vault).status == 0
    assert trained("init", "-v", vault, "--no-plugin").status == 0


def test_serve_says_in_one_line_of_json_where_it_listens_and_a_taken_port_in_words(
    trained: Trained,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = trained("serve", str(trained.vault), "--port", str(port))
    assert done.status == 2 and f"Port {port} is in use by another program." in done.err
    env = {**os.environ, "VAULTGPT_HOME": str(trained.home), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultgpt", "serve", str(trained.vault), "--json"],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        assert told["url"] == f"http://127.0.0.1:{told['port']}" and told["pid"] == process.pid
        lines = trained("logs", str(trained.vault), "--json").json["lines"]
        assert lines and lines[-1].endswith("listening")
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_counts_agree_in_number_and_reasons_are_words(cli: Cli, tmp_path: Path) -> None:
    vault = tmp_path / "v"
    (vault / ".obsidian").mkdir(parents=True)
    (vault / ".obsidian" / "app.json").write_text('{"userIgnoreFilters": ["old/"]}')
    (vault / "old").mkdir()
    for place in ("old/a.md", "old/b.md", "one.md"):
        (vault / place).write_text("It rained all day, and we stayed in and read. " * 3)
    assert cli("init", str(vault), "--no-plugin").status == 0
    status = cli("status", str(vault)).out
    assert "3 notes, 30 words; 1 note is new." in status and "No daemon runs" in status
    scan = cli("scan", str(vault)).out
    assert "2  that Obsidian excludes" in scan and "2 obsidian" not in scan


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_vault_or_root_that_can_not_be_written_is_no_bug(cli: Cli, tmp_path: Path) -> None:
    vault = tmp_path / "v"
    (vault / ".obsidian").mkdir(parents=True)
    (vault / "a.md").write_text("Hello there, it rained.")
    (vault / ".obsidian").chmod(0o500)
    done = cli("init", str(vault))
    assert done.status == 0 and "nothing can be written" in done.out and "Errno" not in done.out


def test_a_state_folder_that_can_not_be_made_is_said_without_calling_it_a_bug(
    cli: Cli, tmp_path: Path
) -> None:
    vault = tmp_path / "v"
    vault.mkdir()
    (tmp_path / "home").write_text("a file where the state root should be")
    done = cli("init", str(vault))
    assert done.status == 1 and "bug" not in done.err and str(tmp_path / "home") in done.err
    assert "VAULTGPT_HOME" in done.err


def test_an_erased_voice_is_said_so_and_not_called_damaged(apart: Trained) -> None:
    from vaultgpt.ledger import Ledger
    from vaultgpt.state import VaultState

    folder = next((apart.home / "vaults").iterdir())
    with Ledger.open(VaultState(apart.vault, folder)) as ledger:
        path = next(e.path for e in ledger.entries.all() if not e.held_out)
        ledger.forgotten.add(path, 0.0)
        ledger.generations.set_status("g000001", "erased")
    done = apart("activate", str(apart.vault), "g000001")
    assert done.status == 1 and "learned a note that was forgotten" in done.err
    assert "manifest" not in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="the pretended systemctl is Linux's")
def test_init_asks_last_whether_to_serve_from_login_on(tmp_path: Path) -> None:
    """1. init on a terminal, n. 2. Again, y, with a systemctl that says yes to all. 3. Again."""
    vault, programs = tmp_path / "v", tmp_path / "bin"
    vault.mkdir()
    programs.mkdir()
    (vault / "a.md").write_text("It rained all day, and we stayed in and read.")
    (programs / "systemctl").write_text("#!/bin/sh\necho active\n")
    (programs / "systemctl").chmod(0o755)
    more = {"PATH": f"{programs}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    unit = tmp_path / "config" / "systemd" / "user" / "vaultgpt.service"
    args, home = ("init", str(vault), "--no-plugin"), tmp_path / "home"
    shown = on_terminal(*args, home=home, typed="n\n", more=more)
    assert "at every login" in shown.rstrip().splitlines()[-1] and not unit.exists()
    assert "runs." in on_terminal(*args, home=home, typed="y\n", more=more) and unit.exists()
    assert f'ExecStart="{sys.executable}" "-P" "-m" "vaultgpt"' in unit.read_text()
    assert "at every login" not in on_terminal(*args, home=home, more=more), "it is installed"
    assert "at every login" not in run(*args, home=home, limit_s=60).out


def test_a_pause_is_told_once_and_no_step_contradicts_it(cli: Cli, tmp_path: Path) -> None:
    vault = tmp_path / "Vault"
    vault.mkdir()
    (vault / "a.md").write_text("I walked to the river and it was low. " * 300)
    assert cli("init", str(vault), "--no-plugin").status == 0
    assert cli("forget", str(vault / "a.md"), "--yes").status == 0
    (secret,) = tmp_path.rglob("secret")
    secret.unlink()
    told = cli("status", str(vault)).out
    assert told.count("is missing") == 1 and "Next step" not in told


def test_what_is_typed_slightly_wrong_is_answered_with_what_was_meant(
    cli: Cli, tmp_path: Path
) -> None:
    """1. A vault that nothing was learned of. 2. A note's name with a letter missing, a voice by
    its number, a text. 3. A vault inside it, by a slip. Result: each sentence says what to type."""
    vault = tmp_path / "notes"
    (vault / "Journal").mkdir(parents=True)
    (vault / "Journal" / "Heron.md").write_text("I saw the heron again at the pool today.\n")
    assert cli("init", str(vault)).status == 0
    told = cli("why", "Hern", "--vault", str(vault))
    assert told.status == 1 and "Did you mean Journal/Heron.md?" in told.err
    assert "called g000001" in cli("activate", str(vault), "3").err
    written = cli("continue", str(vault), "--text", "The heron", "--max-tokens", "2")
    assert written.status == 0 and "Nothing has been learned yet" in written.err
    (vault / "Herons.md").symlink_to("nowhere.md")
    near = cli("why", "Herons.md", "--vault", str(vault)).err
    assert "Did you mean Journal/Heron.md?" in near, "not the link itself, which leads nowhere"
    if hasattr(os, "mkfifo"):
        os.mkfifo(vault / "Heronn.md")
        near = cli("why", "Heronn.md", "--vault", str(vault)).err
        assert "Did you mean Journal/Heron.md?" in near, "not the pipe itself, which is no note"
    assert "Journal is a folder. Give one note" in cli("forget", "Journal", "--yes").err
    assert "There is no voice" in cli("activate", "g000009", str(vault)).err
    both = cli("continue", "--note", "Journal/Heron.md", "--text", "x")
    assert both.status == 2 and "can't be given together" in both.err
    inner = vault / "Journal"
    assert f"vaultgpt remove {inner}" in cli("init", str(inner)).err
    assert "--vault VAULT" in cli("status").err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a shell's and Linux's")
@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_a_stream_that_is_closed_or_takes_nothing_brings_no_traceback(
    cli: Cli, tmp_path: Path, streams: str
) -> None:
    """1. A vault. 2. Commands whose answer can't be written, and one that reads what was closed.
    Result: a closed stream is as /dev/null; one that is full is an error of one line."""
    vault = tmp_path / "notes"
    vault.mkdir()
    (vault / "Heron.md").write_text("I saw the heron again at the pool today.\n")
    assert cli("init", str(vault)).status == 0
    asked = {
        "status": ["status", str(vault), "--json"],
        "why": ["why", str(vault / "Hern"), "--json"],
        "continue": ["continue", str(vault), "--text", "-", "--max-tokens", "2", "--json"],
    }
    full = streams == ">/dev/full"
    for name, words in asked.items():
        line = f'exec "$0" -m vaultgpt "$@" {streams}' + (" <&-" if name == "continue" else "")
        done = subprocess.run(
            ["sh", "-c", line, sys.executable, *words],
            env={**os.environ, "VAULTGPT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr and "unexpected" not in done.stdout + done.stderr
        assert done.returncode == (full or name == "why"), (name, done.stderr)
        assert done.stderr.count("error:") == full, (name, done.stderr)
