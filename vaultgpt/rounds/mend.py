"""After a crash: folders and ledger brought together again.

Knows nothing about training or verdicts.
"""

from __future__ import annotations

import os
from functools import partial

from vaultgpt import generation_folders
from vaultgpt.generation_folders import Manifest
from vaultgpt.ledger import GenerationRow, LearnedParagraph, Ledger
from vaultgpt.rounds.ending import sweep
from vaultgpt.rounds.outcome import rows_of
from vaultgpt.state import VaultState
from vaultgpt.wire import ReportRow


def repair(state: VaultState, ledger: Ledger, now: float) -> list[str]:
    """Bring folders and ledger together after a crash; what was mended, in sentences.

    A sound published folder without a row is completed from its manifest, and one that was
    missing is kept again. What is damaged is set aside, never erased, and the newest sound kept
    generation of its lineage, or else of any, becomes active; a disk that would not give a file
    just now changes nothing. Staging folders of closed rounds are erased."""
    generation_folders.sweep(state)
    mended = _adopt(state, ledger, now) + replace_damaged(state, ledger, now)
    sweep(state, ledger)
    return mended


def _adopt(state: VaultState, ledger: Ledger, now: float) -> list[str]:
    known = {g.id: g.status for g in ledger.generations.all(kept=False)}
    mended: list[str] = []
    for name in generation_folders.published(state):
        if known.get(name) == "kept":
            continue
        if known.get(name) == "erased":
            generation_folders.erase(state, name)
            mended.append(f"{name} is no longer kept and is erased.")
            continue
        found = generation_folders.condition(state.generations / name)
        if found == "damaged":
            generation_folders.set_aside(state, name)
            mended.append(f"{name} is damaged and set aside.")
        elif found != "unreadable" and name in known:
            ledger.generations.set_status(name, "kept")
            mended.append(f"{name} is back.")
        elif found == "sound":
            mended += _enter(state, ledger, name, now)
    if mended and ledger.meta("rebuilt"):
        _remember_active(ledger, now)
    return mended


def _enter(state: VaultState, ledger: Ledger, name: str, now: float) -> list[str]:
    """A folder that the ledger does not know."""
    try:
        manifest = generation_folders.verify(state.generations / name)
        row, learned = rows_of(name, manifest)
    except (KeyError, TypeError, ValueError):
        generation_folders.set_aside(state, name)
        return [f"{name} does not say what it learned and is set aside."]
    _complete(ledger, row, learned, manifest, now)
    return [f"{name} was published just before a crash; it is entered in the ledger."]


def _complete(
    ledger: Ledger,
    row: GenerationRow,
    learned: list[LearnedParagraph],
    manifest: Manifest,
    now: float,
) -> None:
    """Do the transaction that the crash cut off; after a lost ledger only enter what is there."""
    open_round = ledger.rounds.interrupted()
    report: ReportRow = {**manifest["report"], "losses": []}
    verdict = manifest["verdict"]
    close = partial(
        ledger.rounds.close,
        verdict=verdict["why"],
        report=report,
        checks=verdict.get("checks", []),
        generation=row,
        learned=learned,
        waited=manifest.get("waited", []),
        sampled=bool(manifest.get("sampled")),
    )
    if open_round is not None and open_round.number == row.round:
        close(row.round, now, promoted=row.promoted)
        return
    ledger.rounds.open(
        row.round,
        row.kind,
        "Known from its generation's manifest.",
        row.created,
        plan_digest="",
        sampled=bool(manifest.get("sampled")),
    )
    close(row.round, row.created, promoted=False)
    ledger.rounds.mark_promoted(row.round, row.promoted)


def _remember_active(ledger: Ledger, now: float) -> None:
    """After a lost ledger: the generation memory.jsonl last called active, or the newest usable."""
    if ledger.generations.active() is not None:
        return
    usable = [g.id for g in ledger.generations.all_usable()]
    remembered = ledger.meta("remembered_active")
    if remembered in usable:
        ledger.generations.activate(remembered, now)
    elif usable:
        ledger.generations.activate(usable[-1], now)


def replace_damaged(state: VaultState, ledger: Ledger, now: float) -> list[str]:
    """Take out kept generations that are damaged or gone; may be done beside a round."""
    active = ledger.generations.active()
    mended: list[str] = []
    writes = active is None  # whether what is active can write
    for row in ledger.generations.all():
        if row.id == active or not os.path.exists(
            state.generations / row.id / generation_folders.MANIFEST
        ):
            found = generation_folders.condition(state.generations / row.id)
            mended += _take_out(state, ledger, row.id, found)
            writes = writes or (row.id == active and found in ("sound", "unreadable"))
    if active is not None and not writes:
        usable = _usable(state, ledger, active, mended)
        ledger.generations.activate(usable, now)
        mended.append(f"{usable or 'The base'} is active instead of {active}.")
    return mended


def _take_out(
    state: VaultState, ledger: Ledger, name: str, found: generation_folders.Condition
) -> list[str]:
    """A kept generation that is damaged or gone is no longer kept."""
    if found == "damaged":
        generation_folders.set_aside(state, name)
        ledger.generations.set_status(name, "damaged")
        return [f"{name} is damaged and set aside."]
    if found == "gone":
        ledger.generations.set_status(name, "missing")
        return [f"{name} is gone."]
    return []


def _usable(state: VaultState, ledger: Ledger, active: str, mended: list[str]) -> str | None:
    """The newest sound generation of its lineage, or else of any; damaged ones are set aside."""
    usable = sorted((g.id for g in ledger.generations.all_usable()), reverse=True)
    chain = [g.id for g in ledger.generations.lineage(active) if g.id in usable]
    for name in chain + usable:
        found = generation_folders.condition(state.generations / name)
        if found == "sound":
            return name
        mended += _take_out(state, ledger, name, found)
    return None
