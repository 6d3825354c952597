"""Where a vault's state lives: the root, vaults.json, and one private folder for each vault.

Knows nothing about what is stored there. State never lies inside a vault.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaultgpt.errors import NotFound, StateError, Unavailable, VaultError
from vaultgpt.files import (
    MAKING_S,
    PRIVATE_DIR,
    PRIVATE_FILE,
    ascii_text,
    made_once,
    make_private_dir,
    read_json,
    write_atomic,
    write_json,
)

if TYPE_CHECKING:
    from filelock import FileLock

_WHOSE = "vault.json"  # in a state folder: whose it is, from which vaults.json can be made anew
_SHORTEST = 16  # characters of a token that the author sets by hand


def state_root() -> Path:
    """VAULTGPT_HOME, else the platform's place for application data. Absolute."""
    return Path(os.path.abspath(_root()))


def _root() -> Path:
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

    def gone(self) -> Unavailable | None:
        """What to say where the folder is not in its place; None where it is."""
        if self.folder.is_dir():
            return None
        return Unavailable(
            f"The state folder {self.folder} is gone, or its disk is not mounted.",
            f"Bring it back, or end its daemon and begin anew: `vaultgpt init {self.vault} --new`.",
        )

    def secret(self) -> bytes:
        """32 random bytes that key every hash of the author's text; made on first use.

        StateError when it is missing or damaged and hashes were made with it: a new one would make
        every forgotten note a stranger."""
        return bytes.fromhex(made_once(self.secret_path, _is_secret, self._check_no_hashes))

    def renew_secret(self) -> bytes:
        """A new secret where the old one is lost and the author gave up what was hashed with it."""
        write_atomic(self.secret_path, secrets.token_hex(32))
        return self.secret()

    def _check_no_hashes(self) -> None:
        places = (self.ledger, self.memory, *self.runs.glob("*.npy"))
        if any(path.is_file() and path.stat().st_size for path in places):
            raise StateError(
                "The file `secret` of the state folder is "
                f"{'damaged' if self.secret_path.exists() else 'missing'}, and hashes were made "
                "with it: forgotten notes could be relearned.",
                "Put it back from a backup. If it is lost, say `vaultgpt train --fresh`: all is "
                "learned anew, and you forget notes again.",
            )

    def token(self) -> str:
        """The API's bearer token; made on first use, and where the file is empty or cut short."""
        return made_once(self.token_path, _is_token)

    @property
    def phone_token_path(self) -> Path:
        return self.folder / "token.phone"

    def phone_token(self) -> str:
        """The bearer token of the author's phone; it outlives the daemon. Made on first use."""
        return made_once(self.phone_token_path, _is_token)

    def rotate_phone_token(self) -> None:
        """Phones that were paired are not let in any more."""
        if self.phone_token_path.exists():
            write_atomic(self.phone_token_path, secrets.token_hex(32))

    def rotate_token(self) -> str:
        """A new token; the old one stops working when the daemon next reads it."""
        token = secrets.token_hex(32)
        self._made_token.unlink(missing_ok=True)
        write_atomic(self.token_path, token)
        write_atomic(self._made_token, _mark(token))
        return token

    def renew_token(self) -> str:
        """A new token where we made the old one: a start leaves none behind that somebody saw.

        One that the author wrote into the file stays."""
        token = self.token()
        ours = ascii_text(self._made_token)
        by_hand = ours != _mark(token) if ours else not _is_secret(token)
        return token if by_hand else self.rotate_token()

    @property
    def _made_token(self) -> Path:
        return self.folder / "token.made"


def _mark(token: str) -> str:
    """What tells a token that we made from one that was set by hand."""
    return hashlib.sha256(token.encode()).hexdigest()


def _is_secret(text: str) -> bool:
    return re.fullmatch("[0-9a-fA-F]{64}", text) is not None


def _is_token(text: str) -> bool:
    return len(text) >= _SHORTEST


