"""Real daemons under `serve --all`: a rollback and a forgetting beside who writes; side doors."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.daemon.conftest import age, record
from tests.daemon.serving import ROOT, wait_for
from tests.mirror.conftest import mild_adapter, publish_voice
from tests.tiny import tiny_vault
from vaultgpt.errors import VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.client import DaemonClient
from vaultgpt.tasks.vault_service import find_daemon

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a socket of Unix")
SECRETS = (
    ("marzipanorchard", "quincejelly", "velvetlantern", "copperheron"),
    ("pewterthimble", "saffronharbour", "walnutbellows", "amberthistle"),
)
ASKED = {"prompt": "The old dog", "max_tokens": 24, "seed": 3, "vaultgpt": {"length": "tokens"}}


def household_vault(tmp_path: Path, base: Path, number: int) -> VaultState:
    """With two voices of its own, the second of which learned the note that holds its secrets."""
    note, name, title, _ = SECRETS[number]
    folder = tmp_path / f"vault{number}"
    tiny_vault(folder)
    (folder / f"{name}.md").write_text(
        f"---\ntitle: {title}\ntags: [{note}tag]\n---\nI saw the {note} by the sea and went home.\n"
    )
    age(folder)
    state = create_state(folder)
    for key, value in (("base", str(base)), ("mirror.threads", 1), ("training.pause", True)):
        save_option(state.config, key, value)
    record(state)
    names = []
    for seed in (1, 2):
        voice = mild_adapter(base, tmp_path / f"voice{number}{seed}", 10 * number + seed)
        names.append(publish_voice(state, base, voice))
    with Ledger.open(state) as ledger:
        entry = next(e for e in ledger.entries.all() if e.path == f"{name}.md")
        digest, words = ledger.entries.digests_of(entry.id)[0]
        ledger.generations.add(ledger.generations.get(names[1]), [(entry.id, digest, words)])
        ledger.generations.activate(names[1], 1.0)
    return state


@pytest.fixture
def both(tmp_path: Path, tiny_llama: Path) -> Iterator[tuple[list[VaultState], list[DaemonClient]]]:
    """Two vaults that are served by `serve --all`, and its process's whole output in a file."""
    states = [household_vault(tmp_path, tiny_llama, number) for number in range(2)]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "vaultgpt", "serve", "--all"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
        )
    try:
        yield states, [wait_for(functools.partial(find_daemon, state), 60) for state in states]
    finally:
        process.terminate()
        process.wait(30)


def told(client: DaemonClient, **more: Any) -> tuple[str, str | None]:
    """The text, and the generation it names."""
    said = client.post("/v1/completions", {**ASKED, **more})
    return said["choices"][0]["text"], said["vaultgpt"]["generation"]


def test_a_rollback_and_a_forgetting_in_one_vault_while_both_write(
    both: tuple[list[VaultState], list[DaemonClient]],
) -> None:
    """1. Both vaults write on. 2. One rolls back, goes forward again, and forgets a note that its
    second voice learned.

    Result: its answers are each of the voice they name, none of the barred one once it is told;
    the other's are always its own; both in one engine.
    """
    _, (first, second) = both
    texts = {g: told(first, model=g)[0] for g in ("g000001", "g000002", "base")}
    own = told(second)
    assert own[1] == "g000002" and len({*texts.values(), own[0]}) >= 3
    over, mine, theirs = threading.Event(), list[tuple[str, str | None]](), list[object]()

    def write_on(client: DaemonClient, heard: list[Any]) -> None:
        while not over.is_set():
            heard.append(told(client))

    threads = [
        threading.Thread(target=write_on, args=each) for each in ((first, mine), (second, theirs))
    ]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: mine and theirs)
        for wanted in ("g000001", "g000002"):
            first.post(f"/v1/generations/{wanted}/activate", {})
            wait_for(functools.partial(wrote, mine, wanted))
        answer = first.post("/v1/forget", {"path": f"{SECRETS[0][1]}.md"})
        assert answer["generations"] == ["g000002"] and answer["writes"] == "g000001"
        told_at = len(mine) + 1  # one may be under way
        wait_for(lambda: len(mine) > told_at + 3)
        assert {generation for _, generation in mine[told_at:]} == {"g000001"}
        with pytest.raises(VaultGPTError):
            told(first, model="g000002")
        assert told(second, model="g000002") == own, "the other's of that name writes on"
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert all(generation and text == texts[generation] for text, generation in mine)
    assert set(theirs) == {own}
    pids = {client.get("/v1/status")["worker"]["pid"] for client in (first, second)}
    assert len(pids) == 1


