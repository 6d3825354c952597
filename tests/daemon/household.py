"""Vaults that write in one engine, as `serve --all` has it: a real process, tiny voices."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mirror.conftest import engine_of, mild_adapter, write
from vaultgpt.daemon.every import _SharedEngine
from vaultgpt.settings import Mirror
from vaultgpt.wire import Piece, Prompt, Sampling, Usage
from vaultgpt.workers.mirror import SHARED, MirrorProcess, Opening

ASKED = Prompt("The old dog waited.", seed=5, length="tokens", max_tokens=60)
LONG = replace(ASKED, n=16, max_tokens=400, sampling=Sampling(guard=False))


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[_SharedEngine]:
    """An engine to be started by who needs it, as `serve --all` has it."""
    engine, stop = _SharedEngine(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            engine.wait(stop)

    thread = threading.Thread(target=look)
    thread.start()
    monkeypatch.setenv(SHARED, engine.place)
    yield engine
    stop.set()
    thread.join()
    engine.stop()


@pytest.fixture(scope="module")
def voices(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two voices of one base."""
    return [mild_adapter(tiny_llama, tmp_path_factory.mktemp("g"), seed) for seed in (1, 2)]


class Vault:
    """What one vault's daemon has: its mirror, and what its ledger would say."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.mirror = MirrorProcess(self.asked)

    async def asked(self) -> Opening:
        return self.opening

    async def write(self, prompt: Prompt = ASKED) -> tuple[str, Usage]:
        """The first alternative, and the figures."""
        items = [item async for item in self.mirror.generate(prompt)]
        assert isinstance(items[-1], Usage)
        pieces = [i for i in items if isinstance(i, Piece)]
        return "".join(p.text for p in pieces if p.index == 0), items[-1]


@pytest.fixture
async def two(
    shared: _SharedEngine, tiny_llama: Path, voices: list[Path], tmp_path: Path
) -> AsyncIterator[list[Vault]]:
    """Two vaults of one engine, each with a voice of the same name, its own guard and secret."""
    made = []
    for number, voice in enumerate(voices):
        folder, secret = tmp_path / f"runs{number}", os.urandom(32)
        settings = Mirror(device="cpu", threads=1)
        opening = Opening(tiny_llama, "g000001", {"g000001": voice}, settings, folder, secret)
        made.append(Vault(opening))
    yield made
    for vault in made:
        await vault.mirror.stop()


def alone(base: Path, voice: Path | None, prompt: Prompt = ASKED) -> str:
    """What an engine of its own writes."""
    engine = engine_of(base)
    if voice is not None:
        engine.activate("g000001", voice)
    return write(engine, prompt)[0][0]
