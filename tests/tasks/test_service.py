"""The service's unit on each system, as a file; on Linux the real systemd where it can run."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vaultgpt.errors import NotFound, VaultGPTError
from vaultgpt.tasks import service

ODD = ['/opt/my py/100%/bin/py"t$x', "-m", "vaultgpt", "serve", "--all"]


class System:
    """Stands for the system's own program: remembers what it was told, answers as it is told."""

    def __init__(self, status: int = 0, said: str = "active\n") -> None:
        self.status, self.said = status, said
        self.told: list[tuple[str, ...]] = []

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.told.append(tuple(command))
        return subprocess.CompletedProcess(list(command), self.status, self.said, "")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "config" / "systemd" / "user" / "vaultgpt.service"


def test_a_systemd_unit_starts_this_installation_and_restarts_with_a_limit(tmp_path: Path) -> None:
    text = service._systemd_unit(ODD, {"VAULTGPT_HOME": "/x y/50%"})
    unit = tmp_path / "vaultgpt.service"
    unit.write_text(text)
    assert 'Environment="VAULTGPT_HOME=/x y/50%%"' in text and "Restart=on-failure" in text
    assert "StartLimitBurst=5" in text and "WantedBy=default.target" in text
    assert service._started_program(unit) == ODD[0]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "vaultgpt.service"
    unit.write_text(service._systemd_unit([sys.executable, *ODD[1:]], {"VAULTGPT_HOME": "/x y"}))
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert "vaultgpt.service" not in done.stderr, done.stderr


def test_a_launch_agent_and_a_task_are_what_their_systems_read(tmp_path: Path) -> None:
    agent = tmp_path / "vaultgpt.plist"
    agent.write_bytes(service._launch_agent(ODD, {"VAULTGPT_HOME": "/x & y"}))
    value = plistlib.loads(agent.read_bytes())
    assert value["ProgramArguments"] == ODD and value["RunAtLoad"] is True
    assert value["EnvironmentVariables"] == {"VAULTGPT_HOME": "/x & y"}
    assert value["KeepAlive"] == {"SuccessfulExit": False}
    assert service._started_program(agent) == ODD[0]
    task = tmp_path / "service.xml"
    command = ["C:\\Program Files\\py & co\\python.exe", *ODD[1:]]
    task.write_bytes(service._task_xml(command, {"VAULTGPT_HOME": "D:\\my state"}).encode("utf-16"))
    root = ElementTree.fromstring(task.read_bytes())
    assert root.findtext(".//{*}Arguments") == ('-m vaultgpt serve --all --home "D:\\my state"')
    assert root.find(".//{*}LogonTrigger") is not None
    assert root.findtext(".//{*}RestartOnFailure/{*}Count") == "5"
    assert service._started_program(task) == command[0]


def test_installing_writes_starts_and_replaces_and_uninstalling_leaves_nothing(place: Path) -> None:
    system = System()
    told = service.install(system)
    assert told["installed"] and told["running"] and told["other"] is None
    assert place.exists() and ("systemctl", "--user", "restart", "vaultgpt") in system.told
    if os.name == "posix":
        assert place.stat().st_mode & 0o077 == 0
    place.write_text(service._systemd_unit(["/old/python", "-m", "vaultgpt"], {}))
    stale = service.status(system)
    assert stale["other"] == "/old/python" and "another installation" in stale["sentence"]
    assert service.install(system)["other"] is None
    gone = service.uninstall(system)
    assert "taken away" in gone["sentence"]
    assert not gone["installed"] and not place.exists()
    assert ("systemctl", "--user", "disable", "--now", "vaultgpt") in system.told
    with pytest.raises(NotFound):
        service.uninstall(system)


def test_a_system_that_does_not_answer_is_said_and_the_unit_stays(place: Path) -> None:
    with pytest.raises(VaultGPTError, match="could not start it"):
        service.install(System(status=1, said=""))
    assert place.exists() and not service.status(System(status=3, said="inactive"))["running"]


def _systemd_runs() -> bool:
    if not shutil.which("systemctl"):
        return False
    done = service._run(("systemctl", "--user", "is-system-running"))
    return done.stdout.strip() in ("running", "degraded")


@pytest.mark.skipif(not _systemd_runs(), reason="systemd --user does not run here")
def test_the_real_systemd_starts_restarts_upgrades_and_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. install. 2. The process is killed. 3. install again. 4. uninstall.

    Result: it runs, comes again under another number, is replaced, and is gone.
    """
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(service, "_NAME", "vaultgpt-test")
    monkeypatch.setattr(service, "PAUSE_S", 1)

    def number() -> str:
        show = ("systemctl", "--user", "show", "-p", "MainPID", "--value", "vaultgpt-test")
        return service._run(show).stdout.strip()

    def other_than(old: str) -> str:
        end = time.monotonic() + 30
        while (found := number()) in ("0", old) and time.monotonic() < end:
            time.sleep(0.1)
        assert found not in ("0", old)
        return found

    try:
        assert service.install()["running"]
        first = other_than("0")
        os.kill(int(first), 9)
        second = other_than(first)
        assert service.install()["running"]
        other_than(second)
    finally:
        assert not service.uninstall()["running"]
    assert number() == "0"
