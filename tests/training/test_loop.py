"""The loop: schedules, resuming, memory and time limits, stopping."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.conftest import item
from vaultgpt.corpus.documents import Block
from vaultgpt.errors import OutOfMemory, TrainingError
from vaultgpt.training import loop as loop_module
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.checkpoint import DAMAGED, Progress, read_checkpoint, write_checkpoint
from vaultgpt.training.choose import Recipe, rate_at
from vaultgpt.training.device import Device
from vaultgpt.training.evaluate import segments
from vaultgpt.training.learner import Learner
from vaultgpt.training.loop import Loop, Plan, Stopped
from vaultgpt.training.lora import Adapter
from vaultgpt.training.loss import Batch, make_batch, plan_passes
from vaultgpt.training.streams import Mixture, Stream

RECIPE = Recipe(rank=4, rate=4e-3, embedding_rate=1e-3, batch_tokens=256, block_tokens=128)


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_loop(
    base: BaseModel,
    folder: Path,
    steps: int = 8,
    recipe: Recipe = RECIPE,
    parent: Adapter | None = None,
    **more: Any,
) -> Loop:
    learner = Learner(base, recipe, 1, parent, more.pop("last", None))
    stream = Stream(
        [item(i) for i in range(10)],
        base.encoder,
        block_tokens=recipe.block_tokens,
        packs=base.packs,
        seed=1,
        name="new",
    )
    plan = Plan(steps, more.pop("check_every", 4), more.pop("deadline", None), folder, "job")
    validation = segments(more.pop("validation", []), base.encoder)
    more.setdefault("stop", threading.Event())
    return Loop(learner, Mixture([(stream, 1.0)]), validation, plan, **more)


def same(one: Adapter, other: Adapter, tolerance: float = 1e-6) -> bool:
    return all(torch.allclose(t, other.tensors[n], atol=tolerance) for n, t in one.tensors.items())


def factor(loop: Loop) -> float:
    """Share of the peak rate in the last step."""
    group = loop.learner.optimiser.param_groups[0]
    return float(group["lr"] / group["peak"])


def test_loss_falls_and_the_rate_warms_up_and_stays(base: BaseModel, tmp_path: Path) -> None:
    factors: list[float] = []
    loop: Loop = make_loop(base, tmp_path, 30, on_step=lambda p: factors.append(factor(loop)))
    loop.run()
    losses = loop.progress.losses
    assert len(losses) == loop.progress.step == 30
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert factors[0] < factors[2] < 1.0 and set(factors[3:]) == {1.0}


def test_what_is_learned_is_the_mean_of_the_weights_along_the_way(
    base: BaseModel, tmp_path: Path
) -> None:
    """Later ones count for more, by the tokens read; the weights go on from where they are."""
    passed: list[tuple[float, dict[str, torch.Tensor]]] = []
    sizes: list[int] = []

    def look(progress: Progress) -> None:
        now = {n: p.detach().clone() for n, p in loop.learner.parameters.items()}
        sizes.append(progress.tokens - sum(sizes))
        passed.append((sizes[-1] * progress.tokens, now))

    loop = make_loop(base, tmp_path, 6, on_step=look)
    before = base.embedding.detach().clone()
    result = loop.run()
    assert len(set(sizes)) > 1  # steps of unlike sizes
    total = sum(weight for weight, _ in passed)
    means = {n: torch.stack([t * w[n] for t, w in passed]).sum(0) / total for n in passed[0][1]}
    for name, tensor in result.tensors.items():
        assert torch.allclose(tensor, means[name], atol=1e-6)
        assert torch.equal(loop.learner.lora[name], passed[-1][1][name])
    assert result.embedding is not None
    assert torch.allclose(result.embedding, means["embedding"] - before, atol=1e-6)


def test_the_mean_is_what_validation_scores(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it scores, the weights are those that would be kept; afterwards training goes on."""
    seen: list[Adapter] = []
    loop = make_loop(base, tmp_path, 6, check_every=3, validation=[item(50, "held_out", 20)])

    def scored(target: BaseModel, found: Any, **how: Any) -> list[float]:
        names = {n: p.detach().clone() for n, p in loop.learner.lora.items()}
        seen.append(Adapter(4, 8, names, None))
        assert same(seen[-1], loop.learner.snapshot())
        return [5.0 - len(seen)]

    monkeypatch.setattr(loop_module, "score", scored)
    result = loop.run()
    assert len(seen) == 2 and same(result, seen[-1]) and not same(seen[0], seen[1])
    assert not same(result, Adapter(4, 8, dict(loop.learner.lora), None))


