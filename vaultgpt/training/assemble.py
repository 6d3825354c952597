"""A Round and the vault's current text into a Job: items with their roles and masks.

Forgotten text is cut, held-out text is kept apart, the mirror's own words and template text carry
no loss. Knows nothing about torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

from vaultgpt.bases.model import Base
from vaultgpt.corpus.runs import GUARD_WORDS, among, run_hashes
from vaultgpt.corpus.words import split_words
from vaultgpt.ledger import EntryRow, LearnedParagraph, Ledger
from vaultgpt.ledger.held_out import COPY_LEAST, ENTRY_WORDS, MOST_WORDS
from vaultgpt.ledger.paragraphs import TextParagraph, entry_places, split_paragraphs
from vaultgpt.settings import Rules, Settings
from vaultgpt.training.plan import fresh_entries
from vaultgpt.training.round import Item, Job, Role, Round
from vaultgpt.training.selection import Selection, select
from vaultgpt.vault.entry import Entry
from vaultgpt.vault.reconcile import Changes, ScannedNote, read_some
from vaultgpt.wire import SegmentsRow

_Range = tuple[int, int]
_SOME_NOTES = 200  # that are held at once
_MANY = 1_000  # notes: of so many, and of most of a vault, the folders are listed instead
# Words that a fresh round foretells at most. After a first voice nearly all of a vault is new:
# 94,000 of the 124,000 characters that a round on the example vault learned.
_FORETOLD_WORDS = 5_000


@dataclass(frozen=True)
class Places:
    """Where a job finds and leaves things."""

    out: Path
    parent: Path | None
    parent_id: str | None
    compare: dict[str, str]  # "before" and "fresh" -> folder of a generation on the same base
    general_heldout: Path | None
    general_replay: Path | None
    known: dict[str, dict[str, SegmentsRow]] = field(default_factory=dict)  # as Job has it


@dataclass(frozen=True)
class Assembled:
    """A job, what it teaches once promoted, and what it holds out of this round only."""

    job: Job
    learned: list[LearnedParagraph]
    waited: list[str]
    held_out: list[str]
    barred: list[str]  # paragraphs that hold a run of a forgotten note


class _ReadNotes(Protocol):
    """Gives the notes at these paths as they stand now, a few at a time; all for None."""

    def __call__(self, paths: Sequence[str] | None) -> Iterable[ScannedNote]: ...


@dataclass(frozen=True)
class _Doc:
    """An entry in the vault now, and when each of its paragraphs was seen first.

    What the ledger does not know yet is written after the scan that it rests on: it waits."""

    row: EntryRow
    entry: Entry
    seen: dict[str, float]
    key: bytes

    @cached_property
    def _document(self) -> tuple[str, list[_Range]]:
        return self.entry.document()

    @property
    def text(self) -> str:
        return self._document[0]

    @property
    def masked(self) -> list[_Range]:
        return self._document[1]

    @cached_property
    def pieces(self) -> list[TextParagraph]:
        return split_paragraphs(self.text, self.masked, self.key)


def build_job(
    ledger: Ledger,
    settings: Settings,
    base: Base,
    round_: Round,
    now: float,
    *,
    read: _ReadNotes,
    places: Places,
    manual: bool = False,
) -> Assembled:
    """The job of `round_` over the vault, which the ledger has just recorded.

    The same ledger, notes and round give the same job. Of a small round the notes that it learns
    from or is judged by are read, and no others; no more than a few are held at once."""
    builder = _Builder(ledger, read)
    if round_.kind == "incremental":
        ready = ledger.pending(now, 0.0 if manual else settings.schedule.quiet_s)
        chosen = select(ledger, ready, round_.seed)
    else:
        chosen = Selection(train=round_.entry_ids)
    items = builder.held_out() + builder.learning(chosen)
    if round_.kind == "fresh" and ledger.generations.active() is not None:
        items += builder.scored(_newest(ledger, ledger.pending(now, 0.0).entries))
    job = Job(
        round=round_,
        base=str(base.folder),
        base_name=base.name,
        base_revision=base.revision,
        base_sha256=dict(base.sha256),
        parent=str(places.parent) if places.parent else None,
        parent_id=places.parent_id,
        compare=places.compare,
        known=places.known,
        items=tuple(items),
        general_heldout=_there(places.general_heldout),
        general_replay=_there(places.general_replay),
        settings=settings.training,
        words=ledger.entries.usable_words(copies=False),
        out=str(places.out),
        secret=ledger.key.hex(),
        writing=settings.mirror.dtype,
        writing_on=settings.mirror.device,
    )
    waited = [d for digests in chosen.new_held.values() for d in digests]
    held = [i.id for i in items if i.role == "held_out"]
    return Assembled(job, builder.learned, waited, held, sorted(builder.found_barred))


def _newest(ledger: Ledger, new: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Of these entries those of the last days, up to `_FORETOLD_WORDS`."""
    rows = ledger.entries.named(sorted(new)).values()
    chosen, words = {}, 0
    for row in sorted(rows, key=lambda row: (_day(row), row.place), reverse=True):
        if words >= _FORETOLD_WORDS:
            break
        chosen[row.id] = new[row.id]
        words += row.words
    return chosen


