"""One unit for all known vaults, started at login: systemd --user, a LaunchAgent, Task Scheduler.

Knows nothing about terminals or about what is served. macOS and Windows are written by their
manuals and not run by us.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from typing_extensions import TypedDict

from vaultgpt.children import PAUSE_S, RESTARTS, WITHIN_S
from vaultgpt.errors import NotFound, VaultGPTError
from vaultgpt.files import PRIVATE_FILE, make_private_dir, write_atomic
from vaultgpt.state import state_root

_NAME = "vaultgpt"
_LABEL = "vaultgpt"
_ASK_S = 30.0
_HOME = "VAULTGPT_HOME"
_Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class ServiceState(TypedDict):
    """How the service stands. `other` is the program of another installation that it starts."""

    kind: str
    unit: str
    installed: bool
    running: bool
    other: str | None
    sentence: str


def log_path() -> Path:
    """Where `serve --all` writes what it did."""
    return state_root() / "logs" / "service.log"


def _program() -> list[str]:
    """What is started: this installation, whatever stands first on the path later."""
    return [sys.executable, "-P", "-m", "vaultgpt", "serve", "--all"]


def _home() -> dict[str, str]:
    return {_HOME: os.environ[_HOME]} if os.environ.get(_HOME) else {}


# The files -----------------------------------------------------------------------------------


def _systemd_unit(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A unit of systemd --user: restarted on failure, five times in ten minutes at most."""
    lines = [f"Environment={_quoted(f'{name}={value}')}" for name, value in environment.items()]
    return "\n".join(
        [
            "[Unit]",
            "Description=vaultgpt, beside your notes",
            f"StartLimitIntervalSec={WITHIN_S}",
            f"StartLimitBurst={RESTARTS}",
            "",
            "[Service]",
            f"ExecStart={' '.join(map(_quoted, command))}",
            *lines,
            "Restart=on-failure",
            f"RestartSec={PAUSE_S}",
            "TimeoutStopSec=20",
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def _quoted(text: str) -> str:
    """A word of a unit file: its specifiers, variables and quotes mean themselves."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"'


def _launch_agent(command: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """A property list of launchd: begun at login, again after a failure, not at once."""
    return plistlib.dumps(
        {
            "Label": _LABEL,
            "ProgramArguments": list(command),
            "EnvironmentVariables": dict(environment),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": PAUSE_S,
            "ProcessType": "Background",
        }
    )


def _task_xml(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A task at logon. A task has no environment: a root of its own goes with the arguments."""
    words = [*command[1:], *(arg for value in environment.values() for arg in ("--home", value))]
    arguments = escape(subprocess.list2cmdline(words))
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>vaultgpt, beside your notes</Description></RegistrationInfo>
  <Triggers><LogonTrigger><Enabled>true</Enabled></LogonTrigger></Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>{RESTARTS}</Count></RestartOnFailure>
  </Settings>
  <Actions>
    <Exec><Command>{escape(command[0])}</Command><Arguments>{arguments}</Arguments></Exec>
  </Actions>
</Task>
"""


# The systems ---------------------------------------------------------------------------------


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A program of the system's; one that is missing or hangs has failed."""
    try:
        return subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(list(command), 127, "", type(error).__name__)


@dataclass(frozen=True)
class _System:
    """How one system starts things at login."""

    kind: str
    unit: Path
    text: bytes
    start: tuple[tuple[str, ...], ...]  # the last one decides whether it has begun
    stop: tuple[tuple[str, ...], ...]
    running: tuple[str, ...]
    said: str  # what `running` prints where it runs; "" for its exit status alone


def _system(platform: str = sys.platform) -> _System:
    command, environment = _program(), _home()
    if platform == "darwin":
        place = Path.home() / "Library" / "LaunchAgents" / f"{_LABEL}.plist"
        target = f"gui/{os.getuid() if hasattr(os, 'getuid') else 0}"
        return _System(
            "LaunchAgent",
            place,
            _launch_agent(command, environment),
            (
                ("launchctl", "bootout", f"{target}/{_LABEL}"),
                ("launchctl", "bootstrap", target, str(place)),
            ),
            (("launchctl", "bootout", f"{target}/{_LABEL}"),),
            ("launchctl", "print", f"{target}/{_LABEL}"),
            "state = running",
        )
    if platform == "win32":
        place = state_root() / "service.xml"
        return _System(
            "Task Scheduler",
            place,
            _task_xml(command, environment).encode("utf-16"),
            (
                ("schtasks", "/End", "/TN", _NAME),
                ("schtasks", "/Create", "/F", "/TN", _NAME, "/XML", str(place)),
                ("schtasks", "/Run", "/TN", _NAME),
            ),
            (("schtasks", "/End", "/TN", _NAME), ("schtasks", "/Delete", "/F", "/TN", _NAME)),
            ("schtasks", "/Query", "/TN", _NAME, "/FO", "CSV", "/NH"),
            "Running",
        )
    config = os.environ.get("XDG_CONFIG_HOME")
    folder = Path(config) if config else Path.home() / ".config"
    user = ("systemctl", "--user")
    return _System(
        "systemd --user",
        folder / "systemd" / "user" / f"{_NAME}.service",
        _systemd_unit(command, environment).encode(),
        (
            (*user, "daemon-reload"),
            (*user, "enable", _NAME),
            (*user, "reset-failed", _NAME),
            (*user, "restart", _NAME),
        ),
        ((*user, "disable", "--now", _NAME),),
        (*user, "is-active", _NAME),
        "active",
    )


def install(run: _Run = _run) -> ServiceState:
    """Write the unit and start it; one that is there is replaced. VaultGPTError when it can't be.

    Where the system's own program does not answer, the unit stays and the next login may take it.
    """
    system = _system()
    make_private_dir(state_root(), parents=True)
    system.unit.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(system.unit, system.text, PRIVATE_FILE)
    done = [run(command) for command in system.start][-1]
    if done.returncode != 0:
        raise VaultGPTError(
            f"The unit is in {system.unit}, but {system.start[-1][0]} could not start it.",
            "It begins at the next login where the system allows; `vaultgpt serve --all` serves "
            "until then.",
        )
    return status(run)


def uninstall(run: _Run = _run) -> ServiceState:
    """Stop the service and take its unit away. NotFound where there is none."""
    system = _system()
    if not system.unit.exists():
        raise NotFound("The service is not installed.", "`vaultgpt service install` does it.")
    for command in system.stop:
        run(command)
    system.unit.unlink(missing_ok=True)
    if system.kind.startswith("systemd"):
        run(("systemctl", "--user", "daemon-reload"))
    said = "The service is stopped and its unit taken away. What was learned stays."
    return {**status(run), "sentence": said}


def status(run: _Run = _run) -> ServiceState:
    """Whether it is installed and runs, and whether it starts another installation."""
    system = _system()
    installed = system.unit.exists()
    asked = run(system.running) if installed else None
    running = asked is not None and asked.returncode == 0 and system.said in asked.stdout
    started = _started_program(system.unit) if installed else None
    other = started if started is not None and started != sys.executable else None
    sentence = "The service is not installed: `vaultgpt service install`."
    if installed:
        sentence = f"The service ({system.kind}) {'runs' if running else 'does not run'}."
    if other:
        sentence += (
            f" It starts another installation ({other}): `vaultgpt service install` makes it "
            "this one."
        )
    return ServiceState(
        kind=system.kind,
        unit=str(system.unit),
        installed=installed,
        running=running,
        other=other,
        sentence=sentence,
    )


def _started_program(unit: Path) -> str | None:
    """The program that a unit starts; None where it can't be told."""
    with contextlib.suppress(OSError, ValueError, KeyError, configparser.Error, SyntaxError):
        if unit.suffix == ".plist":
            return str(plistlib.loads(unit.read_bytes())["ProgramArguments"][0])
        if unit.suffix == ".xml":
            root = ElementTree.fromstring(unit.read_bytes())
            found = root.find(".//{*}Command")
            return None if found is None else found.text
        parser = configparser.RawConfigParser(strict=False, interpolation=None)
        parser.read_string(unit.read_text(encoding="utf-8"))
        word = parser["Service"]["ExecStart"].split('" "')[0].strip('"')
        return word.replace("$$", "$").replace("%%", "%").replace('\\"', '"').replace("\\\\", "\\")
    return None


def available() -> bool:
    """Whether this machine has what starts things at login."""
    return shutil.which(_system().start[-1][0]) is not None
