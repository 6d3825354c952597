"""A Round and the vault's current text into a Job: items with their roles and masks.

Forgotten text is cut, held-out text is kept apart, the mirror's own words and template text carry
no loss. Knows nothing about torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vaultgpt.config import Settings
from vaultgpt.corpus.runs import GUARD_WORDS, among, mask_ranges, run_hashes
from vaultgpt.corpus.words import split_words
from vaultgpt.ledger import EntryRow, Learned, Ledger
from vaultgpt.ledger.held_out import COPY_LEAST, ENTRY_WORDS, MOST_WORDS
from vaultgpt.ledger.paragraphs import TextParagraph, entry_places, split_paragraphs
from vaultgpt.training.plan import BaseInfo, fresh_entries, trainable_words
from vaultgpt.training.round import Item, Job, Role, Round
from vaultgpt.training.selection import Selection, select
from vaultgpt.vault.entry import Entry
from vaultgpt.vault.scan import ScannedNote

Range = tuple[int, int]


@dataclass(frozen=True)
class Places:
    """Where a job finds and leaves things."""

    out: Path
    parent: Path | None
    parent_id: str | None
    compare: dict[str, str]  # "before" and "fresh" -> folder of a generation on the same base
    general_heldout: Path | None
    general_replay: Path | None
    known: dict[str, dict[str, Any]] = field(default_factory=dict)  # as Job has it


@dataclass(frozen=True)
class Assembled:
    """A job, what it teaches once promoted, and what it holds out of this round only."""

    job: Job
    learned: list[Learned]
    waited: list[str]
    held_out: list[str]
    barred: list[str]  # paragraphs that hold a run of a forgotten note


@dataclass(frozen=True)
class _Doc:
    """An entry in the vault now; a round asks for the text of a few, 1.2 s for 200,000 words."""

    row: EntryRow
    entry: Entry
    key: bytes

    @cached_property
    def _document(self) -> tuple[str, list[Range]]:
        return self.entry.document()

    @property
    def text(self) -> str:
        return self._document[0]

    @property
    def masked(self) -> list[Range]:
        return self._document[1]

    @cached_property
    def pieces(self) -> list[TextParagraph]:
        return split_paragraphs(self.text, self.masked, self.key)


def build_job(
    ledger: Ledger,
    settings: Settings,
    base: BaseInfo,
    round_: Round,
    now: float,
    *,
    notes: Iterable[ScannedNote],
    places: Places,
    manual: bool = False,
) -> Assembled:
    """The job of `round_` over `notes`, which the ledger has just recorded.

    The same ledger, notes and round give the same job.
    """
    builder = _Builder(ledger)
    docs = builder.read(notes)
    if round_.kind == "incremental":
        ready = ledger.pending(now, 0.0 if manual else settings.schedule.quiet_s)
        chosen = select(ledger, ready, round_.seed)
    else:
        chosen = Selection(train=round_.entry_ids)
    items = builder.held_out(docs) + builder.learning(docs, chosen)
    if round_.kind == "fresh" and ledger.generations.active() is not None:
        items += builder.scored(docs, ledger.pending(now, 0.0).entries)
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
        settings=asdict(settings.training),
        words=trainable_words(ledger),
        out=str(places.out),
        guard_runs=str(ledger.state.runs),
        secret=ledger.key.hex(),
        writing=settings.mirror.dtype,
        writing_on=settings.mirror.device,
    )
    waited = [d for digests in chosen.new_held.values() for d in digests]
    held = [i.id for i in items if i.role == "held_out"]
    return Assembled(job, builder.learned, waited, held, sorted(builder.found_barred))


def author_pages(ledger: Ledger, notes: Iterable[ScannedNote]) -> tuple[list[Item], list[Item]]:
    """What a fresh round would learn of `notes` now, and what is held out: the author's own pages.

    The ledger has just recorded the notes. Masks, forgotten text and caps are those of a round.
    """
    builder = _Builder(ledger)
    docs = builder.read(notes)
    held = builder.held_out(docs)
    return builder.learning(docs, Selection(train=fresh_entries(ledger))), held


def _there(path: Path | None) -> str | None:
    return str(path) if path is not None and path.exists() else None


class _Builder:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.key = ledger.key
        self.emitted = ledger.emitted.lookup()
        self.templates = ledger.entries.templates()
        self.barred = ledger.forgotten.digests()
        self.barred_runs = ledger.forgotten.runs()
        self.first_seen = {
            p.digest: p.first_seen for ps in ledger.entries.paragraphs().values() for p in ps
        }
        self.held_digests: set[str] = set()
        self.learned: list[Learned] = []
        self.found_barred: set[str] = set()

    def read(self, notes: Iterable[ScannedNote]) -> dict[str, _Doc]:
        """Entry id -> its document as it stands in the vault now."""
        rows = {r.place: r for r in self.ledger.entries.all() if r.live}
        docs: dict[str, _Doc] = {}
        for scanned in notes:
            if not scanned.judgement.used:
                continue
            entries = scanned.note.entries
            for entry, place in zip(entries, entry_places(entries, self.key), strict=True):
                if place in rows:
                    docs[rows[place].id] = _Doc(rows[place], entry, self.key)
        return docs

    def held_out(self, docs: dict[str, _Doc]) -> list[Item]:
        """Held-out entries, at most 2,000 words of each and 50,000 in all."""
        dropped = self.ledger.entries.duplicates()
        items, left = [], MOST_WORDS
        for doc in sorted(docs.values(), key=lambda d: d.row.place):
            if not doc.row.held_out or doc.row.id in dropped:
                continue
            wanted = set(doc.row.held_digests)
            parts = [p for p in doc.pieces if doc.row.held_out == 1 or p.digest in wanted]
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

    def learning(self, docs: dict[str, _Doc], chosen: Selection) -> list[Item]:
        """What is trained on: for a fresh round all, else new, replayed and newly held out."""
        items: list[Item] = []
        for entry in chosen.train:
            items += self._learn(docs.get(entry), None, ())
        for entry, new in sorted(chosen.new.items()):
            items += self._learn(docs.get(entry), new, chosen.new_held.get(entry, ()))
        for entry, held in sorted(chosen.new_held.items()):
            if (doc := docs.get(entry)) is not None:
                parts = [p for p in doc.pieces if p.digest in set(held)]
                items.append(self._item(doc, "new_held_out", parts))
        held_now = {d for digests in chosen.new_held.values() for d in digests}
        for entry in chosen.replay:
            if (doc := docs.get(entry)) is not None:
                parts = [p for p in self._allowed(doc) if p.digest not in held_now]
                items.append(self._item(doc, "replay", parts))
        return [i for i in items if i.text.strip()]

    def scored(self, docs: dict[str, _Doc], new: dict[str, tuple[str, ...]]) -> list[Item]:
        """New text that a fresh round learns, to be foretold by the active generation first."""
        items = []
        for entry, digests in sorted(new.items()):
            if (doc := docs.get(entry)) is not None:
                parts = [p for p in self._allowed(doc) if p.digest in set(digests)]
                items.append(self._item(doc, "score", parts))
        return [i for i in items if i.text.strip()]

    def _learn(
        self, doc: _Doc | None, new: Sequence[str] | None, held: Sequence[str]
    ) -> list[Item]:
        if doc is None:
            return []
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
        for piece in doc.pieces:
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
        masked: list[Range] = []
        for start, end in doc.masked:
            if whole:
                masked.append((start, end))
                continue
            for p in parts:
                if start < p.end and end > p.start:
                    shift = shifts[p.start]
                    masked.append((max(start, p.start) - shift, min(end, p.end) - shift))
        new_ranges: list[Range] = []
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

    def _own(self, doc: _Doc, piece: TextParagraph) -> tuple[Range, ...]:
        """Ranges of a paragraph that the mirror wrote."""
        seen = self.first_seen.get(piece.digest)
        if seen is None or not self.emitted.lengths():
            return ()
        return mask_ranges(doc.text[piece.start : piece.end], seen, self.emitted)


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


def _merged(ranges: Iterable[Range]) -> list[Range]:
    out: list[Range] = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out
