"""Where base models lie and which one a name or a generation means. Never touches the network.

Knows nothing about fetching (fetch.py, hub.py) or about what makes a model usable (model.py).
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

from typing_extensions import TypedDict

import vaultgpt
from vaultgpt.bases.catalogue import (
    HYBRID,
    PEBBLE,
    PIP,
    chat_warning,
    full_name,
    is_chat_model,
    known_base,
    meant,
)
from vaultgpt.bases.gguf import OLLAMA, gguf_in, is_gguf
from vaultgpt.bases.hashes import RECORD, HashCache, check_recorded, read_record
from vaultgpt.bases.kinds import ends_a_turn, token_remarks
from vaultgpt.bases.model import PICKLES, Base, inspect, model_files, read_config
from vaultgpt.errors import BaseModelError
from vaultgpt.files import Json, fsync_dir, fsync_file, make_private_dir, read_json, write_json
from vaultgpt.state import VaultState, state_root

_COMMIT = re.compile(r"[0-9a-f]{40}")
_FILES = (".gguf", ".safetensors", *PICKLES)  # endings of a name that is a path, however written
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_RECURRENT = ("mamba", "rwkv", "recurrent", "falcon_h1", "jamba", "zamba", "lfm2", "qwen3_5")


def _pebble_folder() -> Path:
    """The folder of the base embedded in this package."""
    return Path(vaultgpt.__file__).parent / PEBBLE


def models_root() -> Path:
    """Where downloaded bases lie, shared by all vaults: models/org--name/_COMMIT/."""
    return state_root() / "models"


def hub_folder(repo: str, commit: str) -> Path:
    return models_root() / repo.replace("/", "--") / commit


def unpacked_folder(stem: str, revision: str) -> Path:
    """Where the unpacked form of a GGUF file lies; no hub id can have this place."""
    slug = re.sub(r"[^\w.-]+", "-", stem).strip("-.").lower()[:60] or "model"
    return models_root() / "gguf" / slug / revision


def as_path(name: str) -> Path | None:
    """The absolute path that `name` means when it is written as one, or names a file; else None."""
    path = Path(name).expanduser()
    written = path.is_absolute() or name.startswith((".", "~"))
    if not (written or name.lower().endswith(_FILES) or (os.sep in name and path.is_file())):
        return None
    return Path(os.path.realpath(path))


def packed_name(name: str) -> str | None:
    """The name of a base that lies unpacked here, when `name` means a packed one; else None.

    "ollama:..." and "pip:..." as they are; the path of a GGUF file, also for a folder that holds
    one and no other model. BaseModelError for a file that is no GGUF, and for a folder of several.
    """
    if name.startswith((OLLAMA, PIP)):
        return name
    path = as_path(name)
    if path is None:
        return None
    if path.is_dir():
        if (path / "config.json").is_file():
            return None
        found = gguf_in(path)
        return str(found) if found else None
    if is_gguf(path):
        return str(path)
    if path.exists():
        raise _no_model_file(path)
    return None


def _no_model_file(path: Path) -> BaseModelError:
    """For a single file that is not GGUF."""
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        return BaseModelError(
            f"{path} could run code when it is opened, so it never is.",
            "Choose another base, or convert it yourself with transformers' save_pretrained.",
        )
    if suffix == ".safetensors" and (path.parent / "config.json").is_file():
        return BaseModelError(
            f"{path} is a part of a model.", f"Name its folder: `vaultgpt base {path.parent}`."
        )
    if suffix == ".safetensors":
        return BaseModelError(
            f"{path} holds weights alone, without config.json and tokenizer.",
            "Take the whole folder that it came from.",
        )
    return BaseModelError(
        f"{path} is no model.", "Name a folder that holds one, or a GGUF file (.gguf)."
    )


def hub_id(name: str) -> tuple[str, str | None]:
    """("org/name", revision or None); BaseModelError for a name that can't be one."""
    found = _HUB_ID.fullmatch(name)
    if found is None:
        raise BaseModelError(
            f"There is no base called {name!r}.",
            meant(name)
            or "A base is pebble, a short name that `vaultgpt base` lists, a Hugging Face id such "
            "as openai-community/gpt2, a folder such as ./model, a GGUF file, or ollama:NAME.",
        )
    return found["repo"], found["revision"]


