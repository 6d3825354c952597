"""`vaultgpt demo`: the whole job on a private copy of the example vault.

Runs what `init`, `train`, `serve` and `continue` run; nothing here exists only for the demo but
its words and its temporary folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.rule import Rule

from vaultgpt.bases import resolve
from vaultgpt.client import DaemonClient, find_daemon
from vaultgpt.commands.common import JsonOption, command, err, out, print_json, progress
from vaultgpt.commands.train import train_now
from vaultgpt.config import load_settings
from vaultgpt.errors import NotFound, Unavailable
from vaultgpt.state import VaultState, create_state
from vaultgpt.vault.census import census
from vaultgpt.vault.scan import read_vault
from vaultgpt.welcome import findings
from vaultgpt.wording import round_sentences
from vaultgpt.writing import Request, write

OPENINGS = {
    "journal": "Grey, then less grey. I went down to the Baths early and",
    "dream": "I am in",
    "poetry": "The heron",
}
NEW_NOTE = "Journal/2024/2024-03-02.md"
START_S, NOTICE_S = 60.0, 60.0  # limits for the daemon to start, and to notice a note
NEXT_STEPS = """That was the whole of it. For your own notes:

  vaultgpt init ~/YourVault       what it finds there, what it will do
  vaultgpt train                  the first generation, in a few minutes
  vaultgpt continue --note NOTE   in your voice
  vaultgpt serve                  watch, learn at night, answer the hotkey

pebble, the embedded base, is small: a demonstration. `vaultgpt base openai-community/gpt2` takes
a better one; docs/bases.md says what that costs. Nothing left this machine."""


@command
def demo(
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Show the whole job in about two minutes: scan, learn, write, notice a new note, learn it."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vaultgpt-demo-") as folder, _home(Path(folder)):
        show = _Show(as_json)
        vault = Path(folder) / "vault"
        shutil.copytree(examples() / "vault", vault)
        state = _init(show, vault)
        show.title("Learning it: the first generation")
        rounds = [_train(show, state)]
        with _daemon(state):
            show.title("Writing on, under three tags")
            continuations = [_continue(show, state, tag, seed) for tag in OPENINGS]
            show.title("A new note is dropped into the vault")
            _drop_note(show, state)
            rounds.append(_train(show, state))
            continuations.append(_continue(show, state, "journal", seed + 1))
        seconds = round(time.monotonic() - started, 1)
        if as_json:
            print_json({"rounds": rounds, "continuations": continuations, "seconds": seconds})
            return
        show.title(f"Done in {seconds:.0f} seconds")
        out.print(NEXT_STEPS, markup=False)


class _Show:
    """Says what happens: on standard output, or on standard error beside --json."""

    def __init__(self, as_json: bool) -> None:
        self.console = err if as_json else out

    def title(self, text: str) -> None:
        self.console.print()
        self.console.print(Rule(text, align="left", style="cyan"))

    def say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False)


def examples() -> Path:
    """The folder with the example vault: in the package when installed, else in the repository."""
    package = Path(__file__).parent.parent
    for place in (package / "_examples", package.parent / "examples"):
        if (place / "vault").is_dir():
            return place
    raise NotFound("The example vault is missing from this installation.", "Install it again.")


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Keep the demo's state in its own folder; put the environment back afterwards."""
    before = os.environ.get("VAULTGPT_HOME")
    os.environ["VAULTGPT_HOME"] = str(folder / "state")
    try:
        yield
    finally:
        if before is None:
            del os.environ["VAULTGPT_HOME"]
        else:
            os.environ["VAULTGPT_HOME"] = before


def _init(show: _Show, vault: Path) -> VaultState:
    show.title("A copy of the example vault")
    state = create_state(vault)
    settings = load_settings(state.config)
    counts = census(read_vault(state.vault, settings.rules, {}).read)
    for sentence in findings(counts, state.vault, resolve(settings.base, state), settings):
        show.say(sentence)
    return state


def _train(show: _Show, state: VaultState) -> dict[str, Any]:
    with progress() as bar:
        answer = train_now(state, bar)
    for sentence in round_sentences(answer):
        show.say(sentence)
    return answer


@contextmanager
def _daemon(state: VaultState) -> Iterator[None]:
    """`vaultgpt serve` in a process of its own, stopped as Ctrl-C stops it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultgpt", "serve", str(state.vault)],
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        _wait_for_daemon(state, process)
        yield
    finally:
        process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_daemon(state: VaultState, process: subprocess.Popen[bytes]) -> DaemonClient:
    limit = time.monotonic() + START_S
    while time.monotonic() < limit and process.poll() is None:
        if found := find_daemon(state):
            return found
        time.sleep(0.1)
    raise Unavailable("The daemon did not start.", f"Its log is in {state.logs}.")


def _continue(show: _Show, state: VaultState, tag: str, seed: int) -> dict[str, Any]:
    opening = OPENINGS[tag]
    answer = write(state, Request(opening, tags=(tag,), seed=seed, length="page", max_tokens=120))
    show.say(f"#{tag} · {answer['generation']}", style="dim")
    show.say(f"{opening}{answer['text']}\n")
    return {
        "tags": answer["tags"],
        "generation": answer["generation"],
        "prompt": opening,
        "text": answer["text"],
    }


def _drop_note(show: _Show, state: VaultState) -> None:
    """Put a new entry into the vault and wait until the daemon knows it."""
    target = state.vault / NEW_NOTE
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(examples() / "new-note.md", target)
    dropped, limit = time.monotonic(), time.monotonic() + NOTICE_S
    while time.monotonic() < limit:
        if (daemon := find_daemon(state)) and _knows(daemon):
            show.say(f"{NEW_NOTE}: noticed after {time.monotonic() - dropped:.1f} s.")
            return
        time.sleep(0.2)
    raise Unavailable("The daemon did not notice the new note.", f"Its log is in {state.logs}.")


def _knows(daemon: DaemonClient) -> bool:
    try:
        daemon.get(f"/v1/notes?path={NEW_NOTE}")
    except NotFound:
        return False
    return True
