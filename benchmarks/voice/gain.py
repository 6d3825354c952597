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

from benchmarks.common import PEBBLE, markdown
from benchmarks.voice.journals import JOURNALS, SEEDS, Journal, items
from benchmarks.voice.mirrors import bits, cut, per_byte, trained
from benchmarks.voice.rows import Case, Figures, Options, Row, main, over_seeds, yes
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.choose import Recipe
from vaultgpt.training.device import Device
from vaultgpt.training.evaluate import score, segments
from vaultgpt.training.loop import Loop, Plan
from vaultgpt.training.lora import Adapter
from vaultgpt.training.streams import split_validation
from vaultgpt.training.trainer import Trainer

BOUND = 0.95  # of full fine-tuning's gain
# Mary MacLane after full fine-tuning at 1.5e-4, 3e-4, 6e-4, 1.2e-3: 1.472, 1.468, 1.483, 1.527 bits
# per byte by an H200; Thoreau at 3e-4 and 6e-4: 1.431, 1.439.
FULL_RATE = 3e-4
# Of another base: so many words of these (None: all), three seeds; the second is tuned whole too.
OTHERS = {"amiel": 10_000, "emily-dickinson": None, "kingsford-dreams": 30_000}
OTHER_SEEDS, OTHER_WHOLE = (1, 2, 3), "emily-dickinson"
OTHER_RATES = (3e-5, 1e-4, 3e-4)  # on its first seed
DROPOUT, DECAY, BETAS = 0.1, 0.1, (0.9, 0.95)  # decay of matrices
WARM, FLOOR = 0.05, 0.1  # of the steps; of the peak rate, at the end of the cosine


def cases(options: Options) -> list[Case]:
    if options.base != PEBBLE:
        lora = [(name, seed, None) for name in OTHERS for seed in OTHER_SEEDS]
        full = [(OTHER_WHOLE, OTHER_SEEDS[0], rate) for rate in OTHER_RATES]
        return [_case(options, *one, OTHERS[one[0]]) for one in (*lora, *full)]
    return [
        _case(options, name, seed, rate)
        for name in JOURNALS
        for seed in SEEDS.get(name, (1,))
        for rate in (None, FULL_RATE)
    ]


def _case(
    options: Options, name: str, seed: int, rate: float | None, words: int | None = None
) -> Case:
    journal = Journal(options.data / name, words)
    if rate is None:
        return Case(journal.name, seed, "lora", lambda: _lora(options, journal, seed))
    what = "full" if rate == FULL_RATE else f"full {rate:g}"
    return Case(journal.name, seed, what, lambda: _full(options, journal, seed, rate))


def _lora(options: Options, journal: Journal, seed: int) -> Figures:
    """The mirror that the benchmarks share."""
    mirror = trained(options, journal, seed)
    report = mirror.answer["report"]
    assert report is not None  # it was promoted
    found = cut(items(mirror.split.held), options.base)
    return {
        "words": journal.words,
        "held_words": sum(n.note.words for n in mirror.split.held),
        "base": bits(found, None, options.base),
        "after": bits(found, mirror.adapter, options.base),
        "tokens": report["tokens"],
        "round_s": report["seconds"],
        "general_base": report["bits_per_byte"]["general_base"],
        "general": report["bits_per_byte"]["general"],
        "learning": {key: report["learning"][key] for key in ("rank", "rate", "batch_tokens")},
    }


def _full(options: Options, journal: Journal, seed: int, rate: float) -> Figures:
    mirror = trained(options, journal, seed)
    base, figures = _full_tune(mirror.job, rate)
    found = cut(items(mirror.split.held), options.base)
    after = per_byte(score(base, found), found)
    return {**figures, "base": bits(found, None, options.base), "after": after}


class _FullLearner:
    """Stands where training.learner.Learner does, with every weight of the base trainable."""

    def __init__(self, base: BaseModel, recipe: Recipe, rate: float, steps: int) -> None:
        self.base, self.recipe, self.rate, self.steps = base, recipe, rate, steps
        self.alpha = self.calls = self.tokens_before = 0
        self.weight_before = 0.0
        base.model.requires_grad_(True)
        self.parameters: dict[str, nn.Parameter] = dict(base.model.named_parameters())
        matrices = [p for p in self.parameters.values() if p.ndim > 1]
        vectors = [p for p in self.parameters.values() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": DECAY}]
        groups.append({"params": vectors, "weight_decay": 0.0})
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)
        for name, module in base.model.named_modules():
            if name.endswith(("self_attn", "mlp", "embed_tokens")):
                module.register_forward_hook(_drop)

    def set_rate(self, factor: float) -> None:
        """Warm-up, then a cosine, whatever the loop's own schedule says."""
        warm = max(3, math.ceil(WARM * self.steps))
        share = (self.calls + 1) / (warm + 1)
        if self.calls >= warm:
            done = min(1.0, (self.calls - warm) / max(1, self.steps - warm))
            share = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
        self.calls += 1
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * share

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


@torch.no_grad()
def _put(base: BaseModel, tensors: dict[str, Tensor]) -> None:
    for name, parameter in base.model.named_parameters():
        parameter.copy_(tensors[name])
        parameter.requires_grad_(False)


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
    _put(base, (loop.best or last).tensors)
    state = loop.progress
    best = min((value for _, value in state.checks), default=math.nan)
    figures = {"rate": rate, "dropout": DROPOUT, "validation": best, "train_s": state.seconds}
    return base, {**figures, "tokens": float(state.tokens)}


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
    main("gain", __doc__, cases, table, any_base=True)
