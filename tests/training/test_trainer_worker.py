"""The worker as a process: frames, a kill and a second start, stopping, a parent that dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeJob, some_items
from vaultgpt.settings import Training
from vaultgpt.training.round import Report, of_machine
from vaultgpt.wire import read_frame, write_frame

ROOT = Path(__file__).resolve().parents[2]
LEAVES_S = 10.0  # 1 s of grace, and patience with a busy test machine
# On a busy machine a process at nice 19 may wait for minutes; only its number is tested, once.
AT_OUR_PRIORITY = (
    "import os; import vaultgpt.training.trainer_worker as w;"
    " w._lower_priority = lambda: None; os._exit(w.main())"
)
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a worker on a job; whatever is left at the end is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(job: Path, **order: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", AT_OUR_PRIORITY],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        running.append(process)
        assert process.stdin is not None
        write_frame(process.stdin, {"job": str(job), **order})
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def frames(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    while (message := read_frame(process.stdout)) is not None:
        yield message


def wait_for_step(process: subprocess.Popen[bytes], step: int) -> None:
    for message in frames(process):
        if message.get("phase") == "train" and message.get("step", 0) >= step:
            return
    pytest.fail("the worker ended before that step")


def test_a_stopped_worker_started_again_ends_with_the_losses_of_a_whole_run(
    make_job: MakeJob, start: Start
) -> None:
    """1. a worker runs whole; 2. another is told to stop in training; 3. it is started again.

    Result: both ends say `done`; losses within 1e-4 at the same thread count.
    """
    settings = {"epochs": 12.0}
    whole = list(frames(start(make_job("whole", settings=settings))))[-1]
    assert whole["event"] == "done"
    path = make_job("cut", settings=settings)
    process = start(path)
    wait_for_step(process, 3)
    assert process.stdin is not None
    write_frame(process.stdin, {"stop": True})
    began = time.monotonic()
    assert process.wait(timeout=60) == 130
    assert time.monotonic() - began < LEAVES_S
    assert (path.parent / "checkpoint.safetensors").exists()
    assert not (path.parent / "out" / "adapter_model.safetensors").exists()
    seen = list(frames(start(path)))
    assert min(m["step"] for m in seen if m.get("phase") == "train") > 3
    report = Report.from_json(seen[-1]["report"])
    losses = Report.from_json(whole["report"]).losses
    assert max(abs(a - b) for a, b in zip(report.losses, losses, strict=True)) < 1e-4


def test_a_round_whose_graphics_card_is_gone_goes_on_where_the_settings_say_now(
    make_job: MakeJob, start: Start
) -> None:
    """1. A job names a card that is not here. 2. It is started; and again where the settings say
    the CPU by now. Result: a clear refusal; then it learns, whatever the job says."""
    path = make_job(settings={"device": "cuda:7", "threads": 8})
    refused = list(frames(start(path)))[-1]
    assert refused["event"] == "error" and "CUDA" in refused["message"]
    machine = of_machine(Training(device="cpu", threads=1))
    report = list(frames(start(path, machine=machine)))[-1]["report"]
    assert (report["device"], report["learning"]["threads"]) == ("cpu", 1)


def test_the_module_runs_at_the_lowest_priority_and_refuses_to_run_without_a_job() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultgpt.training.trainer_worker"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if os.name == "posix":
        code = (
            "import os, vaultgpt.training.trainer_worker as w\n"
            "w._lower_priority(); print(os.nice(0))"
        )
        nice = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True
        )
        assert nice.stdout.strip() == b"19"
    assert process.communicate(b"", timeout=300)[0] == b""
    assert process.returncode == 1


def test_a_worker_leaves_when_its_parent_is_gone(make_job: MakeJob, start: Start) -> None:
    process = start(make_job(settings={"epochs": 100000.0}))
    wait_for_step(process, 2)
    assert process.stdin is not None
    process.stdin.close()  # what the death of a parent looks like
    began = time.monotonic()
    process.wait(timeout=60)
    assert time.monotonic() - began < LEAVES_S


def test_a_failure_is_one_frame_without_text_of_the_notes(
    make_job: MakeJob, start: Start, tmp_path: Path
) -> None:
    process = start(make_job(base=str(tmp_path / "nowhere"), items=some_items(2, 1)))
    last = list(frames(process))[-1]
    assert (last["event"], last["code"]) == ("error", "base_model")
    assert last["mend"]
    assert process.wait(timeout=60) == 1
