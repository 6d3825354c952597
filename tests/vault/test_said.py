"""What can't be read is said: folders, names, problems, by the commands that look at a vault."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.vault.helpers import close_folder, write
from vaultgpt.cli import app
from vaultgpt.settings import Rules
from vaultgpt.vault.reconcile import find_one, read_one, read_vault
from vaultgpt.vault.walk import note_id

MINE = "I walked to the river today and it was low.\n"


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VAULTGPT_HOME", str(tmp_path / "state"))
    root = tmp_path / "vault"
    for n in range(3):
        write(root, f"n{n}.md", MINE)
    write(root, "closed/a.md", MINE)
    write(root, "broken.md", f"---\nx: [y\n---\n{MINE}")
    write(root, "clipped.md", f"---\nsource: x\n---\n{MINE}")
    return root


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> None:
    close_folder(monkeypatch, "closed")


def run(*arguments: str) -> str:
    answer = CliRunner().invoke(app, list(arguments))
    assert answer.exit_code in (0, 1), answer.output
    return answer.output


CLOSED = "A folder can't be opened, so the notes there are not read: closed."


def test_a_folder_that_can_not_be_opened_is_said_by_every_command(vault: Path, shut: None) -> None:
    said = run("init", str(vault), "--no-plugin", "--no-base")
    assert CLOSED in said
    for name in ("scan", "status", "doctor"):
        assert CLOSED in run(name, str(vault)), name
    found = json.loads(run("scan", str(vault), "--json").split("\n", 0)[0])
    assert found["closed_folders"] == ["closed"] and found["notes"] == 5


def test_scan_names_the_notes_with_a_problem_and_those_left_out(vault: Path) -> None:
    run("init", str(vault), "--no-plugin", "--no-base")
    assert "`vaultgpt scan --problems`" in run("scan", str(vault))
    assert run("scan", str(vault), "--problems") == (
        "broken.md: its front matter is not valid YAML\n"
    )
    assert run("scan", str(vault), "--left-out") == (
        "clipped.md: Its front matter names a source or url: somebody else's text.\n"
    )
    found = json.loads(run("scan", str(vault), "--json", "--problems", "--left-out"))
    (row,) = found["problems_of"]
    assert row["path"] == "broken.md" and row["id"] == note_id("broken.md")
    assert [row["code"] for row in found["left_out_notes"]] == ["clipping"]


def test_of_a_file_of_many_days_only_a_part_is_said_to_be_held_out(vault: Path) -> None:
    days = "".join(f"## 2021-03-{day:02d}\n\n{MINE * 8}Day {day}.\n\n" for day in range(1, 31))
    write(vault, "days.md", days)
    run("init", str(vault), "--no-plugin", "--no-base")
    answer = json.loads(run("why", "days.md", "--vault", str(vault), "--json"))
    assert answer["held_out"] and answer["kept_aside"] == "part"
    assert "a part of it tests the voice" in run("why", "days.md", "--vault", str(vault))


def test_broken_front_matter_of_a_note_that_is_left_out_is_nobodys_trouble(vault: Path) -> None:
    """As every template has it that Templater fills in: `date: {{date}}`."""
    (vault / "Templates").mkdir()
    write(vault, "Templates/day.md", f"---\ndate: {{{{date}}}}\n---\n{MINE}")
    run("init", str(vault), "--no-plugin", "--no-base")
    found = json.loads(run("scan", str(vault), "--json", "--problems"))
    assert found["left_out"]["template"] == 1 and found["problems"] == 1
    assert [row["path"] for row in found["problems_of"]] == ["broken.md"]


def test_left_out_parts_are_marked_where_output_is_no_terminal(vault: Path) -> None:
    run("init", str(vault), "--no-plugin", "--no-base")
    write(vault, "parts.md", f"---\ntags: sea\n---\n{MINE}> said\n\n{MINE}%%x%%\n")
    said = run("why", "parts.md", "--vault", str(vault))
    assert "«front_matter: ---\ntags: sea\n---»\n" in said
    assert f"{MINE}«quote: > said»\n" in said and "«comment: %%x%%»\n" in said


@pytest.mark.skipif(os.name != "posix", reason="no such names on Windows")
@pytest.mark.parametrize("mark", ["\x1b[31m", "\x9b31m", "\x07", "\r", "\x7f", "\udce9"])
def test_no_control_character_of_a_name_reaches_the_terminal(vault: Path, mark: str) -> None:
    write(vault, f"a{mark}b.md", f"---\nx: [y\n---\n{MINE}")
    run("init", str(vault), "--no-plugin", "--no-base")
    for said in (
        run("scan", str(vault), "--problems"),
        run("scan", str(vault), "--problems", "--json"),
        run("why", f"a{mark}b.md", "--vault", str(vault)),
        run("why", f"no{mark}b.md", "--vault", str(vault)),
    ):
        assert mark not in said
    assert "b.md" in run("scan", str(vault), "--problems")
    assert "rename the note" in run("why", f"a{mark}b.md", "--vault", str(vault))


@pytest.mark.skipif(os.name != "posix", reason="two forms of one name: not on Windows")
def test_twin_folders_in_two_unicode_forms_keep_every_note(tmp_path: Path) -> None:
    for folder, text in (("\u00e9t\u00e9", "One."), ("e\u0301te\u0301", "Two.")):
        write(tmp_path, f"{folder}/a.md", f"{text} {MINE}")
        write(tmp_path, f"{folder}/{folder}.md", f"{text} {MINE}")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this disk does not tell the two forms apart")
    scan = read_vault(tmp_path, Rules())
    assert len(scan.read) == 4 and len({n.note.path for n in scan.read}) == 4
    for scanned in scan.read:
        again = read_one(tmp_path, Rules(), scanned.note.path)
        assert again.note.text == scanned.note.text
        assert find_one(tmp_path, scanned.note.path).path == scanned.note.path
    second = read_vault(tmp_path, Rules(), scan.stamps)
    assert not second.read and not second.gone


@pytest.mark.parametrize("seconds", [2**33, 10_413_792_000, -(2**31)])
def test_a_time_past_2262_is_a_time(tmp_path: Path, seconds: int) -> None:
    place = write(tmp_path, "a.md", MINE)
    try:
        os.utime(place, ns=(seconds * 10**9, seconds * 10**9))
    except (OSError, OverflowError):
        pytest.skip("this disk holds no such time")
    scan = read_vault(tmp_path, Rules())
    assert [n.judgement.used for n in scan.read] == [True]
    assert not read_vault(tmp_path, Rules(), scan.stamps).read


@pytest.mark.skipif(os.name != "posix", reason="names of any bytes are Linux's")
def test_a_name_that_is_no_utf_8_is_read(tmp_path: Path) -> None:
    place = os.fsencode(tmp_path) + b"/caf\xe9.md"
    try:
        with open(place, "w") as stream:
            stream.write(MINE)
    except OSError:
        pytest.skip("this disk holds no such name")
    (scanned,) = read_vault(tmp_path, Rules()).read
    assert scanned.judgement.used and read_one(tmp_path, Rules(), scanned.note.path).note.text
