"""What the page of one's voice shows beside what other tasks tell, and the link that opens it.

Knows nothing about HTTP or about how it is drawn.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import PurePosixPath
from urllib.parse import urlencode

from pydantic import Field
from typing_extensions import TypedDict

from vaultgpt.corpus.words import Word, norms, split_words
from vaultgpt.errors import NotFound, UsageError
from vaultgpt.ledger.rows import EntryRow
from vaultgpt.report.plot import series
from vaultgpt.tasks.forget import less_forgotten
from vaultgpt.tasks.request import Question
from vaultgpt.tasks.vault_service import Desk, Task
from vaultgpt.vault.census import reason
from vaultgpt.vault.reconcile import ScannedNote, read_one

_READ_WORDS = 200_000  # of the newest entries, in which refrains are looked for
_RUNS = (4, 8)  # words of a refrain, least and most
_LEAST_ENTRIES = 3  # in so many entries a run is a refrain
_MOST_REFRAINS = 12
_BLIND = (5, 2)  # pages shown, and of them the author's
_BLIND_WORDS = (8, 60)  # words that open a page, and of all of it
_MONTH_NOTES = 20  # of a month, in which surprises are looked for
_Run = tuple[str, ...]  # normal forms of words


class Link(TypedDict):
    """Opens the page once, within so many seconds."""

    url: str
    seconds: int


class _PhoneLink(TypedDict):
    """Pairs the plugin of a phone that opens `link`, which holds the other two."""

    link: str
    address: str
    token: str


class _LeftOut(TypedDict):
    """So many notes are left out by a rule."""

    code: str
    why: str
    notes: int


class _Surprise(TypedDict):
    """Bits per byte: of held-out pages by voice, or by round of notes before they were learned."""

    name: str
    mirror: float
    base: float | None


class _PageAnswer(TypedDict):
    """What the page draws. Months are "2021-06", "" for entries without a date."""

    months: dict[str, dict[str, int]]  # month -> tag -> words; the tag "" is all of them
    left_out: list[_LeftOut]
    held_out: list[_Surprise]
    new_notes: list[_Surprise]


def _page(desk: Desk, _asked: None) -> _PageAnswer:
    ledger = desk.ledger
    try:
        drawn = series(ledger)
        rows = drawn.generations, drawn.prequential
    except NotFound:
        rows = [], []
    held_out, new_notes = ([_Surprise(name=n, mirror=m, base=b) for n, m, b in r] for r in rows)
    return _PageAnswer(
        months=_months(desk),
        left_out=[
            _LeftOut(code=code, why=reason(code, count), notes=count)
            for code, count in ledger.notes.left_out().items()
        ],
        held_out=held_out,
        new_notes=new_notes,
    )


def _months(desk: Desk) -> dict[str, dict[str, int]]:
    months: dict[str, dict[str, int]] = {}
    for row in desk.ledger.entries.all():
        if row.live and row.words:
            month = months.setdefault((row.date or "")[:7], {})
            for tag in ("", *set(row.tags)):
                month[tag] = month.get(tag, 0) + row.words
    return dict(sorted(months.items()))


class _Refrain(TypedDict):
    """A turn as the author wrote it last, and in how many entries it stands."""

    text: str
    entries: int


class _Refrains(TypedDict):
    """The author's most repeated turns, which plain English does not have."""

    refrains: list[_Refrain]
    words: int  # that were read


def _refrains(desk: Desk, _asked: None) -> _Refrains:
    rows = [row for row in desk.ledger.entries.all() if row.live and row.words]
    rows.sort(key=lambda row: row.date or "", reverse=True)
    texts, read = [], 0
    for _, prose in _read(desk, rows):
        texts.append(prose)
        if (read := read + len(norms(prose))) >= _READ_WORDS:
            break
    return _Refrains(refrains=_turns(texts), words=read)


