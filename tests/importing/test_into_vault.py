"""Imported notes: shown first, whole, never written over, and each once."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.daemon.serving import wait_for
from tests.importing.test_formats import folder
from vaultgpt.cli import app
from vaultgpt.errors import UsageError, VaultError
from vaultgpt.importing.formats import read_source
from vaultgpt.importing.into_vault import preview, write
from vaultgpt.importing.source import Draft
from vaultgpt.settings import Rules
from vaultgpt.state import create_state
from vaultgpt.vault.reconcile import read_vault

DRAFTS = [
    Draft(
        "dayone/1", "We walked home in the rain.", "At the weir", "2019-03-04T00:30:00", ("a b",)
    ),
    Draft("dayone/2", "Other words of that day.", "At the weir", "2019-03-04"),
    Draft("dayone/3", "A title of marks is no path.", '../../a:b?"c"|[[d]]#', ""),
    Draft(
        "evernote/4", "Their words and not mine.", "Clip", "2020", (), {"source": "https://a.b/c"}
    ),
]


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    (tmp_path / "vault").mkdir()
    return tmp_path / "vault"


def test_notes_say_what_our_reader_and_obsidian_read(vault: Path) -> None:
    """Result: dates, tags and titles are read back, and what was clipped is not learned."""
    assert write(vault, preview(vault, "In", DRAFTS)) == 4
    notes = {s.note.path: s for s in read_vault(vault, Rules()).read}
    assert set(notes) == {
        "In/2019-03-04 At the weir.md",
        "In/2019-03-04 At the weir 2.md",
        "In/a b c d.md",
        "In/2020 Clip.md",
    }
    first = notes["In/2019-03-04 At the weir.md"]
    (entry,) = first.note.entries
    assert entry.date == "2019-03-04" and entry.tags == ("a-b",) and first.judgement.used
    assert "walked home" in entry.prose and "imported" not in entry.prose
    assert not notes["In/2020 Clip.md"].judgement.used


def test_a_second_import_writes_nothing_wherever_the_notes_are_by_now(vault: Path) -> None:
    """1. Imported. 2. One is renamed into another folder, and edited. 3. Imported again, and with
    one more. Result: only that one is new, under a name of its own."""
    write(vault, preview(vault, "In", DRAFTS))
    old = vault / "In" / "2019-03-04 At the weir.md"
    (vault / "Kept").mkdir()
    old.rename(vault / "Kept" / "mine.md")
    text = (vault / "Kept" / "mine.md").read_text() + "\nMore of mine.\n"
    (vault / "Kept" / "mine.md").write_text(text)
    again = preview(vault, "Elsewhere", DRAFTS)
    assert again.known == 4 and not again.notes and write(vault, again) == 0
    assert not (vault / "Elsewhere" / "x").exists()
    more = preview(vault, "In", [*DRAFTS, Draft("dayone/5", "New.", "At the weir", "2019-03-04")])
    assert [p.name for p, _ in more.notes] == ["2019-03-04 At the weir.md"]
    assert (vault / "Kept" / "mine.md").read_text() == text


def test_nothing_is_ever_written_over(vault: Path) -> None:
    """1. A note of that name, in other case, is there. 2. Another comes before it is written."""
    mine = vault / "In" / "2019-03-04 at the WEIR.md"
    mine.parent.mkdir()
    mine.write_text("Mine.")
    planned = preview(vault, "In", DRAFTS[:2])
    assert [p.name for p, _ in planned.notes] == [
        "2019-03-04 At the weir 2.md",
        "2019-03-04 At the weir 3.md",
    ]
    late = vault / planned.notes[0][0]
    late.write_text("Mine too.")
    assert write(vault, planned) == 1
    assert mine.read_text() == "Mine." and late.read_text() == "Mine too."
    assert not [p for p in mine.parent.iterdir() if p.name.startswith(".")]


def test_no_export_writes_outside_or_into_the_front_matter(vault: Path, tmp_path: Path) -> None:
    evil = Draft("x/1\nvaultgpt: true", "T.", 'a"\nb: c', "2020-01-01\nx: y", ("q\nr: s",))
    (_, text), *_ = preview(vault, "In", [evil]).notes
    head = text.split("---\n")[1].splitlines()
    assert [line.split(":")[0] for line in head] == ["title", "tags", '  - "q-r-s"', "imported"]
    (vault / "out").symlink_to(tmp_path)
    for into in ("../x", "out/x", str(tmp_path)):
        with pytest.raises(UsageError, match="outside the vault"):
            preview(vault, into, DRAFTS)
    with pytest.raises(UsageError, match="hidden"):
        preview(vault, ".obsidian/x", DRAFTS)


def test_the_command_shows_first_and_writes_when_told(vault: Path, tmp_path: Path) -> None:
    create_state(vault)
    source = folder(tmp_path / "old", {"2014-05-06.txt": "Rain all day.", "2014-05-07.txt": "Sun."})
    before = {p: p.read_bytes() for p in source.iterdir()}
    run = CliRunner().invoke
    shown = run(app, ["import", str(source), "--vault", str(vault)])
    assert shown.exit_code == 0 and "2 notes" in shown.stdout and "2014-05-06" in shown.stdout
    assert "2014-05-06.md  (3 words)" in shown.stdout
    assert "Nothing was written" in shown.stdout and not list(vault.iterdir())
    done = run(app, ["import", str(source), "--vault", str(vault), "--into", "Old", "--yes"])
    assert "2 notes are in the vault" in done.stdout
    assert "tonight" not in done.stdout and "200 new words" in " ".join(done.stdout.split())
    assert sorted(p.name for p in (vault / "Old").iterdir()) == ["2014-05-06.md", "2014-05-07.md"]
    again = run(app, ["import", str(source), "--vault", str(vault), "--yes", "--json"])
    told = json.loads(again.stdout)
    assert (told["new"], told["known"], told["written"]) == (0, 2, 0)
    assert not (vault / "Imported").exists()
    assert {p: p.read_bytes() for p in source.iterdir()} == before


def test_the_vault_is_not_imported_into_itself(vault: Path) -> None:
    """By a slip, as `import ~/Notes`: every note would come a second time."""
    create_state(vault)
    (vault / "Old").mkdir(parents=True)
    (vault / "Old" / "2014-05-06.md").write_text("Rain all day.")
    for source in (vault, vault / "Old"):
        done = CliRunner().invoke(app, ["import", str(source), "--vault", str(vault), "--yes"])
        assert done.exit_code == 2 and "in the vault already" in done.output
    assert not (vault / "Imported").exists()


def test_a_single_note_is_told_of_as_one_and_its_words_as_everywhere(
    vault: Path, tmp_path: Path
) -> None:
    create_state(vault)
    source = folder(tmp_path / "old", {"2014-05-06.txt": "昨天我在河边"})
    ask = ["import", str(source), "--vault", str(vault)]
    shown = CliRunner().invoke(app, ask).stdout
    assert "2014-05-06." in shown and " to " not in shown
    assert "1 goes into" in shown and "2014-05-06.md  (6 words)" in shown
    CliRunner().invoke(app, [*ask, "--yes"])
    assert "1 of them was imported before." in CliRunner().invoke(app, ask).stdout


def test_two_folders_of_like_names_are_two(vault: Path, tmp_path: Path) -> None:
    for name, text in (("one", "First."), ("two", "Second.")):
        _, drafts = read_source(folder(tmp_path / name, {"2014-05-06.txt": text}))
        assert write(vault, preview(vault, "In", drafts)) == 1
    assert len(list((vault / "In").iterdir())) == 2


# The command on a disk that takes its time, so that it is told in the midst of a note. A shell's
# background job ignores Ctrl-C, and these tests may run in one.
SLOWLY = """
import os, signal, time
from vaultgpt.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sync = os.fsync
os.fsync = lambda fd: (time.sleep(0.02), sync(fd))
main()
"""


def test_a_full_vault_is_said_with_what_was_written_and_the_rest_comes_later(
    vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Its disk is full after two notes. 2. There is room. Result: all, each once."""
    sync, left = os.fsync, iter((True, True))

    def full(fd: int) -> None:
        if not next(left, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VaultError, match=r"In takes no more .*: 2 of 4 notes are written"):
        write(vault, preview(vault, "In", DRAFTS))
    monkeypatch.setattr(os, "fsync", sync)
    assert write(vault, preview(vault, "In", DRAFTS)) == 2
    assert len(list((vault / "In").iterdir())) == 4


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_one_that_is_told_to_end_leaves_nothing_half_written(
    tmp_path: Path, vault: Path, number: signal.Signals
) -> None:
    """1. The terminal is closed while notes are written. Result: whole notes and no other file."""
    source = tmp_path / "source"
    source.mkdir()
    for count in range(1000):
        (source / f"{count}.md").write_text("We walked home in the rain.")
    create_state(vault)
    line = [sys.executable, "-c", SLOWLY, "import", str(source), "-v", str(vault), "--yes"]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        wait_for(lambda: list(vault.rglob("*.md")))
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == b"Interrupted.\n"
    written = [path for path in vault.rglob("*") if path.is_file()]
    assert 0 < len(written) < 1000 and {path.suffix for path in written} == {".md"}
    assert all(path.stat().st_size for path in written)


def test_what_a_killed_import_left_half_written_goes_and_what_others_write_stays(
    vault: Path,
) -> None:
    """1. An import is killed in the midst of a note. 2. The next one. Result: no half note is left;
    one that is being written, and another program's, are let be."""
    write(vault, preview(vault, "In", DRAFTS[:1]))
    killed = (
        "import os, signal, sys; from pathlib import Path\n"
        "from vaultgpt.importing import into_vault\n"
        "os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)\n"
        "into_vault._write_new(Path(sys.argv[1]), 'I fell.')"
    )
    subprocess.run([sys.executable, "-c", killed, str(vault / "In" / "x.md")], check=False)
    (half,) = (path for path in (vault / "In").iterdir() if path.name.startswith("."))
    others = vault / "In" / ".syncthing.x.tmp"
    others.write_text("half", encoding="utf-8")
    for path in (half, others):
        os.utime(path, (0, 0))
    young = vault / "In" / ".vaultgpt-abc.tmp"
    young.write_text("half", encoding="utf-8")
    write(vault, preview(vault, "In", DRAFTS[1:2]))
    assert not half.exists() and others.exists() and young.exists()
