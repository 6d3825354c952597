"""The folder as it is: stat first, links not followed, nothing outside, nothing in the cloud."""

from __future__ import annotations

import os
import time
import tracemalloc
import unicodedata
from pathlib import Path

import pytest

from tests.vault.helpers import close_folder, write
from vaultgpt.errors import NotFound, UsageError, VaultError, VaultGPTError
from vaultgpt.settings import Rules
from vaultgpt.vault import walk as walking
from vaultgpt.vault.census import census, sentence
from vaultgpt.vault.reconcile import Changes, Scan, read_one, read_vault


def paths(scan: Scan) -> list[str]:
    return sorted(scanned.note.path for scanned in scan.read)


def codes(scan: Scan) -> dict[str, str]:
    return {scanned.note.path: scanned.judgement.code for scanned in scan.read}


def test_only_markdown_outside_hidden_folders_is_listed(tmp_path: Path) -> None:
    for path in (
        "a.md",
        "b/c.MD",
        "b/d.markdown",
        ".obsidian/x.md",
        ".trash/y.md",
        ".z.md",
        "e.txt",
        "f.canvas",
    ):
        write(tmp_path, path)
    assert paths(read_vault(tmp_path, Rules())) == ["a.md", "b/c.MD", "b/d.markdown"]


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    for name in ("a.md", "b.md", "c.md"):
        write(tmp_path, name)
    first = read_vault(tmp_path, Rules())
    write(tmp_path, "b.md", "Something else was written here.\n")
    (tmp_path / "c.md").unlink()
    write(tmp_path, "d.md")
    second = read_vault(tmp_path, Rules(), first.stamps)
    assert (paths(second), second.gone) == (["b.md", "d.md"], ["c.md"])
    assert set(second.stamps) == {"a.md", "b.md", "d.md"}
    assert second.stamps["a.md"] == first.stamps["a.md"]


def test_saving_by_temporary_file_and_rename_is_a_change(tmp_path: Path) -> None:
    place = write(tmp_path, "a.md", "one two three\n")
    before = read_vault(tmp_path, Rules())
    other = write(tmp_path, ".a.tmp", "one two four!\n")
    os.utime(other, ns=(place.stat().st_mtime_ns, place.stat().st_mtime_ns))
    os.replace(other, place)
    assert paths(read_vault(tmp_path, Rules(), before.stamps)) == ["a.md"]


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps no time of a file's last change")
def test_a_change_that_keeps_time_size_and_inode_is_one(tmp_path: Path) -> None:
    """1. A note is read. 2. As many other letters are written in place, and its time is set back,
    as `touch -r` does. Result: it is read again."""
    place = write(tmp_path, "a.md", "one two three\n")
    before, stamp = read_vault(tmp_path, Rules()), place.stat()
    with place.open("r+") as stream:
        stream.write("one two thrax")
    old = (stamp.st_atime_ns, stamp.st_mtime_ns)
    os.utime(place, ns=old)
    while place.stat().st_ctime_ns == stamp.st_ctime_ns:  # the kernel's clock ticks in milliseconds
        os.utime(place, ns=old)
    now = place.stat()
    assert (now.st_mtime_ns, now.st_size, now.st_ino) == (
        stamp.st_mtime_ns,
        stamp.st_size,
        stamp.st_ino,
    )
    assert paths(read_vault(tmp_path, Rules(), before.stamps)) == ["a.md"]


def test_eight_thousand_files_written_behind_its_back_are_found(tmp_path: Path) -> None:
    (tmp_path / "J").mkdir()
    known = read_vault(tmp_path, Rules())
    for n in range(8001):
        (tmp_path / "J" / f"{n}.md").write_text("I walked to the river.\n")
    assert len(read_vault(tmp_path, Rules(), known.stamps).read) == 8001


def test_reading_a_vault_takes_about_a_millisecond_a_note(tmp_path: Path) -> None:
    text = (
        "---\ntags: [journal]\ndate: 2021-03-14\n---\n" + "I walked to the river, *slowly*. " * 60
    )
    for n in range(300):
        write(tmp_path, f"{n}.md", text)
    began = time.process_time()
    read_vault(tmp_path, Rules())
    assert time.process_time() - began < 300 * 0.004


def test_symlinks_are_listed_but_neither_followed_nor_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside, "secret.md")
    vault = tmp_path / "vault"
    write(vault, "a.md")
    os.symlink(outside, vault / "Linked")
    os.symlink(outside / "secret.md", vault / "link.md")
    os.symlink(vault / "nowhere", vault / "dead.md")
    scan = read_vault(vault, Rules())
    assert codes(scan) == {"a.md": "", "link.md": "symlink", "dead.md": "symlink"}
    for path in ("link.md", "Linked/secret.md", "dead.md"):
        with pytest.raises(UsageError):
            read_one(vault, Rules(), path)


