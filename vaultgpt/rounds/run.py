"""One round from the vault as it stands to a verdict: the command line and the daemon run this.

It owns the order: lock, scan, plan, job, trainer, gate, publish, one ledger transaction, erase.
Knows nothing about torch; the trainer is another process.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from vaultgpt import generations
from vaultgpt.bases import keep_embedded, resolve
from vaultgpt.config import Settings, Training
from vaultgpt.errors import Conflict, TrainingError
from vaultgpt.files import locked, make_private_dir, write_json
from vaultgpt.ledger import Ledger
from vaultgpt.rounds.mend import repair, rows_of, tidy
from vaultgpt.state import VaultState
from vaultgpt.training.assemble import Assembled, Places, build_job
from vaultgpt.training.gate import judge
from vaultgpt.training.plan import BaseInfo, Due, due, must_forget, plan
from vaultgpt.training.round import Report, Round, SegmentScores, Verdict, report_from_json
from vaultgpt.vault.census import census
from vaultgpt.vault.scan import ScannedNote, read_vault

Progress = Callable[[dict[str, Any]], None]
SPENT_SHARE = 0.95  # of its budget: such a first round was cut short, and the full one is due
BITS = ("held_out", "held_out_before", "held_out_base", "new_notes", "new_notes_before", "general",
        "general_base")


class Trainer(Protocol):
    """workers.run_trainer, or a test's own."""

    def __call__(self, job_path: Path, on_progress: Progress, stop: threading.Event, *,
                 settings: Training) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Asked:
    """What was asked for."""

    fresh: bool = False
    manual: bool = False
    nightly: bool = False


def run_round(state: VaultState, settings: Settings, *, fresh: bool = False, manual: bool = False,
              nightly: bool = False, on_progress: Progress = lambda event: None,
              stop: threading.Event | None = None, now: Callable[[], float],
              trainer: Trainer | None = None, base: BaseInfo | None = None,
              on_promoted: Callable[[str], None] = lambda generation: None) -> dict[str, Any]:
    """Run what is due and return CONTRACT's `train`, with "sampled", "why" and more.

    Kind "none" when nothing is. Conflict while another round runs; RoundStopped when `stop` was set
    (its staging folder stays, and the next call goes on there when the same job is due); any
    VaultGPTError of the trainer. `on_promoted` is called with the new generation's id last.
    """
    busy = Conflict("A round is under way already.", "`vaultgpt status` shows it.")
    with locked(state.round_lock, busy), Ledger.open(state) as ledger:
        repair(state, ledger, now())
        found = base or resolve(settings.base, state)
        run = _Run(state, settings, ledger, found, now, Asked(fresh, manual, nightly))
        answer = run.go(trainer or _default_trainer(), on_progress, stop or threading.Event())
    if answer["verdict"]["promoted"]:
        on_promoted(answer["generation"])
    return answer


def what_is_due(state: VaultState, settings: Settings, ledger: Ledger, now: float, *,
                nightly: bool = False, base: BaseInfo | None = None) -> Due:
    """What a daemon should do now, from the ledger alone: cheap enough for every look."""
    return due(ledger, settings, base or resolve(settings.base, state), now, nightly=nightly)


def _default_trainer() -> Trainer:
    from vaultgpt.workers import run_trainer

    return run_trainer


