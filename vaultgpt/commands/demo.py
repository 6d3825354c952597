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
from typing import Annotated, TypedDict

import typer
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from vaultgpt import children
from vaultgpt.bases.catalogue import PEBBLE, called
from vaultgpt.bases.estimate import estimate, human
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import remarks, resolve
from vaultgpt.commands.base import fetch_base
from vaultgpt.commands.common import JsonOption, command, err, out, print_json, progress, show_on
from vaultgpt.commands.train import round_sentences
from vaultgpt.errors import NotFound, Unavailable, VaultGPTError
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.settings import load_settings, save_option
from vaultgpt.state import VaultState, create_state, state_root
from vaultgpt.tasks.client import DaemonClient
from vaultgpt.tasks.continue_ import Request, write
from vaultgpt.tasks.init import findings
from vaultgpt.tasks.scan import scanned
from vaultgpt.tasks.train import TRAIN, TrainRequest, train
from vaultgpt.tasks.vault_service import Here, find_daemon, vault_service
from vaultgpt.vault.census import Census

_OPENINGS = {
    "journal": "Grey, then less grey. I went down to the Baths early and",
    "dream": "I am in",
    "poetry": "The heron",
}
_NEW_NOTE = "Journal/2024/2024-03-02.md"
_START_S, _NOTICE_S = 60.0, 60.0  # limits for the daemon to start, and to notice a note
# The second half in all; of it what writing takes; and the share of the rest that a round is told,
# for one told 180 s took 240 on a core that six shared. LEAST is what a round is given in any case.
_SECOND_S, _WRITING_S, _ROUND_SHARE, _LEAST_ROUND_S = 240.0, 45.0, 0.75, 45.0
_FULL_SHARE = 0.8  # of a full round's tokens: less is said
_NEXT_STEPS = """That was the whole of it. For your own notes:

  vaultgpt init ~/YourVault       what it finds there, what it will do
  vaultgpt train                  the first voice, in a few minutes
  vaultgpt continue --note NOTE   in your voice
  vaultgpt serve                  watch, learn at night, answer the hotkey

pebble, the embedded base, is small: a demonstration. `vaultgpt base` lists better ones for this
machine, `vaultgpt base smollm2` takes one; docs/bases.md says more. No note left this machine."""


class _Continuation(TypedDict):
    """One continuation, and the opening that it goes on from."""

    tags: list[str]
    generation: str
    prompt: str
    text: str


_Shown = dict[str, object]  # as CONTRACT's `demo` has it


@command("Begin")
def demo(
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1)] = 1,
    then: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Afterwards the same vault on another base, in four minutes more."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the whole job in about a minute: scan, learn, write, notice a new note, learn it."""
    started = time.monotonic()
    show = _Show(as_json)
    with tempfile.TemporaryDirectory(prefix="vaultgpt-demo-") as place:
        folder = Path(place)
        rounds, texts = _first_half(show, folder, seed)
        seconds = round(time.monotonic() - started, 1)
        answer: _Shown = {"rounds": rounds, "continuations": texts, "seconds": seconds}
        show.title(f"Done in {seconds:.0f} seconds")
        if then and then != PEBBLE:
            answer["then"] = _or_left_out(show, folder, then, seed, texts)
    show.say(_NEXT_STEPS)
    if shutil.which("vaultgpt") is None:  # after `make demo` it is in .venv alone
        here = Path(sys.executable).parent
        show.say(
            f"\n{here} is not on your PATH: install vaultgpt as README.md says, or write "
            f"{here / 'vaultgpt'} where it says vaultgpt."
        )
    if as_json:
        print_json(answer)


def _first_half(
    show: _Show, folder: Path, seed: int
) -> tuple[list[RoundAnswer], list[_Continuation]]:
    """The whole job on the embedded base."""
    with _home(folder / "state"):
        vault = folder / "vault"
        shutil.copytree(_examples() / "vault", vault)
        state = _init(show, vault)
        show.title("Learning it: the first voice")
        rounds = [_train(show, state)]
        with _daemon(state):
            show.title("Writing on, under three tags")
            continuations = [_continue(show, state, tag, seed) for tag in _OPENINGS]
            show.title("A new note is dropped into the vault")
            _drop_note(show, state)
            rounds.append(_train(show, state))
            continuations.append(_continue(show, state, "journal", seed + 1))
    return rounds, continuations


class _Show:
    """Says what happens: on standard output, or on standard error beside --json."""

    def __init__(self, as_json: bool) -> None:
        self.console = err if as_json else out

    def title(self, text: str) -> None:
        self.console.print()
        self.console.print(Rule(text, align="left", style="cyan"))

    def say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False)

    def beside(self, mine: _Continuation, theirs: _Continuation, name: str) -> None:
        """Two texts from one opening, in two columns."""
        table = Table(expand=True, box=None, padding=(0, 2, 1, 0), highlight=False)
        for title in ("pebble", name):
            table.add_column(f"#{mine['tags'][0]} · {title}", ratio=1, header_style="dim")
        table.add_row(*(Text(f"{one['prompt']}{one['text']}") for one in (mine, theirs)))
        self.console.print(table)


def _examples() -> Path:
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
    os.environ["VAULTGPT_HOME"] = str(folder)
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
    counts = _census(state)
    for sentence in findings(counts, state.vault, resolve(settings.base, state), settings):
        show.say(sentence)
    return state


def _census(state: VaultState) -> Census:
    """As `init` and `scan` count: a note is read once, and the ledger knows it then."""
    return Here(state).with_desk(lambda desk: scanned(desk, lambda _: None)).census