@pytest.mark.parametrize(
    "path",
    ["../secret.md", "/etc/passwd", "a/../../secret.md", "", ".", "a\0.md", "//x/y.md", "~/x.md"],
)
def test_no_path_leads_outside(tmp_path: Path, path: str) -> None:
    write(tmp_path, "secret.md")
    (tmp_path / "vault").mkdir()
    with pytest.raises(VaultGPTError):
        read_one(tmp_path / "vault", Rules(), path)


def test_one_note_is_read_by_its_path_or_its_full_path(tmp_path: Path) -> None:
    write(tmp_path, "b/a.md")
    assert read_one(tmp_path, Rules(), "b/a.md").note.path == "b/a.md"
    assert read_one(tmp_path, Rules(), str(tmp_path / "b" / "a.md")).note.path == "b/a.md"
    for missing in ("b/x.md", "b", "b/a.txt", ".obsidian/app.md"):
        with pytest.raises(NotFound):
            read_one(tmp_path, Rules(), missing)


def test_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Café/Été.md")
    write(tmp_path, decomposed)
    assert paths(read_vault(tmp_path, Rules())) == ["Café/Été.md"]
    for asked in ("Café/Été.md", decomposed, "café/été.md"):
        assert read_one(tmp_path, Rules(), asked).note.words == 6


def test_two_files_whose_names_differ_only_in_form_are_both_kept(tmp_path: Path) -> None:
    write(tmp_path, unicodedata.normalize("NFC", "é.md"))
    write(tmp_path, unicodedata.normalize("NFD", "é.md"))
    if len(os.listdir(tmp_path)) == 2:  # not where the file system joins them
        assert len(read_vault(tmp_path, Rules()).read) == 2
    else:
        assert len(read_vault(tmp_path, Rules()).read) == 1


def test_files_in_the_cloud_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, ".Journal.md.icloud", "bplist")
    write(tmp_path, "dataless.md")
    write(tmp_path, "a.sync-conflict-20210314-120000-ABC.md")
    monkeypatch.setattr(walking, "is_dataless", lambda status: status.st_size > 6)
    monkeypatch.setattr(walking, "read_bytes", lambda *_: pytest.fail("it was opened"))
    assert codes(read_vault(tmp_path, Rules())) == {
        "Journal.md": "placeholder",
        "dataless.md": "placeholder",
        "a.sync-conflict-20210314-120000-ABC.md": "placeholder",
    }


def test_conflict_copies_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.sync-conflict-20210314-120000-ABC.md")
    monkeypatch.setattr(walking, "read_bytes", lambda *_: pytest.fail("it was opened"))
    assert list(codes(read_vault(tmp_path, Rules())).values()) == ["conflict copy"]


def test_a_note_that_may_not_be_read_is_left_out_with_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.md")

    def refuse(way: walking.Way, place: str) -> bytes:
        raise PermissionError(13, "denied", place)

    monkeypatch.setattr(walking, "read_bytes", refuse)  # tests may run as root, whom nothing stops
    (scanned,) = read_vault(tmp_path, Rules()).read
    assert scanned.judgement.code == "unreadable" and scanned.note.problem == "you may not read it"


def test_a_note_that_vanishes_during_the_scan_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.md", "b.md"):
        write(tmp_path, name)
    first = read_vault(tmp_path, Rules())
    read = walking.read_bytes

    def vanish(way: walking.Way, place: str) -> bytes:
        if place.endswith("b.md"):
            os.unlink(place)
        return read(way, place)

    monkeypatch.setattr(walking, "read_bytes", vanish)
    assert paths(read_vault(tmp_path, Rules())) == ["a.md"]
    assert read_vault(tmp_path, Rules(), first.stamps).gone == ["b.md"]


def test_a_folder_that_can_not_be_listed_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.md")
    write(tmp_path, "closed/b.md")
    first = read_vault(tmp_path, Rules())
    close_folder(monkeypatch, "closed")
    scan = read_vault(tmp_path, Rules(), first.stamps)
    assert scan.gone == [] and "closed/b.md" in scan.stamps
    assert not scan.read and sorted(scan.stamps) == ["a.md", "closed/b.md"]


def test_a_vault_that_is_not_there_is_an_error_not_an_empty_vault(tmp_path: Path) -> None:
    with pytest.raises(VaultError):
        read_vault(tmp_path / "unmounted", Rules(), {})


def test_a_file_of_many_megabytes_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "big.md", "wb") as stream:
        stream.truncate(walking._MAX_NOTE_BYTES + 1)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.md")
    assert codes(read_vault(tmp_path, Rules())) == {"big.md": "unreadable"}


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    import hashlib

    place = write(tmp_path, "a.md", "Älter als das Meer.\r\n")
    (scanned,) = read_vault(tmp_path, Rules()).read
    assert scanned.digest == hashlib.sha256(place.read_bytes()).hexdigest()


