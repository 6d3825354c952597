"""Bring a base model from the Hugging Face hub: a pinned commit, safetensors only, hashes checked.

huggingface_hub asks the hub and moves the bytes; the partial files are ours, since its own are lost
when a process ends. Of a model that also sees or hears the text part is kept, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from vaultgpt.bases.failures import endpoint, no_room, plainly
from vaultgpt.bases.hashes import RECORD, Record
from vaultgpt.bases.kinds import CHOOSE, check_config, native_classes
from vaultgpt.bases.model import (
    Tensor,
    inspect,
    large_files,
    model_files,
    read_config,
    read_header,
    small_files,
)
from vaultgpt.bases.names import hub_folder
from vaultgpt.errors import BaseModelError, Conflict
from vaultgpt.files import (
    Json,
    fsync_dir,
    fsync_file,
    locked,
    make_private_dir,
    sha256_file,
    write_json,
)

OnProgress = Callable[[int, int], None]  # bytes here, bytes in all
_ALSO = ("generation_config.json", "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md")
_SLACK_BYTES = 64 << 20  # left free beyond the model's own size
_TIMEOUT_S = 15.0  # of the first question; the transfer has huggingface_hub's own


@dataclass(frozen=True)
class _RemoteFile:
    """One file of a model as the hub lists it. `sha256` for LFS files, else git's blob id."""

    name: str
    size: int  # bytes
    sha256: str | None
    blob_id: str | None


def fetch_from_hub(name: str, repo: str, revision: str | None, on_progress: OnProgress) -> str:
    """Bring the model's files under models_root(); return the commit.

    An interrupted transfer goes on where it stopped. BaseModelError, Conflict."""
    with plainly(name):
        return _fetch(name, repo, revision, on_progress)


def _fetch(name: str, repo: str, revision: str | None, on_progress: OnProgress) -> str:
    commit, listed = _ask(repo, revision)
    target = hub_folder(repo, commit)
    if (target / RECORD).is_file():
        return commit
    small = [*small_files(listed, name), *(f for f in _ALSO if f in listed)]
    make_private_dir(target.parent, parents=True)
    part = make_private_dir(target.parent / f"{commit}.part")
    busy = Conflict(f"{name} is being downloaded already.", "Wait for it to end.")
    with locked(target.parent / "download.lock", busy):
        _Mover(repo, commit, part, _silent).bring([listed[f] for f in small])
        config = read_config(part, name)
        check_config(_text_config(config) or config, name)
        weights = large_files(listed, part, name)
        _Mover(repo, commit, part, on_progress).bring([listed[f] for f in small + weights])
        _finish(part, target, name, repo, commit)
    return commit


def _silent(done: int, total: int) -> None:
    """An OnProgress that nobody sees."""


def _ask(repo: str, revision: str | None) -> tuple[str, dict[str, _RemoteFile]]:
    """The commit that a revision means now, and the files at its root."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=endpoint()).model_info(
        repo, revision=revision, files_metadata=True, timeout=_TIMEOUT_S
    )
    if not info.sha or not re.fullmatch(r"[0-9a-f]{40}", info.sha):
        raise BaseModelError(f"{endpoint()} does not answer as a model hub.", "Check HF_ENDPOINT.")
    files = {
        s.rfilename: _RemoteFile(
            s.rfilename,
            (s.lfs.size if s.lfs else s.size) or 0,
            s.lfs.sha256 if s.lfs else None,
            s.blob_id,
        )
        for s in info.siblings or []
        if "/" not in s.rfilename and "\\" not in s.rfilename
    }
    if "config.json" not in files and "adapter_config.json" in files:
        raise BaseModelError(
            f"{repo} is an adapter, not a model.", "Give the base that the adapter was trained on."
        )
    if "config.json" not in files and not any(f.endswith((".gguf", ".bin")) for f in files):
        raise BaseModelError(f"{repo} is no language model: it has no config.json.", CHOOSE)
    return info.sha, files


class _Mover:
    """Moves files of one commit into a folder that outlives an interrupted process."""

    def __init__(self, repo: str, commit: str, part: Path, on_progress: OnProgress) -> None:
        self.repo, self.commit, self.part, self.on_progress = repo, commit, part, on_progress

    def bring(self, files: list[_RemoteFile]) -> None:
        """Bring every file that is not here whole, and check each against the hub's hash."""
        total = sum(file.size for file in files)
        missing = total - sum(min(self._here(file), file.size) for file in files)
        _check_space(self.part, missing, self.repo)
        done = 0
        for file in files:
            self._one(file, done, total)
            done += file.size
            self.on_progress(done, total)

    def _here(self, file: _RemoteFile) -> int:
        path = self.part / file.name
        return path.stat().st_size if path.is_file() else 0

    def _one(self, file: _RemoteFile, before: int, total: int) -> None:
        from huggingface_hub import hf_hub_url, utils
        from huggingface_hub.file_download import http_get

        path = self.part / file.name
        here = self._here(file)
        checked = self.part / f".{file.name}.checked"
        if checked.exists() and here == file.size:
            return
        if here > file.size:
            path.unlink()
            here = 0
        with open(path, "r+b" if here else "wb") as stream:
            stream.seek(0, os.SEEK_END)
            counted = _Counted(stream, lambda at: self.on_progress(before + at, total))
            if here < file.size:
                url = hf_hub_url(self.repo, file.name, revision=self.commit, endpoint=endpoint())
                headers = cast(Any, utils).build_hf_headers()  # with HF_TOKEN, where there is one
                http_get(
                    url,
                    cast(BinaryIO, counted),
                    resume_size=here,
                    expected_size=file.size,
                    headers={**headers, "Accept-Encoding": "identity"},
                )
        fsync_file(path)
        if not _is_published(path, file):
            path.unlink()
            raise BaseModelError(
                f"{file.name} of {self.repo} is not the file that the hub lists: its hash differs.",
                "It was deleted; run the command again.",
            )
        checked.touch()


