"""`vaultgpt train [--fresh]`: one round now, by the daemon when one runs."""

from __future__ import annotations

import threading
import time
from typing import Annotated, Any

import typer
from rich.progress import Progress

from vaultgpt.client import DaemonClient, find_daemon
from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    err,
    locate,
    out,
    print_json,
    progress,
)
from vaultgpt.config import load_settings
from vaultgpt.errors import Conflict, TrainingError
from vaultgpt.rounds import run_round
from vaultgpt.state import VaultState
from vaultgpt.wording import round_sentences


@command
def train(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Learn the whole vault anew from the base rather than only what is new."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Learn now. A generation that is not shown to be as good as the last is not used."""
    state = locate(vault or vault_argument)
    with progress() as bar:
        answer = train_now(state, bar, fresh)
    if as_json:
        print_json(answer)
    else:
        for sentence in round_sentences(answer):
            out.print(sentence, markup=False)


def train_now(state: VaultState, bar: Progress, fresh: bool = False) -> dict[str, Any]:
    """One round, and after a vault's first (sampled) one the full one. CONTRACT's `train`."""
    daemon = find_daemon(state)
    run = _by_daemon if daemon else _here
    answer = run(state, daemon, bar, fresh)
    rounds = [answer]
    if answer.get("sampled") and answer["verdict"]["promoted"]:
        err.print(
            f"{answer['generation']} is ready after a first look at part of the vault; "
            "now the whole of it. Ctrl-C keeps what there is.",
            markup=False,
        )
        answer = run(state, daemon, bar, fresh)
        rounds.append(answer)
    return {**answer, "rounds": rounds} if len(rounds) > 1 else answer


def _here(
    state: VaultState, _daemon: DaemonClient | None, bar: Progress, fresh: bool
) -> dict[str, Any]:
    """Run a round in this process's own trainer worker; Ctrl-C ends it and keeps its checkpoint."""
    stop = threading.Event()
    box: dict[str, Any] = {}
    show = _progress(bar)

    def work() -> None:
        try:
            box["answer"] = run_round(
                state,
                load_settings(state.config),
                fresh=fresh,
                manual=True,
                on_progress=show,
                stop=stop,
                now=time.time,
            )
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=work, name="round")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        stop.set()
        thread.join(15)
        raise
    if "error" in box:
        raise box["error"]
    return dict(box["answer"])


def _progress(bar: Progress) -> Any:
    task = bar.add_task("Reading the vault", total=1.0)

    def show(event: dict[str, Any]) -> None:
        phase = {
            "load": "Loading the base",
            "evaluate": "Measuring",
            "train": "Learning",
            "measure": "Measuring",
        }.get(str(event.get("phase")), "Working")
        speed = event.get("tokens_per_s")
        bar.update(
            task,
            completed=float(event.get("fraction") or 0),
            description=f"{phase} ({speed:,.0f} tokens/s)" if speed else phase,
        )

    return show


def _by_daemon(
    state: VaultState, daemon: DaemonClient | None, bar: Progress, fresh: bool
) -> dict[str, Any]:
    """Ask the daemon for a round and follow its events to the verdict."""
    assert daemon is not None
    show = _progress(bar)
    events = daemon.stream("/v1/events")
    try:
        daemon.post("/v1/train", {"fresh": fresh})
    except Conflict:
        err.print("A round is under way already; waiting for it.", markup=False)
    try:
        for name, data in events:
            if name == "progress":
                show(data)
            elif name == "verdict":
                return dict(data)
            elif name == "error":
                raise TrainingError(str(data.get("message", "The round failed.")))
    except KeyboardInterrupt:
        daemon.post("/v1/train/cancel", {})
        raise
    raise TrainingError("The daemon ended before the round did.", "Its checkpoint is kept.")
