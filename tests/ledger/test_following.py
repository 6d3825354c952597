"""The ledger follows the folder: in parts, from where a stop left it, by stat alone."""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.ledger.vaults import HOUR, NOW, Vault, body, copies, of_note, prose
from vaultgpt import __version__
from vaultgpt.corpus.runs import Hashes, RunIndex, WordHashes
from vaultgpt.corpus.words import norms
from vaultgpt.errors import VaultError
from vaultgpt.ledger import Ledger
from vaultgpt.ledger.entries import Entries
from vaultgpt.ledger.notes import Notes
from vaultgpt.settings import Rules
from vaultgpt.tasks import status
from vaultgpt.tasks.scan import scanned, tried
from vaultgpt.tasks.vault_service import Desk, Here
from vaultgpt.vault import reconcile, walk


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    monkeypatch.setattr(reconcile, "_PART_BYTES", 2_000)  # three or four notes
    made = Vault(tmp_path)
    made.fill(20, paragraphs=2, words=30)
    return made


class Stopped(Exception):
    """The process ends."""


def stop_after(parts: int) -> Callable[[int, int], None]:
    heard: list[int] = []

    def stop(done: int, of: int) -> None:
        heard.append(done)
        if len(heard) == parts:
            raise Stopped

    return stop


def test_a_stop_loses_one_part_and_the_rest_is_read_alone(vault: Vault) -> None:
    """1. A first scan is stopped after its third part. 2. It goes on. Result: what was recorded
    stands and is not read again, and all ends as if nothing had been.
    """
    with Ledger.open(vault.state) as ledger:
        with pytest.raises(Stopped):
            ledger.follow(Rules(), NOW, heard=stop_after(3))
        before = ledger.notes.count()
        assert 2 <= before < 20 and ledger.compared() is None
    with Ledger.open(vault.state) as ledger:
        assert ledger.follow(Rules(), NOW + HOUR).read == 20 - before
        assert ledger.notes.count() == 20 and ledger.compared() is not None
        assert ledger.meta("held_out_chosen") == "1" or ledger.entries.usable_words() < 2_000


def test_a_first_scan_holds_a_few_notes_however_many_there_are(vault: Vault) -> None:
    vault.fill(60, paragraphs=2, words=30)
    held: list[int] = []

    def count(done: int, of: int) -> None:
        held.append(sum(isinstance(one, reconcile.ScannedNote) for one in gc.get_objects()))

    with Ledger.open(vault.state) as ledger:
        assert ledger.follow(Rules(), NOW, heard=count).read == 60
    assert len(held) > 10 and max(held) <= 12  # three parts: told, recorded, read


def test_a_folder_may_hold_more_notes_than_one_query_takes_values(vault: Vault) -> None:
    """SQLite takes 32,766 as a rule, and one folder's notes were asked for at once."""
    for number in range(700):
        vault.write(f"flat/{number}.md", "")
    with Ledger.open(vault.state) as ledger:
        ledger.notes._db.sql.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 600)
        assert ledger.follow(Rules(), NOW).read == 720
        vault.write("flat/7.md", body("other"), age_s=0)
        assert ledger.follow(Rules(), NOW + HOUR).read == 1


