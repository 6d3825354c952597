"""Bring a base model from the Hugging Face hub: a pinned commit, safetensors only, hashes checked.

huggingface_hub asks the hub and moves the bytes; the partial files are ours, since its own are lost
when a process ends. Knows nothing about what a model is good for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from filelock import FileLock, Timeout

from vaultgpt.bases import store
from vaultgpt.bases.failures import endpoint, no_room, plainly
from vaultgpt.bases.model import (
    CHOOSE,
    INDEX,
    TOKENIZER_FILES,
    Base,
    check_config,
    check_tokenizer,
    inspect,
    json_object,
    model_files,
    read_config,
    weight_files,
)
from vaultgpt.errors import BaseModelError, Conflict
from vaultgpt.files import fsync_dir, fsync_file, make_private_dir, sha256_file, write_json
from vaultgpt.state import VaultState

Progress = Callable[[int, int], None]  # bytes here, bytes in all
ALSO = ("generation_config.json", "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md")
SLACK_BYTES = 64 << 20  # left free beyond the model's own size
TIMEOUT_S = 15.0  # of the first question; the transfer has huggingface_hub's own
AGAIN = "Run the command again: it goes on where it stopped."


@dataclass(frozen=True)
class RemoteFile:
    """One file of a model as the hub lists it. `sha256` for LFS files, else git's blob id."""

    name: str
    size: int  # bytes
    sha256: str | None
    blob_id: str | None


def download(
    name: str, state: VaultState | None = None, on_progress: Progress | None = None
) -> Base:
    """The base called `name`, fetched first when it is a hub id not yet here; pinned in `state`.

    A name that is pinned already is answered without network; `org/name@main` asks the hub anew.
    An interrupted transfer goes on where it stopped. BaseModelError, Conflict.
    """
    if name == store.PEBBLE or store.as_folder(name) is not None:
        return store.resolve(name, state)
    repo, revision = store.hub_id(name)
    here = None if revision == "main" else store.local_commit(name, repo, revision, state)
    if here is None:
        with plainly(name):
            here = _fetch(name, repo, revision or store.pins(state).get(name),
                          on_progress or _silent)
    if state is not None:
        store.pin(state, name, here)
    return store.resolve(f"{repo}@{here}" if state is None else name, state)


def _fetch(name: str, repo: str, revision: str | None, on_progress: Progress) -> str:
    """Bring the model's files under models_root(); return the commit."""
    commit, listed = _ask(repo, revision)
    target = store.hub_folder(repo, commit)
    if (target / store.RECORD).is_file():
        return commit
    check_tokenizer(listed, name)
    if INDEX not in listed:
        weight_files(listed, None, name)
    make_private_dir(target.parent)
    part = make_private_dir(target.parent / f"{commit}.part")
    try:
        with FileLock(target.parent / "download.lock", timeout=0):
            small = [f for f in ("config.json", INDEX, *TOKENIZER_FILES, *ALSO) if f in listed]
            _Mover(repo, commit, part, _silent).bring([listed[f] for f in small])
            check_config(read_config(part, name), name)
            weights = weight_files(listed, json_object(part / INDEX), name)
            _Mover(repo, commit, part, on_progress).bring([listed[f] for f in small + weights])
            _finish(part, target, name, repo, commit)
    except Timeout:
        raise Conflict(f"{name} is being downloaded already.", "Wait for it to end.") from None
    return commit


def _silent(done: int, total: int) -> None:
    """A Progress that nobody sees."""


def _ask(repo: str, revision: str | None) -> tuple[str, dict[str, RemoteFile]]:
    """The commit that a revision means now, and the files at its root."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=endpoint()).model_info(
        repo, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
    if not info.sha or not store.COMMIT.fullmatch(info.sha):
        raise BaseModelError(f"{endpoint()} does not answer as a model hub.", "Check HF_ENDPOINT.")
    files = {
        s.rfilename: RemoteFile(s.rfilename, (s.lfs.size if s.lfs else s.size) or 0,
                                s.lfs.sha256 if s.lfs else None, s.blob_id)
        for s in info.siblings or []
        if "/" not in s.rfilename and "\\" not in s.rfilename
    }
    if "config.json" not in files and "adapter_config.json" in files:
        raise BaseModelError(f"{repo} is an adapter, not a model.",
                             "Give the base that the adapter was trained on.")
    if "config.json" not in files and not any(f.endswith((".gguf", ".bin")) for f in files):
        raise BaseModelError(f"{repo} is no language model: it has no config.json.", CHOOSE)
    return info.sha, files


class _Mover:
    """Moves files of one commit into a folder that outlives an interrupted process."""

    def __init__(self, repo: str, commit: str, part: Path, on_progress: Progress) -> None:
        self.repo, self.commit, self.part, self.on_progress = repo, commit, part, on_progress

    def bring(self, files: list[RemoteFile]) -> None:
        """Bring every file that is not here whole, and check each against the hub's hash."""
        total = sum(file.size for file in files)
        missing = total - sum(min(self._here(file), file.size) for file in files)
        _check_space(self.part, missing, self.repo)
        done = 0
        for file in files:
            self._one(file, done, total)
            done += file.size
            self.on_progress(done, total)

    def _here(self, file: RemoteFile) -> int:
        path = self.part / file.name
        return path.stat().st_size if path.is_file() else 0

    def _one(self, file: RemoteFile, before: int, total: int) -> None:
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
                http_get(url, cast(BinaryIO, counted), resume_size=here, expected_size=file.size,
                         headers={**headers, "Accept-Encoding": "identity"})
        fsync_file(path)
        if not _is_published(path, file):
            path.unlink()
            raise BaseModelError(f"{file.name} of {self.repo} is not the file that the hub lists: "
                                 "its hash differs.", "It was deleted; run the command again.")
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


def _is_published(path: Path, file: RemoteFile) -> bool:
    """Whether the file's bytes are those that the hub lists (SHA-256, or git's own hash)."""
    if file.sha256:
        return sha256_file(path) == file.sha256
    if file.blob_id and len(file.blob_id) == 40:
        data = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == file.blob_id
    return path.stat().st_size == file.size


def _check_space(folder: Path, missing: int, repo: str) -> None:
    free = shutil.disk_usage(folder).free
    if missing and missing + SLACK_BYTES > free:
        raise no_room(repo, missing, free)


def _finish(part: Path, target: Path, name: str, repo: str, commit: str) -> None:
    """Inspect the whole, write its record and give it its final name."""
    for mark in part.glob(".*.checked"):
        mark.unlink()
    sha256 = {file: sha256_file(part / file) for file in model_files(part, name)}
    inspect(part, name, commit, sha256)
    write_json(part / store.RECORD, {"name": repo, "revision": commit, "sha256": sha256})
    part.rename(target)
    fsync_dir(target.parent)
    for other in target.parent.glob("*.part"):  # unfinished downloads of older commits
        shutil.rmtree(other, ignore_errors=True)
