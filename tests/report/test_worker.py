"""The measuring process from outside: frames, a parent that dies, no prose in what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.report.making import make_adapter, make_job
from vaultgpt.errors import TrainingError
from vaultgpt.files import write_json
from vaultgpt.report.job import VoiceJob
from vaultgpt.settings import Training
from vaultgpt.wire import ProgressEvent, read_frame, write_frame
from vaultgpt.workers.jobs import run_voice
from vaultgpt.workers.process import RoundStopped

ROOT = Path(__file__).resolve().parents[2]
LEAVES_S = 10.0  # 1 s of grace, and patience with a busy test machine
# On a busy machine a process at nice 19 may wait for minutes; the trainer's tests look at that.
AT_OUR_PRIORITY = (
    "import os; import vaultgpt.training.trainer_worker as w; import vaultgpt.report.job "
    "as v; w._lower_priority = lambda: None; os._exit(w.main(v._study, 'measuring'))"
)
PROGRAM = [sys.executable, "-c", AT_OUR_PRIORITY]


@pytest.fixture(autouse=True)
def at_our_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultgpt.workers.jobs._lower", lambda pid: None)


@pytest.fixture
def job(tiny_llama: Path, tmp_path: Path) -> VoiceJob:
    made = make_job(tiny_llama, make_adapter(tiny_llama, tmp_path / "g"), notes=4, held_out=2)
    return replace(made, write_s=2.0, most_write_s=2.0)


def test_the_process_measures_and_says_only_figures(job: VoiceJob, tmp_path: Path) -> None:
    write_json(tmp_path / "job.json", asdict(job))
    told: list[ProgressEvent] = []
    found = run_voice(
        tmp_path / "job.json", told.append, threading.Event(), settings=Training(), program=PROGRAM
    )
    assert {"style", "tags", "headers", "copying", "written", "seconds"} <= set(found)
    assert {t["phase"] for t in told} == {"load", "evaluate", "write", "compare"}
    words = {w for i in (*job.learned, *job.held_out) for w in i.text.split() if len(w) > 7}
    assert words and not any(word in json.dumps([found, told]) for word in words)


def test_it_leaves_when_its_parent_is_gone(job: VoiceJob, tmp_path: Path) -> None:
    write_json(tmp_path / "job.json", asdict(replace(job, write_s=600.0, most_write_s=600.0)))
    process = subprocess.Popen(
        PROGRAM, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        write_frame(process.stdin, {"job": str(tmp_path / "job.json")})
        while (frame := read_frame(process.stdout)) is not None and frame.get("phase") == "load":
            pass
        process.stdin.close()  # what the death of a parent looks like
        began = time.monotonic()
        process.wait(timeout=60)
        assert time.monotonic() - began < LEAVES_S
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_stopping_it_and_a_damaged_job_are_told_in_words(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(RoundStopped, match="measuring"):
        run_voice(
            tmp_path / "none.json",
            lambda frame: None,
            stop,
            settings=Training(),
            program=[sys.executable, "-c", "import time; time.sleep(60)"],
        )
    with pytest.raises(TrainingError, match="job file"):
        run_voice(
            tmp_path / "none.json",
            lambda frame: None,
            threading.Event(),
            settings=Training(),
            program=PROGRAM,
        )
    with pytest.raises(TrainingError, match="measuring process died"):
        run_voice(
            tmp_path / "none.json",
            lambda frame: None,
            threading.Event(),
            settings=Training(),
            program=[sys.executable, "-c", "raise SystemExit(3)"],
        )