def _read(desk: Desk, rows: Iterable[EntryRow]) -> Iterator[tuple[EntryRow, str]]:
    """Each entry with its prose, of those that are still there and used."""
    seen: dict[str, dict[str | None, str]] = {}
    less = less_forgotten(desk.ledger)
    for row in rows:
        if row.path not in seen:
            seen[row.path] = _prose_of(desk, row.path, less)
        if prose := seen[row.path].pop(row.heading, ""):
            yield row, prose


def _prose_of(
    desk: Desk, path: str, less: Callable[[ScannedNote], ScannedNote]
) -> dict[str | None, str]:
    try:
        left = less(read_one(desk.state.vault, desk.settings.rules, path))
    except (NotFound, UsageError):
        return {}  # gone meanwhile
    return {e.heading: e.prose for e in left.note.entries} if left.judgement.used else {}


def _turns(texts: Sequence[str]) -> list[_Refrain]:
    """Runs of words in most entries, long ones first; none that is a part of another that is shown.

    Of the runs of four words only those in enough entries are gone on from, so that 200,000 words
    take megabytes, not hundreds of them."""
    places: dict[_Run, dict[int, tuple[int, int]]] = defaultdict(dict)
    begun = Counter(run for text in texts for run in {run for run, _ in _runs(text, _RUNS[:1])})
    common = {run for run, count in begun.items() if count >= _LEAST_ENTRIES}
    for at, text in enumerate(texts):
        for run, place in _runs(text, range(_RUNS[0], _RUNS[1] + 1), common):
            places[run].setdefault(at, place)
    known = [(run, found) for run, found in places.items() if len(found) >= _LEAST_ENTRIES]
    known.sort(key=lambda one: (-len(one[1]) * (len(one[0]) - 2), one[0]))
    shown: list[str] = []
    refrains: list[_Refrain] = []
    for run, found in known:
        words = f" {' '.join(run)} "
        if any(_overlap(words, other) for other in shown) or _plain(run):
            continue
        shown.append(words)
        at, (start, end) = next(iter(found.items()))
        refrains.append(_Refrain(text=texts[at][start:end], entries=len(found)))
        if len(refrains) == _MOST_REFRAINS:
            break
    return refrains


def _runs(
    text: str, lengths: Sequence[int], begun: Set[_Run] | None = None
) -> Iterator[tuple[_Run, tuple[int, int]]]:
    """Runs of so many of a line's words with their characters; they begin with one of `begun`."""
    offset = 0
    for line in text.splitlines(keepends=True):
        words = split_words(line)
        said = tuple(word.norm for word in words)
        for at in range(len(words) - _RUNS[0] + 1):
            if begun is not None and said[at : at + _RUNS[0]] not in begun:
                continue
            for last in (at + length - 1 for length in lengths if at + length <= len(words)):
                yield said[at : last + 1], (offset + words[at].start, offset + words[last].end)
        offset += len(line)


def _overlap(one: str, other: str) -> bool:
    """Whether two runs have three words in a row together, and so are one turn."""
    words = one.split()
    return any(f" {' '.join(words[at : at + 3])} " in other for at in range(len(words) - 2))


def _plain(run: _Run) -> bool:
    """Whether all of its parts of four words are everybody's, as "the end of the" is."""
    parts = (run[at : at + _RUNS[0]] for at in range(len(run) - _RUNS[0] + 1))
    return all(f" {' '.join(part)} " in _plain_english() for part in parts)


@cache
def _plain_english() -> str:
    """The words of the general text that comes with the embedded base."""
    packed = (files("vaultgpt") / "pebble" / "general_replay.jsonl.gz").read_bytes()
    texts = (json.loads(line)["text"] for line in gzip.decompress(packed).splitlines())
    return f" {' '.join(' '.join(norms(text)) for text in texts)} "


class _MonthRequest(Question):
    """A month that `months` of the page names: "2021-06", or "2021" where no more is known."""

    month: str = Field(pattern=r"^\d{4}(-\d{2})?$", description="As the page's months have it")


