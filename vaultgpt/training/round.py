"""The nouns of training: Round, Job, Report, Verdict, and their JSON forms.

Knows nothing about torch, the ledger or the vault.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NotRequired, TypeVar, cast

from typing_extensions import TypedDict

from vaultgpt.files import Json
from vaultgpt.settings import Training
from vaultgpt.wire import CheckRow, ForetoldRow, LearningRow, ReportRow, SegmentsRow

_T = TypeVar("_T")
LESSON, LEARNED = "lesson.sealed", "learned.sealed"  # files of a round that another machine learns
CHECKPOINT = "checkpoint.safetensors"  # in its staging folder, of one that learns here
WRITES = "writes.json"  # of a round of many nights: in which arithmetic is written by now
Role = Literal["train", "replay", "held_out", "new_held_out", "score"]


class MachineSettings(TypedDict):
    """Of [training], what is about the machine: as it is set when a process starts, whatever a job
    of another night says. The number of processes counts where they are started."""

    device: str
    threads: int
    whole_params: int


class RoundPart(TypedDict, total=False):
    """To a trainer, of a round that another machine learns: what of it is to be done here."""

    part: Literal["pack", "sealed", "finish"]
    key: str  # that the lesson is sealed with
    base: str  # folder of the base, of a sealed one
    spent_s: float  # before this part


class TrainerOrder(RoundPart):
    """To a trainer, or who measures."""

    job: str  # the job's file; of a sealed one its folder
    polite: NotRequired[bool]
    machine: NotRequired[MachineSettings]


@dataclass(frozen=True)
class Item:
    """One entry as a round needs it. Text is the author's: it lies only in the staging folder."""

    id: str
    role: Role
    text: str  # Entry.document()[0]
    masked: tuple[tuple[int, int], ...]  # character ranges of `text` that carry no loss
    title: str | None
    date: str | None
    tags: tuple[str, ...]
    new_ranges: tuple[tuple[int, int], ...] = ()  # for role "train" of an incremental round

    @staticmethod
    def from_json(value: Json) -> Item:
        """An Item from its dictionary."""
        return Item(
            **{
                **value,
                "masked": tuple(map(tuple, value["masked"])),
                "tags": tuple(value["tags"]),
                "new_ranges": tuple(map(tuple, value["new_ranges"])),
            }
        )


@dataclass(frozen=True)
class Asked:
    """What a round was asked for.

    `manual`: a person asks, so neither quiet time nor thresholds count. `nightly`: the hour has
    come, so 200 words are enough and counted deletions are unlearned. Neither: only what is due at
    once (the first round, `forget`, another base, 1,500 words)."""

    fresh: bool = False  # the whole vault anew, from the base
    manual: bool = False
    nightly: bool = False


BY_ITSELF = Asked()  # nobody asked: the daemon looks whether something is due at once


@dataclass(frozen=True)
class Round:
    """What is to be learned."""

    number: int
    kind: Literal["fresh", "incremental", "none"]
    why: str  # one sentence
    cause: str = ""  # the same in a word
    asked: Asked = BY_ITSELF
    entry_ids: tuple[str, ...] = ()
    seed: int = 1
    budget_s: float | None = None  # set for the budgeted first round
    sampled: bool = False  # a budgeted sample of a larger vault: the full round is still due
    gentle: int = 0  # times that its rate is halved: the ones before went too far from the base

    @staticmethod
    def from_json(value: Json) -> Round:
        """The inverse of asdict."""
        asked = Asked(**value.get("asked", {}))
        return Round(**{**value, "entry_ids": tuple(value["entry_ids"]), "asked": asked})


