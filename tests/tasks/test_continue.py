"""`continue --note`: the note at its end, read as the plugin's note at its cursor."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from vaultgpt.cli import app
from vaultgpt.commands import continue_
from vaultgpt.commands.common import locate_note
from vaultgpt.errors import NotFound, UsageError, VaultGPTError
from vaultgpt.settings import Rules
from vaultgpt.state import VaultState, create_state
from vaultgpt.tasks.continue_ import Request, checked, note_request, write
from vaultgpt.tasks.schemas import CompletionRequest
from vaultgpt.vault.at_cursor import EditorNote, read_editor

PROSE = "I woke before the others and went down to the water."
NOTES = {
    "plain": f"# A walk\n\n{PROSE}\n",
    "new": "",
    "heading": "# A walk #dream\n",
    "wishes": f"---\nvaultgpt:\n  tags: [poem]\n  length: page\n  date: 2014\n---\n{PROSE}\n",
    "quote": f"{PROSE}\n\n> {PROSE}\n> And then",
    "item": f"{PROSE}\n\n- {PROSE}\n- And then",
    "cell": f"| a | b |\n|---|---|\n| {PROSE} | And then",
    "long": "\n\n".join(f"{PROSE} {n}" for n in range(400)),
}


@pytest.fixture
def state(tmp_path: Path) -> VaultState:
    (tmp_path / "vault").mkdir()
    for name, text in NOTES.items():
        (tmp_path / "vault" / f"{name}.md").write_text(text, encoding="utf-8")
    return create_state(tmp_path / "vault")


@pytest.mark.parametrize("name", NOTES)
def test_a_note_is_written_on_at_its_end_as_in_the_editor(state: VaultState, name: str) -> None:
    text = NOTES[name]
    editor = read_editor(state.vault, Rules(), EditorNote(f"{name}.md", text, len(text)))
    found = note_request(state, f"{name}.md")
    assert (found.text, found.tags, found.title) == (editor.text, editor.tags, editor.title)
    assert (found.date, found.length, found.place) == (editor.date, editor.length, editor.place)
    assert len(found.text) <= 12_000 and found.path == f"{name}.md"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{PROSE}\n\n```\ncode()", "code"),
        ("---\ntags: [a]\nvaultgpt: false\n---\n" + PROSE, "left out"),
    ],
)
def test_where_nothing_may_be_written_is_said(state: VaultState, text: str, why: str) -> None:
    (state.vault / "no.md").write_text(text, encoding="utf-8")
    with pytest.raises(VaultGPTError, match=why):
        note_request(state, "no.md")


def test_a_note_that_can_not_be_read_is_no_empty_page(state: VaultState) -> None:
    (state.vault / "no.md").write_bytes(b"It rained\0\0")
    with pytest.raises(VaultGPTError, match="left out: It can't be read"):
        note_request(state, "no.md")


class Service:
    """Answers with two fixed texts, the first of them in pieces too."""

    def __init__(self, state: VaultState, texts: list[str]) -> None:
        self.state, self.texts = state, texts
        self.asked: CompletionRequest | None = None

    def ask(self, task: object, request: Any, hear: Any = None) -> Any:
        self.asked = request
        for letter in self.texts[0]:
            hear({"event": "piece", "text": letter})
        answer: dict[str, Any] = {"text": self.texts[0], "texts": self.texts, "tags": []}
        nothing = {"tokens_per_s": None, "engine_problem": None}
        return {**answer, **nothing, "generation": "g000001"}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("quote", " it rained.\n> \n> All day."),
        ("item", " it rained.\n\n  All day."),
        ("plain", " it rained.\n\nAll day."),
    ],
)
def test_the_text_has_the_form_that_the_note_s_end_asks_for(
    state: VaultState, name: str, wanted: str
) -> None:
    service, heard = Service(state, [" it rained.\n\nAll day."] * 2), list[str]()
    answer = write(cast(Any, service), note_request(state, f"{name}.md"), heard.append)
    lines = [line.rstrip() for line in wanted.split("\n")]
    for text in ("".join(heard), *answer["texts"]):
        assert [line.rstrip() for line in text.split("\n")][-len(lines) :] == lines
    assert answer["text"] == answer["texts"][0] == "".join(heard)


def test_a_table_s_cell_stays_one_line(state: VaultState) -> None:
    service = Service(state, [" it rained. | no\nmore"])
    answer = write(cast(Any, service), note_request(state, "cell.md"))
    assert answer["text"].strip() == "it rained."
    assert service.asked is not None and service.asked.stop == ["\n", "|"]


def test_a_text_comes_as_it_was_written(state: VaultState) -> None:
    service = Service(state, ["> a\n\n- b"])
    assert write(cast(Any, service), Request(text="And then"))["text"] == "> a\n\n- b"


@pytest.mark.parametrize(
    ("terminal", "asked", "shown"),
    [
        (True, {"text": "I went hi"}, "I went highway.\n"),
        (True, {"text": "One.\n\nI went hi"}, "I went highway.\n"),
        (True, {"text": "One.\n\n"}, "ghway.\n"),
        (True, {"text": "hi", "n": 2}, "highway.\n\n---\n\nhill.\n"),
        (True, {"text": "hi", "form": "question"}, "ghway.\n"),
        (True, {"note": "plain"}, f"{PROSE}\nghway.\n"),
        (False, {"text": "I went hi"}, "ghway.\n"),
        (False, {"text": "hi", "n": 2}, "ghway.\n\n---\n\nll.\n"),
    ],
)
def test_a_terminal_shows_what_a_text_goes_on_from_and_a_pipe_has_new_text_alone(
    state: VaultState,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    asked: dict[str, Any],
    shown: str,
) -> None:
    """Result: a word that was begun is read whole."""
    texts = ["ghway.", "ll."][: asked.get("n", 1)]
    monkeypatch.setattr(continue_, "vault_service", lambda *_: Service(state, texts))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    note = state.vault / f"{asked.pop('note')}.md" if "note" in asked else None
    continue_.continue_(vault=state.vault, note=note, **asked)
    assert re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out) == shown


def test_where_no_clause_was_likely_enough_one_line_says_so(
    state: VaultState, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(continue_, "vault_service", lambda *_: Service(state, ["", ""]))
    continue_.continue_(vault=state.vault, text="hi", n=2, length="clause")
    assert capsys.readouterr().err.count("Nothing was likely enough (`mirror.sure`)") == 1


def test_the_help_offers_every_length_that_the_error_does() -> None:
    said = CliRunner().invoke(app, ["continue", "--help"], env={"COLUMNS": "200"}).output
    assert "clause, sentence, paragraph, page or tokens" in " ".join(said.split())
    with pytest.raises(UsageError, match="'clause', 'sentence', 'paragraph', 'page' or 'tokens'"):
        checked(Request(length="chapter"))


def test_a_note_that_is_not_there_is_looked_for_in_the_vault_that_its_path_leads_into(
    state: VaultState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    create_state(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    for name in ("vault/plein.md", "vault/plein"):
        with pytest.raises(NotFound, match="There is no note vault/plein") as missing:
            locate_note(Path(name), None)
        assert missing.value.mend == "Did you mean plain.md?"
    with pytest.raises(NotFound, match="Several vaults are set up"):
        locate_note(Path("plein.md"), None)
