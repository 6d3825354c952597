"""Where base models lie and which one a name or a generation means. Never touches the network.

Knows nothing about downloading (hub.py) or about what makes a model usable (model.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vaultgpt
from vaultgpt.bases.model import Base, inspect, model_files
from vaultgpt.errors import BaseModelError
from vaultgpt.files import (
    fsync_dir,
    fsync_file,
    make_private_dir,
    read_json,
    sha256_file,
    write_json,
)
from vaultgpt.state import VaultState, state_root

PEBBLE = "pebble"
RECORD = "vaultgpt-base.json"  # in a downloaded model's folder: {name, revision, sha256}
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
# Short and old names people type, and what the hub calls them now.
KNOWN = {
    "gpt2": "openai-community/gpt2",
    "gpt-2": "openai-community/gpt2",
    "openai/gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
    "smollm2": "HuggingFaceTB/SmolLM2-135M",
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M",
    "smollm2-360m": "HuggingFaceTB/SmolLM2-360M",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B-Base",
    "qwen3-0.6b-base": "Qwen/Qwen3-0.6B-Base",
    "pythia-70m": "EleutherAI/pythia-70m",
    "pythia-160m": "EleutherAI/pythia-160m",
    "gemma-3-270m": "google/gemma-3-270m",
}


def pebble_folder() -> Path:
    """The folder of the base embedded in this package."""
    return Path(vaultgpt.__file__).parent / PEBBLE


def models_root() -> Path:
    """Where downloaded bases lie, shared by all vaults: models/org--name/COMMIT/."""
    return state_root() / "models"


def hub_folder(repo: str, commit: str) -> Path:
    return models_root() / repo.replace("/", "--") / commit


def as_folder(name: str) -> Path | None:
    """The absolute folder that `name` means when it is written as a path, else None."""
    path = Path(name).expanduser()
    if not (path.is_absolute() or name.startswith((".", "~"))):
        return None
    return Path(os.path.realpath(path))


def hub_id(name: str) -> tuple[str, str | None]:
    """("org/name", revision or None); BaseModelError for a name that can't be one."""
    found = HUB_ID.fullmatch(name)
    if found is None:
        raise BaseModelError(f"There is no base called {name!r}.", meant(name) or
                             "A base is pebble, a Hugging Face id such as openai-community/gpt2, "
                             "or a folder such as ./model.")
    return found["repo"], found["revision"]


def meant(name: str) -> str:
    """ "Did you mean ...?" for a common slip, else ""."""
    import difflib

    asked = name.split("@", 1)[0].lower()
    short = asked.rsplit("/", 1)[-1]
    by_key = {PEBBLE: PEBBLE, **KNOWN, **{full.lower(): full for full in KNOWN.values()}}
    hit = by_key.get(asked) or by_key.get(short)
    if hit is None:
        close = difflib.get_close_matches(asked, by_key, n=1, cutoff=0.8)
        hit = by_key[close[0]] if close else None
    return f"Did you mean {hit}?" if hit and hit.lower() != asked else ""


def resolve(name: str, state: VaultState | None = None) -> Base:
    """The Base that `name` means, from this disk alone. BaseModelError with the mend.

    A hub id means the revision that this vault pinned when it was downloaded, else the one revision
    that lies here.
    """
    if name == PEBBLE:
        return _open(pebble_folder(), PEBBLE)
    if (folder := as_folder(name)) is not None:
        if not folder.is_dir():
            raise BaseModelError(f"There is no folder {folder}.",
                                 "Give a folder that holds a model.")
        return _open(folder, str(folder))
    repo, revision = hub_id(name)
    if commit := local_commit(name, repo, revision, state):
        return _open_downloaded(hub_folder(repo, commit), name)
    raise BaseModelError(f"{name} is not on this machine.",
                         meant(name) or f"Fetch it with `vaultgpt base {name}`.")


def local_commit(
    name: str, repo: str, revision: str | None, state: VaultState | None
) -> str | None:
    """The commit of a downloaded model that `name` stands for; None when it is not here."""
    pinned = pins(state).get(name)
    wanted = [c for c in (revision, pinned) if c and COMMIT.fullmatch(c)]
    for commit in wanted:
        if (hub_folder(repo, commit) / RECORD).is_file():
            return commit
    if wanted or revision:
        return None
    here = sorted((models_root() / repo.replace("/", "--")).glob(f"*/{RECORD}"),
                  key=lambda path: path.stat().st_mtime)
    return here[-1].parent.name if here else None


def pins(state: VaultState | None) -> dict[str, str]:
    """Base name -> commit, as this vault's state records it."""
    path = state.bases / "pins.json" if state else None
    if path is None or not path.exists():
        return {}
    try:
        return {str(k): str(v) for k, v in read_json(path).items()}
    except (ValueError, AttributeError):
        raise BaseModelError(f"{path} is damaged.", "Delete it and run `vaultgpt base NAME`."
                             ) from None


def pin(state: VaultState, name: str, commit: str) -> None:
    """Record that `name` means `commit` in this vault."""
    make_private_dir(state.bases)
    write_json(state.bases / "pins.json", pins(state) | {name: commit})


