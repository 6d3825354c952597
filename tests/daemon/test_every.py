"""`serve --all`: every known vault is served, one that dies comes again, all end when told to."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.daemon.serving import ROOT, wait_for
from vaultgpt.daemon import every as module
from vaultgpt.daemon.every import _Every
from vaultgpt.daemon.serving import _lock
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.client import DaemonClient
from vaultgpt.tasks.vault_service import find_daemon, read_runtime


def vault(tmp_path: Path, name: str) -> VaultState:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "a.md").write_text("It rained all day, and we stayed in and read.")
    return create_state(folder)


def serving(state: VaultState) -> DaemonClient:
    """The vault's daemon, once it answers."""
    found: DaemonClient = wait_for(lambda: find_daemon(state), 60)
    return found


def answer(port: int, token: str) -> int:
    """The HTTP status that a token gets there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/v1/status", headers={"Authorization": f"Bearer {token}"})
    return connection.getresponse().status


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_two_vaults_are_served_one_is_killed_a_third_comes_and_all_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Two vaults write. 2. One's daemon is killed. 3. A third vault is set up. 4. SIGTERM.

    Result: both write in one engine, and each opens to its own token alone; the killed one comes
    again, the other writes on meanwhile; the third is served; no process is left.
    """
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    first, second = vault(tmp_path, "first"), vault(tmp_path, "second")
    logs = tmp_path / "home" / "logs"
    process = all_served(tmp_path)
    try:
        served = [serving(state) for state in (first, second)]
        pids, asked = [client.pid for client in served], {"prompt": "It rained", "max_tokens": 4}
        for client in served:
            assert client.post("/v1/completions", asked)["choices"][0]["text"]
        engines = [client.get("/v1/status")["worker"]["pid"] for client in served]
        assert engines[0] == engines[1] and psutil.Process(engines[0]).ppid() == process.pid
        for client, status in ((served[0], 200), (served[1], 401)):
            assert answer(served[0].port, client.token) == status
        os.kill(pids[0], signal.SIGKILL)
        assert served[1].post("/v1/completions", asked)["choices"][0]["text"]
        assert served[1].get("/v1/status")["worker"]["pid"] == engines[1]

        def again() -> int | None:
            found = read_runtime(first)
            return found.pid if found and found.pid != pids[0] else None

        assert wait_for(again, 60)
        third = vault(tmp_path, "third")
        assert serving(third)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        process.terminate()
        assert process.wait(20) == 0
        assert not [c for c in children if c.is_running() and c.status() != "zombie"]
    finally:
        process.kill()
        process.communicate()
    log = (logs / "service.log").read_text()
    assert "ended with status -9" in log and log.rstrip().endswith("stopped")
    assert str(tmp_path / "first") not in log, "a log names no vault"


BOOT = (
    "import sys; from pathlib import Path; from vaultgpt.daemon import every; "
    "every.PAUSE_S = 0.5; every._KNOWN_S = 0.5; every.serve_all(Path(sys.argv[1]), print)"
)


