"""Every vault that has a state: where it lies, whether it is still there, and a move recognised.

Knows nothing about terminals; reads no note.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from typing_extensions import TypedDict

from vaultgpt.bases.hashes import HashCache
from vaultgpt.errors import Conflict, NotFound, StateError, VaultError, VaultGPTError
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState, drop_state, find_state, known_vaults, state_root
from vaultgpt.tasks.vault_service import find_daemon
from vaultgpt.vault.walk import walk

_SAME_SHARE = 0.5  # of the notes recorded under the old path that must lie under the new one


class VaultRow(TypedDict):
    """One vault that is set up. Figures are those of its last scan; null where there was none."""

    vault: str
    state: str
    there: bool
    notes: int | None
    words: int | None
    active: str | None
    writes: str | None  # null is the base
    daemon: int | None  # the process that serves it


class _Vaults(TypedDict):
    """All that is set up, and state folders that belong to no vault."""

    vaults: list[VaultRow]
    strays: list[str]


def all_vaults() -> _Vaults:
    """Every known vault, those whose folder is gone too."""
    known = known_vaults()
    rows = [_row(VaultState(vault, folder)) for vault, folder in sorted(known.items())]
    return _Vaults(vaults=rows, strays=[str(folder) for folder in _strays()])


def _row(state: VaultState) -> VaultRow:
    notes = words = active = writes = None
    daemon: int | None = None
    try:
        if state.ledger.exists():
            with Ledger.open(state) as ledger:
                active, writes = ledger.generations.active(), ledger.generations.writing()
                totals = ledger.notes.totals()
            notes, words = totals["notes"], totals["words"]
        if found := find_daemon(state):
            daemon = found.pid
    except VaultGPTError:
        pass  # listed all the same: `doctor` says what is wrong with it
    return VaultRow(
        vault=str(state.vault),
        state=str(state.folder),
        there=os.path.isdir(state.vault),
        notes=notes,
        words=words,
        active=active,
        writes=writes,
        daemon=daemon,
    )


def _strays() -> list[Path]:
    """State folders that vaults.json does not name."""
    place, known = state_root() / "vaults", set(known_vaults().values())
    if not place.is_dir():
        return []
    return sorted(p for p in place.iterdir() if p.is_dir() and p not in known)


def moved_from(real: Path) -> Path | None:
    """The recorded path of the vault that the folder `real` was before it was moved; None.

    It is told by its notes: half of what was recorded lies here, and no longer there."""
    if real in known_vaults():
        return None
    here = _notes(real)
    for old, folder in known_vaults().items():
        before = _recorded(VaultState(old, folder))
        least = _SAME_SHARE * len(before)
        if before and len(before & here) >= least and len(before & _notes(old)) < least:
            return old
    return None


def _notes(folder: Path) -> set[str]:
    try:
        return set(walk(folder).files)
    except VaultError:
        return set()


def _recorded(state: VaultState) -> set[str]:
    if not state.ledger.exists():
        return set()
    try:
        with Ledger.open(state) as ledger:
            return set(ledger.notes.stamps())
    except StateError:
        return set()


def nested(real: Path) -> str | None:
    """A sentence where a vault lies inside another one; None where it does not."""
    for other in known_vaults():
        if other != real and (other in real.parents or real in other.parents):
            inner, outer = (real, other) if other in real.parents else (other, real)
            return (
                f"{inner} lies inside the vault {outer}, which is set up too: its notes are "
                f"learned by both. If that was a slip: `vaultgpt remove {inner}`."
            )
    return None


def to_take_over(real: Path, old: Path) -> Path:
    """The state folder of the vault that was at `old`, for the vault now at `real`.

    A state that `real` has of its own goes if it never learned; else Conflict. NotFound when
    nothing was set up at `old`."""
    vaults = known_vaults()
    old = Path(os.path.realpath(old.expanduser()))
    if old not in vaults:
        raise NotFound(f"No vault was set up at {old}.", "`vaultgpt vaults` lists those that were.")
    for one in vaults.keys() & {old, real}:
        _require_stopped(VaultState(one, vaults[one]))
    if real in vaults and real != old:
        own = VaultState(real, vaults[real])
        if own.generations.is_dir() and any(own.generations.glob("g*")):
            raise Conflict(
                f"{real} has learned a voice of its own since.",
                f"To give that up for the old one: `vaultgpt remove {real}`, then this again.",
            )
        erase(own)
    return vaults[old]


def _require_stopped(state: VaultState) -> None:
    """Conflict while its daemon runs."""
    if daemon := find_daemon(state):
        raise Conflict(
            f"The daemon (process {daemon.pid}) runs for {state.vault}.",
            "Stop it first (Ctrl-C where it runs).",
        )


def erasable(given: Path | None) -> VaultState:
    """What `remove` means: a vault, by its recorded path too, or a stray state folder.

    Conflict while its daemon runs."""
    if given is not None:
        folder = Path(os.path.abspath(given.expanduser()))
        if folder in _strays():
            return VaultState(folder, folder)
    state = find_state(given, gone_too=True)
    _require_stopped(state)
    return state


def erase(state: VaultState) -> None:
    """Erase a vault's state and its line in vaults.json. StateError where something stays."""
    drop_state(state.vault)
    shutil.rmtree(state.folder, ignore_errors=True)
    hashes = HashCache()
    for folder in (state.folder, state.vault):
        hashes.forget_below(folder)
    hashes.save()
    if state.folder.exists():
        raise StateError(f"Not all of {state.folder} could be erased.", "Delete it by hand.")
