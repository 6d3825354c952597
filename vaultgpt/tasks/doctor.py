"""What `vaultgpt doctor` looks at: machine, state folder, ledger, generations, base, daemon.

Each finding says in one sentence what is wrong and what to do. Knows nothing about printing.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vaultgpt import __version__
from vaultgpt.bases.hashes import verify
from vaultgpt.bases.names import resolve
from vaultgpt.errors import VaultGPTError
from vaultgpt.files import Json, close_to_others, free_bytes, open_to_others
from vaultgpt.generation_folders import foreign_files, those_set_aside
from vaultgpt.generation_folders import verify as verify_generation
from vaultgpt.ledger import Ledger
from vaultgpt.settings import load_settings, unknown_keys
from vaultgpt.state import VaultState, state_root
from vaultgpt.tasks.status import quarantine, silenced
from vaultgpt.tasks.vault_service import find_daemon
from vaultgpt.tasks.vaults import all_vaults
from vaultgpt.vault.reconcile import closed_folders
from vaultgpt.vault.rules import RuleSet
from vaultgpt.vault.walk import walk
from vaultgpt.vault.watch import Watcher

_NEEDED = (
    *("torch", "transformers", "peft", "safetensors", "tokenizers", "watchdog", "yaml"),
    *("regex", "aiohttp"),
)
_LEAST_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    mend: str = ""


def check_machine() -> list[Finding]:
    """Packages, and room on the disk that holds the state."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    packages = (
        Finding("packages", False, f"{', '.join(missing)} can't be found.", "Install again.")
        if missing
        else Finding("packages", True, "All are there.")
    )
    free = free_bytes(state_root())
    room = f"{free / 2**30:.0f} GiB free."
    disk = Finding("disk", free >= _LEAST_FREE_BYTES, room, "A round needs about 1 GiB.")
    return [packages, disk]


def check_places(every: bool) -> list[Finding]:
    """Known vaults whose folder is gone (all vaults on `every`), and folders that none has."""
    found = all_vaults()
    findings = [
        Finding(
            f"vault {row['vault']}",
            row["there"],
            "It is there." if row["there"] else "Its folder is gone.",
            f"If it moved: `vaultgpt init NEW --adopt {row['vault']}`; to erase what was learned: "
            f"`vaultgpt remove {row['vault']}`.",
        )
        for row in found["vaults"]
        if every or not row["there"]
    ]
    return findings + [
        Finding("state", False, f"{folder} belongs to no vault.", f"`vaultgpt remove {folder}`.")
        for folder in found["strays"]
    ]