def real_vault(path: Path) -> Path:
    """The vault's realpath; VaultError for a missing place or a file."""
    real = Path(os.path.realpath(path.expanduser()))
    if not os.path.isdir(real):
        wrong = f"There is no folder {path}, or its drive does not answer."
        if os.path.exists(real):
            wrong = f"{path} is a file, not a folder."
        raise VaultError(wrong, "Give the folder that holds your notes.")
    return real


def known_vaults(root: Path | None = None) -> dict[Path, Path]:
    """Vault realpath -> state folder, as vaults.json has it."""
    root = root or state_root()
    path = root / "vaults.json"
    try:
        return {Path(v): root / "vaults" / name for v, name in read_json(path)["vaults"].items()}
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError):
        return _vaults_of_folders(root)
    except OSError as error:
        mend = "Mend its permissions, or the disk."
        if isinstance(error, NotADirectoryError):
            mend = "A file stands where its folder should be: move it, or set VAULTGPT_HOME."
        raise StateError(f"{path} can't be read ({type(error).__name__}).", mend) from None


def _vaults_of_folders(root: Path) -> dict[Path, Path]:
    """The same from what every state folder says itself: vaults.json is lost or damaged."""
    found: dict[Path, Path] = {}
    folders = [path.parent for path in sorted((root / "vaults").glob("*/ledger.sqlite3"))]
    for folder in {*folders, *(path.parent for path in (root / "vaults").glob(f"*/{_WHOSE}"))}:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found[Path(str(read_json(folder / _WHOSE)["vault"]))] = folder
    if folders and not found:
        raise StateError(
            f"{root / 'vaults.json'} is lost or damaged, and no state folder says whose it is.",
            f'Write {{"vault": "its full path"}} into a file {_WHOSE} of its folder in '
            f"{root / 'vaults'}.",
        )
    return found


def _save_vaults(root: Path, vaults: dict[Path, Path]) -> None:
    for vault, folder in vaults.items():
        if folder.is_dir() and not _says(folder, vault):
            write_json(folder / _WHOSE, {"vault": str(vault)})
    write_json(root / "vaults.json", {"vaults": {str(v): f.name for v, f in vaults.items()}})


def _says(folder: Path, vault: Path) -> bool:
    try:
        return bool(read_json(folder / _WHOSE)["vault"] == str(vault))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def create_state(vault: Path, adopt: Path | None = None) -> VaultState:
    """Open or make the vault's state folder; `adopt` hands a moved vault its old folder."""
    real, root = real_vault(vault), Path(os.path.realpath(state_root()))
    _check_outside(root, real)
    make_private_dir(root, parents=True)
    make_private_dir(root / "vaults")
    with _vaults_lock(root):
        vaults = known_vaults(root)
        if adopt is not None:
            vaults = {v: f for v, f in vaults.items() if f != adopt}
            vaults[real] = adopt
        if real not in vaults:
            name = re.sub(r"[^A-Za-z0-9]+", "-", real.name).strip("-").lower()[:40] or "vault"
            vaults[real] = root / "vaults" / f"{name}-{secrets.token_hex(4)}"
        make_private_dir(vaults[real])
        _save_vaults(root, vaults)
    state = _checked(VaultState(real, vaults[real]))
    for folder in (state.generations, state.staging, state.logs, state.runs, state.bases):
        make_private_dir(folder)
    return state


def _checked(state: VaultState) -> VaultState:
    """The state, private and saying whose it is. StateError where it lies in the vault or is
    another user's, Unavailable where it is gone."""
    if (gone := state.gone()) is not None:
        raise gone
    for place in (state.folder, *(p for p in state.folder.iterdir() if p.is_symlink())):
        _check_outside(Path(os.path.realpath(place)), state.vault)
    status = state.folder.stat()
    if os.name == "posix" and status.st_uid != os.geteuid():
        raise StateError(
            f"{state.folder} belongs to another user.",
            "Run vaultgpt as that user, or give the folder back to yours (chown -R).",
        )
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:  # a backup loosened it
        try:
            state.folder.chmod(PRIVATE_DIR)
        except OSError as error:
            raise StateError(
                f"{state.folder} is open to others and can't be closed ({type(error).__name__}).",
                "Move the state to a file system with permissions: set VAULTGPT_HOME.",
            ) from None
    if not (state.folder / _WHOSE).exists():
        with contextlib.suppress(OSError):  # a full disk is no reason to stop here
            write_json(state.folder / _WHOSE, {"vault": str(state.vault)})
    return state


