"""Generation folders: published by rename, never changed, verified by hash, erased whole.

Knows nothing about the ledger: which of them is active or kept is the caller's to say.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from vaultgpt.errors import GenerationError
from vaultgpt.files import (
    PRIVATE_DIR,
    PRIVATE_FILE,
    fsync_dir,
    fsync_file,
    make_private_dir,
    read_json,
    sha256_file,
    write_atomic,
    write_json,
)
from vaultgpt.state import VaultState

ADAPTER = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
EMBEDDING = "embedding_delta.safetensors"
LAST_WEIGHTS = "last_weights.safetensors"  # where training goes on; of no use to other programs
MANIFEST = "manifest.json"
README = "README.md"
NEEDED = (ADAPTER, CONFIG)
ALLOWED = frozenset({ADAPTER, CONFIG, EMBEDDING, LAST_WEIGHTS, MANIFEST, README})
KEYS = ("base", "revision", "base_sha256", "parent", "round", "created", "files", "learned",
        "held_out", "report", "verdict")
_NAME = re.compile(r"g(\d{6,})")
_ERASING = ".erasing-"

_ABOUT = """# {id}

A LoRA adapter (PEFT format) that vaultgpt trained on one person's notes, on {day}, for the base
model `{base}`{revision}.

It is the diary in another form: whoever holds it can draw its author's words out of it. Keep it
private and out of synced folders. `manifest.json` names the base, the hashes of these files and
what the gate said. These files are never changed; vaultgpt erases the folder when it is no longer
kept.
{embedding}"""
_ABOUT_EMBEDDING = """
`embedding_delta.safetensors` holds trained changes of the token embedding. Plain PEFT does not read
it; `vaultgpt export DIR --merged` writes a model with both.
"""


def number_of(generation: str) -> int:
    """42 of "g000042". GenerationError for anything else."""
    found = _NAME.fullmatch(generation)
    if not found:
        raise GenerationError(f"{generation[:40]!r} is not a generation's name.",
                              "`vaultgpt generations` lists them.")
    return int(found.group(1))


def published(state: VaultState) -> list[str]:
    """Names of the generation folders on the disk, in order."""
    if not state.generations.is_dir():
        return []
    return sorted((p.name for p in state.generations.iterdir() if _NAME.fullmatch(p.name)),
                  key=number_of)


def next_id(state: VaultState, used: Iterable[str] = ()) -> str:
    """A name above every folder there is and every name ever `used`: none is given twice."""
    highest = max((number_of(name) for name in [*published(state), *used]), default=0)
    return f"g{highest + 1:06d}"


def publish(staged: Path, state: VaultState, manifest: dict[str, Any],
            used: Iterable[str] = ()) -> str:
    """Make a staged folder a generation: private, on the disk for good, then renamed into place.

    `manifest` has CONTRACT's keys but `files`. A kill at any moment leaves either the staged folder
    or the whole generation. GenerationError when what was staged is no adapter of ours.
    """
    name = next_id(state, used)
    _check_staged(staged)
    about = _ABOUT.format(
        id=name, day=_day(manifest["created"]), base=manifest["base"],
        revision=f" (revision `{manifest['revision']}`)" if manifest.get("revision") else "",
        embedding=_ABOUT_EMBEDDING if (staged / EMBEDDING).exists() else "")
    write_atomic(staged / README, about)
    files = {}
    for path in sorted(staged.iterdir()):
        if path.name == MANIFEST:
            continue
        path.chmod(PRIVATE_FILE)
        fsync_file(path)
        files[path.name] = sha256_file(path)
    write_json(staged / MANIFEST, {"id": name, **manifest, "files": files})
    staged.chmod(PRIVATE_DIR)
    fsync_dir(staged)
    make_private_dir(state.generations)
    target = state.generations / name
    if target.exists():
        raise GenerationError(f"{name} is there already.", "Nothing was changed; try again.")
    os.rename(staged, target)
    fsync_dir(state.generations)
    return name


def _check_staged(staged: Path) -> None:
    names = {p.name for p in staged.iterdir()} if staged.is_dir() else set()
    if missing := [n for n in NEEDED if n not in names]:
        raise GenerationError(f"The trainer left no {missing[0]}.", "Run the round again.")
    for path in list(staged.iterdir()):
        if path.name in ALLOWED and path.is_file() and not path.is_symlink():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:  # peft's own README variants, checkpoints: nothing but the allowed is published
            path.unlink()


def _day(created: float) -> str:
    return datetime.datetime.fromtimestamp(created).date().isoformat()


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a generation folder. GenerationError when it is missing or damaged."""
    try:
        manifest = read_json(folder / MANIFEST)
        good = isinstance(manifest, dict) and all(key in manifest for key in KEYS) and isinstance(
            manifest["files"], dict)
    except (OSError, ValueError):
        good = False
    if not good:
        raise GenerationError(f"{folder.name} has no valid manifest.",
                              "`vaultgpt rollback` goes back to the generation before it.")
    return dict(manifest)


def verify(folder: Path) -> dict[str, Any]:
    """Check every file of a generation against its manifest, and return that.

    Modes that a backup loosened are tightened. GenerationError for a changed, missing or foreign
    file, and for any weights that are not safetensors.
    """
    manifest = load_manifest(folder)
    files = manifest["files"]
    names = {p.name for p in folder.iterdir()}
    foreign = sorted(names - set(files) - {MANIFEST})
    missing = [n for n in [*NEEDED, *files] if n not in names]
    if foreign or missing or not set(files) <= ALLOWED:
        what = f"lacks {missing[0]}" if missing else "holds a file that is not its own"
        raise GenerationError(f"{folder.name} {what}.",
                              "`vaultgpt rollback` goes back to the generation before it.")
    for name, digest in files.items():
        path = folder / name
        if path.is_symlink() or sha256_file(path) != digest:
            raise GenerationError(f"{name} of {folder.name} is not what was published.",
                                  "`vaultgpt rollback` goes back to the generation before it.")
    _tighten(folder)
    return manifest


def _tighten(folder: Path) -> None:
    if os.name != "posix":
        return
    for path, mode in [(folder, PRIVATE_DIR), *((p, PRIVATE_FILE) for p in folder.iterdir())]:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(mode)


def valid(folder: Path) -> bool:
    """Whether verify would let it pass."""
    try:
        verify(folder)
    except (GenerationError, OSError):
        return False
    return True


def erase(state: VaultState, generation: str) -> None:
    """Remove a generation's folder: renamed first, so that a kill never leaves half of one.

    What was measured of it goes first.
    """
    number_of(generation)
    (state.voice / f"{generation}.json").unlink(missing_ok=True)
    folder = state.generations / generation
    doomed = state.generations / f"{_ERASING}{generation}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(state: VaultState) -> None:
    """Finish erasures that were cut off, and drop figures of generations that are gone."""
    for path in state.voice.glob("*.json"):
        if not (state.generations / path.stem).is_dir():
            path.unlink(missing_ok=True)
    if state.generations.is_dir():
        for path in state.generations.glob(f"{_ERASING}*"):
            shutil.rmtree(path, ignore_errors=True)


def prune(state: VaultState, keep: int, spare: Collection[str]) -> list[str]:
    """Erase all but the newest `keep` generations and those to `spare`; the names erased."""
    others = [name for name in published(state) if name not in spare]
    doomed = others[: max(0, len(others) - keep)]
    for name in doomed:
        erase(state, name)
    return doomed
