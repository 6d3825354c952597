"""What several benchmarks share: folders, a state of their own, commands, a daemon, tables.

Knows nothing about what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil

from vaultgpt.files import write_atomic
from vaultgpt.state import VaultState
from vaultgpt.tasks.client import DaemonClient
from vaultgpt.tasks.vault_service import find_daemon

_T = TypeVar("_T")
ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "vault"
PEBBLE = ROOT / "vaultgpt" / "pebble"
RESULTS = ROOT / "benchmarks" / "results"


def arguments(doc: str | None, *, json_too: bool = True) -> argparse.ArgumentParser:
    """A parser that tells the first line of a module's docstring; with --json where wanted."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    if json_too:
        parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser


def keep(path: Path | None, figures: Any) -> None:
    """Write figures as JSON, where a file was named."""
    if path:
        told = json.dumps(figures, indent=1, ensure_ascii=False)
        path.write_text(told + "\n", encoding="utf-8")


def renew(path: Path, row: dict[str, Any], same: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of a JSON file, `row` in the place of that with the same keys; the file is so."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    rows = [r for r in known if any(r[k] != row[k] for k in same)] + [_plain(row)]
    lines = ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    write_atomic(path, f"[\n{lines}\n]\n", mode=0o644)
    return rows


def _plain(value: Any) -> Any:
    """The same in eight digits, and null for what JSON can't say: nan and the infinities."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    return value


def middle(draws: Any) -> tuple[float, float]:
    """Between which 95 % of a bootstrap's draws lie."""
    low, high = map(float, np.percentile(draws, [2.5, 97.5]))
    return low, high


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


@contextlib.contextmanager
def home(folder: Path) -> Iterator[Path]:
    """State lies under `folder` while this is open."""
    before = os.environ.get("VAULTGPT_HOME")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["VAULTGPT_HOME"] = str(folder)
    try:
        yield folder
    finally:
        os.environ.pop("VAULTGPT_HOME")
        if before is not None:
            os.environ["VAULTGPT_HOME"] = before


def ours(*words: str) -> list[str]:
    """A vaultgpt command."""
    return [sys.executable, "-m", "vaultgpt", *words]


def told(command: Sequence[str], **more: Any) -> str:
    """What a command prints; SystemExit with its own sentence when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:5])}: {done.stderr.strip()[-400:]}")
    return str(done.stdout)


class Person:
    """Types vaultgpt commands in the vault of a folder, with the state of that folder."""

    def __init__(self, place: Path) -> None:
        self.vault, self.home = place / "vault", place / "home"
        self.home.mkdir(mode=0o700, exist_ok=True)

    def __call__(self, *words: str) -> dict[str, Any]:
        """The JSON that a command prints."""
        environment = {**os.environ, "VAULTGPT_HOME": str(self.home)}
        said = told(ours(*words, "--json"), env=environment, cwd=self.vault)
        answer: dict[str, Any] = json.loads(said or "{}")
        return answer


@contextlib.contextmanager
def serving(state: VaultState) -> Iterator[tuple[psutil.Process, DaemonClient]]:
    """A vault's daemon and a client of it, once it answers."""
    command = ours("serve", str(state.vault), "--port", "0")
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        yield psutil.Process(process.pid), _client(state)
    finally:
        process.terminate()
        process.wait(30)


def _client(state: VaultState) -> DaemonClient:
    return until(lambda: find_daemon(state), "The daemon did not start.", 120)


def until(holds: Callable[[], _T | None], else_: str, seconds: float) -> _T:
    """What holds in the end; SystemExit with a sentence when it does not come."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > end:
            raise SystemExit(else_)
        time.sleep(0.02)
    return found


def prose(folder: Path) -> list[str]:
    """The text of each note in a folder, by path, without its front matter."""
    texts = (p.read_text("utf-8", "replace") for p in sorted(folder.rglob("*.md")))
    return [re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S).strip() for text in texts]