class _MonthNote(TypedDict):
    """An entry's prose, under which tags and date it is read, and what it is called."""

    name: str
    text: str
    tags: list[str]
    date: str


class _Month(TypedDict):
    """The newest entries of a month."""

    notes: list[_MonthNote]


def _month(desk: Desk, asked: _MonthRequest) -> _Month:
    rows = [
        row
        for row in desk.ledger.entries.all()
        if row.live and row.words and (row.date or "")[:7] == asked.month
    ]
    rows.sort(key=lambda row: row.date or "", reverse=True)
    return _Month(
        notes=[
            _MonthNote(
                name=row.heading or PurePosixPath(row.path).stem,
                text=prose,
                tags=list(row.tags),
                date=asked.month,
            )
            for row, prose in islice(_read(desk, rows), _MONTH_NOTES)
        ]
    )


class _BlindPage(TypedDict):
    """How a page that was held out from learning begins; `rest` goes on, of the author's two."""

    opening: str
    rest: str | None
    tags: list[str]
    date: str | None


class _Blind(TypedDict):
    """Five pages, in the order to be shown."""

    pages: list[_BlindPage]


def _blind(desk: Desk, _asked: None) -> _Blind:
    """NotFound where too few pages are held out."""
    rows = [row for row in desk.ledger.entries.all() if row.live and row.held_out == 1]
    random.shuffle(rows)
    pages: list[_BlindPage] = []
    for row, prose in _read(desk, rows):
        words = split_words(prose.strip())
        if len(words) >= _BLIND_WORDS[1] // 2:
            pages.append(_opened(row, prose.strip(), words, len(pages) < _BLIND[1]))
        if len(pages) == _BLIND[0]:
            random.shuffle(pages)
            return _Blind(pages=pages)
    raise NotFound(
        f"{_BLIND[0]} pages of some length must be held out from learning for this.",
        "Write on: of what is new, some is always held out.",
    )


def _opened(row: EntryRow, prose: str, words: Sequence[Word], own: bool) -> _BlindPage:
    """The opening ends between words: a mirror that is given part of one would write it anew."""
    at, last = words[_BLIND_WORDS[0]].start, words[: _BLIND_WORDS[1]][-1].end
    date = row.date[:7] if row.date else None
    rest = prose[at:last] if own else None
    return _BlindPage(opening=prose[:at], rest=rest, tags=list(row.tags), date=date)


REFRAINS = Task(
    "GET", "/v1/refrains", "The author's most repeated turns", None, _Refrains, work=_refrains
)
MONTH = Task(
    "GET",
    "/v1/month",
    "The prose of a month's newest entries, to look for its surprises in",
    _MonthRequest,
    _Month,
    work=_month,
)
BLIND = Task(
    "GET",
    "/v1/blind",
    "Five pages' openings, two with what the author wrote, for a blind test",
    None,
    _Blind,
    work=_blind,
)
PAGE = Task(
    "GET",
    "/v1/page",
    "Words by month and tag, what is left out and why, and how voices grew",
    None,
    _PageAnswer,
    work=_page,
)


def _phone(desk: Desk, _asked: None) -> _PhoneLink:
    """NotFound where no name is set for it."""
    name = desk.settings.server.phone
    if not name:
        raise NotFound(
            "No phone is let in.", "Give the name of your HTTPS proxy: docs/phone.md says how."
        )
    address, token = f"https://{name.lower()}", desk.state.phone_token()
    query = urlencode({"address": address, "token": token})
    return _PhoneLink(link=f"obsidian://vaultgpt?{query}", address=address, token=token)


PHONE = Task(
    "POST", "/v1/phone", "The link that pairs the author's phone", None, _PhoneLink, work=_phone
)
OPEN: Task[None, Link] = Task(
    "POST", "/v1/open", "A link that opens the page of one's voice, once", None, Link
)
