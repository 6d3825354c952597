"""What sync tools, checkouts and odd disks do to a vault under a daemon that hears of it from the
system alone: afterwards the ledger holds what a first reading would find."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.conftest import until
from tests.daemon.test_vault_loop import watching
from vaultgpt.daemon.vault_loop import make_watcher
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.paragraphs import split_paragraphs
from vaultgpt.options import with_option
from vaultgpt.settings import Rules, Settings
from vaultgpt.state import VaultState
from vaultgpt.vault.census import facts_of
from vaultgpt.vault.reconcile import read_vault

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the names and links are Linux's")
Attack = Callable[[Path], object]  # on the vault's folder; beside it there is room


def put(vault: Path, path: str, text: str = "") -> Path:
    place = vault / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text or f"Rain on the harbour, {path!a} and {os.urandom(4).hex()}.\n")
    return place


def many_renames(vault: Path) -> None:
    for number in range(300):
        put(vault, f"many/a{number}.md")
    for number in range(300):
        (vault / f"many/a{number}.md").rename(vault / f"many/b{number}.md")


def two_change_names(vault: Path) -> None:
    one, other = vault / "many/b0.md", vault / "many/b1.md"
    one.rename(vault / "many/t")
    other.rename(one)
    (vault / "many/t").rename(other)


def out(vault: Path) -> None:
    (vault / "many").rename(vault.parent / "out")


def in_again_under_another_name(vault: Path) -> None:
    (vault / "x").mkdir()
    (vault.parent / "out").rename(vault / "x" / "deep")
    put(vault, "x/deep/new.md")
    (vault / "x").rename(vault / "y")
    put(vault, "y/deep/newer.md")


def an_edit_in_what_came_in(vault: Path) -> None:
    put(vault, "y/deep/b7.md")


def saved_by_rename_under_its_old_time(vault: Path) -> None:
    place = vault / "y/deep/b8.md"
    then = place.stat().st_mtime_ns
    put(vault, "y/deep/.b8.md.tmp").rename(place)
    os.utime(place, ns=(then, then))


def sync_tools(vault: Path) -> None:
    put(vault, "y/~syncthing~b9.md.tmp").rename(vault / "y/b9.md")
    for name in ("b9.sync-conflict-20260101-101010-ABCDEFG.md", "b9 (conflicted copy).md"):
        put(vault, f"y/{name}")
    (vault / "y/deep/b10.md").rename(vault / "y/deep/.b10.md.icloud")


def from_the_cloud(vault: Path) -> None:
    (vault / "y/deep/.b10.md.icloud").unlink()
    put(vault, "y/deep/b10.md")


def links(vault: Path) -> None:
    os.symlink("..", vault / "y/loop")
    os.symlink(vault, vault / "y/all")
    os.symlink("deep/b11.md", vault / "y/link.md")
    os.symlink("nowhere", vault / "y/broken.md")


def a_link_where_a_folder_was(vault: Path) -> None:
    (vault / "y/deep").rename(vault.parent / "elsewhere")
    os.symlink(vault.parent / "elsewhere", vault / "y/deep")


def and_back(vault: Path) -> None:
    (vault / "y/deep").unlink()
    (vault.parent / "elsewhere").rename(vault / "y/deep")


def odd_names(vault: Path) -> None:
    for raw in (b"new\nline.md", b"bad\xff\xfe.md", b"tab\t.md", b"quote'\".md", b"a\\b.md"):
        put(vault, f"odd/{os.fsdecode(raw)}")
    for raw in (b"dir\xff/x.md", b"dir\n/x.md", "e\u0301te.md".encode(), "\u00e9te.md".encode()):
        put(vault, f"odd/{os.fsdecode(raw)}")


def odd_names_again(vault: Path) -> None:
    for raw in (b"bad\xff\xfe.md", b"dir\xff/x.md", b"dir\n/x.md", "e\u0301te.md".encode()):
        put(vault, f"odd/{os.fsdecode(raw)}")
    (vault / "odd/new\nline.md").unlink()


def a_file_becomes_a_folder(vault: Path) -> None:
    (vault / "y/deep/b12.md").unlink()
    put(vault, "y/deep/b12.md/inside.md")


def and_a_file_again(vault: Path) -> None:
    shutil.rmtree(vault / "y/deep/b12.md")
    put(vault, "y/deep/b12.md")


def no_text(vault: Path) -> None:
    (vault / "y/zeros.md").write_bytes(bytes(1_000))
    (vault / "y/noise.md").write_bytes(os.urandom(5_000))
    with open(vault / "y/large.md", "wb") as stream:
        stream.truncate(17 << 20)
    os.mkfifo(vault / "y/pipe.md")


def twins_of_another_case(vault: Path) -> None:
    for path in ("y/Twin.md", "y/twin.md", "y/TWIN.MD", "y/Sub/a.md", "y/sub/a.md"):
        put(vault, path)


def one_twin_less(vault: Path) -> None:
    (vault / "y/Twin.md").unlink()
    shutil.rmtree(vault / "y/Sub")
    put(vault, "y/twin.md")


def times_of_a_clock_that_jumps(vault: Path) -> None:
    for number, then in enumerate((4e9, 0, 2.0**33, -5.0)):
        os.utime(put(vault, f"y/t{number}.md"), (then, then))


def hidden(vault: Path) -> None:
    (vault / "odd").rename(vault / ".odd")


def a_checkout(vault: Path) -> None:
    for number in range(800):
        put(vault, f"out {number % 40}/{number}.md")
    shutil.rmtree(vault / "y")
    (vault / ".odd").rename(vault / "odd")


def another_folder_takes_its_place(vault: Path) -> None:
    vault.rename(vault.parent / "before")
    shutil.copytree(vault.parent / "before" / "out 1", vault / "out 1")
    put(vault, "out 1/other.md")


def an_edit_there(vault: Path) -> None:
    put(vault, "out 1/1.md")


ATTACKS: tuple[Attack, ...] = (
    many_renames,
    two_change_names,
    out,
    in_again_under_another_name,
    an_edit_in_what_came_in,
    saved_by_rename_under_its_old_time,
    sync_tools,
    from_the_cloud,
    links,
    a_link_where_a_folder_was,
    and_back,
    odd_names,
    odd_names_again,
    a_file_becomes_a_folder,
    and_a_file_again,
    no_text,
    twins_of_another_case,
    one_twin_less,
    times_of_a_clock_that_jumps,
    hidden,
    a_checkout,
    another_folder_takes_its_place,
    an_edit_there,
)
Known = tuple[set[object], list[tuple[str, str]]]


def of_ledger(ledger: Ledger) -> Known:
    """Its notes in short, and each paragraph with its note."""
    rows = {row.id: row for row in ledger.entries.all() if row.used}
    paragraphs = ledger.entries.paragraphs(rows)
    texts = [(rows[name].path, p.digest) for name, found in paragraphs.items() for p in found]
    return set(ledger.notes.facts()), sorted(texts)


def of_folder(vault: Path, key: bytes) -> Known:
    """The same, as a first reading finds it."""
    read = read_vault(vault, Rules()).read
    texts = [
        (scanned.note.path, paragraph.digest)
        for scanned in read
        if scanned.judgement.used
        for entry in scanned.note.entries
        for paragraph in split_paragraphs(*entry.document(), key)
    ]
    return {facts_of(scanned) for scanned in read}, sorted(texts)


async def test_after_each_attack_the_ledger_holds_what_a_first_reading_finds(
    state: VaultState, settings: Settings
) -> None:
    """No timer helps: what the system tells of it must do."""
    for key, value in (("debounce_s", 0.05), ("debounce_cap_s", 1.0), ("reconcile_s", 86_400)):
        settings = with_option(settings, f"schedule.{key}", value)
    async with watching(state, settings, make_watcher) as (loop, thread, _):
        for attack in ATTACKS:
            attack(state.vault)
            wanted = await asyncio.to_thread(of_folder, state.vault, state.secret())

            async def same(wanted: Known = wanted) -> bool:
                return await thread.do(of_ledger) == wanted

            try:
                await until(same, 60.0)
            except TimeoutError:
                pytest.fail(f"{attack.__name__}: the ledger is not what the folder is")
            assert "vault" not in loop.problems
