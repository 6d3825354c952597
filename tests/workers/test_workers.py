"""The worker processes from outside: real children that speak frames, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from vaultgpt.bases.estimate import usable_cores
from vaultgpt.children import exit_meaning
from vaultgpt.errors import (
    BaseModelError,
    OutOfMemory,
    TrainingError,
    VaultGPTError,
    WorkerDied,
    _classes,
    error_of,
)
from vaultgpt.settings import Mirror, Training
from vaultgpt.wire import Piece, Prompt, Usage
from vaultgpt.workers import jobs
from vaultgpt.workers.jobs import run_trainer
from vaultgpt.workers.mirror import MirrorProcess, Opening
from vaultgpt.workers.pipe import Precedence
from vaultgpt.workers.process import RoundStopped, idle_threads

CHILD = """
import os, sys, threading, time
from vaultgpt.wire import read_frame, write_frame
out = os.fdopen(os.dup(1), "wb")
cancelled = set()
inbox = []
WRITES = dict(dtype="float32", cost=None, problem="")
lock = threading.Condition()
def say(**frame): write_frame(out, frame)
def reader():
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        with lock:
            if frame["op"] == "cancel": cancelled.add(frame["id"])
            else: inbox.append(frame)
            lock.notify()
    os._exit(0)
threading.Thread(target=reader, daemon=True).start()
while True:
    with lock:
        while not inbox: lock.wait()
        frame = inbox.pop(0)
    op = frame["op"]
    if op == "stop": os._exit(0)
    if op == "open":
        if not os.path.isdir(frame["base"]):
            say(event="error", code="base_model", message="No base.", mend="Get one.", status=503)
            continue
        active = frame["active"]
        say(event="ready", device="cpu", load_ms=1.0, **WRITES)
    if op == "activate":
        active = frame["active"]; say(event="activated", active=active, **WRITES)
    if op == "warm": say(event="warmed", id=frame["id"], cached_tokens=3)
    if op == "generate":
        text, n = frame["prompt"]["text"], frame["id"]
        if text == "die": print("MemoryError: the author's words", file=sys.stderr); os._exit(3)
        if text == "kill": os.kill(os.getpid(), 9)
        if text == "wrong":
            say(event="error", id=n, code="not_found", message="None.", mend="", status=404)
            continue
        say(event="piece", id=n, index=0, text="one", finish=None)
        while text == "long" and n not in cancelled: time.sleep(0.005)
        say(event="piece", id=n, index=0, text=" two", finish="stop")
        say(event="usage", id=n, usage=dict(generation=active or "base", prompt_tokens=1, tokens=2,
            cached_tokens=len(cancelled), first_token_ms=1.0, tokens_per_s=None, overtime=0,
            slow="a captured step was 9 % off" if text == "slow" else ""))
