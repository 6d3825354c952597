"""Battery and GPU as the machine tells them, and silence where it does not."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from vaultgpt.daemon import conditions

posix = pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for nvidia-smi")


@pytest.mark.parametrize(
    ("battery", "expected"),
    [
        (None, False),
        (SimpleNamespace(power_plugged=True), False),
        (SimpleNamespace(power_plugged=False), True),
        (SimpleNamespace(power_plugged=None), False),
    ],
)
def test_only_a_machine_that_says_so_runs_on_its_battery(
    battery: object, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.sensors_battery", lambda: battery, raising=False)
    assert conditions.on_battery() is expected


def test_a_machine_without_sensors_counts_as_plugged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError

    monkeypatch.setattr("psutil.sensors_battery", broken, raising=False)
    assert conditions.on_battery() is False
    monkeypatch.delattr("psutil.sensors_battery", raising=False)
    assert conditions.on_battery() is False


def smi(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@posix
def test_the_gpu_is_busy_above_the_share_that_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, "import sys; print(45 if sys.argv[2] == '1' else 5)", monkeypatch)
    assert conditions.gpu_busy("cuda:1", 30) and not conditions.gpu_busy("cuda:1", 45)
    assert not conditions.gpu_busy("auto", 30)
    assert not conditions.gpu_busy("cpu", 0), "a round on the CPU does not mind"


@posix
@pytest.mark.parametrize(
    "body", ["raise SystemExit(9)", "print('N/A')", "print()", "import time; time.sleep(60)"]
)
def test_a_gpu_that_can_t_say_counts_as_free(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, body, monkeypatch)
    monkeypatch.setattr(conditions, "_ASK_S", 0.5)
    began = time.monotonic()
    assert not conditions.gpu_busy("cuda", 30)
    assert time.monotonic() - began < 10


def test_no_nvidia_smi_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not conditions.gpu_busy("auto", 0)
