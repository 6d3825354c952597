"""What is known of a vault, what writes now, and what is next.

The figures are the ledger's; what runs is only known to a daemon. Knows nothing about terminals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from vaultgpt import __version__
from vaultgpt.corpus.words import LEAST_WORDS
from vaultgpt.errors import VaultError, VaultGPTError
from vaultgpt.rounds.under_way import RoundProgress, under_way
from vaultgpt.tasks.vault_service import API_VERSION, Desk, Here, Task
from vaultgpt.wire import CheckRow, Hear

if TYPE_CHECKING:
    from vaultgpt.ledger import Ledger, RoundRow

# Only what starts by itself is paused.
_BY_SETTING = "training.pause is true; `vaultgpt config training.pause false` ends that."


class Judged(TypedDict):
    """What the gate said of a round."""

    round: int
    kind: str
    promoted: bool
    why: str
    generation: str | None
    at: float | None
    checks: list[CheckRow]
    written_in: str | None  # the arithmetic that was judged; None for rounds before it was noted


class _PausedTraining(TypedDict):
    """A full round that was begun and goes on another night; until then the old voice writes."""

    round: int
    fraction: float  # of its learning that is done
    left_s: float  # at its pace so far


class Figures(TypedDict):
    """What the ledger and the settings say."""

    notes: int
    words: int
    pending_notes: int
    active: str | None
    writes: str | None  # the active one, unless it learned what was forgotten; null is the base
    earlier: str | None  # what `rollback` goes back to
    silenced: str | None  # why the active one does not write, and what to do
    last_verdict: Judged | None
    last_learned: float | None  # seconds since the epoch
    base: str  # the settings'
    writes_on: str  # the base that writes: until another in `base` has learned, the one before
    version: str
    api: int
    vault: str
    used: int
    pending_words: int
    ready_words: int
    paused: str | None
    paused_round: _PausedTraining | None
    language: str | None  # of the notes, "de", as a scan told it; None where it is not known
    quarantined: list[str]  # ids of notes that could not be read in time
    as_of: float | None  # when the folder was last compared with the ledger, since the epoch


class _NextRound(TypedDict):
    """When the next round starts, seconds since the epoch, and why."""

    when: float | None
    why: str


class _MirrorWorker(TypedDict):
    """The daemon's mirror worker."""

    running: bool
    pid: int | None
    dtype: str | None
    cost: float | None  # what int8 adds to the nats of fp32, as a share of them


class _DaemonPlace(TypedDict):
    """The running daemon's process."""

    pid: int
    port: int


class Status(Figures):
    """CONTRACT's `status`."""

    training: RoundProgress | None  # of the round under way
    next_training: _NextRound
    device: str | None
    problems: list[str]
    troubles: dict[str, str]  # the same by what is in trouble: "watch", "settings", "upgraded"
    worker: _MirrorWorker | None
    daemon: _DaemonPlace | None  # None where none runs


class _TagsAndYears(TypedDict):
    """Notes in use by tag and by year."""

    tags: dict[str, int]
    years: dict[str, int]


def judged(row: RoundRow) -> Judged:
    """The verdict of a closed round."""
    return Judged(
        round=row.number,
        kind=row.kind,
        promoted=bool(row.promoted),
        why=row.verdict or "",
        generation=row.generation,
        at=row.ended,
        checks=row.checks,
        written_in=(row.report or {}).get("written_in"),
    )


def silenced(ledger: Ledger) -> str | None:
    """Why the active generation does not write, and what to do; None where it does."""
    active, writes = ledger.generations.active(), ledger.generations.writing()
    if active == writes:
        return None
    return (
        f"{active} learned a note that was forgotten, so {writes or 'the base alone'} writes. "
        "`vaultgpt train` makes a voice without that note."
    )


def way_back(ledger: Ledger) -> str:
    """What ends that the base writes as it was chosen, in a sentence."""
    if ledger.generations.earlier():
        return "`vaultgpt rollback` brings your voice back."
    return "`vaultgpt train` makes a voice."


def figures(desk: Desk, rounds: Sequence[RoundRow] | None = None) -> Figures:
    """The ledger's part of `status`; `rounds` are its own, where they have been read. Blocks."""
    ledger, settings = desk.ledger, desk.settings
    rounds = ledger.rounds.all() if rounds is None else rounds  # two a day: 0.08 s in a year
    totals = ledger.notes.totals()
    pending = ledger.pending(desk.now, settings.schedule.quiet_s, listed=False)
    compared = ledger.compared()
    last = next((r for r in rounds if r.promoted is not None and r.verdict), None)
    learned = next((r.ended for r in rounds if r.promoted), None)
    return Figures(
        notes=totals["notes"],
        words=totals["words"],
        pending_notes=pending.notes,
        active=ledger.generations.active(),
        writes=ledger.generations.writing(),
        earlier=ledger.generations.earlier(),
        silenced=silenced(ledger),
        last_verdict=None if last is None else judged(last),
        last_learned=learned,
        base=settings.base,
        writes_on=ledger.generations.base(settings.base),
        version=__version__,
        api=API_VERSION,
        vault=str(desk.state.vault),
        used=totals["used"],
        pending_words=pending.words,
        ready_words=pending.ready_words,
        paused=ledger.paused() or (_BY_SETTING if settings.training.pause else None),
        paused_round=_paused_round(ledger),
        language=ledger.notes.known_language(),
        quarantined=ledger.notes.quarantined(),
        as_of=compared[0] if compared else None,
    )


