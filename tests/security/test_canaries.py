"""No sentence of a note, title, prompt or file name leaves by a side door of a real daemon."""

from __future__ import annotations

import http.client
import json
import threading
from pathlib import Path
from typing import Any

import psutil

from tests.daemon.conftest import age
from tests.daemon.serving import Serving
from vaultgpt.errors import VaultGPTError
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState

NOTE = "marzipanorchard"
NAME = "quincejelly"
TITLE = "velvetlantern"
PROMPT = "copperheron"
CANARIES = (NOTE, NAME, TITLE, PROMPT)


def test_canaries_are_in_no_log_error_event_figure_or_argument(state: VaultState) -> None:
    """1. Notes, one of them broken, a file name, a title and prompts hold words that are nowhere
    else. 2. A real daemon reads, writes, refuses, trains until it is cancelled and fails. Result:
    none of the words is in its log, standard error, events, figures, refusals, arguments or
    environment, nor in any file of the state but the job of the round and the settings.
    """
    save_option(state.config, "training.pause", True)
    root = state.vault
    (root / f"{NAME}.md").write_text(f"---\ntitle: {TITLE}\n---\n# {TITLE}\n\nI saw the {NOTE}.\n")
    (root / f"{NAME} broken.md").write_text(f"---\ntags: [{NOTE}\n---\n{NOTE} {TITLE}\n")
    (root / "latin.md").write_bytes(f"{NOTE} ".encode() + b"\xff\xfe\x00" * 9)
    age(root)
    refusals: list[str] = []
    with Serving(state) as daemon:
        daemon.scanned()
        events: list[Any] = []
        listener = threading.Thread(target=lambda: events.extend(_heard(daemon)), daemon=True)
        listener.start()
        daemon.ask(prompt=f"I saw the {PROMPT}", max_tokens=3)
        for path, body in (
            ("/v1/completions", {"prompt": PROMPT, "n": PROMPT}),
            ("/v1/completions", {"prompt": PROMPT, "vaultgpt": {"path": f"{NAME}/../../x.md"}}),
            ("/v1/completions", {"prompt": PROMPT, PROMPT: 1}),
            ("/v1/completions", {"prompt": PROMPT, "model": PROMPT}),
            ("/v1/forget", {"note": f"{PROMPT}.md"}),
            ("/v1/accepted", {"text": 3, "path": PROMPT}),
        ):
            refusals.append(_ask(daemon, "POST", path, json.dumps(body)))
        refusals += [
            _ask(daemon, "GET", f"/v1/notes?path={PROMPT}.md", ""),
            _ask(daemon, "GET", f"/{PROMPT}", ""),
            _ask(daemon, "POST", "/v1/completions", f'{{"prompt": "{PROMPT}'),
        ]
        processes = [psutil.Process(daemon.process.pid), *daemon.workers()]
        arguments = " ".join(" ".join(p.cmdline()) + str(p.environ()) for p in processes)
        metrics = _ask(daemon, "GET", "/metrics", "")
        problems = str(daemon.status()["problems"])
        daemon.stop()
        said = daemon.process.communicate()[1] or ""
    log = (state.logs / "daemon.log").read_text()
    for word in CANARIES:
        for what in (log, said, str(events), metrics, problems, arguments, *refusals):
            assert word not in what, (word, what[:300])
    held = [p.name for p in state.folder.rglob("*") if p.is_file() and _holds(p)]
    assert set(held) <= {"ledger.sqlite3", "ledger.sqlite3-wal"}, held  # paths of notes: 0600


def _holds(path: Path) -> bool:
    body = path.read_bytes()
    return any(word.encode() in body for word in CANARIES)


def _heard(daemon: Serving) -> list[Any]:
    heard = []
    try:
        for event in daemon.client.stream("/v1/events"):
            heard.append(event)
    except (VaultGPTError, OSError):
        pass
    return heard


def _ask(daemon: Serving, method: str, path: str, body: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.client.port, timeout=60)
    headers = {
        "Authorization": f"Bearer {daemon.client.token}",
        "Content-Type": "application/json",
    }
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return f"{answer.getheaders()} {answer.read().decode()}"
