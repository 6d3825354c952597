"""Which program made an export, and how each one's is read: Day One, jrnl, dated text.

The notebooks (Bear, Evernote, Notion, Joplin, folders of Markdown) are notebooks.py's.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypedDict, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vaultgpt.errors import UsageError
from vaultgpt.importing import notebooks
from vaultgpt.importing.source import Draft, Source, digest, wall_clock
from vaultgpt.vault.dates import heading_date

_Reader = Callable[[Source], Iterator[Draft]]
_JRNL = re.compile(
    r"^\[?(?P<date>\d{4}-\d\d-\d\d)[ T](?P<hour>\d{1,2}):(?P<minute>\d\d)(?::\d\d)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?\]?[ \t]+(?P<title>[^\n]*)$",
    re.MULTILINE,
)
_JRNL_TAG = re.compile(r"(?<!\S)@([\w-]+)")
_MOMENT = re.compile(r"!\[[^\]]*\]\(dayone-moment:/{1,2}(?:\w+/)?([\w-]+)\)")
_ESCAPED = re.compile(r"(?<=\S)\\([.!()+\-])")  # Day One escapes what Markdown seldom means


def read_source(path: Path, wanted: str = "", file_dates: bool = False) -> tuple[str, list[Draft]]:
    """The format's name and its notes, by date. UsageError where it can't be read or told.

    `file_dates`: of a folder, files without another date have that of their last change."""
    if not path.exists():
        raise UsageError(f"There is no {path}.", "Give the file or folder that was exported.")
    source = Source(path, file_dates)
    try:
        name = wanted or _format_of(source)
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise UsageError(f"There is no format {name!r}.", f"These are known: {known}.")
        drafts = [draft for draft in FORMATS[name](source) if draft.text.strip() or draft.title]
    finally:
        source.close()
    if not drafts:
        raise UsageError(f"{path} holds no notes that {name} would write.", "Say --from FORMAT.")
    return name, sorted(drafts, key=lambda draft: (draft.date, draft.key))


def _format_of(source: Source) -> str:
    """By what the export holds."""
    names, suffix = source.names, source.path.suffix.lower()
    ends = {PurePosixPath(name).suffix.lower() for name in names}
    if suffix == ".jex" or any(notebooks.is_joplin(source, name) for name in names[:50]):
        return "joplin"
    if ".enex" in ends:
        return "evernote"
    if suffix in (".textpack", ".textbundle") or any(".textbundle/" in name for name in names):
        return "bear"
    if ".json" in ends and not ends & {".md", ".txt"}:
        return _of_json(source)
    if any(notebooks.NOTION_ID.search(name) for name in names):
        return "notion"
    if len(names) == 1 and ends & {".txt", ".md", ".jrnl", ".text", ""}:
        return _of_text(source.text(names[0]))
    if ends & {".md", ".markdown", ".txt", ".text", ".html", ".htm"}:
        return "folder"
    raise UsageError(
        f"It can't be told which program made {source.path}.",
        f"Say --from with one of {', '.join(FORMATS)}.",
    )


def _of_json(source: Source) -> str:
    for name in source.names:
        entries = _entries(source, name) if name.endswith(".json") else []
        if entries:
            return "dayone" if "creationDate" in entries[0] else "jrnl"
    return "dayone"


def _of_text(text: str) -> str:
    if len(_JRNL.findall(text)) and _JRNL.match(text.lstrip()):
        return "jrnl"
    return "text" if len(list(_days(text))) > 1 else "folder"


# Day One ------------------------------------------------------------------------------------------


class _Media(TypedDict, total=False):
    identifier: str
    md5: str
    type: str | None
    format: str | None


class _JournalRecord(TypedDict, total=False):
    """An entry of Day One's or of jrnl's JSON, of what is read here."""

    text: str | None
    creationDate: str | None
    timeZone: str | None
    uuid: str | None
    tags: list[str] | None
    photos: list[_Media] | None
    videos: list[_Media] | None
    audios: list[_Media] | None
    pdfAttachments: list[_Media] | None
    # jrnl's
    title: str | None
    body: str | None
    date: str
    time: str


def _entries(source: Source, name: str) -> list[_JournalRecord]:
    with contextlib.suppress(ValueError, RecursionError):
        whole = json.loads(source.text(name))
        entries = whole.get("entries") if isinstance(whole, dict) else None
        if isinstance(entries, list):
            return [cast(_JournalRecord, entry) for entry in entries if isinstance(entry, dict)]
    return []


def _media(entry: _JournalRecord) -> dict[str, _Media]:
    """What an entry shows, by the name it has in its text."""
    kinds = (
        entry.get("photos"),
        entry.get("videos"),
        entry.get("audios"),
        entry.get("pdfAttachments"),
    )
    return {str(one.get("identifier")): one for kind in kinds for one in kind or ()}


def _dayone(source: Source) -> Iterator[Draft]:
    """Its JSON export: a file a journal, photos beside them under their MD5."""
    for name in source.names:
        for entry in _entries(source, name) if name.endswith(".json") else ():
            text = str(entry.get("text") or "")
            text = _with_photos(text, source, name, _media(entry))
            text = _ESCAPED.sub(r"\1", text).strip()
            date = _local(str(entry.get("creationDate") or ""), str(entry.get("timeZone") or ""))
            key = str(entry.get("uuid") or digest(date, text))
            tags = tuple(map(str, entry.get("tags") or ()))
            heading = re.match(r"# ([^\n]+)", text)
            yield Draft(f"dayone/{key}", text, heading[1] if heading else "", date, tags)


def _with_photos(text: str, source: Source, name: str, media: Mapping[str, _Media]) -> str:
    return _MOMENT.sub(lambda match: _moment(source, name, media, match[1]), text)


def _moment(source: Source, name: str, media: Mapping[str, _Media], identifier: str) -> str:
    """A photo that an entry shows, where it lies."""
    found = media.get(identifier, {})
    file = f"{found.get('md5', identifier)}.{found.get('type') or found.get('format') or 'jpeg'}"
    for folder in ("photos", "videos", "audios", "pdfs"):
        if there := source.near(name, f"{folder}/{file}"):
            return source.link(there, folder == "photos")
    return f"({file})"


def _local(stamp: str, zone: str = "") -> str:
    """A moment in UTC as the clock showed it there, or here where the zone isn't told."""
    try:
        moment = datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        try:
            return wall_clock(moment, ZoneInfo(zone) if zone else None)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return wall_clock(moment)
    except (ValueError, OverflowError):
        return ""


