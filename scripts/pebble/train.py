"""Trains pebble on the packed tokens, resumable at any moment.

    python -m scripts.pebble.train --work DIR [--shape cpu|gpu|toy] [--from FOLDER] [--steps N]
                    [--seconds S] [--fit] [--finish-in N]

State lies in WORK/<run>/: checkpoints, log.tsv, and `finish_at`, a file in which one may write,
while a run is under way, the step at which the learning rate shall reach zero. Time never enters
the schedule, so a stopped or slowed process loses nothing; but with --fit, for a machine that is
lent for so many seconds, the end follows from the pace and one whole schedule fills the time.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import checkpoint, pack
from .model import SHAPES, Pebble, Shape
from .optimizer import MuonAdam, Rates
from .schedule import Schedule
from .warmstart import warm_start

SEED = 23
FIT_EVERY = 200  # steps between two looks at the pace, with --fit
FIT_SHARE = 0.98  # of the time left is planned for


@dataclass(frozen=True)
class Plan:
    """One run. Batches are counted in rows of 1,024 tokens, whatever the sequence is."""

    steps: int = 3000
    batch_rows: int = 8
    sequence: int = 256  # tokens, for the first part of the run
    long_share: float = 0.3  # of the steps, the last, at 1,024 tokens
    warm_up: int = 100  # steps
    peak: float = 1.0  # of the optimiser's rates; below 1 when extending a finished model
    muon_decay: float = Rates.muon_decay  # more of it where the books are read many times
    first_row: int = 0  # of the first epoch: where the model extended stopped reading
    flatten: float = 1.0  # exponent of the documents' weights: below 1 for runs of many epochs
    decay_share: float = 0.85  # of the steps, the last, while the rate goes to zero
    save_every_s: float = 240.0
    held_out_every: int = 250  # steps
    held_out_rows: int = 48
    compiled: bool = True  # and bf16 products; else eager fp32
    bf16_checkpoints: bool = False  # half the bytes to carry, for runs cut into many sessions


class Run:
    """Model, optimiser, schedule and place in the data; `go` advances them."""

    def __init__(self, work: Path, name: str, shape: Shape, plan: Plan, device: str) -> None:
        torch.manual_seed(SEED)
        self.folder, self.plan, self.device = work / name, plan, device
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = pack.load(work / "tokens")
        self.data = replace(self.data, weights=self.data.weights**plan.flatten)
        self.held_out = pack.load(work / "heldout-tokens")
        self.model = Pebble(shape).to(device)
        rates = replace(Rates().scaled(plan.peak), muon_decay=plan.muon_decay)
        self.optimizer = MuonAdam(self.model, rates)
        self.schedule = Schedule(plan.steps, plan.warm_up, int(plan.steps * (1 - plan.decay_share)))
        self.step, self.epoch_number, self.row, self.tokens_seen = 0, 0, plan.first_row, 0
        self.epoch = self.data.epoch(0)
        self._shuffler = ThreadPoolExecutor(1)
        self._next_epoch: Future[pack.Tokens] | None = None
        self.dtype = torch.bfloat16 if plan.compiled or device == "cuda" else torch.float32
        self._bytes_a_token = self.held_out.byte_count / len(self.held_out.tokens)

    def warm(self) -> None:
        """Fuse the model and make the graphs of both sequence lengths; no weight moves."""
        self.model.fuse()
        rows = self.epoch[: self.plan.batch_rows]
        for sequence in {self.plan.sequence, min(pack.ROW_TOKENS, self.model.shape.context)}:
            inputs, targets = batch(rows, sequence, self.device)
            torch.autograd.backward(self.model(inputs, targets, self.dtype))
            self.model.zero_grad(set_to_none=True)

    def resume(self) -> bool:
        found = checkpoint.latest(self.folder)
        if found is None:
            return False
        tensors, facts = checkpoint.read(found)
        self.model.load_state_dict(
            {n[6:]: t.float() for n, t in tensors.items() if n.startswith("model/")}
        )
        for name, tensor in self.optimizer.state.items():
            tensor.copy_(tensors[f"state/{name}"])
        self.optimizer.steps = facts["optimizer_steps"]
        self.step, self.tokens_seen = facts["step"], facts["tokens_seen"]
        self.epoch_number, self.row = facts["epoch"], facts["row"]
        self.schedule = Schedule(**facts["schedule"])
        self.epoch = self.data.epoch(self.epoch_number)
        return True

    def save(self) -> None:
        tensors = {f"model/{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"state/{n}": t for n, t in self.optimizer.state.items()}
        facts = {
            "step": self.step,
            "tokens_seen": self.tokens_seen,
            "epoch": self.epoch_number,
            "row": self.row,
            "optimizer_steps": self.optimizer.steps,
            "schedule": self.schedule.facts(),
            "plan": asdict(self.plan),
            "shape": asdict(self.model.shape),
        }
        dtype = torch.bfloat16 if self.plan.bf16_checkpoints else torch.float32
        checkpoint.write(self.folder, self.step, tensors, facts, dtype)

    def next_rows(self, count: int) -> pack.Tokens:
        """The next rows of the epoch, or the first of the next one: (count, 1024)."""
        if self.row + count > len(self.epoch):
            self.epoch_number, self.row = self.epoch_number + 1, 0
            ready, self._next_epoch = self._next_epoch, None
            self.epoch = ready.result() if ready else self.data.epoch(self.epoch_number)
        if self._next_epoch is None:  # shuffled while this one is read
            self._next_epoch = self._shuffler.submit(self.data.epoch, self.epoch_number + 1)
        rows = self.epoch[self.row : self.row + count]
        self.row += count
        return rows

    def sequence(self) -> int:
        long = self.step >= self.schedule.end * (1 - self.plan.long_share)
        return min(pack.ROW_TOKENS if long else self.plan.sequence, self.model.shape.context)

    def one_step(self) -> Tensor:
        """Train on one batch; returns its loss in nats a token."""
        rate = self.schedule.rate(self.step)
        rows = self.next_rows(self.plan.batch_rows)
        inputs, targets = batch(rows, self.sequence(), self.device)
        loss: Tensor = self.model(inputs, targets, self.dtype)
        torch.autograd.backward(loss)
        self.optimizer.step(rate)
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens_seen += rows.size
        return loss.detach()

    @torch.no_grad()
    def held_out_bits_per_byte(self) -> float:
        rows = self.held_out.tokens
        count = min(self.plan.held_out_rows, len(rows) // pack.ROW_TOKENS)
        starts = np.linspace(0, len(rows) - pack.ROW_TOKENS, count).astype(int)
        table = np.stack([rows[start : start + pack.ROW_TOKENS] for start in starts])
        inputs, targets = batch(table, self.plan.sequence, self.device)
        with torch.compiler.set_stance("force_eager"):  # a graph for this shape isn't worth making
            nats = float(self.model(inputs, targets, self.dtype))
        return nats / float(np.log(2)) / self._bytes_a_token

    def read_finish(self) -> None:
        """Obey WORK/<run>/finish_at: the step at which the rate reaches zero."""
        path = self.folder / "finish_at"
        if path.is_file() and path.read_text().strip().isdigit():
            end = int(path.read_text())
            if end != self.schedule.end:
                self.schedule.finish_at(self.step, end)

    def log(self, text: str) -> None:
        print(text, flush=True)
        with (self.folder / "log.tsv").open("a", encoding="utf-8") as out:
            out.write(text + "\n")

    def fit(self, first_step: int, used_s: float, seconds: float) -> None:
        """Move the schedule's end to the step that the pace so far reaches in the time left."""
        pace = (self.step - first_step) / used_s  # steps a second
        end = self.step + max(1, int(pace * (seconds - used_s) * FIT_SHARE))
        if self.step < self.schedule.decay_from:
            decay_from = max(self.step, int(end * (1 - self.plan.decay_share)))
            self.schedule = replace(self.schedule, end=end, decay_from=decay_from)
        else:
            self.schedule.finish_at(self.step, end)

    def go(self, seconds: float, fit: bool = False) -> None:
        """Train until the schedule ends or the time is up, saving on the way and at the end.

        With `fit` the schedule's end follows from the pace, so that both come together.
        """
        started = saved = marked = time.monotonic()
        first_step = self.step
        losses: list[Tensor] = []
        while self.step < self.schedule.end and time.monotonic() - started < seconds:
            self.read_finish()
            losses.append(self.one_step())
            now = time.monotonic()
            if fit and self.step % FIT_EVERY == 0:
                self.fit(first_step, now - started, seconds)
            if self.step % 25 == 0:
                pace = 25 * self.plan.batch_rows * pack.ROW_TOKENS / (now - marked)
                mean = float(torch.stack(losses).mean())
                self.log(
                    f"{self.step}\t{self.tokens_seen}\t{mean:.4f}\t"
                    f"{self.schedule.rate(self.step):.3f}\t{self.sequence()}\t{pace:.0f}"
                )
                losses, marked = [], now
            if self.step % self.plan.held_out_every == 0:
                self.log(f"{self.step}\theld out\t{self.held_out_bits_per_byte():.4f}")
            if now - saved > self.plan.save_every_s:
                self.save()
                saved = time.monotonic()
        self.save()
        self.log(f"{self.step}\theld out\t{self.held_out_bits_per_byte():.4f}")