def test_no_word_of_one_vault_is_heard_seen_or_kept_by_another(
    both: tuple[list[VaultState], list[DaemonClient]], tmp_path: Path
) -> None:
    """1. Both ask with words of their own in prompts, titles, tags and paths: texts, alternatives,
    chances, questions, refusals. 2. All that each one's routes, events, logs and files say is read.

    Result: none of the words of the one is in anything of the other, nor in the common log.
    """
    states, clients = both
    heard: list[list[str]] = [[], []]

    def ask(number: int, **body: Any) -> None:
        try:
            heard[number].append(json.dumps(clients[number].post("/v1/completions", body)))
        except VaultGPTError as error:
            heard[number].append(str(error))

    def go(number: int) -> None:
        note, name, title, prompt = SECRETS[number]
        ours = {"title": title, "tags": [f"{note}tag"], "path": f"{name}.md"}
        for seed in range(6):
            text = f"I saw the {note}, the {prompt} and" * (1 + seed % 3)
            ask(number, prompt=text, max_tokens=24, seed=seed, n=1 + seed % 3, vaultgpt=ours)
            ask(number, prompt="The", max_tokens=24, seed=seed, logprobs=5, echo=True)
            ask(number, prompt="Then", max_tokens=40, vaultgpt={**ours, "form": "question"})
            ask(number, prompt="I saw the ", max_tokens=24, seed=seed, temperature=0)
            ask(number, prompt=prompt, model=prompt)
            with contextlib.suppress(VaultGPTError):
                clients[number].post("/v1/warm", {"prompt": text, "vaultgpt": ours})

    def listen(number: int) -> None:
        with contextlib.suppress(VaultGPTError, OSError):
            for event in clients[number].stream("/v1/events"):
                heard[number].append(str(event))

    for target in (listen, go):
        threads = [threading.Thread(target=target, args=(n,), daemon=True) for n in range(2)]
        for thread in threads:
            thread.start()
        if target is go:
            for thread in threads:
                thread.join(120)
    for number, client in enumerate(clients):
        for path in ("status", "models", "generations", "tags", "options"):
            heard[number].append(json.dumps(client.get(f"/v1/{path}")))
        heard[number].append(metrics(client))
        heard[number] += [p.read_text("latin-1") for p in files(states[number].folder)]
        process = psutil.Process(client.pid)
        heard[number].append(f"{process.cmdline()} {process.environ()}")
    engine = psutil.Process(clients[0].get("/v1/status")["worker"]["pid"])
    assert engine.pid == clients[1].get("/v1/status")["worker"]["pid"]
    common = [(tmp_path / "said").read_text(), f"{engine.cmdline()} {engine.environ()}"]
    common += [p.read_text("latin-1") for p in files(states[0].folder.parent.parent / "logs")]
    for number in range(2):
        assert any(SECRETS[number][1] in said for said in heard[number]), "its own are seen"
        for word in SECRETS[1 - number]:
            assert not [said[:200] for said in (*heard[number], *common) if word in said], word


def wrote(heard: list[tuple[str, str | None]], generation: str) -> bool:
    return heard[-1][1] == generation


def metrics(client: DaemonClient) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {client.token}"})
    return connection.getresponse().read().decode()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