def _train(show: _Show, state: VaultState) -> RoundAnswer:
    with progress() as bar:
        answer = train(vault_service(state), False, show_on(bar))
    for sentence in round_sentences(answer):
        show.say(sentence)
    return answer


@contextmanager
def _daemon(state: VaultState) -> Iterator[None]:
    """`vaultgpt serve` in a process of its own, stopped as Ctrl-C stops it."""
    process = subprocess.Popen(
        children.command("vaultgpt", "serve", str(state.vault)),
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env=children.environment(offline=False),
        **children.spawn_options(),
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
    limit = time.monotonic() + _START_S
    while time.monotonic() < limit and process.poll() is None:
        if found := find_daemon(state):
            return found
        time.sleep(0.1)
    raise Unavailable("The daemon did not start.", f"Its log is in {state.logs}.")


def _continue(show: _Show, state: VaultState, tag: str, seed: int) -> _Continuation:
    answer = _write(state, tag, seed)
    show.say(f"#{tag} · {answer['generation']}", style="dim")
    show.say(f"{answer['prompt']}{answer['text']}\n")
    return answer


def _write(state: VaultState, tag: str, seed: int) -> _Continuation:
    """A page under a tag, from its opening on."""
    opening = _OPENINGS[tag]
    request = Request(opening, tags=(tag,), seed=seed, length="page", max_tokens=120)
    answer = write(vault_service(state), request)
    return {
        "tags": answer["tags"],
        "generation": answer["generation"],
        "prompt": opening,
        "text": answer["text"],
    }


# The second half ----------------------------------------------------------------------------------


def _or_left_out(
    show: _Show, folder: Path, name: str, seed: int, first: list[_Continuation]
) -> _Shown | None:
    """The second half; where it can't be, or Ctrl-C says no, a sentence: the first half stands."""
    try:
        return _second_half(show, folder, name, seed, first)
    except KeyboardInterrupt:
        show.say("\nLeft out, as you wish.")
    except VaultGPTError as error:
        show.say(f"The second half is left out. {error}")
    return None


def _second_half(
    show: _Show, folder: Path, name: str, seed: int, first: list[_Continuation]
) -> _Shown:
    """The same notes on a better base: fetched, one budgeted round, the same openings."""
    started = time.monotonic()
    show.title(f"The same notes on {Path(name).name} (Ctrl-C leaves it out)")
    with progress() as bar:
        base = fetch_base(name, None, bar)
    for sentence in remarks(base):
        show.say(sentence)
    with _home(folder / "state-2"):
        _share_models(base)
        state = create_state(folder / "vault")
        save_option(state.config, "base", base.name)
        left_s = _SECOND_S - _WRITING_S - (time.monotonic() - started)
        budget_s = max(_LEAST_ROUND_S, _ROUND_SHARE * left_s)
        service = vault_service(state, [f"training.first_round_s={budget_s:.0f}"])
        with progress() as bar:
            answer = service.ask(TRAIN, TrainRequest(fresh=False), show_on(bar))
        for sentence in (*round_sentences(answer), *_of_a_full_round(state, base, answer)):
            show.say(sentence)
        save_option(state.config, "training.pause", True)  # the full round is for another night
        with _daemon(state):
            texts = [_write(state, tag, seed) for tag in _OPENINGS]
    show.title("Side by side: the embedded base, and the better one")
    for mine, theirs in zip(first, texts, strict=False):
        show.beside(mine, theirs, called(base.name))
    seconds = round(time.monotonic() - started, 1)
    show.title(f"Done in {seconds:.0f} seconds more")
    show.say(f"{called(base.name)} stays here: `vaultgpt base {name}` takes it for your notes.")
    return {"base": base.name, "round": answer, "continuations": texts, "seconds": seconds}


def _of_a_full_round(state: VaultState, base: Base, answer: RoundAnswer) -> Iterator[str]:
    """What the texts below are of, where the time did for a part of what a night learns."""
    training, words = load_settings(state.config).training, _census(state)["words"]
    whole = estimate(words, base.parameters, vocab=base.vocab, training=training)
    read = answer["report"]["tokens"] if answer["report"] else 0
    if 0 < read < _FULL_SHARE * whole.tokens:
        percent = max(1, round(100 * read / whole.tokens))
        yield (
            f"A full round reads about {whole.tokens:,} tokens, in {human(whole.full_s)} when "
            f"nothing else runs; this one had time for {percent} % of them, so that what it "
            f"writes is a first sketch."
        )


def _share_models(base: Base) -> None:
    """Let the demo's own state find what was fetched into yours, and is kept there."""
    root = base.folder
    while root.name != "models" and root != root.parent:
        root = root.parent
    if root.name == "models":
        state_root().mkdir(mode=0o700, parents=True, exist_ok=True)
        (state_root() / "models").symlink_to(root, target_is_directory=True)


def _drop_note(show: _Show, state: VaultState) -> None:
    """Put a new entry into the vault and wait until the daemon knows it."""
    target = state.vault / _NEW_NOTE
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_examples() / "new-note.md", target)
    dropped, limit = time.monotonic(), time.monotonic() + _NOTICE_S
    while time.monotonic() < limit:
        if (daemon := find_daemon(state)) and _knows(daemon):
            show.say(f"{_NEW_NOTE}: noticed after {time.monotonic() - dropped:.1f} s.")
            return
        time.sleep(0.2)
    raise Unavailable("The daemon did not notice the new note.", f"Its log is in {state.logs}.")


def _knows(daemon: DaemonClient) -> bool:
    try:
        daemon.get(f"/v1/notes?path={_NEW_NOTE}")
    except NotFound:
        return False
    return True