def resolve(name: str, state: VaultState | None = None) -> Base:
    """The Base that `name` means, from this disk alone. BaseModelError with the mend.

    A hub id means the revision that this vault pinned when it was downloaded, else the one revision
    that lies here; a packed model means its unpacked form, which stays when the file has gone."""
    if name == PEBBLE:
        return _open(_pebble_folder(), PEBBLE)
    if packed := packed_name(name):
        return _open_recorded(_unpacked(packed, state), packed)
    if (folder := as_path(name)) is not None:
        if not folder.is_dir():
            raise BaseModelError(
                f"There is no folder {folder}, nor a file.", "Give a folder that holds a model."
            )
        return _open(folder, str(folder))
    name = full_name(name)
    repo, revision = hub_id(name)
    if commit := local_commit(name, repo, revision, state):
        return _open_recorded(hub_folder(repo, commit), name)
    raise BaseModelError(
        f"{name} is not on this machine.", meant(name) or f"Fetch it with `vaultgpt base {name}`."
    )


def name_unpacked(name: str, revision: str) -> bool:
    """Whether a file of that hash lies unpacked, whatever it was called; it is called so too."""
    for path in (models_root() / "gguf").glob(f"*/{revision}/{RECORD}"):
        record = read_record(path.parent, name)
        if name not in record.get("names", ()):
            write_json(path, {**record, "names": [*record.get("names", ()), name]})
        return True
    return False


def _unpacked(name: str, state: VaultState | None) -> Path:
    """The folder that a packed model was unpacked to: the pinned one, else the newest."""
    pinned = pins(state).get(name)
    found = sorted(
        (models_root() / "gguf").glob(f"*/{pinned or '*'}/{RECORD}"),
        key=lambda path: path.stat().st_mtime,
    )
    for record in reversed(found):
        if pinned or name in read_record(record.parent, name).get("names", ()):
            return record.parent
    path = as_path(name)
    if path is not None and not path.exists():
        raise BaseModelError(f"There is no file {path}.", "Check the spelling.")
    raise BaseModelError(
        f"{name} was not made a base yet.", f"`vaultgpt base {name}` unpacks it, once."
    )


def local_commit(
    name: str, repo: str, revision: str | None, state: VaultState | None
) -> str | None:
    """The commit of a downloaded model that `name` stands for; None when it is not here."""
    pinned = pins(state).get(name)
    wanted = [c for c in (revision, pinned) if c and _COMMIT.fullmatch(c)]
    for commit in wanted:
        if (hub_folder(repo, commit) / RECORD).is_file():
            return commit
    if wanted or revision:
        return None
    here = sorted(
        (models_root() / repo.replace("/", "--")).glob(f"*/{RECORD}"),
        key=lambda path: path.stat().st_mtime,
    )
    return here[-1].parent.name if here else None


def pins(state: VaultState | None) -> dict[str, str]:
    """Base name -> commit, as this vault's state records it."""
    path = state.bases / "pins.json" if state else None
    if path is None or not path.exists():
        return {}
    try:
        return {str(k): str(v) for k, v in read_json(path).items()}
    except (ValueError, AttributeError):
        raise BaseModelError(
            f"{path} is damaged.", "Delete it and run `vaultgpt base NAME`."
        ) from None


def keep_embedded(state: VaultState) -> Path:
    """Copy the embedded base into the vault's state unless that version lies there; return it.

    A generation trained on it stays usable after the package brings another pebble."""
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


class NamedBase(TypedDict):
    """Of a manifest, and of a round that another machine learns: the very base."""

    base: str
    revision: str | None
    base_sha256: dict[str, str]