def _day(row: EntryRow) -> str:
    return row.date or time.strftime("%Y-%m-%d", time.gmtime(max(0.0, row.changed)))


def author_pages(ledger: Ledger, rules: Rules) -> tuple[list[Item], list[Item]]:
    """What a fresh round would learn now, and what is held out: the author's own pages.

    The ledger has just recorded the vault. Masks, forgotten text and caps are those of a round."""
    builder = _Builder(ledger, reader(ledger.state.vault, rules))
    held = builder.held_out()
    return builder.learning(Selection(train=fresh_entries(ledger))), held


def reader(vault: Path, rules: Rules) -> _ReadNotes:
    """How a round reads its notes: those at some paths, or all of them."""

    def read(paths: Sequence[str] | None) -> Iterable[ScannedNote]:
        if paths is not None:
            return read_some(vault, rules, paths)
        every = Changes(vault, rules, lambda some: {})
        return chain.from_iterable(every.parts())

    return read


def _there(path: Path | None) -> str | None:
    return str(path) if path is not None and path.exists() else None


class _Builder:
    def __init__(self, ledger: Ledger, read: _ReadNotes) -> None:
        self.ledger, self._read = ledger, read
        self.key = ledger.key
        self.emitted = ledger.emitted.lookup()
        self.templates = ledger.entries.templates()
        self.barred = ledger.forgotten.digests()
        self.barred_runs = ledger.forgotten.runs()
        self.held_digests: set[str] = set()
        self.learned: list[LearnedParagraph] = []
        self.found_barred: set[str] = set()

    def _docs(self, rows: Iterable[EntryRow]) -> Iterator[_Doc]:
        """Their documents as they stand in the vault now, note by note in the order of paths."""
        places = {row.place: row for row in rows if row.live}
        paths = sorted({row.path for row in places.values()})
        whole = len(paths) > _MANY and 2 * len(paths) > self.ledger.notes.count()
        for notes in _some(self._read(None if whole else paths)):
            found = [
                (places[place], entry)
                for scanned in notes
                if scanned.judgement.used
                for entry, place in zip(
                    scanned.note.entries, entry_places(scanned.note.entries, self.key), strict=True
                )
                if place in places
            ]
            known = self.ledger.entries.paragraphs([row.id for row, _ in found])
            for row, entry in found:
                seen = {p.digest: p.first_seen for p in known.get(row.id, ())}
                yield _Doc(row, entry, seen, self.key)

    def _known(self, doc: _Doc) -> list[TextParagraph]:
        """Its paragraphs that the ledger has recorded, those too that memory.jsonl alone told of,
        which have no time."""
        others = {p.digest for p in doc.pieces} - doc.seen.keys()
        if others:
            others &= {digest for digest, _ in self.ledger.entries.digests_of(doc.row.id)}
        return [p for p in doc.pieces if p.digest in doc.seen or p.digest in others]

    def held_out(self) -> list[Item]:
        """Held-out entries, at most 2,000 words of each and 50,000 in all."""
        items, left = [], MOST_WORDS
        for doc in sorted(self._docs(self.ledger.entries.held()), key=lambda d: d.row.place):
            wanted = set(doc.row.held_digests)
            parts = [p for p in self._known(doc) if doc.row.held_out == 1 or p.digest in wanted]
            self.held_digests |= {p.digest for p in parts if p.words >= COPY_LEAST}
            chosen: list[TextParagraph] = []
            words = 0
            for piece in parts:
                if words + piece.words > min(ENTRY_WORDS, left) and chosen:
                    break
                chosen.append(piece)
                words += piece.words
            if words and left > 0:
                left -= words
                items.append(self._item(doc, "held_out", chosen))
        return [i for i in items if i.text.strip()]

    def learning(self, chosen: Selection) -> list[Item]:
        """What is trained on: for a fresh round all, else new, replayed and newly held out."""
        named = {*chosen.train, *chosen.new, *chosen.new_held, *chosen.replay}
        train, replay = set(chosen.train), {entry: n for n, entry in enumerate(chosen.replay)}
        held_now = {d for digests in chosen.new_held.values() for d in digests}
        found: dict[str, list[Item]] = {"train": [], "new": [], "new_held_out": [], "replay": []}
        for doc in self._docs(self.ledger.entries.named(sorted(named)).values()):
            entry, held = doc.row.id, set(chosen.new_held.get(doc.row.id, ()))
            if entry in train:
                found["train"] += self._learn(doc, None, ())
            if entry in chosen.new:
                found["new"] += self._learn(doc, chosen.new[entry], tuple(held))
            if held:
                parts = [p for p in self._known(doc) if p.digest in held]
                found["new_held_out"].append(self._item(doc, "new_held_out", parts))
            if entry in replay:
                parts = [p for p in self._allowed(doc) if p.digest not in held_now]
                found["replay"].append(self._item(doc, "replay", parts))
        self.learned.sort(key=lambda one: one[0])
        again = sorted(found.pop("replay"), key=lambda item: replay[item.id])
        items = [item for some in found.values() for item in _by_id(some)] + again
        return [item for item in items if item.text.strip()]

    def scored(self, new: dict[str, tuple[str, ...]]) -> list[Item]:
        """New text that a fresh round learns, to be foretold by the active generation first."""
        items = []
        for doc in self._docs(self.ledger.entries.named(sorted(new)).values()):
            wanted = set(new[doc.row.id])
            parts = [p for p in self._allowed(doc) if p.digest in wanted]
            items.append(self._item(doc, "score", parts))
        return [i for i in _by_id(items) if i.text.strip()]

    def _learn(self, doc: _Doc, new: Sequence[str] | None, held: Sequence[str]) -> list[Item]:
        parts = [p for p in self._allowed(doc) if p.digest not in set(held)]
        wanted = set(new) if new is not None else None
        if wanted is not None and not any(p.digest in wanted for p in parts):
            return []  # an entry without new_ranges would be learned whole
        for digest, words in {p.digest: p.words for p in parts}.items():
            if words and digest not in self.templates and (wanted is None or digest in wanted):
                self.learned.append((doc.row.id, digest, words))
        return [self._item(doc, "train", parts, wanted)]

    def _allowed(self, doc: _Doc) -> list[TextParagraph]:
        """The paragraphs that may be read: not held out, not forgotten, here or in any copy."""
        kept = []
        for piece in self._known(doc):
            if piece.digest in self.held_digests or piece.digest in self.barred:
                continue
            if len(self.barred_runs):
                words = [w.norm for w in split_words(doc.text[piece.start : piece.end])]
                if among(run_hashes(words, GUARD_WORDS, self.key), self.barred_runs).any():
                    self.found_barred.add(piece.digest)
                    continue
            kept.append(piece)
        return kept

    def _item(
        self, doc: _Doc, role: Role, parts: Sequence[TextParagraph], new: set[str] | None = None
    ) -> Item:
        """The entry with only these paragraphs, and the ranges of it that carry no loss."""
        kept = {(p.start, p.end) for p in parts}
        whole = len(kept) == len(doc.pieces)
        text, shifts = (doc.text, {p.start: 0 for p in parts}) if whole else _cut(doc.text, parts)
        masked: list[_Range] = []
        for start, end in doc.masked:
            if whole:
                masked.append((start, end))
                continue
            for p in parts:
                if start < p.end and end > p.start:
                    shift = shifts[p.start]
                    masked.append((max(start, p.start) - shift, min(end, p.end) - shift))
        new_ranges: list[_Range] = []
        for p in parts:
            at = p.start - shifts[p.start]
            masked += [(at + s, at + e) for s, e in self._own(doc, p)]
            if p.digest in self.templates:
                masked.append((at, p.end - shifts[p.start]))
            elif new is not None and p.digest in new:
                new_ranges.append((at, p.end - shifts[p.start]))
        entry = doc.entry
        return Item(
            doc.row.id,
            role,
            text,
            tuple(_merged(masked)),
            entry.title,
            entry.date,
            entry.tags,
            tuple(new_ranges),
        )

    def _own(self, doc: _Doc, piece: TextParagraph) -> tuple[_Range, ...]:
        """Ranges of a paragraph that the mirror wrote."""
        seen = doc.seen.get(piece.digest)
        if seen is None or not self.emitted.lengths():
            return ()
        return self.emitted.mask_ranges(doc.text[piece.start : piece.end], seen)


def _by_id(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: item.id)


def _some(notes: Iterable[ScannedNote]) -> Iterator[list[ScannedNote]]:
    """A few notes at a time."""
    rest = iter(notes)
    while some := [*islice(rest, _SOME_NOTES)]:
        yield some


def _cut(text: str, parts: Sequence[TextParagraph]) -> tuple[str, dict[int, int]]:
    """Only these paragraphs, a blank line between them; start -> how far each moved to the left."""
    out: list[str] = []
    shifts, at = {}, 0
    for piece in parts:
        shifts[piece.start] = piece.start - at
        body = text[piece.start : piece.end]
        out.append(body)
        at += len(body) + 2
    return "\n\n".join(out), shifts


def _merged(ranges: Iterable[_Range]) -> list[_Range]:
    out: list[_Range] = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out
