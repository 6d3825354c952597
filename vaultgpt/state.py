"""Where a vault's state lives: the root, vaults.json, and one private folder for each vault.

Knows nothing about what is stored there. State never lies inside a vault.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from vaultgpt.errors import NotFound, StateError, VaultError
from vaultgpt.files import make_private_dir, read_json, write_atomic, write_json


def state_root() -> Path:
    """VAULTGPT_HOME, else the platform's place for application data."""
    if home := os.environ.get("VAULTGPT_HOME"):
        return Path(home).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "vaultgpt"
    if os.name == "nt":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "vaultgpt"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "vaultgpt"


@dataclass(frozen=True)
class VaultState:
    """The places of one vault's state. `vault` is its realpath."""

    vault: Path
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.sqlite3"

    @property
    def memory(self) -> Path:
        """The append-only, checksummed file of what can't be rebuilt from the vault."""
        return self.folder / "memory.jsonl"

    @property
    def runs(self) -> Path:
        """Folder of the copy guard's index of keyed word-run hashes."""
        return self.folder / "runs"

    @property
    def generations(self) -> Path:
        return self.folder / "generations"

    @property
    def bases(self) -> Path:
        """Copies of embedded bases that kept generations need."""
        return self.folder / "bases"

    @property
    def staging(self) -> Path:
        """Work in progress of training rounds."""
        return self.folder / "staging"

    @property
    def voice(self) -> Path:
        """Figures of what the report measured, one small file a generation."""
        return self.folder / "voice"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def runtime(self) -> Path:
        return self.folder / "runtime.json"

    @property
    def lock(self) -> Path:
        return self.folder / "daemon.lock"

    @property
    def round_lock(self) -> Path:
        """Held by whoever runs a training round: the daemon or the command line."""
        return self.folder / "round.lock"

    @property
    def secret_path(self) -> Path:
        return self.folder / "secret"

    @property
    def token_path(self) -> Path:
        return self.folder / "token"

    def secret(self) -> bytes:
        """32 random bytes that key every hash of the author's text; made on first use."""
        return bytes.fromhex(_once(self.secret_path))

    def token(self) -> str:
        """The API's bearer token; made on first use."""
        return _once(self.token_path)

    def rotate_token(self) -> str:
        """A new token; the old one stops working when the daemon next reads it."""
        token = secrets.token_hex(32)
        write_atomic(self.token_path, token)
        return token


def _once(path: Path) -> str:
    if not path.exists():
        write_atomic(path, secrets.token_hex(32))
    return path.read_text(encoding="ascii").strip()


def real_vault(path: Path) -> Path:
    """The vault's realpath; VaultError for a missing place or a file."""
    real = Path(os.path.realpath(path.expanduser()))
    if not real.exists():
        raise VaultError(f"There is no folder {path}.", "Give the folder that holds your notes.")
    if not real.is_dir():
        raise VaultError(
            f"{path} is a file, not a folder.", "Give the folder that holds your notes."
        )
    return real


def known_vaults(root: Path | None = None) -> dict[Path, Path]:
    """Vault realpath -> state folder, as vaults.json has it."""
    root = root or state_root()
    path = root / "vaults.json"
    if not path.exists():
        return {}
    try:
        return {Path(v): root / "vaults" / name for v, name in read_json(path)["vaults"].items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        raise StateError(
            f"{path} is damaged.", "Run `vaultgpt doctor`, or `vaultgpt init VAULT` anew."
        ) from None


def _save_vaults(root: Path, vaults: dict[Path, Path]) -> None:
    write_json(root / "vaults.json", {"vaults": {str(v): f.name for v, f in vaults.items()}})


def create_state(vault: Path, adopt: Path | None = None) -> VaultState:
    """Open or make the vault's state folder; `adopt` hands a moved vault its old folder."""
    real, root = real_vault(vault), Path(os.path.realpath(state_root()))
    if root == real or real in root.parents:
        raise StateError(
            "The state folder would lie inside the vault, where sync could carry it.",
            "Set VAULTGPT_HOME to a place outside it.",
        )
    make_private_dir(root)
    make_private_dir(root / "vaults")
    vaults = known_vaults(root)
    if adopt is not None:
        vaults = {v: f for v, f in vaults.items() if f != adopt}
        vaults[real] = adopt
    if real not in vaults:
        name = re.sub(r"[^A-Za-z0-9]+", "-", real.name).strip("-").lower()[:40] or "vault"
        vaults[real] = root / "vaults" / f"{name}-{secrets.token_hex(4)}"
    _save_vaults(root, vaults)
    state = VaultState(real, vaults[real])
    for folder in (
        state.folder,
        state.generations,
        state.staging,
        state.logs,
        state.runs,
        state.bases,
    ):
        make_private_dir(folder)
    return state


def drop_state(vault: Path) -> None:
    """Forget the vault's line in vaults.json (its folder is the caller's to erase)."""
    root = state_root()
    vaults = known_vaults(root)
    vaults.pop(vault, None)
    _save_vaults(root, vaults)


def find_state(given: Path | None, cwd: Path | None = None) -> VaultState:
    """The state of the vault given, of the one around `cwd`, or of the only one known.

    NotFound with the mend when none or several could be meant.
    """
    vaults = known_vaults()
    if given is not None:
        real = real_vault(given)
        for place in (real, *real.parents):
            if place in vaults:
                return VaultState(place, vaults[place])
        raise NotFound(f"{given} is not set up yet.", f"Run `vaultgpt init {given}`.")
    here = Path(os.path.realpath(cwd or Path.cwd()))
    for place in (here, *here.parents):
        if place in vaults:
            return VaultState(place, vaults[place])
    alive = {v: f for v, f in vaults.items() if v.is_dir()}
    if len(alive) == 1:
        ((vault, folder),) = alive.items()
        return VaultState(vault, folder)
    if not alive:
        raise NotFound("No vault is set up yet.", "Run `vaultgpt init VAULT`.")
    raise NotFound("Several vaults are set up; say which.", "Give the vault's folder.")