def base_of_generation(state: VaultState | None, manifest: NamedBase) -> Base:
    """The very base a generation was trained on, by its manifest's hashes. BaseModelError.

    `state` is the vault's, which keeps earlier pebbles."""
    name, wanted = str(manifest["base"]), dict(manifest["base_sha256"])
    if name == PEBBLE:
        places = state.bases.glob(f"{PEBBLE}-*") if state else ()
        kept = sorted(p for p in places if p.is_dir())
        for folder in (_pebble_folder(), *kept):
            if (base := _open(folder, PEBBLE)).matches(wanted):
                return base
        raise BaseModelError(
            "The version of pebble that this generation was trained on is gone.",
            "Train anew with `vaultgpt train --fresh`.",
        )
    if packed := packed_name(name):
        folders = list((models_root() / "gguf").glob(f"*/{manifest.get('revision')}/{RECORD}"))
        if not folders:
            raise BaseModelError(
                f"The unpacked form of {name} is not on this machine any more.",
                f"Unpack it again with `vaultgpt base {name}`.",
            )
        base = _open_recorded(folders[0].parent, packed)
    elif as_path(name) is not None:
        base = resolve(name, state)
    else:
        repo, revision = hub_id(name)
        commit = str(manifest.get("revision") or revision or "")
        folder = hub_folder(repo, commit)
        if not _COMMIT.fullmatch(commit) or not (folder / RECORD).is_file():
            raise BaseModelError(
                f"{name} is not on this machine any more.",
                f"Fetch it with `vaultgpt base {repo}@{commit or 'main'}`.",
            )
        base = _open_recorded(folder, name)
    if not base.matches(wanted):
        raise BaseModelError(
            f"{name} is not what this generation was trained on: its files have changed.",
            "Bring them back, or run `vaultgpt train --fresh`.",
        )
    return base


def remarks(base: Base) -> list[str]:
    """What to know of a base before the first round, a sentence each: packing, chat, tokens, speed.

    Reads its configuration and tokenizer, up to a second for a large vocabulary."""
    config = read_config(base.folder, base.name)
    brought = (base.folder / RECORD).is_file()
    record = read_record(base.folder, base.name) if brought else None
    said = [record["lost"]] if record and record.get("lost") else []
    tuned = (record and record.get("chat")) or is_chat_model(base.name)
    if tuned or ends_a_turn(base.folder, config, base.name):
        said.append(chat_warning(base.name))
    said += token_remarks(base.folder, config, base.name)
    known = known_base(base.name)
    if known and known.note:
        said.append(known.note)
    elif _is_recurrent(config):
        said.append(HYBRID)
    return said


def _open(folder: Path, name: str) -> Base:
    """A folder's Base, its hashes taken anew where size, time or inode of a file has changed."""
    if name == PEBBLE and not (folder / "config.json").is_file():
        raise BaseModelError(
            "The embedded base is missing from this installation.", "Install vaultgpt again."
        )
    try:
        hashes = HashCache()
        checked = hashes.knows(folder / "config.json") and all(
            hashes.knows(folder / file) for file in model_files(folder, name)
        )
        inspect(folder, name, "", {}, checked=checked)  # nothing is hashed before it was checked
        sha256 = {file: hashes.sha256(folder / file) for file in model_files(folder, name)}
    except OSError as error:
        raise BaseModelError(
            f"{folder} can't be read ({type(error).__name__}).", "Mend its permissions."
        ) from None
    hashes.save()
    return inspect(folder, name, _fingerprint(sha256), sha256, checked=True)


def _open_recorded(folder: Path, name: str) -> Base:
    """A Base that we brought, its files checked against the record where they changed on disk."""
    record = read_record(folder, name)
    check_recorded(folder, name, record["sha256"])
    return inspect(folder, name, record["revision"], record["sha256"], checked=True)


def _fingerprint(sha256: Mapping[str, str]) -> str:
    """40 hex digits that change when any file does."""
    lines = "".join(f"{file}:{digest}\n" for file, digest in sorted(sha256.items()))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()[:40]


def _is_recurrent(config: Json) -> bool:
    """Whether a part of the model keeps a running state, which can't be cut back to a prefix."""
    layers = config.get("layer_types") or config.get("layers_block_type")
    kinds = [str(layer) for layer in layers] if isinstance(layers, list) else []
    state = any("linear" in kind or "attention" not in kind for kind in kinds)
    return state or str(config.get("model_type", "")).startswith(_RECURRENT)
