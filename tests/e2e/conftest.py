"""A vault set up and trained once by the real commands, on a tiny random model; tests share it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import tiny

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Run:
    """What one command printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def no_traceback(self) -> Run:
        assert "Traceback" not in self.out + self.err, self.err
        return self


def run(
    *args: str, home: Path, cwd: Path | None = None, stdin: str = "", limit_s: float = 300
) -> Run:
    """`vaultgpt ARGS` in a process of its own."""
    env = {**os.environ, "VAULTGPT_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-m", "vaultgpt", *args],
        cwd=cwd or home.parent,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr).no_traceback()


@dataclass
class Trained:
    """A vault with one generation."""

    vault: Path
    home: Path
    first: dict[str, Any]  # what the first `train --json` printed

    def __call__(self, *args: str, **options: Any) -> Run:
        return run(*args, home=self.home, **options)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_models: Callable[..., Path]) -> Trained:
    """init and train by the real commands; 90 notes of 12,000 words and a tiny Llama."""
    place = tmp_path_factory.mktemp("trained")
    vault, home = place / "vault", place / "home"
    tiny.tiny_vault(vault, notes=90, words=12_000)
    base = tiny_models("llama")
    done = run("init", str(vault), "--base", str(base), "--no-plugin", home=home)
    assert done.status == 0, done.err
    run("config", str(vault), "training.threads", "1", home=home)
    done = run("train", str(vault), "--json", home=home)
    assert done.status == 0, done.err
    return Trained(vault, home, done.json)


@pytest.fixture
def apart(trained: Trained, tmp_path: Path) -> Trained:
    """The same vault with a state root of this test's own."""
    home = tmp_path / "apart"
    shutil.copytree(trained.home, home)
    return Trained(trained.vault, home, trained.first)


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., Run]:
    """Commands in a state root of this test's own."""
    (tmp_path / "work").mkdir()

    def call(*args: str, **options: Any) -> Run:
        return run(
            *args, home=tmp_path / "home", cwd=options.pop("cwd", tmp_path / "work"), **options
        )

    return call
