"""What `vaultgpt doctor` looks at: machine, state folder, ledger, generations, base, daemon.

Each finding says in one sentence what is wrong and what to do. Knows nothing about printing.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vaultgpt.bases import resolve, verify
from vaultgpt.client import find_daemon
from vaultgpt.config import load_settings
from vaultgpt.errors import VaultGPTError
from vaultgpt.files import PRIVATE_DIR, PRIVATE_FILE
from vaultgpt.generations import verify as verify_generation
from vaultgpt.ledger import Ledger
from vaultgpt.state import VaultState, state_root

NEEDED = (
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "tokenizers",
    "watchdog",
    "frontmatter",
    "aiohttp",
)
LEAST_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    mend: str = ""


def check_machine() -> list[Finding]:
    """Packages, and room on the disk that holds the state."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    packages = (
        Finding("packages", False, f"{', '.join(missing)} can't be found.", "Install again.")
        if missing
        else Finding("packages", True, "All are there.")
    )
    place = state_root()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    room = f"{free / 2**30:.0f} GiB free."
    disk = Finding("disk", free >= LEAST_FREE_BYTES, room, "A round needs about 1 GiB.")
    return [packages, disk]


def check_vault(state: VaultState, mend: bool = False) -> list[Finding]:
    """All that belongs to one vault. `mend` tightens modes and clears a dead daemon's file."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("vault", lambda: _vault(state)),
        ("settings", lambda: f"{len(vars(load_settings(state.config)))} sections read."),
        ("ledger", lambda: _ledger(state)),
        ("base", lambda: _base(state)),
        *((f"generation {folder.name}", _generation(folder)) for folder in _folders(state)),
    ]
    findings = [_modes(state, mend), _daemon(state, mend)]
    for name, check in checks:
        try:
            findings.append(Finding(name, True, check()))
        except VaultGPTError as error:
            findings.append(Finding(name, False, error.message, error.mend))
    return findings


def _vault(state: VaultState) -> str:
    if not state.vault.is_dir():
        raise VaultGPTError(
            f"{state.vault} is gone.", f"If it moved: `vaultgpt init NEW --adopt {state.vault}`."
        )
    return str(state.vault)


def _ledger(state: VaultState) -> str:
    with Ledger.open(state) as ledger:
        active = ledger.active()
        return f"{len(ledger.generations())} generations, active: {active or 'none'}."


def _base(state: VaultState) -> str:
    base = resolve(load_settings(state.config).base, state)
    verify(base)
    return f"{base.name}, {base.parameters / 1e6:,.0f} M parameters, every hash right."


def _folders(state: VaultState) -> list[Path]:
    return sorted(p for p in state.generations.glob("g*") if p.is_dir())


def _generation(folder: Path) -> Callable[[], str]:
    def check() -> str:
        verify_generation(folder)
        return "Every hash right."

    return check


def _modes(state: VaultState, mend: bool) -> Finding:
    """Nothing in the state folder may be readable by others."""
    loose = list(_loose(state.folder)) if os.name == "posix" else []
    if loose and mend:
        for path in loose:
            path.chmod(PRIVATE_DIR if path.is_dir() else PRIVATE_FILE)
        return Finding("privacy", True, f"{len(loose)} files were open to others and are not now.")
    if loose:
        return Finding(
            "privacy",
            False,
            f"{len(loose)} files are readable by others.",
            "Run `vaultgpt doctor --mend`.",
        )
    return Finding("privacy", True, "The state is readable by you alone.")


def _loose(folder: Path) -> Iterator[Path]:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield path


def _daemon(state: VaultState, mend: bool) -> Finding:
    if not state.runtime.exists():
        return Finding("daemon", True, "Not running; `vaultgpt serve` starts it.")
    if found := find_daemon(state):
        return Finding("daemon", True, f"Process {found.pid} listens on port {found.port}.")
    if mend:
        state.runtime.unlink(missing_ok=True)
        return Finding("daemon", True, "Cleared away after a daemon that died.")
    return Finding("daemon", False, "It ended without saying so.", "Start `vaultgpt serve` again.")
