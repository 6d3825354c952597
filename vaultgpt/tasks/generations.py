"""GenerationList as a person asks about them: the list, and which one writes.

Knows nothing about terminals or HTTP.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from typing_extensions import TypedDict

from vaultgpt.errors import NotFound
from vaultgpt.generation_folders import verify
from vaultgpt.tasks.request import Question
from vaultgpt.tasks.schemas import check_model
from vaultgpt.tasks.vault_service import Desk, Task


class Generation(TypedDict):
    """A kept generation, with its figures and what the gate said."""

    id: str
    created: float
    kind: str
    base: str
    parent: str | None
    words: int
    active: bool
    barred: bool
    promoted: bool
    why: str
    held_out: float | None
    held_out_base: float | None
    machine: str | None  # another one that it was learned on


class _GenerationList(TypedDict):
    """Kept generations, newest first."""

    generations: list[Generation]


class _Active(TypedDict):
    """Which generation writes from now on; null for the base alone."""

    active: str | None


def _generation(name: str) -> str:
    if check_model(name) == "mirror":
        raise NotFound("There is no such voice.")
    return name


class ActivateRequest(Question):
    """A generation's id, or "base"."""

    id: Annotated[str, AfterValidator(_generation)]


def _list(desk: Desk, _asked: None) -> _GenerationList:
    kept = desk.ledger.generations
    active, barred = kept.active(), kept.barred()
    rounds = {r.generation: r for r in desk.ledger.rounds.all() if r.generation}
    rows = []
    for row in reversed(kept.all()):
        done = rounds.get(row.id)
        report = (done.report or {}) if done else {}
        bits = report.get("bits_per_byte") or {}
        rows.append(
            Generation(
                id=row.id,
                created=row.created,
                kind=row.kind,
                base=row.base,
                parent=row.parent,
                words=row.words,
                active=row.id == active,
                barred=row.id in barred,
                promoted=row.promoted,
                why=(done.verdict or "") if done else "",
                held_out=bits.get("held_out"),
                held_out_base=bits.get("held_out_base"),
                machine=(report.get("learning") or {}).get("machine"),
            )
        )
    return _GenerationList(generations=rows)


def _activate(desk: Desk, asked: ActivateRequest) -> _Active:
    """NotFound, Conflict for a barred one, GenerationError for damaged files."""
    kept, wanted = desk.ledger.generations, None if asked.id == "base" else asked.id
    if wanted is not None:
        verify(desk.state.generations / kept.usable(wanted).id)
    kept.activate(wanted, desk.now)
    return _Active(active=wanted)


GENERATIONS = Task(
    "GET", "/v1/generations", "The history of generations", None, _GenerationList, work=_list
)
ACTIVATE = Task(
    "POST",
    "/v1/generations/{id}/activate",
    "Write with that generation from now on",
    ActivateRequest,
    _Active,
    work=_activate,
    writes="voice",
)
