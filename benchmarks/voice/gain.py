"""How much less the mirror is surprised by unseen pages, beside full fine-tuning of the same base.

Held-out bits per byte of base, LoRA round and full fine-tuning (as nanoGPT: AdamW with decay on
matrices, cosine to a tenth, dropout, the best checkpoint by validation) on the same blocks. Of
another base (--base FOLDER) three journals are asked, full fine-tuning of one at several rates.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import get_cosine_with_min_lr_schedule_with_warmup

from benchmarks.common import PEBBLE, markdown
from benchmarks.voice.arriving import words_of
from benchmarks.voice.journals import JOURNALS, SEEDS, Journal, items
from benchmarks.voice.mirrors import Trained, bits, cut, per_byte, trained
from benchmarks.voice.rows import Case, Figures, Options, Row, main, over_seeds, yes
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.choose import Recipe
from vaultgpt.training.device import Device
from vaultgpt.training.evaluate import score, segments
from vaultgpt.training.loop import Loop, Plan
from vaultgpt.training.lora import Adapter, load_adapter
from vaultgpt.training.streams import split_validation
from vaultgpt.training.trainer import Trainer

BOUND = 0.95  # of full fine-tuning's gain
# Mary MacLane after full fine-tuning at 1.5e-4, 3e-4, 6e-4, 1.2e-3: 1.472, 1.468, 1.483, 1.527 bits
# per byte by an H200; Thoreau at 3e-4 and 6e-4: 1.431, 1.439.
FULL_RATE = 3e-4
# Of another base: so many words of these (all without a number); the second is tuned whole too.
OTHERS, OTHER_SEEDS = ("amiel-10000", "emily-dickinson", "kingsford-dreams-30000"), (1, 2, 3)
OTHER_RATES = ("full 3e-05", "full 0.0001", "full")
DROPOUT, DECAY, BETAS = 0.1, 0.1, (0.9, 0.95)  # decay of matrices
WARM, FLOOR = 0.05, 0.1  # of the steps; of the peak rate, at the end of the cosine


def cases(options: Options) -> list[Case]:
    if options.base != PEBBLE:
        lora = [Case(name, seed, "lora") for name in OTHERS for seed in OTHER_SEEDS]
        return [*lora, *(Case(OTHERS[1], OTHER_SEEDS[0], what) for what in OTHER_RATES)]
    return [
        Case(name, seed, what)
        for name in JOURNALS
        for seed in SEEDS.get(name, (1,))
        for what in ("lora", "full")
    ]


def measure(options: Options, case: Case) -> Figures:
    name, _, words = case.journal.rpartition("-")
    journal = Journal(options.data / case.journal)
    if words.isdigit():
        journal = Journal(options.data / name, int(words))
    mirror = trained(options, journal, case.seed)
    if case.what == "lora":
        return _lora(options, mirror)
    rate = FULL_RATE if case.what == "full" else float(case.what.split()[1])
    base, figures = _full_tune(mirror.job, rate)
    found = cut(items(mirror.held), options.base)
    after = per_byte(score(base, found), found)
    return {**figures, "base": bits(found, None, options.base), "after": after}


def _lora(options: Options, mirror: Trained) -> Figures:
    """Of the mirror that the benchmarks share."""
    report = mirror.answer["report"]
    assert report is not None  # it was promoted
    found = cut(items(mirror.held), options.base)
    return {
        "words": words_of([*mirror.learned, *mirror.held]),
        "base": bits(found, None, options.base),
        "after": bits(found, load_adapter(mirror.folder), options.base),
        "tokens": report["tokens"],
        "round_s": report["seconds"],
        "general_base": report["bits_per_byte"]["general_base"],
        "general": report["bits_per_byte"]["general"],
        "learning": {key: report["learning"][key] for key in ("rank", "rate", "batch_tokens")},
    }


class _FullLearner:
    """Stands where training.learner.Learner does, with every weight of the base trainable."""

    def __init__(self, base: BaseModel, recipe: Recipe, rate: float, steps: int) -> None:
        self.base, self.recipe = base, recipe
        self.alpha = self.tokens_before = self.weight_before = 0
        base.model.requires_grad_(True)
        self.parameters: dict[str, nn.Parameter] = dict(base.model.named_parameters())
        matrices = [p for p in self.parameters.values() if p.ndim > 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": DECAY},
            {"params": [p for p in self.parameters.values() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=True)
        self.schedule = get_cosine_with_min_lr_schedule_with_warmup(
            self.optimiser, max(3, math.ceil(WARM * steps)), steps, min_lr_rate=FLOOR
        )
        for name, module in base.model.named_modules():
            if name.endswith(("self_attn", "mlp", "embed_tokens")):
                module.register_forward_hook(_drop)

    def set_rate(self, factor: float) -> None:
        """Warm-up, then a cosine, whatever the loop's own schedule says."""
        self.schedule.step()

    def follow(self, share: float) -> None:
        """Nothing: this recipe keeps the weights that it ends at."""

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The weights as they stand."""
        return contextlib.nullcontext()

    def snapshot(self) -> Adapter:
        """All weights, under the type that the loop keeps its best in."""
        return Adapter(0, 0, {n: p.detach().clone() for n, p in self.parameters.items()}, None)


def _drop(module: nn.Module, inputs: Any, output: Any) -> Any:
    if not torch.is_grad_enabled():
        return output
    first, *rest = output if isinstance(output, tuple) else (output,)
    dropped: Tensor = nn.functional.dropout(first, DROPOUT)
    return (dropped, *rest) if rest else dropped


def _full_tune(path: Path, rate: float) -> tuple[BaseModel, dict[str, float]]:
    """(the base with the trained weights in it, figures) of one full fine-tuning of a job."""
    trainer = Trainer(path, lambda event: None, threading.Event())
    at = trainer.settings
    base = load_base(Path(trainer.job.base), Device.choose(at.device, at.dtype, at.threads))
    train = [i for i in trainer.job.items if i.role in ("train", "replay")]
    train, validation = split_validation(train, trainer.seed)
    recipe, mixture, epoch_tokens, total = trainer._mixture(base, None, train, 0)
    steps = max(1, round(total / recipe.batch_tokens))
    check = max(1, round(epoch_tokens / recipe.batch_tokens / 4))
    torch.manual_seed(trainer.seed)
    learner: Any = _FullLearner(base, recipe, rate, steps)
    plan = Plan(steps, check, None, None, trainer.digest)
    loop = Loop(learner, mixture, segments(validation, base.encoder), plan, stop=trainer.stop)
    last = loop.run()
    base.model.load_state_dict((loop.best or last).tensors, strict=False)
    base.model.requires_grad_(False)
    state = loop.progress
    return base, {"rate": rate, "tokens": float(state.tokens), "train_s": state.seconds}


def _gain(figures: Figures) -> float:
    return float(figures["base"] - figures["after"])


def table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        f = row.figures
        rate, seconds = f.get("rate") or f["learning"]["rate"], f.get("round_s", f.get("train_s"))
        plain = f"{100 * (f['general'] / f['general_base'] - 1):+.1f} %" if "general" in f else ""
        gain = f"{100 * _gain(f) / f['base']:.2f} %"
        cells = [row.key, f"{f['base']:.4f}", f"{f['after']:.4f}", gain, plain, f"{rate:.2g}"]
        lines.append([*cells, f"{f['tokens']:,.0f}", f"{seconds:.0f}"])
    columns = ("row", "base", "after", "gain", "plain English", "rate", "tokens", "s")
    judged = ("journal", "LoRA's gain of full fine-tuning's, %", "at least 95")
    of_full = [_of_full(name, rows) for name in dict.fromkeys(row.journal for row in rows)]
    return markdown(columns, lines) + "\n\n" + markdown(judged, of_full)


def _of_full(name: str, rows: Sequence[Row]) -> tuple[str, str, str]:
    """Beside the best of full fine-tuning's rates."""
    lora: dict[int, float] = {}
    full: dict[int, float] = {}
    for row in rows:
        if row.journal == name:
            found = lora if row.what == "lora" else full
            found[row.seed] = max(_gain(row.figures), found.get(row.seed, 0.0))
    ratios = [lora[seed] / gain for seed, gain in full.items() if seed in lora]
    if not ratios:
        return name, "", yes(None)
    told, mean = over_seeds([100 * ratio for ratio in ratios], ".1f")
    return name, told, yes(mean >= 100 * BOUND)


if __name__ == "__main__":
    main(__doc__, cases, measure, table, any_base=True)