def _paused_round(ledger: Ledger) -> _PausedTraining | None:
    from vaultgpt.training.paused import paused_round  # only whoever answers from the ledger pays

    found = paused_round(ledger)
    if found is None:
        return None
    return _PausedTraining(round=found.row.number, fraction=found.fraction, left_s=found.left_s)


def told_problems(told: Figures) -> dict[str, str]:
    """What of the figures is a problem, by the key that `problems` keeps it under."""
    said = {"silenced": told["silenced"]} if told["silenced"] else {}
    if told["language"] not in (None, "en"):
        from vaultgpt.tasks.language import unread  # with the catalogue, which most never need

        if why := unread(told["writes_on"], told["language"], told["base"]):
            said["language"] = why
    if ids := told["quarantined"]:
        said["quarantined"] = quarantine(ids)
    return said


def quarantine(ids: list[str]) -> str:
    """One sentence about notes that could not be read in time."""
    which = f"note {ids[0]}" if len(ids) == 1 else f"{len(ids)} notes ({', '.join(ids[:5])})"
    return (
        f"Reading {which} takes too long, so it is left out until it changes; "
        "`vaultgpt scan --problems` names it."
    )


def _here(service: Here, _asked: None, _hear: Hear) -> Status:
    """From the ledger alone, whatever the vault's size: no note is opened, no folder compared."""

    def look(desk: Desk) -> Status:
        from vaultgpt.bases.names import (
            resolve,  # these two take 0.2 s, and the daemon's answer none
        )
        from vaultgpt.settings import unknown_keys
        from vaultgpt.training.plan import due

        state, ledger = desk.state, desk.ledger
        compared, rounds = ledger.compared(), ledger.rounds.all()
        said = unknown_keys(state.config)
        troubles = {"settings": " ".join(said)} if said else {}
        troubles |= {f"vault {n}": one for n, one in enumerate(compared[1] if compared else ())}
        try:
            ledger.require_vault()
        except VaultError as error:  # its drive is not there: what is known is told all the same
            troubles["vault"] = str(error)
        try:
            base = resolve(desk.settings.base, state)
            why = due(ledger, desk.settings, base, desk.now, rounds=rounds).why
        except VaultGPTError as error:  # the base can't be used: the rest is told all the same
            why = ""
            troubles["base"] = str(error)
        told, training = figures(desk, rounds), under_way(state)
        troubles = {**told_problems(told), **troubles}
        return {
            **told,
            "training": training,
            "paused_round": None if training else told["paused_round"],
            "next_training": _NextRound(when=None, why=why),
            "device": desk.settings.mirror.device,
            "problems": [*troubles.values()],
            "troubles": troubles,
            "worker": None,
            "daemon": None,
        }

    return service.with_desk(look)


def first_step(status: Status) -> str | None:
    """The first thing to do where something is missing; None where all goes by itself."""
    if status["training"] or status["paused"] not in (None, _BY_SETTING):
        return None  # what paused it says itself what to do
    if status["as_of"] is None and status["daemon"] is None:
        return "`vaultgpt scan` reads the vault."
    if status["silenced"]:
        return "`vaultgpt train` makes a voice without what was forgotten."
    if status["writes"] is None and status["words"] >= LEAST_WORDS:
        if status["earlier"]:
            return "`vaultgpt rollback` brings your voice back: the base writes now."
        return f"`vaultgpt train` makes {'a' if status['last_learned'] else 'the first'} voice."
    if status["daemon"] is None:
        return "`vaultgpt serve` watches the vault, learns by itself and answers the hotkey."
    return None


def _tags(desk: Desk, _asked: None) -> _TagsAndYears:
    tags, years = desk.ledger.entries.census()
    return _TagsAndYears(tags=dict(tags.most_common()), years=dict(sorted(years.items())))


STATUS: Task[None, Status] = Task(
    "GET",
    "/v1/status",
    "Notes, words, the active generation, training and what is next",
    None,
    Status,
    here=_here,
)
TAGS = Task("GET", "/v1/tags", "Tags and years with their counts", None, _TagsAndYears, work=_tags)
