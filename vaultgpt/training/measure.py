"""Everything a round measures: held-out sets under every model, new entries beforehand, copying.

A small round is judged on a part of the held-out text, of about its own size: it changes the rest
as little, and what a night of 800 new words scores would else be five times what it learns. The
part not scored carries its last figure on, times the change of what was. What was measured before
training is kept on disk for a resumed run. Knows nothing about verdicts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

from vaultgpt.corpus.runs import split_words
from vaultgpt.corpus.secrets import merge_ranges, outside
from vaultgpt.files import read_json, write_json
from vaultgpt.training.base import BaseModel
from vaultgpt.training.checkpoint import MEASURED
from vaultgpt.training.copying import copying, repeated
from vaultgpt.training.evaluate import (
    Segment,
    as_scores,
    bits_per_byte,
    by_entry,
    by_group,
    key_of,
    plain_segments,
    score,
    segments,
    spread,
    tokens_of,
)
from vaultgpt.training.loop import Stopped
from vaultgpt.training.lora import Adapter, load_adapter, merged
from vaultgpt.training.round import Item, Job, SegmentScores
from vaultgpt.training.streams import read_general

GENERAL_SEGMENTS = 40  # 10,000 tokens
# Segments that a small round is judged on, at least; as many held-out ones as it brings of its own.
# Nine weekly rounds of Thoreau, each begun at the adapter, 86 held-out segments: the bound on the
# change since the active generation lay at most 0.08 % up on all of them, 0.12 % on 24 drawn by
# hash, 0.15 % on 24 in whole entries; 0.2 % is allowed. A mean that goes on moves more evenly.
JUDGED_LEAST = {"held_out": 10, "general": 4}
SETS = ("held_out", "new_notes", "general")


class Measurer:
    """Scores of one round. `before` and `after` fill them; the rest reads them."""

    def __init__(self, job: Job, base: BaseModel, folder: Path, digest: str,
                 stop: threading.Event, say: Callable[..., None]) -> None:
        self.job, self.base, self.folder, self.digest = job, base, folder, digest
        self.stop, self.say = stop, say
        self.sets: dict[str, list[Segment]] = {
            "held_out": self.segments(i for i in job.items if i.role == "held_out"),
            "new_notes": self.segments(i for i in job.items if i.role == "new_held_out"),
            "general": spread(plain_segments(read_general(job.general_heldout, 400_000),
                                             base.encoder), GENERAL_SEGMENTS),
        }
        self.keys = {name: [key_of(s, bytes.fromhex(job.secret)) for s in found]
                     for name, found in self.sets.items()}
        roles = {"score"} | ({"train"} if job.round.kind == "incremental" else set())
        self.new = {i.id: only_new(i) for i in job.items if i.role in roles}
        self.new_segments = self.segments(self.new.values())  # about to be learned
        self.known, self.last = _known(job)
        self.judged = {name: self._judged(name) for name in SETS}  # one value a segment
        self.nats: dict[str, dict[str, list[float]]] = {name: {} for name in SETS}
        self.prequential: list[dict[str, Any]] = []
        self.new_text: dict[str, float] = {}  # as Report has it
        self.copied: dict[str, float] = {}
        self.last_weights: dict[str, float] = {}  # as Report has it
        self.seconds_each = 0.0  # of one model over all sets
        self.scored_tokens = 0  # read by all models so far, and drawn for `copying`

    def segments(self, items: Iterable[Item]) -> list[Segment]:
        """Segments of these items with the base's tokenizer."""
        return segments(items, self.base.encoder)

    def _judged(self, name: str) -> list[bool]:
        """Which segments are scored: all, or in a small round those of the lowest keyed hashes.

        Every tag that comes first in an entry has one of them, as far as half of them go. Those of
        a smaller round are mostly among those of a larger one, so that the active generation was
        scored on them. What it has no figure for is scored in any case.
        """
        keys = self.keys[name]
        if self.job.round.kind != "incremental" or name not in JUDGED_LEAST:
            return [True] * len(keys)
        least = JUDGED_LEAST[name]
        if name == "held_out":
            least = max(least, len(self.new_segments))
        lowest: dict[tuple[str, ...], str] = {}
        for key, segment in sorted(zip(keys, self.sets[name], strict=True), key=lambda p: p[0]):
            lowest.setdefault(segment.tags[:1], key)
        first = dict.fromkeys([*list(lowest.values())[: least // 2], *sorted(keys)])
        chosen = set(list(first)[:least])
        return [key in chosen or key not in self.last for key in keys]

    @property
    def seconds_to_come(self) -> float:
        """About how long `after` will take."""
        return self.seconds_each

    def before(self) -> None:
        """Score base, active and last fresh on every set, and new entries before they are learned.

        Results of an earlier run of the same job are taken from disk.
        """
        if self._read():
            return
        began = time.monotonic()
        self._score("base", None)
        self.seconds_each = time.monotonic() - began
        folders = {key: Path(self.job.compare[key]) for key in ("before", "fresh")
                   if key in self.job.compare}
        for key, folder in folders.items():
            same = next((k for k in folders if k != key and folders[k] == folder
                         and k in self.nats["held_out"]), None)
            if same is not None:
                for name in SETS:
                    self.nats[name][key] = self.nats[name][same]
            else:
                self._score(key, load_adapter(folder))
        self._foretell()
        self._write()

    def after(self, adapter: Adapter, last: Adapter | None = None) -> None:
        """Score the new adapter on every set; what is not judged goes as what is.

        Of the `last` weights, from which the next round goes on, one segment tells enough: gone
        astray, they are far worse than the base, and hardly seen in the mean yet.
        """
        self._score("after", adapter)
        if last is not None and any(self.judged["held_out"]):
            at = self.judged["held_out"].index(True)
            with merged(self.base, last):
                nats = self._nats([self.sets["held_out"][at]])[0]
            self.last_weights = {"nats": nats, "base_nats": self.nats["held_out"]["base"][at]}
        for name, judged in self.judged.items():
            if all(judged):
                continue
            before, after = (self.nats[name][model] for model in ("before", "after"))
            change = sum(compress(after, judged)) / sum(compress(before, judged))
            self.nats[name]["after"] = [nats if now else nats * change
                                        for nats, now in zip(after, judged, strict=True)]

    def _score(self, model: str, adapter: Adapter | None) -> None:
        """Fill `nats` under one model; what an earlier round scored is taken from there.

        What is not judged has the active generation's last figure, which may be one carried on.
        """
        known = dict(self.known.get(model, {}))
        if model in ("before", "after"):
            for name, keys in self.keys.items():
                known |= {key: self.last[key]
                          for key, now in zip(keys, self.judged[name], strict=True) if not now}
        missing = {name: [s for s, key in zip(found, self.keys[name], strict=True)
                          if key not in known] for name, found in self.sets.items()
                   if name != "new_notes" or model != "base"}  # held against "before" alone
        with merged(self.base, adapter if any(missing.values()) else None):
            fresh = {name: iter(self._nats(found, plain=adapter is None))
                     for name, found in missing.items()}
        for name, found in fresh.items():
            self.nats[name][model] = [known[key] if key in known else next(found)
                                      for key in self.keys[name]]

    def _nats(self, found: Sequence[Segment], *, plain: bool = False) -> list[float]:
        self.scored_tokens += tokens_of(found, plain=plain)
        return score(self.base, found, self._part, plain=plain)

    def _part(self, fraction: float) -> None:
        if self.stop.is_set():
            raise Stopped
        self.say("evaluate", fraction)

    def _foretell(self) -> None:
        """Nats of what is about to be learned, under the parent and under the base.

        Not of an entry's older paragraphs: the parent learned those, and would seem a prophet.
        """
        found = self.new_segments
        if not found:
            return
        base = list(by_entry(found, self._nats(found, plain=True)))
        parent = base
        folder = self.job.parent or self.job.compare.get("before")
        if folder:
            with merged(self.base, load_adapter(Path(folder))):
                parent = list(by_entry(found, self._nats(found)))
        self.prequential = [
            {"id": entry, "nats": nats, "bytes": size, "base_nats": plain}
            for (entry, nats, size), (_, plain, _) in zip(parent, base, strict=True)
        ]
        held = [i for i in self.job.items if i.role == "held_out"]
        if self.job.round.kind == "incremental" and held and "before" in self.nats["held_out"]:
            new = own_parts(self.new.values())
            words, held_words = (sum(len(split_words(part)) for part in parts)
                                 for parts in (new, own_parts(held)))
            self.new_text = {
                "word_nats": sum(nats for _, nats, _ in parent) / max(1, words),
                "held_out_word_nats": sum(self.nats["held_out"]["before"]) / max(1, held_words),
                "repeated": repeated(new),
            }

    def copying(self, adapter: Adapter) -> None:
        """Sample with the new adapter, the guard off, and compare with the author's training text.

        Not with what the mirror wrote there: saying that again copies nobody, and an author who
        accepts much would have every round refused.
        """
        self.say("measure", 0.0)
        if self.stop.is_set():
            raise Stopped
        learned = own_parts(i for i in self.job.items if i.role in ("train", "replay"))
        held_out = own_parts(i for i in self.job.items if i.role in ("held_out", "new_held_out"))
        prompts = self.sets["held_out"] or self.segments(
            [i for i in self.job.items if i.role == "train"][:64])
        with merged(self.base, adapter):
            self.copied = copying(self.base, prompts, learned, held_out, self.job.round.seed,
                                  few=self.job.round.kind == "incremental")
        self.scored_tokens += int(self.copied.get("tokens", 0))
        self.say("measure", 1.0)

    def scores(self) -> dict[str, SegmentScores]:
        """The sets that hold anything."""
        return {name: as_scores(found, self.nats[name], self.keys[name],
                                [at for at, now in enumerate(self.judged[name]) if not now])
                for name, found in self.sets.items() if found}

    def by_group(self, key: str) -> dict[str, dict[str, float]]:
        """Held-out bits per byte by "tags" or "years"."""
        scores = self.scores().get("held_out")
        return by_group(scores, key) if scores else {}

    def bits_per_byte(self) -> dict[str, float | None]:
        """CONTRACT.md's figures."""
        scores = self.scores()
        held, new, general = (scores.get(name) for name in SETS)
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
        write_json(self.folder / MEASURED, {
            "job": self.digest, "nats": self.nats, "prequential": self.prequential,
            "new_text": self.new_text,
            "seconds_each": self.seconds_each, "scored_tokens": self.scored_tokens,
        })

    def _read(self) -> bool:
        try:
            value = read_json(self.folder / MEASURED)
            if value["job"] != self.digest:
                return False
            self.nats, self.prequential = value["nats"], value["prequential"]
            self.new_text = value["new_text"]
            self.seconds_each = float(value["seconds_each"])
            self.scored_tokens = int(value["scored_tokens"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True


def only_new(item: Item) -> Item:
    """The entry with everything masked that is not new in it."""
    if not item.new_ranges:
        return item
    old, at = [], 0
    for start, end in sorted(item.new_ranges):
        old.append((at, start))
        at = max(at, end)
    masked = merge_ranges([*item.masked, *old, (at, len(item.text))])
    return replace(item, masked=tuple(masked))


def own_parts(items: Iterable[Item]) -> list[str]:
    """The stretches of these items outside their masked ranges."""
    return [part for item in items for part in outside(item.text, item.masked)]


def _known(job: Job) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Model -> key of a segment -> nats measured in the rounds that made the generations compared.

    Beside it the active generation's last figures, measured or carried on.
    """
    found: dict[str, dict[str, float]] = {"base": {}}
    last: dict[str, float] = {}
    for model, sets in job.known.items():
        mine = found.setdefault(model, {})
        for scores in sets.values():
            nats, keys = scores.get("nats", {}), scores.get("keys", [])
            if len(nats.get("base", [])) == len(keys):
                found["base"].update(zip(keys, nats["base"], strict=True))
            if len(nats.get("after", [])) != len(keys):
                continue
            carried = set(scores.get("carried", []))
            mine.update((key, value) for at, (key, value)
                        in enumerate(zip(keys, nats["after"], strict=True)) if at not in carried)
            if model == "before":
                last.update(zip(keys, nats["after"], strict=True))
    return found, last
