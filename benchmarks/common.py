"""What several benchmarks share: folders, a state of their own, commands, a daemon, tables.

Knows nothing about what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

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
    """A parser that tells the first line of a module's docstring; --json where no rows are kept."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    if json_too:
        parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser


def keep(path: Path | None, figures: Any) -> None:
    """Write figures as JSON, where a file was named."""
    if path:
        told = json.dumps(_plain(figures), indent=1, ensure_ascii=False)
        path.write_text(told + "\n", encoding="utf-8")


def stored(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file, none where there is no file."""
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else []
    return rows


def renew(path: Path, row: dict[str, Any], same: Sequence[str]) -> None:
    """Put `row` in the place of that with the same keys."""
    rows = [r for r in stored(path) if any(r[k] != row[k] for k in same)] + [_plain(row)]
    lines = ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, f"[\n{lines}\n]\n", mode=0o644)


def _plain(figures: Any) -> Any:
    """The same in eight digits, and null for what JSON can't say: nan and the infinities."""
    return json.loads(
        json.dumps(figures),
        parse_float=lambda number: float(f"{float(number):.8g}"),
        parse_constant=lambda name: None,
    )


def middle(draws: Any) -> tuple[float, float]:
    """Between which 95 % of a bootstrap's draws lie."""
    low, high = map(float, np.percentile(draws, [2.5, 97.5]))
    return low, high


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


@contextlib.contextmanager
def needs_voice() -> Iterator[None]:
    """Around an import: one sentence with the mend where a library of the extra is missing."""
    try:
        yield
    except ImportError as error:
        raise SystemExit(f"{error}: pip install -e '.[voice]'") from None


@contextlib.contextmanager
def home(folder: Path) -> Iterator[None]:
    """State lies under `folder` while this is open."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with patch.dict(os.environ, VAULTGPT_HOME=str(folder)):
        yield


def ours(*words: str) -> list[str]:
    """A vaultgpt command."""
    return [sys.executable, "-m", "vaultgpt", *words]


class Person:
    """Types vaultgpt commands in the vault of a folder, with the state of that folder."""

    def __init__(self, place: Path) -> None:
        self.vault, self.home = place / "vault", place / "home"
        self.home.mkdir(mode=0o700, exist_ok=True)

    def __call__(self, *words: str) -> dict[str, Any]:
        """The JSON that a command prints; SystemExit with its own sentence when it fails."""
        environment = {**os.environ, "VAULTGPT_HOME": str(self.home)}
        done = subprocess.run(
            ours(*words, "--json"), capture_output=True, text=True, env=environment, cwd=self.vault
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stderr.strip()[-400:]}")
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer


@contextlib.contextmanager
def serving(state: VaultState) -> Iterator[tuple[psutil.Process, DaemonClient]]:
    """A vault's daemon and a client of it, once it answers."""
    command, quiet = ours("serve", str(state.vault), "--port", "0"), subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        client = until(lambda: find_daemon(state), "The daemon did not start.", 120)
        yield psutil.Process(process.pid), client
    finally:
        process.terminate()
        process.wait(30)


def first_text(client: DaemonClient, body: dict[str, object]) -> tuple[float, dict[str, Any]]:
    """Seconds from a hotkey to the first piece of its text, and what is told at the text's end."""
    began = time.perf_counter()
    events = client.stream("/v1/completions", {**body, "stream": True})
    next(events)
    seconds = time.perf_counter() - began
    told: dict[str, Any] = {}
    for _, data in events:
        told.update(data.get("vaultgpt") or {})
    return seconds, told


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