def test_nothing_changed_opens_no_note_and_what_changed_is_known(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        with monkeypatch.context() as patch:
            patch.setattr(walk, "read_bytes", None)
            assert ledger.follow(Rules(), NOW + HOUR).read == 0
        vault.write("note003.md", body("other"), age_s=0)
        vault.remove("note004.md")
        found = ledger.follow(Rules(), NOW + HOUR)
        assert (found.read, found.gone, found.saved) == (1, 1, NOW)
        assert ledger.follow(Rules(min_words=4), NOW + HOUR).read == 19  # by other rules: all


def test_notes_that_were_as_they_are_known_are_not_asked_for_until_one_beside_them_changes(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Two comparisons find nothing changed. 2. A note changes, another is told of, a third goes.
    Result: the second asks the ledger for no stamp, and after each change those beside it alone are
    asked for once.
    """
    monkeypatch.setattr(reconcile, "_SOME_NOTES", 5)
    asked: list[int] = []
    some_stamps = Notes.some_stamps

    def counted(self: Notes, paths: Sequence[str]) -> Mapping[str, tuple[int, int, int]]:
        asked.append(len(paths))
        return some_stamps(self, paths)

    monkeypatch.setattr(Notes, "some_stamps", counted)
    for number in range(20):
        vault.write(f"in/{number // 4}/note.md", body(f"in folders {number}"))

    def follow(ledger: Ledger, name: str | None) -> tuple[int, int]:
        if name:
            vault.write(name, body(f"changed {name}"), age_s=0)
        asked.clear()
        read = ledger.follow(Rules(), NOW + HOUR).read
        return read, sum(asked)

    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        notes = ledger.notes.count()
        steps = [follow(ledger, None), follow(ledger, None)]
        assert steps == [(0, notes), (0, 0)]
        assert follow(ledger, "in/2/note.md")[0] == 1  # what lies beside it alone was asked for
        assert 0 < sum(asked) < notes
        read, again = follow(ledger, None)
        assert read == 0 and 0 < again < notes
        assert follow(ledger, None) == (0, 0)
        before = ledger.notes.marks()
        vault.write("in/1/note.md", body("named"), age_s=0)
        assert ledger.follow(Rules(), NOW + HOUR, folders=["in/1/"]).read == 1
        assert sum(before[f] != mark for f, mark in ledger.notes.marks().items()) == 1
        read, again = follow(ledger, None)
        assert read == 0 and 0 < again < notes
        before = ledger.notes.marks()
        vault.remove("in/4/note.md")
        assert ledger.follow(Rules(), NOW + HOUR, folders=["in/4/"]).gone == 1
        assert sum(before[f] != mark for f, mark in ledger.notes.marks().items()) == 1
        vault.remove("in/1/note.md")
        vault.write("in/1/other.md", body("other"), age_s=0)
        found = ledger.follow(Rules(), NOW + HOUR)
        assert (found.read, found.gone) == (1, 1)


def test_a_changed_note_does_not_have_the_words_of_all_summed(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are asked where notes vanished, or one that is new may be held out."""
    vault.fill(60, prefix="more")
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        assert ledger.meta("held_out_chosen") == "1"
        vault.write("note003.md", body("other"), age_s=0)
        with monkeypatch.context() as patch:
            patch.setattr(Entries, "usable_words", None)
            assert ledger.follow(Rules(), NOW + HOUR).changed == 1
        vault.write("new.md", body("new"), age_s=0)
        assert ledger.follow(Rules(), NOW + HOUR).changed == 1


def test_odd_names_and_times_are_compared_as_they_were_kept(vault: Vault) -> None:
    names = ["É.md", "E\u0301.md", "K.md", "\u212a.md", "plain.markdown", "Ünter/\u00fc.md"]
    names += ["half\udcff.md"] if os.name == "posix" else []
    for number, name in enumerate(names):
        vault.write(name, body(f"odd {number}"))
    late = vault.root / "note001.md"
    os.utime(late, ns=(0, 2**63 + 10**9))  # of a broken clock, past what SQLite holds
    with Ledger.open(vault.state) as ledger:
        assert ledger.follow(Rules(), NOW).read == 20 + len(names)
        assert ledger.follow(Rules(), NOW + HOUR).read == 0
        for name in names:
            os.utime(vault.root / name, (NOW, NOW))
        assert ledger.follow(Rules(), NOW + HOUR).read == len(names)


def test_the_folders_that_are_named_are_compared_and_those_above_and_no_other(
    vault: Vault,
) -> None:
    """1. Notes change in two folders, one goes, one comes, one is renamed into another folder.
    2. One of them is named. Result: what lies in it and above it is known, the rest is not until
    all is compared; who was renamed is the same entry.
    """
    for name in ("a/one.md", "a/two.md", "a/deep/far.md", "b/other.md", "a.md"):
        vault.write(name, body(name))
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        (before,) = of_note(ledger, "a/two.md")
        for name in ("a/one.md", "b/other.md", "note003.md"):
            vault.write(name, body(f"{name} again"), age_s=0)
        vault.remove("note004.md")
        vault.root.joinpath("a/two.md").rename(vault.root / "a/deep/three.md")
        vault.write("b/new.md", body("new"), age_s=0)
        found = ledger.follow(Rules(), NOW + HOUR, folders={"a", os.path.join("a", "deep")})
        assert (found.read, found.gone) == (3, 2)
        (after,) = of_note(ledger, "a/deep/three.md")
        assert after.id == before.id and not of_note(ledger, "a/two.md")
        assert ledger.compared() == (NOW, []), "of the whole"
        assert "b/new.md" not in ledger.notes.stamps()
        found = ledger.follow(Rules(), NOW + HOUR)
        assert (found.read, found.gone) == (2, 0)
        assert ledger.notes.stamps() == reconcile.read_vault(vault.root, Rules()).stamps


@pytest.mark.parametrize(
    "doubt", ["case", "gone", "a file", "rules", "none left", "stopped", "link"]
)
def test_a_doubt_about_the_named_folders_compares_the_whole(vault: Vault, doubt: str) -> None:
    vault.write("Tag/one.md", body("one"))
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        named, rules = {"Tag"}, Rules()
        vault.write("note003.md", body("elsewhere"), age_s=0)
        vault.write("Far/new.md", body("new"), age_s=0)
        if doubt == "case":
            named = {"TAG"}
        elif doubt == "gone":
            named = {"Tag", "Was"}
        elif doubt == "a file":
            vault.write("Other", "", age_s=0)
            named = {"Other"}
        elif doubt == "link":
            (vault.root / "Link").symlink_to(vault.root / "Far")
            named = {"Link"}
        elif doubt == "rules":
            rules = Rules(min_words=4)
        elif doubt == "stopped":
            with pytest.raises(Stopped):
                vault.fill(30, paragraphs=2, words=30)
                ledger.follow(rules, NOW, heard=stop_after(3))
        elif doubt == "none left":
            for place in vault.root.rglob("*.md"):
                place.unlink()
            with pytest.raises(VaultError, match="holds no note any more"):
                ledger.follow(rules, NOW + HOUR, folders={"", "Tag"})
            assert ledger.notes.count() == 21
            return
        ledger.follow(rules, NOW + HOUR, folders=named)
        assert ledger.notes.stamps() == reconcile.read_vault(vault.root, rules).stamps


def test_status_opens_no_note_and_says_how_old_its_figures_are(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here(vault.state)
    assert here.ask(status.STATUS, None)["as_of"] is None
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
    vault.write("new.md", body("new"), age_s=0)
    monkeypatch.setattr(walk, "read_bytes", None)
    monkeypatch.setattr(reconcile, "Changes", None)
    told = here.ask(status.STATUS, None)
    assert (told["notes"], told["as_of"], told["problems"]) == (20, NOW, [])


def test_a_scan_with_nothing_changed_opens_no_note_and_counts_as_if_all_were_read(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.write("Dream/far.md", "---\ndate: 2001-02-03\ntags: [dream]\n---\n" + body("far"))
    vault.write("Clips/one.md", "---\nsource: x\n---\n" + body("clip"))
    vault.write("broken.md", "---\ntags: [\n---\n" + body("broken"))
    here = Here(vault.state)
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        ledger.forgotten.add("note003.md", NOW)
    first = here.with_desk(lambda desk: scanned(desk, lambda event: None))
    whole = here.with_desk(tried)
    assert first.census == whole.census
    assert first.census["left_out"] == {"clipping": 1, "forgotten": 1}
    with monkeypatch.context() as patch:
        patch.setattr(walk, "read_bytes", None)
        patch.setattr(Notes, "facts_alike", None)  # nor are they counted again
        again = here.with_desk(lambda desk: scanned(desk, lambda event: None))
        assert again.census == first.census
    vault.write("Dream/far.md", "---\ntags: [dream, far]\n---\n" + body("far"), age_s=0)
    changed = here.with_desk(lambda desk: scanned(desk, lambda event: None))
    assert changed.census == here.with_desk(tried).census != first.census


def test_counts_of_what_is_new_are_kept_until_a_row_changes_or_a_note_grows_quiet(
    vault: Vault,
) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        vault.write("new.md", body("new", 2, 30), age_s=600)
        ledger.follow(Rules(), NOW)
        counted = ledger.pending(NOW, listed=False)
        assert counted.ready_words == counted.words - 60
        assert counted.entries == {} and len(ledger.pending(NOW).entries) == counted.ready_notes
        assert ledger.pending(NOW + 60, listed=False) == counted
        assert ledger.pending(NOW + HOUR, listed=False).ready_words == counted.words
        vault.remove("new.md")
        ledger.follow(Rules(), NOW + HOUR)
        assert ledger.pending(NOW + HOUR, listed=False).words == counted.words - 60


def test_replay_is_chosen_from_so_many_entries_however_many_there_are(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        every = {e.id for e in ledger.entries.some_to_learn(["dream"], 100, 1)}
        assert every == {e.id for e in ledger.entries.to_learn() if e.tags == ("dream",)}
        some = [{e.id for e in ledger.entries.some_to_learn(["dream"], 2, n)} for n in range(3)]
        assert set.union(*some) == every and all(len(part) < len(every) for part in some)


def test_a_stop_between_parts_leaves_nothing_that_its_note_no_longer_says(vault: Vault) -> None:
    """1. A section is taken out of a note, and others are written. 2. The scan is stopped once that
    note's part stands. 3. It goes on. Result: the section is gone, as after a scan of one piece.
    """
    two = f"## 2020-01-03\n\n{body('one', 3)}\n## 2020-01-04\n\n{body('two', 3)}"
    vault.write("a.md", two)
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        assert len(of_note(ledger, "a.md")) == 2
        vault.write("a.md", two.partition("## 2020-01-04")[0], age_s=0)
        vault.fill(20, paragraphs=2, words=30, prefix="later")
        with pytest.raises(Stopped):
            ledger.follow(Rules(), NOW + HOUR, heard=stop_after(2))
        ledger.follow(Rules(), NOW + HOUR)
        assert len(of_note(ledger, "a.md")) == 1


def test_rules_that_were_followed_half_way_are_not_kept(vault: Vault) -> None:
    """1. Other rules are set and the scan is stopped. 2. The first rules are set again. Result: no
    note is judged by the others.
    """
    first = Rules(exclude=("note00*",))
    with Ledger.open(vault.state) as ledger:
        ledger.follow(first, NOW)
        before = ledger.notes.totals()
        with pytest.raises(Stopped):
            ledger.follow(Rules(), NOW, heard=stop_after(3))
        ledger.follow(first, NOW)
        assert ledger.notes.totals() == before
        vault.record(ledger, whole=True)  # a round's scan, under the other rules
        ledger.follow(first, NOW)
        assert ledger.notes.totals() == before


def test_what_status_tells_is_summed_once_until_a_row_changes(vault: Vault) -> None:
    """1. A vault is recorded. 2. Its figures are asked for twice. 3. A note comes. Result: the
    second time no row of a note or an entry is summed, and the third they are those of then.
    """
    asked: list[str] = []

    def told() -> list[object]:
        asked.clear()
        waits = ledger.pending(NOW, listed=False)
        words = ledger.entries.usable_words(copies=False)
        return [ledger.notes.totals(), ledger.notes.quarantined(), words, waits]

    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        ledger.notes._db.sql.set_trace_callback(asked.append)
        first = told()
        assert any("FROM entries" in sql for sql in asked)
        assert told() == first
        assert not [
            sql for sql in asked if "notes" in sql or "SUM(" in sql or "MAX(changed)" in sql
        ]
        vault.write("more.md", body("more"))
        ledger.follow(Rules(), NOW)
        totals, _, words, waits = told()
        assert all(
            a != b for a, b in zip((totals, words, waits), (first[0], *first[2:]), strict=True)
        )


@pytest.mark.parametrize("copies", ["known", "not known"])
def test_status_waits_for_no_other_process_that_writes_and_keeps_nothing_then(
    vault: Vault, copies: str
) -> None:
    """1. Another process is in the midst of a scan. 2. Status is asked for. 3. The other ends.
    Result: it is told at once, and what was told is not kept."""
    vault.write("again.md", "---\ndate: 2020-01-01\n---\n" + body("note1", 2, 30))
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        ledger.entries.find_copies()
        if copies == "not known":
            ledger.entries.forget_copies()
    here = Here(vault.state)
    told: list[status.Status] = []
    with Ledger.open(vault.state) as other, other._db.write():
        asking = threading.Thread(
            target=lambda: told.append(here.ask(status.STATUS, None)), daemon=True
        )
        asking.start()
        asking.join(10)
        assert not asking.is_alive() and told[0]["notes"] == 21
        kept = {key: other.meta(key) for key in ("totals", "pending_counts")}
        assert not any(kept.values())
    after = here.ask(status.STATUS, None)
    assert after["words"] == told[0]["words"] and after["pending_words"] <= told[0]["pending_words"]


@pytest.mark.parametrize("damage", ["null", "x{", "[]", '{"of": OF, "value": null}'])
def test_what_is_kept_and_was_damaged_by_hand_is_made_anew(vault: Vault, damage: str) -> None:
    """1. Status was told. 2. What is kept for it is damaged. 3. Status, and a scan of one more
    note. Result: the same is told as before, then with that note."""
    here, keys = Here(vault.state), ["memory_line"]
    with Ledger.open(vault.state) as ledger:
        scanned(Desk(vault.state, vault.settings, ledger, NOW), print)
    before = here.ask(status.STATUS, None)
    with Ledger.open(vault.state) as ledger:
        of = json.dumps([__version__, ledger.meta("version")])
        as_json = "SELECT key FROM meta WHERE value LIKE '%[%' OR value LIKE '%{%'"
        keys += [row["key"] for row in ledger._db.read(as_json)]
        for key in keys:
            ledger.set_meta(key, damage.replace("OF", of))
    assert len(keys) > 8
    told = here.ask(status.STATUS, None)
    assert told == {**before, "as_of": None, "language": None}
    vault.write("more.md", body("more"))
    with Ledger.open(vault.state) as ledger:
        scanned(Desk(vault.state, vault.settings, ledger, NOW + HOUR), print)
    told = here.ask(status.STATUS, None)
    assert (told["notes"], told["language"]) == (21, before["language"])


def test_words_are_not_kept_of_before_a_note_that_another_process_records(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Usable words are asked for. 2. Meanwhile, once the copies are known, another process
    records a copy. Result: whoever asks afterwards is told the words without it."""
    find = Entries.find_copies

    def and_then(entries: Entries) -> None:
        find(entries)
        monkeypatch.setattr(Entries, "find_copies", find)
        vault.write("again.md", body("long"), age_s=0)
        with Ledger.open(vault.state) as other:
            other.follow(Rules(), NOW + HOUR)

    with Ledger.open(vault.state) as ledger:
        vault.write("long.md", body("long"), age_s=0)
        ledger.follow(Rules(), NOW)
        once = ledger.entries.usable_words(copies=False)
        vault.write("other.md", body("other"), age_s=0)
        ledger.follow(Rules(), NOW + HOUR)
        monkeypatch.setattr(Entries, "find_copies", and_then)
        ledger.entries.usable_words(copies=False)
        then = ledger.entries.usable_words(copies=False)
        assert then - once == len(body("other").split())


def test_of_a_journal_in_one_file_what_changed_is_written_and_hashed_alone(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A journal of many days. 2. A day more. 3. A day that says more. 4. A tag for all. Result:
    one row is made, then one is written, then all.
    """
    asked: list[str] = []
    hashed: list[int] = []
    of = WordHashes.of

    def counted(words: WordHashes, some: Sequence[str]) -> Hashes:
        hashed.append(len(some))
        return of(words, some)

    monkeypatch.setattr(WordHashes, "of", counted)
    days = [f"## 2021-03-{day:02d}\n\n{prose(day)}\n" for day in range(1, 31)]
    with Ledger.open(vault.state) as ledger:

        def saved(text: str) -> tuple[int, int, int]:
            asked.clear()
            hashed.clear()
            vault.write("journal.md", text, age_s=0)
            ledger.follow(Rules(), NOW + HOUR)
            begun = [sql.split(" SET note")[0].split(" (")[0] for sql in asked]
            return begun.count("INSERT INTO entries"), begun.count("UPDATE entries"), len(hashed)

        saved("\n".join(days[:-1]))
        ledger.notes._db.sql.set_trace_callback(asked.append)
        assert saved("\n".join(days)) == (1, 0, 1)
        days[3] += prose("more") + "\n"
        assert saved("\n".join(days)) == (0, 1, 1)
        assert saved("---\ntags: [sea]\n---\n" + "\n".join(days)) == (0, 30, 0)
        assert {row.tags for row in of_note(ledger, "journal.md")} == {("sea",)}
        days[5], days[6] = days[5].replace(prose(6), prose(7)), days[6].replace(prose(7), prose(6))
        made, written, _ = saved("---\ntags: [sea]\n---\n" + "\n".join(days))
        assert (made, written) == (0, 2), "known words under another day are hashed when they must"


def copied_and_edited(vault: Vault) -> None:
    vault.write("b.md", body("long"))
    vault.write("long.md", "Changed " + body("long"), age_s=0)


def quoted_then_alone(vault: Vault) -> None:
    """A long note takes in a part of another; in a later scan nothing but that is left of it."""
    vault.write("quote.md", body("mine", 8) + "\n" + prose("other/0"), age_s=0)
    with Ledger.open(vault.state) as ledger:
        before = ledger.meta("copies_shared")
        ledger.follow(Rules(), NOW)
        assert before is not None and ledger.meta("copies_shared") not in (None, before)
    vault.write("quote.md", prose("other/0"), age_s=0)


CHANGES: dict[str, Callable[[Vault], object]] = {
    "a copy of eleven words": lambda v: v.write("b.md", prose("short", 11)),
    "a longer note around eleven": lambda v: v.write("b.md", prose("short", 11) + body("round")),
    "a copy, and its original edited": copied_and_edited,
    "what is left is another note's": lambda v: v.write("half.md", prose("other/0"), age_s=0),
    "what is left was taken from another": quoted_then_alone,
    "back from the cloud": lambda v: v.move(".twin.md.icloud", "twin.md"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_as_if_all_were_new(vault: Vault, change: str) -> None:
    vault.write("short.md", prose("short", 11))
    vault.write("long.md", body("long"))
    vault.write("other.md", body("other"))
    vault.write("half.md", prose("other/0") + "\n\n" + body("own"))
    vault.write("twin.md", body("note1", 2, 30))
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        vault.move("twin.md", ".twin.md.icloud")
        ledger.follow(Rules(), NOW)
        before = len(copies(ledger))
        CHANGES[change](vault)
        ledger.follow(Rules(), NOW + HOUR)
        kept = copies(ledger)
        assert len(kept) == before + 1
        ledger.entries.forget_copies()
        assert copies(ledger) == kept


@pytest.mark.parametrize("left", [0, 60, 150])
def test_a_guard_that_was_cut_short_stops_no_scan_and_misses_no_copy(
    vault: Vault, left: int
) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        assert not copies(ledger)
        for path in vault.state.runs.glob("n10-*"):
            path.write_bytes(path.read_bytes()[:left])
        vault.write("copy.md", body("note1", 2, 30), age_s=0)
        ledger.follow(Rules(), NOW + HOUR)
        assert len(copies(ledger)) == 1
        ledger.guard.mend()
        words = norms(body("note2", 2, 30))
        assert RunIndex(vault.state.runs, ledger.key).load().has(words)


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps no time of a file's last change")
def test_what_leaves_a_notes_time_size_and_inode_as_they_were_is_seen(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        path = vault.root / "note001.md"
        path.write_text(path.read_text().replace("am", "op"))  # as long as it was
        os.utime(path, (NOW - 10 * HOUR, NOW - 10 * HOUR))
        before = {p.digest for ps in ledger.entries.paragraphs().values() for p in ps}
        assert ledger.follow(Rules(), NOW + HOUR).read == 1
        assert {p.digest for ps in ledger.entries.paragraphs().values() for p in ps} != before
        assert ledger.follow(Rules(), NOW + HOUR).read == 0
        assert ledger.follow(Rules(), NOW + HOUR, whole=True).read == ledger.notes.count() > 1


def test_a_copy_of_what_may_be_learned_is_never_held_out(vault: Vault) -> None:
    """It would be measured by what was learned from the other."""
    vault.fill(60, paragraphs=2, words=30)
    with Ledger.open(vault.state) as ledger:
        ledger.follow(Rules(), NOW)
        ids = {e.path for e in ledger.entries.all() if not e.held_out}
        assert ledger.entries.where("e.held_out")
        for path in ids:
            vault.write(f"copies/{path}", (vault.root / path).read_text(), age_s=0)
        ledger.follow(Rules(), NOW + HOUR)
        assert not ledger.entries.where("e.held_out AND n.path LIKE 'copies/%'")


def test_what_is_saved_twice_within_a_coarse_clock_is_read_again_later(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. On a disk that keeps whole seconds notes are saved, and read in that very second; a saving
    that follows in it leaves no other time and size. Result: they are read once more when the
    second has passed, and no more after that."""
    monkeypatch.setattr(walk, "_COARSE_NS", 1)
    saved = max(place.stat().st_ctime for place in vault.root.rglob("*.md"))
    with Ledger.open(vault.state) as ledger:
        for at, read in ((saved, 20), (saved + 1, 0), (saved + 10, 20), (saved + 20, 0)):
            monkeypatch.setattr("vaultgpt.vault.walk.time.time", lambda at=at: at)
            assert ledger.follow(Rules(), NOW).read == read


def test_what_is_read_otherwise_than_before_is_recorded_so(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A note's name is no date. 2. Obsidian's format of daily notes makes it one; no note has
    changed. 3. The whole is read again. 4. A newer vaultgpt reads notes otherwise.

    Result: of 2 the ledger has the date; only 3 finds all as it was.
    """
    vault.write("Daily/03.14.2021.md", body("day"))
    formats = vault.root / ".obsidian" / "daily-notes.json"
    formats.parent.mkdir()
    with Ledger.open(vault.state) as ledger:
        found = ledger.follow(vault.settings.rules, NOW)
        assert (found.read, found.changed) == (21, 21)
        assert [entry.date for entry in of_note(ledger, "Daily/03.14.2021.md")] == [None]
        formats.write_text('{"format": "MM.DD.YYYY", "folder": "Daily"}')
        found = ledger.follow(vault.settings.rules, NOW + 1)
        assert (found.read, found.changed) == (21, 21)
        assert [entry.date for entry in of_note(ledger, "Daily/03.14.2021.md")] == ["2021-03-14"]
        found = ledger.follow(vault.settings.rules, NOW + 2, whole=True)
        assert (found.read, found.changed) == (21, 0)
        monkeypatch.setattr(reconcile, "_READER", reconcile._READER + 1)
        found = ledger.follow(vault.settings.rules, NOW + 3)
        assert (found.read, found.changed) == (21, 21)
