"""`init` on a terminal: it offers a base that reads the notes' language, fetches it, and learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bases.hub_server import Hub
from tests.e2e.conftest import ROOT, run

GERMAN = (
    "Gestern bin ich lange am Fluss entlang gegangen und habe an meine Großmutter gedacht, "
    "die immer sagte, dass man das Wetter nicht ändern kann, aber die Jacke. "
)


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_init_asks_fetches_and_learns_on_a_terminal(tmp_path: Path, tiny_llama: Path) -> None:
    """1. A German vault. 2. Yes to fetching, yes to learning. Result: a voice on the new base."""
    import pty

    notes, home = tmp_path / "notes", tmp_path / "home"
    notes.mkdir()
    for i in range(60):
        (notes / f"2021-{i % 12 + 1:02d}-{i // 12 + 1:02d}.md").write_text(
            "\n\n".join(f"{GERMAN}{i} {j}." for j in range(5)), encoding="utf-8"
        )
    hub = Hub().start()
    hub.add("Qwen/Qwen3-0.6B-Base", tiny_llama)
    hub.add("ibm-granite/granite-4.0-350m-base", tiny_llama)
    master, terminal = pty.openpty()
    env = {
        **os.environ,
        "VAULTGPT_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": hub.url,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultgpt", "init", str(notes), "--no-plugin"],
        env=env | {"HF_HUB_OFFLINE": "0", "TERM": "xterm"},
        cwd=tmp_path,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    )
    os.close(terminal)
    os.write(master, b"y\ny\nn\n")  # fetch, learn, no service
    shown = _read_all(master)
    assert process.stdout
    printed = process.stdout.read()
    assert process.wait(60) == 0, shown
    hub.stop()
    assert "Fetch " in shown and "Learn now?" in shown and "Traceback" not in shown
    assert "Your notes are in German" in printed and "less surprised" in printed
    status = run("status", str(notes), "--json", home=home).json
    assert status["active"] == "g000001" and "/" in status["base"]


def _read_all(master: int) -> str:
    """What was shown until the process closed its end."""
    parts = []
    try:
        while data := os.read(master, 4096):
            parts.append(data)
    except OSError:  # Linux says EIO at the end
        pass
    os.close(master)
    return b"".join(parts).decode("utf-8", "replace")