@dataclass(frozen=True)
class Job:
    """Everything the trainer worker may know, written as JSON in the staging folder."""

    round: Round
    base: str  # folder of the base model
    base_name: str
    base_revision: str | None
    base_sha256: dict[str, str]
    parent: str | None  # folder of the generation to continue from (incremental) or None
    parent_id: str | None
    compare: dict[str, str]  # generation id -> folder, each evaluated on the same held-out segments
    items: tuple[Item, ...]
    general_heldout: str | None  # path of a JSON-lines file of plain English, or None
    general_replay: str | None
    settings: Training
    words: int  # of usable prose in the vault
    out: str  # folder to fill: the staged generation
    # by set, of the rounds that made `compare`'s "before" and "fresh": what was scored is not again
    known: dict[str, dict[str, SegmentsRow]] = field(default_factory=dict)
    secret: str = ""  # hex key of hashes of the author's words
    writing: str = "auto"  # [mirror] dtype and device: what is learned is judged as it will write
    writing_on: str = "auto"

    @staticmethod
    def from_json(value: Json) -> Job:
        """The inverse of asdict; a setting that another version has is left, or as by default."""
        made = dict(value)
        known = {f.name for f in fields(Training)}
        made["settings"] = Training(**{k: v for k, v in made["settings"].items() if k in known})
        made["round"] = Round.from_json(made["round"])
        made["items"] = tuple(map(Item.from_json, made["items"]))
        return Job(**made)


@dataclass(frozen=True)
class SegmentScores:
    """Per-segment figures of one held-out set under several models; the gate's evidence.

    `entry`, `tags`, `years`, `bytes` have one value a segment; `nats[model]` too. Models are
    "base", "before" (the active generation, absent in a first round), "fresh" (the last fresh one)
    and "after". `carried` are positions of segments that a small round did not score: their "after"
    is "before" times the change of the rest."""

    entry: list[str] = field(default_factory=list)
    tags: list[list[str]] = field(default_factory=list)
    years: list[str | None] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    nats: dict[str, list[float]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)

    def measured(self) -> SegmentScores:
        """What was scored in this very round: the evidence for a verdict."""
        if not self.carried:
            return self
        left_out = set(self.carried)

        def kept(values: list[_T]) -> list[_T]:
            return [value for at, value in enumerate(values) if at not in left_out]

        return SegmentScores(
            kept(self.entry),
            kept(self.tags),
            kept(self.years),
            kept(self.bytes),
            {model: kept(nats) for model, nats in self.nats.items()},
            kept(self.keys),
        )


@dataclass(frozen=True)
class Report:
    """What a round measured. bits_per_byte holds CONTRACT.md's keys; None where unknown."""

    bits_per_byte: dict[str, float | None]
    by_tag: dict[str, dict[str, float]]  # tag -> {"after": .., "base": .., "bytes": ..}
    by_year: dict[str, dict[str, float]]
    copying: dict[str, float]  # {"share": .., "author_share": .., "longest": ..}; guard off
    segments: dict[str, SegmentScores]  # "held_out", "new_notes", "general"
    prequential: list[ForetoldRow]  # by entry, before training
    tokens: int
    seconds: float
    tokens_per_s: float
    device: str
    steps: int
    losses: list[float] = field(default_factory=list)  # nats a token, by step
    notes: list[str] = field(default_factory=list)  # e.g. "out of memory: batch halved to 4"
    learning: LearningRow = field(default_factory=LearningRow)
    scored_tokens: int = 0  # read in evaluations, all models together, and drawn for `copying`
    written_in: str = "float32"  # the arithmetic that was judged: the one that will write
    new_text: dict[str, float] = field(default_factory=dict)
    # of an incremental round, before it: "word_nats" and "held_out_word_nats" under the active
    # generation, and "repeated", the share of 8-word runs that stood in the new text before
    last_weights: dict[str, float] = field(default_factory=dict)
    # of an incremental round: "nats" of some held-out text under the weights from which the next
    # one goes on, and "base_nats"

    def to_json(self) -> ReportRow:
        """As a frame and a file have it; the inverse is from_json."""
        return cast(ReportRow, asdict(self))

    @staticmethod
    def from_json(value: ReportRow) -> Report:
        """The inverse of to_json. KeyError and TypeError where it is no whole report."""
        segments = {name: SegmentScores(**one) for name, one in value["segments"].items()}
        made: Any = {**value, "segments": segments}
        return Report(**made)


def of_machine(settings: Training) -> MachineSettings:
    """What a trainer is told of the machine that it is started on."""
    return {
        "device": settings.device,
        "threads": settings.threads,
        "whole_params": settings.whole_params,
    }


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, in one sentence for the author."""

    promoted: bool
    why: str
    checks: list[CheckRow] = field(default_factory=list)
