"""A vault that is set up, old enough to be learned, and a tiny base to write with."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.household import shared, two, voices  # noqa: F401
from vaultgpt.ledger import Ledger
from vaultgpt.settings import Settings, load_settings, save_option
from vaultgpt.state import VaultState, create_state
from vaultgpt.vault.reconcile import read_vault


def age(folder: Path, seconds: float = 86_400) -> None:
    """Make every note look as if it had been saved long ago."""
    then = time.time() - seconds
    for path in folder.rglob("*.md"):
        os.utime(path, (then, then))


def record(state: VaultState) -> None:
    """Read the vault into the ledger."""
    with Ledger.open(state) as ledger:
        ledger.record(read_vault(state.vault, load_settings(state.config).rules), time.time())


async def until(condition: Callable[[], Any], limit_s: float = 15.0) -> Any:
    """Wait for a state, at most so long; what `condition` answered."""
    async with asyncio.timeout(limit_s):
        while True:
            value = condition()
            if isinstance(value, Awaitable):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.02)


@pytest.fixture
def state(vault: Path, tiny_llama: Path) -> VaultState:
    """The tiny vault, set up with a tiny base."""
    age(vault)
    found = create_state(vault)
    save_option(found.config, "base", str(tiny_llama))
    save_option(found.config, "mirror.threads", 1)
    return found


@pytest.fixture
def settings(state: VaultState) -> Settings:
    """Its settings."""
    return load_settings(state.config)
