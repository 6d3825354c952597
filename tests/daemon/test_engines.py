"""A real daemon whose writing another engine does: there, gone, back, elsewhere."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.daemon.conftest import age
from tests.daemon.serving import Serving, wait_for
from tests.mirror.conftest import mild_adapter, publish_voice
from tests.mirror.llama_server import LlamaServer
from vaultgpt.bases.names import resolve
from vaultgpt.ledger import Ledger
from vaultgpt.mirror.fingerprint import Shelf
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState, create_state
from vaultgpt.training.lora import load_adapter
from vaultgpt.training.to_gguf import write_adapter, write_model
from vaultgpt.workers.mirror import _ENGINE

SOMEWHERE = "http://192.0.2.7:8080"  # of the documentation's own network: nobody stands there


def with_voices(vault: Path, base: Path, tmp_path: Path) -> tuple[VaultState, list[Path]]:
    """A vault with two voices, the first one active, and their LoRAs as llama-server reads them."""
    age(vault)
    state = create_state(vault)
    save_option(state.config, "base", str(base))
    save_option(state.config, "mirror.threads", 1)
    loras = []
    for seed in (1, 2):
        name = publish_voice(state, base, mild_adapter(base, tmp_path / f"staged{seed}", seed))
        voice = state.generations / name
        called = Shelf(state.folder / _ENGINE).name(name, voice, resolve(str(base), state).folder)
        loras.append(tmp_path / f"{called}.gguf")
        write_adapter(base, load_adapter(voice), loras[-1])
    with Ledger.open(state) as ledger:
        ledger.generations.activate("g000001", time.time())
    return state, loras


def problems(daemon: Serving) -> str:
    return " ".join(daemon.status()["problems"])


def test_a_daemon_s_engine_writes_goes_comes_back_and_stays_on_this_machine(
    vault: Path, tiny_writer: Path, tmp_path: Path
) -> None:
    """1. llama-server holds two voices. 2. The other one is activated. 3. The server is killed.
    4. It is back. 5. Its address is another machine's. Result: the answers go on, each says who
    wrote it, status says why, and of all that was written nothing counts as the author's."""
    state, loras = with_voices(vault, tiny_writer, tmp_path)
    write_model(tiny_writer, None, tmp_path / "base.gguf")
    asked: dict[str, Any] = {"prompt": "I walked along the", "max_tokens": 24}
    asked["vaultgpt"] = {"tags": ["dream"], "length": "tokens"}
    with LlamaServer(tmp_path / "base.gguf", loras) as llama:
        save_option(state.config, "mirror.engine", "openai")
        save_option(state.config, "mirror.engine_url", llama.address)
        with Serving(state) as daemon:
            daemon.scanned()
            first = daemon.ask(**asked)
            told = first["vaultgpt"]
            assert (told["engine"], told["engine_problem"]) == ("openai", None)
            assert told["generation"] == "g000001" and told["tags"] == ["dream"]
            assert daemon.status()["device"] == f"openai at {llama.address}"
            assert "engine" not in problems(daemon)
            note = {"path": "Journal/new.md", "text": "#dream\n\nThe postman ", "cursor": 20}
            body = {"vaultgpt": {"note": note}, "max_tokens": 24, "stream": True}
            parts = list(daemon.client.stream("/v1/completions", body))
            text = "".join(c["text"] for _, part in parts for c in part["choices"])
            assert text.strip() and parts[-1][1]["vaultgpt"]["engine"] == "openai"

            daemon.client.post("/v1/generations/g000002/activate", {})
            place = state.folder / _ENGINE
            wait_for(lambda: list(place.glob("*g000002*.json")), 120)  # nobody has asked for text
            told = daemon.ask(**asked)["vaultgpt"]
            assert (told["engine"], told["generation"]) == ("openai", "g000002")
            assert not list(place.glob("*g000001*"))

            llama.kill()
            told = daemon.ask(**asked)["vaultgpt"]
            assert told["engine"] == "own" and "does not answer" in told["engine_problem"]
            assert "vaultgpt's own decoder writes" in problems(daemon)

            with LlamaServer(tmp_path / "base.gguf", loras, llama.port):
                wait_for(lambda: daemon.ask(**asked)["vaultgpt"]["engine"] == "openai", 60)
                assert "own decoder" not in problems(daemon)

                option = {"key": "mirror.engine_url", "value": SOMEWHERE}
                daemon.client.post("/v1/options", option)
                assert "is not this machine, so nothing is sent there" in problems(daemon)
                began = time.monotonic()
                told = daemon.ask(**asked)["vaultgpt"]
                assert told["engine"] == "own" and "not this machine" in told["engine_problem"]
                assert time.monotonic() - began < 60, "nobody was waited for"
    with Ledger.open(state) as ledger:
        assert ledger.emitted.lookup().lengths(), "what another engine wrote is the mirror's too"
    assert "postman" not in json.dumps([p.read_text() for p in state.logs.glob("*.log")])