def keep_embedded(state: VaultState) -> Path:
    """Copy the embedded base into the vault's state unless that version lies there; return it.

    A generation trained on it stays usable after the package brings another pebble.
    """
    base = resolve(PEBBLE)
    target = state.bases / f"{PEBBLE}-{base.revision[:12]}"
    if target.is_dir():
        return target
    make_private_dir(state.bases)
    staged = Path(tempfile.mkdtemp(dir=state.bases, prefix=".pebble-"))
    try:
        for file in base.sha256:
            shutil.copyfile(base.folder / file, staged / file)
            (staged / file).chmod(0o600)
            fsync_file(staged / file)
        with contextlib.suppress(OSError):  # another process was first: the same bytes
            staged.rename(target)
            fsync_dir(state.bases)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def base_of_generation(state: VaultState, manifest: Mapping[str, Any]) -> Base:
    """The very base a generation was trained on, by its manifest's hashes. BaseModelError."""
    name, wanted = str(manifest["base"]), dict(manifest["base_sha256"])
    if name == PEBBLE:
        kept = sorted(p for p in state.bases.glob(f"{PEBBLE}-*") if p.is_dir())
        for folder in (pebble_folder(), *kept):
            if _matches(base := _open(folder, PEBBLE), wanted):
                return base
        raise BaseModelError("The version of pebble that this generation was trained on is gone.",
                             "Train anew with `vaultgpt train --fresh`.")
    if as_folder(name) is not None:
        base = resolve(name, state)
    else:
        repo, revision = hub_id(name)
        commit = str(manifest.get("revision") or revision or "")
        folder = hub_folder(repo, commit)
        if not COMMIT.fullmatch(commit) or not (folder / RECORD).is_file():
            raise BaseModelError(f"{name} is not on this machine any more.",
                                 f"Fetch it with `vaultgpt base {repo}@{commit or 'main'}`.")
        base = _open_downloaded(folder, name)
    if not _matches(base, wanted):
        raise BaseModelError(f"{name} is not what this generation was trained on: its files have "
                             "changed.", "Bring them back, or run `vaultgpt train --fresh`.")
    return base


def _matches(base: Base, wanted: Mapping[str, str]) -> bool:
    return bool(wanted) and all(base.sha256.get(file) == h for file, h in wanted.items())


def verify(base: Base) -> None:
    """Read every file again; BaseModelError naming the first that is not what was recorded."""
    for file, digest in base.sha256.items():
        path = base.folder / file
        if not path.is_file() or sha256_file(path) != digest:
            raise BaseModelError(f"{file} of {base.name} is damaged or missing.",
                                 f"Delete {base.folder} and run `vaultgpt base {base.name}`."
                                 if not base.embedded else "Install vaultgpt again.")


def _open(folder: Path, name: str) -> Base:
    """A folder's Base, its hashes taken anew where size or time of a file has changed."""
    if name == PEBBLE and not (folder / "config.json").is_file():
        raise BaseModelError("The embedded base is missing from this installation.",
                             "Install vaultgpt again.")
    try:
        memory = _Memory()
        checked = memory.knows(folder / "config.json")  # nothing is hashed before it was checked
        inspect(folder, name, "", {}, checked=checked)
        sha256 = {file: memory.sha256(folder / file) for file in model_files(folder, name)}
    except OSError as error:
        raise BaseModelError(f"{folder} can't be read ({type(error).__name__}).",
                             "Mend its permissions.") from None
    memory.save()
    return inspect(folder, name, fingerprint(sha256), sha256, checked=True)


def _open_downloaded(folder: Path, name: str) -> Base:
    try:
        record = read_json(folder / RECORD)
        revision, sha256 = str(record["revision"]), dict(record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BaseModelError(f"The record of {name} is damaged.", f"Delete {folder} and run "
                             f"`vaultgpt base {name}`.") from None
    if gone := [file for file in sha256 if not (folder / file).is_file()]:
        raise BaseModelError(f"{gone[0]} of {name} is missing.", f"Delete {folder} and run "
                             f"`vaultgpt base {name}`.")
    return inspect(folder, name, revision, sha256, checked=True)


def fingerprint(sha256: Mapping[str, str]) -> str:
    """40 hex digits that change when any file does."""
    lines = "".join(f"{file}:{digest}\n" for file, digest in sorted(sha256.items()))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()[:40]


class _Memory:
    """Hashes remembered under the state root by path, size and time of change; a mere cache."""

    def __init__(self) -> None:
        self.path, self.changed = state_root() / "hashes.json", False
        try:
            self.known: dict[str, Any] = dict(read_json(self.path))
        except (OSError, ValueError, TypeError):
            self.known = {}

    def knows(self, file: Path) -> bool:
        return file.is_file() and self.known.get(str(file), [])[:2] == _stamp(file)

    def sha256(self, file: Path) -> str:
        if not self.knows(file):
            self.known[str(file)] = [*_stamp(file), sha256_file(file)]
            self.changed = True
        return str(self.known[str(file)][2])

    def save(self) -> None:
        if self.changed and self.path.parent.is_dir():
            with contextlib.suppress(OSError):  # the next call hashes again
                write_json(self.path, self.known)


def _stamp(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]
