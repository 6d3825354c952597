"""How a round that was begun ends before its verdict: its text is erased, and the ledger says why.

Knows nothing about training, verdicts or who asks.
"""

from __future__ import annotations

import contextlib
import shutil

from vaultgpt.errors import Conflict
from vaultgpt.files import locked
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.under_way import how_far, under_way
from vaultgpt.state import VaultState
from vaultgpt.training.paused import PausedRound, begun_round, lost

_BY_HAND = "you gave it up"


def sweep(state: VaultState, ledger: Ledger) -> None:
    """Erase staging folders, a measurement's too, but that of the round that was begun and never
    closed. The round lock is held: who stages anything holds it as well."""
    interrupted = ledger.rounds.interrupted()
    keep = f"r{interrupted.number:06d}" if interrupted else ""
    for folder in state.staging.glob("*"):
        if folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)


def give_up(ledger: Ledger, found: PausedRound, why: str, now: float) -> str:
    """End a round that was begun, and erase its text; what is said of it.

    The text goes first: on a full disk the ledger can't be written before there is room."""
    said = found.ends(why)
    shutil.rmtree(found.folder, ignore_errors=True)
    ledger.rounds.abandon(found.row.number, now, said, by_hand=why == _BY_HAND)
    return said


def give_up_by_hand(state: VaultState, ledger: Ledger, now: float) -> str:
    """End the round that waits since a person wants so; the sentence, "" where none waits.

    Conflict while it runs."""
    far = how_far(under_way(state))
    with locked(state.round_lock, busy(far, "Stop it first: Ctrl-C where it runs.")):
        sweep(state, ledger)
        found = begun_round(ledger)
        return "" if found is None else give_up(ledger, found, _BY_HAND, now)


def busy(far: str, mend: str) -> Conflict:
    """That a round is under way, and how far."""
    return Conflict(f"A round is under way already{': ' * bool(far)}{far}.", mend)


def end_paused(state: VaultState, ledger: Ledger, now: float) -> str:
    """Erase a round that waits and learns what must not be learned any more; the sentence, or "".

    Nothing is done beside a round that runs: that looks itself."""
    with contextlib.suppress(Conflict), locked(state.round_lock, Conflict("A round runs.")):
        sweep(state, ledger)  # of one that was killed before its row: its text too
        return end_lost(ledger, now)
    return ""


def end_lost(ledger: Ledger, now: float) -> str:
    """The same of the round that was begun, its lock held and its trainer gone."""
    found = begun_round(ledger)
    if found is None or not (why := lost(ledger, found)):
        return ""
    return give_up(ledger, found, why, now)


def must_stop(ledger: Ledger) -> bool:
    """Whether the long round under way learns what must not be learned any more."""
    found = begun_round(ledger)
    return found is not None and found.long and bool(lost(ledger, found))
