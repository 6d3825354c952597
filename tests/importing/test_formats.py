"""Exports made to the schemas that their programs publish, read into notes."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vaultgpt.errors import UsageError
from vaultgpt.importing.formats import read_source
from vaultgpt.importing.source import Draft


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def folder(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    return path


def only(path: Path, wanted: str) -> Draft:
    name, (draft,) = read_source(path)
    assert name == wanted
    return draft


DAY_ONE: dict[str, Any] = {
    "metadata": {"version": "1.0"},
    "entries": [
        {
            "uuid": "F00D5A3F0C1D4B6E8A9B0C1D2E3F4A5B",
            "creationDate": "2019-03-03T23:30:00Z",
            "timeZone": "Europe/Berlin",
            "text": "# At the weir\n\nWe walked home\\. ![](dayone-moment://AB12)\n\nThen rain\\.",
            "tags": ["walks", "Long Walk"],
            "photos": [{"identifier": "AB12", "md5": "aa11", "type": "jpeg"}],
        },
        {
            "uuid": "E2",
            "creationDate": "2020-01-01T10:00:00Z",
            "timeZone": "Nowhere/At",
            "text": "",
        },
    ],
}


def test_day_one_by_its_own_clock_with_photos_where_they_lie(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"Journal.json": json.dumps(DAY_ONE), "photos/aa11.jpeg": b"x"}
    draft = only(zipped(tmp_path / "Export.zip", files), "dayone")
    assert draft.key == "dayone/F00D5A3F0C1D4B6E8A9B0C1D2E3F4A5B"
    assert (draft.date, draft.title) == ("2019-03-04T00:30:00", "At the weir")
    assert draft.tags == ("walks", "Long Walk")
    assert draft.text.endswith("Then rain.") and "walked home." in draft.text
    assert f"[aa11.jpeg](file://{tmp_path}/Export.zip)" in draft.text
    with zipfile.ZipFile(tmp_path / "Export.zip") as archive:
        archive.extractall(tmp_path / "open")
    assert f"![aa11.jpeg](file://{tmp_path}/open/photos/aa11.jpeg)" in (
        only(tmp_path / "open", "dayone").text
    )


def test_jrnl_as_text_and_as_json(tmp_path: Path) -> None:
    """Result: both give the same two notes, under the same keys."""
    text = tmp_path / "journal.txt"
    text.write_text(
        "[2012-03-29 06:30 PM] Saw the heron. *\nIt stood @river all day.\n\n"
        "[2012-04-01 09:05 AM] Nothing.\n"
    )
    _, plain = read_source(text)
    assert [d.date for d in plain] == ["2012-03-29T18:30:00", "2012-04-01T09:05:00"]
    assert plain[0].text == "Saw the heron.\n\nIt stood @river all day."
    assert plain[0].tags == ("river",) and plain[0].key.startswith("jrnl/")
    entries = [
        {
            "title": "Saw the heron.",
            "body": "It stood @river all day.",
            "date": "2012-03-29",
            "time": "18:30",
            "tags": ["@river"],
            "starred": True,
        },
        {"title": "Nothing.", "body": "", "date": "2012-04-01", "time": "09:05", "tags": []},
    ]
    path = tmp_path / "jrnl.json"
    path.write_text(json.dumps({"tags": {"@river": 1}, "entries": entries}))
    name, exported = read_source(path)
    assert name == "jrnl" and [d.key for d in exported] == [d.key for d in plain]


def test_bear_bundles_with_their_dates_and_tags_of_many_words(tmp_path: Path) -> None:
    info = {
        "type": "net.daringfireball.markdown",
        "net.shinyfrog.bear": {
            "uniqueIdentifier": "BEAR-1",
            "creationDate": "2017-05-06T08:00:00+00:00",
        },
    }
    text = "# On ice\n#winter #far north# It held. ![](assets/ice%20floe.png)\n"
    files: dict[str, str | bytes] = {
        "On ice.textbundle/info.json": json.dumps(info),
        "On ice.textbundle/text.md": text,
        "On ice.textbundle/assets/ice floe.png": b"x",
    }
    draft = only(zipped(tmp_path / "All.bear2bk", files), "bear")
    assert (draft.key, draft.title, draft.date[:10]) == ("bear/BEAR-1", "On ice", "2017-05-06")
    assert draft.tags == ("far north",) and "#winter" in draft.text
    assert f"[ice floe.png](file://{tmp_path}/All.bear2bk)" in draft.text


ENEX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE en-export SYSTEM "http://xml.evernote.com/pub/evernote-export4.dtd">
<en-export export-date="20240101T000000Z" application="Evernote">
<note><title>Plums &amp; rain</title><created>20150809T120000Z</created>
<tag>kitchen</tag><tag>late summer</tag>
<content><![CDATA[<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE en-note SYSTEM "http://xml.evernote.com/pub/enml2.dtd">
<en-note><div>I stoned <b>nine</b> plums.</div><ul><li>jam</li></ul>
<div><en-todo checked="true"/>sugar</div><en-media hash="ab" type="image/png"/></en-note>]]>
</content>
<resource><data encoding="base64">%s</data><mime>image/png</mime></resource></note>
<note><title>Clipped</title><created>20160101T000000Z</created>
<content><![CDATA[<en-note><p>Their words.</p></en-note>]]></content>
<note-attributes><source>web.clip</source><source-url>https://a.example/x</source-url>
</note-attributes></note></en-export>
"""