"""
PROGRAM = [sys.executable, "-c", CHILD]


class Truth:
    """What the ledger would say; counts how often it was asked."""

    def __init__(self, base: Path, idle_minutes: float = 15.0) -> None:
        self.opening = Opening(
            base, "g000001", {"g000001": base / "g1"}, Mirror(threads=1, idle_minutes=idle_minutes)
        )
        self.asked = 0
        self.held: asyncio.Event | None = None  # its answer, until this is set

    async def __call__(self) -> Opening:
        self.asked += 1
        found = self.opening
        if self.held is not None:
            await self.held.wait()
        return found


@pytest.fixture
async def mirror(tmp_path: Path) -> AsyncIterator[MirrorProcess]:
    process = MirrorProcess(Truth(tmp_path), program=PROGRAM)
    yield process
    await process.stop()


async def words(mirror: MirrorProcess, text: str) -> tuple[str, Usage]:
    items = [item async for item in mirror.generate(Prompt(text=text))]
    assert isinstance(items[-1], Usage)
    return "".join(i.text for i in items if isinstance(i, Piece)), items[-1]


async def until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_worker_starts_with_the_first_request_and_stays(mirror: MirrorProcess) -> None:
    assert not mirror.running
    assert (await words(mirror, "x"))[0] == "one two"
    pid = mirror.pid
    assert (await words(mirror, "x"))[1].generation == "g000001"
    assert mirror.pid == pid and mirror.ready.device == "cpu"
    assert await mirror.warm(Prompt(text="x")) == 3


async def test_why_it_writes_slower_than_it_could_stands_beside_the_device(
    mirror: MirrorProcess,
) -> None:
    assert mirror.device is None
    for text, told in (("x", ""), ("slow", ", slower than it could: a captured step was 9 % off")):
        await words(mirror, text)
        assert mirror.device == "cpu" + told


async def test_no_word_of_a_prompt_stands_in_the_worker_s_arguments_or_environment(
    mirror: MirrorProcess,
) -> None:
    await words(mirror, "marzipan")
    child = psutil.Process(mirror.pid)
    assert "marzipan" not in " ".join(child.cmdline())
    assert "marzipan" not in str(child.environ())


async def test_closing_the_iterator_cancels_the_generation(mirror: MirrorProcess) -> None:
    """1. A long generation says its first piece. 2. The reader closes. 3. Another asks.

    Result: the worker was told to cancel, and the next request is answered at once.
    """
    items: Any = mirror.generate(Prompt(text="long"))
    assert isinstance(await anext(items), Piece)
    await items.aclose()
    async with asyncio.timeout(1):
        text, usage = await words(mirror, "x")
    assert text == "one two" and usage.cached_tokens == 1  # the child counts its cancels here


async def test_cancelling_the_task_cancels_the_generation(mirror: MirrorProcess) -> None:
    async def read() -> None:
        async for _ in mirror.generate(Prompt(text="long")):
            seen.set()

    seen = asyncio.Event()
    task = asyncio.create_task(read())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await words(mirror, "x"))[1].cached_tokens == 1


async def test_a_client_that_leaves_during_the_start_does_not_stop_it(
    mirror: MirrorProcess,
) -> None:
    task = asyncio.create_task(mirror.open())
    await until(lambda: mirror._starting is not None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: mirror.running)
    assert (await words(mirror, "x"))[0] == "one two"


async def test_a_worker_that_dies_fails_its_request_and_the_next_starts_a_fresh_one(
    mirror: MirrorProcess,
) -> None:
    """1. The worker dies in the middle. 2. The request fails, saying why without prose. 3. Again.

    Result: WorkerDied with the exit status, the exception's class only, and then an answer.
    """
    with pytest.raises(WorkerDied) as died:
        await words(mirror, "die")
    assert "status 3 (MemoryError)" in str(died.value) and "author" not in str(died.value)
    with pytest.raises(WorkerDied, match="lack of memory"):
        await words(mirror, "kill")
    assert (await words(mirror, "x"))[0] == "one two"


async def test_a_worker_s_error_is_raised_in_its_class_and_the_worker_stays(
    mirror: MirrorProcess, tmp_path: Path
) -> None:
    with pytest.raises(VaultGPTError, match="None") as failure:
        await words(mirror, "wrong")
    assert failure.value.code == "not_found" and failure.value.http_status == 404
    assert mirror.running
    lost = MirrorProcess(Truth(tmp_path / "missing"), program=PROGRAM)
    with pytest.raises(BaseModelError, match="No base"):
        await lost.open()
    assert not lost.running
    await lost.stop()


async def test_requests_are_served_one_after_the_other(mirror: MirrorProcess) -> None:
    answers = await asyncio.gather(*(words(mirror, "x") for _ in range(5)))
    assert [text for text, _ in answers] == ["one two"] * 5


async def test_a_swap_waits_for_the_running_request_and_takes_effect_after_it(
    tmp_path: Path,
) -> None:
    truth = Truth(tmp_path)
    mirror = MirrorProcess(truth, program=PROGRAM)
    items: Any = mirror.generate(Prompt(text="long"))
    await anext(items)
    truth.opening = Opening(tmp_path, "g000002", {}, truth.opening.settings)
    swap = asyncio.create_task(mirror.activate())
    await asyncio.sleep(0)
    assert not swap.done()
    pid = mirror.pid
    await items.aclose()
    async with asyncio.timeout(2):
        await swap
    assert (await words(mirror, "x"))[1].generation == "g000002" and mirror.pid == pid
    await mirror.stop()


async def test_a_swap_comes_before_the_requests_that_wait(tmp_path: Path) -> None:
    """1. A request runs, three wait. 2. A swap is wished for. 3. The request ends. Result: all
    that waited write in the new voice.
    """
    truth = Truth(tmp_path)
    mirror = MirrorProcess(truth, program=PROGRAM)
    items: Any = mirror.generate(Prompt(text="long"))
    await anext(items)
    waiting = [asyncio.create_task(words(mirror, "x")) for _ in range(3)]
    await asyncio.sleep(0)
    truth.opening = Opening(tmp_path, "g000002", {}, truth.opening.settings)
    swap = asyncio.create_task(mirror.activate())
    await asyncio.sleep(0)
    await items.aclose()
    async with asyncio.timeout(2):
        await swap
        answers = await asyncio.gather(*waiting)
    assert [usage.generation for _, usage in answers] == ["g000002"] * 3
    await mirror.stop()


async def test_a_swap_looks_its_voice_up_while_the_request_still_runs(tmp_path: Path) -> None:
    """1. A request runs. 2. A swap is wished for, whose files take long to look at. 3. The worker
    dies, and another begins with a voice that came later. Result: the files were looked at while
    the request ran, and what was found of them does not come after the later voice.
    """
    truth = Truth(tmp_path)
    mirror = MirrorProcess(truth, program=PROGRAM)
    items: Any = mirror.generate(Prompt(text="long"))
    await anext(items)
    truth.opening = Opening(tmp_path, "g000002", {}, truth.opening.settings)
    truth.held = asyncio.Event()
    swap = asyncio.create_task(mirror.activate())
    await asyncio.sleep(0)
    assert truth.asked == 2 and not swap.done()
    held, truth.held = truth.held, None
    truth.opening = Opening(tmp_path, "g000003", {}, truth.opening.settings)
    assert mirror.pid is not None
    os.kill(mirror.pid, 9)
    with pytest.raises(WorkerDied):
        await anext(items)
    assert (await words(mirror, "x"))[1].generation == "g000003"
    held.set()
    await swap
    assert mirror.active == "g000003"
    await mirror.stop()


async def test_a_swap_that_waited_takes_what_is_active_when_its_turn_comes(tmp_path: Path) -> None:
    """1. A request runs, one waits. 2. A swap is wished for, and its voice looked up. 3. Another
    voice is made active, and a swap wished for again. 4. The request ends. Result: the one that
    waits writes in the voice that came last.
    """
    truth = Truth(tmp_path)
    mirror = MirrorProcess(truth, program=PROGRAM)
    items: Any = mirror.generate(Prompt(text="long"))
    await anext(items)
    waiting = asyncio.create_task(words(mirror, "x"))
    await asyncio.sleep(0)
    truth.opening = Opening(tmp_path, "g000002", {}, truth.opening.settings)
    swaps = [asyncio.create_task(mirror.activate())]
    await until(lambda: truth.asked == 2)
    truth.opening = Opening(tmp_path, "g000003", {}, truth.opening.settings)
    swaps.append(asyncio.create_task(mirror.activate()))
    await asyncio.sleep(0)
    await items.aclose()
    async with asyncio.timeout(2):
        assert (await waiting)[1].generation == "g000003"
        await asyncio.gather(*swaps)
    await mirror.stop()


async def test_another_base_takes_another_worker(tmp_path: Path) -> None:
    truth = Truth(tmp_path)
    mirror = MirrorProcess(truth, program=PROGRAM)
    await words(mirror, "x")
    pid = mirror.pid
    (tmp_path / "new").mkdir()
    truth.opening = Opening(tmp_path / "new", "g000002", {}, truth.opening.settings)
    await mirror.activate()
    assert not mirror.running
    await words(mirror, "x")
    assert mirror.pid != pid
    await mirror.stop()


async def test_work_that_gives_way_gets_its_turn_though_somebody_always_goes_first() -> None:
    """1. Requests overlap without a pause. 2. Work that gives way is begun.

    Result: it is broken off while its patience lasts, and then done once, not for ever after that.
    """
    order, begun, typing = Precedence(patience_s=0.2), 0, True

    async def type_on() -> None:
        while typing:
            with order.first():
                await asyncio.sleep(0.03)

    async def work() -> str:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0.05)
        return "done"

    typists = [asyncio.create_task(type_on())]
    await asyncio.sleep(0.015)
    typists.append(asyncio.create_task(type_on()))
    began = time.monotonic()
    async with asyncio.timeout(10):
        assert await order.last(work) == "done"
    assert time.monotonic() - began > 0.2 and begun == 1
    typing = False
    await asyncio.gather(*typists)
    assert await order.last(work) == "done"


async def test_an_idle_worker_leaves_and_the_next_request_brings_another(tmp_path: Path) -> None:
    mirror = MirrorProcess(Truth(tmp_path, idle_minutes=0.01), program=PROGRAM)
    await words(mirror, "x")
    await until(lambda: not mirror.running)
    assert (await words(mirror, "x"))[0] == "one two"
    await mirror.stop()


async def test_a_vault_that_is_the_current_folder_lends_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vaultgpt").mkdir()
    (tmp_path / "vaultgpt" / "__init__.py").write_text("raise SystemExit('the vault ran')")
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "job.json"
    with pytest.raises(TrainingError) as failure:  # no such job: but it is our worker that says so
        run_trainer(
            job,
            lambda _: None,
            threading.Event(),
            settings=Training(threads=1),
            program=[sys.executable, "-P", "-c", TRAINER, "fail"],
        )
    assert isinstance(failure.value, OutOfMemory)


TRAINER = """
import os, sys, time
from vaultgpt.wire import read_frame, write_frame
from vaultgpt.errors import VaultGPTError
out = os.fdopen(os.dup(1), "wb")
job = read_frame(sys.stdin.buffer)["job"]
mode = sys.argv[1]
if mode == "fail":
    write_frame(out, {"event": "error", "code": "out_of_memory", "message": "Full.", "mend": ""})
