"""Whose words stand in a note: what was accepted, what was changed of it, and the author's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vaultgpt.errors import NotFound
from vaultgpt.settings import Rules
from vaultgpt.state import create_state
from vaultgpt.tasks.continue_ import ACCEPT, _AcceptedRequest
from vaultgpt.tasks.provenance import MONTHS, PROVENANCE, _Provenance, _ProvenanceRequest
from vaultgpt.tasks.vault_service import Here
from vaultgpt.vault.reconcile import read_vault

MINE = "I woke before the others and went down to the water. 😀 "
THEIRS = (
    "The clock above the pool had stopped at ten past three and nobody had wound it since June."
)


@pytest.fixture
def service(tmp_path: Path) -> Here:
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "a.md").write_text(MINE, encoding="utf-8")
    state = create_state(tmp_path / "vault")
    here = Here(state)
    here.with_desk(lambda desk: desk.ledger.record(read_vault(state.vault, Rules()), desk.now))
    return here


def asked(service: Here, text: str) -> _Provenance:
    (service.state.vault / "a.md").write_bytes(text.encode())
    return service.ask(PROVENANCE, _ProvenanceRequest(path="a.md"))


def told(found: _Provenance, text: str) -> list[tuple[str, str]]:
    return [(s["kind"], text[s["start"] : s["end"]]) for s in found["spans"]]


def test_what_was_accepted_is_told_and_what_was_only_offered_is_not(service: Here) -> None:
    text = f"{MINE}{THEIRS} And then I swam, as I do on most days when it is not too cold.\n"
    assert asked(service, text)["spans"] == []
    service.with_desk(lambda desk: desk.ledger.emitted.offered(THEIRS, desk.now))
    assert asked(service, text)["spans"] == [], "the author wrote it as the mirror would have"
    service.ask(ACCEPT, _AcceptedRequest(text=THEIRS, path="a.md"))
    found = asked(service, text)
    assert told(found, text) == [("mirror", THEIRS.rstrip("."))]
    assert (found["mirror"], found["edited"]) == (18, 0)
    assert found["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_the_few_words_that_were_changed_since_are_told_as_edited(service: Here) -> None:
    service.ask(ACCEPT, _AcceptedRequest(text=f"{THEIRS} {MINE}{THEIRS}", path="a.md"))
    text = f"{THEIRS} {MINE}{THEIRS}".replace("went down to", "ran to").replace("\n", "\r\n")
    found = asked(service, text)
    kinds = [kind for kind, _ in told(found, text)]
    assert kinds == ["mirror", "edited", "mirror"]
    assert "ran" in told(found, text)[1][1]
    own = f"{THEIRS}\n\n" + "A page of my own that no mirror ever wrote. " * 3 + f"\n\n{THEIRS}"
    assert [kind for kind, _ in told(asked(service, own), own)] == ["mirror", "mirror"]


def test_a_note_outside_the_index_is_not_opened(service: Here) -> None:
    (service.state.vault / "new.md").write_text(THEIRS, encoding="utf-8")
    with pytest.raises(NotFound):
        service.ask(PROVENANCE, _ProvenanceRequest(path="new.md"))


def test_the_shares_of_each_month_are_those_of_its_entries(service: Here) -> None:
    vault = service.state.vault
    service.ask(ACCEPT, _AcceptedRequest(text=THEIRS, path="b.md"))
    (vault / "2026-10-03.md").write_text(f"{MINE}{THEIRS}", encoding="utf-8")
    (vault / "2026-10-04.md").write_text(MINE * 2, encoding="utf-8")
    (vault / "2026-11-01.md").write_text(MINE, encoding="utf-8")
    service.with_desk(lambda desk: desk.ledger.record(read_vault(vault, Rules()), desk.now))
    found = service.ask(MONTHS, None)["months"]
    assert found["2026-10"] == {"words": 11 + 18 + 22, "mirror": 18, "edited": 0}
    assert found["2026-11"] == {"words": 11, "mirror": 0, "edited": 0}
    assert found[""]["mirror"] == 0
    (vault / "2026-10-03.md").unlink()
    assert service.ask(MONTHS, None)["months"]["2026-10"]["mirror"] == 0, "gone meanwhile"
