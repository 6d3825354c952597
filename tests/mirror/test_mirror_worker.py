"""The process: frames in and out, cancels, swaps, errors, and leaving in time."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.wire import Prompt, read_frame, write_frame

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """A worker and its pipes."""

    def __init__(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "vaultgpt.mirror.mirror_worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def say(self, **message: Any) -> None:
        assert self.child.stdin
        write_frame(self.child.stdin, message)

    def hear(self) -> dict[str, Any]:
        assert self.child.stdout
        message: dict[str, Any] | None = read_frame(self.child.stdout)
        assert message is not None
        return message

    def until(self, *events: str) -> list[dict[str, Any]]:
        """Everything up to the first of these events."""
        heard = [self.hear()]
        while heard[-1]["event"] not in events:
            heard.append(self.hear())
        return heard

    def open(self, base: Path, **more: Any) -> dict[str, Any]:
        self.say(
            op="open", base=str(base), active=None, generations={}, settings={}, threads=1, **more
        )
        return self.hear()


@pytest.fixture
def worker() -> Iterator[Process]:
    process = Process()
    yield process
    process.child.kill()
    process.child.wait()
    for pipe in (process.child.stdin, process.child.stdout, process.child.stderr):
        with contextlib.suppress(OSError):
            if pipe:
                pipe.close()


def prompt(text: str = "We saw", **fields: Any) -> Mapping[str, object]:
    return Prompt(text=text, seed=1, **{"max_tokens": 20, "length": "tokens", **fields}).to_json()


def test_a_life_of_the_worker(
    worker: Process, tiny_llama: Path, adapters: Callable[..., Path], tmp_path: Path
) -> None:
    RunIndex(tmp_path / "runs", b"\x01" * 16).add([tiny.prose(50)])
    generation = adapters(tiny_llama, "llama")
    ready = worker.open(tiny_llama, runs=str(tmp_path / "runs"), secret="01" * 16)
    assert ready["event"] == "ready" and ready["dtype"] == "float32" and ready["load_ms"] > 0
    assert ready["cost"] is None  # nothing to measure in fp32
    worker.say(op="warm", id=1, prompt=prompt())
    warmed = worker.hear()
    assert warmed["event"] == "warmed" and warmed["id"] == 1
    worker.say(op="generate", id=2, prompt=prompt())
    worker.say(op="generate", id=3, prompt=prompt(n=2))
    first, second = worker.until("usage"), worker.until("usage")
    assert {m["id"] for m in first} == {2} and {m["id"] for m in second} == {3}
    assert first[-1]["usage"]["cached_tokens"] == warmed["cached_tokens"]
    assert [m["finish"] for m in second if m["event"] == "piece" and m["finish"]]
    worker.say(op="activate", active="g000001", folder=str(generation))
    writes = {"dtype": "float32", "cost": None, "problem": ""}
    assert worker.hear() == {"event": "activated", "active": "g000001", **writes}
    worker.say(op="generate", id=4, prompt=prompt())
    assert worker.until("usage")[-1]["usage"]["generation"] == "g000001"
    worker.say(op="runs")
    assert worker.hear() == {"event": "runs"}
    worker.say(op="stop")
    assert worker.child.wait(5) == 0
    assert worker.child.stdout and worker.child.stdout.read() == b""


def test_errors_are_frames_and_say_nothing_of_the_prompt(
    worker: Process, tiny_llama: Path, tmp_path: Path
) -> None:
    secret = "The butler did it"
    worker.say(op="generate", id=1, prompt=prompt(secret))
    assert worker.hear()["code"] == "unavailable"
    worker.say(op="open", base=str(tmp_path))
    assert worker.hear()["code"] == "base_model"
    assert worker.open(tiny_llama)["event"] == "ready"
    for broken in (
        {"text": secret, "colour": 1},
        {},
        {"text": secret, "model": "g000077"},
        {"text": secret, "n": 99},
        {"text": secret, "max_tokens": "many"},
    ):
        worker.say(op="generate", id=2, prompt=broken)
        answer = worker.hear()
        assert (
            answer["event"] == "error" and answer["id"] == 2 and answer["status"] in (400, 404, 500)
        )
        assert secret not in json.dumps(answer)
    worker.say(op="dance", id=3)
    assert worker.hear()["status"] == 400
    worker.say(op="generate", id=4, prompt=prompt())
    assert worker.until("usage", "error")[-1]["event"] == "usage"


def test_cancel_ends_a_running_and_a_waiting_request_soon(
    worker: Process, tiny_models: Callable[..., Path]
) -> None:
    worker.open(tiny_models("llama", context=4096, layers=6))
    long = prompt(max_tokens=2000, sampling={"min_p": 0.0})
    worker.say(op="generate", id=1, prompt=long)
    worker.say(op="generate", id=2, prompt=long)
    assert worker.hear()["event"] == "piece"
    asked = time.perf_counter()
    worker.say(op="cancel", id=2)
    worker.say(op="cancel", id=1)
    worker.say(op="cancel", id=99)
    first = worker.until("usage")
    took = time.perf_counter() - asked
    assert first[-2]["finish"] == "cancelled" and took < 1.0  # 100 ms where nothing else runs
    second = worker.until("usage")
    assert [m["finish"] for m in second[:-1]] == ["cancelled"]
    worker.say(op="generate", id=1, prompt=prompt())  # an id may come again
    assert worker.until("usage")[-2]["finish"] in ("stop", "length")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "writing"])
def test_it_leaves_within_two_seconds_of_its_parents_end(
    worker: Process, tiny_models: Callable[..., Path], busy: bool
) -> None:
    worker.open(tiny_models("llama", context=4096, layers=6))
    if busy:
        worker.say(op="generate", id=1, prompt=prompt(max_tokens=2000))
        worker.hear()
    assert worker.child.stdin
    worker.child.stdin.close()
    began = time.perf_counter()
    worker.child.wait(10)
    assert time.perf_counter() - began < 2.0


def _run(script: Path) -> subprocess.Popen[bytes]:
    """A worker of the test's own making."""
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": str(ROOT)},
    )


