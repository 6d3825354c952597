"""A note, or a file of .obsidian, that would hold the scan up for ever: it alone is left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from tests.ledger.vaults import NOW, Vault
from tests.vault.helpers import note_of, write
from tests.vault.spoiled_reader import COMMAND
from vaultgpt.cli import app
from vaultgpt.errors import VaultError
from vaultgpt.ledger import Ledger
from vaultgpt.settings import Rules
from vaultgpt.vault import at_cursor, reading
from vaultgpt.vault import reconcile as scanning
from vaultgpt.vault import walk as walking
from vaultgpt.vault.at_cursor import EditorNote
from vaultgpt.vault.daily import DailyFormat
from vaultgpt.vault.entry import CRASHED, TOO_LONG
from vaultgpt.vault.reading import _NoteReader
from vaultgpt.vault.reconcile import read_vault

POSIX = pytest.mark.skipif(os.name != "posix", reason="FIFOs, devices and links are POSIX's")


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[_NoteReader]:
    made = _NoteReader(budget_s=0.3, command=COMMAND)
    monkeypatch.setattr(scanning, "READER", made)
    yield made
    made.close()


def test_a_note_that_never_ends_is_quarantined_alone(tmp_path: Path, reader: _NoteReader) -> None:
    """1. Of six notes one holds its reader for ever, another kills it. 2. A scan. 3. Another.
    4. The note changes. Result: four are read, two are named by id and not tried again until they
    change; what was learned of them is not taken for deleted.
    """
    vault = Vault(tmp_path)
    vault.fill(4)
    vault.write("slow.md", "I wrote this before it went on.\n")
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        known = {e.path for e in ledger.entries.all()}
        vault.write("slow.md", "It goes on for ever.\n")
        vault.write("crash.md", "It ends at once.\n")
        scan = read_vault(vault.root, Rules(), ledger.notes.stamps())
        left = {n.note.path: n.judgement.code for n in scan.read if not n.judgement.used}
        assert left == {"slow.md": "quarantined", "crash.md": "quarantined"}
        ledger.record(scan, NOW)
        ids = {walking.note_id("slow.md"), walking.note_id("crash.md")}
        assert set(ledger.notes.quarantined()) == ids
        assert known <= {e.path for e in ledger.entries.all()}
        assert not read_vault(vault.root, Rules(), ledger.notes.stamps()).read
        vault.write("slow.md", "It came to an end after all, and I walked home.\n")
        ledger.record(read_vault(vault.root, Rules(), ledger.notes.stamps()), NOW)
        assert ledger.notes.quarantined() == [walking.note_id("crash.md")]


def test_a_hotkey_in_a_note_that_never_ends_is_refused_and_the_next_is_answered(
    tmp_path: Path, reader: _NoteReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. In the editor stands what holds the reader for ever, then what kills it. 2. The hotkey
    there, and in another note. Result: a refusal in a second or two, and the next is written on.
    """
    monkeypatch.setattr(at_cursor, "EDITOR_READER", reader)
    for text, why in (("It goes on for ever.", TOO_LONG), ("It ends at once.", CRASHED)):
        began = time.monotonic()
        found = at_cursor.read_editor(tmp_path, Rules(), EditorNote("a.md", text, 5))
        assert found.judgement.why == f"It can't be read: {why}." and not found.text
        assert time.monotonic() - began < 20
    found = at_cursor.read_editor(tmp_path, Rules(), EditorNote("b.md", "We walked home.", 9))
    assert found.judgement.used and found.text == "We walked"


def comes_to_rest(pid: int) -> bool:
    """Whether no thread of a process wakes for 1.5 s, once it has read its note."""
    seen: list[list[str]] = []
    for _ in range(20):
        tasks = [(p / "status").read_text() for p in Path(f"/proc/{pid}/task").iterdir()]
        seen.append([line for text in tasks for line in text.splitlines() if "voluntary" in line])
        if len(tasks) == 2 and seen[-1] in seen[-2:-1]:
            return True
        time.sleep(1.5)
    return False


