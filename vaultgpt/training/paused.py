"""A full round of many nights: what of it is fixed, how far it is, and what ends it early.

Its text is that of its beginning and lies in its own staging folder, beside its checkpoint: notes
that are written meanwhile wait, and one that must not be learned any more ends it. Knows nothing
about torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from typing_extensions import TypedDict

from vaultgpt.bases.estimate import human
from vaultgpt.files import Json, read_json, write_atomic, write_json
from vaultgpt.ledger import LearnedParagraph, Ledger, RoundRow
from vaultgpt.settings import Training
from vaultgpt.training.round import CHECKPOINT, Job, MachineSettings

LONG_S = 600.0  # a fresh round foreseen to take longer is fixed, and goes on another night
_FIXED, _TAUGHT = "fixed.json", "taught.json"
_MOST_HEADER = 64 << 20
# What may change between two nights: nothing of it says what is learned.
_FREE = (*MachineSettings.__annotations__, "processes", "first_round_s", "seed", "keep", "pause")


class _ProgressRow(TypedDict):
    """Of checkpoint.Progress, what is told of a round that waits."""

    step: int
    steps: int
    seconds: float


class _Fixed(TypedDict):
    """What must still hold when it goes on."""

    base_sha256: dict[str, str]
    settings: dict[str, object]
    compare: dict[str, str]
    forgot_at: str | None


class _Taught(TypedDict):
    """What the ledger will be told that it learned, and the entries that it read."""

    learned: list[LearnedParagraph]
    entries: list[str]


@dataclass(frozen=True)
class PausedRound:
    """A round that was begun, has learned a while, and is not at its end."""

    row: RoundRow
    folder: Path
    step: int  # 0 before its first checkpoint
    steps: int
    seconds: float  # that it has learned

    @property
    def long(self) -> bool:
        """Whether its text was fixed at its beginning, for many nights."""
        return self.row.kind == "fresh" and (self.folder / _FIXED).exists()

    @property
    def fraction(self) -> float:
        """The part of its steps that is done."""
        return self.step / max(1, self.steps)

    @property
    def left_s(self) -> float:
        """How long the rest takes at the pace so far, without measuring."""
        return self.seconds * (self.steps - self.step) / max(1, self.step)

    @property
    def said(self) -> str:
        """`34 %, and about 3 hours are left`."""
        left = human(self.left_s)
        verb = "are" if left.endswith("s") else "is"
        return f"{100 * self.fraction:.0f} %, and {left} {verb} left"

    def ends(self, why: str) -> str:
        """That it is given up, in a sentence."""
        kind = "full round" if self.row.kind == "fresh" else "round"
        return f"The {kind} that was paused at {100 * self.fraction:.0f} % ends: {why}."


def paused_round(ledger: Ledger) -> PausedRound | None:
    """The long round that was begun and can go on; None without one."""
    found = begun_round(ledger)
    return found if found is not None and found.long and found.step else None


def begun_round(ledger: Ledger) -> PausedRound | None:
    """The round that was begun and never closed, whose text lies in its folder, runs or not."""
    row = ledger.rounds.interrupted()
    folder = ledger.state.staging / f"r{row.number:06d}" if row else None
    if row is None or folder is None or not folder.is_dir():
        return None
    try:
        progress = _progress(folder / CHECKPOINT)
        step, steps = int(progress["step"]), int(progress["steps"])
        return PausedRound(row, folder, step, steps, float(progress["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return PausedRound(row, folder, 0, 0, 0.0)


def _progress(checkpoint: Path) -> _ProgressRow:
    """What a checkpoint's header says of it, without reading its tensors."""
    with checkpoint.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _MOST_HEADER:
            raise ValueError
        header = json.loads(stream.read(length))
    progress: _ProgressRow = json.loads(header["__metadata__"]["progress"])
    return progress


