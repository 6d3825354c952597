"""Who is asked: the daemon that proves itself, else this process; an impostor learns nothing."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from vaultgpt import __version__
from vaultgpt.commands.status import status
from vaultgpt.errors import Conflict, NotFound, Unavailable
from vaultgpt.files import write_json
from vaultgpt.ledger import Ledger
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.client import DaemonClient, proof_of
from vaultgpt.tasks.config import RELOAD
from vaultgpt.tasks.doctor import check_vault
from vaultgpt.tasks.generations import ACTIVATE, ActivateRequest
from vaultgpt.tasks.report import REPORT
from vaultgpt.tasks.status import STATUS
from vaultgpt.tasks.train import CANCEL
from vaultgpt.tasks.vault_service import ByDaemon, Here, find_daemon, vault_service
from vaultgpt.tasks.vaults import erasable, to_take_over


class Listener:
    """A program on a port. It knows `token`, or claims `port`; it keeps all that it was sent."""

    def __init__(self) -> None:
        self.token, self.port_in_proof, self.heard = "", 0, b""
        self.paths: list[str] = []
        self.keep_alive = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                outer.paths.append(self.path)
                size = int(self.headers.get("Content-Length") or 0)
                outer.heard += str(self.headers).encode() + self.rfile.read(size)
                body = json.dumps(outer.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                health = self.path.startswith("/health")
                self.close_connection = not (health or outer.keep_alive)

            do_GET = do_POST = _answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.port = int(self.server.server_address[1])
        self.port_in_proof = self.port

    def answer(self, path: str) -> dict[str, object]:
        if not path.startswith("/health"):
            return {"path": path}
        challenge = bytes.fromhex(parse_qs(urlsplit(path).query)["challenge"][0])
        return {"ok": True, "proof": proof_of(self.token, self.port_in_proof, challenge)}


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VaultState:
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "home"))
    (tmp_path / "vault").mkdir()
    return create_state(tmp_path / "vault")


def say_it_listens(state: VaultState, listener: Listener) -> None:
    """What a daemon leaves that was killed, once another program has its port (and its number)."""
    runtime = {"pid": os.getpid(), "port": listener.port, "token": state.token()}
    write_json(state.runtime, runtime)


def test_finding_the_daemon_costs_one_request_and_no_ledger(
    state: VaultState, listener: Listener
) -> None:
    listener.token = state.token()
    say_it_listens(state, listener)
    service = vault_service(state)
    assert isinstance(service, ByDaemon)
    assert [path.split("?")[0] for path in listener.paths] == ["/health"]
    assert not state.ledger.exists()
    answer: Any = service.ask(STATUS, None)
    assert answer == {"path": "/v1/status"}
    service.ask(ACTIVATE, ActivateRequest(id="g000002"))
    assert listener.paths[1:] == ["/v1/status", "/v1/generations/g000002/activate"]


@pytest.mark.parametrize("claim", ["no token", "an old token", "the daemon's own proof"])
def test_an_impostor_on_the_port_of_a_stale_file_gets_neither_token_nor_text(
    state: VaultState, listener: Listener, claim: str
) -> None:
    """1. A daemon is killed. 2. Another program takes its port. 3. It answers the challenge as it
    can: without the token, with one that was rotated away, or with what the vault's daemon on
    another port says to the same challenge. Result: it is taken for nobody.
    """
    listener.token = {"no token": "", "an old token": state.token()}.get(claim, state.token())
    if claim == "an old token":
        state.rotate_token()
    if claim == "the daemon's own proof":
        listener.port_in_proof = listener.port - 1
    say_it_listens(state, listener)
    assert find_daemon(state) is None and isinstance(vault_service(state), Here)
    assert all(path.startswith("/health?challenge=") for path in listener.paths)
    assert state.token().encode() not in listener.heard
    assert b"Authorization" not in listener.heard


def test_who_takes_the_port_between_two_calls_learns_nothing(
    state: VaultState, listener: Listener
) -> None:
    listener.token, listener.keep_alive = state.token(), False
    client = DaemonClient(listener.port, state.token(), os.getpid())
    assert client.get("/v1/status")
    assert b"Authorization" in listener.heard
    listener.token, listener.heard = "", b""
    with pytest.raises(Unavailable):
        client.post("/v1/completions", {"prompt": "a secret orchard"})
    assert b"orchard" not in listener.heard and b"Authorization" not in listener.heard


def test_without_a_daemon_the_same_tasks_are_done_here(state: VaultState) -> None:
    service = vault_service(state)
    status = service.ask(STATUS, None)
    assert status["notes"] == 0 and status["daemon"] is None
    assert service.ask(RELOAD, None) == {"ok": True}
    with pytest.raises(NotFound):
        service.ask(REPORT, None)
    with pytest.raises(NotFound):
        service.ask(ACTIVATE, ActivateRequest(id="g000009"))
    with pytest.raises(Exception, match="Only a running daemon"):
        service.ask(CANCEL, None)


def test_a_call_with_settings_of_its_own_is_done_here_and_the_daemon_hears_of_it(
    state: VaultState, listener: Listener
) -> None:
    save_option(state.config, "mirror.temperature", 0.5)
    listener.token = state.token()
    say_it_listens(state, listener)
    service = vault_service(state, ["mirror.temperature=0.8", "training.rank = 8"])
    assert isinstance(service, Here)
    assert service.settings.mirror.temperature == 0.8 and service.settings.training.rank == 8
    with Ledger.open(state):
        pass
    service.ask(ACTIVATE, ActivateRequest(id="base"))
    assert listener.paths[1:] == ["/v1/reload"]


@pytest.mark.parametrize(
    ("dtype", "device", "said"),
    [
        ("float32", "cpu", "Writes in float32."),
        ("float32", "cpu, slower than it could: so", "on cpu, slower than it could: so."),
        (None, "openai at there, slower than it could: so", "Writes on openai at there, slower "),
        (None, None, None),
    ],
    ids=["as fast as it can", "slower", "another engine, slower", "not started yet"],
)
def test_status_says_where_it_writes_and_why_slower_than_it_could(
    state: VaultState,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dtype: str | None,
    device: str | None,
    said: str | None,
) -> None:
    worker = {"running": True, "pid": 1, "dtype": dtype, "cost": None}
    known: Any = vault_service(state).ask(STATUS, None)
    told = {**known, "worker": worker, "device": device}
    listener.token = state.token()
    say_it_listens(state, listener)
    health = listener.answer
    monkeypatch.setattr(
        listener, "answer", lambda path: told if path == STATUS.path else health(path)
    )
    status(state.vault)
    out = capsys.readouterr().out
    assert (said in out) if said else not re.search("Writes (in|on)", out)


@pytest.mark.parametrize(
    ("told", "finding"),
    [
        ({"troubles": {}}, ("daemon", True, "listens on port")),
        ({"troubles": {}, "device": "cuda, slower than it could"}, ("daemon", True, "on cuda, sl")),
        ({"troubles": {"upgraded": "Begin anew."}}, ("daemon", False, "Begin anew.")),
        ({"version": "0.0.9"}, ("daemon", False, "It is vaultgpt 0.0.9")),
        ({"troubles": {"watch": "No more are given."}}, ("watching", False, "No more are given.")),
    ],
    ids=[
        "nothing",
        "where it writes",
        "an upgrade",
        "one of before there were keys",
        "the watcher",
    ],
)
def test_doctor_knows_by_key_what_does_not_work_in_the_daemon(
    state: VaultState,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, object],
    finding: tuple[str, bool, str],
) -> None:
    listener.token = state.token()
    say_it_listens(state, listener)
    health, status = listener.answer, {"version": __version__, **told}
    monkeypatch.setattr(
        listener, "answer", lambda path: status if path == STATUS.path else health(path)
    )
    name, ok, message = finding
    (found,) = [one for one in check_vault(state) if one.name == name]
    assert found.ok == ok and message in found.message


def test_a_vault_whose_daemon_runs_is_not_erased(state: VaultState, listener: Listener) -> None:
    listener.token = state.token()
    say_it_listens(state, listener)
    with pytest.raises(Conflict, match="runs for"):
        erasable(state.vault)
    with pytest.raises(Conflict, match="runs for"):
        to_take_over(state.vault, state.vault)
    state.runtime.unlink()
    assert erasable(state.vault).folder == state.folder
