"""Notes that are files of their own: Bear, Evernote, Notion, Joplin, and folders of text.

An Apple Notes export, by its own menu or by the Exporter app, is such a folder.
"""

from __future__ import annotations

import datetime
import json
import re
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import yaml

from vaultgpt.errors import UsageError, require_package
from vaultgpt.importing.source import Draft, Source, digest, wall_clock
from vaultgpt.vault.dates import named_date, property_date

NOTION_ID = re.compile(r"[ -]([0-9a-f]{32})(?:_all)?\.(?:md|csv)$")
_TEXTS = (".md", ".markdown", ".txt", ".text")
_IMAGE = re.compile(r"(!?)\[([^\]\n]*)\]\(<?([^)\s>]+(?: [^)\s>]+)*)>?(?: \"[^\"]*\")?\)")
_WIKI_IMAGE = re.compile(r"!\[\[([^\]|\n]+)(?:\|[^\]\n]*)?\]\]")
_FRONT = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_JOPLIN_END = re.compile(r"(?:\A|\n\n)((?:[a-z_]+:[^\n]*\n)*type_: (\d+)[ \t]*)\Z")
_JOPLIN_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(:/([0-9a-f]{32})(?:#[^)]*)?\)")
_BEAR_TAG = re.compile(r"(?<!\S)#([^\s#][^#\n]*[^\s#])#(?!\w)")
_PROPERTY = re.compile(r"([^\s:][^:\n]{0,40}): (\S[^\n]*)\n?")
_DATES = ("date", "created", "created_at", "creation date", "created time", "day")
_TIMES = ("updated", "modified", "last edited time")
_ENDS = (".jpg", ".jpeg", ".png", ".gif", ".heic", ".webp", ".tiff", ".svg")


def _linked(source: Source, name: str, text: str) -> str:
    """Its relative links as links to where the files lie; links to the web stay."""

    def relink(match: re.Match[str]) -> str:
        there = source.near(name, unquote(match[3]))
        return source.link(there, there.lower().endswith(_ENDS)) if there else match[0]

    def rewiki(match: re.Match[str]) -> str:
        there = source.named(match[1].strip())
        return source.link(there, there.lower().endswith(_ENDS)) if there else match[0]

    return _WIKI_IMAGE.sub(rewiki, _IMAGE.sub(relink, text))


def _first_heading(text: str) -> str:
    found = re.match(r"\s*# ([^\n]+)", text)
    return found[1].strip() if found else ""


# Folders ------------------------------------------------------------------------------------------


def folder(source: Source) -> Iterator[Draft]:
    """Markdown, text or HTML, a note a file; the date in its front matter or name."""
    for name in source.names:
        stem, end = PurePosixPath(name).stem, PurePosixPath(name).suffix.lower()
        if end in (".html", ".htm"):
            yield _file(source, name, stem, _markdown(source.text(name)))
        elif end in _TEXTS or (not end and not source.is_folder):
            yield _file(source, name, stem, source.text(name))


def _file(source: Source, name: str, stem: str, text: str) -> Draft:
    key, fields, body = f"file/{digest(stem, text)}", *_front(text)
    dated = named_date(stem)
    date = next((d for k in _DATES if (d := _moment(fields.pop(k, None)))), "")
    title = str(fields.pop("title", "") or "") or _first_heading(body)
    if not title:
        title = stem if dated is None else dated.rest
    tags = _listed(fields.pop("tags", None)) + _listed(fields.pop("tag", None))
    for name_ in _TIMES:
        fields.pop(name_, None)
    date = date or (dated.date if dated and dated.date else "") or source.time(name)
    return Draft(key, _linked(source, name, body).strip(), title, date, tags, fields)


def _front(text: str) -> tuple[dict[str, object], str]:
    """Front matter and the rest; what is no mapping stays text."""
    found = _FRONT.match(text)
    if found and len(found[1]) < 1 << 16:
        try:
            fields = yaml.safe_load(found[1])
        except (yaml.YAMLError, ValueError, RecursionError):
            fields = None
        if isinstance(fields, dict):
            return {str(k): v for k, v in fields.items()}, text[found.end() :]
    return {}, text


def _listed(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = re.split(r"[,\s]+", value) if "," not in value else value.split(",")
    values = value if isinstance(value, list) else []
    return tuple(str(v).strip().lstrip("#") for v in values if str(v).strip())


def _moment(value: Any) -> str:
    """A property's date, with its time where it is one."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            return wall_clock(value)
        return value.replace(microsecond=0).isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    found = property_date(str(value)) if value is not None else None
    return str(found.date) if found and found.date else ""


def _markdown(html: str) -> str:
    """HTML as Markdown by markdownify. UsageError with the command where it isn't installed."""
    require_package("markdownify", "Reading HTML", UsageError)
    from markdownify import markdownify

    options: Any = {"heading_style": "ATX", "bullets": "-", "strip": ["script", "style"]}
    made = str(markdownify(html, **options))
    return re.sub(r"\n{3,}", "\n\n", made.replace("\xa0", " ")).strip()


# Bear ---------------------------------------------------------------------------------------------


def bear(source: Source) -> Iterator[Draft]:
    """Text bundles, alone, in a folder or in a .bear2bk; or the Markdown that it exports."""
    texts = [n for n in source.names if re.search(r"(?:^|/)text\.(?:md|markdown|txt)$", n)]
    for name in texts:
        info = source.near(name, "info.json")
        try:
            whole = json.loads(source.text(info)) if info else {}
        except ValueError:
            whole = {}
        own = whole.get("net.shinyfrog.bear") if isinstance(whole, dict) else None
        own = own if isinstance(own, dict) else {}
        text = _linked(source, name, source.text(name)).strip()
        title = _first_heading(text) or PurePosixPath(name).parent.stem
        key = own.get("uniqueIdentifier") or digest(title, text)
        date = _moment(_stamp(own.get("creationDate")))
        yield Draft(f"bear/{key}", text, title, date, _bear_tags(text))
    if not texts:
        for draft in folder(source):
            tags = tuple(dict.fromkeys(draft.tags + _bear_tags(draft.text)))
            yield Draft(draft.key, draft.text, draft.title, draft.date, tags, draft.more)


def _bear_tags(text: str) -> tuple[str, ...]:
    """Tags of several words, "#like this#": Obsidian reads the others where they stand."""
    return tuple(dict.fromkeys(_BEAR_TAG.findall(text)))


def _stamp(value: Any) -> Any:
    try:
        return datetime.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return value


# Evernote -----------------------------------------------------------------------------------------


def evernote(source: Source) -> Iterator[Draft]:
    """ENEX files: notes in ENML, their files in base64, which stay there and are linked."""
    for name in (n for n in source.names if n.lower().endswith(".enex")):
        place = Source(source.place(name)) if source.is_folder else source
        try:
            with source.open(name) as stream:
                for _, element in xml.iterparse(stream):
                    if element.tag == "note":
                        yield _enex(place, element)
                    if element.tag in ("note", "resource"):
                        element.clear()
        except xml.ParseError:
            raise UsageError(f"{name} is no whole ENEX file.", "Export it again.") from None


def _enex(source: Source, note: xml.Element) -> Draft:
    title = (note.findtext("title") or "").strip()
    created = _stamp_of_enex(note.findtext("created") or "")
    content = note.findtext("content") or ""
    link = source.link(source.path.name, image=False)
    body = re.sub(r"<en-media[^>]*/?>(?:</en-media>)?", "ENMEDIA", content)
    body = re.sub(r'<en-todo[^>]*checked="true"[^>]*/?>(?:</en-todo>)?', "[x] ", body)
    body = re.sub(r"<en-todo[^>]*/?>(?:</en-todo>)?", "[ ] ", body)
    body = re.sub(r"<\?xml[^>]*>|<!DOCTYPE[^>]*>|</?en-note[^>]*>", "", body)
    text = _markdown(body).replace("ENMEDIA", link)
    tags = tuple(tag.text or "" for tag in note.findall("tag"))
    url = note.findtext("note-attributes/source-url")
    more: dict[str, object] = {"source": url} if url else {}  # clipped: not the author's words
    return Draft(f"evernote/{digest(title, created, content)}", text, title, created, tags, more)


def _stamp_of_enex(text: str) -> str:
    try:
        moment = datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        return ""
    return wall_clock(moment)


# Notion -------------------------------------------------------------------------------------------


def notion(source: Source) -> Iterator[Draft]:
    """ "Markdown & CSV": pages named by their id, properties in lines under the heading."""
    for name in source.names:
        if not (found := NOTION_ID.search(name)) or not name.endswith(".md"):
            continue
        text = source.text(name)
        title = _first_heading(text) or PurePosixPath(name).stem[: -len(found[1]) - 1]
        body = re.sub(r"\A\s*# [^\n]*\n?", "", text).lstrip("\n")
        fields, body = _properties(body)
        date = next((d for k in _DATES if (d := _moment(_plain(fields.get(k))))), "")
        tags = _listed([t for t in fields.get("tags", "").split(",") if t.strip()])
        url = fields.get("url")
        text = _linked(source, name, body).strip()
        yield Draft(f"notion/{found[1]}", text, title, date, tags, {"source": url} if url else {})


def _properties(body: str) -> tuple[dict[str, str], str]:
    """The lines "Name: value" before the first empty one, and the rest."""
    fields, at = {}, 0
    while found := _PROPERTY.match(body, at):
        fields[found[1].strip().lower()], at = found[2].strip(), found.end()
    whole = at == len(body) or body[at : at + 1] == "\n"
    return (fields, body[at:]) if whole else ({}, body)


def _plain(value: str | None) -> str | None:
    """ "March 3, 2021 4:20 PM" without its time, and the first of a range."""
    return re.split(r" \d{1,2}:\d\d| → ", value)[0] if value else None


# Joplin -------------------------------------------------------------------------------------------


def is_joplin(source: Source, name: str) -> bool:
    """Whether a file is one of Joplin's own: 32 hex digits, and its properties at the end."""
    return bool(re.search(r"(?:^|/)[0-9a-f]{32}\.md$", name)) and bool(
        _JOPLIN_END.search(source.text(name).rstrip("\n"))
    )


def joplin(source: Source) -> Iterator[Draft]:
    """JEX and RAW: every thing a file; notes are type 1, files 4, tags 5, tags of notes 6."""
    items = [i for n in source.names if n.endswith(".md") and (i := _joplin(source.text(n)))]
    tags = {i["id"]: i["body"].strip() for i in items if i["type_"] == "5"}
    of_note: dict[str, list[str]] = {}
    for item in (i for i in items if i["type_"] == "6"):
        if item.get("tag_id") in tags:
            of_note.setdefault(item.get("note_id", ""), []).append(tags[item["tag_id"]])
    files = {PurePosixPath(n).stem: n for n in source.names if "resources/" in n}

    def relink(match: re.Match[str]) -> str:
        there = files.get(match[3])
        return source.link(there, bool(match[1])) if there else match[0]

    for item in (i for i in items if i["type_"] == "1" and i.get("encryption_applied") != "1"):
        title, _, body = item["body"].partition("\n")
        created = item.get("user_created_time") or item.get("created_time") or ""
        text = _JOPLIN_LINK.sub(relink, body).strip()
        more: dict[str, object] = {}
        if url := item.get("source_url"):
            more["source"] = url
        tagged = tuple(of_note.get(item["id"], ()))
        key = f"joplin/{item['id']}"
        yield Draft(key, text, title.strip(), _moment(_stamp(created)), tagged, more)


def _joplin(text: str) -> dict[str, str] | None:
    """One item: its properties, and its text as `body`."""
    text = text.rstrip("\n")
    found = _JOPLIN_END.search(text)
    if not found:
        return None
    pairs = (line.partition(":") for line in found[1].splitlines())
    item = {key: value.strip() for key, _, value in pairs}
    return item | {"body": text[: found.start()]} if "id" in item else None
