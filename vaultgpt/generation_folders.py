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
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NotRequired, Self, TypedDict, TypeVar

from safetensors import SafetensorError

from vaultgpt.corpus.lines import FILE as LINES
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
from vaultgpt.wire import ReportRow, VerdictRow

ADAPTER = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
EMBEDDING = "embedding_delta.safetensors"
LAST_WEIGHTS = "last_weights.safetensors"  # where training goes on; the active one alone has it
MANIFEST = "manifest.json"
_named = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight").fullmatch  # in ADAPTER
_MORE_THAN_LORA = (  # of adapter_config.json
    *("use_dora", "use_rslora", "use_qalora", "rank_pattern", "alpha_pattern"),
    *("modules_to_save", "layer_replication"),
)
_README = "README.md"
_NEEDED = (ADAPTER, CONFIG)
_ALLOWED = frozenset({ADAPTER, CONFIG, EMBEDDING, LAST_WEIGHTS, LINES, MANIFEST, _README})
_KEYS = {
    *("base", "revision", "base_sha256", "parent", "round", "created", "files"),
    *("learned", "held_out", "report", "verdict"),
}
_NAME = re.compile(r"g(\d{6,})")
_ERASING, _ASIDE = ".erasing-", "damaged-"
_ROLLBACK = "`vaultgpt rollback` goes back to the generation before it."
# What a loader of another program could prefer to ours.
_WEIGHTS = frozenset({".bin", ".ckpt", ".gguf", ".h5", ".onnx", ".pkl", ".pt", ".pth", ".py"})
_Tensor = TypeVar("_Tensor")  # torch's or numpy's
Condition = Literal["sound", "damaged", "foreign", "unreadable", "gone"]

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


@dataclass(frozen=True)
class PeftAdapter(Generic[_Tensor]):
    """A generation's PEFT files: LoRA tensors by peft's names, and the embedding's delta or None.

    W + (alpha / rank) B A. Nobody else reads them."""

    rank: int
    alpha: int
    tensors: dict[str, _Tensor]
    embedding: _Tensor | None  # [vocabulary, hidden]

    @classmethod
    def read(cls, folder: Path, load: Callable[[Path], dict[str, _Tensor]]) -> Self:
        """That of a folder, its tensors as `load` opens a safetensors file. GenerationError.

        Refused is what says more than is applied here (DoRA, patterns, biases), so that nothing of
        a generation is dropped in silence."""
        try:
            config, tensors = read_json(folder / CONFIG), load(folder / ADAPTER)
            delta = load(folder / EMBEDDING)["embedding"] if (folder / EMBEDDING).exists() else None
            found = cls(int(config["r"]), int(config["lora_alpha"]), tensors, delta)
            more = [key for key in _MORE_THAN_LORA if config.get(key)]
            if config.get("bias", "none") != "none" or config.get("peft_type") != "LORA":
                more.append("a bias or another kind than LoRA")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise GenerationError(
                f"{folder.name} is damaged or can't be read ({type(error).__name__}).",
                "Run `vaultgpt doctor`.",
            ) from None
        if not more and 2 * len(found.factors) != len(tensors):
            more.append("tensors that are no LoRA factors")
        if more:
            raise GenerationError(
                f"The adapter in {folder.name} uses what is not applied: {', '.join(more)}.",
                "Train it again, or activate another one.",
            )
        return found

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by."""
        return self.alpha / self.rank

    @property
    def factors(self) -> dict[str, tuple[_Tensor, _Tensor]]:
        """A [rank, in] and B [out, rank] by the module ("model.layers.0.mlp.up_proj")."""
        sides: dict[str, dict[str, _Tensor]] = {}
        for name, tensor in self.tensors.items():
            if found := _named(name):
                sides.setdefault(found[1], {})[found[2]] = tensor
        return {m: (s["A"], s["B"]) for m, s in sides.items() if len(s) == 2}


class _Unreadable(GenerationError):
    """The disk would not give its files just now; that says nothing about them."""

    def __init__(self, folder: Path, error: OSError) -> None:
        said = f"{folder.name} can't be read just now ({type(error).__name__})."
        super().__init__(said, "Try again; `vaultgpt doctor` looks at the disk.")


class _ForeignWeights(GenerationError):
    """It is whole, but weights or code of another's making lie in its folder."""