def test_in_a_forward_pass_that_never_ends_it_leaves_too(tmp_path: Path) -> None:
    """The reader thread ends the process; here the main thread hangs in one operation."""
    script = tmp_path / "hang.py"
    script.write_text(
        "import threading, vaultgpt.mirror.mirror_worker as w\n"
        "w.Worker._warm = lambda self, order: (self._send({'event': 'in', 'id': order['id']}), "
        "threading.Event().wait())\n"
        "w.main()\n"
    )
    child = _run(script)
    assert child.stdin and child.stdout
    write_frame(child.stdin, {"op": "warm", "id": 1})
    assert read_frame(child.stdout) == {"event": "in", "id": 1}
    child.stdin.close()
    began = time.perf_counter()
    child.wait(10)
    child.stdout.close()
    assert time.perf_counter() - began < 2.0


def test_what_libraries_print_does_not_reach_the_frames(tmp_path: Path) -> None:
    script = tmp_path / "noisy.py"
    script.write_text(
        "import os, vaultgpt.mirror.mirror_worker as w\n"
        "w.Worker._runs = lambda self, m: (print('noise', flush=True), os.write(1, b'x'), "
        "self._send({'event': 'runs'}))\n"
        "w.main()\n"
    )
    child = _run(script)
    assert child.stdin and child.stdout
    write_frame(child.stdin, {"op": "runs"})
    assert read_frame(child.stdout) == {"event": "runs"}
    child.stdin.close()
    assert child.stdout.read() == b""
    child.stdout.close()
    child.wait(10)


def test_only_torch_is_imported_for_a_family_of_its_own(tiny_llama: Path) -> None:
    code = (
        f"import sys; from pathlib import Path; from vaultgpt import settings\n"
        f"from vaultgpt.mirror.engine import Engine; from vaultgpt.wire import Prompt\n"
        f"e = Engine(settings.Mirror(device='cpu')); e.load(Path({str(tiny_llama)!r}))\n"
        f"list(e.generate(Prompt(text='We', max_tokens=5), lambda: False))\n"
        f"print([m for m in ('transformers', 'peft') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
