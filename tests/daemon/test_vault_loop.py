"""The loop that owns the vault: the hint may lie or die, the scan finds everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conftest import until
from vaultgpt.daemon.supervisor import Daemon
from vaultgpt.daemon.threads import LedgerThread
from vaultgpt.daemon.vault_loop import VaultLoop, make_watcher
from vaultgpt.ledger import Ledger
from vaultgpt.options import with_option
from vaultgpt.settings import Settings, save_option
from vaultgpt.state import VaultState
from vaultgpt.tasks.status import STATUS
from vaultgpt.tasks.vault_service import vault_service
from vaultgpt.vault import walk


class Deaf:
    """A watcher that says it is well and hears nothing."""

    made = 0
    problem: str | None = None

    def __init__(self, *_: Any) -> None:
        Deaf.made += 1
        self.alive = True

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def healthy(self) -> bool:
        return self.alive

    def changed(self) -> Any:
        return None


@asynccontextmanager
async def watching(
    state: VaultState, settings: Settings, watcher: Callable[..., Any] = Deaf
) -> AsyncIterator[tuple[VaultLoop, LedgerThread, list[tuple[int, int]]]]:
    seen: list[tuple[int, int]] = []
    thread = LedgerThread(state, "test")
    loop = VaultLoop(
        state, settings, thread, lambda read, gone: seen.append((read, gone)), watcher=watcher
    )
    task = asyncio.create_task(loop.run())
    try:
        async with asyncio.timeout(60):
            await loop.scanned.wait()
        yield loop, thread, seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        thread.close()


async def test_8000_files_written_behind_its_back_are_found_by_the_reconcile_scan(
    state: VaultState, settings: Settings
) -> None:
    """1. The watcher hears nothing. 2. 8,000 notes appear, in folders it never saw. 3. Time passes.

    Result: the ledger knows every one of them.
    """
    often = with_option(settings, "schedule.reconcile_s", 1)
    async with watching(state, often) as (_, thread, _seen):
        for number in range(8_000):
            folder = state.vault / f"new {number // 500}"
            if number % 500 == 0:
                folder.mkdir()
            (folder / f"{number}.md").write_text(f"Note {number} says that it rained again.\n")

        async def all_known() -> bool:
            return len(await thread.do(lambda ledger: ledger.notes.stamps())) == 8_024

        await until(all_known, limit_s=120)


async def test_a_saved_note_is_read_within_seconds_by_the_watcher(
    state: VaultState, settings: Settings
) -> None:
    quick = with_option(settings, "schedule.debounce_s", 0.05)
    async with watching(state, quick, make_watcher) as (loop, thread, seen):
        (state.vault / "new.md").write_text("It rained, and I was glad of it all day.\n")

        async def known() -> bool:
            return "new.md" in await thread.do(lambda ledger: ledger.notes.stamps())

        await until(known)
        assert (1, 0) in seen and time.time() - loop.last_saved < 60


async def test_what_the_watcher_names_alone_is_compared_and_the_ledger_is_as_the_folder(
    state: VaultState, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A note is saved, saved by rename, renamed into another folder, deleted. 2. A folder comes,
    is renamed and goes; a picture comes. 3. The rules change, and a note is saved.

    Result: after each the ledger knows the folder as it is; for 1 only some folders were listed.
    """
    quick = with_option(settings, "schedule.debounce_s", 0.2)
    listed: list[bool] = []
    listings = walk._listings

    def spied(vault: Path, closed: list[str], wanted: Any = None) -> Any:
        listed.append(wanted is None)
        return listings(vault, closed, wanted)

    root, said = state.vault, "It rained, and I was glad of it all day.\n"
    first = next(place for place in sorted(root.rglob("*.md")) if place.parent != root)
    async with watching(state, quick, make_watcher) as (loop, thread, seen):
        monkeypatch.setattr(walk, "_listings", spied)

        async def done(alone: bool) -> None:
            async def known() -> bool:
                there = {str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*.md")}
                stamps = await thread.do(lambda ledger: ledger.notes.stamps())
                return {path: stamp.mtime_ns for path, stamp in stamps.items()} == there

            await until(known)
            assert listed and any(listed) != alone, listed
            listed.clear()

        first.write_text(said)
        await done(alone=True)
        (first.parent / ".new.tmp").write_text(said * 2)
        (first.parent / ".new.tmp").rename(first)
        await done(alone=True)
        first.rename(root / "Renamed Ü.md")
        await done(alone=True)
        (root / "Renamed Ü.md").unlink()
        await done(alone=True)
        assert sum(read for read, _ in seen[1:]) == 3 and sum(gone for _, gone in seen) == 2
        (root / "Picture.png").write_bytes(b"\x89PNG")
        (root / "New").mkdir()
        (root / "New" / "note.md").write_text(said)
        await done(alone=False)
        (root / "New").rename(root / "Newer")
        await done(alone=False)
        shutil.rmtree(root / "Newer")
        await done(alone=False)
        (root / ".obsidian").mkdir(exist_ok=True)
        (root / ".obsidian" / "app.json").write_text('{"userIgnoreFilters":["Dream/"]}')
        (root / "late.md").write_text(said)
        await done(alone=False)
        totals = await thread.do(lambda ledger: ledger.notes.totals())
        assert totals["used"] < totals["notes"] and not loop.problems


async def test_what_the_watcher_did_not_name_is_found_on_time_though_somebody_writes_all_day(
    state: VaultState, settings: Settings
) -> None:
    class Names(Deaf):
        def changed(self) -> Any:
            return frozenset({""})

    often = with_option(settings, "schedule.reconcile_s", 1)
    async with watching(state, often, Names) as (loop, thread, _):
        (state.vault / "Far").mkdir()
        (state.vault / "Far" / "note.md").write_text("It rained, and I was glad of it.\n")

        async def known() -> bool:
            loop._flag.set()  # as the watcher does
            return "Far/note.md" in await thread.do(lambda ledger: ledger.notes.stamps())

        await until(known)


async def test_a_note_that_was_told_is_known_before_all_is_compared(
    state: VaultState, settings: Settings
) -> None:
    """1. A note is saved, and told, just when all is to be compared. Result: it is read and said so
    first, by its folder alone; the comparison of all follows and finds nothing more.
    """

    class Names(Deaf):
        told = frozenset[str]()

        def changed(self) -> Any:
            told, Names.told = Names.told, frozenset()
            return told

    async with watching(state, settings, Names) as (loop, _, seen):
        (state.vault / "told.md").write_text("It rained, and I was glad of it.\n")
        Names.told = frozenset({""})
        seen.clear()
        loop.poke()

        async def both() -> bool:
            return len(seen) == 2

        await until(both)
        assert seen == [(1, 0), (0, 0)]


async def test_a_watcher_whose_emitter_died_is_made_anew(
    state: VaultState, settings: Settings
) -> None:
    """1. The vault's folder is deleted: the emitter dies in silence. 2. It comes back. 3. A note.

    Result: the missing vault is a problem that nothing is unlearned by, then it is watched again.
    """
    quick = with_option(
        with_option(settings, "schedule.debounce_s", 0.05), "schedule.reconcile_s", 1
    )
    async with watching(state, quick, make_watcher) as (loop, thread, _):
        aside = state.vault.with_name("aside")
        state.vault.rename(aside)
        shutil.copytree(aside, aside.with_name("copy"))
        await until(lambda: "vault" in loop.problems)
        assert len(await thread.do(lambda ledger: ledger.notes.stamps())) == 24
        aside.with_name("copy").rename(state.vault)
        await until(lambda: not loop.problems)
        await until(lambda: loop._hint is not None and loop._hint.healthy())
        (state.vault / "new.md").write_text("It rained, and I was glad of it all day.\n")

        async def known() -> bool:
            return "new.md" in await thread.do(lambda ledger: ledger.notes.stamps())

        await until(known)


@pytest.mark.parametrize("rules", ["the same", "changed"])
async def test_an_empty_mount_point_deletes_nothing(
    state: VaultState, settings: Settings, rules: str
) -> None:
    """1. The drive is unmounted: an empty folder stands in the vault's place; the rules change too.
    2. The daemon looks, `status` is asked. 3. It is mounted again, and a note was deleted.

    Result: both say it, no note counts as gone, nothing is pending or paused; then one is gone.
    """
    async with watching(state, settings) as (loop, thread, _):

        def of_ledger(ledger: Ledger) -> tuple[int, int, str | None]:
            absent = [e for e in ledger.entries.all(absent=True) if e.absent_since is not None]
            return len(ledger.notes.stamps()), len(absent), ledger.paused()

        aside = state.vault.with_name("aside")
        state.vault.rename(aside)
        state.vault.mkdir()
        (state.vault / "lost+found").mkdir()
        if rules == "changed":
            save_option(state.config, "rules.exclude", ["*.txt"])
        loop.poke()
        await until(lambda: "holds no note any more" in loop.problems.get("vault", ""))
        assert await thread.do(of_ledger) == (24, 0, None)
        told = vault_service(state).ask(STATUS, None)
        assert told["notes"] == 24 and "drive mounted" in " ".join(told["problems"])
        (state.vault / "lost+found").rmdir()
        state.vault.rmdir()
        next(aside.rglob("*.md")).unlink()
        aside.rename(state.vault)
        loop.poke()
        await until(lambda: not loop.problems)
        assert await thread.do(of_ledger) == (23, 1, None)


async def test_a_change_of_the_rules_judges_every_note_anew(
    state: VaultState, settings: Settings
) -> None:
    async with watching(state, settings) as (loop, thread, _):

        async def used() -> int:
            return int((await thread.do(lambda ledger: ledger.notes.totals()))["used"])

        before = await used()
        save_option(state.config, "rules.exclude", ["Dream/"])
        loop.poke()

        async def fewer() -> bool:
            return await used() < before

        await until(fewer)
        assert loop.settings.rules.exclude == ("Dream/",)


async def test_obsidian_s_excluded_files_count_as_soon_as_they_change(
    state: VaultState, settings: Settings
) -> None:
    async with watching(state, settings) as (loop, thread, _):
        (state.vault / ".obsidian").mkdir()
        (state.vault / ".obsidian" / "app.json").write_text('{"userIgnoreFilters":["Dream/"]}')
        loop.poke()

        async def fewer() -> bool:
            totals = await thread.do(lambda ledger: ledger.notes.totals())
            return bool(totals["used"] < totals["notes"])

        await until(fewer)


async def test_bad_settings_are_a_problem_and_the_old_ones_stay(
    state: VaultState, settings: Settings
) -> None:
    async with watching(state, settings) as (loop, _, _seen):
        good = state.config.read_text()
        state.config.write_text("[schedule]\nnightly = 'noon'\n")
        loop.poke()
        await until(lambda: "settings" in loop.problems)
        assert loop.settings == settings
        state.config.write_text(good)
        loop.poke()
        await until(lambda: "settings" not in loop.problems)


async def test_status_tells_what_the_settings_file_says_when_it_is_asked(
    state: VaultState, settings: Settings
) -> None:
    """1. config.toml is broken by hand. 2. Status is asked, before the vault is looked at again.
    3. It is mended, and status asked again."""
    daemon = Daemon(state, settings)
    try:
        good = state.config.read_text()
        for text, told in (("[mirror", True), ("[mirror]\nmin_q = 1\n", True), (good, False)):
            state.config.write_text(text)
            assert ("settings" in (await daemon.ask(STATUS, None))["troubles"]) is told
    finally:
        daemon.close()


async def test_why_nothing_watches_is_told_and_the_timer_goes_on(
    state: VaultState, settings: Settings
) -> None:
    class Refused(Deaf):
        problem = "The vault can't be watched: no more are given."

        def healthy(self) -> bool:
            return False

    often = with_option(settings, "schedule.reconcile_s", 1)
    async with watching(state, often, Refused) as (loop, thread, _):
        assert loop.problems["watch"] == f"{Refused.problem} It is compared every 1 s instead."
        (state.vault / "unheard.md").write_text("It rained, and I was glad of it.\n")

        async def found() -> bool:
            return bool(await thread.do(lambda ledger: "unheard.md" in ledger.notes.stamps()))

        await until(found)


async def test_all_is_compared_rarely_where_that_takes_long_and_a_watcher_tells(
    state: VaultState, settings: Settings
) -> None:
    async with watching(state, settings) as (loop, _, _seen):
        for took_s, between_s in ((0.01, 300.0), (2.0, 800.0), (60.0, 3600.0)):
            loop._whole_s = took_s
            assert loop._between() == between_s
        loop.problems["vault"] = "The vault could not be read."
        assert loop._between() == 300.0, "what failed is tried again when it always was"
        del loop.problems["vault"]
        loop.settings = with_option(settings, "schedule.reconcile_s", 86_400)
        assert loop._between() == 86_400
        loop.settings = settings
        assert isinstance(loop._hint, Deaf)
        loop._hint.alive = False
        assert loop._between() == 300.0


async def test_a_key_that_means_nothing_is_told_and_the_rest_of_the_settings_holds(
    state: VaultState, settings: Settings
) -> None:
    good = state.config.read_text()
    state.config.write_text(good + "\n[rule]\nexclude = ['Work/']\n")
    async with watching(state, settings) as (loop, _, _seen):
        assert "'rule.exclude'" in loop.problems["settings"]
        assert "rules.exclude" in loop.problems["settings"]
        assert "nothing is learned" in loop.unsure
        state.config.write_text(good + "\n[mirrors]\ntemperature = 1.0\n")
        save_option(state.config, "schedule.quiet_s", 77)
        loop.poke()
        await until(lambda: "mirror.temperature" in loop.problems["settings"])
        assert loop.settings.schedule.quiet_s == 77 and not loop.unsure
        state.config.write_text(good)
        loop.poke()
        await until(lambda: "settings" not in loop.problems)


async def test_an_old_vault_does_not_look_as_if_somebody_wrote(
    state: VaultState, settings: Settings
) -> None:
    async with watching(state, settings) as (loop, _, _seen):
        assert time.time() - loop.last_saved > 80_000
        note = next(Path(state.vault).rglob("*.md"))
        note.write_text(note.read_text() + "\nAnd once more, that evening, it rained.\n")
        os.utime(note, (time.time() - 5, time.time() - 5))
        loop.poke()
        await until(lambda: time.time() - loop.last_saved < 60)
