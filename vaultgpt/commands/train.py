"""`vaultgpt train [--fresh]`: one round now, by the daemon when one runs."""

from __future__ import annotations

import time
from collections import deque
from typing import Annotated

import typer
from rich.progress import Progress

from vaultgpt.bases.estimate import human
from vaultgpt.commands.common import (
    ChangesOption,
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
from vaultgpt.report.sentences import round_sentences
from vaultgpt.tasks.service import vault_service
from vaultgpt.tasks.train import train as train_round
from vaultgpt.wire import Hear, ProgressEvent
from vaultgpt.workers import Machine


@command("Learn")
def train(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Learn the whole vault anew from the base rather than only what is new."
        ),
    ] = False,
    host: Annotated[
        str | None,
        typer.Option("--on", metavar="HOST", help="Learn on another machine, by ssh."),
    ] = None,
    program: Annotated[
        str, typer.Option("--program", help="With --on: the command that is vaultgpt there.")
    ] = "vaultgpt",
    changes: ChangesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn now. A generation that is not shown to be as good as the last is not used."""
    state = locate(vault or vault_argument)
    machine = Machine(host, program) if host else None
    service = vault_service(state, changes or (), here=machine is not None)
    with progress() as bar:
        answer = train_round(service, fresh, show_on(bar), machine)
    if as_json:
        print_json(answer)
    else:
        for sentence in round_sentences(answer):
            out.print(sentence, markup=False)


_PHASES = {
    "read": "Reading the vault",
    "load": "Loading the base",
    "evaluate": "Measuring",
    "send": "Sending",
    "train": "Learning",
    "fetch": "Fetching",
    "measure": "Measuring",
}
_LOOK_BACK_S = 30.0  # the pace of which the time left is reckoned


class TimeLeft:
    """How long a phase still takes, at its pace of the last half minute."""

    def __init__(self) -> None:
        self._phase, self._seen = "", deque[tuple[float, float]]()

    def look(self, phase: str, fraction: float, now: float) -> float | None:
        """Seconds; None before there is a pace. `now` is of any clock."""
        if phase != self._phase:
            self._phase, self._seen = phase, deque()
        self._seen.append((now, fraction))
        while len(self._seen) > 2 and now - self._seen[1][0] > _LOOK_BACK_S:
            self._seen.popleft()
        since, before = self._seen[0]
        spent = now - since
        done = fraction - before
        return (1 - fraction) * spent / done if done > 0 and spent >= 1 else None


def show_on(bar: Progress) -> Hear:
    """What draws a round's progress, with the time left as it is now."""
    task = bar.add_task("Reading the vault", total=1.0)
    left = TimeLeft()

    def show(event: ProgressEvent) -> None:
        if event.get("event") == "say":
            err.print(event["text"], markup=False)
            return
        phase, fraction = str(event.get("phase")), float(event.get("fraction") or 0)
        seconds = left.look(phase, fraction, time.monotonic())
        facts = [f"{speed:,.0f} tokens/s"] if (speed := event.get("tokens_per_s")) else []
        facts += [f"{human(seconds)} left"] if seconds is not None else []
        said = _PHASES.get(phase, "Working") + (f" ({', '.join(facts)})" if facts else "")
        bar.update(task, completed=fraction, description=said)

    return show