def batch(rows: pack.Tokens, sequence: int, device: str) -> tuple[Tensor, Tensor]:
    """Inputs and targets of (rows * 1024 / sequence, sequence); inputs open with end-of-text.

    So every token is a target once, and a window begins as a document and the evaluation do.
    """
    targets = torch.from_numpy(rows.astype(np.int64)).reshape(-1, sequence)
    inputs = torch.cat([torch.full((len(targets), 1), pack.END_ID), targets[:, :-1]], dim=1)
    if device != "cuda":
        return inputs.to(device), targets.to(device)
    return (
        inputs.pin_memory().to(device, non_blocking=True),
        targets.pin_memory().to(device, non_blocking=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--run", default="run")
    parser.add_argument("--shape", choices=SHAPES, default="cpu")
    parser.add_argument("--from", dest="source", type=Path, help="weights to start from")
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--batch-rows", type=int, default=Plan.batch_rows)
    parser.add_argument("--peak", type=float, default=Plan.peak, help="share of the rates")
    parser.add_argument("--decay-share", type=float, default=Plan.decay_share)
    parser.add_argument("--flatten", type=float, default=Plan.flatten)
    parser.add_argument("--long-share", type=float, default=Plan.long_share)
    parser.add_argument("--muon-decay", type=float, default=Plan.muon_decay)
    parser.add_argument("--first-row", type=int, default=Plan.first_row)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after, saved")
    parser.add_argument("--fit", action="store_true", help="one whole schedule in --seconds")
    parser.add_argument("--finish-in", type=int, help="bring the rate to zero in N steps")
    parser.add_argument("--bf16-checkpoints", action="store_true")
    parser.add_argument("--eager", action="store_true", help="no torch.compile, fp32")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    plan = replace(
        Plan(),
        steps=args.steps,
        batch_rows=args.batch_rows,
        peak=args.peak,
        decay_share=args.decay_share,
        flatten=args.flatten,
        long_share=args.long_share,
        muon_decay=args.muon_decay,
        first_row=args.first_row,
        compiled=not args.eager,
        bf16_checkpoints=args.bf16_checkpoints,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = Run(args.work, args.run, SHAPES[args.shape], plan, device)
    if not run.resume() and args.source:
        tokenizer = Tokenizer.from_file(str(args.work / "tokenizer" / "tokenizer.json"))
        weights, matched = warm_start(args.source, tokenizer)
        run.model.load_state_dict(weights)
        run.log(f"started from {args.source.name}, {matched} embedding rows matched")
    if args.finish_in is not None:
        run.schedule.finish_at(run.step, run.step + args.finish_in)
    if plan.compiled:
        run.warm()
    run.go(args.seconds, args.fit)


if __name__ == "__main__":
    main()
