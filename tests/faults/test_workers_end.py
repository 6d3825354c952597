"""Workers that stop answering, crash over and over, or get no memory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.workers.test_workers import PROGRAM, TRAINER, Truth, words
from vaultgpt.children import exit_meaning
from vaultgpt.errors import TrainingError, Unavailable, WorkerDied, is_memory
from vaultgpt.settings import Training
from vaultgpt.wire import Piece, Prompt
from vaultgpt.workers import jobs as jobs_module
from vaultgpt.workers import pipe as pipe_module
from vaultgpt.workers.jobs import run_trainer
from vaultgpt.workers.mirror import MirrorProcess

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@posix
async def test_a_mirror_that_is_halted_is_replaced_within_ten_seconds(tmp_path: Path) -> None:
    """1. A mirror runs. 2. SIGSTOP. 3. A hotkey. Result: another one answers it within 10 s, the
    halted one is gone, the problem is told.
    """
    mirror = MirrorProcess(Truth(tmp_path), program=PROGRAM)
    await words(mirror, "x")
    halted = mirror.pid
    assert halted is not None and not mirror.problem
    os.kill(halted, signal.SIGSTOP)
    began = time.monotonic()
    text, _ = await words(mirror, "x")
    assert text == "one two" and time.monotonic() - began < 10
    assert mirror.pid != halted and "stopped answering" in mirror.problem
    with pytest.raises(ProcessLookupError):
        os.kill(halted, 0)
    await mirror.stop()


@posix
async def test_what_was_said_is_not_said_twice_by_the_one_that_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A mirror has said its first piece. 2. SIGSTOP. Result: the request fails within 10 s,
    rather than begin anew; the next one is answered.
    """
    monkeypatch.setattr(pipe_module, "_MUTE_S", 1.0)
    mirror = MirrorProcess(Truth(tmp_path), program=PROGRAM)
    items = mirror.generate(Prompt(text="long"))
    assert isinstance(await anext(items), Piece)
    assert mirror.pid is not None
    os.kill(mirror.pid, signal.SIGSTOP)
    with pytest.raises(WorkerDied, match="stopped answering"):
        async with asyncio.timeout(10):
            await anext(items)
    assert (await words(mirror, "x"))[0] == "one two"
    await mirror.stop()


async def test_a_crash_loop_backs_off_and_says_so(tmp_path: Path) -> None:
    """1. Every request kills its mirror. 2. Eight requests at once. 3. The waiting time is over.
    Result: three mirrors were started, the others were told why and when; then one answers, and
    nothing is told any more.
    """
    truth = Truth(tmp_path)
    mirror = MirrorProcess(truth, program=PROGRAM)
    for _ in range(3):
        with pytest.raises(WorkerDied):
            await words(mirror, "kill")
    for _ in range(5):
        with pytest.raises(Unavailable, match="3 times in a row") as told:
            await words(mirror, "kill")
        assert 0 < told.value.retry_after_s <= 2
    assert truth.asked == 3 and "3 times in a row" in mirror.problem
    mirror._health._not_before = 0.0
    assert (await words(mirror, "x"))[0] == "one two"
    assert not mirror.problem
    await mirror.stop()


@posix
def test_a_trainer_that_is_halted_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. A round runs. 2. SIGSTOP. Result: a sentence within seconds; the trainer is gone."""
    monkeypatch.setattr(jobs_module, "_STOPPED_S", 0.5)
    monkeypatch.setattr(jobs_module, "_TERMINATE_AFTER_S", 0.5)
    monkeypatch.setattr(jobs_module, "_KILL_AFTER_S", 1.0)
    pids: list[int] = []

    def halt(frame: object) -> None:
        assert isinstance(frame, dict)
        pids.append(frame["pid"])
        os.kill(frame["pid"], signal.SIGSTOP)

    with pytest.raises(TrainingError, match="halted from outside"):
        run_trainer(
            tmp_path,
            halt,
            threading.Event(),
            settings=Training(threads=1),
            program=[sys.executable, "-c", TRAINER, "wait"],
        )
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_out_of_memory_is_told_as_that() -> None:
    for said in (
        b"terminate called after throwing an instance of 'std::bad_alloc'",
        b"Traceback\nRuntimeError: DefaultCPUAllocator: can't allocate memory: you tried",
        b"MemoryError",
    ):
        assert exit_meaning(1, said).endswith("for lack of memory")
        assert exit_meaning(-6, said).endswith("for lack of memory")
    assert exit_meaning(-9) == "it was killed, probably for lack of memory"
    assert is_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried"))
    assert is_memory(MemoryError()) and not is_memory(RuntimeError("shape"))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of addresses binds on Linux")
async def test_a_real_mirror_without_memory_says_so(tmp_path: Path, tiny_llama: Path) -> None:
    """1. A mirror may take 600 MB of addresses. 2. A hotkey. Result: an error that names memory.

    Some library may not look at what it was given and crash, once in many times: then other limits.
    """
    truth = Truth(tiny_llama)
    truth.opening = type(truth.opening)(tiny_llama, None, {}, truth.opening.settings)
    said: list[str] = []
    for megabytes in (600, 620, 640):
        limit = megabytes << 20
        code = (
            f"import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit})); "
            "runpy.run_module('vaultgpt.mirror.mirror_worker', run_name='__main__', alter_sys=True)"
        )
        mirror = MirrorProcess(truth, program=[sys.executable, "-c", code])
        with pytest.raises(Exception, match=r"memory|signal 11") as caught:
            await words(mirror, "x")
        await mirror.stop()
        said.append(str(caught.value))
        if "memory" in said[-1]:
            return
    pytest.fail(f"{said}")
