"""Where the time of a training step and of a written token goes, by kind of work.

python -m benchmarks.steps [--base FOLDER] [--vault FOLDER] [--json FILE]
Torch's own profiler counts, on the CPU. What it can't see, Python between the operations, is the
rest of the wall clock. Without --base: the embedded base.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from benchmarks.decode import FULL, ROOT, journal, ours
from benchmarks.learning import EXAMPLE, Trial, make_job
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.mirror.engine import Engine
from vaultgpt.settings import Mirror
from vaultgpt.training.base_model import load_base
from vaultgpt.training.device import choose_device
from vaultgpt.training.learner import Learner
from vaultgpt.training.loop import Loop, Plan
from vaultgpt.training.trainer import Trainer
from vaultgpt.wire import Prompt

PEBBLE = ROOT / "vaultgpt" / "pebble"
STEPS, TOKENS = 4, 200  # that are profiled
_HEAD = 20_000  # no other matrix of a base is as tall
# The first that matches, of an operation's name.
KINDS = (
    ("attention", ("scaled_dot_product", "flash_attention")),
    ("products", ("mm", "addmm", "bmm", "linear", "onednn", "mkldnn", "matmul", "baddbmm")),
    ("optimiser", ("adam", "foreach", "clip")),
    ("copies and casts", ("copy_", "cat", "clone", "index", "gather", "scatter", "embedding")),
)
Shares = dict[str, float]


def kind_of(name: str, shapes: object) -> str:
    """The kind of work of an operation of torch."""
    plain = name.removeprefix("aten::").lower()
    for kind, words in KINDS:
        if any(word in plain for word in words):
            return "products with the vocabulary" if kind == "products" and _tall(shapes) else kind
    return "element by element"


def _tall(shapes: object) -> bool:
    found = (
        [size for shape in shapes if isinstance(shape, list) for size in shape]
        if isinstance(shapes, list)
        else []
    )
    return any(isinstance(size, int) and size >= _HEAD for size in found)


def shares(work: Callable[[], int]) -> tuple[Shares, float]:
    """Milliseconds a token by kind, and in all by the clock; `work` gives the tokens it did."""
    work()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        begin = time.perf_counter()
        tokens = work()
        wall = time.perf_counter() - begin
    spent: defaultdict[str, float] = defaultdict(float)
    for event in found.key_averages(group_by_input_shape=True):
        spent[kind_of(event.key, event.input_shapes)] += event.self_cpu_time_total / 1e3 / tokens
    whole = 1e3 * wall / tokens
    spent["between them"] = max(0.0, whole - sum(spent.values()))
    return dict(sorted(spent.items(), key=lambda pair: -pair[1])), whole


def training(base: Path, vault: Path) -> tuple[Shares, float]:
    """Of a step of a first round."""
    with tempfile.TemporaryDirectory() as work:
        job = make_job(vault, base, 0, 1, Trial(), Path(work))
        trainer = Trainer(job, lambda event: None, threading.Event())
        options = trainer.settings
        device = choose_device(options.device, options.dtype, options.threads)
        loaded = load_base(base, device)
        train = [item for item in trainer.job.items if item.role == "train"]
        recipe, mixture, _, _ = trainer._mixture(loaded, None, train, 0)
        plan = Plan(10 * STEPS, 10 * STEPS, None, None, trainer.digest)
        learner = Learner(loaded, recipe, 1, None, None)
        loop = Loop(learner, mixture, [], plan, stop=trainer.stop)

        def steps() -> int:
            before = loop.progress.tokens
            for _ in range(STEPS):
                loop._one_step()
            return loop.progress.tokens - before

        return shares(steps)


def decoding(base: Path) -> tuple[Shares, float]:
    """Of a token as it is written, all sampling and the guard on, after a prompt of 300."""
    with tempfile.TemporaryDirectory() as work:
        index = RunIndex(Path(work) / "runs", b"benchmark key 16")
        index.add([journal()])
        engine = Engine(Mirror(), index.load())
        engine.load(base)
        ids = engine.vocabulary.encode(journal())[:300]
        text = engine.vocabulary.bytes_of(ids).decode("utf-8", "ignore")
        prompt = Prompt(text=text, length="tokens", max_tokens=TOKENS, seed=1, sampling=FULL)

        def write() -> int:
            ours(engine, prompt, cold=False)
            return TOKENS

        write()  # the prompt is read
        return shares(write)


def table(found: dict[str, tuple[Shares, float]]) -> str:
    """Per cent of each by kind, as Markdown."""
    kinds = list(dict.fromkeys(kind for spent, _ in found.values() for kind in spent))
    lines = ["| | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
    for kind in kinds:
        cells = (f"{100 * spent.get(kind, 0.0) / whole:.0f} %" for spent, whole in found.values())
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    whole = (f"{whole:.2f} ms" for _, whole in found.values())
    return "\n".join([*lines, "| a token | " + " | ".join(whole) + " |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", type=Path, default=PEBBLE)
    parser.add_argument("--vault", type=Path, default=EXAMPLE)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {
        "learned": training(options.base, options.vault),
        "written": decoding(options.base),
    }
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
