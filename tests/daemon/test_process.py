"""Real daemons in real processes: their start, their end, their lock, their workers."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.daemon.serving import ROOT, SERVE, Serving, spawn, wait_for
from vaultgpt.daemon.serving import WITH_PARENT
from vaultgpt.daemon.telling import start_log, stop_log
from vaultgpt.errors import VaultGPTError
from vaultgpt.files import read_json, write_json
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState
from vaultgpt.tasks.vault_service import find_daemon

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


def test_the_supervisor_imports_nothing_that_learns_and_no_command_line() -> None:
    never = {"torch", "transformers", "peft", "tokenizers", "numpy", "typer", "rich", "yaml"}
    never |= {"regex", "tomlkit", "pathspec", "difflib"}
    code = (
        "import sys, vaultgpt.commands.become_daemon, vaultgpt.daemon.serving; "
        f"print({never} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert out.stdout.strip() == "set()"


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_where_it_listens_and_stops_cleanly_on_the_first_signal(
    state: VaultState, number: int
) -> None:
    """1. It starts. 2. A worker runs. 3. One signal.

    Result: one line without the token; private files; exit 0 soon; nothing left behind.
    """
    save_option(state.config, "training.pause", True)
    with Serving(state) as daemon:
        runtime = read_json(state.runtime)
        assert set(runtime) == {"pid", "port", "token", "version", "api", "started"}
        assert runtime["pid"] == daemon.process.pid
        assert str(runtime["port"]) in daemon.line and runtime["token"] not in daemon.line
        daemon.scanned()
        assert daemon.ask(prompt="I walked", max_tokens=3)["vaultgpt"]["generation"] == "base"
        for path in (state.runtime, state.logs / "daemon.log"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        workers = daemon.workers()
        assert workers
        status, took = daemon.stop(number)
        assert status == 0 and took < 4
        assert not state.runtime.exists() and not any(w.is_running() for w in workers)
        assert daemon.process.stdout is not None and daemon.process.stdout.read() == ""
        assert daemon.process.stderr is not None and daemon.process.stderr.read() == ""


def test_a_state_folder_that_goes_is_not_made_anew_and_is_used_when_it_is_back(
    state: VaultState,
) -> None:
    """1. Its disk is unmounted under a daemon. 2. Round, status and text are asked for. 3. It is
    mounted again. Result: nothing is written in its place, and a 503 says where it should be; the
    token counts on, and a round is looked for.
    """
    save_option(state.config, "training.pause", True)
    with Serving(state) as daemon:
        daemon.scanned()
        away = state.folder.with_name("away")
        state.folder.rename(away)
        with contextlib.suppress(VaultGPTError):
            daemon.client.post("/v1/train", {})
        assert daemon.client.get("/openapi.json")["paths"]
        for ask in (daemon.status, lambda: daemon.ask(prompt="It rained", max_tokens=3)):
            with pytest.raises(VaultGPTError, match=f"state folder {state.folder} is gone") as told:
                ask()
            assert told.value.http_status == 503 and "end its daemon" in str(told.value)
        assert not state.folder.exists()
        away.rename(state.folder)
        assert daemon.status()["notes"]
        assert daemon.client.post("/v1/train", {})["started"]


@posix
def test_one_of_several_says_of_which_vault_it_tells(
    state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. `serve --all` starts it. 2. A round. Result: the line names the vault; alone none does."""
    save_option(state.config, "training.pause", True)
    monkeypatch.setenv(WITH_PARENT, "1")
    line = [sys.executable, "-c", SERVE, str(state.vault)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, env=env) as process:
        assert process.stdout is not None and process.stdout.readline()
        wait_for(lambda: find_daemon(state)).post("/v1/train", {})
        assert f" {state.vault.name}: A round starts." in process.stdout.readline()
        process.terminate()


@posix
def test_a_second_daemon_for_the_same_vault_names_the_first_and_leaves(state: VaultState) -> None:
    with Serving(state) as daemon:
        other = spawn(state)
        _, said = other.communicate(timeout=30)
        assert other.returncode == 1
        assert str(daemon.process.pid) in said and str(daemon.client.port) in said
        assert daemon.status()["api"] == 1


@posix
def test_workers_leave_when_the_daemon_is_killed_and_the_next_daemon_starts(
    state: VaultState,
) -> None:
    """1. A worker writes. 2. The daemon is killed with SIGKILL. 3. Another starts.

    Result: the worker is gone within 2 s; the stale runtime.json and lock hinder nobody.
    """
    save_option(state.config, "training.pause", True)
    with Serving(state) as daemon:
        daemon.ask(prompt="I walked", max_tokens=3)
        workers = daemon.workers()
        daemon.connect({"prompt": "I walked", "max_tokens": 4000, "n": 8})
        daemon.process.kill()
        began = time.monotonic()
        wait_for(
            lambda: not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers),
            10,
        )
        assert time.monotonic() - began < 2.5
        assert state.runtime.exists()
    with Serving(state) as daemon:
        assert read_json(state.runtime)["pid"] == daemon.process.pid


def test_a_runtime_file_of_a_dead_process_is_nobody(state: VaultState) -> None:
    from vaultgpt.daemon.serving import _lock
    from vaultgpt.tasks.vault_service import read_runtime, remove_runtime

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_json(state.runtime, {"pid": gone.pid, "port": 1, "token": "x"})
    assert read_runtime(state) is None
    remove_runtime(state)
    assert state.runtime.exists(), "another process's file is not ours to remove"
    _lock(state).release()
    assert not state.runtime.exists()


def test_a_port_that_is_taken_is_said_in_one_line(state: VaultState) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code = (
            "import sys; from pathlib import Path; from vaultgpt.settings import Settings; "
            "from vaultgpt.daemon.serving import serve; from vaultgpt.state import find_state; "
            "serve(find_state(Path(sys.argv[1])), Settings(), int(sys.argv[2]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(state.vault), str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert "UsageError: Port" in done.stderr.strip().splitlines()[-1]
    assert not state.runtime.exists()


def test_many_vaults_are_served_side_by_side(state: VaultState, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.tiny import tiny_vault
    from vaultgpt.state import create_state

    tiny_vault(tmp_path / "other", notes=3, words=100)
    second = create_state(tmp_path / "other")
    with Serving(state) as one, Serving(second) as two:
        assert one.scanned()["notes"] == 24 and two.scanned()["notes"] == 3
        assert one.client.port != two.client.port and one.client.token != two.client.token


def test_the_log_holds_classes_and_no_words(tmp_path) -> None:  # type: ignore[no-untyped-def]
    handler = start_log(tmp_path)
    try:
        raise ValueError("dear diary")
    except ValueError:
        logging.getLogger("asyncio").exception("dear diary %s", "again")
        logging.getLogger("vaultgpt.daemon").error("round failed: %s", "ValueError")
        try:
            raise ConnectionResetError("the reader left")
        except ConnectionResetError:
            logging.getLogger("aiohttp.server").exception("Error handling request")
    finally:
        stop_log(handler)
    text = (tmp_path / "daemon.log").read_text()
    assert "diary" not in text and "asyncio ValueError" in text and "round failed" in text
    assert "aiohttp" not in text, "a client that leaves is no error"


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
def test_a_daemon_serves_though_nobody_can_be_told_where(state: VaultState) -> None:
    """1. It starts, its standard output on a full disk, as a service's may be."""
    save_option(state.config, "training.pause", True)
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(state.vault)],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        wait_for(lambda: process.poll() is not None or find_daemon(state))
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
