"""A round on a graphics card. Skipped, saying so, where none is."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from tests.training.conftest import MakeJob
from vaultgpt.arithmetic import choose_device
from vaultgpt.training.loop import Stopped
from vaultgpt.training.lora import load_adapter
from vaultgpt.training.trainer import run_job

CARD = "cuda"
pytestmark = pytest.mark.skipif(choose_device("auto").type != CARD, reason="no CUDA is here")


@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_a_fresh_round_beats_its_base_and_leaves_a_voice_for_any_device(
    make_job: MakeJob, dtype: str
) -> None:
    path = make_job(settings={"epochs": 6.0, "device": CARD, "dtype": dtype})
    report = run_job(path, lambda _: None, threading.Event())
    bits = report.bits_per_byte
    assert bits["held_out"] is not None and bits["held_out_base"] is not None
    assert bits["held_out"] < 0.95 * bits["held_out_base"]
    assert report.device.startswith(CARD)
    left = load_adapter(path.parent / "out")
    assert all(t.device.type == "cpu" and t.isfinite().all() for t in left.tensors.values())


def test_a_round_that_was_stopped_goes_on_as_if_it_had_not_been(make_job: MakeJob) -> None:
    def learn(name: str, until: int) -> Any:
        path = make_job(name, settings={"epochs": 4.0, "device": CARD})
        stop = threading.Event()

        def told(event: Any) -> None:
            if event["phase"] == "train" and event["step"] == until:
                stop.set()

        if until:
            with pytest.raises(Stopped):
                run_job(path, told, stop)
        run_job(path, lambda _: None, threading.Event())
        return load_adapter(path.parent / "out").tensors

    whole, parted = learn("whole", 0), learn("parted", 3)
    for name, tensor in whole.items():
        torch.testing.assert_close(parted[name], tensor, rtol=1e-3, atol=1e-4)