class _Counted:
    """A file that says how far it is after each write; what http_get needs of a file."""

    def __init__(self, stream: IO[bytes], tell: Callable[[int], None]) -> None:
        self.stream, self.report = stream, tell

    def write(self, data: bytes) -> int:
        written = self.stream.write(data)
        self.report(self.stream.tell())
        return written

    def tell(self) -> int:
        return self.stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.stream.seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        return self.stream.truncate(size)


def _is_published(path: Path, file: _RemoteFile) -> bool:
    """Whether the file's bytes are those that the hub lists (SHA-256, or git's own hash)."""
    if file.sha256:
        return sha256_file(path) == file.sha256
    if file.blob_id and len(file.blob_id) == 40:
        data = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == file.blob_id
    return path.stat().st_size == file.size


def _check_space(folder: Path, missing: int, repo: str) -> None:
    free = shutil.disk_usage(folder).free
    if missing and missing + _SLACK_BYTES > free:
        raise no_room(repo, missing, free)


def _finish(part: Path, target: Path, name: str, repo: str, commit: str) -> None:
    """Inspect the whole, write its record and give it its final name."""
    for mark in part.glob(".*.checked"):
        mark.unlink()
    _keep_text_part(part, name)
    sha256 = {file: sha256_file(part / file) for file in model_files(part, name)}
    inspect(part, name, commit, sha256)
    record: Record = {"name": repo, "revision": commit, "sha256": sha256}
    write_json(part / RECORD, record)
    part.rename(target)
    fsync_dir(target.parent)
    for other in target.parent.glob("*.part"):  # unfinished downloads of older commits
        shutil.rmtree(other, ignore_errors=True)


# Where the language model's tensors lie in the whole, and where they lie in a text model.
_PREFIXES = (
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("lm_head.", "lm_head."),
)
_CHUNK = 16 << 20


def _text_config(config: Json) -> dict[str, object] | None:
    """The configuration of the text part; None for a model that is all text."""
    inner = config.get("text_config")
    if not isinstance(inner, dict) or not isinstance(inner.get("vocab_size"), int):
        return None
    classes = sorted(native_classes(str(inner.get("model_type"))))
    shared = ("tie_word_embeddings", "bos_token_id", "eos_token_id", "dtype")
    outer = {k: config[k] for k in shared if k in config and inner.get(k) is None}
    return {**inner, **outer, "architectures": classes[:1]} if classes else None


def _keep_text_part(folder: Path, name: str) -> None:
    """Reduce a downloaded model to its text part, in place; what is all text stays as it is."""
    config = _text_config(read_config(folder, name))
    if config is None:
        return
    files = [f for f in model_files(folder, name) if f.endswith(".safetensors")]
    kept = [
        (new, folder / file, facts)
        for file in files
        for old, facts in read_header(folder / file).items()
        if (new := _renamed(old))
    ]
    if not kept:
        raise BaseModelError(
            f"{name} has no text part that we know.", "Choose another base: `vaultgpt base`."
        )
    _copy(kept, folder / ".text.safetensors")
    for file in (*files, "model.safetensors.index.json"):
        (folder / file).unlink(missing_ok=True)
    (folder / ".text.safetensors").rename(folder / "model.safetensors")
    write_json(folder / "config.json", config)


def _renamed(name: str) -> str | None:
    return next((new + name[len(old) :] for old, new in _PREFIXES if name.startswith(old)), None)


def _copy(kept: list[tuple[str, Path, Tensor]], target: Path) -> None:
    """One safetensors file of tensors that lie in others: (new name, file, facts in its header)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, _, facts in kept:
        start, end = facts["data_offsets"]
        header[name] = {**facts, "data_offsets": [at, at + end - start]}
        at += end - start
    head = json.dumps(header, separators=(",", ":")).encode("utf-8")
    head += b" " * (-len(head) % 8)
    with target.open("wb") as out:
        out.write(struct.pack("<Q", len(head)) + head)
        for _, file, facts in kept:
            with file.open("rb") as stream:
                (skip,) = struct.unpack("<Q", stream.read(8))
                start, end = facts["data_offsets"]
                stream.seek(8 + skip + start)
                left = end - start
                while left > 0:
                    data = stream.read(min(_CHUNK, left))
                    if not data:
                        raise BaseModelError(f"{file.name} is damaged.", "Fetch the model again.")
                    left -= out.write(data)