def test_a_stopped_run_goes_on_from_its_checkpoint_with_the_same_losses(
    base: BaseModel, tmp_path: Path
) -> None:
    """1. run whole; 2. run anew and stop after step 5; 3. start again in the same folder.

    Result: losses within 1e-4 and the same adapter.
    """
    whole = make_loop(base, tmp_path / "none")
    expected = whole.run()
    whole.learner.close()

    stop = threading.Event()

    def after_five(progress: Progress) -> None:
        if progress.step == 5:
            stop.set()

    (tmp_path / "run").mkdir()
    first = make_loop(base, tmp_path / "run", stop=stop, on_step=after_five)
    with pytest.raises(Stopped):
        first.run()
    first.learner.close()
    second = make_loop(base, tmp_path / "run")
    steps: list[int] = []
    second.on_step = lambda p: steps.append(p.step)
    result = second.run()
    assert steps[0] == 6
    assert (
        max(abs(a - b) for a, b in zip(second.progress.losses, whole.progress.losses, strict=True))
        < 1e-4
    )
    assert same(result, expected, 1e-5)
    assert result.embedding is not None and expected.embedding is not None
    assert torch.allclose(result.embedding, expected.embedding, atol=1e-5)


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs, nothing is saved."""


def test_a_killed_run_goes_on_from_its_last_checkpoint_with_the_same_losses(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. run whole; 2. run anew with checkpoints up to step 3 and die after step 6; 3. start again.

    Result: steps 4 to 6 are done again and every loss is within 1e-4.
    """
    whole = make_loop(base, tmp_path / "none")
    whole.run()
    whole.learner.close()

    def dies(progress: Progress) -> None:
        if progress.step == 3:
            monkeypatch.setattr(loop_module, "CHECKPOINT_S", 1e9)
        if progress.step == 6:
            raise Killed

    monkeypatch.setattr(loop_module, "CHECKPOINT_S", 0.0)
    (tmp_path / "run").mkdir()
    first = make_loop(base, tmp_path / "run", on_step=dies)
    with pytest.raises(Killed):
        first.run()
    first.learner.close()
    second = make_loop(base, tmp_path / "run")
    steps: list[int] = []
    second.on_step = lambda p: steps.append(p.step)
    second.run()
    assert steps[0] == 4
    assert (
        max(abs(a - b) for a, b in zip(second.progress.losses, whole.progress.losses, strict=True))
        < 1e-4
    )