class _Run:
    """One call of run_round, the lock held."""

    def __init__(self, state: VaultState, settings: Settings, ledger: Ledger, base: BaseInfo,
                 now: Callable[[], float], asked: Asked) -> None:
        self.state, self.settings, self.ledger, self.base = state, settings, ledger, base
        self.now, self.asked = now, asked

    def go(self, trainer: Trainer, on_progress: Progress, stop: threading.Event) -> dict[str, Any]:
        if self.asked.fresh and self.asked.manual and self.ledger.paused():
            self.ledger.resume()
        notes = self._scan()
        language = census(notes)["language"]
        now = self.now()
        round_ = plan(self.ledger, self.settings, self.base, now, fresh=self.asked.fresh,
                      manual=self.asked.manual, nightly=self.asked.nightly)
        if round_.kind == "none":
            self._drop_interrupted(None)
            return _answer(round_, Verdict(False, round_.why), None, None)
        staged = self._stage(round_, notes, now)
        if staged is None:
            none = replace(round_, kind="none", why="nothing new to learn")
            return _answer(none, Verdict(False, none.why), None, None)
        round_, made, folder = staged
        report = self._train(trainer, folder, on_progress, stop)
        if round_.budget_s is not None and report.seconds >= SPENT_SHARE * round_.budget_s:
            round_ = replace(round_, sampled=True)
        verdict = self._judge(report, round_, english=language == "en")
        generation = self._close(round_, made, report, verdict, folder)
        return _answer(round_, verdict, report, generation)

    def _scan(self) -> list[ScannedNote]:
        scan = read_vault(self.state.vault, self.settings.rules, {})
        self.ledger.record(scan, self.now(), self.settings.schedule.vanished_percent)
        return scan.read

    def _stage(self, round_: Round, notes: list[ScannedNote], now: float
               ) -> tuple[Round, Assembled, Path] | None:
        """Write the job, or find the interrupted one that is the same; None without any text."""
        interrupted = self.ledger.interrupted()
        made, folder, digest = self._assemble(round_, notes, now)
        if not any(item.role == "train" for item in made.job.items):
            return None
        same = interrupted is not None and interrupted.plan_digest == digest
        if not same or not (folder / "job.json").exists():
            self._drop_interrupted(interrupted.number if interrupted else None)
            if interrupted is not None:
                number = self.ledger.next_round()
                seed = (self.settings.training.seed + number) % 2**32
                round_ = replace(round_, number=number, seed=seed)
                made, folder, digest = self._assemble(round_, notes, now)
            self._begin(round_, made, folder, digest, now)
        return round_, made, folder

    def _assemble(self, round_: Round, notes: list[ScannedNote], now: float
                  ) -> tuple[Assembled, Path, str]:
        folder = self.state.staging / f"r{round_.number:06d}"
        places = self._places(round_, folder)
        made = build_job(self.ledger, self.settings, self.base, round_, now, notes=notes,
                         places=places, manual=self.asked.manual)
        self.ledger.bar(made.barred)
        body = json.dumps({**made.job.__dict__, "round": round_.__dict__ | {"why": ""},
                           "items": [i.__dict__ for i in made.job.items]}, sort_keys=True,
                          default=str)
        return made, folder, hashlib.blake2b(body.encode("utf-8", "surrogatepass"),
                                             key=self.ledger.key, digest_size=16).hexdigest()

    def _begin(self, round_: Round, made: Assembled, folder: Path, digest: str, now: float) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        make_private_dir(self.state.staging)
        make_private_dir(folder)
        make_private_dir(folder / "out")
        write_json(folder / "job.json", asdict(made.job))
        why = due(self.ledger, self.settings, self.base, now, fresh=self.asked.fresh,
                  manual=self.asked.manual, nightly=self.asked.nightly)
        self.ledger.open_round(round_.number, round_.kind, round_.why, now, plan_digest=digest,
                               cause=why.cause, sampled=round_.sampled,
                               pending_words=self.ledger.pending(now, 0.0).words)

    def _places(self, round_: Round, folder: Path) -> Places:
        """The generation to continue and those to compare with, where they are on the same base."""
        active, fresh = self.ledger.active(), self.ledger.last_fresh()
        compare, known = {}, {}
        for key, name in (("before", active), ("fresh", fresh)):
            if name and self.ledger.generation(name).base_sha256 == self.base.sha256:
                compare[key] = str(self.state.generations / name)
                known[key] = self.ledger.segments_of(name)
        parent = active if round_.kind == "incremental" else None
        embedded = Path(__file__).parent.parent / "pebble"
        return Places(folder / "out", self.state.generations / parent if parent else None, parent,
                      compare, embedded / "general_heldout.jsonl.gz",
                      embedded / "general_replay.jsonl.gz", known)

    def _drop_interrupted(self, number: int | None) -> None:
        """Give up rounds that never ended, with their prose."""
        while (row := self.ledger.interrupted()) is not None:
            self.ledger.abandon_round(row.number, self.now(), "It was interrupted and left.")
            shutil.rmtree(self.state.staging / f"r{row.number:06d}", ignore_errors=True)
        if number is not None:
            shutil.rmtree(self.state.staging / f"r{number:06d}", ignore_errors=True)

    def _train(self, trainer: Trainer, folder: Path, on_progress: Progress, stop: threading.Event
               ) -> Report:
        answer = trainer(folder / "job.json", on_progress, stop, settings=self.settings.training)
        try:
            return report_from_json(answer)
        except (KeyError, TypeError):
            raise TrainingError("The trainer's report can't be read.", "Run it again.") from None

    def _judge(self, report: Report, round_: Round, english: bool) -> Verdict:
        active, fresh = self.ledger.active(), self.ledger.last_fresh()
        recorded = {}
        for key, name in (("before", active), ("fresh", fresh)):
            if name and (old := self.ledger.segments_of(name).get("held_out")):
                recorded[key] = SegmentScores(**old)
        assert round_.kind != "none"
        return judge(report, kind=round_.kind, first=active is None, english=english,
                     recorded=recorded, expect_fresh=fresh is not None and fresh != active,
                     forgets=round_.kind == "fresh"
                     and must_forget(self.ledger, self.settings, self.now()))

    def _close(self, round_: Round, made: Assembled, report: Report, verdict: Verdict, folder: Path
               ) -> str | None:
        """Publish when promoted, commit everything at once, erase the prose."""
        now = self.now()
        closing: dict[str, Any] = {
            "promoted": verdict.promoted, "verdict": verdict.why, "report": report.to_json(),
            "checks": verdict.checks, "sampled": round_.sampled, "waited": made.waited}
        name = None
        if verdict.promoted:
            if self.base.name == "pebble":
                keep_embedded(self.state)
            manifest = self._manifest(round_, made, report, verdict, now)
            used = [g.id for g in self.ledger.generations(kept=False)]
            name = generations.publish(folder / "out", self.state, manifest, used)
            row, learned = rows_of(name, manifest)
            self.ledger.close_round(round_.number, now, **closing, generation=row, learned=learned)
            tidy(self.state, self.ledger, self.settings)
        else:
            self.ledger.close_round(round_.number, now, **closing)
        shutil.rmtree(folder, ignore_errors=True)
        return name

    def _manifest(self, round_: Round, made: Assembled, report: Report, verdict: Verdict,
                  now: float) -> dict[str, Any]:
        short = report.to_json()
        short.pop("losses")
        return {
            "base": self.base.name, "revision": self.base.revision,
            "base_sha256": dict(self.base.sha256), "parent": made.job.parent_id,
            "round": round_.number, "kind": round_.kind, "sampled": round_.sampled, "created": now,
            "learned": [list(one) for one in made.learned], "held_out": made.held_out,
            "waited": made.waited, "report": short,
            "verdict": {"promoted": verdict.promoted, "why": verdict.why, "checks": verdict.checks},
            "settings": {"rank": self.settings.training.rank,
                         "embedding": self.settings.training.embedding},
        }


def _answer(round_: Round, verdict: Verdict, report: Report | None, generation: str | None
            ) -> dict[str, Any]:
    """CONTRACT's `train`."""
    bits = report.bits_per_byte if report else {}
    figures = None if report is None else {
        "bits_per_byte": {key: bits.get(key) for key in BITS}, "tokens": report.tokens,
        "seconds": report.seconds, "tokens_per_s": report.tokens_per_s, "device": report.device,
        "copying": report.copying, "by_tag": report.by_tag, "notes": report.notes,
        "learning": report.learning}
    return {"round": round_.number if report else None, "kind": round_.kind,
            "verdict": {"promoted": verdict.promoted, "why": verdict.why,
                        "checks": verdict.checks},
            "report": figures, "generation": generation, "sampled": round_.sampled,
            "why": round_.why}
