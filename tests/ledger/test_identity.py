"""What is new text and what is not: renames, moves, typos, copies, deletions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ledger.vaults import DAY, HOUR, NOW, Vault, body, copies, of_note, prose
from vaultgpt.ledger import Ledger, recorder
from vaultgpt.ledger.schema import given_id


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path)
    made.fill(40, paragraphs=4)
    return made


def learn_all(vault: Vault, ledger: Ledger) -> None:
    """Pretend that a generation learned all there is."""
    from vaultgpt.ledger import GenerationRow

    pending = ledger.pending(NOW, 0)
    words = {(e, p.digest): p.words for e, ps in ledger.entries.paragraphs().items() for p in ps}
    learned = [(e, d, words[e, d]) for e, ds in pending.entries.items() for d in ds]
    row = GenerationRow(
        "g000001",
        1,
        "fresh",
        None,
        "tiny",
        {},
        NOW,
        True,
        "kept",
        0,
        True,
        sum(w for _, _, w in learned),
    )
    ledger.rounds.open(1, "fresh", "", NOW, plan_digest="x")
    ledger.rounds.close(
        1, NOW, promoted=True, verdict="", report=None, generation=row, learned=learned
    )


def some_learned(ledger: Ledger) -> str:
    return next(e.path for e in ledger.entries.all() if not e.held_out)


def test_nothing_is_pending_once_all_is_learned(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        before = ledger.pending(NOW, 0)
        assert before.words > 5000 and before.notes == before.ready_notes
        learn_all(vault, ledger)
        assert ledger.pending(NOW, 0).words == 0


def test_a_rename_and_a_move_are_not_new_text_and_keep_the_entry(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        learn_all(vault, ledger)
        path = some_learned(ledger)
        ids = {e.id for e in ledger.entries.all() if e.path == path}
        vault.move(path, "elsewhere/under another name.md")
        vault.record(ledger, NOW + 60)
        assert ledger.pending(NOW + 60, 0).words == 0
        moved = {e.id for e in ledger.entries.all() if e.path == "elsewhere/under another name.md"}
        assert moved == ids
        assert not [e for e in ledger.entries.all() if e.path == path]


def test_a_rename_that_is_seen_in_two_scans_keeps_the_entry(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        path = some_learned(ledger)
        entry = next(e.id for e in ledger.entries.all() if e.path == path)
        text = (vault.root / path).read_text()
        vault.remove(path)
        vault.record(ledger, NOW + 60)
        vault.write("back.md", text)
        vault.record(ledger, NOW + 120)
        assert next(e.id for e in ledger.entries.all() if e.path == "back.md") == entry


def test_a_corrected_typo_is_not_new_and_a_new_paragraph_is(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        learn_all(vault, ledger)
        path = some_learned(ledger)
        text = (vault.root / path).read_text()
        first = text.split("---\n")[-1].split()[5]
        vault.write(path, text.replace(first, "corrected", 1))
        vault.record(ledger, NOW + 60)
        assert ledger.pending(NOW + 60, 0).words == 0
        vault.write(path, text + "\n" + prose("added", 25) + "\n")
        vault.record(ledger, NOW + 120)
        assert ledger.pending(NOW + 120, 0).words == 25


def test_many_small_edits_do_add_up_to_a_new_text(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        learn_all(vault, ledger)
        path = some_learned(ledger)
        head, text = (vault.root / path).read_text().rsplit("---\n", 1)
        for step in range(12):
            words = text.split(" ")
            words[3 + step * 4] = f"changed{step}"
            text = " ".join(words)
            vault.write(path, f"{head}---\n{text}", age_s=10 * HOUR - step)
            vault.record(ledger, NOW + step)
        assert 40 <= ledger.pending(NOW + 60, 0).words <= 70


def test_white_space_and_quotes_make_no_new_text(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        learn_all(vault, ledger)
        path = some_learned(ledger)
        text = (vault.root / path).read_text()
        vault.write(path, text.replace(". ", ".  ").replace("\n\n", "\n\n\n").replace(" ", " "))
        vault.record(ledger, NOW + 60)
        assert ledger.pending(NOW + 60, 0).words == 0


def test_a_section_moved_to_another_file_is_not_new(vault: Vault) -> None:
    vault.write("days.md", f"## 2024-01-01\n\n{body('one', 2)}\n## 2024-01-02\n\n{body('two', 2)}")
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        days = {e.heading: e.id for e in ledger.entries.all() if e.path == "days.md"}
        assert len(days) == 2, "a file of many days is many entries"
        learn_all(vault, ledger)
        vault.write("days.md", f"## 2024-01-01\n\n{body('one', 2)}", age_s=9 * HOUR)
        vault.write("new place.md", body("two", 2))
        vault.record(ledger, NOW + 60)
        assert ledger.pending(NOW + 60, 0).words == 0
        moved = next(e.id for e in ledger.entries.all() if e.path == "new place.md")
        assert moved in days.values()


def test_a_copy_of_a_held_out_entry_is_held_out_too(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        held = next(e for e in ledger.entries.all() if e.held_out == 1)
        text = (vault.root / held.path).read_text()
        vault.write("copy.md", text)
        vault.record(ledger, NOW + 60)
        assert next(e for e in ledger.entries.all() if e.path == "copy.md").held_out == 1
        assert "copy.md" not in {
            e.path for e in ledger.entries.all() if e.id in ledger.pending(NOW, 0).entries
        }


def test_text_is_ready_once_it_has_been_quiet(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        learn_all(vault, ledger)
        vault.write("now.md", body("now", 1), age_s=60)
        vault.record(ledger)
        assert ledger.pending(NOW, HOUR).words == 60
        assert ledger.pending(NOW, HOUR).ready_words == 0
        assert ledger.pending(NOW + HOUR, HOUR).ready_words == 60


def test_equal_and_template_paragraphs_count_once_or_not_at_all(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        learn_all(vault, ledger)
        for i in range(6):
            vault.write(f"t{i}.md", f"{prose('template', 30)}\n\n{prose(f'own {i}', 30)}\n")
        for i in range(2):
            vault.write(f"twice{i}.md", f"{prose('twice', 30)}\n\n{prose(f'other {i}', 60)}\n")
        vault.record(ledger)
        assert len(ledger.entries.templates()) == 1
        assert ledger.pending(NOW, 0).words == 6 * 30 + 30 + 2 * 60


def test_one_note_repeated_five_hundred_times_is_learned_once(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.fill(20, paragraphs=4)
    for i in range(500):
        vault.write(f"spam/{i}.md", body("spam", 2) + f"\n{i}\n")
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        assert len(copies(ledger)) >= 499
        spam = {e.id for e in ledger.entries.all() if e.path.startswith("spam")}
        assert len(spam & set(ledger.pending(NOW, 0).entries)) <= 1


def test_private_notes_leave_and_come_back(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        path = some_learned(ledger)
        entry = next(e.id for e in ledger.entries.all() if e.path == path)
        text = (vault.root / path).read_text()
        vault.write(path, text.replace("tags: [", "tags: [private, "))
        vault.record(ledger, NOW + 60)
        assert entry not in {e.id for e in ledger.entries.all()}
        vault.write(path, text, age_s=5 * HOUR)
        vault.record(ledger, NOW + DAY)
        assert entry in {e.id for e in ledger.entries.all() if e.live}


def test_much_of_the_vault_gone_at_once_pauses_and_its_return_resumes(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        kept = {p.name: p.read_text() for p in list(vault.root.glob("*.md"))[:8]}
        for name in kept:
            vault.remove(name)
        vault.record(ledger, NOW + 60)
        assert "vanished" in (ledger.paused() or "")
        for name, text in kept.items():
            vault.write(name, text)
        vault.record(ledger, NOW + 120)
        assert ledger.paused() is None


def test_a_moved_folder_is_no_vanishing(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        for path in list(vault.root.glob("*.md")):
            vault.move(path.name, f"archive/{path.name}")
        vault.record(ledger, NOW + 60)
        assert ledger.paused() is None
        assert all(e.path.startswith("archive/") for e in ledger.entries.all())


def test_the_author_may_say_go(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        for path in list(vault.root.glob("*.md"))[:8]:
            vault.remove(path.name)
        vault.record(ledger, NOW + 60)
        ledger.resume()
        vault.record(ledger, NOW + 120)
        assert ledger.paused() is None


def test_census_counts_entries_in_use(vault: Vault) -> None:
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        tags, years = ledger.entries.census()
        assert tags == {"journal": 14, "dream": 13, "poetry": 13} and years.total() == 40
        assert ledger.notes.totals() == {"notes": 40, "used": 40, "words": 40 * 240}


def test_the_ledger_holds_a_paragraph_once_and_no_word_of_it(tmp_path: Path) -> None:
    """Four and a half bytes a word for the guard, one and a half for slight changes."""
    made = Vault(tmp_path)
    made.fill(400, paragraphs=3, words=40)
    with Ledger.open(made.state) as ledger:
        made.record(ledger)
        ledger._db.pack()
        words = ledger.notes.totals()["words"]
    assert made.state.ledger.stat().st_size < 14 * words
    data = made.state.ledger.read_bytes()
    assert not any(word.encode() in data for word in prose("note1/1", 40).split()[:20])


def test_a_folder_that_is_renamed_keeps_its_entries_whatever_paragraph_they_share(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Forty daily notes begin with the same words, ten say nothing else. 2. Their folder is
    renamed. Result: every entry is what it was, and none is compared with all that begin so: of
    10,000 notes that took the square of their number.
    """
    monkeypatch.setattr(recorder, "_COMMON", 5)
    opening = prose("what every day begins with", 30)
    for i in range(50):
        vault.write(
            f"Daily/{i:02d}.md", opening + (f"\n\n{body(f'day {i}', 2)}" if i >= 10 else "")
        )
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        before = {e.path: e.id for e in ledger.entries.all()}
        (vault.root / "Daily").rename(vault.root / "Days")
        looked: list[int] = []
        alike = recorder.Recorder._alike

        def counted(self: recorder.Recorder, *asked: Any) -> list[tuple[int, float, bool]]:
            found = alike(self, *asked)
            looked.append(len(found))
            return found

        monkeypatch.setattr(recorder.Recorder, "_alike", counted)
        vault.record(ledger, NOW + HOUR)
        after = {e.path.replace("Days/", "Daily/"): e.id for e in ledger.entries.all()}
        own = [path for path in before if path.startswith("Daily/") and path >= "Daily/10.md"]
        assert len(own) == 40 and all(after[path] == before[path] for path in own)
        assert sorted(after.values()) == sorted(before.values())
        assert len(looked) == 50 and max(looked) <= 7
        assert ledger.paused() is None


