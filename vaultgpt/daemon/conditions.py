"""What of the machine forbids a round that nobody asked for: its battery, a busy graphics card.

Knows nothing about rounds.
"""

from __future__ import annotations

import subprocess

import psutil

from vaultgpt.children import program

_ASK_S = 3.0  # for nvidia-smi


def on_battery() -> bool:
    """Whether the machine runs on its battery."""
    sensors = getattr(psutil, "sensors_battery", None)
    try:
        battery = sensors() if sensors else None
    except (OSError, RuntimeError, psutil.Error):
        return False
    return battery is not None and battery.power_plugged is False


def gpu_busy(device: str, percent: int) -> bool:
    """Whether the GPU that `device` ("auto", "cuda", "cuda:N") means is used more than `percent`.

    Asks nvidia-smi, at most ASK_S seconds; without it, or on other devices, False."""
    found = program("nvidia-smi")
    if found is None or not (device == "auto" or device.startswith("cuda")):
        return False
    which = ["-i", device.partition(":")[2] or "0"]
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            [found, *which, *query],
            capture_output=True,
            timeout=_ASK_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return int(answer.stdout.split()[0]) > percent
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return False
