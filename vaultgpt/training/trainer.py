"""One round from Job to staged adapter and Report: measure, train, measure again.

Runs in the worker process, or in a test's own. Knows nothing about pipes, the ledger or verdicts.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vaultgpt.bases.estimate import TOKENS_PER_WORD_SMALL
from vaultgpt.corpus import lines
from vaultgpt.errors import GenerationError, TrainingError
from vaultgpt.files import Json, make_private_dir, read_json, write_atomic
from vaultgpt.training.base_model import BaseModel, load_base
from vaultgpt.training.checkpoint import LastWeights, clear, load_last, read_checkpoint, save_last
from vaultgpt.training.choose import Recipe, choose_block, choose_recipe, passes
from vaultgpt.training.device import Device
from vaultgpt.training.distributed import ALONE, Together
from vaultgpt.training.evaluate import SEGMENT_TOKENS, tokens_of
from vaultgpt.training.learning import (
    Learned,
    Lesson,
    Site,
    learn,
    pack_lesson,
    step_event,
    unpack_learned,
    unpack_lesson,
)
from vaultgpt.training.lora import Adapter, load_adapter, save_adapter
from vaultgpt.training.measure import Measurer
from vaultgpt.training.round import (
    CHECKPOINT,
    LEARNED,
    LESSON,
    WRITES,
    Item,
    Job,
    MachineSettings,
    Report,
)
from vaultgpt.training.sealing import seal, unseal
from vaultgpt.training.streams import Mixture, Stream, read_general, split_validation
from vaultgpt.wire import Hear

_OTHER_RECIPE = "This round was begun by the recipe of another vaultgpt"
_CHARS_A_TOKEN = 5  # of plain English, generously
_RESERVE_S = 6.0  # of a budget, for loading and writing beside the evaluations
_LEARNING_SHARE = 0.5  # of a budget, whatever the rest takes: else a slow machine learns nothing
# Of an incremental round's tokens; replay is of tags that the new text lacks. Nine weekly rounds of
# Thoreau's journal, held-out and old poems: 1.4412 and 0.34 % worse with 0.6, 0.3 of all tags and
# 0.1, in 150,000 tokens; 1.4407 and 0.44 % with 0.8, 0 and 0.2, in 109,000; so 1.4406 and 0.21 %.
_SHARES = {"new": 0.75, "replay": 0.1, "general": 0.15}
_FRESH_SHARES = {"new": 0.9, "replay": 0.0, "general": 0.1}


def _read_job(path: Path) -> Job:
    """The job in `path`; TrainingError when it can't be read.

    One of many nights is judged as it will write, where the settings say otherwise by now: beside
    the job, whose own bytes its checkpoint is held to."""
    try:
        now = path.with_name(WRITES)
        return Job.from_json(read_json(path) | (read_json(now) if now.exists() else {}))
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError(
            "The round's job file can't be read.", "Start the round again with `vaultgpt train`."
        ) from None


def run_job(
    path: Path,
    on_progress: Hear,
    stop: threading.Event,
    began: float | None = None,
    together: Together = ALONE,
    machine: MachineSettings | None = None,
) -> Report:
    """Run the round in `path`, going on from a checkpoint beside it; fill job.out; the Report.

    `began` is the monotonic second at which the process started: a budget counts from there.
    `machine` are settings of round.MachineSettings as they are now, where the job's may be of old.
    loop.Stopped when `stop` is set; a VaultGPTError for every expected failure."""
    return Trainer(path, on_progress, stop, began, together, machine).run()


class Trainer:
    """One round of a job; what the parameters are stands at `run_job`."""

    def __init__(
        self,
        path: Path,
        on_progress: Hear,
        stop: threading.Event,
        began: float | None = None,
        together: Together = ALONE,
        machine: MachineSettings | None = None,
    ) -> None:
        self.job, self.folder, self.stop, self.together = (
            _read_job(path),
            path.parent,
            stop,
            together,
        )
        self.began = time.monotonic() if began is None else began
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.on_progress = on_progress
        self.fresh = self.job.round.kind == "fresh"
        self.seed = self.job.round.seed
        settings = self.job.settings
        self.settings = replace(settings, **machine) if machine else settings

    def run(self) -> Report:
        measurer = self._measured()
        base, lesson = measurer.base, self._lesson(measurer)
        learned = learn(
            base,
            lesson,
            self.place,
            self.folder,
            self.digest,
            self.stop,
            lambda progress: self.on_progress(step_event(progress)),
            self.together,
        )
        return self._finish(measurer, lesson, learned)

    def pack(self, key: str) -> None:
        """What comes before learning; the lesson is left sealed beside the job."""
        lesson = self._lesson(self._measured())
        write_atomic(self.folder / LESSON, seal(pack_lesson(lesson), key))

    def finish(self, key: str) -> Report:
        """What comes after, once what was learned lies beside the job."""
        lesson = unpack_lesson(unseal((self.folder / LESSON).read_bytes(), key))
        try:
            learned = unpack_learned(unseal((self.folder / LEARNED).read_bytes(), key))
            return self._finish(self._measured(), lesson, learned)
        except (TrainingError, GenerationError):
            (self.folder / LEARNED).unlink()  # or the next round would take it up again
            raise

    @property
    def place(self) -> Site:
        """Where this round learns, if here."""
        at = self.settings
        return Site(Path(self.job.base), at.device, at.dtype, at.threads, at.whole_params)

    def _measured(self) -> Measurer:
        """The base loaded, and all measured that is to be measured before learning."""
        self.say("load", 0.0)
        at = self.place
        device = Device.choose(at.device, at.dtype, at.threads, self.together)
        base = load_base(at.base, device)
        self.say("load", 1.0)
        measurer = Measurer(self.job, base, self.folder, self.digest, self.stop, self.say)
        measurer.before()
        return measurer

    def _finish(self, measurer: Measurer, lesson: Lesson, learned: Learned) -> Report:
        """Measure what was learned and leave it in job.out."""
        measurer.scored_tokens += len(learned.progress.checks) * tokens_of(lesson.validation)
        last = learned.last
        measurer.after(learned.adapter, last.weights if last and not self.fresh else None)
        measurer.copying(learned.adapter)
        out = make_private_dir(Path(self.job.out))
        save_adapter(
            out, measurer.base, learned.adapter, self.job.base_name, self.job.base_revision
        )
        lines.save(out, self._lines())
        if last:
            save_last(out, last)
        report = self._report(lesson.recipe, learned, measurer)
        clear(self.folder)
        return report

    def say(self, phase: str, fraction: float) -> None:
        self.on_progress({"event": "progress", "phase": phase, "fraction": fraction})

    def _texts(self) -> tuple[list[Item], list[Item]]:
        """(to learn, to validate on): the latter none in a small round."""
        train = [i for i in self.job.items if i.role == "train"]
        if not self.fresh:
            return train, []
        return split_validation(
            [*train, *(i for i in self.job.items if i.role == "replay")], self.seed
        )

    def _lesson(self, measurer: Measurer) -> Lesson:
        base, (train, validation) = measurer.base, self._texts()
        parent = load_adapter(Path(self.job.parent)) if self.job.parent else None
        last = self._last(parent)
        begun = read_checkpoint(self.folder, self.digest)
        earlier = begun[0] if begun else None
        kept = _recipe(earlier.recipe) if earlier else None
        recipe, mixture, epoch_tokens, total = self._mixture(
            base, parent, train, last.tokens if last else 0, kept
        )
        if mixture.empty:
            raise TrainingError("There is no text to learn from in this round.")
        steps = max(1, round(total / recipe.batch_tokens))
        if earlier and self.job.round.budget_s is None:
            steps = self._steps(base, earlier.steps, steps, kept)
        return Lesson(
            seed=self.seed,
            recipe=recipe,
            steps=steps,
            check_every=max(1, round(epoch_tokens / recipe.batch_tokens / 4)),
            seconds=self._seconds(measurer),
            mixture=mixture,
            validation=measurer.segments(validation),
            parent=parent,
            last=last,
        )

    def _steps(self, base: BaseModel, planned: int, now: int, kept: Recipe | None) -> int:
        """Those of a round that goes on, as they were planned; of one that was begun in another way
        the checkpoint is taken away."""
        if kept is not None or planned == now:
            return planned
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        self._tell(base, f"{_OTHER_RECIPE}, so it begins anew.")
        return now

    def _tell(self, base: BaseModel, sentence: str) -> None:
        """Say it now, and in the report."""
        base.notes.append(sentence)
        self.on_progress({"event": "say", "text": sentence})

    def _last(self, parent: Adapter | None) -> LastWeights | None:
        """Where the parent's training stood."""
        if parent is None or self.job.parent is None:
            return None
        tokens = self.job.words * TOKENS_PER_WORD_SMALL * passes(self.settings, fresh=True)
        return load_last(Path(self.job.parent), parent) or LastWeights.guess(parent, tokens)

    def _mixture(
        self,
        base: BaseModel,
        parent: Adapter | None,
        train: list[Item],
        read_tokens: int,
        kept: Recipe | None = None,
    ) -> tuple[Recipe, Mixture, float, float]:
        """Recipe, data, tokens of one epoch, and tokens of all passes. A round that goes on has the
        recipe `kept` that it was begun by, whatever a round of today would take."""

        def stream(name: str, items: list[Item], block_tokens: int) -> Stream:
            return Stream(
                items,
                base.encoder,
                block_tokens=block_tokens,
                packs=base.packs,
                seed=self.seed,
                name=name,
            )

        block = choose_block(self.settings, params=base.params, context=base.context)
        new = stream("new", train, block)
        rough = new.tokens
        shares = _FRESH_SHARES if self.fresh else _SHARES
        today = passes(self.settings, fresh=self.fresh)
        total = rough * (kept.passes if kept else today)
        general_chars = int(_CHARS_A_TOKEN * total * shares["general"] / shares["new"])
        general = read_general(self.job.general_replay)
        parts = {
            "new": train,
            "general": _general_items(general, general_chars, self.seed),
            "replay": [i for i in self.job.items if i.role == "replay"],
        }
        total *= sum(shares[name] for name, items in parts.items() if items) / shares["new"]
        chosen = choose_recipe(
            self.settings,
            words=self.job.words,
            params=base.params,
            context=base.context,
            tied=base.tied,
            round_tokens=total,
            fresh=self.fresh,
            parent_rank=parent.rank if parent else None,
            read_tokens=read_tokens,
            gentle=self.job.round.gentle,
            hurried=self.job.round.budget_s is not None,
        )
        chosen = replace(chosen, passes=today)
        if kept not in (None, chosen):
            self._tell(base, f"{_OTHER_RECIPE}, and goes on by that.")
        recipe = kept or chosen
        made = {"new": new} if recipe.block_tokens == block else {}  # its epoch is encoded already
        streams = [
            (made.get(name) or stream(name, items, recipe.block_tokens), shares[name])
            for name, items in parts.items()
            if shares[name] and items
        ]
        return recipe, Mixture(streams), rough if self.fresh else total, total

    def _seconds(self, measurer: Measurer) -> float | None:
        """What a budget leaves for learning, half of it at least."""
        budget = self.job.round.budget_s
        if budget is None:
            return None
        end = self.began + budget - measurer.seconds_to_come - _RESERVE_S
        return max(end - time.monotonic(), _LEARNING_SHARE * budget)

    def _lines(self) -> dict[str, lines.Lines]:
        """How the author's lines run by tag: all that a fresh round reads, else what is new."""
        parent = None if self.fresh else self.job.parent
        before = lines.of_generation(Path(parent)) if parent else {}
        roles = ("train", "replay") if self.fresh else ("train",)
        own = [(i.tags, i.text) for i in self.job.items if i.role in roles]
        return lines.by_tag(own, before, "".join(i.text for i in self.job.items))

    def _report(self, recipe: Recipe, learned: Learned, measurer: Measurer) -> Report:
        progress = learned.progress
        seconds = time.monotonic() - self.began
        if self.job.round.budget_s is None:  # a budget is of each run
            seconds += progress.earlier_s
        return Report(
            bits_per_byte=measurer.bits_per_byte(),
            by_tag=measurer.by_group("tags"),
            by_year=measurer.by_group("years"),
            copying=measurer.copied,
            segments=measurer.scores(),
            prequential=measurer.prequential,
            tokens=progress.tokens,
            seconds=seconds,
            tokens_per_s=progress.tokens / max(progress.seconds, 1e-9),
            device=learned.device,
            steps=progress.step,
            losses=progress.losses,
            notes=learned.notes,
            scored_tokens=measurer.scored_tokens,
            written_in=measurer.written_in,
            new_text=measurer.new_text,
            last_weights=measurer.last_weights,
            learning={
                "rank": recipe.rank,
                "rate": recipe.rate,
                "gentle": self.job.round.gentle,
                "base_sha256": self.job.base_sha256,
                "embedding_rate": recipe.embedding_rate,
                "batch_tokens": recipe.batch_tokens,
                "block_tokens": recipe.block_tokens,
                "dtype": learned.dtype,
                "threads": learned.threads,
                "packed": learned.packed,
                "best_step": progress.best_step or progress.step,
                "validation": progress.checks,
                "set_aside": [i.id for i in self._texts()[1]],
                "planned_steps": progress.steps,
                "held_out_entries": measurer.held_out_entries,
                "segment_tokens": SEGMENT_TOKENS,
                "scored_with": "full header and title; the base with the title alone",
            },
        )


def _recipe(facts: Json) -> Recipe | None:
    """As a checkpoint has it; None where an older version said nothing of it, or another one."""
    try:
        return Recipe(**facts) if facts else None
    except TypeError:
        return None


def _general_items(texts: Sequence[str], chars: int, seed: int) -> list[Item]:
    """Plain text as items without header: a draw of about `chars` characters, at least one text.

    Encoding all of it would cost a small vault more than its training does."""
    order = list(range(len(texts)))
    random.Random(f"{seed}/general").shuffle(order)
    chosen: list[Item] = []
    for index in order:
        if chars <= 0:
            break
        chosen.append(Item(f"general-{index}", "replay", texts[index], (), None, None, ()))
        chars -= len(texts[index])
    return chosen
