"""How a base learns a vault: held-out and plain-English bits per byte as the passes go by.

One run is one recipe (rate, batch, passes, embedding or not) on one base and one vault; the mean of
the weights is scored every half pass, so that one long run tells what a shorter one would have
given. This is where the defaults of training/choose.py for a class of bases come from. Knows
nothing about the gate.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.voice.mirrors import capture_job, settings
from benchmarks.voice.stage import fix_secret, home
from vaultgpt.files import write_json
from vaultgpt.settings import Rules
from vaultgpt.state import create_state
from vaultgpt.training.base_model import load_base
from vaultgpt.training.choose import embedding_rate
from vaultgpt.training.device import choose_device
from vaultgpt.training.evaluate import LN2, Segment, score
from vaultgpt.training.learner import Learner
from vaultgpt.training.loop import Loop, Plan
from vaultgpt.training.measure import Measurer
from vaultgpt.training.trainer import Trainer
from vaultgpt.vault.reconcile import read_vault

EXAMPLE = Path(__file__).parents[1] / "examples" / "vault"


@dataclass(frozen=True)
class Trial:
    """A recipe to try; 0 leaves a figure to training/choose.py."""

    rate: float = 0.0
    batch_tokens: int = 0
    passes: float = 3.0
    embedding: bool = False
    rank: int = 0


def make_job(vault: Path, base: Path, words: int, seed: int, trial: Trial, place: Path) -> Path:
    """The job of a first round on about `words` of the vault (0: all of it), in `place`."""
    copy = place / "vault"
    shutil.copytree(vault, copy)
    if words:
        _thin(copy, words, seed)
    with home(place / "home"):
        state = create_state(copy)
        fix_secret(state, f"{vault.name}-{seed}")
        wanted = settings(
            base=str(base),
            training__learning_rate=trial.rate,
            training__batch_tokens=trial.batch_tokens,
            training__epochs=trial.passes,
            training__embedding=trial.embedding,
            training__rank=trial.rank,
            training__seed=seed,
        )
        job = capture_job(state, wanted)
    write_json(place / "job.json", {**job, "out": str(place / "out")})
    return place / "job.json"


def _thin(copy: Path, words: int, seed: int) -> None:
    """Remove notes, drawn by seed, until about `words` are left."""
    notes = [n.note for n in read_vault(copy, Rules()).read if n.judgement.used]
    random.Random(seed).shuffle(notes)
    kept = 0
    for note in notes:
        if kept >= words:
            (copy / note.path).unlink()
        kept += note.words


class _Curve(Trainer):
    """A round of the product that is scored along its way and leaves nothing behind."""

    def curve(self, on_point: Any) -> dict[str, Any]:
        options = self.settings
        device = choose_device(options.device, options.dtype, options.threads)
        base = load_base(Path(self.job.base), device)
        measurer = Measurer(self.job, base, self.folder, self.digest, self.stop, self.say)
        sets = {name: measurer.sets[name] for name in ("held_out", "general")}
        train = [i for i in self.job.items if i.role in ("train", "replay")]
        recipe, mixture, _, total = self._mixture(base, None, train, 0)
        if options.embedding and not recipe.embedding_rate and base.tied:
            recipe = replace(recipe, embedding_rate=embedding_rate(recipe.rate))
        points = [on_point({"passes": 0.0, **_bits(base, sets, plain=True)})]
        learner = Learner(base, recipe, self.seed, None, None)
        steps = max(1, round(total / recipe.batch_tokens))
        loop = Loop(
            learner, mixture, [], Plan(steps, steps, None, self.folder, self.digest), stop=self.stop
        )
        every = max(1, round(steps / options.epochs / 2))
        while loop.progress.step < steps:
            loop._one_step()
            step = loop.progress.step
            if step % every == 0 or step == steps:
                with learner.averaged(), device.autocast():
                    found = _bits(base, sets)
                done = round(step / steps * options.epochs, 2)
                points.append(on_point({"passes": done, "step": step, **found}))
        progress = loop.progress
        return {
            "rate": recipe.rate,
            "embedding_rate": recipe.embedding_rate,
            "batch_tokens": recipe.batch_tokens,
            "rank": recipe.rank,
            "steps": steps,
            "tokens_per_s": round(progress.tokens / progress.seconds, 1),
            "device": device.name,
            "points": points,
        }


def _bits(base: Any, sets: dict[str, list[Segment]], plain: bool = False) -> dict[str, float]:
    """Bits per byte of each set, under the weights as they stand."""
    return {
        name: sum(score(base, found, plain=plain)) / LN2 / max(1, sum(s.bytes for s in found))
        for name, found in sets.items()
    }


def learn_curve(
    vault: Path, base: Path, trial: Trial, *, words: int = 0, seed: int = 1, on_point: Any = None
) -> dict[str, Any]:
    """One trial's figures; `on_point` hears each point as it is scored."""
    with tempfile.TemporaryDirectory() as work:
        job = make_job(vault, base, words, seed, trial, Path(work))
        trainer = _Curve(job, lambda event: None, threading.Event(), time.monotonic())
        found = trainer.curve(on_point or (lambda point: point))
    return {"vault": vault.name, "words": words, "seed": seed, "base": base.resolve().name, **found}


def _print_point(point: dict[str, float]) -> dict[str, float]:
    print(f"{point['passes']:6.2f}   {point['held_out']:.4f}   {point['general']:.4f}", flush=True)
    return point


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vault", type=Path, default=EXAMPLE)
    parser.add_argument("--base", type=Path, required=True, help="a folder with safetensors")
    parser.add_argument("--words", type=int, default=0, help="about so many of the vault; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--passes", type=float, default=3.0)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--embedding", action="store_true")
    parser.add_argument("--out", type=Path, help="append the figures to this JSON-lines file")
    options = parser.parse_args()
    trial = Trial(options.rate, options.batch, options.passes, options.embedding, options.rank)
    print("passes held-out  plain English (bits per byte)")
    found = learn_curve(
        options.vault,
        options.base,
        trial,
        words=options.words,
        seed=options.seed,
        on_point=_print_point,
    )
    if options.out:
        with options.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
