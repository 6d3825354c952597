"""Turn a GGUF file into a folder of safetensors, once, in a process of its own, or not at all.

The child (training/expand.py) has torch and transformers; here is the order, the room on disk and
in memory, and the record. Knows nothing about where the file is from.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Required

import psutil
from typing_extensions import TypedDict

from vaultgpt.bases.failures import megabytes, no_room
from vaultgpt.bases.gguf import Gguf, read_gguf
from vaultgpt.bases.hashes import RECORD, HashCache, Record
from vaultgpt.bases.kinds import CHOOSE
from vaultgpt.bases.model import inspect, model_files
from vaultgpt.bases.names import name_unpacked, unpacked_folder
from vaultgpt.children import command, environment, failed_with, spawn_options
from vaultgpt.errors import BaseModelError, Conflict, require_package
from vaultgpt.files import locked, make_private_dir, put_folder, sha256_file, write_json
from vaultgpt.wire import read_frame, write_frame

_CHILD = "vaultgpt.training.expand"
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# What the child held at its peak: SmolLM2-135M Q4_1 0.94 GB, Gemma 3 270M Q4_K_M 3.3 GB; that is
# libraries, twice the model as it is written, and three times the largest tensor in fp32.
_LIBRARIES_BYTES, _COPIES, _LARGEST_COPIES = 600_000_000, 2, 3


class UnpackJob(TypedDict):
    """What the unpacking process is told."""

    file: str
    folder: str
    dtype: str
    start: int | None  # the token that begins a text
    end: int | None


class UnpackAnswer(TypedDict, total=False):
    """What it tells: bytes done, or the class of what failed; unknown of a form it can't read."""

    event: Required[Literal["progress", "unknown", "failed"]]
    done: int
    total: int
    kind: str


def unpack(name: str, file: Path, stem: str, on_progress: Callable[[int, int], None]) -> str:
    """Unpack the GGUF `file` that `name` means under models_root(); return its SHA-256 cut to 40.

    `stem` is the folder's readable part. Done once for a file's bytes. BaseModelError, Conflict."""
    found = read_gguf(file, name)
    hashes = HashCache()
    try:
        digest = hashes.sha256(file)
    except OSError as error:
        raise BaseModelError(
            f"{file} can't be read ({type(error).__name__}).", "Mend its permissions."
        ) from None
    hashes.save()
    if not name_unpacked(name, digest[:40]):
        check_package(name)
        target = unpacked_folder(stem, digest[:40])
        make_private_dir(target.parent, parents=True)
        _check_room(found, name, target.parent)
        busy = Conflict(f"{name} is being unpacked already.", "Wait for it to end.")
        with locked(target.parent / "unpack.lock", busy):
            _bring(name, found, digest, target, on_progress)
    return digest[:40]


def check_package(name: str) -> None:
    """BaseModelError with the command where the package that reads GGUF is missing."""
    require_package("gguf", f"Unpacking {name}", BaseModelError)


def _check_room(found: Gguf, name: str, folder: Path) -> None:
    """BaseModelError where disk or memory would not hold it."""
    size = found.elements * _BYTES[found.dtype]
    free = shutil.disk_usage(folder).free
    if size > free:
        raise no_room(name, size, free)
    peak = _LIBRARIES_BYTES + _COPIES * size + _LARGEST_COPIES * 4 * found.largest
    available = psutil.virtual_memory().available
    if peak > available:
        raise BaseModelError(
            f"Unpacking {name} takes about {megabytes(peak)} of memory, and {megabytes(available)} "
            "are free.",
            "Close other programs, or choose a smaller base.",
        )


def _bring(
    name: str, found: Gguf, digest: str, target: Path, on_progress: Callable[[int, int], None]
) -> None:
    """Unpack beside `target`, look at the result, note where it is from, and rename it."""
    for left in target.parent.glob(".part-*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=".part-"))
    try:
        start, end = found.ends()
        job = UnpackJob(
            file=str(found.path), folder=str(part), dtype=found.dtype, start=start, end=end
        )
        _run(job, name, found, on_progress)
        sha256 = {file: sha256_file(part / file) for file in model_files(part, name)}
        inspect(part, name, digest[:40], sha256)
        size = found.path.stat().st_size
        record: Record = {
            "names": [name],
            "revision": digest[:40],
            "sha256": sha256,
            "source": {"file": found.path.name, "sha256": digest, "bytes": size},
            "lost": found.lost,
            "chat": found.chat,
        }
        write_json(part / RECORD, record)
        put_folder(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _run(job: UnpackJob, name: str, found: Gguf, on_progress: Callable[[int, int], None]) -> None:
    """Let the child do the job, and follow it; BaseModelError in one line when it can't."""
    with tempfile.TemporaryFile() as errors, _child(errors) as child:
        assert child.stdin and child.stdout
        reason = ""
        unknown = False
        with contextlib.suppress(OSError, ValueError):  # its end says what happened
            write_frame(child.stdin, job)
            answer: UnpackAnswer | None
            while (answer := read_frame(child.stdout)) is not None:
                if answer["event"] == "progress":
                    on_progress(answer["done"], answer["total"])
                else:
                    reason, unknown = answer["kind"], answer["event"] == "unknown"
        status = child.wait()
        if status == 0:
            return
        errors.seek(0)
        crash = failed_with(errors.read())
    reason = reason or crash or f"status {status}"
    if (os.name == "posix" and status == -signal.SIGKILL) or reason == "MemoryError":
        raise BaseModelError(
            f"There was not enough memory to unpack {name}.",
            "Close other programs, or choose a smaller base.",
        )
    if unknown:
        raise BaseModelError(
            f"{name} is a {found.architecture} model, which the installed transformers can't read "
            "from GGUF.",
            "Take the full model, or another base: `vaultgpt base` lists some.",
        )
    raise BaseModelError(f"{name} can't be unpacked ({reason}).", CHOOSE)


@contextlib.contextmanager
def _child(errors: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The unpacking process; it is ended when the block is left, also by Ctrl-C."""
    child = subprocess.Popen(
        command(_CHILD),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment(),
        **spawn_options(),
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