@pytest.mark.parametrize("call", ["fsync", "chmod", "replace"])
def test_a_kill_in_the_middle_of_a_checkpoint_goes_on_from_the_one_before(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """1. A checkpoint after each step. 2. A kill while the fourth is written. 3. It starts again.
    Result: it goes on from the third."""

    def killed(*_: Any) -> None:
        raise Killed

    def dies(progress: Progress) -> None:
        if progress.step == 3:
            monkeypatch.setattr(os, call, killed)

    monkeypatch.setattr(loop_module, "CHECKPOINT_S", 0.0)
    first = make_loop(base, tmp_path, on_step=dies)
    with pytest.raises(Killed):
        first.run()
    first.learner.close()
    monkeypatch.undo()
    second, steps = make_loop(base, tmp_path), list[int]()
    second.on_step = lambda p: steps.append(p.step)
    second.run()
    second.learner.close()
    assert steps[0] == 4


def test_a_round_that_goes_on_takes_no_more_at_once_than_fits_there(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A round stops on a large card. 2. It goes on where a quarter fits, and where more would.
    Result: a quarter at once; and what fitted before."""
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(loop_module, "_tokens_that_fit", lambda *_: 512)
    first = make_loop(base, tmp_path, stop=stop)
    with pytest.raises(Stopped):
        first.run()
    first.learner.close()
    for fits, at_once in ((128, 128), (4096, 512)):
        monkeypatch.setattr(loop_module, "_tokens_that_fit", lambda *_, fits=fits: fits)
        second = make_loop(base, tmp_path, 0)
        second._resume()
        second.learner.close()
        assert second.progress.micro_tokens == at_once


def test_a_checkpoint_of_another_job_or_a_damaged_one_counts_as_none(
    base: BaseModel, tmp_path: Path
) -> None:
    stop = threading.Event()
    stop.set()
    first = make_loop(base, tmp_path, stop=stop)
    with pytest.raises(Stopped):
        first.run()
    path = tmp_path / "checkpoint.safetensors"
    assert read_checkpoint(tmp_path, "job") is not None
    assert read_checkpoint(tmp_path, "other") is None
    path.write_bytes(path.read_bytes()[:50])
    assert read_checkpoint(tmp_path, "job") is None
    assert not path.exists() and (tmp_path / DAMAGED).exists()


def test_a_bit_that_flips_in_a_checkpoint_begins_the_round_anew(
    base: BaseModel, tmp_path: Path
) -> None:
    """1. A round is stopped. 2. A bit of its checkpoint flips: of its weights, of its header, where
    it stood. 3. It goes on. Result: from its first step, the file is set aside, and it is said.
    """
    stop = threading.Event()
    stop.set()
    first = make_loop(base, tmp_path, stop=stop)
    with pytest.raises(Stopped):
        first.run()
    first.learner.close()
    path = tmp_path / "checkpoint.safetensors"
    whole = path.read_bytes()
    for at in (len(whole) - 5, len(whole) // 2, whole.index(b"tokens") + 9):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert read_checkpoint(tmp_path, "job") is None and not path.exists()
    second = make_loop(base, tmp_path, steps=2)
    second.run()
    second.learner.close()
    assert len(second.progress.losses) == 2 and "damaged" in second.progress.notes[0]


def test_writing_checkpoints_takes_a_hundredth_of_the_time_at_most(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Steps of 100 s, and a disk that takes 6 s for a checkpoint. 2. A kill has left parts of
    two. 3. It goes on. Result: one checkpoint in 600 s, and the parts are gone.
    """
    clock, written = Clock(), []

    def slow(*what: Any) -> None:
        clock.now += 6.0
        written.append(clock.now)
        write_checkpoint(*what)

    def passes(progress: Progress) -> None:
        clock.now += 100.0

    monkeypatch.setattr(loop_module, "write_checkpoint", slow)
    for part in ("one", "two"):
        (tmp_path / f".checkpoint.safetensors.{part}.tmp").write_bytes(b"half")
    loop = make_loop(base, tmp_path, 16, clock=clock, on_step=passes)
    loop.run()
    loop.learner.close()
    assert [round(b - a) for a, b in pairwise(written)] == [606, 606]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


class Exhausted:
    """_slopes that raises the first `times` times, then does its work."""

    def __init__(self, times: int, error: Callable[[], Exception]) -> None:
        self.times, self.error, self.real = times, error, loop_module._slopes

    def __call__(self, *given: Any) -> tuple[float, list[torch.Tensor]]:
        if self.times:
            self.times -= 1
            raise self.error()
        return self.real(*given)


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError,
        lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch_and_learns_the_same(
    base: BaseModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Callable[[], Exception],
) -> None:
    whole = make_loop(base, tmp_path, 3)
    expected = whole.run()
    whole.learner.close()
    monkeypatch.setattr(loop_module, "_slopes", Exhausted(1, error))
    loop = make_loop(base, tmp_path, 3)
    result = loop.run()
    assert loop.progress.micro_tokens == 128
    assert loop.progress.notes == ["out of memory: batch halved to 128 tokens at once"]
    assert same(result, expected, 2e-4)


def test_out_of_memory_for_one_block_on_the_cpu_is_an_error(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "_slopes", Exhausted(99, MemoryError))
    with pytest.raises(OutOfMemory, match="not enough memory"):
        make_loop(base, tmp_path, 3).run()


def test_out_of_memory_on_another_device_moves_to_the_cpu_with_the_moments(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that claims to be a GPU stands in for one; the weights lie on the CPU throughout."""
    loop = make_loop(base, tmp_path, 6)
    expected = loop.run()
    loop.learner.close()

    again = make_loop(base, tmp_path, 6)

    def claim(progress: Progress) -> None:
        if progress.step == 2:
            base.device = replace(base.device, where=torch.device("meta"))
            monkeypatch.setattr(loop_module, "_slopes", Exhausted(1, MemoryError))
            monkeypatch.setattr(loop_module, "make_batch", on_meta)
            progress.micro_tokens = 1

    def on_meta(target: BaseModel, rows: Any) -> Batch:
        real = target.device
        target.device = replace(real, where=torch.device("cpu"))
        try:
            return make_batch(target, rows)
        finally:
            target.device = real

    again.on_step = claim
    result = again.run()
    assert base.device.where.type == "cpu"
    assert again.progress.notes == ["out of memory: moved to the CPU"]
    assert same(result, expected, 2e-4)


def test_other_failures_are_not_taken_for_out_of_memory(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        loop_module, "_slopes", Exhausted(1, lambda: RuntimeError("shapes do not match"))
    )
    with pytest.raises(RuntimeError, match="shapes"):
        make_loop(base, tmp_path, 2).run()


def test_a_loss_that_is_no_number_ends_the_round(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "_slopes", lambda *given: (float("nan"), []))
    with pytest.raises(TrainingError, match="diverged"):
        make_loop(base, tmp_path, 2).run()


def test_a_budget_lowers_the_steps(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step takes 2 s of a 100 s budget, so about 48 of 1,000 steps fit; soon warm."""
    clock, real = Clock(), loop_module._slopes
    factors: list[float] = []

    def slow(*args: Any) -> tuple[float, list[torch.Tensor]]:
        clock.now += 2.0
        return real(*args)

    monkeypatch.setattr(loop_module, "_slopes", slow)
    loop: Loop = make_loop(
        base,
        tmp_path,
        1000,
        replace(RECIPE, batch_tokens=128),
        deadline=100.0,
        clock=clock,
        on_step=lambda p: factors.append(factor(loop)),
    )
    loop.run()
    assert 40 <= loop.progress.step <= 50
    assert clock.now <= 100.0
    assert factors[-40:] == [1.0] * 40


def test_the_best_step_on_validation_is_kept_and_patience_ends_the_run(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([5.0, 4.0, 4.5, 4.6, 4.7, 9.9])
    monkeypatch.setattr(loop_module, "score", lambda *a, **how: [next(values)])
    loop = make_loop(base, tmp_path, 40, check_every=2, validation=[item(50, "held_out", 20)])
    snapshots: dict[int, Adapter] = {}

    def keep(progress: Progress) -> None:
        snapshots.setdefault(progress.step, loop.learner.snapshot())

    loop.on_step = keep
    best = loop.run()
    assert loop.progress.best_step == 4
    assert loop.progress.step == 10
    assert same(best, snapshots[4])


def test_rates() -> None:
    recipe = RECIPE
    assert [round(rate_at(s, 10, recipe), 3) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert rate_at(9, 10, recipe) == 1.0
    assert rate_at(0, 1, recipe) == 0.5


def test_two_passes_at_a_time_learn_what_one_after_the_other_do(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learned(threads: int) -> tuple[Adapter, list[float], list[int]]:
        base.device = replace(base.device, threads=threads)
        loop = make_loop(base, tmp_path / f"{threads}", 4)
        sides: list[int] = []

        def counted(*given: Any) -> Any:
            made = plan_passes(*given)
            sides.append(len(made))
            return made

        monkeypatch.setattr(loop_module, "plan_passes", counted)
        result = loop.run()
        loop.learner.close()
        return result, loop.progress.losses, sides

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        alone, losses, sides = learned(1)
        assert set(sides) == {1}
        (two, also, sides), (again, same_losses, _) = learned(4), learned(4)
        assert set(sides) == {2} and torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert same(two, alone, 2e-4) and also == pytest.approx(losses, abs=1e-4)
    assert same(two, again, 0.0) and also == same_losses  # in whatever order they end


def test_a_step_is_parted_by_whole_documents_as_evenly_as_they_come(
    base: BaseModel, tmp_path: Path
) -> None:
    base.device = replace(base.device, threads=2)
    make_loop(base, tmp_path)  # it writes out the blocks

    def sizes(*blocks: list[int]) -> list[list[int]]:
        made = []
        for lengths in blocks:
            positions = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
            made.append(Block(positions + 1, positions, positions > 0))
        return [[batch.ids.numel() for batch in side] for side in plan_passes(base, made, 128)]

    assert sizes([60, 40, 28]) == [[60], [68]]
    assert sizes([64, 64], [64, 64]) == [[64, 64], [64, 64]]
    assert sizes([64, 64], [100, 28]) == [[100, 128, 28]], "two would be more than 128 at a time"
    assert sizes([30, 30, 30, 30]) == [[60], [60]]
    assert sizes([120, 8]) == [[128]], "one of them would wait for the other"
    assert sizes() == []
    base.device = replace(base.device, threads=1)
    assert sizes([60, 40, 28]) == [[128]]


def test_passes_at_a_time_share_the_threads_and_tell_of_an_error_once_all_have_ended() -> None:
    ended: list[int] = []

    def work(part: int) -> int:
        time.sleep(0.05 * part)
        if part == 1:
            raise MemoryError
        ended.append(torch.get_num_threads())
        return part

    before = torch.get_num_threads()
    device = Device(torch.device("cpu"), torch.float32, 4)
    try:
        with pytest.raises(MemoryError):
            device.side_by_side(work, [1, 2])
        assert ended == [2] and torch.get_num_threads() == 4
        assert device.side_by_side(work, [2]) == [2] and ended[1:] == [4]
    finally:
        torch.set_num_threads(before)
