"""Everything a round measures: held-out sets under every model, new entries beforehand, copying.

A small round is judged on a part of the held-out text, of about its own size: it changes the rest
as little, and what a night of 800 new words scores would else be five times what it learns. The
part not scored carries its last figure on, times the change of what was. A first voice on a large
base is judged on as much as a share of its budget holds. Kept on disk for a resumed run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import compress
from pathlib import Path

import torch

from vaultgpt.arithmetic import Dtype, choose_device, choose_dtype
from vaultgpt.corpus.words import split_words
from vaultgpt.errors import Unavailable
from vaultgpt.files import read_json, write_json
from vaultgpt.training.base_model import BaseModel
from vaultgpt.training.checkpoint import MEASURED
from vaultgpt.training.copying import copying, repeated
from vaultgpt.training.evaluate import (
    DRAWING_SHARE,
    SCORING_SHARE,
    Segment,
    as_scores,
    bits_per_byte,
    by_entry,
    by_group,
    judged_part,
    key_of,
    known_nats,
    only_new,
    own_parts,
    plain_segments,
    score,
    segments,
    sketch,
    spread,
    tokens_of,
)
from vaultgpt.training.loop import Stopped
from vaultgpt.training.lora import Adapter, load_adapter, merged
from vaultgpt.training.round import Item, Job, SegmentScores
from vaultgpt.training.streams import read_general
from vaultgpt.wire import SMALL_BASE, ForetoldRow

# Of plain English: 10,000 tokens, and in a budgeted first round on a large base 3,000 at most.
_GENERAL_SEGMENTS, _BRIEF_SEGMENTS = 40, 12
# Segments that a small round is judged on, at least; as many held-out ones as it brings of its own.
# Nine weekly rounds of Thoreau, each begun at the adapter, 86 held-out segments: the bound on the
# change since the active generation lay at most 0.08 % up on all of them, 0.12 % on 24 drawn by
# hash, 0.15 % on 24 in whole entries; 0.2 % is allowed. A mean that goes on moves more evenly.
_JUDGED_LEAST = {"held_out": 10, "general": 4}
_SETS = ("held_out", "new_notes", "general")


def _learned_in(base: BaseModel) -> Dtype:
    return "bfloat16" if base.device.dtype == torch.bfloat16 else "float32"


class Measurer:
    """Scores of one round. `before` and `after` fill them; the rest reads them."""

    def __init__(
        self,
        job: Job,
        base: BaseModel,
        folder: Path,
        digest: str,
        stop: threading.Event,
        say: Callable[..., None],
    ) -> None:
        self.job, self.base, self.folder, self.digest = job, base, folder, digest
        self.stop, self.say = stop, say
        # A first round's seconds are for learning; the round over the whole vault measures in full.
        self.brief_s = job.round.budget_s if base.params >= SMALL_BASE else None
        self.brief = self.brief_s is not None
        # A first voice is judged in the arithmetic that learns. Gemma 3 270M on a busy core: int8
        # weights took 13 s to make, three times, and scoring in bfloat16 takes half as long; 8
        # segments differ by 0.09 % at most, their sum by 0.01 %.
        self.written_in = (
            _learned_in(base)
            if self.brief
            else _written_in(job.writing, job.writing_on, base.params)
        )
        self.sets: dict[str, list[Segment]] = {
            "held_out": self.segments(i for i in job.items if i.role == "held_out"),
            "new_notes": self.segments(i for i in job.items if i.role == "new_held_out"),
            "general": spread(
                plain_segments(read_general(job.general_heldout, 400_000), base.encoder),
                _BRIEF_SEGMENTS if self.brief else _GENERAL_SEGMENTS,
            ),
        }
        self.keys = {
            name: [key_of(s, bytes.fromhex(job.secret), self.written_in) for s in found]
            for name, found in self.sets.items()
        }
        roles = {"score"} | ({"train"} if job.round.kind == "incremental" else set())
        self.new = {i.id: only_new(i) for i in job.items if i.role in roles}
        self.new_segments = self.segments(self.new.values())  # about to be learned
        self.known, self.last = known_nats(job.known)
        self.judged = {name: self._judged(name) for name in _SETS}  # one value a segment
        self.nats: dict[str, dict[str, list[float]]] = {name: {} for name in _SETS}
        self.chosen: dict[str, list[int]] = {}  # places that a brief round's sets were cut to
        self.prequential: list[ForetoldRow] = []
        self.new_text: dict[str, float] = {}  # as Report has it
        self.copied: dict[str, float] = {}
        self.last_weights: dict[str, float] = {}  # as Report has it
        self.held_out_entries = len({s.entry for s in self.sets["held_out"]})  # of which a part
        self.beginnings = list(self.sets["held_out"])  # for `copying`, scored or not
        self.seconds_each = 0.0  # of one model over all sets
        self.scored_tokens = 0  # read by all models so far, and drawn for `copying`

    def segments(self, items: Iterable[Item]) -> list[Segment]:
        """Segments of these items with the base's tokenizer."""
        return segments(items, self.base.encoder)

    def _judged(self, name: str) -> list[bool]:
        """Which segments are scored: all, or in a small round a part of some sets."""
        keys = self.keys[name]
        if self.job.round.kind != "incremental" or name not in _JUDGED_LEAST:
            return [True] * len(keys)
        least = _JUDGED_LEAST[name]
        if name == "held_out":
            least = max(least, len(self.new_segments))
        return judged_part(self.sets[name], keys, least, self.last)

    @property
    def seconds_to_come(self) -> float:
        """About how long `after` and a brief `copying` will take."""
        return self.seconds_each + DRAWING_SHARE * (self.brief_s or 0.0)

    def before(self) -> None:
        """Score base, active and last fresh on every set, and new entries before they are learned.

        Results of an earlier run of the same job are taken from disk."""
        if self._read():
            return
        began = time.monotonic()
        if self.brief_s is not None and not self.job.compare:
            self._sketch(SCORING_SHARE * self.brief_s)
        else:
            self._score("base", None)
        self.seconds_each = time.monotonic() - began
        folders = {
            key: Path(self.job.compare[key])
            for key in ("before", "fresh")
            if key in self.job.compare
        }
        for key, folder in folders.items():
            same = next(
                (
                    k
                    for k in folders
                    if k != key and folders[k] == folder and k in self.nats["held_out"]
                ),
                None,
            )
            if same is not None:
                for name in _SETS:
                    self.nats[name][key] = self.nats[name][same]
            else:
                self._score(key, load_adapter(folder))
        self._foretell()
        self._write()

    def after(self, adapter: Adapter, last: Adapter | None = None) -> None:
        """Score the new adapter on every set; what is not judged goes as what is.

        Of the `last` weights, from which the next round goes on, one segment tells enough: gone
        astray, they are far worse than the base, and hardly seen in the mean yet."""
        self._score("after", adapter)
        if last is not None and any(self.judged["held_out"]):
            at = self.judged["held_out"].index(True)
            with self._writing(last):
                nats = self._nats([self.sets["held_out"][at]])[0]
            self.last_weights = {"nats": nats, "base_nats": self.nats["held_out"]["base"][at]}
        for name, judged in self.judged.items():
            if all(judged):
                continue
            before, after = (self.nats[name][model] for model in ("before", "after"))
            change = sum(compress(after, judged)) / sum(compress(before, judged))
            self.nats[name]["after"] = [
                nats if now else nats * change for nats, now in zip(after, judged, strict=True)
            ]

    def _score(self, model: str, adapter: Adapter | None) -> None:
        """Fill `nats` under one model; what an earlier round scored is taken from there.

        What is not judged has the active generation's last figure, which may be one carried on."""
        known = dict(self.known.get(model, {}))
        if model in ("before", "after"):
            for name, keys in self.keys.items():
                known |= {
                    key: self.last[key]
                    for key, now in zip(keys, self.judged[name], strict=True)
                    if not now
                }
        missing = {
            name: [s for s, key in zip(found, self.keys[name], strict=True) if key not in known]
            for name, found in self.sets.items()
            if name != "new_notes" or model != "base"
        }  # held against "before" alone
        with self._writing(adapter) if any(missing.values()) else nullcontext():
            fresh = {
                name: iter(self._nats(found, plain=adapter is None))
                for name, found in missing.items()
            }
        for name, found in fresh.items():
            self.nats[name][model] = [
                known[key] if key in known else next(found) for key in self.keys[name]
            ]

    def _sketch(self, seconds: float) -> None:
        """Score the base on what takes so many seconds; the sets are that from now on."""
        with self._writing(None):
            found = sketch(self.sets, self.keys, seconds, partial(self._nats, plain=True))
        self._keep_only({name: list(nats) for name, nats in found.items()})
        for name, nats in found.items():
            self.nats[name]["base"] = list(nats.values())

    def _keep_only(self, chosen: Mapping[str, Sequence[int]]) -> None:
        """Leave these places of the sets alone."""
        self.chosen = {name: list(places) for name, places in chosen.items()}
        for name, places in chosen.items():
            self.sets[name] = [self.sets[name][at] for at in places]
            self.keys[name] = [self.keys[name][at] for at in places]
            self.judged[name] = [self.judged[name][at] for at in places]

    @contextmanager
    def _writing(self, adapter: Adapter | None, *, draws: bool = False) -> Iterator[None]:
        """The base with this adapter, as it would write; in a brief round as it learns.

        Drawing a token at a time would there round every weight anew for each, so it does not."""
        rounds = self.brief and not draws
        with (
            merged(self.base, adapter, "float32" if self.brief else self.written_in),
            self.base.device.autocast() if rounds else nullcontext(),
        ):
            yield

    def _nats(self, found: Sequence[Segment], *, plain: bool = False) -> list[float]:
        self.scored_tokens += tokens_of(found, plain=plain)
        return score(self.base, found, self._part, plain=plain)

    def _part(self, fraction: float) -> None:
        if self.stop.is_set():
            raise Stopped
        self.say("evaluate", fraction)

    def _foretell(self) -> None:
        """Nats of what is about to be learned, under the parent and under the base.

        Not of an entry's older paragraphs: the parent learned those, and would seem a prophet."""
        found = self.new_segments
        if not found:
            return
        with self._writing(None):
            base = list(by_entry(found, self._nats(found, plain=True)))
        parent = base
        folder = self.job.parent or self.job.compare.get("before")
        if folder:
            with self._writing(load_adapter(Path(folder))):
                parent = list(by_entry(found, self._nats(found)))
        self.prequential = [
            {"id": entry, "nats": nats, "bytes": size, "base_nats": plain}
            for (entry, nats, size), (_, plain, _) in zip(parent, base, strict=True)
        ]
        held = [i for i in self.job.items if i.role == "held_out"]
        if self.job.round.kind == "incremental" and held and "before" in self.nats["held_out"]:
            new = own_parts(self.new.values())
            words, held_words = (
                sum(len(split_words(part)) for part in parts) for parts in (new, own_parts(held))
            )
            self.new_text = {
                "word_nats": sum(nats for _, nats, _ in parent) / max(1, words),
                "held_out_word_nats": sum(self.nats["held_out"]["before"]) / max(1, held_words),
                "repeated": repeated(new),
            }

    def copying(self, adapter: Adapter) -> None:
        """Sample with the new adapter, the guard off, and compare with the author's training text.

        Not with what the mirror wrote there: saying that again copies nobody, and an author who
        accepts much would have every round refused."""
        self.say("measure", 0.0)
        if self.stop.is_set():
            raise Stopped
        learned = own_parts(i for i in self.job.items if i.role in ("train", "replay"))
        held_out = own_parts(i for i in self.job.items if i.role in ("held_out", "new_held_out"))
        prompts = self.beginnings or self.segments(
            [i for i in self.job.items if i.role == "train"][:64]
        )
        with self._writing(adapter, draws=True):
            self.copied = copying(
                self.base,
                prompts,
                learned,
                held_out,
                self.job.round.seed,
                few=self.brief or self.job.round.kind == "incremental",
                seconds=None if self.brief_s is None else DRAWING_SHARE * self.brief_s,
            )
        self.scored_tokens += int(self.copied.get("tokens", 0))
        self.say("measure", 1.0)

    def scores(self) -> dict[str, SegmentScores]:
        """The sets that hold anything."""
        return {
            name: as_scores(
                found,
                self.nats[name],
                self.keys[name],
                [at for at, now in enumerate(self.judged[name]) if not now],
            )
            for name, found in self.sets.items()
            if found
        }

    def by_group(self, key: str) -> dict[str, dict[str, float]]:
        """Held-out bits per byte by "tags" or "years"."""
        scores = self.scores().get("held_out")
        return by_group(scores, key) if scores else {}

    def bits_per_byte(self) -> dict[str, float | None]:
        """CONTRACT.md's figures."""
        scores = self.scores()
        held, new, general = (scores.get(name) for name in _SETS)
        return {
            "held_out": bits_per_byte(held, "after"),
            "held_out_before": bits_per_byte(held, "before"),
            "held_out_fresh": bits_per_byte(held, "fresh"),
            "held_out_base": bits_per_byte(held, "base"),
            "new_notes": bits_per_byte(new, "after"),
            "new_notes_before": bits_per_byte(new, "before"),
            "general": bits_per_byte(general, "after"),
            "general_before": bits_per_byte(general, "before"),
            "general_base": bits_per_byte(general, "base"),
        }

    def _write(self) -> None:
        write_json(
            self.folder / MEASURED,
            {
                "job": self.digest,
                "written_in": self.written_in,
                "nats": self.nats,
                "chosen": self.chosen,
                "prequential": self.prequential,
                "new_text": self.new_text,
                "seconds_each": self.seconds_each,
                "scored_tokens": self.scored_tokens,
            },
        )

    def _read(self) -> bool:
        try:
            value = read_json(self.folder / MEASURED)
            if (value["job"], value["written_in"]) != (self.digest, self.written_in):
                return False
            chosen = value["chosen"]
            self.nats, self.prequential = value["nats"], value["prequential"]
            self.new_text = value["new_text"]
            self.seconds_each = float(value["seconds_each"])
            self.scored_tokens = int(value["scored_tokens"])
            self._keep_only(chosen)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True


def _written_in(dtype: str, device: str, parameters: int) -> Dtype:
    """The arithmetic that will write, by [mirror] dtype and device; float32 where none can now."""
    try:
        return choose_dtype(dtype, choose_device(device), parameters)
    except Unavailable:
        return "float32"