def test_of_what_is_typed_the_earlier_forms_go_and_what_was_learned_stays(vault: Vault) -> None:
    """1. A paragraph is typed, and read every few words. 2. All is learned. 3. It is written anew.
    Result: no more than a form or two is kept of the first; what was learned of it is known still.
    """
    words = prose("what is typed", 120).split()

    def left_over(ledger: Ledger) -> set[str]:
        unused = "SELECT digest FROM texts WHERE n NOT IN (SELECT text FROM paragraphs)"
        return {given_id(row["digest"]) for row in ledger._db.read(unused)}

    with Ledger.open(vault.state) as ledger:
        vault.record(ledger)
        for count in range(8, 121, 4):
            vault.write("day.md", f"{body('earlier', 1)}\n{' '.join(words[:count])}", age_s=0)
            vault.record(ledger, NOW + count)
        assert len(left_over(ledger)) <= 2
        learn_all(vault, ledger)
        (entry,) = of_note(ledger, "day.md")
        typed = ledger.entries.digests_of(entry.id)[-1][0]
        vault.write("day.md", f"{body('earlier', 1)}\n{prose('another', 60)}", age_s=0)
        vault.record(ledger, NOW + HOUR)
        assert typed in left_over(ledger)
        vault.write("day.md", f"{body('earlier', 1)}\n{' '.join(words)}", age_s=0)
        vault.record(ledger, NOW + HOUR)
        waiting = ledger.entries.named(ledger.pending(NOW + HOUR, 0).entries).values()
        assert "day.md" not in {entry.path for entry in waiting}


def test_moments_at_which_no_kept_text_was_first_seen_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A paragraph is typed, saved and recorded sixty times, beside a note that stays. Result: a
    few moments are kept, among them the first and the last, and each paragraph still has its own.
    """
    monkeypatch.setattr(recorder, "_SIGHTINGS", 10)
    vault = Vault(tmp_path)
    vault.write("stays.md", body("stays"))
    with Ledger.open(vault.state) as ledger:
        vault.record(ledger, NOW)
        for second in range(1, 61):
            vault.write("typed.md", prose(f"typed {second}"), age_s=-second)
            vault.record(ledger, NOW + second)
        rows = ledger._db.read("SELECT time FROM sightings ORDER BY n")
        assert len(rows) <= 12 and (rows[0]["time"], rows[-1]["time"]) == (NOW, NOW + 60)
        told = ledger.entries.paragraphs().values()
        assert sorted({p.first_seen for of in told for p in of}) == [NOW, NOW + 60]
