"""What the page of one's voice is told: words by month and tag, what is left out, turns, pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultgpt.errors import NotFound
from vaultgpt.ledger.entries import Entries
from vaultgpt.ledger.rows import EntryRow
from vaultgpt.settings import Rules
from vaultgpt.state import create_state
from vaultgpt.tasks.page import BLIND, MONTH, PAGE, REFRAINS, _MonthRequest
from vaultgpt.tasks.vault_service import Here
from vaultgpt.vault.reconcile import read_vault

TURN = "the kettle sulks again"
DAYS = 7


@pytest.fixture
def service(tmp_path: Path) -> Here:
    """Seven days of June with a turn of the author's in each, one without a date, one private."""
    vault = tmp_path / "vault"
    vault.mkdir()
    for day in range(1, DAYS + 1):
        text = f"---\ndate: 2021-06-{day:02}\ntags: [dream]\n---\nOn page {day}, {TURN}.\n"
        text += "At the end of the day.\n" + f"Line{day} of it was long. " * 10
        (vault / f"{day}.md").write_text(text, encoding="utf-8")
    (vault / "undated.md").write_text("A page that has no date at all.\n", encoding="utf-8")
    secret = f"#private {TURN}, and nobody knows.\n"
    (vault / "private.md").write_text(secret, encoding="utf-8")
    here = Here(create_state(vault))
    here.with_desk(lambda desk: desk.ledger.record(read_vault(vault, Rules()), desk.now))
    return here


def hold_out(service: Here, count: int) -> None:
    """So many of the dated entries are kept from learning."""
    last = f"2021-06-{count:02}"
    change = "UPDATE entries SET held_out=1 WHERE date <= ?"
    service.with_desk(lambda desk: desk.ledger._db.sql.execute(change, (last,)))


def test_words_stand_by_month_and_tag_and_what_is_left_out_says_why(service: Here) -> None:
    page = service.ask(PAGE, None)
    assert list(page["months"]) == ["", "2021-06"]
    june = page["months"]["2021-06"]
    assert june[""] == june["dream"] > 0 and page["months"][""] == {"": 8}
    (left,) = page["left_out"]
    assert (left["code"], left["why"], left["notes"]) == ("tag", "tagged private", 1)
    assert page["held_out"] == [] and page["new_notes"] == []


def test_a_turn_is_the_authors_own_and_no_private_note_or_plain_english_counts(
    service: Here,
) -> None:
    found = service.ask(REFRAINS, None)["refrains"]
    said = {row["text"]: row["entries"] for row in found}
    assert said[TURN] == DAYS
    assert not [text for text in said if "end of the day" in text.lower()]
    assert not [text for text in said if text != TURN and "kettle sulks" in text]


def test_of_five_pages_two_go_on_and_the_rest_of_the_others_is_not_told(service: Here) -> None:
    hold_out(service, 4)
    with pytest.raises(NotFound):
        service.ask(BLIND, None)
    hold_out(service, 6)
    pages = service.ask(BLIND, None)["pages"]
    assert len(pages) == 5
    assert sorted(page["rest"] is None for page in pages) == [False, False, True, True, True]
    for page in pages:
        assert page["tags"] == ["dream"] and page["date"] == "2021-06"
        assert page["opening"].startswith("On page") and page["opening"][-1].isspace()
        whole = (page["opening"] + (page["rest"] or "")).split()
        assert len(whole) == (8 if page["rest"] is None else 60)


def test_what_was_forgotten_is_read_once_for_all_notes(
    service: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows are read for it: once for each note took 140 s at 2,000 notes."""
    reads, rows_of = [], Entries.all

    def counted(self: Entries) -> list[EntryRow]:
        reads.append(self)
        return rows_of(self)

    monkeypatch.setattr(Entries, "all", counted)
    assert service.ask(REFRAINS, None)["refrains"]
    assert len(reads) == 2 < DAYS  # for the rows, and for the forgotten ones among them


def test_a_months_prose_is_that_of_its_notes_in_use_the_newest_first(service: Here) -> None:
    found = service.ask(MONTH, _MonthRequest(month="2021-06"))["notes"]
    assert [note["name"] for note in found] == [str(day) for day in range(DAYS, 0, -1)]
    assert all(note["tags"] == ["dream"] and note["date"] == "2021-06" for note in found)
    assert f"On page 7, {TURN}." in found[0]["text"] and "nobody knows" not in str(found)
    assert service.ask(MONTH, _MonthRequest(month="2021-07"))["notes"] == []
