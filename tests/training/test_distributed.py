"""A round learned by two processes that torch's launcher starts is the round of one."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psutil
import pytest
import torch

from tests.training.conftest import MakeJob, item, some_items
from vaultgpt.settings import Training
from vaultgpt.training.distributed import Together
from vaultgpt.training.lora import load_adapter
from vaultgpt.training.round import Report
from vaultgpt.training.trainer import run_job
from vaultgpt.workers.jobs import run_trainer
from vaultgpt.workers.process import RoundStopped

TWO = Training(processes=2, threads=2)


def test_two_processes_learn_what_one_does(make_job: MakeJob) -> None:
    """1. A round by one process. 2. The same by two, over gloo, stopped after some steps. 3. Again.
    4. The same by two, each of which keeps a part of the base (FSDP).

    Result: once stopped none of them is left; it goes on from its checkpoint. Both come to the same
    losses, the same validation and the same adapter, within rounding.
    """
    items = [*some_items(90), *(item(200 + i, words=600) for i in range(12))]
    jobs = [
        make_job(name, items=items, settings={"batch_tokens": 1024})
        for name in ("one", "two", "parts")
    ]
    alone = run_job(jobs[0], lambda _: None, threading.Event())
    stop, children, told = threading.Event(), list[psutil.Process](), list[Any]()
    others = set(psutil.Process().children(recursive=True))  # of tests before this one

    def until_some(event: Any) -> None:
        if event.get("step") == 3:
            children.extend(set(psutil.Process().children(recursive=True)) - others)
            stop.set()

    with pytest.raises(RoundStopped):
        run_trainer(jobs[1], until_some, stop, settings=TWO)
    assert len(children) == 3  # the launcher and two trainers
    with suppress(psutil.NoSuchProcess):
        assert not psutil.wait_procs(children, timeout=10)[1]
    done = run_trainer(jobs[1], told.append, threading.Event(), settings=TWO)
    both = Report.from_json(json.loads(json.dumps(done)))
    assert next(m["step"] for m in told if m["phase"] == "train") > 3
    parts = replace(TWO, whole_params=0)  # it goes with the machine, whatever the job says
    done = run_trainer(jobs[2], told.append, threading.Event(), settings=parts)
    apart = Report.from_json(json.loads(json.dumps(done)))
    assert any("FSDP" in note for note in apart.notes)
    for report, job in ((both, jobs[1]), (apart, jobs[2])):
        _same(alone, report)
        one, two = load_adapter(jobs[0].parent / "out"), load_adapter(job.parent / "out")
        for name, tensor in one.tensors.items():
            torch.testing.assert_close(two.tensors[name], tensor, atol=2e-4, rtol=2e-3)


def _same(alone: Report, both: Report) -> None:
    assert alone.steps == both.steps > 8 and alone.tokens == both.tokens
    assert both.losses == pytest.approx(alone.losses, rel=1e-4)
    checks = [report.learning["validation"] for report in (alone, both)]
    assert len(checks[0]) > 1
    assert [v for _, v in checks[1]] == pytest.approx([v for _, v in checks[0]], rel=1e-4)
    held = [report.bits_per_byte["held_out"] for report in (alone, both)]
    assert held[1] == pytest.approx(held[0], rel=1e-4)


def test_every_block_is_one_process_s() -> None:
    for count in (0, 1, 2, 5, 8):
        shares = [Together(rank, 3).mine(range(count)) for rank in range(3)]
        assert sorted(part for share in shares for part in share) == list(range(count))
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