def all_served(tmp_path: Path) -> subprocess.Popen[str]:
    """`serve --all`, which looks more often."""
    return subprocess.Popen(
        [sys.executable, "-c", BOOT, str(tmp_path / "home" / "logs")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_killed_supervisor_s_daemons_leave_and_the_next_one_serves_their_vaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Two vaults are served. 2. A second `serve --all`. 3. The first is killed. 4. Another one.

    Result: the second is refused in a sentence and disturbs nothing; daemons and engine leave with
    the killed one; the next one's daemons serve.
    """
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    states = [vault(tmp_path, name) for name in ("first", "second")]
    asked = {"prompt": "It rained", "max_tokens": 4}
    first = all_served(tmp_path)
    try:
        served = [serving(state) for state in states]
        for client in served:
            assert client.post("/v1/completions", asked)["choices"][0]["text"]
        second = all_served(tmp_path)
        assert "runs already" in second.communicate(timeout=30)[1] and second.returncode
        assert [serving(state).pid for state in states] == [client.pid for client in served]
        children = psutil.Process(first.pid).children(recursive=True)
        assert len(children) >= 3
        first.kill()
        wait_for(lambda: not [c for c in children if c.is_running() and c.status() != "zombie"], 15)
        third = all_served(tmp_path)
        try:
            for state, client in zip(states, served, strict=True):
                again = serving(state)
                assert again.pid != client.pid
                assert again.post("/v1/completions", asked)["choices"][0]["text"]
        finally:
            third.terminate()
            third.communicate(timeout=30)
    finally:
        first.kill()
        first.communicate()


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_vault_that_goes_while_it_writes_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Two vaults write. 2. One's folder goes, as of a disk that is unmounted. 3. It is back.

    Result: its daemon ends, the other writes on in the same engine; it is served again.
    """
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    gone, stays = (vault(tmp_path, name) for name in ("gone", "stays"))
    asked, page = (
        {"prompt": "It rained", "max_tokens": 4},
        {"prompt": "It", "max_tokens": 4096, "n": 8},
    )
    process = all_served(tmp_path)
    try:
        clients = [serving(state) for state in (gone, stays)]
        for client in clients:
            assert client.post("/v1/completions", asked)["choices"][0]["text"]
        engine = clients[1].get("/v1/status")["worker"]["pid"]
        threads = psutil.Process(engine).num_threads()

        def write() -> None:
            with contextlib.suppress(Exception):
                clients[0].post("/v1/completions", page)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        os.rename(gone.vault, tmp_path / "elsewhere")
        wait_for(lambda: not psutil.pid_exists(clients[0].pid), 20)
        writer.join(10)
        assert not writer.is_alive()
        assert clients[1].post("/v1/completions", asked)["choices"][0]["text"]
        assert clients[1].get("/v1/status")["worker"]["pid"] == engine
        wait_for(lambda: psutil.Process(engine).num_threads() < threads)
        os.rename(tmp_path / "elsewhere", gone.vault)
        wait_for(lambda: (found := read_runtime(gone)) and found.pid != clients[0].pid, 30)
        assert serving(gone).post("/v1/completions", asked)["choices"][0]["text"]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def running(child: module._VaultDaemon) -> subprocess.Popen[bytes]:
    """Its process."""
    assert child.process is not None
    return child.process


def test_a_daemon_that_fails_again_and_again_is_left_alone_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. It fails five times, as of settings that can't be read. 2. They are mended. 3. An hour.

    Result: it is said once, nothing is started meanwhile, then it runs.
    """
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    vault(tmp_path, "first")
    monkeypatch.setattr(module, "command", lambda *_: [sys.executable, "-c", "raise SystemExit(1)"])
    said: list[str] = []
    clock = [0.0]
    every = _Every(said.append, lambda: clock[0])
    for _ in range(5):
        every.look()
        (child,) = every.children.values()
        running(child).wait(30)
        every.look()
        assert child.process is None, "not at once"
        clock[0] += 11
    every.look()
    assert child.process is None
    assert [every.gave_up, len(said)] == [True, 1]
    monkeypatch.setattr(module, "command", lambda *_: [sys.executable, "-c", "input()"])
    clock[0] += 3500
    every.look()
    assert child.process is None
    clock[0] += 100
    every.look()
    assert running(child).poll() is None
    assert [every.gave_up, len(said)] == [False, 1]
    every.stop()


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_one_that_nohup_started_outlives_its_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    only = vault(tmp_path, "only")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which a child inherits
    process = all_served(tmp_path)
    signal.signal(signal.SIGHUP, before)
    try:
        pid = serving(only).pid
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        assert serving(only).pid == pid
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_a_vault_whose_drive_dies_ends_no_other_s_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unplug: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    dies, lives = (vault(tmp_path, name) for name in ("dies", "lives"))
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    monkeypatch.setattr(module, "command", lambda *_: sleeper)
    every = _Every(print)
    every.look()
    process = running(every.children[lives.vault])
    unplug(dies.vault)
    every.look()
    assert list(every.children) == [lives.vault] and process.poll() is None
    every.stop()


def test_a_vault_that_has_a_daemon_from_a_terminal_is_served_once_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A daemon has the vault's lock for a long time. 2. It ends.

    Result: nothing is started, nothing failed; then ours is.
    """
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    state, clock, said = vault(tmp_path, "first"), [0.0], list[str]()
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    monkeypatch.setattr(module, "command", lambda *_: sleeper)
    every = _Every(said.append, lambda: clock[0])
    held = _lock(state)
    for _ in range(8):
        every.look()
        clock[0] += 11
    (child,) = every.children.values()
    assert child.process is None and not every.gave_up and not said
    held.release()
    every.look()
    assert running(child).poll() is None
    every.stop()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="wake-ups are told by /proc")
def test_it_sleeps_while_nothing_happens_and_looks_for_an_upgrade_for_a_while_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A vault is served. 2. Its daemon is killed and comes again. 3. Four quiet seconds.
    4. SIGTERM.

    Result: our own code is looked at soon after the failure, and not for ever; in quiet nothing
    wakes it but the look at what vaults there are, every five seconds; told to stop, it does.
    """
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    state = vault(tmp_path, "first")
    boot = (
        "import sys; from pathlib import Path; from vaultgpt.daemon import every; "
        "every.PAUSE_S = 0.5; every._UPGRADE_S = 7.0; "
        "every._replaced = lambda: print('looked', flush=True); "
        "every.serve_all(Path(sys.argv[1]), lambda said: None)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", boot, str(tmp_path / "home" / "logs")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        os.kill(pid := serving(state).pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: (found := read_runtime(state)) and found.pid != pid, 30)
        serving(state)
        wait_for(lambda: time.monotonic() - killed > 9, 30)
        before = wakes(process.pid)
        time.sleep(4.0)
        assert wakes(process.pid) - before <= 6
        began = time.monotonic()
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and time.monotonic() - began < 8
    assert 2 <= said.count("looked") <= 20


def wakes(pid: int) -> int:
    """How often its main thread gave the processor up by itself."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary"))


@pytest.mark.skipif(os.name != "posix", reason="no such sockets there")
def test_a_folder_that_another_supervisor_sweeps_as_it_starts_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    real, swept = module._hold, list[str]()

    def hold(folder: str) -> int | None:
        if len(swept) < 2:
            swept.append(folder)
            os.rmdir(folder)
        return real(folder)

    monkeypatch.setattr(module, "_hold", hold)
    engine = module._SharedEngine()
    try:
        assert Path(engine.place).is_socket() and len(swept) == 2
    finally:
        engine.stop()