@POSIX
@pytest.mark.parametrize("note", ["It goes on for ever.", "It is soon read."])
def test_a_reader_leaves_soon_after_its_parent_even_in_a_note_without_end(note: str) -> None:
    """1. A reader reads a note that never ends, with an hour for it, or waits for the next; then it
    never wakes. 2. Its parent is killed. Result: it is gone within seconds.
    """
    script = (
        "from tests.vault.spoiled_reader import COMMAND\n"
        "from vaultgpt.vault.daily import DailyFormat\n"
        "from vaultgpt.vault.reading import _NoteReader, _ReaderProcess\n"
        "start = _ReaderProcess.__init__\n"
        "def told(self, command):\n"
        "    start(self, command)\n"
        "    print(self.process.pid, flush=True)\n"
        "_ReaderProcess.__init__ = told\n"
        f"reader = _NoteReader(3600, COMMAND)\nreader.read(DailyFormat(), [('a.md', {note!r})])\n"
        "import time\ntime.sleep(3600)\n"
    )
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        reader = int(parent.stdout.readline())
        try:
            assert sys.platform != "linux" or "ever" in note or comes_to_rest(reader)
        finally:
            parent.kill()
    until = time.monotonic() + 60
    while psutil.pid_exists(reader) and psutil.Process(reader).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_status_and_doctor_name_a_quarantined_note_by_its_id(
    tmp_path: Path, reader: _NoteReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A note never ends. 2. status, doctor, scan --problems, why. Result: the first two name its
    id, scan its path, and why says it.
    """
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "state"))
    vault = tmp_path / "vault"
    write(vault, "a.md")
    write(vault, "slow.md", "It goes on for ever.\n")

    def run(*arguments: str) -> str:
        return CliRunner().invoke(app, list(arguments)).output

    run("init", str(vault), "--no-plugin", "--no-base")
    said = f"Reading note {walking.note_id('slow.md')} takes too long"
    assert said in run("status", str(vault)) and said in run("doctor", str(vault))
    assert run("scan", str(vault), "--problems") == "slow.md: reading it takes too long\n"
    assert "It can't be read: reading it takes too long." in run(
        "why", "slow.md", "--vault", str(vault)
    )


def test_a_reader_that_does_not_start_is_an_error() -> None:
    """1. The reader's process can't run. Result: the scan fails with a sentence."""
    with pytest.raises(VaultError):
        _NoteReader(command=(sys.executable, "-c", "pass")).read(DailyFormat(), [("a", b"")])


def test_sixteen_megabytes_have_a_longer_budget(reader: _NoteReader, tmp_path: Path) -> None:
    """1. A note of 4 MB, with 0.3 s for a note. 2. A scan. Result: it is read."""
    write(tmp_path, "long.md", "I walked to the river today and it was low.\n\n" * 90_000)
    (scanned,) = read_vault(tmp_path, Rules()).read
    assert scanned.judgement.used


@pytest.mark.parametrize(
    "block",
    [
        "tags: &a [*a, x]",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b, *b, *b]\ntags: [*c, *c, *c, *c, *c]",
        "a: &a\n  - *a\n  - *a\ntags: *a",
        "? &a [*a]\n: x",
    ],
)
def test_front_matter_that_refers_to_itself_ends(block: str) -> None:
    """1. Aliases in a circle. 2. The note is read. Result: at once, its prose whole."""
    began = time.process_time()
    assert "We walked home." in note_of(f"---\n{block}\n---\nWe walked home.\n").text
    assert time.process_time() - began < 1


@POSIX
@pytest.mark.parametrize("place", ["app.json", "daily-notes.json", "templates.json"])
@pytest.mark.parametrize("kind", ["fifo", "zero", "folder", "deep", "long"])
def test_settings_that_are_no_plain_file_stop_nothing(
    tmp_path: Path, place: str, kind: str
) -> None:
    """1. A file of .obsidian is a FIFO, a link to a device, a folder, 30,000 brackets, 5 MB.
    2. A scan. Result: the note is read, and what could not be known is said.
    """
    write(tmp_path, "a.md")
    file = tmp_path / ".obsidian" / place
    file.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    else:
        file.write_text("[" * 30_000 if kind == "deep" else " " * (5 << 20) + "{}")
    began = time.monotonic()
    scan = read_vault(tmp_path, Rules())
    assert [n.note.path for n in scan.read] == ["a.md"] and time.monotonic() - began < 20
    said = ".obsidian/app.json can't be read, so Obsidian's excluded files are not known."
    assert scan.said() == ([said] if place == "app.json" else [])


def timed(vault: Path, rules: Rules, names: list[str]) -> tuple[dict[str, str], list[str], float]:
    for name in names:
        write(vault, name)
    began = time.monotonic()
    scan = read_vault(vault, rules)
    seconds = time.monotonic() - began
    return {n.note.path: n.judgement.code for n in scan.read}, scan.said(), seconds


EVIL = "a" * 60 + "!.md"


@pytest.mark.parametrize("pattern", [r"/(a+)+\d$/", r"/(a|aa)+\d$/", r"/(.*a){20}\d/"])
def test_an_excluded_pattern_that_never_ends_leaves_that_note_out(
    tmp_path: Path, pattern: str
) -> None:
    """1. Obsidian excludes by a pattern that takes for ever on one name. 2. A scan. Result: every
    other note is judged by it, that one is left out, and it is said.
    """
    filters = {"userIgnoreFilters": [pattern, "/draft/"]}
    write(tmp_path, ".obsidian/app.json", json.dumps(filters))
    codes, said, seconds = timed(tmp_path, Rules(), [EVIL, "b.md", "draft.md"])
    assert codes["b.md"] == "" and codes["draft.md"] == "obsidian" and seconds < 20
    if codes[EVIL] != "":
        assert codes[EVIL] == "pattern" and "takes too long" in said[0]


def test_a_glob_that_never_ends_leaves_that_note_out(tmp_path: Path) -> None:
    """1. rules.exclude has twelve stars (84 s on such a name). 2. A scan. Result: as above."""
    evil = "a" * 60 + "bc.md"
    codes, said, seconds = timed(tmp_path, Rules(exclude=("*a" * 12 + "b",)), [evil, "b.md"])
    assert codes["b.md"] == "" and codes[evil] in ("", "pattern") and seconds < 20
    assert bool(said) == (codes[evil] == "pattern")


def test_a_pattern_that_no_engine_reads_is_said(tmp_path: Path) -> None:
    """1. Obsidian excludes by a pattern that is none. 2. A scan. Result: it is said."""
    write(tmp_path, ".obsidian/app.json", json.dumps({"userIgnoreFilters": ["/(/"]}))
    codes, said, _ = timed(tmp_path, Rules(), ["b.md"])
    assert codes == {"b.md": ""} and "can't be read" in said[0]


@pytest.mark.parametrize("moment", ["M" * 40, "MMMM" * 10, "D" * 200, "ddd M " * 30, "w" * 99])
def test_a_date_format_that_never_ends_dates_nothing(tmp_path: Path, moment: str) -> None:
    """1. The format of daily notes is forty M's. 2. A scan of long names. Result: at once."""
    write(tmp_path, ".obsidian/daily-notes.json", json.dumps({"format": moment}))
    names = ["1" * 80 + "x.md", "mai" * 30 + "x.md", "1 mai " * 20 + "x.md"]
    codes, _, seconds = timed(tmp_path, Rules(), names)
    assert set(codes.values()) == {""} and seconds < 20


@POSIX
def test_a_folder_that_becomes_a_link_outward_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A folder is listed. 2. Before its note is opened, a link to a folder outside takes its
    place. Result: the file there is not read; nor is the folder listed when it is exchanged before.
    """
    vault, outside = tmp_path / "vault", tmp_path / "outside"
    write(vault, "in/a.md", "Mine, and nobody else's, as ever.\n")
    write(outside, "a.md", "Secret.\n")
    write(outside, "b.md", "Secret.\n")
    read = walking.read_bytes

    def swap(way: walking.Way, place: str) -> bytes:
        (vault / "in").rename(tmp_path / "away")
        (vault / "in").symlink_to(outside)
        return read(way, place)

    monkeypatch.setattr(walking, "read_bytes", swap)
    (scanned,) = read_vault(vault, Rules()).read
    assert scanned.judgement.code == "unreadable" and scanned.note.text == ""
    assert scanned.note.problem == "a link took its place or its folder's"
    monkeypatch.undo()
    assert not read_vault(vault, Rules()).read

    (vault / "in").unlink()
    (tmp_path / "away").rename(vault / "in")
    take = walking._take

    def swap_early(entry: os.DirEntry[str], *rest: object) -> None:
        take(entry, *rest)  # type: ignore[arg-type]
        if entry.name == "in" and not (vault / "in").is_symlink():
            (vault / "in").rename(tmp_path / "away")
            (vault / "in").symlink_to(outside)

    monkeypatch.setattr(walking, "_take", swap_early)
    assert not read_vault(vault, Rules()).read


def test_a_reader_that_hangs_as_it_starts_is_ended_and_told_at_each_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A daemon tries again every few minutes, for months."""
    monkeypatch.setattr(reading, "_START_S", 0.3)
    hanging = _NoteReader(command=[sys.executable, "-c", "import time; time.sleep(60)"])
    before = set(psutil.Process().children())
    for _ in range(2):
        with pytest.raises(VaultError, match="does not start"):
            hanging.read(DailyFormat(), [("a.md", b"It rained.")])
        assert not set(psutil.Process().children()) - before
