"""One round now: by the daemon, followed by its events, or by a trainer worker of our own.

Knows nothing about terminals or about what a round does.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial

from pydantic import Field
from typing_extensions import TypedDict

from vaultgpt.errors import Conflict, TrainingError
from vaultgpt.rounds.ending import give_up_by_hand
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.rounds.run import run_round
from vaultgpt.rounds.under_way import how_far
from vaultgpt.tasks.client import DaemonClient
from vaultgpt.tasks.request import Question
from vaultgpt.tasks.vault_service import Desk, Here, Task, VaultService
from vaultgpt.wire import Hear
from vaultgpt.workers.elsewhere import Lender

_LEAVE_S = 15.0  # for the trainer, once it was told to stop


class TrainRequest(Question):
    """A round now."""

    fresh: bool = Field(False, description="Learn the whole vault anew, from the base")


class _TwoRounds(RoundAnswer):
    """A vault's first round, which learns a sample, and the full one: the last one's answer."""

    rounds: list[RoundAnswer]


class Started(TypedDict):
    """The daemon starts a round of this kind; its events tell the rest."""

    started: bool
    kind: str
    why: str  # of a long round it says the hours
    takes_s: float | None  # of a full round over ten minutes, or what is left of a paused one


class CancelAnswer(TypedDict):
    """The running round is told to end."""

    cancelled: bool


class _GiveUpAnswer(TypedDict):
    """Whether a round waited that is given up now, and what is said of it."""

    given_up: bool
    why: str


def train(
    service: VaultService, fresh: bool, hear: Hear, machine: Lender | None = None
) -> RoundAnswer | _TwoRounds:
    """CONTRACT's `train`: one round, and after a vault's first (sampled) one the full one.

    `hear` is told progress, and sentences as {"event": "say", "text": ...}. Another `machine` may
    learn, and then the service is this process: no request over HTTP makes it reach out."""
    task = TRAIN if machine is None else replace(TRAIN, here=partial(_here, machine=machine))
    request = TrainRequest(fresh=fresh)
    first = service.ask(task, request, hear)
    if not (first["sampled"] and first["verdict"]["promoted"]):
        return first
    said = (
        f"{first['generation']} is ready after a first look at part of the vault; now the whole "
        "of it. Ctrl-C keeps what there is."
    )
    hear({"event": "say", "text": said})
    second = service.ask(task, request, hear)
    return {**second, "rounds": [first, second]}


def _here(
    service: Here, asked: TrainRequest, hear: Hear, machine: Lender | None = None
) -> RoundAnswer:
    """In a thread, so that Ctrl-C ends it and keeps its checkpoint."""
    stop = threading.Event()
    answers, errors = list[RoundAnswer](), list[BaseException]()

    def work() -> None:
        try:
            answer = run_round(
                service.state,
                service.settings,
                fresh=asked.fresh,
                manual=True,
                on_progress=hear,
                stop=stop,
                now=time.time,
                machine=machine,
            )
            answers.append(answer)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="round")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        stop.set()
        thread.join(_LEAVE_S)
        raise
    if errors:
        raise errors[0]
    return answers[0]


def _by_daemon(daemon: DaemonClient, asked: TrainRequest, hear: Hear) -> RoundAnswer:
    """Ask for a round and follow its events to the verdict."""
    events = daemon.stream("/v1/events")
    try:
        daemon.post(TRAIN.path, asked.model_dump())
    except Conflict:
        far = how_far(daemon.get("/v1/status")["training"])
        said = f"A round is under way already ({far}); waiting for it."
        hear({"event": "say", "text": said if far else "A round is under way; waiting for it."})
    try:
        for name, data in events:
            if name == "progress":
                hear(data)
            elif name == "say":
                hear({"event": "say", "text": str(data["text"])})
            elif name == "verdict":
                answer: RoundAnswer = data
                return answer
            elif name == "error":
                raise TrainingError(str(data.get("message", "The round failed.")))
    except KeyboardInterrupt:
        daemon.post(CANCEL.path, {})
        raise
    raise TrainingError(
        "The daemon ended before the round did.",
        "What it learned is kept: the next round goes on there.",
    )


def _give_up(desk: Desk, _asked: None) -> _GiveUpAnswer:
    said = give_up_by_hand(desk.state, desk.ledger, desk.now)
    return _GiveUpAnswer(given_up=bool(said), why=said or "No round is paused.")


TRAIN: Task[TrainRequest, RoundAnswer] = Task(
    "POST",
    "/v1/train",
    "Start a round now",
    TrainRequest,
    Started,
    here=_here,
    by_daemon=_by_daemon,
    writes="voice",
    status=202,
)
CANCEL: Task[None, CancelAnswer] = Task(
    "POST", "/v1/train/cancel", "End the running round", None, CancelAnswer
)
GIVE_UP: Task[None, _GiveUpAnswer] = Task(
    "POST",
    "/v1/train/give-up",
    "Give up the round that is paused or runs: its text is erased, the active voice stays",
    None,
    _GiveUpAnswer,
    _give_up,
    writes="voice",
)