# jrnl ---------------------------------------------------------------------------------------------


def _jrnl(source: Source) -> Iterator[Draft]:
    """Its own file, `--format txt` and `--format json`."""
    for name in source.names:
        if name.endswith(".json"):
            for entry in _entries(source, name):
                title, body = str(entry.get("title") or ""), str(entry.get("body") or "")
                date = f"{entry.get('date', '')}T{str(entry.get('time', ''))[:5]:0>5}:00"
                tags = tuple(str(tag).lstrip("@") for tag in entry.get("tags") or ())
                yield _jrnl_note(title, body, date, tags)
            continue
        text = source.text(name)
        found = list(_JRNL.finditer(text))
        ends = [match.start() for match in found[1:]] + [len(text)]
        for match, end in zip(found, ends, strict=True):
            body = text[match.end() : end]
            tags = tuple(dict.fromkeys(_JRNL_TAG.findall(match["title"] + "\n" + body)))
            hour = int(match["hour"]) % 12 if match["half"] else int(match["hour"])
            hour += 12 if (match["half"] or "").lower() == "p" else 0
            date = f"{match['date']}T{hour:02d}:{match['minute']}:00"
            yield _jrnl_note(match["title"].removesuffix(" *"), body, date, tags)


def _jrnl_note(title: str, body: str, date: str, tags: tuple[str, ...]) -> Draft:
    """jrnl's title is the first sentence of the text: it stays where it was written."""
    text = f"{title.strip()}\n\n{body.strip()}".strip()
    return Draft(f"jrnl/{digest(date, text)}", text, "", date, tags)


# One long text ------------------------------------------------------------------------------------


def _days(text: str) -> Iterator[tuple[int, int, str, str]]:
    """(start of the line, end of it, date, what stands beside it) of each line that is a day."""
    for match in re.finditer(r"^(?:#{1,6}[ \t]+)?([^\n]{4,80})$", text, re.MULTILINE):
        found = heading_date(match[1])
        if found is not None and found.day and found.date:
            yield match.start(), match.end(), found.date, found.rest


def _text(source: Source) -> Iterator[Draft]:
    """Files of many days: a note a day. What stands before the first day has no date."""
    for name in source.names:
        text = source.text(name)
        days = [(0, 0, "", ""), *_days(text)]
        ends = [day[0] for day in days[1:]] + [len(text)]
        for (_, begin, date, title), end in zip(days, ends, strict=True):
            if body := text[begin:end].strip():
                yield Draft(f"text/{digest(date, title, body)}", body, title, date)


FORMATS: dict[str, _Reader] = {
    "dayone": _dayone,
    "jrnl": _jrnl,
    "bear": notebooks.bear,
    "evernote": notebooks.evernote,
    "notion": notebooks.notion,
    "joplin": notebooks.joplin,
    "folder": notebooks.folder,
    "text": _text,
}