if mode == "deaf":
    import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
write_frame(out, {"event": "progress", "phase": "train", "fraction": 0.5, "pid": os.getpid()})
if mode == "kill": os.kill(os.getpid(), 9)
while mode == "deaf": time.sleep(0.01)
if mode == "wait":
    while (frame := read_frame(sys.stdin.buffer)) is not None and not frame.get("stop"): pass
    os._exit(0)
write_frame(out, {"event": "done", "report": {"job": job}})
"""


def trainer(mode: str) -> list[str]:
    return [sys.executable, "-c", TRAINER, mode]


def test_a_round_gives_its_report_and_runs_at_the_lowest_priority(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    stop = threading.Event()

    def on_progress(frame: Any) -> None:
        process = psutil.Process(frame["pid"])
        seen.append({**frame, "nice": process.nice(), "session": os.getsid(frame["pid"])})
        stop.set()

    with pytest.raises(RoundStopped):
        run_trainer(tmp_path, on_progress, stop, settings=Training(), program=trainer("wait"))
    assert seen[0]["nice"] == 19
    assert seen[0]["session"] == os.getsid(0)  # autogroup: nice counts within it only
    report = run_trainer(
        tmp_path, lambda _: None, threading.Event(), settings=Training(), program=trainer("done")
    )
    assert report == {"job": str(tmp_path)}


def test_a_round_that_was_asked_for_is_lowered_once_the_hotkey_is_used(tmp_path: Path) -> None:
    """1. A person asks for a round. 2. Its first progress comes. 3. Then the mirror is in use.

    Result: it ran at our own priority until then, and at the lowest after.
    """
    seen: list[int] = []
    stop, in_use = threading.Event(), threading.Event()

    def on_progress(frame: Any) -> None:
        process = psutil.Process(frame["pid"])
        seen.append(process.nice())
        in_use.set()

        def later() -> None:
            end = time.monotonic() + 10
            while process.nice() != 19 and time.monotonic() < end:
                time.sleep(0.02)
            seen.append(process.nice())
            stop.set()

        threading.Thread(target=later).start()

    with pytest.raises(RoundStopped):
        run_trainer(
            tmp_path,
            on_progress,
            stop,
            settings=Training(),
            program=trainer("wait"),
            polite=in_use.is_set,
        )
    assert seen == [psutil.Process().nice(), 19]


def test_a_trainer_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultgpt.workers.jobs._TERMINATE_AFTER_S", 0.2)
    monkeypatch.setattr("vaultgpt.workers.jobs._KILL_AFTER_S", 0.4)
    stop, pids, asked = threading.Event(), [], []

    def on_progress(frame: Any) -> None:
        pids.append(frame["pid"])
        asked.append(time.monotonic())  # a busy machine takes seconds to start it
        stop.set()

    with pytest.raises(RoundStopped):
        run_trainer(tmp_path, on_progress, stop, settings=Training(), program=trainer("deaf"))
    assert not psutil.pid_exists(pids[0]) and time.monotonic() - asked[0] < 5


def test_a_trainer_s_end_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="killed, probably for lack of memory"):
        run_trainer(
            tmp_path,
            lambda _: None,
            threading.Event(),
            settings=Training(),
            program=trainer("kill"),
        )
    with pytest.raises(OutOfMemory, match="Full"):
        run_trainer(
            tmp_path,
            lambda _: None,
            threading.Event(),
            settings=Training(),
            program=trainer("fail"),
        )


def test_exit_statuses_have_meanings() -> None:
    assert "lack of memory" in exit_meaning(-signal.SIGKILL)
    assert "signal 11" in exit_meaning(-signal.SIGSEGV)
    assert exit_meaning(1, b"Traceback\n  File x\nmodule.SomeError: dear diary") == (
        "it ended with status 1 (SomeError)"
    )


def test_every_kind_of_failure_comes_through_a_frame() -> None:
    for code, kind in _classes(VaultGPTError).items():
        sent = VaultGPTError("It is so.", "Do this.").answer()
        sent |= {"code": code, "status": kind.http_status}
        error = error_of(sent)
        assert type(error) is kind and error.http_status == kind.http_status
        assert (error.message, error.mend) == ("It is so.", "Do this.")


def test_an_unknown_code_keeps_its_status() -> None:
    error = error_of({"event": "error", "code": "odd", "message": "m", "mend": "", "status": 418})
    assert (error.code, error.http_status) == ("odd", 418)


def test_the_mirror_gets_at_least_one_thread_and_no_more_than_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 1 <= idle_threads(0.01) <= usable_cores()

    class Times:
        idle, nice, iowait = 0.0, 100.0, 0.0

    monkeypatch.setattr("psutil.cpu_times_percent", lambda interval: Times)
    monkeypatch.setattr("vaultgpt.workers.process.usable_cores", lambda: 8)
    assert idle_threads(0.01) == 7, "a trainer at low priority costs one thread"


def test_threads_of_a_trainer_wait_asleep_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads that spin at a barrier take the core from the very thread that they wait for."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert jobs._environment(Training())["OMP_WAIT_POLICY"] == "PASSIVE"
    assert jobs._environment(Training())["MALLOC_ARENA_MAX"] == "1"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert jobs._environment(Training())["OMP_WAIT_POLICY"] == "ACTIVE"