def _check_outside(place: Path, vault: Path) -> None:
    """StateError when a realpath lies in the vault, by its name or through a bind mount, or in any
    that Obsidian opened; what lies below a hidden folder Obsidian carries nowhere."""
    shown = True
    for above in (place, *place.parents):
        with contextlib.suppress(OSError):  # gone, or of a drive that does not answer
            another = shown and (above / ".obsidian").is_dir()
            if another or above == vault or os.path.samestat(above.stat(), vault.stat()):
                said = f"The state folder would lie inside the vault {above}, where sync could "
                raise StateError(f"{said}carry it.", "Set VAULTGPT_HOME to a place outside it.")
        shown = shown and not above.name.startswith(".")


def drop_state(vault: Path) -> None:
    """Forget the vault's line in vaults.json (its folder is the caller's to erase)."""
    root = state_root()
    with _vaults_lock(root):
        vaults = known_vaults(root)
        if (folder := vaults.pop(vault, None)) is not None:
            (folder / _WHOSE).unlink(missing_ok=True)
        _save_vaults(root, vaults)


def _vaults_lock(root: Path) -> FileLock:
    from filelock import FileLock

    return FileLock(root / "vaults.lock", timeout=MAKING_S, mode=PRIVATE_FILE)


def find_state(
    given: Path | None, cwd: Path | None = None, *, gone_too: bool = False
) -> VaultState:
    """The state of the vault given, of the one around `cwd`, or of the only one known.

    `gone_too`: one whose folder is gone is found by its recorded path, and one whose state is. Else
    VaultError, Unavailable; NotFound with the mend when none or several could be meant."""
    vaults = known_vaults()
    vault = _meant(vaults, cwd) if given is None else _given(given, vaults, gone_too)
    state = VaultState(vault, vaults[vault])
    return state if gone_too and state.gone() else _checked(state)


def _meant(vaults: Collection[Path], cwd: Path | None) -> Path:
    """The vault around `cwd`, or the only one that is there."""
    with contextlib.suppress(FileNotFoundError):  # the current folder is gone
        here = Path(os.path.realpath(cwd or Path.cwd()))
        for place in (here, *here.parents):
            if place in vaults:
                return place
    alive = [vault for vault in vaults if os.path.isdir(vault)]
    if len(alive) == 1:
        return alive[0]
    if alive:
        raise NotFound(
            f"Several vaults are set up: {_listed(alive)}.",
            "Say which with --vault VAULT, or stand in it.",
        )
    if vaults:
        raise NotFound(
            f"No folder of a vault that is set up is there: {_listed(vaults)}.",
            "If one moved: `vaultgpt init NEW --adopt OLD`; `vaultgpt vaults` tells more.",
        )
    raise NotFound("No vault is set up yet.", "Run `vaultgpt init VAULT`.")


def _given(given: Path, vaults: Collection[Path], gone_too: bool) -> Path:
    recorded = Path(os.path.abspath(given.expanduser()))
    if recorded in vaults and not os.path.exists(recorded):
        if gone_too:
            return recorded
        raise VaultError(
            f"The vault's folder {recorded} is gone, or its drive does not answer.",
            f"If it moved: `vaultgpt init NEW --adopt {recorded}`; to erase what was learned: "
            f"`vaultgpt remove {recorded}`.",
        )
    real = real_vault(given)
    for place in (real, *real.parents):
        if place in vaults:
            return place
    raise NotFound(f"{given} is not set up yet.", f"Run `vaultgpt init {given}`.")


def _listed(vaults: Iterable[Path], most: int = 5) -> str:
    names = [str(vault) for vault in sorted(vaults)]
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])