def fix(
    folder: Path, job: Job, learned: list[LearnedParagraph], compare: dict[str, str], ledger: Ledger
) -> None:
    """Write beside the job what a later night needs of it; `compare` names generations."""
    write_json(folder / _FIXED, _fixed(ledger, job.base_sha256, asdict(job.settings), compare))
    entries = ledger.entries.live() & {item.id for item in job.items}
    taught = _Taught(learned=learned, entries=sorted(entries))
    write_atomic(folder / _TAUGHT, json.dumps(taught))


def _fixed(
    ledger: Ledger, sha256: Mapping[str, str], settings: Json, compare: dict[str, str]
) -> _Fixed:
    forgot, binding = ledger.meta("forgot_at"), _binding(settings)
    return _Fixed(base_sha256=dict(sha256), settings=binding, compare=compare, forgot_at=forgot)


def _binding(settings: Json) -> dict[str, object]:
    """What of them says what is learned; of a key that another version has, the default or none."""
    known = asdict(Training())
    return {key: settings.get(key, known[key]) for key in known if key not in _FREE}


def unfix(found: PausedRound, key: bytes) -> tuple[Job, list[LearnedParagraph]] | None:
    """The job as it was begun and what it teaches; None where that is not what lies there."""
    try:
        taught: _Taught = read_json(found.folder / _TAUGHT)
        learned = [(str(e), str(d), int(w)) for e, d, w in taught["learned"]]
        job = read_json(found.folder / "job.json")
        same = digest_of(job, learned, key) == found.row.plan_digest
        return (Job.from_json(job), learned) if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def digest_of(job: Json, learned: list[LearnedParagraph], key: bytes) -> str:
    """Of all that a round does and enters, as its file has it; keyed, for it tells of the text."""
    settings = ", ".join(f"{name}={value!r}" for name, value in job["settings"].items())
    round_ = job["round"] | {"why": "", "cause": "", "asked": None}
    # As Training says itself, and was entered from the first; another version's would say more.
    body = {**job, "round": round_, "settings": f"Training({settings})", "learned": learned}
    text = json.dumps(body, sort_keys=True).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=key, digest_size=16).hexdigest()


def overtaken(
    ledger: Ledger,
    found: PausedRound,
    sha256: Mapping[str, str],
    training: Training,
    compare: dict[str, str] | None = None,
) -> str:
    """Why it can't go on, as the end of a sentence; "" where it can. Cheap at every look.

    `compare` are the voices that it would be judged beside now; None asks nothing of them."""
    try:
        then: _Fixed = read_json(found.folder / _FIXED)
        beside = then["compare"] if compare is None else compare
        then["settings"] = _binding(then["settings"])
        now = _fixed(ledger, sha256, json.loads(json.dumps(asdict(training))), beside)
        causes = {
            "forgot_at": "a note was forgotten",
            "base_sha256": "the base model is another",
            "settings": "how it learns was changed in the settings",
            "compare": "another voice became active",
        }
        return next((why for key, why in causes.items() if then.get(key) != now.get(key)), "")
    except (OSError, ValueError, KeyError, TypeError):
        return "its files are damaged"


def lost(ledger: Ledger, found: PausedRound) -> str:
    """Why it must not go on: an entry that it learns was deleted, or is not to be learned now."""
    try:
        if found.long and read_json(found.folder / _FIXED)["forgot_at"] != ledger.meta("forgot_at"):
            return "a note was forgotten"
        if ledger.paused():
            return ""  # most of the vault may only be out of reach
        gone = _entries(found) - ledger.entries.live()
    except (OSError, ValueError, KeyError, TypeError):
        return "its files are damaged"
    return "a note that it learns was deleted, or is not to be learned any more" if gone else ""


def _entries(found: PausedRound) -> set[str]:
    if found.long:
        taught: _Taught = read_json(found.folder / _TAUGHT)
        return set(taught["entries"])
    return {str(item["id"]) for item in read_json(found.folder / "job.json")["items"]}