def test_a_vault_of_one_note_is_told_in_the_singular(tmp_path: Path) -> None:
    write(tmp_path, "one.md", "We went out into the rain.\n")
    found = census(read_vault(tmp_path, Rules()).read)
    assert sentence(found) == "The only note is used: 6 words of your prose."


def test_the_census_adds_up(tmp_path: Path) -> None:
    write(tmp_path, "Journal/2020-01-01.md", "---\ntags: [journal]\n---\n" + "We went out. " * 100)
    write(
        tmp_path, "Journal/2021-01-01.md", "#journal #sea\n\n" + "And the sea was not there. " * 20
    )
    write(tmp_path, "Days.md", "## 2021-02-01\nOne two three.\n## 2021-02-02\nFour five six.\n")
    write(tmp_path, "clip.md", "---\nsource: x\n---\nWords words words.\n")
    write(tmp_path, "empty.md", "")
    write(tmp_path, "broken.md", "---\na: {{b}}\n---\nOne two three four.\n")
    found = census(read_vault(tmp_path, Rules()).read)
    assert found["notes"] == found["used"] + sum(found["left_out"].values()) == 6
    assert found["left_out"] == {"clipping": 1, "empty": 1}
    assert found["tags"] == {"journal": 2, "sea": 1}
    assert found["years"] == {"2020": 1, "2021": 3}
    assert found["folders"] == {"Journal": 420, "": 12}
    assert (found["language"], found["problems"]) == ("en", 1)
    assert sentence(found) == "4 of 6 notes are used: 432 words of your prose, 2020 to 2021."


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "I was there and it was not what they had said of the sea, but that is all. "),
        ("de", "Ich war nicht bei mir, und der Tag ist auch noch nicht zu Ende, aber es geht. "),
        ("fr", "Je ne suis pas allé à la mer avec elle, mais il y était dans tout ce bruit. "),
        ("es", "No sé por qué el mar está más lejos, pero yo también lo vi cuando era niño. "),
        ("it", "Non so perché il mare è più lontano, ma anche io ho visto che era come una casa. "),
        ("nl", "Ik weet niet wat er van het huis is, maar dat was ook nog niet voor mijn tijd. "),
        (
            "pt",
            "Eu não sei se o mar está mais longe, mas ele também foi para a minha casa em um dia. ",
        ),
        (None, "Zxq vbn wrt plk jhg mnb. "),
    ],
)
def test_the_language_is_guessed_from_small_words(
    tmp_path: Path, language: str | None, text: str
) -> None:
    write(tmp_path, "a.md", text * 30)
    assert census(read_vault(tmp_path, Rules()).read)["language"] == language


def test_few_words_have_no_language_and_an_empty_folder_has_a_sentence(tmp_path: Path) -> None:
    assert (
        sentence(census(read_vault(tmp_path, Rules()).read)) == "There are no Markdown notes here."
    )
    write(tmp_path, "a.md", "I was there and it was not what they had said. ")
    assert census(read_vault(tmp_path, Rules()).read)["language"] is None


def test_a_change_of_the_rules_or_of_obsidians_settings_changes_the_fingerprint(
    tmp_path: Path,
) -> None:
    prints = [read_vault(tmp_path, Rules()).rules, read_vault(tmp_path, Rules(min_words=4)).rules]
    write(tmp_path, ".obsidian/app.json", '{"userIgnoreFilters": ["Private/"]}')
    prints.append(read_vault(tmp_path, Rules()).rules)
    write(tmp_path, ".obsidian/daily-notes.json", '{"format": "DD.MM.YYYY"}')
    prints.append(read_vault(tmp_path, Rules()).rules)
    assert len(set(prints)) == 4
    assert prints[-1] == read_vault(tmp_path, Rules()).rules


@pytest.mark.parametrize("folders", [1, 500])
def test_what_is_new_is_held_in_few_bytes_however_the_notes_lie(
    tmp_path: Path, folders: int
) -> None:
    """1. A vault of 2,500 new notes is compared. Result: each takes under 50 bytes until it is read
    (an object each took 390), and under 700 while a folder that holds all of them is listed (their
    status each took 900); they are read in one order.
    """
    for number in range(2_500):
        place = tmp_path / f"{number % folders:03d}" / f"note {number:05d}.md"
        place.parent.mkdir(exist_ok=True)
        place.touch()
    read_vault(tmp_path / "000", Rules())  # what is imported and cached counts for none
    tracemalloc.start()
    try:
        changes = Changes(tmp_path, Rules(), lambda paths: {})
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 50 * 2_500 and peak < 700 * 2_500
    found = [file.path for file in changes.files]
    assert found == sorted(found) and changes.files.count == len(found) == 2_500