class _Settled(TypedDict, total=False):
    """Settings that bind what goes on from a generation."""

    rank: int
    embedding: bool


class Manifest(TypedDict):
    """manifest.json: CONTRACT's keys, and what a round and a lost ledger need beside them."""

    base: str
    revision: str | None
    base_sha256: dict[str, str]
    parent: str | None
    round: int
    created: float
    learned: list[list[Any]]  # [entry, digest, words] of each paragraph
    held_out: list[str]
    report: ReportRow
    verdict: VerdictRow
    kind: NotRequired[str]
    sampled: NotRequired[bool]
    waited: NotRequired[list[str]]
    settings: NotRequired[_Settled]
    id: NotRequired[str]  # set on publishing
    files: NotRequired[dict[str, str]]  # likewise: name -> sha256


def _number_of(generation: str) -> int:
    """42 of "g000042". GenerationError for anything else."""
    found = _NAME.fullmatch(generation)
    if not found:
        raise GenerationError(
            f"{generation[:40]!r} is not a generation's name.", "`vaultgpt generations` lists them."
        )
    return int(found.group(1))


def with_folder(
    known: Mapping[str, Path], gen_id: str | None, folder: Path | None
) -> dict[str, Path]:
    """The generations' folders by id, and `folder` as that of `gen_id` where both are given."""
    own = {} if gen_id is None or folder is None else {gen_id: folder}
    return {**known, **own}


def published(state: VaultState) -> list[str]:
    """Names of the generation folders on the disk, in order."""
    if not state.generations.is_dir():
        return []
    return sorted(
        (p.name for p in state.generations.iterdir() if _NAME.fullmatch(p.name)), key=_number_of
    )


def _next_id(state: VaultState, used: Iterable[str] = ()) -> str:
    """A name above every folder there is and every name ever `used`: none is given twice."""
    aside = [name for p in those_set_aside(state) if _NAME.fullmatch(name := _name_of(p))]
    highest = max((_number_of(name) for name in [*published(state), *aside, *used]), default=0)
    return f"g{highest + 1:06d}"


def publish(staged: Path, state: VaultState, manifest: Manifest, used: Iterable[str] = ()) -> str:
    """Make a staged folder a generation: private, on the disk for good, then renamed into place.

    `manifest` has CONTRACT's keys but `files`. A kill at any moment leaves either the staged folder
    or the whole generation. GenerationError when what was staged is no adapter of ours."""
    name = _next_id(state, used)
    _check_staged(staged)
    write_atomic(staged / _README, _about(name, manifest, (staged / EMBEDDING).exists()))
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
    if missing := [n for n in _NEEDED if n not in names]:
        raise GenerationError(f"The trainer left no {missing[0]}.", "Run the round again.")
    for path in list(staged.iterdir()):
        if path.name in _ALLOWED and path.is_file() and not path.is_symlink():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:  # peft's own README variants, checkpoints: nothing but the allowed is published
            path.unlink()


def _about(name: str, manifest: Manifest, embedding: bool) -> str:
    """The README of a generation."""
    return _ABOUT.format(
        id=name,
        day=datetime.datetime.fromtimestamp(manifest["created"]).date().isoformat(),
        base=manifest["base"],
        revision=f" (revision `{manifest['revision']}`)" if manifest.get("revision") else "",
        embedding=_ABOUT_EMBEDDING if embedding else "",
    )


def _load_manifest(folder: Path) -> Manifest:
    """The manifest of a generation folder. GenerationError when it is missing or damaged."""
    try:
        manifest: Manifest = read_json(folder / MANIFEST)
        good = set(manifest) >= _KEYS and isinstance(manifest["files"], dict)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, TypeError):
        good = False
    except OSError as error:
        raise _Unreadable(folder, error) from None
    if not good:
        raise GenerationError(f"{folder.name} has no valid manifest.", _ROLLBACK)
    return manifest


