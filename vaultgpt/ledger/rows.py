"""What the ledger answers with. No row holds a word of the author's text."""

from __future__ import annotations

from dataclasses import dataclass, field

from vaultgpt.wire import CheckRow, ReportRow

GIVEN_UP = "given up"  # of a round's checks
WAITING = ("placeholder", "unreadable", "quarantined")  # codes of notes not here, but not gone
LearnedParagraph = tuple[str, str, int]  # entry id, paragraph digest, words


@dataclass(frozen=True)
class EntryRow:
    """One entry as the ledger knows it."""

    id: str
    path: str
    heading: str | None
    place: str  # keyed hash of path, heading and which of equal headings it is
    date: str | None
    tags: tuple[str, ...]
    words: int  # of prose
    held_out: int  # 0 no, 1 whole, 2 only its held_digests
    held_digests: tuple[str, ...]  # paragraphs held out of a long entry
    first_seen: float
    changed: float  # seconds; when its file was last written with other text
    used: bool  # the rules let it be used
    forgotten: bool
    absent_since: float | None

    @property
    def year(self) -> str | None:
        """The year of its date."""
        return self.date[:4] if self.date else None

    @property
    def live(self) -> bool:
        """In the vault now and to be used."""
        return self.used and not self.forgotten and self.absent_since is None


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of an entry: its keyed digest, its place among them, its words of prose."""

    entry: str
    digest: str
    position: int
    words: int
    first_seen: float
    waited: bool  # it was held out of a round already and is to be learned now


@dataclass(frozen=True)
class Pending:
    """Text that the active generation has not learned."""

    words: int
    notes: int
    ready_words: int  # of entries that have been quiet long enough
    ready_notes: int
    entries: dict[str, tuple[str, ...]] = field(default_factory=dict)  # ready: id -> new digests


@dataclass(frozen=True)
class GenerationRow:
    """One generation that was ever published."""

    id: str
    round: int
    kind: str
    parent: str | None
    base: str
    base_sha256: dict[str, str]
    created: float
    promoted: bool
    status: str  # "kept", "erased", "missing", "damaged" (set aside)
    rank_setting: int
    embedding_setting: bool
    words: int  # learned by it alone


@dataclass(frozen=True)
class RoundRow:
    """One round, open while `ended` is None."""

    number: int
    kind: str
    why: str
    started: float
    ended: float | None
    plan_digest: str
    promoted: bool | None
    verdict: str | None
    report: ReportRow | None
    checks: list[CheckRow]
    generation: str | None
    sampled: bool
    pending_words: int
    cause: str  # what made it due: "first", "forget", "new", ...

    @property
    def given_up(self) -> bool:
        """Whether a person ended it before its verdict."""
        return any(check["name"] == GIVEN_UP for check in self.checks)


@dataclass(frozen=True)
class ScoreRow:
    """How well a round's new text was foretold before it was learned, one entry."""

    round: int
    entry: str
    nats: float | None
    bytes: int | None
    base_nats: float | None


@dataclass
class Recorded:
    """What a scan changed."""

    notes: int = 0  # new ones, with other bytes, read or judged otherwise
    changed: int = 0  # entries with new or other text
    gone_notes: int = 0
    gone_words: int = 0  # of usable entries that are nowhere in the vault any more
    words_before: int = 0  # of usable entries, where enough notes are gone to ask