def test_evernote_as_markdown_and_clippings_as_others_words(tmp_path: Path) -> None:
    path = tmp_path / "Notes.enex"
    path.write_text(ENEX % base64.b64encode(b"x" * 99).decode())
    name, (own, clipped) = read_source(path)
    assert name == "evernote" and own.title == "Plums & rain" and own.date[:7] == "2015-08"
    assert own.tags == ("kitchen", "late summer") and own.key.startswith("evernote/")
    assert "I stoned **nine** plums." in own.text and "- jam" in own.text
    assert "[x] sugar" in own.text and f"[Notes.enex](file://{path})" in own.text
    assert clipped.more == {"source": "https://a.example/x"} and not own.more


def test_without_markdownify_the_command_that_brings_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Notes.enex").write_text(ENEX % "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package markdownify") as caught:
        read_source(tmp_path / "Notes.enex")
    assert "pip install markdownify" in caught.value.mend


def test_notion_pages_with_their_properties(tmp_path: Path) -> None:
    """As it packs them: a zip in a zip, names with ids, properties in lines."""
    one = "0123456789abcdef0123456789abcdef"
    page = (
        "# The ferry\n\nCreated: March 3, 2021 4:20 PM\nTags: travel, old boats\n\n"
        "It was late. ![deck](The%20ferry/deck.jpg)\n"
    )
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr(f"Log/The ferry {one}.md", page)
        archive.writestr("Log/The ferry/deck.jpg", b"x")
        archive.writestr(f"Log {one}.csv", "a,b\n")
    draft = only(zipped(tmp_path / "Export.zip", {"Part-1.zip": inner.getvalue()}), "notion")
    assert (draft.key, draft.title, draft.date) == (f"notion/{one}", "The ferry", "2021-03-03")
    assert draft.tags == ("travel", "old boats")
    assert draft.text == f"It was late. [deck.jpg](file://{tmp_path}/Export.zip)"


def joplin_items() -> dict[str, str]:
    note, tag, file, link = ("".join([c] * 32) for c in "abcd")
    return {
        f"{note}.md": (
            f"A title\n\nThe text: ![p](:/{file})\n\nid: {note}\nparent_id: \n"
            "created_time: 2018-02-03T04:05:06.000Z\nuser_created_time: 2018-02-03T14:05:06.000Z\n"
            "source_url: \nencryption_applied: 0\ntype_: 1"
        ),
        f"{tag}.md": f"sea\n\nid: {tag}\ntype_: 5",
        f"{link}.md": f"id: {link}\nnote_id: {note}\ntag_id: {tag}\ntype_: 6",
        f"{file}.md": f"p.png\n\nid: {file}\nmime: image/png\ntype_: 4",
        f"resources/{file}.png": "x",
    }


def test_joplin_as_jex_and_as_raw(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.jex", "w") as archive:
        for name, text in joplin_items().items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    packed = only(tmp_path / "all.jex", "joplin")
    raw = only(folder(tmp_path / "raw", joplin_items()), "joplin")
    assert packed.key == raw.key == "joplin/" + "a" * 32
    assert (packed.title, packed.date[:10], packed.tags) == ("A title", "2018-02-03", ("sea",))
    assert f"(file://{tmp_path}/all.jex)" in packed.text
    assert f"](file://{tmp_path}/raw/resources/{'c' * 32}.png)" in raw.text


def test_a_folder_of_files_with_and_without_dates(tmp_path: Path) -> None:
    """As Apple Notes and many others write: Markdown, HTML, text; dates in names or properties."""
    place = folder(
        tmp_path / "notes",
        {
            "2014-05-06.txt": "Rain all day.",
            "14 March 2015 The mill.md": "It burned. ![[burnt.png]]",
            "Attachments/burnt.png": "x",
            "Plain.md": "---\ncreated: 2016-07-08 09:10:11\ntags: [a, b c]\n"
            "vaultgpt: false\n---\nHm.",
            "Page.html": "<html><body><h1>Page</h1><p>Some <i>words</i>.</p></body></html>",
        },
    )
    name, drafts = read_source(place)
    by_title = {d.title: d for d in drafts}
    assert name == "folder" and len(drafts) == 4
    assert by_title[""].date == "2014-05-06" and by_title["The mill"].date == "2015-03-14"
    assert f"![burnt.png](file://{place}/Attachments/burnt.png)" in by_title["The mill"].text
    plain = by_title["Plain"]
    assert plain.date == "2016-07-08T09:10:11" and plain.tags == ("a", "b c")
    assert plain.more == {"vaultgpt": False} and not by_title["Page"].date
    os.utime(place / "Page.html", (1_500_000_000, 1_500_000_000))
    _, again = read_source(place, file_dates=True)
    assert sorted(d.date[:7] for d in again) == ["2014-05", "2015-03", "2016-07", "2017-07"]
    assert by_title["Page"].text == "# Page\n\nSome *words*."


def test_one_long_text_is_a_note_a_day(tmp_path: Path) -> None:
    path = tmp_path / "diary.txt"
    path.write_bytes(
        b"For nobody.\r\n\r\n3 May 2001\r\nFirst.\r\n\r\n2001-05-04 The fair\r\nSecond caf\xe9.\r\n"
    )
    name, drafts = read_source(path)
    assert name == "text"
    assert [(d.date, d.title, d.text) for d in drafts] == [
        ("", "", "For nobody."),
        ("2001-05-03", "", "First."),
        ("2001-05-04", "The fair", "Second café."),
    ]


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("x.zip", b"PK\x03\x04 and then nothing", "can't be told|can't be read"),
        ("x.enex", b"<en-export><note>", "no whole ENEX"),
        ("x.jex", b"no tar", "can't be read"),
        ("x.json", b'{"entries": 3}', "holds no notes"),
        ("x.bin", b"\x00\x01", "can't be told"),
    ],
)
def test_what_is_none_of_these_is_said_in_a_sentence(
    name: str, data: bytes, why: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=why):
        read_source(tmp_path / name)