def check_vault(state: VaultState, mend: bool = False) -> list[Finding]:
    """All that belongs to one vault. `mend` tightens modes and clears a dead daemon's file."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("vault", lambda: _vault(state)),
        ("settings", lambda: _settings(state)),
        ("watching", lambda: _watching(state)),
        ("ledger", lambda: _ledger(state)),
        ("notes", lambda: _notes(state)),
        ("base", lambda: _base(state)),
        ("copy guard", lambda: _guard(state)),
        ("phone", lambda: _phone(state)),
        *((f"generation {folder.name}", _generation(folder)) for folder in _folders(state)),
        *((f"generation {folder.name}", _aside(folder)) for folder in those_set_aside(state)),
    ]
    findings = [_modes(state, mend), _daemon(state, mend)]
    told: dict[str, str] = {}  # what went wrong, by the check that met it first
    for name, check in checks:
        try:
            findings.append(Finding(name, True, check()))
        except VaultGPTError as error:
            first = told.setdefault(error.message, name)
            said = (error.message, error.mend)
            if first != name:
                said = ("It could not be looked at.", f"Mend {first} first.")
            findings.append(Finding(name, False, *said))
    return findings


def _vault(state: VaultState) -> str:
    if not os.path.isdir(state.vault):
        raise VaultGPTError(
            f"{state.vault} is gone, or its drive does not answer.",
            f"If it moved: `vaultgpt init NEW --adopt {state.vault}`.",
        )
    return str(state.vault)


def _settings(state: VaultState) -> str:
    if unknown := unknown_keys(state.config):
        raise VaultGPTError(" ".join(unknown), f"The file is {state.config}.")
    return f"{len(vars(load_settings(state.config)))} sections read."


def _watching(state: VaultState) -> str:
    """As the running daemon has it; else as it would be."""
    if daemon := find_daemon(state):
        problem = _troubles(daemon.get("/v1/status")).get("watch")
    else:
        watcher = Watcher(state.vault, lambda: None, 1.0, 1.0)
        watcher.start()
        problem = watcher.problem
        watcher.stop()
    if problem:
        raise VaultGPTError(problem, "Until then it is compared on a timer.")
    return "What is saved is heard of."


def _notes(state: VaultState) -> str:
    """Which notes can't be read in time, and which folders and rules can't be read at all."""
    said = [quarantine(ids)] if (ids := _quarantined(state)) else []
    rules = load_settings(state.config).rules
    closed = [folder.rstrip("/") for folder in walk(state.vault).closed]
    said += [closed_folders(closed)] if closed else []
    said += RuleSet.load(state.vault, rules).problems
    if said:
        raise VaultGPTError(" ".join(said), "The rest of the vault is read.")
    return "Every folder and every note can be read."


def _phone(state: VaultState) -> str:
    server = load_settings(state.config).server
    if server.phone and not server.port:
        raise VaultGPTError(
            f"Phones are let in through {server.phone}, and the port changes at each start.",
            "Set server.port, and let your proxy forward to it.",
        )
    return f"Let in through {server.phone}." if server.phone else "None is let in."


def _quarantined(state: VaultState) -> list[str]:
    if not state.ledger.exists():
        return []
    with Ledger.open(state) as ledger:
        return ledger.notes.quarantined()


def _ledger(state: VaultState) -> str:
    with Ledger.open(state) as ledger:
        active = ledger.generations.active()
        said = ledger.meta("brought_over")
        kept = len(ledger.generations.all())
        voices = "1 voice" if kept == 1 else f"{kept} voices"
        brought = said and f"It was brought over from an older vaultgpt: {said}"
        told = (f"{voices}, active: {active or 'none'}.", silenced(ledger), brought)
        return " ".join(filter(None, told))


def _guard(state: VaultState) -> str:
    with Ledger.open(state) as ledger:
        if ledger.guard.mend():
            return "Its index was damaged, and has been made anew from the ledger."
    return "Its index is whole."


def _base(state: VaultState) -> str:
    base = resolve(load_settings(state.config).base, state)
    verify(base)
    return f"{base.name}, {base.parameters / 1e6:,.0f} M parameters, every hash right."


def _folders(state: VaultState) -> list[Path]:
    return sorted(p for p in state.generations.glob("g*") if p.is_dir())


def _generation(folder: Path) -> Callable[[], str]:
    def check() -> str:
        verify_generation(folder)
        foreign = foreign_files(folder)
        return "Every hash right." + (
            f" {foreign} files in its folder are none of its own." if foreign else ""
        )

    return check


def _aside(folder: Path) -> Callable[[], str]:
    def check() -> str:
        raise VaultGPTError(
            "It is damaged and set aside; another one writes.",
            "Put its folder back from a backup, or delete this one.",
        )

    return check


def _modes(state: VaultState, mend: bool) -> Finding:
    """Nothing in the state folder may be readable by others."""
    if mend and (closed := close_to_others(state.folder)):
        return Finding("privacy", True, f"{closed} files were open to others and are not now.")
    if loose := list(open_to_others(state.folder)):
        return Finding(
            "privacy",
            False,
            f"{len(loose)} files are readable by others.",
            "Run `vaultgpt doctor --mend`.",
        )
    return Finding("privacy", True, "The state is readable by you alone.")


def _daemon(state: VaultState, mend: bool) -> Finding:
    if not state.runtime.exists():
        return Finding("daemon", True, "Not running; `vaultgpt serve` starts it.")
    if found := find_daemon(state):
        told = found.get("/v1/status")
        if upgraded := _troubles(told).get("upgraded"):
            return Finding("daemon", False, upgraded, "`vaultgpt serve` again, where it does not.")
        where = f" It writes on {told['device']}." if told.get("device") else ""
        return Finding("daemon", True, f"Process {found.pid} listens on port {found.port}.{where}")
    if mend:
        state.runtime.unlink(missing_ok=True)
        return Finding("daemon", True, "Cleared away after a daemon that died.")
    return Finding("daemon", False, "It ended without saying so.", "Start `vaultgpt serve` again.")


def _troubles(told: Json) -> dict[str, str]:
    """What a daemon's `status` says does not work, by key; without keys it is an older vaultgpt."""
    if "troubles" not in told and told["version"] != __version__:
        said = f"It is vaultgpt {told['version']}; {__version__} is installed."
        return {"upgraded": said}
    troubles: dict[str, str] = told.get("troubles", {})
    return troubles