def verify(folder: Path) -> Manifest:
    """Check every file of a generation against its manifest, and return that.

    Modes that a backup loosened are tightened, and a README of other words is written anew. What
    file managers leave (.DS_Store, Thumbs.db) is let be: nothing reads it. GenerationError for a
    changed or missing file; its subclasses say that nothing of it is damaged."""
    manifest = _load_manifest(folder)
    try:
        _check_files(folder, manifest["files"])
        _restore_readme(folder, manifest)
        _tighten(folder)
    except OSError as error:
        raise _Unreadable(folder, error) from None
    return manifest


def _check_files(folder: Path, files: dict[str, str]) -> None:
    names = {p.name for p in folder.iterdir()}
    needed = {*_NEEDED, *files} - {_README, LAST_WEIGHTS}
    if missing := sorted(needed - names):
        raise GenerationError(f"{folder.name} lacks {missing[0]}.", _ROLLBACK)
    if not set(files) <= _ALLOWED:
        raise GenerationError(f"{folder.name} has no valid manifest.", _ROLLBACK)
    for name in sorted((needed | names & {LAST_WEIGHTS}) & set(files)):
        path = folder / name
        if path.is_symlink() or sha256_file(path) != files[name]:
            raise GenerationError(f"{name} of {folder.name} is not what was published.", _ROLLBACK)
    if any(Path(name).suffix in _WEIGHTS for name in names - set(files)):
        raise _ForeignWeights(
            f"{folder.name} holds weights or code that are not its own.",
            f"Take them out of its folder. {_ROLLBACK}",
        )


def _restore_readme(folder: Path, manifest: Manifest) -> None:
    path, text = folder / _README, _about(folder.name, manifest, (folder / EMBEDDING).exists())
    if path.is_symlink() or not path.is_file() or path.read_bytes() != text.encode():
        with contextlib.suppress(OSError):  # a full disk is no reason to refuse a voice
            write_atomic(path, text)


def foreign_files(folder: Path) -> int:
    """How many files in a generation's folder are none of its own."""
    return len({p.name for p in folder.iterdir()} - _ALLOWED)


def _tighten(folder: Path) -> None:
    if os.name != "posix":
        return
    for path, mode in [(folder, PRIVATE_DIR), *((p, PRIVATE_FILE) for p in folder.iterdir())]:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(mode)


def condition(folder: Path) -> Condition:
    """How a generation's folder is: only what is damaged may be taken out of its place."""
    try:
        verify(folder)
    except _ForeignWeights:
        return "foreign"
    except _Unreadable:
        return "unreadable"
    except GenerationError:
        return "damaged" if folder.exists() else "gone"
    return "sound"


def set_aside(state: VaultState, generation: str) -> None:
    """Take a damaged generation's folder out of its place; nothing of it is lost."""
    _number_of(generation)
    number = sum(1 for _ in state.generations.glob(f"{_ASIDE}{generation}*"))
    mark = f".{number + 1}" if number else ""
    os.rename(state.generations / generation, state.generations / f"{_ASIDE}{generation}{mark}")
    fsync_dir(state.generations)


def those_set_aside(state: VaultState) -> list[Path]:
    """Folders of generations that were damaged, in order."""
    return sorted(state.generations.glob(f"{_ASIDE}g*"))


def erase(state: VaultState, generation: str) -> None:
    """Remove a generation's folder: renamed first, so that a kill never leaves half of one.

    What was measured of it goes first, and copies of it that were set aside go too."""
    _number_of(generation)
    (state.voice / f"{generation}.json").unlink(missing_ok=True)
    folder = state.generations / generation
    doomed = state.generations / f"{_ERASING}{generation}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)
    for path in those_set_aside(state):
        if _name_of(path) == generation:
            shutil.rmtree(path, ignore_errors=True)


def _name_of(aside: Path) -> str:
    return aside.name.removeprefix(_ASIDE).partition(".")[0]


def keep_means(state: VaultState, active: str) -> None:
    """Training goes on from the active generation alone: of the others only what writes is kept."""
    for name in published(state):
        if name != active:
            (state.generations / name / LAST_WEIGHTS).unlink(missing_ok=True)


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
