"""A local hub for every test of this folder that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bases.hub_server import Hub
from vaultgpt.state import VaultState, create_state


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tiny_llama: Path) -> Iterator[Hub]:
    """A hub with "org/tiny" (a Llama); HF_ENDPOINT points to it and no token is set."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tiny_llama / "no-token"))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub = Hub().start()
    hub.add("org/tiny", tiny_llama)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield hub
    hub.stop()


@pytest.fixture
def state(tmp_path: Path) -> VaultState:
    """The state of an empty vault."""
    (tmp_path / "vault").mkdir()
    return create_state(tmp_path / "vault")
