"""One round from the vault as it stands to a verdict: the command line and the daemon run this.

It owns the order: lock, scan, plan, job, trainer, gate, close (outcome.py).
Knows nothing about torch; the trainer is another process.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from vaultgpt.bases.estimate import require_disk_and_memory
from vaultgpt.bases.hashes import verify
from vaultgpt.bases.model import Base
from vaultgpt.bases.names import resolve
from vaultgpt.errors import StateError, TrainingError, VaultError, VaultGPTError
from vaultgpt.files import locked, make_private_dir, write_json
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.round_log import FORGOTTEN
from vaultgpt.rounds.ending import busy, end_lost, give_up, must_stop
from vaultgpt.rounds.mend import repair
from vaultgpt.rounds.outcome import Closing, RoundAnswer, answer_of, close
from vaultgpt.rounds.under_way import how_far, noted, under_way
from vaultgpt.settings import Settings, unsure_rules
from vaultgpt.state import VaultState
from vaultgpt.training.assemble import Assembled, Places, build_job, reader
from vaultgpt.training.gate import judge
from vaultgpt.training.paused import (
    LONG_S,
    PausedRound,
    begun_round,
    digest_of,
    fix,
    lost,
    overtaken,
    paused_round,
    unfix,
)
from vaultgpt.training.plan import Due, due, full_round, must_forget, plan
from vaultgpt.training.round import BY_ITSELF, WRITES, Asked, Report, Round, SegmentScores, Verdict
from vaultgpt.wire import Hear, ProgressEvent, ReportRow
from vaultgpt.workers.elsewhere import Lender, run_elsewhere
from vaultgpt.workers.jobs import JobRunner, run_trainer

_ELSEWHERE = "Another machine keeps no checkpoint: it learns the whole in one go."
_LOOK_S = 10.0  # a look reads the entries' ids: 13 ms of 2,000 on a busy core
_SPENT_SHARE = 0.95  # of its budget: such a first round was cut short, and the full one is due


def run_round(
    state: VaultState,
    settings: Settings,
    *,
    fresh: bool = False,
    manual: bool = False,
    nightly: bool = False,
    on_progress: Hear = lambda event: None,
    stop: threading.Event | None = None,
    now: Callable[[], float],
    trainer: JobRunner[ReportRow] | None = None,
    in_use: Callable[[], bool] = lambda: False,
    base: Base | None = None,
    machine: Lender | None = None,
    found: Due | None = None,
) -> RoundAnswer:
    """Run what is due and return CONTRACT's `train`, with "sampled", "why" and more.

    Kind "none" when nothing is. What was `found` due is asked again only where the vault is another
    since. Conflict while another round runs; RoundStopped when `stop` was set (its staging folder
    stays, and the next call goes on there when the same job is due; a long one goes on as it was
    begun); any VaultGPTError of the trainer. A person's round (`manual`) runs at normal priority
    until the mirror is `in_use`: the lowest gave it a third of a core, nineteen minutes for four.
    Another `machine` may learn."""
    if unsure := unsure_rules(state.config):
        raise StateError(unsure)
    beside = busy(how_far(under_way(state)), "`vaultgpt status` shows it.")
    with (
        locked(state.round_lock, beside),
        noted(state, now(), on_progress) as tell,
        Ledger.open(state) as ledger,
    ):
        repair(state, ledger, now())
        ledger.guard.mend()
        ledger.recall()
        used = base or resolve(settings.base, state)
        run = _Run(state, settings, ledger, used, now, Asked(fresh, manual, nightly))
        run.learns_here, run.found = machine is None, found
        work = partial(run_elsewhere, machine=machine) if machine else run_trainer
        polite = partial(work, polite=lambda: not manual or in_use())
        return run.go(trainer or polite, tell, stop or threading.Event())


def what_is_due(
    state: VaultState,
    settings: Settings,
    ledger: Ledger,
    now: float,
    asked: Asked = BY_ITSELF,
    base: Base | None = None,
) -> Due:
    """What a round asked for so would do now, from the ledger alone: cheap at every look."""
    return due(ledger, settings, base or resolve(settings.base, state), now, asked)


class _Run:
    """One call of run_round, the lock held."""

    def __init__(
        self,
        state: VaultState,
        settings: Settings,
        ledger: Ledger,
        base: Base,
        now: Callable[[], float],
        asked: Asked,
    ) -> None:
        self.state, self.settings, self.ledger, self.base = state, settings, ledger, base
        self.now, self.asked = now, asked
        self.learns_here = True
        self.found: Due | None = None

    def go(
        self, trainer: JobRunner[ReportRow], on_progress: Hear, stop: threading.Event
    ) -> RoundAnswer:
        if self.asked.fresh and self.asked.manual and self.ledger.paused():
            self.ledger.resume()
        anew = self._scan(whole=self.asked.fresh or paused_round(self.ledger) is not None)
        words = self.ledger.notes.totals()["words"]
        language = self.ledger.notes.language(self.state.vault, self.settings.rules, words)
        staged = self._take_up(on_progress)
        if staged is None:
            now = self.now()
            round_ = self._plan(anew, now)
            if round_.kind == "none":
                if not self.ledger.paused():  # most of the vault may only be out of reach
                    self._drop_interrupted()
                return answer_of(round_, Verdict(False, round_.why))
            self._require_room()
            staged = self._stage(round_, now)
            if staged is None:
                none = replace(round_, kind="none", why="There is nothing new to learn.")
                return answer_of(none, Verdict(False, none.why))
            if self._is_long(staged[0]):
                on_progress({"event": "say", "text": self._beforehand(round_)})
        round_, made, folder = staged
        try:
            report = self._train(trainer, folder, self._watched(on_progress, stop), stop)
        except VaultGPTError:
            if why := end_lost(self.ledger, self.now()):
                return answer_of(round_, Verdict(False, why))
            raise
        if why := self._lost():
            return answer_of(round_, Verdict(False, why))
        if round_.budget_s is not None and report.seconds >= _SPENT_SHARE * round_.budget_s:
            round_ = replace(round_, sampled=True)
        verdict = self._judge(report, round_, english=language == "en")
        closing = Closing(round_, made, report, verdict, folder)
        generation = close(self.state, self.settings, self.ledger, self.base, closing, self.now())
        if generation in self.ledger.generations.barred():
            verdict, generation = replace(verdict, promoted=False, why=FORGOTTEN), None
        return answer_of(round_, verdict, report, generation)

    def _require_room(self) -> None:
        training, here = self.settings.training, self.learns_here
        require_disk_and_memory(self.state, self.base, training, learns_here=here)

    def _take_up(self, hear: Hear) -> tuple[Round, Assembled, Path] | None:
        """The long round that was paused, as it was begun; None where there is none to go on."""
        found = paused_round(self.ledger)
        if found is None or self.ledger.paused():
            return None
        training, names = self.settings.training, self._compare()
        why = "a fresh one was asked for" if self.asked.fresh else ""
        why = why or overtaken(self.ledger, found, self.base.sha256, training, names)
        why = why or lost(self.ledger, found)
        taken = None if why else self._unfixed(found)
        if taken is None:
            said = give_up(self.ledger, found, why or "its files are damaged", self.now())
            hear({"event": "say", "text": said})
            return None
        self._require_room()
        said = f"The full round goes on at {found.said}."
        hear({"event": "say", "text": said if self.learns_here else _ELSEWHERE})
        return taken

    def _watched(self, hear: Hear, stop: threading.Event) -> Hear:
        """The same, with a look now and then whether a note of this round has to go: any command
        may have it forgotten, and nobody else knows of a round that a terminal runs."""
        looked = time.monotonic()

        def heard(event: ProgressEvent) -> None:
            nonlocal looked
            hear(event)
            if time.monotonic() - looked >= _LOOK_S:
                looked = time.monotonic()
                if must_stop(self.ledger):
                    stop.set()

        return heard

    def _lost(self) -> str:
        """Give up a long round at its end, since hours have passed: of a note that was deleted or
        kept out meanwhile nobody may have told. The sentence, or ""."""
        found = begun_round(self.ledger)
        if found is None or not found.long:
            return ""
        with contextlib.suppress(VaultError):  # out of reach, as an unmounted disk: nights of work
            self._scan(whole=True)
        return end_lost(self.ledger, self.now())

    def _unfixed(self, found: PausedRound) -> tuple[Round, Assembled, Path] | None:
        """What was staged in its first night; None where that is not what lies there."""
        if (kept := unfix(found, self.ledger.key)) is None:
            return None
        job, learned = kept
        if (Path(job.base), Path(job.out)) != (self.base.folder, found.folder / "out"):
            return None  # the state or the models lie elsewhere by now
        mirror = self.settings.mirror
        write_json(found.folder / WRITES, {"writing": mirror.dtype, "writing_on": mirror.device})
        held = [item.id for item in job.items if item.role == "held_out"]
        return job.round, Assembled(job, learned, [], held, []), found.folder

    def _is_long(self, round_: Round) -> bool:
        """Whether it may take many nights, so that its text is fixed at its beginning."""
        if round_.kind != "fresh" or round_.budget_s is not None:
            return False
        return full_round(self.ledger, self.settings, self.base).full_s >= LONG_S

    def _beforehand(self, round_: Round) -> str:
        """What is said before a long round begins; its `why` ends with the hours."""
        then = "Where it is stopped, the next round goes on." if self.learns_here else _ELSEWHERE
        return f"{round_.why} {then}"

    def _scan(self, whole: bool) -> bool:
        """Bring the ledger in step with the vault; whether every note was read.

        Where not the `whole` of it is, what is another by time, size or inode is."""
        percent = self.settings.schedule.vanished_percent
        found = self.ledger.follow(self.settings.rules, self.now(), percent, whole=whole)
        if found.changed or found.gone:
            self.found = None
        return whole or found.read >= self.ledger.notes.count()

    def _plan(self, anew: bool, now: float) -> Round:
        """What is due, asked once; again where reading every note `anew` found another vault."""
        if self.found is None:
            self.found = due(self.ledger, self.settings, self.base, now, self.asked)
        if self.found.kind == "fresh" and not anew:
            self._scan(whole=True)
        return plan(self.ledger, self.settings, self.base, now, self.asked, self.found)

    def _stage(self, round_: Round, now: float) -> tuple[Round, Assembled, Path] | None:
        """Write the job, or find the interrupted one that is the same; None without any text."""
        interrupted = self.ledger.rounds.interrupted()
        made, folder, digest = self._assemble(round_, now)
        if not any(item.role == "train" for item in made.job.items):
            return None
        same = interrupted is not None and interrupted.plan_digest == digest
        if same and folder.is_dir():
            write_json(folder / "job.json", asdict(made.job))  # the same, whatever befell the file
        else:
            self._drop_interrupted()
            if interrupted is not None:
                number = self.ledger.rounds.next_number()
                seed = (self.settings.training.seed + number) % 2**32
                round_ = replace(round_, number=number, seed=seed)
                made, folder, digest = self._assemble(round_, now)
            self._begin(round_, made, folder, digest, now)
        return round_, made, folder

    def _assemble(self, round_: Round, now: float) -> tuple[Assembled, Path, str]:
        folder = self.state.staging / f"r{round_.number:06d}"
        places = self._places(round_, folder)
        made = build_job(
            self.ledger,
            self.settings,
            self.base,
            round_,
            now,
            read=reader(self.state.vault, self.settings.rules),
            places=places,
            manual=round_.asked.manual,
        )
        self.ledger.forgotten.bar(made.barred)
        return made, folder, digest_of(asdict(made.job), made.learned, self.ledger.key)

    def _begin(self, round_: Round, made: Assembled, folder: Path, digest: str, now: float) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        make_private_dir(self.state.staging)
        make_private_dir(folder)
        make_private_dir(folder / "out")
        write_json(folder / "job.json", asdict(made.job))
        if self._is_long(round_):
            fix(folder, made.job, made.learned, self._compare(), self.ledger)
        self.ledger.rounds.open(
            round_.number,
            round_.kind,
            round_.why,
            now,
            plan_digest=digest,
            cause=round_.cause,
            sampled=round_.sampled,
            pending_words=self.ledger.pending(now, 0.0, listed=False).words,
        )

    def _places(self, round_: Round, folder: Path) -> Places:
        """The generation to continue and those to compare with, where they are on the same base."""
        names = self._compare()
        active = self.ledger.generations.active()
        parent = active if round_.kind == "incremental" else None
        embedded = Path(__file__).parent.parent / "pebble"
        return Places(
            folder / "out",
            self.state.generations / parent if parent else None,
            parent,
            {key: str(self.state.generations / name) for key, name in names.items()},
            embedded / "general_heldout.jsonl.gz",
            embedded / "general_replay.jsonl.gz",
            {key: self.ledger.rounds.segments_of(name) for key, name in names.items()},
        )

    def _compare(self) -> dict[str, str]:
        """The active and the last fresh generation, where they are on the same base."""
        generations = self.ledger.generations
        named = {"before": generations.active(), "fresh": generations.last_fresh()}
        sha256 = self.base.sha256
        return {k: n for k, n in named.items() if n and generations.get(n).base_sha256 == sha256}

    def _drop_interrupted(self) -> None:
        """Give up rounds that never ended, with their prose."""
        while (row := self.ledger.rounds.interrupted()) is not None:
            self.ledger.rounds.abandon(row.number, self.now(), "It was stopped before its end.")
            shutil.rmtree(self.state.staging / f"r{row.number:06d}", ignore_errors=True)

    def _train(
        self, trainer: JobRunner[ReportRow], folder: Path, on_progress: Hear, stop: threading.Event
    ) -> Report:
        verify(self.base)  # bytes that rotted since would be learned on
        answer = trainer(folder / "job.json", on_progress, stop, settings=self.settings.training)
        try:
            return Report.from_json(answer)
        except (KeyError, TypeError):
            raise TrainingError("The trainer's report can't be read.", "Run it again.") from None

    def _judge(self, report: Report, round_: Round, english: bool) -> Verdict:
        generations = self.ledger.generations
        active, fresh = generations.active(), generations.last_fresh()
        recorded = {}
        for key, name in (("before", active), ("fresh", fresh)):
            if name and (old := self.ledger.rounds.segments_of(name).get("held_out")):
                recorded[key] = SegmentScores(**old)
        assert round_.kind != "none"
        return judge(
            report,
            kind=round_.kind,
            first=generations.writing() is None,
            english=english,
            recorded=recorded,
            expect_fresh=fresh is not None and fresh != active,
            forgets=round_.kind == "fresh" and must_forget(self.ledger, self.settings, self.now()),
        )
